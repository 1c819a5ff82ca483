//! HTTP/2: lists with real clients, visible failures, and the effect of hostile frames.

use std::{
    io::{Read, Write},
    process::{Command, Output, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::support::system_clock;
use chunkflow::{Kind, ResourceOptions, server::ServerConfig};

use crate::{
    frames::*,
    support::{Client, Numbers, Running, numbers_app, serve_numbers, until},
};

fn serve(source: &Arc<Numbers>, config: ServerConfig) -> Running {
    Running::start(config, numbers_app(source, ResourceOptions::default(), system_clock()))
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn url(server: &Running, path: &str) -> String {
    format!("http://{}{path}", server.address)
}

#[test]
fn real_clients_get_the_same_list_as_over_http1() {
    let server = serve_numbers(&Numbers::new(20_000, 200));
    let plain = server.get("/numbers").body;
    let url = url(&server, "/numbers");
    for (program, arguments) in [
        ("curl", &["--silent", "--http2-prior-knowledge", &url][..]),
        // By preface in a request: a server may leave the upgrade out, as RFC 9113 does.
        ("curl", &["--silent", "--http2", &url]),
        ("nghttp", &[&url]),
    ] {
        let output = run(program, arguments);
        assert!(output.status.success() && output.stdout == plain, "{program}: {:?}", output.stderr);
    }

    let output = run("h2load", &["--requests=300", "--clients=10", "--max-concurrent-streams=20", &url]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("300 done, 300 succeeded, 0 failed"), "{said}");
}

#[test]
fn what_a_response_says_is_the_same_as_over_http1() {
    let server = serve_numbers(&Numbers::new(100, 10));
    for target in ["/numbers", "/numbers", "/numbers?limit=3", "/nothing", "/healthz", "/numbers?limit=x", "/"] {
        let old = server.get(target);
        for method in ["GET", "HEAD"] {
            let mut arguments = vec!["--silent", "--include", "--http2-prior-knowledge"];
            arguments.extend((method == "HEAD").then_some("--head"));
            let url = format!("http://localhost:{}{target}", server.address.port());
            let said = String::from_utf8(run("curl", &[arguments, vec![&*url]].concat()).stdout).unwrap();
            let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {target}: {said}"));
            assert!(head.starts_with(&format!("HTTP/2 {}", old.status)), "{target}: {head}");
            for name in
                ["content-type", "cache-control", "vary", "content-length", "link", "x-accel-buffering", "allow"]
            {
                let found =
                    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default();
                // What is in memory only since the first request has a length only since then.
                assert!(found == old.header(name) || target == "/numbers", "{method} {target}: {name} {found}");
            }
            assert!(head.contains("\r\ndate: "), "{head}");
            assert_eq!(body.as_bytes(), if method == "GET" { &old.body[..] } else { b"" });
        }
    }
}

#[test]
fn a_failure_in_mid_stream_resets_the_stream_after_what_came_before_it() {
    let source = Numbers::new(5_000, 200);
    source.fail_behind(3_000, Kind::Unavailable);
    let server = serve_numbers(&source);
    let mut client = Frames::connect(server.address, &[]);
    client.send(&get(1, "/numbers"));
    let (body, last) = client.drain(1);
    assert_eq!((last.kind, last.code()), (RST_STREAM, INTERNAL_ERROR));
    assert!(String::from_utf8_lossy(&body).contains("{\"id\":100,"), "{} bytes came", body.len());
    assert!(client.lives(), "the connection goes on");
    let output = run("curl", &["--silent", "--http2-prior-knowledge", &url(&server, "/numbers")]);
    assert_eq!(output.status.code(), Some(92), "a stream error");
    assert!(output.stdout.len() > 1_000);
    until("both are counted", || server.chunkflow.metrics().cut() == 2);
}

#[test]
fn curl_sees_a_cut_over_tls_too() {
    let folder = tempfile::TempDir::new().unwrap();
    let source = Numbers::new(5_000, 200);
    source.fail_behind(3_000, Kind::Unavailable);
    let server = crate::tls::serve_securely(folder.path(), &source, ServerConfig::default());
    let url = format!("https://localhost:{}/numbers", server.address.port());
    for (option, code) in [("--http2", 92), ("--http1.1", 56)] {
        let output = crate::tls::curl(&[option, &url], folder.path());
        assert_eq!(output.status.code(), Some(code), "{option}");
        assert!(output.stdout.len() > 1_000);
    }
}

#[test]
fn a_source_that_fails_at_the_start_is_a_problem_over_http2_too() {
    let source = Numbers::new(5, 1);
    source.fail_behind(0, Kind::Unavailable);
    let server = serve_numbers(&source);
    let mut client = Frames::connect(server.address, &[]);
    client.send(&get(1, "/numbers"));
    assert_eq!(client.next_of(&[HEADERS]).unwrap().status(), 503);
}

#[test]
fn a_stream_whose_window_stays_shut_is_reset_and_the_others_go_on() {
    let source = Numbers::new(100_000, 200);
    let config = ServerConfig::default().with(|server| server.stall_timeout = Duration::from_millis(500));
    let server = serve(&source, config);
    // The window is closed from the start, or after a while.
    for first in [0, 70_000] {
        let mut client = Frames::connect(server.address, &[(INITIAL_WINDOW, first)]);
        client.send(
            &[get(1, "/numbers"), get(3, "/numbers?limit=1000"), window(0, 1 << 30), window(3, 1 << 20)].concat(),
        );
        let mut seen = (false, false);
        while seen != (true, true) {
            let frame = client.next().expect("the connection goes on");
            match (frame.kind, frame.stream) {
                (RST_STREAM, 1) => {
                    assert_eq!(frame.code(), CANCEL);
                    seen.0 = true;
                }
                (DATA, 3) => seen.1 |= frame.ends(),
                (kind, _) => assert!(kind != RST_STREAM && kind != GOAWAY),
            }
        }
        assert!(client.lives());
    }

    until("both are counted as stalled", || server.chunkflow.metrics().stalled() == 2);
    assert_eq!(server.chunkflow.metrics().streams(), 0);
}

#[test]
fn a_client_that_opens_its_window_a_little_all_the_time_is_not_cut() {
    let stall = Duration::from_millis(1_500);
    let server =
        serve(&Numbers::new(100_000, 200), ServerConfig::default().with(|server| server.stall_timeout = stall));
    let mut client = Frames::connect(server.address, &[(INITIAL_WINDOW, 100)]);
    client.send(&get(1, "/numbers"));
    let began = Instant::now();
    while began.elapsed() < stall * 3 {
        assert!(client.send(&window(1, 100)));
        let frame = client.next_of(&[DATA, RST_STREAM, GOAWAY]).unwrap();
        assert_eq!(frame.kind, DATA);
        client.pause(Duration::from_millis(100));
    }
    until("it is cut once it takes nothing", || server.chunkflow.metrics().stalled() == 1);
}

#[test]
fn windows_are_kept_to_the_byte_when_settings_change_them() {
    let server = serve_numbers(&Numbers::new(1_000, 200));
    let plain = server.get("/numbers").body;
    // The last of several values counts (RFC 9113 §6.5.3).
    let mut client = Frames::connect(server.address, &[(INITIAL_WINDOW, 100), (INITIAL_WINDOW, 3)]);
    client.send(&get(1, "/numbers"));
    let mut at = 0;
    for (opened, length) in [
        (vec![], 3),
        // One less than nothing (§6.9.2), then nothing, then two.
        ([settings(&[(INITIAL_WINDOW, 2)]), window(1, 1), window(1, 2)].concat(), 2),
        (settings(&[(INITIAL_WINDOW, 7)]), 5),
    ] {
        client.send(&opened);
        let data = client.next_of(&[DATA, RST_STREAM, GOAWAY]).unwrap();
        assert_eq!((data.kind, &*data.payload), (DATA, &plain[at..at + length]));
        at += length;
    }

    assert!(client.lives());
}

#[test]
fn a_client_that_does_not_read_its_socket_is_cut() {
    let config = ServerConfig::default().with(|server| server.stall_timeout = Duration::from_millis(500));
    let server = serve(&Numbers::new(200_000, 1_000), config);
    let mut client = Frames::connect(server.address, &[(INITIAL_WINDOW, 1 << 30)]);
    client.send(&[window(0, 1 << 30), get(1, "/numbers"), get(3, "/numbers")].concat());
    until("both are counted as stalled", || server.chunkflow.metrics().stalled() == 2);
    while client.next().is_some() {}
}

#[test]
fn a_client_that_takes_a_stream_back_stops_its_loads() {
    let source = Numbers::held_back(1_000_000, 100);
    let server = serve_numbers(&source);
    let mut client = Frames::connect(server.address, &[]);
    client.send(&get(1, "/numbers"));
    until("the first read has begun", || source.begun() == 1);
    client.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()));
    until("it is given up", || source.dropped.load(Ordering::SeqCst) == 1);
    source.permits.add_permits(2);
    client.send(&get(3, "/numbers"));
    until("it waits for a later read", || source.begun() == 4);
    client.send(&frame(RST_STREAM, 0, 3, &CANCEL.to_be_bytes()));
    until("that is given up too", || source.dropped.load(Ordering::SeqCst) == 2);
    assert!(client.lives());
}

#[test]
fn a_connection_without_a_stream_is_ended_and_so_is_a_preface_that_never_comes() {
    let times = Duration::from_millis(400);
    let config = ServerConfig::default().with(|server| {
        server.header_timeout = times;
        server.idle_timeout = times;
    });

    let server = serve(&Numbers::new(5, 1), config);
    let mut idle = Frames::connect(server.address, &[]);
    idle.send(&get(1, "/numbers"));
    assert!(idle.drain(1).1.ends());
    assert_eq!(idle.farewell(), Some(NO_ERROR));
    while idle.next().is_some() {}
    let mut half = Frames::silent(server.address);
    half.send(&PREFACE[..10]);
    assert_eq!(half.next(), None);
    // A head that never ends.
    let mut endless = Frames::connect(server.address, &[]);
    endless.send(&frame(HEADERS, END_STREAM, 1, &head("GET", "/numbers")));
    while endless.next().is_some() {}
}

#[test]
fn a_drain_says_farewell_and_lets_the_stream_end() {
    let source = Numbers::held_back(5_000, 200);
    source.permits.add_permits(1);
    let server = serve(&source, ServerConfig::default().with(|server| server.drain = crate::support::STUCK));
    let mut client = Frames::connect(server.address, &[]);
    client.send(&get(1, "/numbers"));
    assert_eq!(client.next_of(&[DATA]).unwrap().stream, 1);
    server.shutdown.drain();
    assert_eq!(client.farewell(), Some(NO_ERROR));
    source.permits.add_permits(1_000);
    let (_, last) = client.drain(1);
    assert!(last.ends());
    // The answer to the ping that asks whether more is on its way.
    drop(client);
    server.ended.recv_timeout(crate::support::STUCK).unwrap();
}

#[test]
fn a_request_with_a_body_is_answered_and_its_body_is_not_kept() {
    let server = serve_numbers(&Numbers::new(5, 1));
    let mut client = Frames::connect(server.address, &[]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &head("POST", "/numbers")));
    assert_eq!(client.next_of(&[HEADERS]).unwrap().status(), 405);
    client.send(&frame(DATA, 0, 1, &[0; 16_000]));
    client.send(&get(3, "/numbers"));
    let (body, last) = client.drain(3);
    assert!(last.ends() && body.ends_with(b"]}"));
    // Takes more than the window, for as long as it may.
    let mut greedy = Frames::connect(server.address, &[]);
    greedy.send(&frame(HEADERS, END_HEADERS, 1, &head("POST", "/numbers")));
    let mut sent = 0;
    while greedy.send(&frame(DATA, 0, 1, &[0; 16_000])) {
        sent += 16_000;
        assert!(sent < 16 << 20, "nobody stops it");
    }
}

