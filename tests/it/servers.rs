//! Databases, stores and proxies from Debian's packages, each started and ended by its script in
//! `tests/servers`, on a free port of loopback.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;

/// A kind of server: the script that runs it, and how to speak to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    MariaDb,
    Redis,
    Sentinel,
    Memcached,
    Twemproxy,
    Nginx,
    Varnish,
    HaProxy,
    Caddy,
    H2o,
    Lighttpd,
    Apache,
    Squid,
    Nghttpx,
    Prometheus,
}

/// A running server. It ends when this is dropped, and when the tests end in any way: its script
/// reads the end of its input.
pub struct Server {
    pub kind: Kind,
    pub port: u16,
    orders: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _child: Awaited,
    pub folder: TempDir,
}

/// A free port of loopback that no other caller gets, and that no connection takes for its own end: Linux takes those from
/// 32,768 on (ip_local_port_range). A node of a Redis Cluster listens 10,000 above it too.
pub fn free_port() -> u16 {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    // Two runs of the tests at once begin at different ports.
    let begin = std::process::id() as usize;
    loop {
        let port = 12_000 + ((begin + COUNT.fetch_add(1, Ordering::Relaxed)) % 10_000) as u16;
        if is_free(&port) && is_free(&(port + 10_000)) {
            return port;
        }
    }
}

/// A script that stops its server when its input ends. Killing the script would leave the server
/// running.
struct Awaited(Child);

impl Drop for Awaited {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

impl Server {
    /// A server for one test, which may kill it.
    pub fn start(kind: Kind) -> Server {
        Server::start_with(kind, &[])
    }

    /// The same with further arguments for its script.
    pub fn start_with(kind: Kind, arguments: &[&str]) -> Server {
        let script = match kind {
            Kind::Postgres => "tests/servers/postgres",
            Kind::MariaDb => "tests/servers/mariadb",
            Kind::Redis => "tests/servers/redis",
            Kind::Sentinel => "tests/servers/sentinel",
            Kind::Memcached => "tests/servers/memcached",
            Kind::Twemproxy => "tests/servers/twemproxy",
            Kind::Nginx => "tests/servers/nginx",
            Kind::Varnish => "tests/servers/varnish",
            Kind::HaProxy => "tests/servers/haproxy",
            Kind::Caddy => "tests/servers/caddy",
            Kind::H2o => "tests/servers/h2o",
            Kind::Lighttpd => "tests/servers/lighttpd",
            Kind::Apache => "tests/servers/apache",
            Kind::Squid => "tests/servers/squid",
            Kind::Nghttpx => "tests/servers/nghttpx",
            Kind::Prometheus => "tests/servers/prometheus",
        };

        let port = free_port();
        let folder = TempDir::new().unwrap();
        let mut child = Command::new(script)
            .args([folder.path().to_str().unwrap(), &port.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{script}: {error}"));
        let orders = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let server = Server { kind, port, orders: Mutex::new(orders), _child: Awaited(child), folder };
        server.answer("ready");
        server
    }

    /// The server shared by all tests that leave it running.
    pub fn shared(kind: Kind) -> &'static Server {
        static POSTGRES: OnceLock<Server> = OnceLock::new();
        static MARIADB: OnceLock<Server> = OnceLock::new();
        static REDIS: OnceLock<Server> = OnceLock::new();
        static MEMCACHED: OnceLock<Server> = OnceLock::new();
        match kind {
            Kind::Postgres => POSTGRES.get_or_init(|| Server::start(kind)),
            Kind::MariaDb => MARIADB.get_or_init(|| Server::start(kind)),
            Kind::Redis => REDIS.get_or_init(|| Server::start(kind)),
            Kind::Memcached => MEMCACHED.get_or_init(|| Server::start(kind)),
            _ => unreachable!("{kind:?} works for another server, of one test"),
        }
    }

    /// `kill`, `start`, `pause` or `go`.
    pub fn order(&self, order: &str, answer: &str) {
        writeln!(self.orders.lock().unwrap().0, "{order}").unwrap();
        self.answer(answer);
    }

    fn answer(&self, expected: &str) {
        let mut line = String::new();
        self.orders.lock().unwrap().1.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), expected, "the server's script said something else");
    }

    /// A new, empty database.
    pub fn database(&'static self) -> Db {
        self.database_with("")
    }

    /// A new, empty database with these options.
    pub fn database_with(&'static self, options: &str) -> Db {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = Db::new(Where::Server(self, if self.kind == Kind::Postgres { "postgres" } else { "mysql" }.into()));
        admin.execute(&format!("CREATE DATABASE {name} {options}"));
        Db::new(Where::Server(self, name))
    }

    /// The database of this name.
    pub fn named(&'static self, name: &str) -> Db {
        Db::new(Where::Server(self, name.to_owned()))
    }
}

