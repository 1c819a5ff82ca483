//! Connections to PostgreSQL: the URL, TLS, and how to stop a query.

use std::{
    io,
    net::IpAddr,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_postgres::{
    Client, Config,
    config::{Host, LoadBalanceHosts, SslMode, SslNegotiation},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    DIALECT, explained,
    framing::{BoundedTls, Framing, MessageBound},
    tls::{self, Check},
    unreached,
};
use crate::{
    error::{Error, Kind, Result},
    socket,
    source::{
        RowBounds,
        sql::{definition::Told, pool::Connect},
    },
};

/// The time limit for a connection to each host.
const CONNECT: Duration = Duration::from_secs(5);
/// A read that is given up may run this much longer before it is cancelled.
const MOMENT: Duration = Duration::from_millis(50);
const PORT: u16 = 5432;

/// All settings needed to connect.
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    targets: Vec<Target>,
    role: Role,
    begin: String,
    /// `begin` for a database without an encoding. Its texts may be any bytes, and one that is not
    /// UTF-8 would fail its row if it were asked for as UTF-8.
    begin_with_bytes: String,
    /// Whether the database has no encoding, as its server said on connecting.
    has_bytes: AtomicBool,
    /// The parts of the URL that a policy or a view could read from the session.
    session: Vec<String>,
}

/// One of the hosts of a URL.
#[derive(Clone, Debug)]
struct Target {
    host: Host,
    /// The address, if the URL has one besides the name.
    address: Option<IpAddr>,
    port: u16,
}

/// A connection, and which host it goes to.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) bound: Arc<MessageBound>,
    target: usize,
}

/// The role that a host must have (`target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl Role {
    fn named(name: &str) -> Option<Role> {
        Some(match name {
            "any" => Role::Any,
            "read-write" => Role::ReadWrite,
            "read-only" => Role::ReadOnly,
            "primary" => Role::Primary,
            "standby" => Role::Standby,
            "prefer-standby" => Role::PreferStandby,
            _ => return None,
        })
    }

    fn is_played_by(self, standby: bool, read_only: bool) -> bool {
        match self {
            Role::Any => true,
            Role::ReadWrite => !standby && !read_only,
            Role::ReadOnly => standby || read_only,
            Role::Primary => !standby,
            Role::Standby | Role::PreferStandby => standby,
        }
    }
}

