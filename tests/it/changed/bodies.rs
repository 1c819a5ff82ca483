//! Bodies of requests: their bounds, and how they come.

use std::io::Write;

use super::{JSON, MOST, Told, problem, send2, token};
use crate::{
    client::{Client, read2},
    support::{ask, until},
};

const BODY: &str = r#"{"keys":[7]}"#;

/// A body of exactly so many bytes.
fn padded(size: usize) -> Vec<u8> {
    let mut body = BODY.as_bytes().to_vec();
    body.resize(size, b' ');
    body
}

/// A connection on which a head with these fields was sent.
fn begun(told: &Told, fields: &[(&str, &str)]) -> Client {
    let mut client = Client::connect(told.admin);
    client.send("POST", "/changed/list", "HTTP/1.1", &[&[("host", "localhost"), JSON], fields].concat());
    client
}

/// A body in chunks of this size.
fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let chunks = body.chunks(size).map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    [chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat()
}

#[test]
fn a_body_of_one_mebibyte_is_read_and_one_byte_more_is_refused() {
    let told = Told::start();
    token(&told.tell("/changed/list", &[JSON], &padded(MOST)));
    token(&told.tell2("/changed/list", &[JSON], &[&padded(MOST)]));
    for size in [1, 1_000, 65_536, MOST] {
        let mut client = begun(&told, &[("transfer-encoding", "chunked")]);
        client.stream.write_all(&chunked(&padded(MOST), size)).unwrap();
        token(&client.read_reply("POST"));
    }

    told.name(7);
    let large = padded(MOST + 1);
    let mut client = begun(&told, &[("transfer-encoding", "chunked")]);
    let _ = client.stream.write_all(&chunked(&large, 1_000));
    for reply in [
        told.tell("/changed/list", &[JSON], &large),
        told.tell2("/changed/list", &[JSON], &[&large]),
        client.read_reply("POST"),
    ] {
        let (status, text) = problem(&reply);
        assert!(status == 413 && text.contains("more than 1048576 bytes; send it in several requests"), "{text}");
    }
    assert!(told.is_untouched());
}

#[test]
fn a_body_that_is_said_to_be_too_large_is_refused_before_it_comes() {
    let told = Told::start();
    for length in ["1048577", "99999999999", "18446744073709551615"] {
        let mut client = begun(&told, &[("content-length", length), ("expect", "100-continue")]);
        assert_eq!(problem(&client.read_reply("POST")).0, 413, "{length}");
        let (rest, reset) = client.read_to_end();
        assert!(rest.is_empty() && !reset);
    }
}