#[test]
fn what_comes_of_bodies_is_given_back_to_the_connection_while_their_lists_run() {
    let server = serve_numbers(&Numbers::held_back(50, 1));
    let mut client = Frames::connect(server.address, &[]);
    // Together nearly the connection's whole window; the next body would wait for it.
    for stream in [1, 3, 5, 7] {
        client.send(&frame(HEADERS, END_HEADERS, stream, &head("GET", "/numbers")));
        client.send(&frame(DATA, END_STREAM, stream, &[0; 16_000]));
    }
    assert_eq!(client.next_of(&[WINDOW_UPDATE, RST_STREAM, GOAWAY]).map(|frame| frame.stream), Some(0));
}

/// Sends bytes one at a time, so that they reach the server in pieces.
fn in_pieces(stream: &mut std::net::TcpStream, bytes: &[u8]) {
    stream.set_nodelay(true).unwrap();
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_spoken_is_told_by_first_bytes_that_come_in_pieces() {
    let server = serve_numbers(&Numbers::new(100, 10));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut client = Client::connect(server.address);
    in_pieces(&mut client.stream, &[&preface[..], &settings(&[])].concat());
    // The server's settings: their length, and a kind that is 4.
    let mut head = [0; 9];
    client.stream.read_exact(&mut head).unwrap();
    assert_eq!((head[3], &head[5..]), (4, &[0; 4][..]), "{head:?}");

    for (method, status) in [("GET", 200), ("P", 405), ("PRI", 405), ("PRIVATE", 405), ("POST", 405)] {
        let mut client = Client::connect(server.address);
        let request = format!("{method} /numbers HTTP/1.1\r\nhost: localhost\r\n\r\n");
        in_pieces(&mut client.stream, request.as_bytes());
        assert_eq!(client.read_reply("GET").status, status, "{method}");
    }

    // Each part of the preface, and then nothing more.
    for length in 1..preface.len() {
        let mut client = Client::connect(server.address);
        in_pieces(&mut client.stream, &preface[..length]);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let (said, _) = client.read_to_end();
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 4"), "{length}: {}", String::from_utf8_lossy(&said));
    }
}