impl Connector {
    /// Reads `postgres://…` as libpq does
    /// (<https://www.postgresql.org/docs/current/libpq-connect.html>): several hosts, `sslmode`,
    /// `sslrootcert`, `target_session_attrs`, `connect_timeout`, …
    ///
    /// # Errors
    /// [`Kind::Config`], without the URL's password.
    pub(super) fn new(url: &str, timeout: Duration, reader: Option<&str>) -> Result<Connector> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut kept = vec![];
        let mut mode = None;
        let mut root = None;
        let mut role = Role::Any;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value.to_owned()),
                Some(("sslrootcert", value)) => root = Some(decoded(value)),
                Some(("target_session_attrs", name)) => {
                    role = Role::named(name).ok_or_else(|| {
                        Error::new(Kind::Config, format!("there are no target_session_attrs `{name}`"))
                            .remedy("use any, primary, standby, prefer-standby, read-write or read-only")
                    })?;
                }
                // No use to a reader, and poolers refuse it.
                Some(("options", _)) => {
                    return Err(Error::new(Kind::Config, "`options` in the database's URL is not passed on")
                        .remedy("set it for the role: ALTER ROLE … SET …"));
                }
                _ => kept.push(pair),
            }
        }

        let plain = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        let mut config: Config = plain.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let form = "write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded";
            let remedy = match why.strip_prefix("unknown option `").and_then(|rest| rest.strip_suffix('`')) {
                Some("ssl") => format!("write sslmode=require in the place of `ssl`, or {form}"),
                Some(name) => format!("leave `{name}` out, or {form}"),
                None => form.to_owned(),
            };
            Error::new(Kind::Config, format!("the database's URL cannot be read: {why}")).remedy(remedy)
        })?;

        let session = config.get_application_name().map(|name| format!("application_name {name}"));
        if session.is_none() {
            config.application_name("chunkflow");
        }

        let targets = targets(&config)?;
        let (ssl, check) = match mode.as_deref().unwrap_or("prefer") {
            "disable" => (SslMode::Disable, Check::Nothing),
            "allow" | "prefer" => (SslMode::Prefer, Check::Nothing),
            // libpq checks the chain here too, if it has a root certificate.
            "require" if root.is_some() => (SslMode::Require, Check::Chain),
            "require" => (SslMode::Require, Check::Nothing),
            "verify-ca" => (SslMode::Require, Check::Chain),
            "verify-full" => (SslMode::Require, Check::ChainAndName),
            other => {
                return Err(Error::new(Kind::Config, format!("there is no sslmode `{other}`"))
                    .remedy("use disable, allow, prefer, require, verify-ca or verify-full"));
            }
        };

        config.ssl_mode(ssl);
        // Settings of the transaction, not of the session: behind a pooler the next transaction may
        // be another client's.
        let reader = reader.map_or(String::new(), |reader| format!("; SET LOCAL ROLE {}", DIALECT.quote(reader)));
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL TimeZone = 'UTC'; \
             SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres'{reader}",
            timeout.as_millis().clamp(1, i32::MAX as u128)
        );

        let begin_with_bytes = format!("{begin}; SET LOCAL client_encoding = 'SQL_ASCII'");
        Ok(Connector {
            config,
            tls: MakeRustlsConnect::new(tls::config(check, root.as_deref())?),
            targets,
            role,
            begin,
            begin_with_bytes,
            has_bytes: AtomicBool::new(false),
            session: session.into_iter().collect(),
        })
    }

    /// The SQL that opens a transaction.
    pub(super) fn begin(&self) -> &str {
        if self.has_bytes.load(Ordering::Relaxed) { &self.begin_with_bytes } else { &self.begin }
    }

    /// Connects to the first host that answers and has the wanted role. A task drives the
    /// connection and ends with the client.
    ///
    /// # Errors
    /// The error of the last host; also when a host accepts the connection and then says nothing.
    async fn connection(&self) -> Result<Connection> {
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            fastrand::shuffle(&mut order);
        }

        let roles = if self.role == Role::PreferStandby { vec![Role::Standby, Role::Any] } else { vec![self.role] };
        let mut why =
            Error::new(Kind::Config, "the database's URL names no host").remedy("write postgres://HOST/DATABASE");
        for role in roles {
            for &target in &order {
                match self.connect_to(target, role).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => why = error,
                }
            }
        }

        Err(why)
    }

    async fn connect_to(&self, target: usize, role: Role) -> Result<Connection> {
        let limit = self.config.get_connect_timeout().map_or(CONNECT, |limit| *limit);
        let connected = tokio::time::timeout(limit, async {
            let bound = MessageBound::new(RowBounds::default().unmeasured);
            let mut stream = self.stream(target, false).await?;
            let mut tls = self.tls.clone();
            let tls = MakeTlsConnect::<Stream>::make_tls_connect(&mut tls, self.name(target));
            let tls = tls.map_err(|error| Error::new(Kind::Config, "TLS cannot be set up").caused_by(error))?;
            let mut config = self.config.clone();
            if matches!(self.targets[target].host, Host::Unix(_)) {
                config.ssl_mode(SslMode::Disable);
            }
            stream.framing = match (config.get_ssl_mode(), config.get_ssl_negotiation()) {
                (SslMode::Disable, _) => Framing::at_once(&bound),
                (_, SslNegotiation::Direct) => Framing::off(&bound),
                _ => Framing::behind_answer(&bound),
            };
            let tls = BoundedTls { connect: tls, bound: Arc::clone(&bound) };
            let (client, connection) =
                config.connect_raw(stream, tls).await.map_err(|error| refused_entry(explained(error, None)))?;
            let has_bytes = connection.parameter("server_encoding") == Some("SQL_ASCII");
            self.has_bytes.store(has_bytes, Ordering::Relaxed);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL ended");
                }
            });
            if role != Role::Any {
                let sql = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'";
                let rows = client.query_typed(sql, &[]).await.map_err(|error| explained(error, None))?;
                let told = rows.first().map(|row| (row.get(0), row.get(1)));
                if !told.is_some_and(|(standby, read_only)| role.is_played_by(standby, read_only)) {
                    return Err(Error::new(Kind::Unavailable, "no host is what target_session_attrs asks for")
                        .remedy("see which hosts of the database's URL are primary and standby"));
                }
            }
            Ok((client, bound))
        });

        let (client, bound) = connected.await.map_err(|_| {
            Error::new(Kind::Unavailable, format!("PostgreSQL did not answer within {limit:?}"))
                .remedy("see that it runs at the address in [databases], and is not overloaded")
        })??;
        Ok(Connection { client, bound, target })
    }

    /// The name that a host's certificate must be for.
    fn name(&self, target: usize) -> &str {
        match &self.targets[target].host {
            Host::Tcp(name) => name,
            Host::Unix(_) => "localhost",
        }
    }

    async fn stream(&self, target: usize, waits: bool) -> Result<Stream> {
        let Target { host, address, port } = &self.targets[target];
        let connected = match (host, address) {
            (Host::Tcp(_), Some(address)) => TcpStream::connect((*address, *port)).await.map(Socket::Tcp),
            (Host::Tcp(name), None) => TcpStream::connect((&**name, *port)).await.map(Socket::Tcp),
            (Host::Unix(folder), _) => UnixStream::connect(socket_in(folder, *port)).await.map(Socket::Unix),
        };
        let socket = connected.map_err(unreachable)?;
        if let Socket::Tcp(stream) = &socket {
            // Sooner than the two hours of most systems, so that a vanished host is noticed while
            // the connection is idle.
            let idle = self.config.get_keepalives().then(|| self.config.get_keepalives_idle());
            let keepalive = idle.map(|idle| socket::keepalive(Some(idle)));
            socket::prepare(stream, keepalive).map_err(unreachable)?;
        }
        Ok(Stream { socket, waits, framing: Framing::off(&MessageBound::new(0)) })
    }

    /// Stops the query of a connection at the server. The request may come too late or get lost, so
    /// the connection must not be used again.
    async fn cancel(&self, connection: &Connection) {
        let cancelled = tokio::time::timeout(CONNECT, async {
            // A pooler drops the request unless the sender waits for the end of the connection.
            let stream = self.stream(connection.target, true).await?;
            let mut tls = self.tls.clone();
            let tls = MakeTlsConnect::<Stream>::make_tls_connect(&mut tls, self.name(connection.target));
            let tls = tls.map_err(|error| Error::new(Kind::Config, "TLS cannot be set up").caused_by(error))?;
            let token = connection.client.cancel_token();
            token.cancel_query_raw(stream, tls).await.map_err(|error| explained(error, None))
        });
        match cancelled.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a query that nobody waits for could not be stopped"),
            Err(_) => tracing::warn!("a query that nobody waits for could not be stopped in time"),
        }
    }

    /// What is known of the database without a connection.
    pub(super) fn told(&self) -> Told {
        let address = format!("{:?} {:?}", self.targets, self.config.get_dbname());
        let name = format!("postgres {}", self.config.get_dbname().unwrap_or_default());
        Told { address, name, session: self.session.clone(), ..Told::default() }
    }
}

