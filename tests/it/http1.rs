//! HTTP/1's rules for connections, byte by byte (RFC 9112).

use std::io::Write;

use crate::{
    client::{Client, Reply, ask2},
    support::{Numbers, Running, serve_numbers},
};

fn server() -> Running {
    let server = serve_numbers(&Numbers::new(500, 100));
    server.get("/numbers");
    server
}

/// A connection on which these bytes were sent.
fn sent(server: &Running, bytes: &[u8]) -> Client {
    let mut client = Client::connect(server.address);
    client.stream.write_all(bytes).unwrap();
    client
}

/// A reply with a whole list, and its `Connection` field.
fn list(reply: &Reply) -> String {
    assert_eq!((reply.status, reply.whole, reply.results().len()), (200, true, 500));
    reply.header("connection").to_owned()
}

#[test]
fn what_follows_a_request_with_a_body_is_never_taken_for_a_request() {
    let server = server();
    let hidden = "GET /numbers HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let length = hidden.len();
    let large = "x".repeat(200_000);
    let request = format!("GET /numbers HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n{large}");
    let mut client = sent(&server, request.as_bytes());
    assert_eq!(list(&client.read_reply("GET")), "close");
    assert_eq!(client.read_to_end(), (vec![], false), "and no reset, which could overtake the answer");
    for field in [
        format!("content-length: {length}"),
        format!("content-length: 0\r\ncontent-length: {length}"),
        format!("content-length: +{length}"),
        "transfer-encoding: chunked".to_owned(),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
        "transfer-encoding: x".to_owned(),
    ] {
        let request = format!("GET /numbers HTTP/1.1\r\nhost: localhost\r\n{field}\r\n\r\n{hidden}");
        let mut client = sent(&server, request.as_bytes());
        assert_eq!(list(&client.read_reply("GET")), "close", "{field}");
        assert_eq!(client.read_to_end(), (vec![], false), "{field}");
    }
}

#[test]
fn a_connection_goes_on_for_as_long_as_its_client_wants() {
    let server = server();
    let ask = |version: &str, option: &str| {
        sent(&server, format!("GET /numbers {version}\r\nhost: localhost\r\nconnection: {option}\r\n\r\n").as_bytes())
    };

    for (version, option, answered) in [("HTTP/1.1", "keep-alive", ""), ("HTTP/1.0", "Keep-Alive", "keep-alive")] {
        let mut client = ask(version, option);
        for _ in 0..3 {
            assert_eq!(list(&client.read_reply("GET")), answered);
            client.send("GET", "/numbers", version, &[("host", "localhost"), ("connection", option)]);
        }
    }

    for (version, option, answered) in [("HTTP/1.1", "x, Close", "close"), ("HTTP/1.0", "x", "")] {
        let mut client = ask(version, option);
        assert_eq!(list(&client.read_reply("GET")), answered);
        assert_eq!(client.read_to_end(), (vec![], false));
    }

    // Without a length, an old client sees the end of a list only by the end of the connection.
    let long = serve_numbers(&Numbers::new(30_000, 200));
    let mut client = Client::connect(long.address);
    client.send("GET", "/numbers", "HTTP/1.0", &[("connection", "keep-alive")]);
    let reply = client.read_reply("GET");
    assert_eq!((reply.whole, reply.header("connection"), reply.results().len()), (true, "", 30_000));
}

#[test]
fn requests_in_one_piece_or_in_the_smallest_are_answered_one_after_the_other() {
    let server = server();
    let request = b"GET /numbers HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut client = sent(&server, &request.repeat(50));
    for _ in 0..50 {
        list(&client.read_reply("GET"));
    }
    client.stream.set_nodelay(true).unwrap();
    for byte in [b"\r\n", &request[..]].concat() {
        client.stream.write_all(&[byte]).unwrap();
    }
    list(&client.read_reply("GET"));
}

#[test]
fn whoever_sends_what_is_no_request_is_told_what_to_do() {
    let server = server();
    // The second half would be a request of its own.
    let wrong: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /numbers HTTP/1.1\r\nhost : localhost\r\n\r\n",
        b"GET /numbers HTTP/1.1\r\nhost: localhost\r\n folded\r\n\r\n",
        b"GET /num bers HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /numbers HTTP/3.0\r\nhost: localhost\r\n\r\n",
        b"nonsense\r\n\r\nGET /numbers HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ];

    for bytes in wrong {
        let mut client = sent(&server, bytes);
        let reply = client.read_reply("GET");
        let said = String::from_utf8_lossy(bytes);
        assert_eq!((reply.status, reply.header("connection")), (400, "close"), "{said}");
        assert!(reply.json()["remedy"].as_str().is_some_and(|remedy| remedy.contains("http")), "{said}");
        assert_eq!(client.read_to_end(), (vec![], false), "{said}");
    }

    assert_eq!(server.chunkflow.metrics().complete(), 1);
}

#[test]
fn the_request_line_names_the_host_and_the_one_host_field_must_be_right_all_the_same() {
    let server = server();
    for (target, hosts, status) in [
        ("http://localhost/numbers", &["localhost"][..], 200),
        ("http://localhost/numbers", &["other.example"], 200),
        ("HTTP://LOCALHOST/numbers", &["localhost"], 200),
        ("http://localhost/numbers", &[""], 200),
        ("http://localhost/numbers", &[], 400),
        ("http://localhost/numbers", &["localhost", "localhost"], 400),
        ("http://localhost/numbers", &["localhost", "other.example"], 400),
        ("http://localhost/numbers", &["a b"], 400),
        ("http://localhost/numbers", &["localhost@evil.example"], 400),
        ("http://evil.example/numbers", &["localhost"], 400),
        ("http://me@localhost/numbers", &["localhost"], 400),
        ("http:///numbers", &["localhost"], 400),
        ("/numbers", &["localhost", "localhost"], 400),
        ("/numbers", &["localhost"], 200),
        ("/numbers", &[""], 400),
        ("/numbers", &[], 400),
        ("/healthz", &["10.1.2.3"], 200),
        ("/healthz", &["localhost", "localhost"], 400),
        ("http://localhost/healthz", &["localhost", "localhost"], 400),
    ] {
        let fields: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let request = format!("GET {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        assert_eq!(sent(&server, request.as_bytes()).read_reply("GET").status, status, "{target} {hosts:?}");
    }

    for (target, hosts, status) in [
        ("/numbers", &[][..], 200),
        ("http://localhost/numbers", &[], 200),
        ("/numbers", &["localhost", "localhost"], 400),
        ("http://localhost/numbers", &["localhost", "localhost"], 400),
    ] {
        let fields: String = hosts.iter().map(|host: &&str| format!("Host: {host}\r\n")).collect();
        let request = format!("GET {target} HTTP/1.0\r\n{fields}\r\n");
        assert_eq!(sent(&server, request.as_bytes()).read_reply("GET").status, status, "{target} {hosts:?}");
    }

    for (hosts, status) in
        [(&[][..], 200), (&["localhost"], 200), (&["other.example"], 400), (&["localhost", "localhost"], 400)]
    {
        let fields: Vec<(&str, &str)> = hosts.iter().map(|host| ("host", *host)).collect();
        assert_eq!(ask2(&server, "/numbers", &fields).status, status, "HTTP/2 {hosts:?}");
    }
}
