//! The URLs of Redis.
//!
//! `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `redis+unix:///PATH[?db=DB]`,
//! `redis+cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT`,
//! `redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/NAME[/DB][?sentinel_username=…&sentinel_password=…]`.
//!
//! `rediss` in place of `redis` means TLS. Certificates are checked against the system's roots (or
//! `SSL_CERT_FILE`), or against those that the options name.

use std::{fs, path::Path, sync::Arc};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates, TlsMode,
    cluster::ClusterClientBuilder,
    io::tcp::TcpSettings,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

use super::link::{CONNECT, Connector};
use crate::{
    error::{Error, Kind, Result},
    socket,
    store::{StoreOptions, StoreTls},
};

const EXAMPLES: &str = "write redis://HOST:PORT/DB, redis+unix:///PATH?db=DB, redis+cluster://HOST:PORT,HOST:PORT or \
     redis+sentinel://HOST:PORT,HOST:PORT/NAME, with `rediss` for TLS, and with USER:PASSWORD@ before the hosts where \
     they are needed";

/// The pause before a cluster's call is tried again, in milliseconds: the shortest and the longest.
const RETRY_PAUSE: (u64, u64) = (20, 120);

/// Makes the connector that the options ask for.
pub(super) fn connector(options: &StoreOptions) -> Result<Connector> {
    let wrong = |why: String| Error::new(Kind::Config, format!("the URL of the store {why}")).remedy(EXAMPLES);
    let url = &*options.url;
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("cannot be read: it has no ://".into()))?;
    let (redis, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let is_tls = redis == "rediss";

    if options.tls.is_some() && !is_tls {
        let remedy = match kind {
            "unix" => "leave `tls` out: what is on this machine speaks no TLS".to_owned(),
            _ => format!(
                "write redis{}:// in the URL, which speaks TLS, or leave `tls` out",
                scheme.replacen("redis", "s", 1)
            ),
        };
        return Err(
            Error::new(Kind::Config, format!("`tls` of the store is of no use with {scheme}://")).remedy(remedy)
        );
    }

    let certificates = options.tls.as_ref().map(certificates).transpose()?;
    if kind.is_empty() && Login::ends_early(rest) {
        return Err(Error::new(Kind::Config, "the user or password in the store's URL has a character that ends it")
            .remedy("percent-encode it, %2F for /, %23 for #, %3F for ?, %40 for @, %25 for %"));
    }

    let made = match kind {
        "cluster" => cluster(redis, rest, certificates),
        "sentinel" => sentinel(is_tls, rest, certificates),
        "unix" => unix(rest),
        _ => single(url, certificates),
    };

    made.map_err(|why| wrong(format!("cannot be read: {why}")))
}

/// The driver's message about a URL may hold the password, so it is not shown.
fn broken(error: RedisError) -> String {
    format!("{:?}", error.kind())
}

fn tcp() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(socket::keepalive(None));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(socket::USER_TIMEOUT);
    settings
}

/// A URL of one server, parsed by the driver.
fn single(url: &str, certificates: Option<TlsCertificates>) -> Result<Connector, String> {
    let info = quiet(url.into_connection_info().map_err(broken)?).set_tcp_settings(tcp());
    let client = match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    };
    Ok(Connector::Single(Box::new(client.map_err(broken)?)))
}

/// `redis+unix:///PATH?db=1&user=…&pass=…`, also with the parameter names of other clients.
fn unix(rest: &str) -> Result<Connector, String> {
    let (login, rest) = Login::before(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err("it names no socket".into());
    }

    let mut settings = redis::RedisConnectionInfo::default();
    let mut user = login.user;
    let mut password = login.password;
    for (name, value) in pairs(query) {
        match name {
            "db" => settings = settings.set_db(value.parse().map_err(|_| "the database is no number")?),
            "user" | "username" => user = Some(value),
            "pass" | "password" => password = Some(value),
            _ => return Err(format!("there is no parameter `{name}`; it may have db, user and pass")),
        }
    }

    if let Some(user) = user {
        settings = settings.set_username(user);
    }

    if let Some(password) = password {
        settings = settings.set_password(password);
    }

    let address = ConnectionAddr::Unix(decoded(path).into());
    let info = address.into_connection_info().map_err(broken)?.set_redis_settings(settings);
    Ok(Connector::Single(Box::new(Client::open(quiet(info)).map_err(broken)?)))
}

