//! How connections end: after a whole answer with a FIN, otherwise with a reset, whether or not the
//! client has closed its half.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::support::system_clock;
use chunkflow::{Kind, ResourceOptions, server::ServerConfig};
use tempfile::TempDir;

use crate::{
    frames::{Frames, HEADERS, INITIAL_WINDOW, RST_STREAM, get, window},
    support::{Client, Numbers, Process, Running, STUCK, binary, formats, ids, numbers_app, serve_numbers, until},
    tls::{connect, serve_securely},
};

const VERSIONS: [&str; 2] = ["HTTP/1.0", "HTTP/1.1"];

/// When a client closes its half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closes {
    Never,
    BehindTheRequest,
    InTheBody,
}

const CLOSES: [Closes; 3] = [Closes::Never, Closes::BehindTheRequest, Closes::InTheBody];

fn serve(source: &Arc<Numbers>, config: ServerConfig) -> Running {
    Running::start(config, numbers_app(source, ResourceOptions::default(), system_clock()))
}

/// Asks for a list and reads its first bytes.
fn begin(server: &Running, version: &str, format: &str, closes: Closes) -> Client {
    let mut client = Client::connect(server.address);
    let target = format!("/numbers.{format}");
    client.send("GET", &target, version, &[("host", "localhost"), ("connection", "close")]);
    if closes == Closes::BehindTheRequest {
        client.stream.shutdown(Shutdown::Write).unwrap();
    }
    assert!(client.wait_for("\r\n\r\n") && client.wait_for("10"), "{version} {format} {closes:?}");
    if closes == Closes::InTheBody {
        client.stream.shutdown(Shutdown::Write).unwrap();
    }
    client
}

#[test]
fn a_whole_answer_ends_in_a_fin_behind_its_last_byte_whenever_the_client_closes_its_half() {
    // Far more bytes than sockets hold.
    let server = serve_numbers(&Numbers::new(60_000, 200));
    for format in formats() {
        let expected = server.get(&format!("/numbers.{format}")).body;
        assert!(expected.len() > 10 << 20);
        for version in VERSIONS {
            for closes in CLOSES {
                let what = format!("{version} {format} {closes:?}");
                let mut client = begin(&server, version, format, closes);
                let reply = client.read_reply("GET");
                assert!(reply.whole && reply.body == expected, "{what}: {} bytes", reply.body.len());
                let (more, reset) = client.read_to_end();
                assert!(more.is_empty() && !reset, "{what}");
            }
        }
    }
}

/// What cuts an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    SourceFails,
    ClientStalls,
    DrainIsOver,
    SecondSignal,
    ServerIsDropped,
}

/// The rest of an answer that is cut, and whether a reset ends it.
fn cut(cause: Cause, version: &str, format: &str, closes: Closes) -> (Vec<u8>, bool) {
    let source = match cause {
        Cause::SourceFails => Numbers::new(5_000, 200),
        Cause::ClientStalls => Numbers::new(200_000, 200),
        _ => Numbers::held_back(5_000, 200),
    };

    match cause {
        Cause::SourceFails => source.fail_behind(3_000, Kind::Unavailable),
        Cause::ClientStalls => {}
        _ => source.permits.add_permits(1),
    }

    let mut config = ServerConfig::default();
    match cause {
        Cause::ClientStalls => config.stall_timeout = Duration::from_millis(200),
        Cause::DrainIsOver => config.drain = Duration::from_millis(50),
        _ => config.drain = STUCK,
    }

    let server = serve(&source, config);
    let mut client = begin(&server, version, format, closes);
    match cause {
        Cause::SourceFails => {}
        Cause::ClientStalls => until("it is cut", || server.chunkflow.metrics().stalled() == 1),
        Cause::DrainIsOver => server.shutdown.drain(),
        Cause::SecondSignal => server.shutdown.stop(),
        Cause::ServerIsDropped => drop(server),
    }

    client.read_to_end()
}

#[test]
fn an_answer_that_is_not_at_its_end_ends_in_a_reset_whatever_ends_it() {
    use Cause::*;
    for cause in [SourceFails, ClientStalls, DrainIsOver, SecondSignal, ServerIsDropped] {
        for version in VERSIONS {
            for closes in CLOSES {
                for format in if cause == SourceFails { formats() } else { vec!["ndjson"] } {
                    let (read, reset) = cut(cause, version, format, closes);
                    assert!(reset, "{cause:?} {version} {format} {closes:?}: a FIN behind {} bytes", read.len());
                    if cause == SourceFails {
                        assert!(read.len() > 100_000, "what came before the failure arrives: {}", read.len());
                    }
                }
            }
        }
    }
}

