//! Connections to MySQL and MariaDB: the URL, TLS, the session's settings, and how to stop a query.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mysql_async::{
    Conn, DriverError, Error as MysqlError, IoError, Opts, OptsBuilder, Row, SslOpts, UrlError, prelude::Queryable,
};
use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{
    DIALECT, Failure, explained, timed_out,
    wire::{text, whole},
};
use crate::{
    error::{Error, Kind, Result},
    source::{
        RowBounds,
        sql::{definition::Told, pool::Connect},
    },
};

/// The time limit for making a connection, and for stopping a query.
const CONNECT: Duration = Duration::from_secs(5);
/// How many prepared statements a connection keeps, here and at the server.
const STATEMENTS: usize = 64;
/// How many bytes of a text's weights MySQL sorts by; texts that are equal up to there have no
/// order. It is more than any key has, which [`MAX_CURSOR`](crate::MAX_CURSOR) bounds.
const MAX_SORT_LENGTH: usize = 256 * 1024;
/// Room for fifteen rows of four such texts: with less the server refuses to sort. The server takes
/// it only while it sorts.
const SORT_BUFFER: usize = 16 * 1024 * 1024;

/// All settings needed to connect.
pub(super) struct Connector {
    plain: Opts,
    secure: Option<Opts>,
    /// Whether to connect without TLS if the server has none.
    plain_will_do: bool,
    /// Whether the server had no TLS the last time.
    plain_at_once: AtomicBool,
    /// How many bytes a packet may have, unless a longer one is expected.
    most: u64,
    /// The time limit of a statement.
    timeout: Duration,
    database: String,
    /// The role to read with.
    role: Option<String>,
}

/// A connection, and facts about its server.
pub(super) struct Session {
    pub(super) conn: Conn,
    pub(super) server: ServerFacts,
}

/// What tells one server from another, and what a server can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerFacts {
    name: String,
    pub(super) is_mariadb: bool,
    pub(super) version: (u16, u16, u16),
    /// Whether it takes dates that are partly zero unchanged.
    pub(super) keeps_zero_dates: bool,
    /// Whether it is a MariaDB that has a `server_uid`.
    has_uid: bool,
}

impl ServerFacts {
    /// SQL for the server's own identity and the database.
    pub(super) fn own_identity(&self) -> &'static str {
        match (self.is_mariadb, self.has_uid) {
            (false, _) => "@@server_uuid, DATABASE()",
            (true, true) => "@@server_uid, @@hostname, @@port, @@datadir, DATABASE()",
            (true, false) => "@@hostname, @@port, @@datadir, DATABASE()",
        }
    }

    /// SQL for the user as the server sees it: the account, the name that was given, and the active
    /// roles.
    pub(super) fn user(&self) -> &'static str {
        if self.is_mariadb || self.version >= (8, 0, 0) {
            "CURRENT_USER(), SUBSTRING_INDEX(USER(), '@', 1), COALESCE(CURRENT_ROLE(), 'NONE')"
        } else {
            "CURRENT_USER(), SUBSTRING_INDEX(USER(), '@', 1)"
        }
    }
}

/// How the server's certificate is checked, as `--ssl-mode` of MySQL's client has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl Mode {
    fn of(name: &str) -> Result<Mode> {
        match name.to_ascii_lowercase().replace('-', "_").as_str() {
            "disabled" => Ok(Mode::Disabled),
            "preferred" => Ok(Mode::Preferred),
            "required" => Ok(Mode::Required),
            "verify_ca" => Ok(Mode::VerifyCa),
            "verify_identity" => Ok(Mode::VerifyIdentity),
            _ => Err(Error::new(Kind::Config, format!("there is no ssl-mode `{name}`"))
                .remedy("use disabled, preferred, required, verify_ca or verify_identity")),
        }
    }
}

