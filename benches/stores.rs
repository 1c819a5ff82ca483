//! Shared stores: a warm list from Redis and Memcached against bare loops of GETs of the same entries, the near tier against the store in memory,
//! and cold lists with and without writes to a store. All in turn, so that ratios hold when the machine drifts.
//!
//! `cargo bench --bench stores -- run [ROWS] [ROUNDS]`: starts servers of its own (tests/servers) and ends them.

use std::{
    future::poll_fn,
    io::{BufRead, BufReader},
    net::TcpListener,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use chunkflow::{Chunkflow, Resource, ResourceOptions, StoreOptions, closure, open_store};
use http_body::Body as _;
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    id: u64,
    text: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_none_or(|argument| argument != "run") {
        // Run without arguments by `cargo test` or `cargo bench`: nothing to measure.
        eprintln!("usage: cargo bench --bench stores -- run [ROWS] [ROUNDS]");
        return;
    }
    let number = |index: usize, usual: u64| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (rows, rounds) = (number(1, 200_000), number(2, 7));
    let (redis, memcached) = (Server::start("redis"), Server::start("memcached"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(rows, rounds, &redis, &memcached));
}

async fn run(rows: u64, rounds: u64, redis: &Server, memcached: &Server) {
    let options = |url: String, near: u64| StoreOptions { near, prefix: format!("n{near}:"), ..StoreOptions::new(url) };
    let at = |server: &Server, scheme: &str| format!("{scheme}://127.0.0.1:{}", server.port);
    let memory = lists(rows, &StoreOptions::new("memory:512MiB"));
    let near = lists(rows, &options(at(redis, "redis"), 512 << 20));
    let far = lists(rows, &options(at(redis, "redis"), 0));
    let other = lists(rows, &options(at(memcached, "memcached"), 0));
    for warm in [&memory, &near, &far, &other] {
        drain(warm).await;
        warm.written().await;
    }
    let client = redis::Client::open(at(redis, "redis")).expect("a right URL");
    let mut bare = client.get_multiplexed_async_connection().await.expect("it connects");
    let names: Vec<String> = redis::cmd("KEYS").arg("n0:c:*").query_async(&mut bare).await.expect("names");
    let meta =
        memcache::exp::AsyncMetaClient::connect(format!("127.0.0.1:{}", memcached.port)).await.expect("it connects");
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
        note("memory", drain(&memory).await);
        note("near tier", drain(&near).await);
        note("Redis", drain(&far).await);
        let (began, mut bytes) = (Instant::now(), 0);
        for name in &names {
            let value: Vec<u8> = redis::cmd("GET").arg(name).query_async(&mut bare).await.expect("an entry");
            bytes += value.len();
        }
        note("Redis, a loop of GETs", bytes as f64 / began.elapsed().as_secs_f64());
        note("Memcached", drain(&other).await);
        // One entry of the usual size, as often.
        meta.set("probe", vec![b'x'; 70_000]).send().await.expect("a set");
        let (began, mut bytes) = (Instant::now(), 0);
        for _ in &names {
            bytes += meta.get("probe").send().await.expect("an entry").value.map_or(0, |value| value.len());
        }
        note("Memcached, a loop of GETs", bytes as f64 / began.elapsed().as_secs_f64());
        let cold = |prefix: &str, url: String| StoreOptions {
            near: 0,
            prefix: format!("{prefix}{round}:"),
            ..StoreOptions::new(url)
        };
        note("cold, memory", drain(&lists(rows, &StoreOptions::new("memory:512MiB"))).await);
        note("cold, Redis", drain(&lists(rows, &cold("r", at(redis, "redis")))).await);
        note("cold, Memcached", drain(&lists(rows, &cold("m", at(memcached, "memcached")))).await);
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
        ("cold, Redis", "cold, memory"),
        ("cold, Memcached", "cold, memory"),
    ] {
        let (own, other) = (median(name), median(than));
        println!("{name:18} {:7.0} MB/s   {than:26} {:7.0} MB/s   {:.2}", own / 1e6, other / 1e6, own / other);
    }
}

/// A list of so many rows of about 100 bytes over a store.
fn lists(rows: u64, options: &StoreOptions) -> Chunkflow {
    let source = closure(
        &["id", "text"],
        |row: &Row| row.id,
        move |after: Option<u64>, limit| async move {
            let from = after.map_or(0, |id| id + 1);
            let row = |id| Row { id, text: format!("{id:0>80}") };
            Ok::<_, std::io::Error>((from..rows).take(limit).map(row).collect())
        },
    );
    let resource = Resource::new("list", Arc::new(source), ResourceOptions::default()).expect("a right resource");
    Chunkflow::new(open_store(options).expect("a right store")).with(resource)
}

/// Bytes a second of a whole list.
async fn drain(chunkflow: &Chunkflow) -> f64 {
    let began = Instant::now();
    let mut body = chunkflow.body(&chunkflow.resources()[0], 0, "").await.expect("it begins");
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        bytes += std::hint::black_box(frame.expect("a frame").into_data().expect("data")).len();
    }
    bytes as f64 / began.elapsed().as_secs_f64()
}

/// A server of this benchmark's own, ended when dropped.
struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(kind: &str) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
        let folder = tempfile::TempDir::new().expect("a folder");
        let mut child = Command::new(format!("tests/servers/{kind}"))
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
}

impl Drop for Server {
    fn drop(&mut self) {
        // The script ends the server at the end of its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
