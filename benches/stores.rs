//! Shared stores: a warm list from Redis and Memcached against bare loops of GETs of the same entries, the near
//! tier against the store in memory, and cold lists from SQLite with and without writes to a store, packed and
//! not. All in turn, so that ratios hold when the machine drifts.
//!
//! `cargo bench --bench stores -- run [ROWS] [ROUNDS]`: starts servers of its own (tests/servers) and ends
//! them. With two cores or more the servers have the second one, and this the first: `taskset -c 0 cargo bench
//! …` (the servers are moved away from it).
//!
//! `cargo bench --bench stores -- cold [ROWS] [ROUNDS]`: cold lists alone, with all cores for everything and a
//! runtime as `chunkflow serve` has it; with the time of a list, and the processor's time that it took, here
//! and in the store.

use std::{
    future::poll_fn,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    pin::Pin,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use chunkflow::{
    Chunkflow, Format, Resource, ResourceOptions, Sqlite,
    source::{Database as _, GateLimits, Spec},
    store::{StoreOptions, open_store},
};
use http_body::Body as _;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let what = arguments.first().map_or("", |argument| &**argument);
    if !["run", "cold"].contains(&what) {
        // Run without arguments by `cargo test` or `cargo bench`: nothing to measure.
        eprintln!("usage: cargo bench --bench stores -- run|cold [ROWS] [ROUNDS]");
        return;
    }

    let number = |index: usize, usual: u64| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (rows, rounds) = (number(1, 200_000), number(2, 7));
    let all_cores = what == "cold";
    let (redis, memcached) = (Server::start("redis", all_cores), Server::start("memcached", all_cores));
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("list.sqlite");
    fill(&file, rows);
    if all_cores {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(cold(&file, rows, rounds, &redis, &memcached));
    } else {
        // One core for this, one for the servers.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(&file, rounds, &redis, &memcached));
    }
}

/// A table of rows of some two hundred bytes, with words as texts have them.
fn fill(file: &std::path::Path, rows: u64) {
    let connection = rusqlite::Connection::open(file).expect("the file opens");
    connection
        .execute_batch("CREATE TABLE item (id INTEGER PRIMARY KEY, title TEXT, body TEXT); BEGIN")
        .expect("a table");
    let mut random = 1u64;
    let mut words = |count: usize| {
        let word = |_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let word = random >> 54;
            // Some words are much more common than others.
            format!("w{:x}", word * word / 1024)
        };
        (0..count).map(word).collect::<Vec<_>>().join(" ")
    };

    let mut insert = connection.prepare("INSERT INTO item VALUES (?, ?, ?)").expect("a statement");
    for id in 0..rows {
        insert.execute(rusqlite::params![id as i64, words(6), words(30)]).expect("a row");
    }

    connection.execute_batch("COMMIT").expect("it is written");
}

/// A connection to Memcached that does nothing but wait for its answers.
struct BareMemcached(BufReader<TcpStream>);

