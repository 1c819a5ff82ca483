//! `[server]`

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use ipnet::IpNet;

use super::{
    cors::Cors,
    listen::{self, Listen},
    read::Section,
    tls::TlsFiles,
};
use crate::{auth::AuthConfig, secret::Secret, source::ReadMemory, trace::SENDS, web};

/// A rate of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// This many requests, also all at once,
    pub requests: NonZeroU32,
    /// in this time.
    pub per: Duration,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The server's address, the proxies that it trusts, and its bounds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Its address.
    pub listen: Listen,
    /// The certificate, if it speaks TLS.
    pub tls: Option<TlsFiles>,
    /// The beginning of absolute links; `None`: scheme and host of the request.
    pub public_url: Option<String>,
    /// Hosts that requests may name; `None`: loopback names and `listen`'s own; `*`: all.
    pub allowed_hosts: Option<Vec<String>>,
    /// The ways by which requests say who they are from, which are a section of their own
    /// (`[auth]`); `None`: all requests are anonymous.
    pub auth: Option<AuthConfig>,
    /// Encrypts the cursors that clients get; `None`: the cursors show their values.
    pub secret: Option<Secret>,
    /// Peers that may set `Forwarded` and `X-Forwarded-*`.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether peers at a Unix socket may set them too.
    pub trusts_unix: bool,
    /// How many streams may run at once; one more gets 503.
    pub max_streams: usize,
    /// How many connections may be open at once; one more gets 503.
    pub max_connections: usize,
    /// How many connections each address may have, without trusted proxies; one more gets 429. 0:
    /// any number.
    pub max_connections_per_address: usize,
    /// How many streams each address may have; one more gets 429. 0: any number.
    pub max_streams_per_address: usize,
    /// How often each address may ask; beyond that it gets 429. `None`: without a bound.
    pub request_rate: Option<RequestRate>,
    /// How many bytes per second a client must take while the server waits for it, averaged over
    /// `stall_timeout`. 0: without a bound.
    pub minimum_rate: u64,
    /// A client that takes no byte for this long is cut.
    pub stall_timeout: Duration,
    /// The first byte of a request must come this soon after the connection, and the rest of its
    /// head this soon after the first byte.
    pub header_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How long streams may go on after a signal to stop.
    pub drain: Duration,
    /// After this long without a byte a stream that waits for rows sends a heartbeat; zero: never.
    pub heartbeat: Duration,
    /// The memory for reads of large rows, of all databases together.
    pub read_memory: ReadMemory,
    /// Whether browsers get a page at `/`; else they get JSON too.
    pub landing: bool,
    /// Other origins whose pages may read responses; `None`: no other origin.
    pub cors: Option<Cors>,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// Whether the log has a line for each request.
    pub access_log: bool,
    /// Whether responses have a `Server-Timing` with the time to their first bytes.
    pub server_timing: bool,
    /// The collector for the spans of requests, over OTLP/HTTP: its URL without `/v1/traces`.
    /// `None`: spans are not sent, unless the environment names a collector.
    pub traces: Option<String>,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
            tls: None,
            public_url: None,
            allowed_hosts: None,
            auth: None,
            secret: None,
            trusted_proxies: vec![],
            trusts_unix: false,
            max_streams: 10_000,
            max_connections: 12_000,
            max_connections_per_address: 0,
            max_streams_per_address: 0,
            request_rate: None,
            minimum_rate: 240,
            stall_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            drain: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            read_memory: ReadMemory::default(),
            landing: true,
            cors: None,
            log_format: LogFormat::Text,
            access_log: true,
            server_timing: false,
            traces: None,
        }
    }
}

impl ServerConfig {
    /// The same, changed by `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut ServerConfig)) -> ServerConfig {
        change(&mut self);
        self
    }

    pub(super) fn read(mut section: Section<'_, '_>) -> ServerConfig {
        let usual = ServerConfig::default();
        let (trusted_proxies, trusts_unix) = trusted_proxies(&mut section);
        let config = ServerConfig {
            listen: listen::read(&mut section, &usual.listen).unwrap_or(usual.listen),
            tls: section.section("tls").map(TlsFiles::read),
            public_url: public_url(&mut section),
            allowed_hosts: allowed_hosts(&mut section),
            auth: None,
            secret: secret(&mut section),
            trusted_proxies,
            trusts_unix,
            max_streams: section.integer("max_streams", 1..=1_000_000).map_or(usual.max_streams, |n| n as usize),
            max_connections: section
                .integer("max_connections", 1..=1_000_000)
                .map_or(usual.max_connections, |n| n as usize),
            max_connections_per_address: section
                .integer("max_connections_per_address", 0..=1_000_000)
                .map_or(usual.max_connections_per_address, |n| n as usize),
            max_streams_per_address: section
                .integer("max_streams_per_address", 0..=1_000_000)
                .map_or(usual.max_streams_per_address, |n| n as usize),
            request_rate: request_rate(&mut section),
            minimum_rate: section.size("minimum_rate").unwrap_or(usual.minimum_rate),
            stall_timeout: section.limit("stall_timeout").unwrap_or(usual.stall_timeout),
            header_timeout: section.limit("header_timeout").unwrap_or(usual.header_timeout),
            idle_timeout: section.limit("idle_timeout").unwrap_or(usual.idle_timeout),
            drain: section.duration("drain").unwrap_or(usual.drain),
            heartbeat: section.duration("heartbeat").unwrap_or(usual.heartbeat),
            read_memory: section.size("read_memory").map_or(usual.read_memory, ReadMemory::new),
            landing: section.boolean("landing").unwrap_or(usual.landing),
            cors: section.section("cors").map(Cors::read),
            log_format: log_format(&mut section).unwrap_or(usual.log_format),
            access_log: section.boolean("access_log").unwrap_or(usual.access_log),
            server_timing: section.boolean("server_timing").unwrap_or(usual.server_timing),
            traces: traces(&mut section),
        };

        section.finish();
        config
    }
}

