//! A fleet under load, as its operator sees it: clients ask two servers with one store. Each
//! command, each part of the page and each panel of the dashboard is used once.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

use crate::{
    operator::Browser,
    seen::{dashboard_of, metrics, value},
    servers::{Kind, Server, free_port},
    support::{Client, File, Process, ask, binary, until},
};

/// One of the servers.
struct Member {
    folder: tempfile::TempDir,
    process: Process,
    admin: SocketAddr,
}

impl Member {
    fn start(file: &File, store: &str) -> Member {
        let folder = tempfile::TempDir::new().unwrap();
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let list = |name: &str| format!("[resources.{name}]\ndatabase = \"main\"\ntable = \"{name}\"\nttl = \"1s\"\n");
        let text = format!(
            "[admin]\nlisten = \"{admin}\"\n\n[store]\nurl = \"{store}\"\n\n[databases]\nmain = \"sqlite:{}\"\n\n{}\n{}",
            file.path.display(),
            list("short"),
            list("long")
        );
        fs::write(folder.path().join("chunkflow.toml"), text).unwrap();
        let process = Process::serve(&["serve"], folder.path());
        Member { folder, process, admin }
    }
}

/// The requests of the clients.
const ASKED: [(&str, &str); 6] = [
    ("/short", "gzip"),
    ("/short.ndjson", "br"),
    ("/short.csv", "identity"),
    ("/short?limit=100&id=gt.7", "identity"),
    ("/long?limit=2000", "gzip"),
    ("/nowhere", "identity"),
];

/// Asks one server after the other until `enough` is set.
fn load(fleet: &[Member], enough: &AtomicBool, asked: &AtomicUsize) {
    while !enough.load(Ordering::Relaxed) {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        let (target, coding) = ASKED[number % ASKED.len()];
        let address = fleet[number / ASKED.len() % fleet.len()].process.address;
        let reply = ask(address, "GET", target, &[("accept-encoding", coding)]);
        let expected = if target == "/nowhere" { 404 } else { 200 };
        assert_eq!((reply.status, reply.whole), (expected, true), "{target} in {coding}");
    }
}

/// Runs one of the operator's commands beside the server.
fn obeys(arguments: &[&str], folder: &Path) -> String {
    let output = binary(arguments, folder).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &said
}

/// Uses the page of a server as an operator does; nobody reads one of the server's streams.
fn uses_the_page(member: &Member) {
    let mut browser = Browser::start();
    browser.open(member.admin);
    browser.see("short");
    for part in ["Streams under way", "Databases", "main", "Store", "Last problems", "Last reload"] {
        browser.see(part);
    }

    let slow = Client::get(member.process.address, "/long");
    browser.see("127.0.0.1");
    browser.press("Cut the stream of long to 127.0.0.1");
    browser.see("The stream is cut.");
    drop(slow);
    browser.press("Warm short");
    browser.see("short is being warmed.");
    browser.press("Purge long");
    browser.see("long is purged.");

    for chart in ["streams", "first", "bytes", "hits"] {
        let points = format!(
            "[...document.querySelectorAll('#{chart} polyline')].some((line) => line.points.numberOfItems > 1)"
        );
        until(chart, || browser.evaluate(&points) == Value::Bool(true));
    }

    browser.is_accessible();
    browser.was_quiet(member.admin, "");
}

#[test]
fn an_operator_uses_each_command_each_part_of_the_page_and_each_panel_on_a_fleet_under_load() {
    let redis = Server::start(Kind::Redis);
    let file = File::with(
        "CREATE TABLE short (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) INSERT INTO short SELECT i, 'row ' || i FROM n;
         CREATE TABLE long (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40000)
         INSERT INTO long SELECT i, hex(randomblob(300)) FROM n;",
    );

    let store = format!("redis://127.0.0.1:{}", redis.port);
    let fleet = [Member::start(&file, &store), Member::start(&file, &store)];
    let admins = fleet.each_ref().map(|member| member.admin.to_string());
    let scraper = Server::start_with(Kind::Prometheus, &admins.each_ref().map(String::as_str));
    let prometheus = SocketAddr::from(([127, 0, 0, 1], scraper.port));

    let enough = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        let loads: Vec<_> = (0..2).map(|_| scope.spawn(|| load(&fleet, &enough, &asked))).collect();
        let operator = scope.spawn(|| {
            uses_the_page(&fleet[0]);
            let [folder, database] = [fleet[1].folder.path(), &*file.path];
            assert!(obeys(&["check"], folder).contains("nothing is wrong"));
            obeys(&["warm", "short"], folder);
            obeys(&["purge", "short"], folder);
            assert!(obeys(&["reload"], folder).contains("reloaded: serving short, long"));
            assert!(obeys(&["export", "short", "--format", "csv"], folder).contains("row 2000"));
            assert!(obeys(&["init", &database.display().to_string()], folder).contains("[resources.short]"));
            assert!(obeys(&["completions", "bash"], folder).contains("_chunkflow"));
            assert!(obeys(&["man"], folder).contains(".TH"));

            for admin in &admins {
                let queries = dashboard_of(admin);
                // These metrics exist only with TLS.
                for one in queries.iter().filter(|query| !query.contains("certificate")) {
                    until(&format!("{admin}: {one}"), || {
                        let encoded = percent_encoding::utf8_percent_encode(one, percent_encoding::NON_ALPHANUMERIC);
                        let answer = ask(prometheus, "GET", &format!("/api/v1/query?query={encoded}"), &[]).json();
                        answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty())
                    });
                }
            }
        });
        let ended = operator.join();
        enough.store(true, Ordering::Relaxed);
        for load in loads {
            load.join().expect("each client had what it asked for");
        }
        ended.expect("the operator saw and did all of it");
    });

    // Nothing has failed, except for the stream that the operator cut.
    for (member, cut) in fleet.iter().zip([1.0, 0.0]) {
        let text = metrics(member.admin);
        let ended = |how: &str| value(&text, &format!("chunkflow_streams_ended_total{{how=\"{how}\"}}"));
        assert_eq!((ended("operator"), ended("cut"), ended("stalled")), (cut, 0.0, 0.0));
        assert!(ended("complete") > 20.0, "it was under load: {}", asked.load(Ordering::Relaxed));
        assert!(!text.lines().any(|line| line.contains("status=\"5xx\"") && !line.ends_with(" 0")), "{text}");
    }
}
