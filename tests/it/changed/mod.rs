//! A program tells which rows have changed, through the operator's listener.

mod bodies;
mod command;
mod stores;
mod tokens;

use std::net::SocketAddr;

use chunkflow::server::{AdminConfig, Server, Shutdown};
use serde_json::Value;

use crate::{
    client::{Client, Reply, read2},
    support::{File, Running, numbered},
};

/// The fields of every request that tells of changes.
const JSON: (&str, &str) = ("content-type", "application/json");

/// The largest body, in bytes.
const MOST: usize = 1024 * 1024;

/// A list of 10 rows, and the operator's listener beside it.
struct Told {
    file: File,
    server: Running,
    admin: SocketAddr,
}

impl Told {
    fn start() -> Told {
        Told::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut AdminConfig)) -> Told {
        let file = numbered(10);
        let server = file.serve("table = \"item\"");
        let config = AdminConfig::at(SocketAddr::from(([127, 0, 0, 1], 0))).with(change);
        let admin = server.block_on(async {
            let admin = Server::bind_admin(config, server.chunkflow.clone()).unwrap();
            let address = admin.address().unwrap();
            tokio::spawn(admin.run(Shutdown::default()));
            address
        });
        Told { file, server, admin }
    }

    /// Tells over HTTP/1.1, with these fields beside the length.
    fn tell(&self, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let length = body.len().to_string();
        let all = [&[("host", "localhost"), ("connection", "close"), ("content-length", &*length)], fields].concat();
        let mut client = Client::connect(self.admin);
        client.send("POST", target, "HTTP/1.1", &all);
        // A server that refuses the head may have closed its half by now.
        let _ = std::io::Write::write_all(&mut client.stream, body);
        client.read_reply("POST")
    }

    /// The same over HTTP/2; the body comes in `frames`.
    fn tell2(&self, target: &str, fields: &[(&str, &str)], frames: &[&[u8]]) -> Reply {
        self.server.block_on(async {
            let stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);

            let mut request = http::Request::post(format!("http://localhost{target}"));
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let (response, mut way) = client.send_request(request.body(()).unwrap(), false).unwrap();
            for frame in frames {
                if send2(&mut way, frame).await.is_none() {
                    break;
                }
            }
            let _ = way.send_data(bytes::Bytes::new(), true);
            read2(response).await
        })
    }

    /// Changes a row behind the server's back.
    fn rename(&self, id: u32, name: &str) {
        self.file.open().execute("UPDATE item SET name = ?1 WHERE id = ?2", (name, id)).unwrap();
    }

    /// The name of a row, as the list shows it.
    fn name(&self, id: u32) -> String {
        let row = self.server.get("/list").results().into_iter().find(|row| row["id"] == id);
        row.unwrap()["name"].as_str().unwrap().to_owned()
    }

    /// Whether nothing was told since the list was asked for last.
    fn is_untouched(&self) -> bool {
        self.server.get("/list").header("cache-status").contains("hit")
    }
}

/// Sends bytes as the window allows; `None` once the server wants no more.
async fn send2(way: &mut h2::SendStream<bytes::Bytes>, mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        way.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|context| way.poll_capacity(context)).await?.ok()?;
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        way.send_data(bytes::Bytes::copy_from_slice(now), false).ok()?;
        bytes = later;
    }
    Some(())
}

/// The token of an answer.
fn token(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    assert!(token.parse::<chunkflow::Token>().is_ok(), "{token}");
    token
}

/// The status of a problem; what it says, and its remedy.
fn problem(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let said: Value = reply.json();
    let member = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    (reply.status, format!("{}; {}", member("detail"), member("remedy")))
}