/// Does not send the library's name and version: proxies that do not know the command close the
/// connection.
fn quiet(info: ConnectionInfo) -> ConnectionInfo {
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    info.set_redis_settings(settings)
}

fn cluster(redis: &str, rest: &str, certificates: Option<TlsCertificates>) -> Result<Connector, String> {
    let parts = Parts::of(rest)?;
    if let Some((name, _)) = parts.query.first() {
        return Err(format!("there is no parameter `{name}`"));
    }

    let url = |(host, port): &(String, u16)| {
        if host.contains(':') { format!("{redis}://[{host}]:{port}") } else { format!("{redis}://{host}:{port}") }
    };

    let mut builder = ClusterClientBuilder::new(parts.hosts.iter().map(url))
        .connection_timeout(CONNECT)
        .response_timeout(CONNECT)
        .tcp_settings(tcp())
        // The driver's own pauses are longer than a call's time limit, which then would never say
        // why it failed.
        .min_retry_wait(RETRY_PAUSE.0)
        .max_retry_wait(RETRY_PAUSE.1)
        .retries(2);
    if let Some(user) = parts.login.user {
        builder = builder.username(user);
    }

    if let Some(password) = parts.login.password {
        builder = builder.password(password);
    }

    if let Some(certificates) = certificates {
        builder = builder.certs(certificates);
    }

    Ok(Connector::Cluster(Box::new(builder.build().map_err(broken)?)))
}

fn sentinel(is_tls: bool, rest: &str, certificates: Option<TlsCertificates>) -> Result<Connector, String> {
    let parts = Parts::of(rest)?;
    let (name, database) = parts.path.split_once('/').unwrap_or((parts.path, "0"));
    if name.is_empty() {
        return Err("it does not name what Sentinel watches".into());
    }

    let hosts = parts.hosts.into_iter().map(|(host, port)| {
        if is_tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    });

    let mut builder = SentinelClientBuilder::new(hosts, name, SentinelServerType::Master)
        .map_err(broken)?
        .set_client_to_redis_db(database.parse().map_err(|_| "the database is no number".to_owned())?)
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if is_tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }

    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }

    if let Some(user) = parts.login.user {
        builder = builder.set_client_to_redis_username(user);
    }

    if let Some(password) = parts.login.password {
        builder = builder.set_client_to_redis_password(password);
    }

    for (name, value) in parts.query {
        builder = match name {
            "sentinel_username" => builder.set_client_to_sentinel_username(value),
            "sentinel_password" => builder.set_client_to_sentinel_password(value),
            _ => {
                return Err(format!(
                    "there is no parameter `{name}`; it may have sentinel_username and sentinel_password"
                ));
            }
        };
    }

    Ok(Connector::Sentinel(Arc::new(Mutex::new(builder.build().map_err(broken)?))))
}

/// The certificates in these files.
fn certificates(tls: &StoreTls) -> Result<TlsCertificates> {
    let read = |file: &Path| {
        fs::read(file).map_err(|error| {
            Error::new(Kind::Config, format!("{} of the store's `tls` cannot be read: {error}", file.display()))
                .remedy("write tls = { ca = \"ca.pem\", cert = \"client.pem\", key = \"client.key\" } with PEM files")
        })
    };

    let root_cert = tls.ca.as_deref().map(read).transpose()?;
    let client_tls = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        (None, None) => None,
        _ => {
            return Err(Error::new(
                Kind::Config,
                "`tls` of the store has a certificate without its key, or a key alone",
            )
            .remedy("write both: tls = { cert = \"client.pem\", key = \"client.key\" }"));
        }
    };

    Ok(TlsCertificates { client_tls, root_cert })
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The parameters of a URL, behind its `?`.
fn pairs(query: &str) -> Vec<(&str, String)> {
    let parameters = query.split('&').filter(|pair| !pair.is_empty());
    let named = parameters.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    named.map(|(name, value)| (name, decoded(value))).collect()
}