#[test]
fn a_connection_goes_on_behind_a_body_that_was_read() {
    let told = Told::start();
    let mut client = begun(&told, &[("content-length", "12")]);
    let next = format!(
        "{BODY}GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nPOST /changed/list HTTP/1.1\r\nhost: localhost\r\n"
    );
    let next = next + "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    client.stream.write_all(next.as_bytes()).unwrap();
    token(&client.read_reply("POST"));
    assert_eq!(client.read_reply("GET").status, 200);

    let trailers = [&chunked(BODY.as_bytes(), 5)[..], b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"].concat();
    client.stream.write_all(&trailers).unwrap();
    token(&client.read_reply("POST"));
    assert_eq!(client.read_reply("GET").status, 200);

    // A request that is refused for what it says takes the connection along only if its body was
    // not read.
    for (body, fields, connection) in
        [("{}", JSON, ""), (BODY, ("content-type", "text/plain"), "close"), ("{}", ("content-type", "x"), "close")]
    {
        let mut client = Client::connect(told.admin);
        let length = body.len().to_string();
        let fields = [("host", "localhost"), fields, ("content-length", &*length)];
        client.send("POST", "/changed/list", "HTTP/1.1", &fields);
        client.stream.write_all(body.as_bytes()).unwrap();
        assert_eq!(client.read_reply("POST").header("connection"), connection, "{body}");
    }
}

#[test]
fn other_paths_read_no_body() {
    let told = Told::start();
    for (target, status) in [("/purge/list", 204), ("/reload", 503)] {
        let mut client = Client::connect(told.admin);
        let fields = [("host", "localhost"), JSON, ("content-length", "12"), ("expect", "100-continue")];
        client.send("POST", target, "HTTP/1.1", &fields);
        let reply = client.read_reply("POST");
        assert_eq!((reply.status, reply.header("connection")), (status, "close"), "{target}");
        assert_eq!(told.tell2(target, &[], &[BODY.as_bytes()]).status, status, "{target}");
    }
}

#[test]
fn over_http2_no_path_but_changed_tells_a_client_to_go_on_or_waits_for_its_body() {
    let told = Told::start();
    told.server.block_on(async {
        let stream = tokio::net::TcpStream::connect(told.admin).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let begin = async |method: &str, target: &str, kind: &str| {
            let request = http::Request::builder().method(method).uri(format!("http://localhost{target}"));
            let request = request.header("content-type", kind).header("expect", "100-continue").body(()).unwrap();
            client.clone().ready().await.unwrap().send_request(request, false).unwrap()
        };

        // A request that began before the others, and is waited for as long as any.
        let (mut slow, mut way) = begin("POST", "/changed/list", JSON.1).await;
        assert!(std::future::poll_fn(|context| slow.poll_informational(context)).await.is_some());
        send2(&mut way, &BODY.as_bytes()[..11]).await.unwrap();

        for (method, target, kind, status) in [
            ("POST", "/purge/list", JSON.1, 204),
            ("POST", "/warm/list", JSON.1, 202),
            ("POST", "/cut/1", JSON.1, 404),
            ("POST", "/reload", JSON.1, 503),
            ("GET", "/", JSON.1, 200),
            ("GET", "/metrics", JSON.1, 200),
            ("GET", "/status.json", JSON.1, 200),
            ("GET", "/healthz", JSON.1, 200),
            ("POST", "/nothing", JSON.1, 404),
            // Those that are refused for their head are not told to send either.
            ("GET", "/changed/list", JSON.1, 405),
            ("POST", "/changed/other", JSON.1, 404),
            ("POST", "/changed/list", "text/plain", 415),
        ] {
            let (mut response, _way) = begin(method, target, kind).await;
            let word = tokio::select! {
                biased;
                _ = &mut slow => panic!("{method} {target} waits for a body"),
                word = std::future::poll_fn(|context| response.poll_informational(context)) => word,
            };
            assert!(word.is_none(), "{method} {target}: {word:?}");
            assert_eq!(read2(response).await.status, status, "{method} {target}");
        }
    });
}

#[test]
fn a_body_that_ends_too_soon_is_never_acted_on() {
    let told = Told::start();
    told.name(7);
    // What came is a body of its own, which must not be taken for the whole one.
    for (field, came) in [
        (("content-length", "13"), BODY.to_owned()),
        (("transfer-encoding", "chunked"), format!("c\r\n{BODY}")),
        (("transfer-encoding", "chunked"), format!("c\r\n{BODY}\r\n")),
        (("transfer-encoding", "chunked"), format!("c\r\n{BODY}\r\n0\r\n")),
    ] {
        let mut client = begun(&told, &[field]);
        client.stream.write_all(came.as_bytes()).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let reply = client.read_reply("POST");
        let (status, text) = problem(&reply);
        assert!(status == 400 && text.contains("ends within its body"), "{came:?}: {text}");
        assert_eq!(reply.header("connection"), "close");

        // A client that leaves, too.
        let mut client = begun(&told, &[field]);
        client.stream.write_all(came.as_bytes()).unwrap();
    }

    told.server.block_on(async {
        for reset in [true, false] {
            let stream = tokio::net::TcpStream::connect(told.admin).await.unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let request = http::Request::post("http://localhost/changed/list").header(JSON.0, JSON.1);
            let request = request.header("content-length", if reset { "12" } else { "13" }).body(()).unwrap();
            let (response, mut way) = client.send_request(request, false).unwrap();
            send2(&mut way, BODY.as_bytes()).await.unwrap();
            if reset {
                way.send_reset(h2::Reason::CANCEL);
            } else {
                let _ = way.send_data(bytes::Bytes::new(), true);
            }
            assert!(response.await.is_err(), "reset: {reset}");
            connection.abort();
        }
    });

    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(told.is_untouched());
}

#[test]
fn a_body_whose_end_is_told_in_two_ways_is_refused() {
    let told = Told::start();
    told.name(7);
    let chunked = format!("c\r\n{BODY}\r\n0\r\n\r\n");
    for (fields, body) in [
        (&[("content-length", "12"), ("transfer-encoding", "chunked")][..], &*chunked),
        (&[("content-length", "12"), ("content-length", "12")], BODY),
        (&[("content-length", "12, 12")], BODY),
        (&[("content-length", "+12")], BODY),
        (&[("transfer-encoding", "gzip, chunked")], &chunked),
        (&[("transfer-encoding", "identity")], BODY),
        (&[("transfer-encoding", "chunked")], "{\"keys\":[7]}\r\n"),
        (&[("transfer-encoding", "chunked")], "c\n{\"keys\":[7]}\n0\n\n"),
        (&[("transfer-encoding", "chunked")], "d\r\n{\"keys\":[7]}\r\n0\r\n\r\n"),
        (&[("transfer-encoding", "chunked")], "\r\n"),
    ] {
        let mut client = begun(&told, fields);
        client.stream.write_all(body.as_bytes()).unwrap();
        let reply = client.read_reply("POST");
        let (status, text) = problem(&reply);
        assert!(status == 400 && text.contains("where the body ends is not clear"), "{fields:?} {body:?}: {text}");
        assert_eq!(reply.header("connection"), "close");
    }
    assert!(told.is_untouched());
}

#[test]
fn a_client_that_waits_to_be_told_to_go_on_is_told_once_its_body_is_wanted() {
    let told = Told::start();
    let expects = ("expect", "100-continue");
    let word = "HTTP/1.1 100 Continue\r\n\r\n";
    for (field, body) in [
        (("content-length", "12"), BODY.to_owned()),
        (("transfer-encoding", "chunked"), format!("c\r\n{BODY}\r\n0\r\n\r\n")),
    ] {
        let mut client = begun(&told, &[expects, field]);
        assert!(client.wait_for(word));
        client.stream.write_all(body.as_bytes()).unwrap();
        assert_eq!(client.read_reply("POST").status, 100);
        token(&client.read_reply("POST"));
    }

    // Those that are refused for their head are not told to send.
    for (target, kind) in [("/changed/other", JSON), ("/changed/list", ("content-type", "text/plain"))] {
        let mut client = Client::connect(told.admin);
        client.send("POST", target, "HTTP/1.1", &[("host", "localhost"), kind, ("content-length", "12"), expects]);
        assert!([404, 415].contains(&client.read_reply("POST").status), "{target}");
    }

    // In HTTP/1.0 nobody waits, nor does a client that has begun to send.
    let mut client = Client::connect(told.admin);
    client.send("POST", "/changed/list", "HTTP/1.0", &[JSON, ("content-length", "12"), expects]);
    client.stream.write_all(BODY.as_bytes()).unwrap();
    token(&client.read_reply("POST"));

    told.server.block_on(async {
        let stream = tokio::net::TcpStream::connect(told.admin).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post("http://localhost/changed/list").header(JSON.0, JSON.1);
        let request = request.header(expects.0, expects.1).body(()).unwrap();
        let (mut response, mut way) = client.send_request(request, false).unwrap();
        let word = std::future::poll_fn(|context| response.poll_informational(context)).await;
        assert_eq!(word.unwrap().unwrap().status(), 100);
        way.send_data(BODY.into(), true).unwrap();
        token(&read2(response).await);
    });
}

#[test]
fn curl_tells_a_large_body_over_both_protocols() {
    let told = Told::start();
    let keys: Vec<String> = (0..20_000).map(|id| id.to_string()).collect();
    let file = told.file.folder.path().join("body.json");
    std::fs::write(&file, format!("{{\"keys\":[{}]}}", keys.join(","))).unwrap();
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        told.rename(7, protocol);
        let output = std::process::Command::new("curl")
            .args(["--silent", "--verbose", "--fail-with-body", protocol, "--expect100-timeout", "3600"])
            .args(["--header", "Content-Type: application/json", "--header", "Expect: 100-continue"])
            .args(["--data-binary", &format!("@{}", file.display()), &format!("http://{}/changed/list", told.admin)])
            .output()
            .unwrap();
        assert!(output.status.success(), "{protocol}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("\"token\""), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(" 100"), "{protocol}: {output:?}");
        assert_eq!(told.name(7), protocol);
    }
}