impl Connect for Connector {
    type Connection = Connection;

    fn connect(&self) -> impl Future<Output = Result<Connection>> + Send {
        self.connection()
    }

    fn is_lost(connection: &Connection) -> bool {
        connection.client.is_closed()
    }

    async fn stop(&self, connection: Connection) -> Option<Connection> {
        if connection.client.is_closed() {
            return None;
        }
        // Most reads end within this time, and a new connection costs more. The answer also shows
        // that no earlier query is still running.
        match tokio::time::timeout(MOMENT, connection.client.batch_execute("ROLLBACK")).await {
            Ok(Ok(())) => Some(connection),
            _ => {
                self.cancel(&connection).await;
                None
            }
        }
    }

    async fn end(_: Connection) {
        // The connection's task ends with its client.
    }
}

fn unreachable(error: io::Error) -> Error {
    unreached(error.to_string())
}

/// If a right is missing before any query, it is the right to connect.
fn refused_entry(error: Error) -> Error {
    match std::error::Error::source(&error) {
        Some(cause) if cause.to_string().contains("permission denied for database") => {
            Error::new(Kind::Unavailable, "PostgreSQL does not let this user into the database")
                .remedy("GRANT CONNECT ON DATABASE the database TO the user")
                .caused_by(cause.to_string())
        }
        _ => error,
    }
}