fn log_format(section: &mut Section<'_, '_>) -> Option<LogFormat> {
    match &*section.string("log_format")? {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        other => {
            section.complain(
                "log_format",
                format!("there is no log format `{other}`"),
                "write log_format = \"json\" or \"text\"",
            );
            None
        }
    }
}

/// Whether a text is a scheme, a host and perhaps a path.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#".contains(&byte));
    host.is_some_and(web::is_host) && plain
}

fn traces(section: &mut Section<'_, '_>) -> Option<String> {
    let text = section.string("traces")?;
    if !SENDS {
        section.complain(
            "traces",
            "this build sends no spans",
            "build it with `cargo build --release --features otlp`, or take `traces` out",
        );
        return None;
    }

    if text.contains('@') || !is_url(&text) {
        section.complain(
            "traces",
            "`traces` is no URL of a collector",
            "write scheme, host and port, for instance traces = \"http://localhost:4318\"; what it must be shown goes \
             into OTEL_EXPORTER_OTLP_HEADERS",
        );
        return None;
    }

    Some(text)
}

fn public_url(section: &mut Section<'_, '_>) -> Option<String> {
    let text = section.string("public_url")?;
    if !is_url(&text) {
        section.complain(
            "public_url",
            "`public_url` is no absolute URL",
            "write scheme and host, for instance public_url = \"https://www.example.com\"",
        );
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}

fn allowed_hosts(section: &mut Section<'_, '_>) -> Option<Vec<String>> {
    let hosts = section.strings("allowed_hosts")?;
    if hosts.is_empty() {
        section.complain(
            "allowed_hosts",
            "`allowed_hosts` is empty",
            "name hosts, or take it out to allow loopback's names",
        );
    }

    for host in hosts.iter().filter(|host| *host != "*" && !web::is_host(host)) {
        section.complain(
            "allowed_hosts",
            format!("`{host}` is no host"),
            "write each name whole, for instance \"www.example.com\", with :PORT where that is unusual; \"*\" alone allows every host",
        );
    }

    Some(hosts.iter().map(|host| host.to_ascii_lowercase()).collect())
}

fn secret(section: &mut Section<'_, '_>) -> Option<Secret> {
    let texts = section.texts("secret")?;
    let made = Secret::new(&texts);
    made.map_err(|error| section.complain("secret", error.message(), error.advice().unwrap_or_default())).ok()
}

/// How often one client may ask.
pub(super) fn request_rate(section: &mut Section<'_, '_>) -> Option<RequestRate> {
    let text = section.string_like("request_rate", |number| format!("{number}/s"))?;
    let rate = parse_rate(&text);
    if rate.is_none() {
        section.complain(
            "request_rate",
            format!("`{}` is no rate", section.written("request_rate")),
            "write for instance \"50/s\", \"600/m\" or \"10000/h\"",
        );
    }
    rate
}

fn parse_rate(text: &str) -> Option<RequestRate> {
    let (requests, per) = text.split_once('/')?;
    let seconds = match per.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(RequestRate { requests: requests.trim().parse().ok()?, per: Duration::from_secs(seconds) })
}

/// The networks of proxies, and whether `unix:` (peers at a Unix socket) is among them.
fn trusted_proxies(section: &mut Section<'_, '_>) -> (Vec<IpNet>, bool) {
    let mut nets = vec![];
    let mut unix = false;
    for text in section.strings("trusted_proxies").unwrap_or_default() {
        if text == "unix:" {
            unix = true;
            continue;
        }
        match text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(net) => nets.push(net),
            Err(_) => section.complain(
                "trusted_proxies",
                format!("`{text}` is no network"),
                "write for instance \"127.0.0.1/32\" or \"10.0.0.0/8\"; \"unix:\" is who connects to a Unix socket",
            ),
        }
    }

    (nets, unix)
}