/// A user and a password.
#[derive(Debug, Default, PartialEq, Eq)]
struct Login {
    user: Option<String>,
    password: Option<String>,
}

impl Login {
    /// Whether the host part would begin before the last `@`, because of a `/`, `?` or `#` in the
    /// password. Then a part of the password would be taken for a host, and looked up.
    fn ends_early(rest: &str) -> bool {
        rest.rsplit_once('@').is_some_and(|(login, _)| login.contains(['/', '?', '#']))
    }

    /// The login before the last `@`, and the rest behind it.
    fn before(rest: &str) -> (Login, &str) {
        let Some((login, rest)) = rest.rsplit_once('@') else { return (Login::default(), rest) };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let some = |text: &str| Some(decoded(text)).filter(|text| !text.is_empty());
        (Login { user: some(user), password: some(password) }, rest)
    }
}

/// The parts behind the scheme of a URL with several hosts.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    login: Login,
    hosts: Vec<(String, u16)>,
    path: &'a str,
    query: Vec<(&'a str, String)>,
}

impl Parts<'_> {
    fn of(rest: &str) -> Result<Parts<'_>, String> {
        let (login, rest) = Login::before(rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = |text: &str| {
            let (host, port) = text.rsplit_once(':').ok_or("a host has no port")?;
            let port = port.parse().map_err(|_| "a port is no number")?;
            Ok::<_, &str>((host.trim_matches(['[', ']']).to_owned(), port))
        };
        let hosts = hosts.split(',').map(host).collect::<Result<Vec<_>, _>>()?;
        Ok(Parts { login, hosts, path, query: pairs(query) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_several_hosts_is_read_and_a_wrong_one_says_why() {
        let parts = Parts::of("app:s%40cret@a:1,[::1]:2/mymaster/3?sentinel_password=p%26q").unwrap();
        assert_eq!(parts.hosts, [("a".to_owned(), 1), ("::1".to_owned(), 2)]);
        assert_eq!(parts.login, Login { user: Some("app".into()), password: Some("s@cret".into()) });
        assert_eq!(parts.path, "mymaster/3");
        assert_eq!(parts.query, [("sentinel_password", "p&q".to_owned())]);
        assert_eq!(Parts::of("a,b:1").unwrap_err(), "a host has no port");
        assert_eq!(Parts::of("a:x").unwrap_err(), "a port is no number");
        assert_eq!(Parts::of(":secret@a:1").unwrap().login.user, None);
    }

    #[tokio::test]
    async fn a_wrong_url_says_what_is_wrong_and_never_a_password() {
        for (url, told) in [
            ("redis+sentinel://:secret@a:1/", "does not name what Sentinel watches"),
            ("redis+sentinel://a:1/name?password=secret", "there is no parameter `password`"),
            ("redis+cluster://:secret@a:1?db=1", "there is no parameter `db`"),
            ("redis+unix://:secret@socket", "it names no socket"),
            ("redis+unix:///socket?db=x&pass=secret", "the database is no number"),
            ("redis://:secret@:1", "cannot be read"),
            ("redis://:1/secret@host", "a character that ends it"),
            ("redis://app:1#secret@host:1", "a character that ends it"),
            ("rediss://:1?secret@host", "a character that ends it"),
            ("redis+unix://:secret@/socket?pw=secret", "there is no parameter `pw`"),
        ] {
            let error = connector(&StoreOptions::new(url)).err().unwrap_or_else(|| panic!("{url} is read")).to_string();
            assert!(error.contains(told) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