#[test]
fn a_body_that_comes_too_slowly_is_given_up_and_so_many_are_read_at_once() {
    let told = Told::start();
    told.name(7);
    let slow: Vec<Client> = (0..16)
        .map(|_| {
            let mut client = begun(&told, &[("content-length", "12"), ("expect", "100-continue")]);
            assert!(client.wait_for("100 Continue"), "it is read");
            client.stream.write_all(&BODY.as_bytes()[..11]).unwrap();
            client
        })
        .collect();

    // The one that finds no room is told when to come back, and other paths go on.
    for reply in
        [told.tell("/changed/list", &[JSON], BODY.as_bytes()), told.tell2("/changed/list", &[JSON], &[BODY.as_bytes()])]
    {
        assert_eq!((reply.status, reply.header("retry-after")), (503, "2"));
        assert!(String::from_utf8_lossy(&reply.body).contains("too many bodies are under way"));
    }
    assert_eq!(ask(told.admin, "GET", "/healthz", &[]).status, 200);

    for mut client in slow {
        assert_eq!(client.read_reply("POST").status, 100);
        let (status, text) = problem(&client.read_reply("POST"));
        assert!(status == 408 && text.contains("did not come in time"), "{text}");
    }
    assert!(told.is_untouched());
    until("there is room again", || told.tell("/changed/list", &[JSON], BODY.as_bytes()).status == 200);
}