#[test]
fn a_list_shows_a_row_as_it_is_once_its_change_is_told() {
    let told = Told::start();
    let old = told.name(7);
    told.rename(7, "new");
    assert_eq!(told.name(7), old, "nobody told it yet");

    let reply = told.tell("/changed/list", &[JSON], br#"{"keys":[7]}"#);
    token(&reply);
    assert_eq!((reply.header("cache-control"), reply.header("connection")), ("no-store", "close"));
    assert_eq!(told.name(7), "new");

    told.rename(7, "newer");
    let frames = [&br#"{"changes":[{"key":7,"#[..], br#""old":{"name":"new"},"new":{"name":"newer"}}]}"#];
    let reply = told.tell2("/changed/list", &[("content-type", "Application/JSON; charset=utf-8")], &frames);
    token(&reply);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(told.name(7), "newer");
}

#[test]
fn an_empty_list_tells_of_nothing_and_is_no_mistake() {
    let told = Told::start();
    told.name(7);
    token(&told.tell("/changed/list", &[JSON], br#"{"keys":[],"changes":[]}"#));
    token(&told.tell2("/changed/list", &[JSON], &[br#"{"keys":[]}"#]));
    assert!(told.is_untouched());
}

#[test]
fn what_cannot_be_told_is_refused_and_says_what_to_do() {
    let told = Told::start();
    told.name(7);
    let body = br#"{"keys":[7]}"#;
    for (target, status, said) in [
        ("/changed/lisst", 404, "there is no resource `lisst`"),
        ("/changed/", 404, "there is no resource ``"),
        ("/changed/%ff", 404, "the path is not UTF-8"),
        ("/changed", 404, "there is no `/changed` here; GET /; GET /metrics"),
        ("/changed/list?table=x", 400, "`table` in the query is not understood here; leave it out"),
        ("/changed/list?", 200, ""),
        ("/changed/li%73t", 200, ""),
    ] {
        for reply in [told.tell(target, &[JSON], body), told.tell2(target, &[JSON], &[body])] {
            if status == 200 {
                token(&reply);
                told.name(7);
            } else {
                let (answered, text) = problem(&reply);
                assert!(answered == status && text.contains(said), "{target}: {answered} {text}");
            }
        }
    }
    assert!(told.is_untouched());

    let mut client = Client::connect(told.admin);
    client.send("GET", "/changed/list", "HTTP/1.1", &[("host", "localhost")]);
    let reply = client.read_reply("GET");
    assert_eq!((reply.status, reply.header("allow")), (405, "POST"));
}

#[test]
fn a_body_that_is_wrong_is_refused_with_the_place_in_it() {
    let told = Told::start();
    told.name(7);
    for (body, said) in [
        ("", "the body is no JSON"),
        ("{\"keys\":[7]", "the body is no JSON"),
        ("{}", "neither `keys` nor `changes`"),
        ("{\"kyes\":[7]}", "unknown member `kyes`; did you mean `keys`? members here: keys, changes, table"),
        ("{\"keys\":[7],\"keys\":[8]}", "the member `keys` twice"),
        ("{\"keys\":[7,null]}", "`keys[1]` is null"),
        ("{\"keys\":[[1,{}]]}", "`keys[0][1]` is an object"),
        ("{\"changes\":[{\"key\":1},{\"key\":2},{\"key\":3},{\"key\":[null]}]}", "`changes[3].key[0]` is null"),
        ("{\"changes\":[{\"key\":1,\"new\":{\"a\":[]}}]}", "`changes[0].new.a` is an array"),
        ("{\"changes\":[{\"old\":{}}]}", "`changes[0]` has no `key`"),
        ("{\"keys\":[7],\"table\":[]}", "`table` is an array, not a text"),
    ] {
        for reply in [
            told.tell("/changed/list", &[JSON], body.as_bytes()),
            told.tell2("/changed/list", &[JSON], &[body.as_bytes()]),
        ] {
            let (status, text) = problem(&reply);
            let has_remedy = !text.ends_with("; ");
            assert!(status == 400 && text.contains(said) && has_remedy, "{body}: {status} {text}");
        }
    }
    let (status, text) = problem(&told.tell("/changed/list", &[JSON], b"{\"keys\":[\"\xff\"]}"));
    assert!(status == 400 && text.contains("the body is not UTF-8"), "{text}");
    assert!(told.is_untouched());
}

#[test]
fn a_body_that_is_not_said_to_be_json_is_not_read() {
    let told = Told::start();
    told.name(7);
    let body = br#"{"keys":[7]}"#;
    for fields in [
        &[][..],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "text/plain")],
        &[("content-type", "text/plain; application/json")],
        &[("content-type", "multipart/form-data; boundary=application/json")],
        &[("content-type", "application/jsonx")],
        &[("content-type", "")],
        &[JSON, ("content-type", "text/plain")],
        &[JSON, ("content-encoding", "gzip")],
    ] {
        for reply in [told.tell("/changed/list", fields, body), told.tell2("/changed/list", fields, &[body])] {
            assert_eq!(problem(&reply).0, 415, "{fields:?}");
        }
    }

    // What a browser says of a page of another site is refused as for every path.
    for foreign in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(told.tell("/changed/list", &[JSON, foreign], body).status, 403, "{foreign:?}");
        assert_eq!(told.tell2("/changed/list", &[JSON, foreign], &[body]).status, 403, "{foreign:?}");
    }
    let mut client = Client::connect(told.admin);
    let preflight = [
        ("host", "localhost"),
        ("origin", "http://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    client.send("OPTIONS", "/changed/list", "HTTP/1.1", &preflight);
    let reply = client.read_reply("OPTIONS");
    assert!(reply.status == 403 && reply.headers.keys().all(|name| !name.starts_with("access-control")), "{reply:?}");
    assert!(told.is_untouched());
}
