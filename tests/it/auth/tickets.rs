//! Tickets, by which streams are opened without a header.

use std::{fmt::Write, net::SocketAddr, process::Command};

use sha2::{Digest, Sha256};

use crate::support::{Client, File, Process, Reply, ask, numbered, until};

pub(super) const KEY: &str = "cfk_a-key-of-a-test";

/// Ten rows, with a key for them.
pub(super) fn keyed(server: &str) -> File {
    let file = numbered(10);
    let digest = Sha256::digest(KEY).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let keys = format!("[partner]\nsha256 = \"{digest}\"\nclaims = {{ org = 7 }}\n");
    std::fs::write(file.folder.path().join("keys.toml"), keys).unwrap();

    let config = file.config("table = \"item\"");
    let text = format!("{config}\n[server]\n{server}\n[auth]\nkeys = {{ file = \"keys.toml\" }}\n");
    std::fs::write(file.folder.path().join("chunkflow.toml"), text).unwrap();
    file
}

fn serve(file: &File) -> Process {
    Process::serve(&["serve", "--log", "info"], file.folder.path())
}

/// Asks for a ticket with these fields and this body.
pub(super) fn post(address: SocketAddr, fields: &[(&str, &str)], body: &str) -> Reply {
    let length = body.len().to_string();
    let all = [&[("host", "localhost"), ("connection", "close"), ("content-length", &*length)], fields].concat();
    let mut client = Client::connect(address);
    client.send("POST", "/-/ticket", "HTTP/1.1", &all);
    // A server that refuses the head may have closed its half by now.
    let _ = std::io::Write::write_all(&mut client.stream, body.as_bytes());
    client.read_reply("POST")
}

pub(super) const JSON: (&str, &str) = ("content-type", "application/json");
pub(super) const WANTED: &str = "{\"list\":\"/list.sse\"}";

#[test]
fn who_has_a_key_gets_a_ticket_for_a_list_and_nobody_else_does() {
    let file = keyed("");
    let server = serve(&file);
    let reply = post(server.address, &[JSON, ("x-api-key", KEY)], WANTED);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control"), "no-store");
    let ticket = reply.json();
    assert!(ticket["ticket"].as_str().unwrap().starts_with("cft_"), "{ticket}");
    assert!(ticket["expires"].as_u64().unwrap() > 1_700_000_000, "{ticket}");

    let right = ("x-api-key", KEY);
    let wide = format!("{{\"list\":\"/list\",\"x\":\"{}\"}}", "x".repeat(5_000));
    for (status, fields, body) in [
        (401, &[JSON][..], WANTED),
        (401, &[JSON, ("x-api-key", "wrong")], WANTED),
        (401, &[JSON, ("authorization", "Bearer wrong")], WANTED),
        (400, &[JSON, right, right], WANTED),
        (400, &[JSON, right], ""),
        (400, &[JSON, right], "{}"),
        (400, &[JSON, right], "[\"/list\"]"),
        (400, &[JSON, right], "{\"list\":\"list\"}"),
        (400, &[JSON, right], "{\"list\":\"/list?limit=1\"}"),
        (400, &[JSON, right], "{\"list\":7}"),
        (404, &[JSON, right], "{\"list\":\"/other\"}"),
        (404, &[JSON, right], "{\"list\":\"/\"}"),
        (413, &[JSON, right], &wide),
        (415, &[right], WANTED),
        (415, &[("content-type", "text/plain"), right], WANTED),
        (415, &[JSON, ("content-encoding", "gzip"), right], WANTED),
    ] {
        let reply = post(server.address, fields, body);
        assert_eq!(reply.status, status, "{fields:?} {body}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert_eq!(reply.header("www-authenticate").starts_with("Bearer"), status == 401);
    }

    let wrong = post(server.address, &[JSON, ("x-api-key", "wrong")], WANTED);
    assert_eq!(wrong.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    for method in ["GET", "PUT", "OPTIONS"] {
        let reply = ask(server.address, method, "/-/ticket", &[right]);
        assert_eq!((reply.status, reply.header("allow")), (405, "POST"), "{method}");
    }
}

#[test]
fn without_a_way_to_say_who_one_is_there_are_no_tickets() {
    let file = numbered(10);
    std::fs::write(file.folder.path().join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let server = serve(&file);
    assert_eq!(post(server.address, &[JSON, ("x-api-key", KEY)], WANTED).status, 404);
    assert_eq!(server.get("/list?ticket=cft_x").status, 400);
}

#[test]
fn a_list_that_is_anybodys_looks_at_no_credential() {
    let file = keyed("");
    let server = serve(&file);
    for fields in [
        &[("x-api-key", "wrong")][..],
        &[("authorization", "Bearer a.b.c")],
        &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
    ] {
        assert_eq!(ask(server.address, "GET", "/list", fields).results().len(), 10, "{fields:?}");
    }
    // Nor at the ticket that a page has got for it.
    assert_eq!(server.get("/list?ticket=cft_x&limit=3").results().len(), 3);
}

#[test]
fn no_ticket_and_no_token_is_in_the_log() {
    let file = keyed("");
    let mut server = serve(&file);
    let ticket = post(server.address, &[JSON, ("x-api-key", KEY)], WANTED).json();
    let ticket = ticket["ticket"].as_str().unwrap();
    assert_eq!(server.get(&format!("/list.sse?ticket={ticket}")).status, 200);
    for name in ["access_token", "token", "api_key", "apikey", "jwt", "password"] {
        assert_eq!(server.get(&format!("/list?{name}=s3cret-{name}")).status, 400, "{name}");
    }

    let log = server.kill().join("\n");
    assert!(log.contains("/list.sse?ticket=***") && log.contains("/list?access_token=***"), "{log}");
    for secret in [&ticket[..12], KEY, "s3cret"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn a_page_of_another_origin_may_ask_for_a_ticket_if_it_may_read_answers() {
    let file = keyed("cors = { origins = [\"https://app.example.com\"] }");
    let server = serve(&file);
    let preflight = |origin| {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        ask(server.address, "OPTIONS", "/-/ticket", &asked)
    };
    let allowed = preflight("https://app.example.com");
    assert_eq!((allowed.status, allowed.header("access-control-allow-methods")), (204, "POST"));
    assert!(allowed.header("access-control-allow-headers").contains("Content-Type"));
    assert_eq!(preflight("https://evil.example").header("access-control-allow-methods"), "");
}

#[test]
fn keys_are_read_again_by_a_reload_and_where_the_configuration_is_watched() {
    for watches in [false, true] {
        let file = keyed("");
        let arguments = ["serve", "--log", "info", "--watch-config"];
        let server = Process::serve(&arguments[..3 + usize::from(watches)], file.folder.path());
        let asked = || post(server.address, &[JSON, ("x-api-key", KEY)], WANTED).status;
        assert_eq!(asked(), 200);

        let keys = file.folder.path().join("keys.toml");
        std::fs::write(&keys, format!("[other]\nsha256 = \"{:064}\"\n", 7)).unwrap();
        let process = server.child.id().to_string();
        let hang_up = || Command::new("kill").args(["-HUP", &process]).status().unwrap().success();
        assert!(watches || hang_up());
        until("the old key counts no more", || asked() == 401);

        // A file that is wrong is refused, and what was there goes on.
        std::fs::write(&keys, "[partner]\n").unwrap();
        assert!(hang_up());
        assert_eq!((asked(), server.get("/list").status), (401, 200));
    }
}