fn socket_in(folder: &Path, port: u16) -> std::path::PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

/// The hosts of a URL; a single port is for all of them.
fn targets(config: &Config) -> Result<Vec<Target>> {
    let hosts = config.get_hosts();
    let addresses = config.get_hostaddrs();
    let ports = config.get_ports();
    let count = hosts.len().max(addresses.len());
    let fits = |given: usize| given == count || given == 0;
    if count == 0 || !fits(hosts.len()) || !fits(addresses.len()) || !(fits(ports.len()) || ports.len() == 1) {
        return Err(Error::new(
            Kind::Config,
            "the database's URL names no host, or not as many addresses or ports as hosts",
        )
        .remedy("write postgres://USER@HOST:PORT/DATABASE, or HOST:PORT,HOST:PORT for several"));
    }

    let target = |index: usize| Target {
        host: hosts.get(index).cloned().unwrap_or_else(|| Host::Tcp(addresses[index].to_string())),
        address: addresses.get(index).copied(),
        port: ports.get(index).or(ports.first()).copied().unwrap_or(PORT),
    };

    Ok((0..count).map(target).collect())
}

/// A socket to a server.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket that may wait, at its shutdown, for the server to close first.
pub(super) struct Stream {
    socket: Socket,
    waits: bool,
    /// Tracks message boundaries, as long as there is no TLS.
    framing: Framing,
}

/// Calls a method of either socket.
macro_rules! socket {
    ($stream:expr, $method:ident $(, $argument:expr)*) => {
        match &mut $stream.socket {
            Socket::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Socket::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Stream { socket, framing, .. } = self.get_mut();
        match socket {
            Socket::Tcp(stream) => framing.poll_read(Pin::new(stream), context, buffer),
            Socket::Unix(stream) => framing.poll_read(Pin::new(stream), context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        socket!(self, poll_write, context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        socket!(self, poll_write_vectored, context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        socket!(self, poll_flush, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waits {
            let mut bytes = [0; 64];
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(socket!(self, poll_read, context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => self.waits = false,
            }
        }
        socket!(self, poll_shutdown, context)
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        Connector::new(url, Duration::from_secs(10), None).err().map_or_else(String::new, |error| format!("{error:?}"))
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it_and_a_wrong_one_never_shows_its_password() {
        for url in [
            "postgres://u:p@h/d",
            "postgresql://h:1,i:2/d?sslmode=require&target_session_attrs=primary&connect_timeout=3",
            "postgres:///d?host=/run/postgresql&sslmode=disable",
        ] {
            assert_eq!(refused(url), "", "{url}");
        }

        for (url, why) in [
            ("postgres://u:secret@h/d?sslmode=maybe", "no sslmode `maybe`"),
            ("postgres://u:secret@h:port/d", "cannot be read"),
            ("postgres://u:secret@h/d?colour=red", "cannot be read"),
            ("postgres://u:secret@h/d?target_session_attrs=best", "no target_session_attrs `best`"),
            ("postgres://u:secret@h,i,j/d?port=1,2", "not as many"),
            ("postgres://u:secret@h/d?sslmode=verify-full&sslrootcert=/nowhere.pem", "/nowhere.pem cannot be used"),
        ] {
            let error = refused(url);
            assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