enum Where {
    File(crate::support::File),
    Server(&'static Server, String),
}

/// A database of a test, of any kind.
pub struct Db {
    server: Where,
    user: String,
    later: Mutex<String>,
}

/// A database of every kind, for suites of promises.
pub fn every_kind() -> Vec<Db> {
    vec![sqlite(), postgres(), mariadb()]
}

pub fn sqlite() -> Db {
    Db::new(Where::File(crate::support::File::with("")))
}

pub fn postgres() -> Db {
    Server::shared(Kind::Postgres).database()
}

/// A database whose texts may be any bytes.
pub fn postgres_without_encoding() -> Db {
    Server::shared(Kind::Postgres).database_with("ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
}

pub fn mariadb() -> Db {
    Server::shared(Kind::MariaDb).database()
}

impl Db {
    fn new(server: Where) -> Db {
        Db { server, user: "chunkflow".to_owned(), later: Default::default() }
    }

    /// The same database for another user, who needs no password.
    pub fn as_user(&self, user: &str) -> Db {
        let Where::Server(server, name) = &self.server else { unreachable!("a file has no users") };
        Db { user: user.to_owned(), ..Db::new(Where::Server(server, name.clone())) }
    }

    /// Its name at its server.
    pub fn database(&self) -> &str {
        let Where::Server(_, name) = &self.server else { unreachable!("a file has a path") };
        name
    }

    /// Its kind, which is its URL's scheme.
    pub fn name(&self) -> &'static str {
        match &self.server {
            Where::File(_) => "sqlite",
            Where::Server(Server { kind: Kind::Postgres, .. }, _) => "postgres",
            Where::Server(Server { kind: Kind::MariaDb, .. }, _) => "mariadb",
            Where::Server(..) => unreachable!("neither a store nor a proxy is a database"),
        }
    }

    pub fn url(&self) -> String {
        match &self.server {
            Where::File(file) => format!("sqlite:{}", file.path.display()),
            Where::Server(Server { kind: Kind::Postgres, port, .. }, name) => {
                format!("postgres://{}@127.0.0.1:{port}/{name}", self.user)
            }
            Where::Server(Server { port, .. }, name) => {
                format!("mariadb://{}@127.0.0.1:{port}/{name}", self.user)
            }
        }
    }

    /// Runs statements.
    pub fn execute(&self, sql: &str) {
        match &self.server {
            Where::File(file) => file.open().execute_batch(sql).unwrap(),
            Where::Server(..) => self.try_execute(sql).unwrap_or_else(|error| panic!("{error}\n{sql}")),
        }
    }

    /// Keeps a statement for [`execute_now`](Db::execute_now).
    pub fn execute_later(&self, sql: &str) {
        self.later.lock().unwrap().push_str(sql);
    }

    /// Runs all statements that were kept, in one transaction.
    pub fn execute_now(&self) {
        self.execute(&format!("BEGIN; {} COMMIT;", std::mem::take(&mut *self.later.lock().unwrap())));
    }

    pub fn try_execute(&self, sql: &str) -> Result<(), String> {
        self.query(sql).map(drop)
    }

    /// The rows of a query, each value as the database's own client prints it: `psql`, `mariadb`,
    /// `sqlite3`'s library.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        match &self.server {
            Where::File(file) => {
                let connection = file.open();
                let mut statement = connection.prepare(sql).map_err(|error| error.to_string())?;
                let width = statement.column_count();
                let mut rows = statement.query([]).unwrap();
                let mut all = vec![];
                while let Some(row) = rows.next().unwrap() {
                    let text = |index| match row.get_ref(index).unwrap() {
                        rusqlite::types::ValueRef::Null => String::new(),
                        rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                        rusqlite::types::ValueRef::Real(n) => n.to_string(),
                        value => String::from_utf8_lossy(value.as_bytes().unwrap()).into_owned(),
                    };
                    all.push((0..width).map(text).collect());
                }
                Ok(all)
            }
            Where::Server(Server { kind: Kind::Postgres, .. }, _) => {
                let mut psql = Command::new(psql());
                psql.args(["-X", "-q", "-A", "-t", "-F", "\u{1}", "-v", "ON_ERROR_STOP=1", "-f", "-", &self.url()]);
                Ok(split(&run(psql.env("TZ", "UTC"), sql)?, '\u{1}'))
            }
            Where::Server(Server { port, .. }, name) => {
                let mut mariadb = Command::new("mariadb");
                mariadb.args(["--no-defaults", "--default-character-set=utf8mb4", "-N", "-B", "-h", "127.0.0.1", "-P"]);
                mariadb.args([&port.to_string(), "-u", &self.user, name]);
                Ok(split(&run(&mut mariadb, &format!("SET time_zone = '+00:00';\n{sql}"))?, '\t'))
            }
        }
    }

    /// The configuration with one resource, `list`.
    pub fn config(&self, resource: &str) -> String {
        format!("[databases]\nmain = \"{}\"\n\n[resources.list]\ndatabase = \"main\"\n{resource}\n", self.url())
    }

    pub fn serve(&self, resource: &str) -> crate::support::Running {
        crate::support::Running::config(&self.config(resource))
    }
}

/// PostgreSQL's client itself: Debian's `psql` is a script that looks for it, which takes longer
/// than the client.
fn psql() -> &'static Path {
    static PSQL: OnceLock<PathBuf> = OnceLock::new();
    PSQL.get_or_init(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin/psql")).collect();
        found.retain(|path| path.exists());
        found.sort();
        found.pop().unwrap_or_else(|| "psql".into())
    })
}

/// A client's output for the statements on its input.
fn run(client: &mut Command, sql: &str) -> Result<String, String> {
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let sql = sql.to_owned();
    let writer = std::thread::spawn(move || input.write_all(sql.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn split(lines: &str, separator: char) -> Vec<Vec<String>> {
    lines.lines().map(|line| line.split(separator).map(str::to_owned).collect()).collect()
}