#[test]
fn a_process_that_is_killed_does_not_make_a_list_of_http_1_0_look_whole() {
    let folder = TempDir::new().unwrap();
    let mut process = Process::serve(&["demo", "--rows", "200000", "--database", "t.sqlite"], folder.path());
    let mut client = Client::connect(process.address);
    client.send("GET", "/tricks.ndjson", "HTTP/1.0", &[("host", "localhost")]);
    assert!(client.wait_for("\n"));
    process.kill();
    assert!(client.read_reply("GET").reset);
}

#[test]
fn what_was_asked_for_before_a_fin_is_answered_one_after_the_other() {
    let server = serve_numbers(&Numbers::new(3_000, 200));
    let request = "GET /numbers HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (behind, status) in [("", 0), ("GET /numb", 400), ("GET /numbers HTTP/1.1\r\nhost: localhost\r\n", 400)] {
        let mut client = Client::connect(server.address);
        client.stream.write_all(format!("{}{behind}", request.repeat(3)).as_bytes()).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        for _ in 0..3 {
            assert_eq!(ids(&client.read_reply("GET")).len(), 3_000);
        }
        if status > 0 {
            let refused = client.read_reply("GET");
            assert_eq!((refused.status, refused.header("content-type")), (status, "application/problem+json"));
        }
        assert_eq!(client.read_to_end(), (vec![], false), "{behind:?}");
    }

    // Nothing was asked for.
    let mut client = Client::connect(server.address);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_to_end(), (vec![], false));
}

#[test]
fn an_answer_that_does_not_begin_is_given_up_a_moment_behind_the_fin_and_its_load_with_it() {
    for version in VERSIONS {
        let source = Numbers::held_back(1_000, 1);
        let server = serve_numbers(&source);
        let mut client = Client::connect(server.address);
        client.send("GET", "/numbers", version, &[("host", "localhost")]);
        client.stream.shutdown(Shutdown::Write).unwrap();
        until("the read has begun", || source.begun() == 1);
        assert_eq!(client.read_to_end(), (vec![], true), "{version}");
        until("it is given up", || source.dropped.load(Ordering::SeqCst) == 1);
        // An answer that begins within that moment is sent whole.
        let mut client = Client::connect(server.address);
        client.send("GET", "/numbers", version, &[("host", "localhost")]);
        client.stream.shutdown(Shutdown::Write).unwrap();
        source.permits.add_permits(100);
        assert_eq!(ids(&client.read_reply("GET")).len(), 1_000);
        assert_eq!(client.read_to_end(), (vec![], false), "{version}");
    }
}

#[test]
fn a_client_that_closed_its_half_in_the_body_and_then_left_stops_its_load() {
    let source = Numbers::held_back(5_000, 200);
    source.permits.add_permits(1);
    let server = serve_numbers(&source);
    let client = begin(&server, "HTTP/1.1", "json", Closes::InTheBody);
    until("it waits for a later read", || source.begun() == 2);
    drop(client);
    until("that is given up", || source.dropped.load(Ordering::SeqCst) == 1);
}

#[test]
fn a_whole_answer_arrives_though_its_client_still_sends() {
    let server = serve_numbers(&Numbers::new(60_000, 200));
    let expected = server.get("/numbers").body;
    let request = "GET /numbers HTTP/1.0\r\nhost: localhost\r\n\r\n";
    for behind in [request.repeat(3), "x".repeat(200_000)] {
        let mut client = Client::connect(server.address);
        client.stream.write_all(request.as_bytes()).unwrap();
        assert!(client.wait_for("\r\n\r\n"));
        client.stream.write_all(behind.as_bytes()).unwrap();
        let reply = client.read_reply("GET");
        assert!(reply.whole && !reply.reset && reply.body == expected, "{} bytes", reply.body.len());
    }

    // A body is not read, but its refusal arrives.
    let mut client = Client::connect(server.address);
    client.send("POST", "/numbers", "HTTP/1.1", &[("host", "localhost"), ("content-length", "200000")]);
    client.stream.write_all(&[b'x'; 200_000]).unwrap();
    assert_eq!(client.read_reply("POST").status, 405);
    assert_eq!(client.read_to_end(), (vec![], false));
}

