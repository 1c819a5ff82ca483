//! Real clients. Each is a small program in `tests/clients` that makes the requests given on its
//! input (see `tests/clients/verdict.py`). To add one, write such a program, add its row here, and
//! its Debian package to `./test`.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use chunkflow::{Kind, server::ServerConfig};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    servers::{self, Server},
    support::{Numbers, Process, STUCK, numbered, serve_numbers, until},
    tls::serve_securely,
};

const ENCODINGS: [&str; 3] = ["identity", "gzip", "br"];

/// The programs, and the encodings that each can ask for.
const CLIENTS: [(&str, &[&str]); 9] = [
    ("curl", &ENCODINGS),
    ("requests", &ENCODINGS),
    ("httpx", &ENCODINGS),
    ("aiohttp", &ENCODINGS),
    ("node-fetch", &ENCODINGS),
    ("node-http", &ENCODINGS),
    ("go", &["identity", "gzip"]),
    ("java", &["identity", "gzip"]),
    // A browser chooses its encodings itself.
    ("chromium", &["gzip"]),
];

const ROWS: u64 = 5_000;

/// A running client. Dropping it closes its input, and the client then ends.
struct Client {
    name: &'static str,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    child: Child,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.requests = None;
        // In a failed test the client may wait for a server that this wait would keep alive.
        if !std::thread::panicking() {
            let _ = self.child.wait();
        }
    }
}

impl Client {
    fn start(name: &'static str) -> Client {
        Client::trusting(name, None)
    }

