//! The host that a request is for, and the beginning of its absolute links.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use http::{Request, Version, header};
use ipnet::IpNet;

use super::forwarded::{Asked, hops};
use crate::{
    config::{Listen, ServerConfig},
    error::{Error, Kind, Result},
    web::{is_host, named},
};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// An address.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix,
}

impl Remote {
    /// The address that its requests count for. A peer at a Unix socket counts as this machine.
    pub(super) fn ip(self) -> IpAddr {
        match self {
            Remote::Ip(address) => address.ip(),
            Remote::Unix => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Ip(address) => address.fmt(f),
            Remote::Unix => f.write_str("unix:"),
        }
    }
}

/// The other end of a connection, and whether it uses TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: Remote,
    pub(super) secure: bool,
}

/// Where a request was sent to.
#[derive(Debug)]
pub(super) struct Addressed<'a> {
    /// The host as the client named it, with its port, in small letters.
    pub(super) host: Cow<'a, str>,
    /// The scheme and host that absolute links begin with.
    pub(super) origin: Cow<'a, str>,
}

/// The allowed hosts, and the peers whose forwarded fields are believed.
#[derive(Debug)]
pub(super) struct Hosts {
    /// `None`: all hosts.
    allowed: Option<Vec<String>>,
    public_url: Option<String>,
    trusted: Vec<IpNet>,
    trusts_unix: bool,
    own: String,
    port: u16,
    /// Whether the configuration names no hosts. Then loopback names are allowed too, with every
    /// port, since ports may be mapped.
    any_port: bool,
}

impl Hosts {
    pub(super) fn new(config: &ServerConfig, listens: &Listen) -> Hosts {
        let address = listens.ip();
        let usual = || {
            let own = address.filter(|address| !address.ip().is_unspecified());
            own.map(|address| host_of(address.ip())).into_iter().collect()
        };

        let allowed: Vec<String> = config.allowed_hosts.clone().unwrap_or_else(usual);
        Hosts {
            allowed: (!allowed.iter().any(|host| host == "*")).then_some(allowed),
            public_url: config.public_url.clone(),
            trusted: config.trusted_proxies.clone(),
            trusts_unix: config.trusts_unix,
            port: address.map_or(80, |address| address.port()),
            any_port: config.allowed_hosts.is_none(),
            own: listens.host(),
        }
    }

    /// Checks the host that a request [names](host).
    pub(super) fn check<'a, B>(
        &'a self,
        named: Option<&'a str>,
        request: &'a Request<B>,
        peer: Peer,
    ) -> Result<Addressed<'a>> {
        let trusted = self.believes(peer.address);
        let asked = if trusted { Asked::read(request.headers()) } else { Asked::default() };
        let host = match asked.host.or(named.map(Cow::Borrowed)).map(lower_case) {
            Some(host) if is_host(&host) => host,
            // HTTP/1.0 does not require a host.
            None if request.version() < Version::HTTP_11 => Cow::Borrowed(&*self.own),
            _ => return Err(no_host()),
        };

        if let Some(allowed) = &self.allowed {
            let (name, port) = split_port(&host);
            let usual = port.is_none_or(|port| [80, 443, self.port].contains(&port));
            let named = allowed.iter().any(|one| *one == *host || (one == name && (usual || self.any_port)));
            let is_usual_loopback = self.any_port && is_loopback(name);
            if !named && !is_usual_loopback {
                return Err(Error::new(Kind::Invalid, format!("the host `{name}` is not served here"))
                    .remedy("the operator allows hosts with `allowed_hosts` in [server]"));
            }
        }

        let own = if peer.secure { "https" } else { "http" };
        let known = |said: &str| ["http", "https"].into_iter().find(|scheme| scheme.eq_ignore_ascii_case(said));
        let scheme = asked.scheme.as_deref().and_then(known).unwrap_or(own);
        let of_host = || Cow::Owned([scheme, "://", &host].concat());
        let origin = self.public_url.as_deref().map_or_else(of_host, Cow::Borrowed);
        Ok(Addressed { host, origin })
    }

    /// The address that a request counts for: the farthest one that is vouched for. A peer vouches
    /// for itself; a trusted proxy also for the address that it names, and so on while the named
    /// address is trusted too. A proxy that names no client counts as the client.
    pub(super) fn client<B>(&self, request: &Request<B>, peer: Remote) -> IpAddr {
        let mut client = peer.ip().to_canonical();
        if !self.believes(peer) {
            return client;
        }
        // From the last hop back. Entries before the first hop that is not trusted may be made up.
        for hop in hops(request.headers()).into_iter().rev() {
            let Some(hop) = hop else { break };
            client = hop.to_canonical();
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// Whether a peer's forwarded fields are believed.
    pub(super) fn believes(&self, peer: Remote) -> bool {
        match peer {
            Remote::Ip(address) => self.trusts(address.ip()),
            Remote::Unix => self.trusts_unix,
        }
    }

    fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|net| net.contains(&peer))
    }
}