#[test]
fn over_tls_connections_end_the_same() {
    let folder = TempDir::new().unwrap();
    for fails in [false, true] {
        let source = Numbers::new(20_000, 200);
        if fails {
            source.fail_behind(3_000, Kind::Unavailable);
        }
        let server = serve_securely(folder.path(), &source, ServerConfig::default());
        for version in VERSIONS {
            for closes in CLOSES {
                let mut client = connect(server.address);
                let request = format!("GET /numbers {version}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
                client.write_all(request.as_bytes()).unwrap();
                let mut body = vec![0; 500];
                if closes == Closes::BehindTheRequest {
                    client.conn.send_close_notify();
                    client.flush().unwrap();
                    client.sock.shutdown(Shutdown::Write).unwrap();
                }
                client.read_exact(&mut body).unwrap();
                if closes == Closes::InTheBody {
                    // Without `close_notify`, as many clients do.
                    client.sock.shutdown(Shutdown::Write).unwrap();
                }
                let ended = client.read_to_end(&mut body);
                match (fails, ended) {
                    (false, Ok(_)) => assert!(body.ends_with(b"]}") || body.ends_with(b"]}\r\n0\r\n\r\n")),
                    (true, Err(error)) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
                    (_, ended) => panic!("{version} {closes:?}, fails: {fails}: {ended:?}"),
                }
            }
        }
    }
}

#[test]
fn over_http2_a_client_that_closed_its_half_gets_what_it_has_asked_for() {
    let source = Numbers::new(5_000, 200);
    let server = serve_numbers(&source);
    let mut client = Frames::connect(server.address, &[(INITIAL_WINDOW, 1 << 30)]);
    client.send(&[window(0, 1 << 30), get(1, "/numbers"), get(3, "/numbers.csv"), get(5, "/numbers.ndjson")].concat());
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut ended = vec![];
    while let Some(frame) = client.next() {
        assert_ne!(frame.kind, RST_STREAM);
        if frame.ends() {
            ended.push(frame.stream);
        }
    }

    ended.sort_unstable();
    assert_eq!(ended, [1, 3, 5]);
    assert!(!client.reset);

    // An answer that never begins, and one that is cut.
    let source = Numbers::held_back(5_000, 200);
    let server = serve_numbers(&source);
    let mut client = Frames::connect(server.address, &[]);
    client.send(&get(1, "/numbers"));
    until("the read has begun", || source.begun() == 1);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.next_of(&[RST_STREAM]).is_some());
    until("it is given up", || source.dropped.load(Ordering::SeqCst) == 1);
    assert!(client.next().is_none() && !client.reset);

    source.permits.add_permits(1);
    let mut client = Frames::connect(server.address, &[]);
    client.send(&get(1, "/numbers"));
    assert!(client.next_of(&[HEADERS]).is_some());
    server.shutdown.stop();
    while client.next().is_some() {}
    server.ended.recv_timeout(STUCK).unwrap();
    assert!(client.reset, "the stream was not at its end");
}

#[test]
fn what_the_end_of_the_server_cuts_is_logged_as_that() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let port = crate::servers::free_port();
    let mut command = binary(&["demo", "--rows", "200000", "--database", "t.sqlite"], folder.path());
    command.env("CHUNKFLOW_LISTEN", format!("127.0.0.1:{port}")).stderr(std::fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let address = ([127, 0, 0, 1], port).into();
    until("it serves", || std::net::TcpStream::connect(address).is_ok());
    let mut client = Client::connect(address);
    client.send("GET", "/tricks.ndjson", "HTTP/1.1", &[("host", "localhost")]);
    assert!(client.wait_for("\n"));

    let text = || std::fs::read_to_string(&log).unwrap();
    let signal = || {
        let killed = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(killed.unwrap().success());
    };

    signal();
    until("it drains", || text().contains("draining"));
    signal();
    child.wait().unwrap();
    assert!(client.read_reply("GET").reset);
    let ended = text();
    assert!(ended.contains("streams that still run are cut connections=1 had="), "with how long they had: {ended}");
    assert!(ended.contains("outcome=shutdown"), "{ended}");
    assert!(!ended.contains("outcome=left"), "{ended}");
    assert!(!ended.contains("had=0ns"), "{ended}");
}

#[test]
fn a_server_that_nothing_holds_up_cuts_nothing_and_says_so() {
    // Several causes may occur at once, and the server may notice any of them first.
    for _ in 0..8 {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        let mut command = binary(&["demo", "--rows", "20", "--database", "t.sqlite"], folder.path());
        command.env("CHUNKFLOW_LISTEN", "127.0.0.1:0").stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let text = || std::fs::read_to_string(&log).unwrap();
        until("it serves", || text().contains("serving tricks at"));
        // The process installs its signal handlers a moment after it prints this.
        std::thread::sleep(Duration::from_millis(100));
        for _ in 0..2 {
            let killed = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            assert!(killed.unwrap().success());
        }
        assert!(child.wait().unwrap().success());
        assert!(!text().contains("are cut"), "{}", text());
    }
}
