//! Servers on port 0, and a source whose every step a test controls.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

pub use crate::client::{Client, Reply, ask};
use chunkflow::{
    Chunkflow, Error, Format, Kind, Memory, Resource, ResourceOptions, Result,
    metrics::Metrics,
    server::{Config, Server, ServerConfig, Shutdown},
    source::{BoxFuture, Column, Query, RowBatch, RowSink, Run, Source, Value},
    store::Generation,
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| UNIX_EPOCH.elapsed().unwrap().as_millis() as u64)
}

/// The names of all formats of this build: tests that use them cover a new format too.
pub fn formats() -> Vec<&'static str> {
    Format::all().map(Format::name).collect()
}

/// How long anything may take before a test counts as stuck. Never a measure of speed.
pub const STUCK: Duration = Duration::from_secs(60);

// ---------------------------------------------------------------------------------------------------------------- servers

/// A server in this process, on its own runtime; stopped on drop.
pub struct Running {
    pub address: SocketAddr,
    pub chunkflow: Chunkflow,
    pub shutdown: Shutdown,
    pub ended: std::sync::mpsc::Receiver<()>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Running {
    pub fn start(server: ServerConfig, chunkflow: Chunkflow) -> Running {
        Running::on(runtime(), server, chunkflow)
    }

    /// Serves what `make` makes on the server's own runtime.
    pub fn with(server: ServerConfig, make: impl AsyncFnOnce() -> Chunkflow) -> Running {
        let runtime = runtime();
        let chunkflow = runtime.block_on(make());
        Running::on(runtime, server, chunkflow)
    }

    /// Runs a future on the server's runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    /// Serves on this runtime.
    pub fn on(runtime: tokio::runtime::Runtime, server: ServerConfig, chunkflow: Chunkflow) -> Running {
        let server = server.with(|server_| server_.listen = SocketAddr::from(([127, 0, 0, 1], 0)).into());
        let server = runtime.block_on(async { Server::bind(server, chunkflow.clone()).unwrap() });
        let (address, shutdown, (tell, ended)) =
            (server.address().unwrap(), Shutdown::default(), std::sync::mpsc::channel());
        let stop = shutdown.clone();
        runtime.spawn(async move {
            server.run(stop).await;
            let _ = tell.send(());
        });
        Running { address, chunkflow, shutdown, ended, runtime: Some(runtime) }
    }

    /// Serves a configuration, but not at its `listen`.
    pub fn config(text: &str) -> Running {
        Running::of(&parse(text).unwrap_or_else(|complaints| panic!("{complaints}")))
    }

    pub fn of(config: &Config) -> Running {
        // The tasks of database connections must live as long as the server.
        let runtime = runtime();
        let chunkflow = runtime.block_on(config.open()).unwrap_or_else(|complaints| panic!("{complaints}"));
        Running::on(runtime, config.server.clone(), chunkflow)
    }

    pub fn get(&self, target: &str) -> Reply {
        ask(self.address, "GET", target, &[])
    }

    /// Forgets the chunks of a resource.
    pub async fn purge(&self, resource: &str) -> Result<()> {
        let resource = self.chunkflow.resource(resource).expect("it is there");
        self.chunkflow.purge(&resource).await
    }

    /// The generation of a resource.
    pub fn generation(&self, resource: &str) -> Option<Generation> {
        self.chunkflow.generation(&self.chunkflow.resource(resource).expect("it is there"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The output of `chunkflow check` for a configuration; empty if nothing is wrong.
pub fn checked(text: &str) -> String {
    let checked = runtime().block_on(Config::check("chunkflow.toml", text, &|_| None));
    checked.err().map(|complaints| complaints.to_string()).unwrap_or_default()
}

pub fn parse(text: &str) -> Result<Config, chunkflow::server::Complaints> {
    Config::parse("chunkflow.toml", text, &|_| None)
}

/// The binary as a server; killed on drop.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
    log: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Process {
    /// Runs the binary with these arguments, and waits until it prints where it serves.
    pub fn serve(arguments: &[&str], folder: &Path) -> Process {
        Process::spawn(&mut binary(arguments, folder))
    }

    /// The same for a command that is made already.
    pub fn spawn(command: &mut Command) -> Process {
        let mut child = command.env("CHUNKFLOW_LISTEN", "127.0.0.1:0").stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {seen}")).unwrap();
            if let Some((_, rest)) = line.split_once("at http://") {
                break rest.trim_end_matches('/').parse().unwrap();
            }
            seen += &(line + "\n");
        };
        // The log must be read, or the server would block on it.
        let log = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        Process { child, address, log: Some(log) }
    }

    pub fn get(&self, target: &str) -> Reply {
        ask(self.address, "GET", target, &[])
    }

    /// Kills it; returns the lines that it has logged while serving.
    pub fn kill(&mut self) -> Vec<String> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A child process that is ended with the test, even if the test fails.
pub struct Ended(pub Child);

impl Ended {
    /// Sends it a signal, `-TERM` for instance.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The binary with a clean environment, in a folder.
pub fn binary(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chunkflow"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        let ours = ["CHUNKFLOW_", "PG", "MYSQL_", "OTEL_"].iter().any(|prefix| name.starts_with(prefix));
        if ours || ["DATABASE_URL", "NO_COLOR"].contains(&&*name) {
            command.env_remove(name);
        }
    }
    command.env("XDG_CACHE_HOME", folder);
    command
}

/// The output of a command that should end on its own. If it does not, it is killed and counts as
/// failed.
pub fn output_in_time(command: &mut Command) -> std::process::Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > STUCK {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

// --------------------------------------------------------------------------------------------------------------- fixtures

/// A SQLite file in a folder that is removed on drop.
pub struct File {
    pub folder: TempDir,
    pub path: PathBuf,
}

impl File {
    pub fn with(sql: &str) -> File {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("test.sqlite");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        File { folder, path }
    }

    pub fn open(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(STUCK).unwrap();
        connection
    }

    /// A configuration with one resource, `list`, over this file.
    pub fn config(&self, resource: &str) -> String {
        format!(
            "[databases]\nmain = \"sqlite:{}\"\n\n[resources.list]\ndatabase = \"main\"\n{resource}\n",
            self.path.display()
        )
    }

    pub fn serve(&self, resource: &str) -> Running {
        Running::config(&self.config(resource))
    }
}

/// A table `item (id, name)` with rows 1 to `rows`.
pub fn numbered(rows: u64) -> File {
    File::with(&format!(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows})
         INSERT INTO item SELECT i, 'name ' || i || ' ' || hex(randomblob(20)) FROM n WHERE {rows} > 0;"
    ))
}

// ----------------------------------------------------------------------------------------------------------------- source

/// A list of the numbers from 1 to `rows`. Its reads are counted, and wait for the test's permits.
pub struct Numbers {
    pub rows: u64,
    /// Bytes of text in each row.
    pub width: usize,
    columns: Vec<Column>,
    order: Vec<String>,
    /// Reads begun, reads given up, and rows handed out.
    pub begun: AtomicUsize,
    pub dropped: AtomicUsize,
    pub handed: AtomicU64,
    /// Each read takes a permit, so a test with few permits holds the source back.
    pub permits: Arc<Semaphore>,
    /// Rows behind this one cannot be read; the error is of this kind.
    pub fails_behind: Mutex<Option<(u64, Kind)>>,
    /// Where each read began.
    pub reads: Mutex<Vec<i64>>,
}

impl Numbers {
    pub fn new(rows: u64, width: usize) -> Arc<Numbers> {
        Arc::new(Numbers {
            rows,
            width,
            columns: vec![Column::scalar("id"), Column::scalar("text")],
            order: vec!["id".into()],
            begun: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            handed: AtomicU64::new(0),
            permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            fails_behind: Mutex::new(None),
            reads: Mutex::default(),
        })
    }

    /// The same, but no read may begin until the test adds permits.
    pub fn held_back(rows: u64, width: usize) -> Arc<Numbers> {
        let numbers = Numbers::new(rows, width);
        numbers.permits.forget_permits(Semaphore::MAX_PERMITS);
        numbers
    }

    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub fn fail_behind(&self, row: u64, kind: Kind) {
        *self.fails_behind.lock().unwrap() = Some((row, kind));
    }
}

impl Source for Numbers {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn order(&self) -> &[String] {
        &self.order
    }

    fn fingerprint(&self) -> Vec<u8> {
        b"numbers".to_vec()
    }

    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>> {
        struct Dropped<'a>(&'a Numbers, bool);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.dropped.fetch_add(1, Ordering::SeqCst);
                }
            }
        }

        Box::pin(async move {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let mut dropped = Dropped(self, false);
            self.permits.acquire().await.unwrap().forget();
            dropped.1 = true;
            let after = match query.after.values().next() {
                Some(Value::Integer(after)) => after,
                _ => 0,
            };
            self.reads.lock().unwrap().push(after);
            let last = self.rows.min(after as u64 + u64::from(query.limit));
            let text = "x".repeat(self.width);
            let mut batch = RowBatch::new(1, 2);
            for id in after as u64 + 1..=last {
                if let Some((row, kind)) = *self.fails_behind.lock().unwrap()
                    && id > row
                {
                    return Err(Error::new(kind, "the test's source fails here"));
                }
                self.handed.fetch_add(1, Ordering::SeqCst);
                batch.push(&[Value::Integer(id as i64)], &[Value::Integer(id as i64), Value::Text(text.as_bytes())])?;
            }
            sink.take(batch)?;
            Ok(Run::new(last == self.rows))
        })
    }
}

