//! Several servers over one store, all of them real: what a steady load sees while things happen to the store,
//! and how many streams one, two and three servers send.
//!
//! `cargo bench --bench fleet -- faults [SECONDS]`, `cargo bench --bench fleet -- servers [SECONDS]`: a
//! Markdown table each. It starts servers of its own (tests/servers) and ends them.

#![allow(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    reason = "parts of the tests, which say what went wrong by panicking"
)]

#[path = "../tests/it/client.rs"]
mod client;
#[path = "../tests/it/firewall.rs"]
mod firewall;
#[path = "../tests/it/machines.rs"]
mod machines;
#[path = "../tests/it/servers.rs"]
mod servers;
#[path = "../tests/it/steady.rs"]
mod steady;
#[path = "../tests/it/support.rs"]
mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use servers::{Kind, Server};
use steady::{FAULTS, Plan};
use support::{Process, numbered};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let seconds = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    match arguments.first().map(String::as_str) {
        Some("faults") => faults(seconds),
        Some("servers") => compare(seconds),
        // Run without arguments by `cargo test` or `cargo bench`: nothing to measure.
        _ => eprintln!("usage: cargo bench --bench fleet -- faults|servers [SECONDS]"),
    }
}

fn faults(seconds: u64) {
    let plan = Plan { clients: 8, rows: 20_000, time: Duration::from_secs(seconds) };
    println!(
        "| what happens | streams | errors | longest first byte | longest stream | queries (of a cold list) | all found again after |"
    );

    println!("|---|---|---|---|---|---|---|");
    for (name, fault) in FAULTS {
        let seen = fault(plan);
        println!(
            "| {name} | {} | {} | {:.2} s | {:.2} s | {} ({}) | {:.1} s |",
            seen.streams,
            seen.errors.len(),
            seen.first_byte.as_secs_f64(),
            seen.longest.as_secs_f64(),
            seen.queries,
            seen.queries_once,
            seen.back.as_secs_f64(),
        );
        seen.errors.iter().take(3).for_each(|error| println!("{error}"));
    }
}

/// One, two and three processes over one Redis, each asked by four clients.
fn compare(seconds: u64) {
    println!("| servers | `near` | streams/s | MB/s | servers' CPU | Redis's CPU | clients' CPU |");
    println!("|---|---|---|---|---|---|---|");
    let redis = Server::start(Kind::Redis);
    let file = numbered(20_000);
    for near in ["0", "64MiB"] {
        let text = file.config("table = \"item\"\nttl = \"1h\"");
        let store = format!("[store]\nurl = \"redis://127.0.0.1:{}\"\nnear = \"{near}\"\n", redis.port);
        std::fs::write(file.folder.path().join("chunkflow.toml"), text + &store).unwrap();
        for count in 1..=3 {
            let processes: Vec<Process> = (0..count).map(|_| Process::serve(&["serve"], file.folder.path())).collect();
            // Warm everywhere, before the clock starts.
            let _: u64 = processes.iter().map(|process| drain(process.address)).sum();
            thread::sleep(Duration::from_secs(1));
            let cpu = || {
                let servers: f64 = processes.iter().map(|process| cpu_of(&process.child.id().to_string())).sum();
                [servers, redis_cpu(&redis), cpu_of("self")]
            };
            let (began, before) = (Instant::now(), cpu());
            let until = began + Duration::from_secs(seconds);
            let totals: Vec<(u64, u64)> = thread::scope(|scope| {
                let clients: Vec<_> = (0..4 * count)
                    .map(|n| (processes[n % count].address, until))
                    .map(|(address, until)| scope.spawn(move || streams(address, until)))
                    .collect();
                clients.into_iter().map(|client| client.join().unwrap()).collect()
            });
            let (took, after) = (began.elapsed().as_secs_f64(), cpu());
            let streams: u64 = totals.iter().map(|(streams, _)| streams).sum();
            let bytes: u64 = totals.iter().map(|(_, bytes)| bytes).sum();
            let used = |index: usize| (after[index] - before[index]) / took;
            println!(
                "| {count} | {near} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |",
                streams as f64 / took,
                bytes as f64 / took / 1e6,
                used(0),
                used(1),
                used(2)
            );
        }
    }
}

/// Whole streams, one after the other, until the time is over: how many, and their bytes.
fn streams(address: SocketAddr, until: Instant) -> (u64, u64) {
    let (mut streams, mut bytes) = (0, 0);
    while Instant::now() < until {
        bytes += drain(address);
        streams += 1;
    }
    (streams, bytes)
}

/// A whole stream; its bytes.
fn drain(address: SocketAddr) -> u64 {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(b"GET /list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let (mut buffer, mut bytes) = (vec![0; 1 << 18], 0);
    loop {
        match connection.read(&mut buffer).unwrap() {
            0 => return bytes,
            read => bytes += read as u64,
        }
    }
}

/// Seconds of CPU that a process has used: Linux counts them in hundredths.
fn cpu_of(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = text.rsplit_once(") ").unwrap();
    let ticks: f64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

fn redis_cpu(redis: &Server) -> f64 {
    let told = machines::cli(redis, &["info", "cpu"]);
    let value =
        |name: &str| -> f64 { told.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap() };
    value("used_cpu_sys:") + value("used_cpu_user:")
}