impl BareMemcached {
    fn connect(port: u16) -> BareMemcached {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it connects");
        stream.set_nodelay(true).expect("a socket");
        BareMemcached(BufReader::with_capacity(1 << 20, stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        line
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        let head = format!("set {name} 0 0 {}\r\n", value.len());
        self.0.get_mut().write_all(&[head.as_bytes(), value, b"\r\n"].concat()).expect("it is sent");
        assert_eq!(self.line(), "STORED\r\n");
    }

    /// The bytes of an entry.
    fn get(&mut self, name: &str) -> usize {
        self.0.get_mut().write_all(format!("get {name}\r\n").as_bytes()).expect("it is sent");
        let head = self.line();
        let length: usize = head.trim().rsplit(' ').next().and_then(|length| length.parse().ok()).expect("an entry");
        let mut value = vec![0; length + 2];
        self.0.read_exact(&mut value).expect("its bytes");
        assert_eq!(self.line(), "END\r\n");
        length
    }
}

async fn run(file: &std::path::Path, rounds: u64, redis: &Server, memcached: &Server) {
    let at = |server: &Server, scheme: &str| format!("{scheme}://127.0.0.1:{}", server.port);
    let options = |prefix: &str, url: String, near: u64, pack: bool| {
        StoreOptions::new(url).with(|store| {
            store.near = near;
            store.pack = pack;
            store.prefix = format!("{prefix}:");
        })
    };

    let (at_redis, at_memcached) = (at(redis, "redis"), at(memcached, "memcached"));
    let list = |options: StoreOptions| lists(file, options);
    let memory = list(StoreOptions::new("memory:512MiB")).await;
    let near = list(options("near", at_redis.clone(), 512 << 20, true)).await;
    let far = list(options("plain", at_redis.clone(), 0, false)).await;
    let packed = list(options("packed", at_redis.clone(), 0, true)).await;
    let other = list(options("plain", at_memcached.clone(), 0, false)).await;
    let other_packed = list(options("packed", at_memcached.clone(), 0, true)).await;
    for warm in [&memory, &near, &far, &packed, &other, &other_packed] {
        drain(warm).await;
        warm.written().await;
    }

    let client = redis::Client::open(at(redis, "redis")).expect("a right URL");
    let mut bare = client.get_multiplexed_async_connection().await.expect("it connects");
    let names: Vec<String> = redis::cmd("KEYS").arg("plain:c3:*").query_async(&mut bare).await.expect("names");
    let mut probe = 0;
    for name in &names {
        probe += redis::cmd("STRLEN").arg(name).query_async::<usize>(&mut bare).await.expect("a length");
    }

    let probe = probe / names.len();
    let mut bare_memcached = BareMemcached::connect(memcached.port);
    let mut rates: Vec<(&str, Vec<f64>)> = vec![];
    for round in 0..=rounds {
        let mut note = |name: &'static str, rate: f64| {
            // The first round is not counted.
            if round > 0 {
                match rates.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, rates)) => rates.push(rate),
                    None => rates.push((name, vec![rate])),
                }
            }
        };
        // One of these takes a third of a millisecond, and mostly what caches of the processor do not hold.
        note("memory", again(&memory).await);
        note("near tier", again(&near).await);
        note("Redis", drain(&far).await);
        note("Redis, packed", drain(&packed).await);
        let (began, mut bytes) = (Instant::now(), 0);
        for name in &names {
            let value: Vec<u8> = redis::cmd("GET").arg(name).query_async(&mut bare).await.expect("an entry");
            bytes += value.len();
        }
        note("Redis, a loop of GETs", bytes as f64 / began.elapsed().as_secs_f64());
        note("Memcached", drain(&other).await);
        note("Memcached, packed", drain(&other_packed).await);
        // One entry of the usual size, as often.
        bare_memcached.set("probe", &vec![b'x'; probe]);
        let (began, mut bytes) = (Instant::now(), 0);
        for _ in &names {
            bytes += bare_memcached.get("probe");
        }
        note("Memcached, a loop of GETs", bytes as f64 / began.elapsed().as_secs_f64());
        for (name, prefix, url, pack) in [
            ("cold, memory", "", "memory:512MiB", false),
            ("cold, Redis", "r", &*at_redis, false),
            ("cold, Redis, packed", "rp", &*at_redis, true),
            ("cold, Memcached", "m", &*at_memcached, false),
            ("cold, Memcached, packed", "mp", &*at_memcached, true),
        ] {
            let cold = list(options(&format!("{prefix}{round}"), url.to_owned(), 0, pack)).await;
            note(name, drain(&cold).await);
            cold.written().await;
        }
    }

    let median = |name: &str| {
        let (_, rates) = rates.iter().find(|(known, _)| *known == name).expect("it was measured");
        let mut rates = rates.clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };

    for (name, than) in [
        ("near tier", "memory"),
        ("Redis", "Redis, a loop of GETs"),
        ("Memcached", "Memcached, a loop of GETs"),
        ("Redis, packed", "Redis"),
        ("Memcached, packed", "Memcached"),
        ("cold, Redis", "cold, memory"),
        ("cold, Redis, packed", "cold, memory"),
        ("cold, Memcached", "cold, memory"),
        ("cold, Memcached, packed", "cold, memory"),
    ] {
        let (own, other) = (median(name), median(than));
        println!("{name:24} {:7.0} MB/s   {than:26} {:7.0} MB/s   {:.2}", own / 1e6, other / 1e6, own / other);
    }
}