#[test]
fn a_slow_body_over_http2_is_given_up_too() {
    let told = Told::start();
    told.name(7);
    let status = told.server.block_on(async {
        let stream = tokio::net::TcpStream::connect(told.admin).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post("http://localhost/changed/list").header(JSON.0, JSON.1).body(()).unwrap();
        let (response, mut way) = client.send_request(request, false).unwrap();
        send2(&mut way, &BODY.as_bytes()[..11]).await.unwrap();
        response.await.unwrap().status()
    });
    assert_eq!(status, 408);
    assert!(told.is_untouched());
}

#[test]
fn many_bodies_on_one_connection_of_http2_do_not_hold_each_other() {
    let told = Told::start();
    let body = padded(100_000);
    told.server.block_on(async {
        let stream = tokio::net::TcpStream::connect(told.admin).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let mut client = client.clone().ready().await.unwrap();
            let body = body.clone();
            asked.spawn(async move {
                let request = http::Request::post("http://localhost/changed/list").header(JSON.0, JSON.1);
                let (response, mut way) = client.send_request(request.body(()).unwrap(), false).unwrap();
                if send2(&mut way, &body).await.is_some() {
                    let _ = way.send_data(bytes::Bytes::new(), true);
                }
                response.await.unwrap().status().as_u16()
            });
        }

        let mut told = 0;
        while let Some(status) = asked.join_next().await {
            let status = status.unwrap();
            assert!([200, 503].contains(&status), "{status}");
            told += usize::from(status == 200);
        }
        assert!(told >= 16, "{told}");
    });
}