/// A clock that a test sets.
#[derive(Clone, Default)]
pub struct Hands(Arc<AtomicU64>);

impl Hands {
    pub fn clock(&self) -> Clock {
        self.0.store(1_700_000_000_000, Ordering::SeqCst);
        let hands = Arc::clone(&self.0);
        Arc::new(move || hands.load(Ordering::SeqCst))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

/// `/numbers` over a source, with a store of 64 MiB.
pub fn numbers_app(source: &Arc<Numbers>, options: ResourceOptions, clock: Clock) -> Chunkflow {
    let resource = Resource::new("numbers", Arc::clone(source) as Arc<dyn Source>, options).unwrap();
    Chunkflow::with_clock(Arc::new(Memory::new(64 << 20)), clock, Arc::new(Metrics::default())).with(resource)
}

pub fn serve_numbers(source: &Arc<Numbers>) -> Running {
    Running::start(
        ServerConfig::default(),
        numbers_app(source, ResourceOptions::default(), crate::support::system_clock()),
    )
}

/// Waits until a condition holds; fails if it never does.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !so() {
        assert!(began.elapsed() < STUCK, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The ids in a body of numbers, in order.
pub fn ids(reply: &Reply) -> Vec<u64> {
    reply.results().iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

/// The text of another place in the same list as this cursor's text. Without a secret anybody can
/// make it.
pub fn forged(real: &str, place: &chunkflow::source::Cursor) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let real = URL_SAFE_NO_PAD.decode(real).unwrap();
    let mut bytes = [&real[..9], &place.canonical()[..]].concat();
    bytes.extend(xxhash_rust::xxh3::xxh3_64(&bytes).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The cursor in a page's link to the next page.
pub fn next_cursor(reply: &Reply) -> String {
    let link = reply.header("link");
    let (_, cursor) = link.split_once("after=").unwrap_or_else(|| panic!("no next page: {link:?}"));
    cursor.split(['>', '&']).next().unwrap_or_default().to_owned()
}