/// Cold lists, without and with writes to a store, in turn.
async fn cold(file: &std::path::Path, rows: u64, rounds: u64, redis: &Server, memcached: &Server) {
    let url = |scheme: &str, server: &Server| format!("{scheme}://127.0.0.1:{}", server.port);
    let kinds = [
        ("memory", "memory:512MiB".to_owned(), None),
        ("Redis", url("redis", redis), Some(redis)),
        ("Memcached", url("memcached", memcached), Some(memcached)),
    ];

    let mut spent = kinds.each_ref().map(|_| vec![]);
    // The first round is not counted.
    for round in 0..=rounds {
        for ((_, url, server), spent) in kinds.iter().zip(&mut spent) {
            let options = StoreOptions::new(url.clone()).with(|store| {
                store.near = 0;
                store.prefix = format!("cold{round}:");
            });
            let list = lists(file, options).await;
            let processors =
                || (processor_time("self"), server.map_or(0.0, |server| processor_time(&server.program())));
            let (before, began) = (processors(), Instant::now());
            drain(&list).await;
            let time = began.elapsed().as_secs_f64();
            list.written().await;
            let (written, after) = (began.elapsed().as_secs_f64(), processors());
            if round > 0 {
                spent.push([time, written, after.0 - before.0, after.1 - before.1]);
            }
        }
    }

    println!("a list of {rows} rows    rows/s   of memory   list   written   processor here   in the store");
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };

    let time = |spent: &[[f64; 4]]| median(spent.iter().map(|spent| spent[0]).collect());
    for ((name, ..), spent_here) in kinds.iter().zip(&spent) {
        let mean = |what: usize| spent_here.iter().map(|spent| spent[what]).sum::<f64>() / spent_here.len() as f64;
        let list = time(spent_here);
        println!(
            "{name:20} {:10.0} {:11.2} {:4.0} ms {:6.0} ms {:13.0} ms {:11.0} ms",
            rows as f64 / list,
            time(&spent[0]) / list,
            list * 1e3,
            mean(1) * 1e3,
            mean(2) * 1e3,
            mean(3) * 1e3
        );
    }
}

/// How many seconds of processors a process has had, in hundredths.
fn processor_time(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux, and a process that runs");
    // The second field is a name in brackets, which may have spaces in it.
    let fields = stat.rsplit(") ").next().expect("a name in brackets").split(' ');
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

/// The table as a list over a store.
async fn lists(file: &std::path::Path, options: StoreOptions) -> Chunkflow {
    let url = format!("sqlite:{}", file.display());
    let database = Sqlite::open(&url, GateLimits::default(), Duration::from_secs(60)).expect("it opens");
    let spec = Spec::of("item");
    let (source, fields) = database.source(&spec).await.expect("a right spec");
    let resource = ResourceOptions::default().with(|options| options.fields = Some(fields));
    let resource = Resource::new("list", source, resource).expect("a right resource");
    Chunkflow::new(open_store(&options).expect("a right store")).with(resource)
}

/// Bytes a second of a whole list.
async fn drain(chunkflow: &Chunkflow) -> f64 {
    let began = Instant::now();
    let mut body = chunkflow.body(&chunkflow.resources()[0], Format::JSON, "").await.expect("it begins");
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        bytes += std::hint::black_box(frame.expect("a frame").into_data().expect("data")).len();
    }
    bytes as f64 / began.elapsed().as_secs_f64()
}

/// Bytes a second of a whole list that is asked for again and again.
async fn again(chunkflow: &Chunkflow) -> f64 {
    const TIMES: usize = 50;
    let mut time = 0.0;
    for _ in 0..TIMES {
        time += 1.0 / drain(chunkflow).await;
    }
    TIMES as f64 / time
}

/// A command that does not run on the first core, where there are several.
fn elsewhere(program: &str) -> Command {
    let cores = std::fs::read_to_string("/proc/cpuinfo").map_or(1, |text| text.matches("processor").count());
    if cores < 2 {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &format!("1-{}", cores - 1), program]);
    command
}

/// A server of this benchmark's own, ended when dropped.
struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server: on all cores, or away from the first.
    fn start(kind: &str, all_cores: bool) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
        let folder = tempfile::TempDir::new().expect("a folder");
        let script = format!("tests/servers/{kind}");
        let mut command = if all_cores { Command::new(script) } else { elsewhere(&script) };
        let mut child = command
            .args([folder.path().to_str().expect("a name"), &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says something");
        assert_eq!(line, "ready\n");
        Server { child, port, _folder: folder }
    }

    /// The process that the script started.
    fn program(&self) -> String {
        let script = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).expect("Linux");
        children.split(' ').next().expect("a process").to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The script ends the server at the end of its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