    /// Starts a client that knows of a certificate, as Go and the one in Java are told.
    fn trusting(name: &'static str, certificate: Option<&Path>) -> Client {
        let mut child = Command::new("timeout")
            .args([STUCK.as_secs().to_string(), format!("tests/clients/{name}")])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(certificate.map(|file| ("SSL_CERT_FILE", file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Client { name, requests, answers, child }
    }

    fn ask(&self, server: SocketAddr, how: &str, encoding: &str) {
        self.ask_for(&format!("http://{server}/numbers"), how, encoding);
    }

    fn ask_for(&self, url: &str, how: &str, encoding: &str) {
        writeln!(self.requests.as_ref().unwrap(), "{url} {how} {encoding}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn rows_are_here(&mut self) {
        assert_eq!(self.line(), "rows are here", "{}", self.name);
    }

    fn verdict(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name))
    }
}

/// A client's verdict on the whole list.
fn whole(encoding: &str) -> Value {
    let encoding = Some(encoding).filter(|encoding| *encoding != "identity");
    serde_json::json!({ "rows": ROWS, "sum": ROWS * (ROWS + 1) / 2, "encoding": encoding, "error": null })
}

#[test]
fn real_clients_decode_whole_bodies_cold_and_warm() {
    for (name, encodings) in CLIENTS {
        let server = serve_numbers(&Numbers::new(ROWS, 200));
        let mut client = Client::start(name);
        for encoding in encodings.iter().chain(encodings) {
            client.ask(server.address, "whole", encoding);
            assert_eq!(client.verdict(), whole(encoding), "{name}");
        }
    }
}

#[test]
fn real_clients_have_the_first_rows_while_a_later_chunk_is_blocked() {
    for (name, encodings) in CLIENTS {
        let source = Numbers::held_back(ROWS, 200);
        let server = serve_numbers(&source);
        let mut client = Client::start(name);
        for encoding in encodings {
            source.permits.forget_permits(Semaphore::MAX_PERMITS);
            source.permits.add_permits(1);
            client.ask(server.address, "arriving", encoding);
            client.rows_are_here();
            source.permits.add_permits(10_000);
            assert_eq!(client.verdict(), whole(encoding), "{name}");
            server.block_on(server.purge("numbers")).unwrap();
        }
    }
}

#[test]
fn real_clients_see_a_failure_in_mid_stream_as_an_error() {
    for (name, encodings) in CLIENTS {
        let source = Numbers::held_back(ROWS, 200);
        source.fail_behind(3_000, Kind::Unavailable);
        let server = serve_numbers(&source);
        let mut client = Client::start(name);
        for (encoding, how) in encodings.iter().flat_map(|encoding| [(encoding, "arriving"), (encoding, "whole")]) {
            source.permits.forget_permits(Semaphore::MAX_PERMITS);
            source.permits.add_permits(1);
            client.ask(server.address, how, encoding);
            if how == "arriving" {
                client.rows_are_here();
            }
            source.permits.add_permits(10_000);
            let verdict = client.verdict();
            assert_eq!(verdict["rows"], Value::Null, "{name}: the list was cut");
            assert!(verdict["error"].is_string(), "{name}, {how} in {encoding}, sees no error");
            server.block_on(server.purge("numbers")).unwrap();
        }
    }
}

#[test]
fn go_java_and_chromium_speak_http2_over_tls_and_see_a_reset() {
    for (name, encodings, reset) in [
        ("go", &["identity", "gzip"][..], "stream error: stream ID "),
        ("java", &["identity", "gzip"], "RST_STREAM"),
        // A page learns no more than this; its program checks that it spoke HTTP/2.
        ("chromium", &["gzip"], "Failed to fetch"),
    ] {
        let folder = tempfile::TempDir::new().unwrap();
        let source = Numbers::new(ROWS, 200);
        let server = serve_securely(folder.path(), &source, ServerConfig::default());
        let url = format!("https://localhost:{}/numbers", server.address.port());
        let mut client = Client::trusting(name, Some(&folder.path().join("cert.pem")));
        for encoding in encodings {
            client.ask_for(&url, "whole", encoding);
            assert_eq!(client.verdict(), whole(encoding), "{name}");
        }
        source.fail_behind(3_000, Kind::Unavailable);
        server.block_on(server.purge("numbers")).unwrap();
        for encoding in encodings {
            client.ask_for(&url, "whole", encoding);
            let verdict = client.verdict();
            assert_eq!(verdict["rows"], Value::Null, "{name}: the list was cut");
            // Only over HTTP/2 does a cut look like this.
            assert!(verdict["error"].as_str().is_some_and(|error| error.contains(reset)), "{name}: {verdict}");
        }
    }
}

#[test]
fn a_browser_goes_on_by_itself_with_events_that_were_cut_and_has_each_row_once() {
    let source = Numbers::held_back(ROWS, 200);
    let server = serve_numbers(&source);
    source.fail_behind(3_000, Kind::Unavailable);
    source.permits.add_permits(10_000);
    let mut client = Client::start("chromium");
    client.ask_for(&format!("http://{}/numbers.sse", server.address), "events", "gzip");
    assert_eq!(client.line(), "it is cut");
    *source.fails_behind.lock().unwrap() = None;
    let verdict = heard(&mut client);
    assert_eq!((&verdict["rows"], &verdict["sum"]), (&ROWS.into(), &(ROWS * (ROWS + 1) / 2).into()), "{verdict}");
}

/// The events that a browser has in the end, over all its reconnects.
fn heard(client: &mut Client) -> Value {
    loop {
        let line = client.line();
        if line != "it is cut" {
            return serde_json::from_str(&line).unwrap();
        }
    }
}

#[test]
fn a_browser_behind_nginx_outlasts_an_outage_at_its_first_try_in_mid_list_and_on_its_return() {
    for rows_before in [0, 3_000] {
        let source = Numbers::held_back(ROWS, 200);
        let server = serve_numbers(&source);
        let origin = server.address.port().to_string();
        let nginx = Server::start_with(servers::Kind::Nginx, &[&origin, "http1", "proxy_http_version 1.1;"]);
        source.fail_behind(rows_before, Kind::Unavailable);
        source.permits.add_permits(10_000);

        let mut client = Client::start("chromium");
        client.ask_for(&format!("http://127.0.0.1:{}/numbers.sse", nginx.port), "events", "gzip");
        let mut begun = source.begun();
        for returns in 1..=3 {
            assert_eq!(client.line(), "it is cut", "{returns}: it comes back");
            until("the source was asked in vain once more", || source.begun() > begun);
            begun = source.begun();
        }
        *source.fails_behind.lock().unwrap() = None;
        let verdict = heard(&mut client);
        assert_eq!((&verdict["rows"], &verdict["sum"]), (&ROWS.into(), &(ROWS * (ROWS + 1) / 2).into()), "{verdict}");
    }
}

#[test]
fn a_browser_behind_an_nginx_that_is_set_up_as_the_docs_say_outlasts_a_server_that_is_not_there() {
    let docs = include_str!("../../docs/resume.md");
    let [own, named] = ["error_page", "location @later"].map(|begin| {
        let from = docs.find(begin).unwrap_or_else(|| panic!("docs/resume.md says `{begin}`"));
        &docs[from..]
    });

    let own = own.lines().next().unwrap();
    let named = &named[..named.find("\n}").unwrap()];
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], servers::free_port()));
    // The location of what follows is closed by the script.
    let directives = format!("proxy_http_version 1.1; {own} }} {named}");
    let nginx = Server::start_with(servers::Kind::Nginx, &[&address.port().to_string(), "http1", &directives]);

    let mut client = Client::start("chromium");
    client.ask_for(&format!("http://127.0.0.1:{}/list.sse", nginx.port), "events", "gzip");
    assert_eq!(client.line(), "it is cut", "it comes back");
    let file = numbered(ROWS);
    std::fs::write(file.folder.path().join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let _server = Process::serve(&["serve", "--log", "info", "--listen", &address.to_string()], file.folder.path());
    let verdict = heard(&mut client);
    assert_eq!((&verdict["rows"], &verdict["sum"]), (&ROWS.into(), &(ROWS * (ROWS + 1) / 2).into()), "{verdict}");
}
