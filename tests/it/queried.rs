//! `QUERY` (RFC 10008): the parameters of a list as a form in the body.

use std::io::Write;

use crate::{
    client::{Client, Reply, read2},
    support::{File, Numbers, Running, ask, ids, serve_numbers},
};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn query(server: &Running, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut client = Client::connect(server.address);
    let length = body.len().to_string();
    let own = [("host", "localhost"), ("content-length", &*length)];
    client.send("QUERY", target, "HTTP/1.1", &[&own, headers].concat());
    let _ = client.stream.write_all(body);
    client.read_reply("QUERY")
}

fn items() -> (File, Running) {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) INSERT INTO item SELECT i, 'n ' || i FROM n;",
    );
    let server = file.serve("table = \"item\"\nfilters = [\"id\", \"name\"]");
    (file, server)
}

#[test]
fn a_form_in_the_body_asks_what_it_would_ask_behind_the_path() {
    let (_file, server) = items();
    for (target, form, same) in [
        ("/list", "limit=3&id=gt.5", "/list?limit=3&id=gt.5"),
        ("/list.ndjson", "select=name&id=in.(1,2)", "/list.ndjson?select=name&id=in.(1,2)"),
        ("/list", "name=eq.n+7", "/list?name=eq.n%207"),
        ("/list?limit=2", "id=gt.9", "/list?limit=2&id=gt.9"),
        ("/list?limit=2", "", "/list?limit=2"),
    ] {
        let reply = query(&server, target, &[FORM], form.as_bytes());
        let same = server.get(same);
        assert_eq!((reply.status, &reply.body), (200, &same.body), "{target} {form}");
        assert_eq!(reply.header("accept-query"), "application/x-www-form-urlencoded");
        assert_eq!(reply.headers.get("link"), same.headers.get("link"), "{target} {form}");
    }

    // A list of keys that no address could hold.
    let names: Vec<String> =
        (1..=1_000).map(|id| format!("\"n {id}{}\"", if id > 7 { "x".repeat(50) } else { String::new() })).collect();
    let form = format!("name=in.({})", names.join(","));
    assert!(form.len() > 50_000);
    assert_eq!(ids(&query(&server, "/list", &[FORM], form.as_bytes())), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn the_link_behind_a_page_is_one_that_get_takes_or_the_page_is_refused() {
    let (_file, server) = items();
    let first = query(
        &server,
        "/list",
        &[("content-type", "Application/X-WWW-Form-Urlencoded; charset=utf-8")],
        b"limit=2&select=id",
    );
    let next = first.next("/list").unwrap();
    assert_eq!(ids(&server.get(&next)), [3, 4]);

    let long = format!("limit=2&id=in.({})", vec!["1"; 5_000].join(","));
    let refused = query(&server, "/list", &[FORM], long.as_bytes());
    assert_eq!(refused.status, 400);
    assert!(refused.json()["detail"].as_str().unwrap().contains("cannot link to the next one"), "{}", refused.json());
}

#[test]
fn what_is_no_small_form_is_refused_and_says_what_is_taken() {
    let (_file, server) = items();
    for headers in
        [&[][..], &[("content-type", "application/json")], &[FORM, FORM], &[FORM, ("content-encoding", "gzip")]]
    {
        let reply = query(&server, "/list", headers, b"limit=1");
        assert_eq!(reply.status, 415, "{headers:?}");
        assert_eq!(reply.header("accept-query"), "application/x-www-form-urlencoded");
    }

    assert_eq!(query(&server, "/list", &[FORM], &vec![b'&'; 65_536]).status, 200, "64 KiB are a form");
    assert_eq!(query(&server, "/list", &[FORM], &vec![b'&'; 65_537]).status, 413);
    for (target, form, told) in [
        ("/list", &b"name=eq.\xff"[..], "not UTF-8"),
        ("/list", b"name=eq.%ff", "not UTF-8"),
        ("/list", b"limit=x", "not a number"),
        ("/list?limit=1", b"limit=2", "stands in the address and in the body"),
        ("/list?id=gt.1", b"id=lt.9", "stands in the address and in the body"),
        ("/list", b"unknown=1", "unknown"),
    ] {
        let reply = query(&server, target, &[FORM], form);
        assert_eq!(reply.status, 400, "{form:?}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(told), "{}", reply.json());
    }
}

#[test]
fn only_lists_are_queried_and_no_other_method_has_its_body_read() {
    let (_file, server) = items();
    assert_eq!(query(&server, "/none", &[FORM], b"limit=1").status, 404);
    for own in ["/", "/openapi.json", "/healthz"] {
        let reply = query(&server, own, &[FORM], b"limit=1");
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"), "{own}");
    }

    let options = ask(server.address, "OPTIONS", "/list", &[]);
    assert_eq!((options.header("allow"), options.header("accept-query")), ("GET, HEAD, OPTIONS, QUERY", FORM.1));
    assert_eq!(ask(server.address, "HEAD", "/list", &[]).header("accept-query"), FORM.1);

    let mut client = Client::connect(server.address);
    client.send("GET", "/list", "HTTP/1.1", &[("host", "localhost"), FORM, ("content-length", "7")]);
    client.stream.write_all(b"limit=1").unwrap();
    assert_eq!(ids(&client.read_reply("GET")).len(), 20_000, "a body of GET says nothing");
}

#[test]
fn a_connection_goes_on_behind_a_form_in_any_framing() {
    let server = serve_numbers(&Numbers::new(10, 10));
    let mut client = Client::connect(server.address);
    for _ in 0..3 {
        client.send("QUERY", "/numbers", "HTTP/1.1", &[("host", "localhost"), FORM, ("transfer-encoding", "chunked")]);
        client.stream.write_all(b"5\r\nlimit\r\n2\r\n=4\r\n0\r\n\r\n").unwrap();
        assert_eq!(ids(&client.read_reply("QUERY")), [1, 2, 3, 4]);

        let fields = [("host", "localhost"), FORM, ("content-length", "7"), ("expect", "100-continue")];
        client.send("QUERY", "/numbers", "HTTP/1.1", &fields);
        assert_eq!(client.read_reply("QUERY").status, 100);
        client.stream.write_all(b"limit=2").unwrap();
        assert_eq!(ids(&client.read_reply("QUERY")), [1, 2]);
    }
}

#[test]
fn a_form_comes_over_http_2_too() {
    let server = serve_numbers(&Numbers::new(10, 10));
    let reply = server.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder()
            .method("QUERY")
            .uri("http://localhost/numbers")
            .header(FORM.0, FORM.1)
            .body(())
            .unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data("limit=".into(), false).unwrap();
        body.send_data("3".into(), true).unwrap();
        read2(response).await
    });
    assert_eq!(ids(&reply), [1, 2, 3]);
}

#[test]
fn a_form_that_does_not_come_is_not_waited_for_longer_than_a_head() {
    let source = Numbers::new(10, 10);
    let config = chunkflow::server::ServerConfig::default()
        .with(|server| server.header_timeout = std::time::Duration::from_millis(300));
    let server = Running::start(
        config,
        chunkflow::Chunkflow::new(std::sync::Arc::new(chunkflow::Memory::new(1 << 20)))
            .with(chunkflow::Resource::new("numbers", source, chunkflow::ResourceOptions::default()).unwrap()),
    );
    let mut client = Client::connect(server.address);
    client.send("QUERY", "/numbers", "HTTP/1.1", &[("host", "localhost"), FORM, ("content-length", "7")]);
    assert_eq!(client.read_reply("QUERY").status, 408);
}