impl Connector {
    /// Reads `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, with `ssl-mode` and `ssl-ca` as in MySQL's
    /// client and the parameters of the driver's own URLs
    /// (<https://docs.rs/mysql_async/latest/mysql_async/struct.OptsBuilder.html>).
    ///
    /// # Errors
    /// [`Kind::Config`], without the URL's password.
    pub(super) fn new(url: &str, timeout: Duration, role: Option<&str>) -> Result<Connector> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let rest = base.split_once(':').map_or("", |(_, rest)| rest);
        let mut kept = vec![];
        let mut mode = None;
        let mut root = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("ssl-mode" | "ssl_mode", value)) => mode = Some(Mode::of(value)?),
                Some(("ssl-ca" | "ssl_ca", value)) => root = Some(decoded(value)),
                _ => kept.push(pair),
            }
        }

        let parsed = Opts::from_url(&format!("mysql:{rest}?{}", kept.join("&"))).map_err(|error| {
            let form = "write mysql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded";
            let remedy = match &error {
                UrlError::UnknownParameter { param } if param.to_lowercase().contains("ssl") => {
                    format!("write ssl-mode=required or ssl-ca=FILE in the place of `{param}`, or {form}")
                }
                UrlError::UnknownParameter { param } => format!("leave `{param}` out, or {form}"),
                _ => form.to_owned(),
            };
            Error::new(Kind::Config, format!("the database's URL cannot be read: {error}")).remedy(remedy)
        })?;

        let Some(database) = parsed.db_name().map(str::to_owned) else {
            return Err(Error::new(Kind::Config, "the database's URL names no database")
                .remedy("write mysql://USER:PASSWORD@HOST:PORT/DATABASE"));
        };

        let own = parsed.ssl_opts().cloned();
        // Not over the server's socket on its own machine, to which the driver would switch: the
        // URL names another way.
        let builder = OptsBuilder::from_opts(parsed)
            .prefer_socket(false)
            .stmt_cache_size(STATEMENTS)
            .tcp_keepalive(Some(Duration::from_secs(30)));
        let plain = Opts::from(builder.clone().ssl_opts(None));
        let (ssl, plain_will_do) = match (mode, own) {
            (None, Some(own)) => (Some(own), false),
            (mode, _) => {
                // MySQL's client checks the chain here too, if it has a root certificate.
                let usual = if root.is_some() { Mode::VerifyCa } else { Mode::Preferred };
                let mode = mode.unwrap_or(usual);
                (tls(mode, root.as_deref())?, mode == Mode::Preferred)
            }
        };

        let secure = ssl.map(|ssl| Opts::from(builder.ssl_opts(Some(ssl))));
        Ok(Connector {
            plain,
            secure,
            plain_will_do,
            plain_at_once: AtomicBool::new(false),
            most: RowBounds::default().unmeasured,
            timeout,
            database,
            role: role.map(str::to_owned),
        })
    }

    /// The same, with connections that take packets of at most this many bytes.
    pub(super) fn bounded(self, most: u64) -> Connector {
        Connector { most, ..self }
    }

    /// Makes a connection that only reads, with its times in UTC.
    async fn connection(&self) -> Result<Session> {
        self.connection_for(self.most).await
    }

    /// The same, for packets of at most `most` bytes. The driver looks at a packet's length before
    /// it reads the packet, and closes the connection if it is longer.
    pub(super) async fn connection_for(&self, most: u64) -> Result<Session> {
        match tokio::time::timeout(CONNECT, self.session(most)).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(explained(error, &[])),
            Err(_) => Err(timed_out(CONNECT)),
        }
    }

    async fn session(&self, most: u64) -> Result<Session, MysqlError> {
        let mut conn = self.conn(most).await?;
        // Settings that shape results, so that the server's defaults do not matter. Dates that are
        // no dates, or partly zero, are passed on unchanged.
        conn.query_drop(format!(
            "SET NAMES utf8mb4, SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', \
             max_sort_length = {MAX_SORT_LENGTH}, sort_buffer_size = GREATEST(@@sort_buffer_size, {SORT_BUFFER}), sql_auto_is_null = 0, sql_big_selects = 1, \
             sql_select_limit = 18446744073709551615, autocommit = 1"
        ))
        .await?;
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
        let facts: Option<Row> = conn
            .query_first(
                "SELECT CONCAT_WS(' ', @@hostname, @@port, @@server_id), VERSION(), CAST('0000-00-00' AS DATE) IS NOT NULL \
                 AND CAST('2026-00-10' AS DATE) IS NOT NULL AND CAST('2026-02-30' AS DATE) IS NOT NULL \
                 AND CAST('0000-00-00 00:00:00' AS DATETIME(6)) IS NOT NULL",
            )
            .await?;
        let is_mariadb = facts.as_ref().and_then(|row| text(row, 1)).is_some_and(|name| name.contains("MariaDB"));
        let server = ServerFacts {
            name: facts.as_ref().and_then(|row| text(row, 0)).unwrap_or_default(),
            is_mariadb,
            version: conn.server_version(),
            keeps_zero_dates: facts.as_ref().and_then(|row| whole(row, 2)) == Some(1),
            has_uid: is_mariadb && conn.query_first::<Row, _>("SHOW VARIABLES LIKE 'server_uid'").await?.is_some(),
        };

        if let Some(role) = &self.role {
            conn.query_drop(format!("SET ROLE {}", DIALECT.quote(role))).await?;
        }

        let limit = match (is_mariadb, server.version) {
            (true, _) => Some(format!("SET SESSION max_statement_time = {}", self.timeout.as_secs_f64().max(0.001))),
            (false, version) if version >= (5, 7, 8) => {
                let millis = self.timeout.as_millis().clamp(1, u32::MAX.into());
                Some(format!("SET SESSION max_execution_time = {millis}"))
            }
            (false, _) => None,
        };

        if let Some(limit) = limit {
            conn.query_drop(limit).await?;
        }

        Ok(Session { conn, server })
    }

    async fn conn(&self, most: u64) -> Result<Conn, MysqlError> {
        let bounded = |opts: &Opts| OptsBuilder::from_opts(opts.clone()).max_allowed_packet(usize::try_from(most).ok());
        let secure = match &self.secure {
            Some(secure) if !self.plain_at_once.load(Ordering::Relaxed) => secure,
            _ => return Conn::new(bounded(&self.plain)).await,
        };

        // The driver uses the process's default provider, and there is none if several are compiled
        // in.
        if CryptoProvider::get_default().is_none() {
            let _ = aws_lc_rs::default_provider().install_default();
        }

        match Conn::new(bounded(secure)).await {
            Err(error) if self.plain_will_do && (has_no_tls(&error) || tls_failed(&error)) => {
                self.plain_at_once.store(true, Ordering::Relaxed);
                Conn::new(bounded(&self.plain)).await
            }
            made => made,
        }
    }

    /// Stops the query of a connection at the server, and closes the connection.
    async fn cancel(&self, session: Session) {
        match tokio::time::timeout(CONNECT, self.kill(&session)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                let error = failure.explained(|error| explained(error, &[]));
                tracing::warn!(%error, "a query that nobody waits for could not be stopped");
            }
            Err(_) => tracing::warn!("a query that nobody waits for could not be stopped in time"),
        }
        end(session).await;
    }

    async fn kill(&self, session: &Session) -> Result<(), Failure> {
        let mut other = self.session(self.most).await?;
        let id = session.conn.id();
        // Ids count up from a server's start. Behind a load balancer, or after a restart, this id
        // may belong to another client.
        if other.server == session.server && other.conn.id() > id {
            match other.conn.query_drop(format!("KILL QUERY {id}")).await {
                // The connection has ended already.
                Err(MysqlError::Server(error)) if error.code == 1094 => {}
                killed => killed?,
            }
        }
        end(other).await;
        Ok(())
    }

    /// What is known of the database without a connection.
    pub(super) fn told(&self) -> Told {
        let opts = &self.plain;
        let address = format!("{:?} {} {} {}", opts.socket(), opts.ip_or_hostname(), opts.tcp_port(), self.database);
        Told { address, name: format!("mysql {}", self.database), ..Told::default() }
    }
}