fn lower_case(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text }
}

/// The host of a request, from its line or its one `Host` field.
///
/// # Errors
/// When it is malformed, or there are two; when HTTP/1.1 leaves the field out, which it never may
/// (RFC 9112 §3.2).
pub(super) fn host<B>(request: &Request<B>) -> Result<Option<&str>> {
    let named = named(request)?;
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        return Err(no_host());
    }
    Ok(named)
}

fn no_host() -> Error {
    Error::new(Kind::Invalid, "the request names no right host").remedy("send one `Host` header with a host name")
}

/// Whether a host name, without a port, always means this machine.
fn is_loopback(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A host without its port, and the port. A port that is no number stays with the host, which then
/// matches nothing.
fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
        Some((name, Ok(port))) => (name, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(config: &ServerConfig, peer: [u8; 4], headers: &[(&str, &str)]) -> Option<String> {
        let peer = Peer { address: Remote::Ip(SocketAddr::from((peer, 40_000))), secure: false };
        let hosts = Hosts::new(config, &SocketAddr::from(([127, 0, 0, 1], 8080)).into());
        let mut request = Request::get("/tricks");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let named = host(&request).ok()?;
        hosts.check(named, &request, peer).ok().map(|addressed| addressed.origin.into_owned())
    }

    #[test]
    fn only_allowed_hosts_are_served() {
        let usual = ServerConfig::default();
        let asked = |config: &ServerConfig, host: &str| origin(config, [127, 0, 0, 1], &[("host", host)]);
        assert_eq!(asked(&usual, "localhost:8080").as_deref(), Some("http://localhost:8080"));
        assert_eq!(asked(&usual, "[::1]:8080").as_deref(), Some("http://[::1]:8080"));
        for wrong in ["example.com", "", "localhost:8080/x", "a b", "localhost@evil"] {
            assert_eq!(asked(&usual, wrong), None, "{wrong}");
        }
        assert_eq!(origin(&usual, [127, 0, 0, 1], &[]), None);
        assert_eq!(origin(&usual, [127, 0, 0, 1], &[("host", "localhost"), ("host", "localhost")]), None);
        let all = ServerConfig { allowed_hosts: Some(vec!["*".into()]), ..ServerConfig::default() };
        assert_eq!(asked(&all, "Example.com").as_deref(), Some("http://example.com"));
        let public = ServerConfig { public_url: Some("https://www.example.com".into()), ..ServerConfig::default() };
        assert_eq!(asked(&public, "localhost").as_deref(), Some("https://www.example.com"));
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let config = ServerConfig {
            allowed_hosts: Some(vec!["example.com".into(), "proxy".into()]),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..ServerConfig::default()
        };

        let legacy = [("host", "proxy"), ("x-forwarded-proto", "HTTPS"), ("x-forwarded-host", "evil, example.com")];
        assert_eq!(origin(&config, [10, 1, 1, 1], &legacy).as_deref(), Some("https://example.com"));
        assert_eq!(origin(&config, [11, 1, 1, 1], &legacy).as_deref(), Some("http://proxy"));
        let standard = [("host", "proxy"), ("forwarded", "for=1.2.3.4, for=x;proto=https;host=\"example.com\"")];
        assert_eq!(origin(&config, [10, 1, 1, 1], &standard).as_deref(), Some("https://example.com"));
        let both = [("host", "proxy"), ("forwarded", "proto=https;host=example.com"), ("x-forwarded-for", "1.2.3.4")];
        assert_eq!(
            origin(&config, [10, 1, 1, 1], &both).as_deref(),
            Some("http://proxy"),
            "the client's own is not believed"
        );

        let strange = [("host", "proxy"), ("x-forwarded-host", "not.allowed")];
        assert_eq!(origin(&config, [10, 1, 1, 1], &strange), None);
    }

    #[test]
    fn what_a_trusted_proxy_passes_on_counts_for_the_address_that_it_names() {
        let trusted = vec!["10.0.0.0/8".parse().unwrap()];
        let config = ServerConfig { trusted_proxies: trusted, ..ServerConfig::default() };
        let hosts = Hosts::new(&config, &SocketAddr::from(([127, 0, 0, 1], 8080)).into());
        let client = |peer: [u8; 4], name: &str, value: &str| {
            let request = Request::get("/").header(name, value).body(()).unwrap();
            hosts.client(&request, Remote::Ip(SocketAddr::from((peer, 40_000)))).to_string()
        };

        for (peer, name, value, counted) in [
            ([192, 0, 2, 1], "x-forwarded-for", "198.51.100.7", "192.0.2.1"),
            ([10, 0, 0, 1], "x-forwarded-for", "198.51.100.7", "198.51.100.7"),
            ([10, 0, 0, 1], "x-forwarded-for", "1.1.1.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ([10, 0, 0, 1], "x-forwarded-for", "198.51.100.7:1234", "198.51.100.7"),
            ([10, 0, 0, 1], "x-forwarded-for", "2001:db8::1", "2001:db8::1"),
            ([10, 0, 0, 1], "x-forwarded-for", "::ffff:198.51.100.7", "198.51.100.7"),
            ([10, 0, 0, 1], "forwarded", "for=1.1.1.1, for=\"[2001:db8::1]:4711\";proto=https", "2001:db8::1"),
            ([10, 0, 0, 1], "forwarded", "for=1.1.1.1, for=\"198.51.100.7:_a\";x=\",for=1.1.1.1\"", "198.51.100.7"),
            // A proxy that names no client counts as the client.
            ([10, 0, 0, 1], "forwarded", "for=unknown", "10.0.0.1"),
            ([10, 0, 0, 1], "forwarded", "for=1.1.1.1, for=_hidden, for=10.0.0.2", "10.0.0.2"),
            ([10, 0, 0, 1], "forwarded", "for=\"1.1.1.1, for=198.51.100.7", "10.0.0.1"),
            ([10, 0, 0, 1], "x-forwarded-for", "", "10.0.0.1"),
            ([10, 0, 0, 1], "x-forwarded-for", "10.0.0.3", "10.0.0.3"),
            ([10, 0, 0, 1], "x-other", "", "10.0.0.1"),
        ] {
            assert_eq!(client(peer, name, value), counted, "{peer:?} {name}: {value}");
        }

        let both = Request::get("/").header("forwarded", "for=1.1.1.1").header("x-forwarded-for", "198.51.100.7");
        let counted = hosts.client(&both.body(()).unwrap(), Remote::Ip(SocketAddr::from(([10, 0, 0, 1], 40_000))));
        assert_eq!(counted.to_string(), "198.51.100.7", "the proxy's own word, not the client's");
    }
}