/// Whether the server does not speak TLS.
pub(super) fn has_no_tls(error: &MysqlError) -> bool {
    matches!(error, MysqlError::Driver(DriverError::NoClientSslFlagFromServer))
}

/// Whether TLS failed, because of an untrusted certificate or for another reason.
pub(super) fn tls_failed(error: &MysqlError) -> bool {
    match error {
        MysqlError::Io(IoError::Tls(_)) => true,
        MysqlError::Io(IoError::Io(error)) => error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
        _ => false,
    }
}

/// Closes a connection properly, or at once if that takes too long.
async fn end(session: Session) {
    // A drop would first read the rest of a result, which may take long.
    let _ = tokio::time::timeout(Duration::from_secs(1), session.conn.disconnect()).await;
}

impl Connect for Connector {
    type Connection = Session;

    fn connect(&self) -> impl Future<Output = Result<Session>> + Send {
        self.connection()
    }

    fn is_lost(session: &Session) -> bool {
        session.conn.is_disconnected()
    }

    async fn stop(&self, session: Session) -> Option<Session> {
        self.cancel(session).await;
        None
    }

    fn end(session: Session) -> impl Future<Output = ()> + Send {
        end(session)
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn tls(mode: Mode, root: Option<&str>) -> Result<Option<SslOpts>> {
    let lenient = match mode {
        Mode::Disabled => return Ok(None),
        Mode::Preferred | Mode::Required => {
            return Ok(Some(SslOpts::default().with_danger_accept_invalid_certs(true)));
        }
        // Version 0.37.1 checks the name all the same
        // (https://github.com/blackbeam/mysql_async/issues/404); later versions do not.
        Mode::VerifyCa => true,
        Mode::VerifyIdentity => false,
    };
    let roots = roots(root)?.into_iter().map(Into::into).collect();
    let ssl = SslOpts::default().with_root_certs(roots).with_disable_built_in_roots(true);
    Ok(Some(ssl.with_danger_skip_domain_validation(lenient)))
}

/// The certificates of `ssl-ca`, or the system's.
fn roots(file: Option<&str>) -> Result<Vec<Vec<u8>>> {
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs().certs;
        if found.is_empty() {
            return Err(Error::new(Kind::Config, "this system has no certificates to check the server's with")
                .remedy("install ca-certificates, or name the file with ssl-ca=…"));
        }
        return Ok(found.into_iter().map(|certificate| certificate.to_vec()).collect());
    };

    let unreadable = |why: String| {
        Error::new(Kind::Config, format!("the certificate {file} cannot be used: {why}"))
            .remedy("name a PEM file with ssl-ca=…")
    };

    let text = fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| unreadable(error.to_string()))?;
    if found.is_empty() {
        Err(unreadable("it holds no certificate".into()))
    } else {
        Ok(found.into_iter().map(|certificate| certificate.to_vec()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        Connector::new(url, CONNECT, None).err().map_or_else(String::new, |error| format!("{error:?}"))
    }

    #[test]
    fn a_url_is_read_as_mysql_s_client_reads_its_options_and_a_wrong_one_never_shows_its_password() {
        for url in [
            "mysql://u:p%40@h/d",
            "mariadb://u@[::1]:3307/d?ssl-mode=REQUIRED",
            "mysql://u@h/d?ssl_mode=verify-identity",
            "mysql://u@h/d?require_ssl=true&tcp_nodelay=false",
        ] {
            assert_eq!(refused(url), "", "{url}");
        }

        for (url, why) in [
            ("mysql://u:secret@h/d?ssl-mode=maybe", "no ssl-mode `maybe`"),
            ("mysql://u:secret@h:port/d", "cannot be read"),
            ("mysql://u:secret@h/", "names no database"),
            ("mysql://u:secret@h/d?colour=red", "cannot be read"),
            ("mysql://u:secret@h/d?ssl-mode=verify_ca&ssl-ca=/nowhere.pem", "/nowhere.pem cannot be used"),
        ] {
            let error = refused(url);
            assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
