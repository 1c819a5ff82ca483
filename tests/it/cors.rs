//! Pages of other origins: what browsers are told of who may read an answer, and what Chromium
//! makes of it.

use std::process::Command;

use crate::{
    admin::{chromium, somebody_else},
    client::Reply,
    support::{Client, File, Running, STUCK, ask, numbered},
};

const APP: &str = "https://app.example.com";

/// A list of ten rows, and the file that they are in.
struct Listed {
    server: Running,
    _file: File,
}

impl std::ops::Deref for Listed {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.server
    }
}

/// A list, with this in `[server]`.
fn serve(server: &str) -> Listed {
    let file = numbered(10);
    Listed { server: file.serve(&format!("table = \"item\"\n[server]\n{server}")), _file: file }
}

fn named() -> Listed {
    serve(&format!("cors = {{ origins = [\"{APP}\", \"http://localhost:3000\"], credentials = true }}"))
}

fn preflight(server: &Running, target: &str, headers: &[(&str, &str)]) -> Reply {
    let all = [&[("access-control-request-method", "GET")], headers].concat();
    ask(server.address, "OPTIONS", target, &all)
}

#[test]
fn an_answer_names_the_origin_of_the_page_that_may_read_it_and_no_other() {
    let server = named();
    for origin in [APP, "http://localhost:3000"] {
        let reply = ask(server.address, "GET", "/list", &[("origin", origin)]);
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, origin));
        assert_eq!(reply.header("access-control-allow-credentials"), "true");
        assert!(reply.header("access-control-expose-headers").contains("Link"), "{origin}");
        assert_eq!(reply.header("vary"), "Accept, Accept-Encoding, Origin");
    }

    for origin in
        ["https://evil.example", "https://app.example.com.evil.example", "HTTPS://APP.EXAMPLE.COM", "null", ""]
    {
        let reply = ask(server.address, "GET", "/list", &[("origin", origin)]);
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, ""), "{origin}");
        assert_eq!(reply.header("access-control-allow-credentials"), "", "{origin}");
        assert!(reply.header("vary").contains("Origin"), "{origin}");
    }

    let reply = ask(server.address, "GET", "/list", &[]);
    assert_eq!(
        (reply.header("access-control-allow-origin"), reply.header("vary")),
        ("", "Accept, Accept-Encoding, Origin")
    );
    let two = ask(server.address, "GET", "/list", &[("origin", APP), ("origin", APP)]);
    assert_eq!(two.header("access-control-allow-origin"), "", "two origins are of no browser");
}

#[test]
fn with_a_star_every_page_reads_without_credentials() {
    let server = serve("cors = { origins = [\"*\"] }");
    for headers in [&[("origin", "https://evil.example")][..], &[]] {
        let reply = ask(server.address, "GET", "/list", headers);
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert_eq!(
            (reply.header("access-control-allow-credentials"), reply.header("vary")),
            ("", "Accept, Accept-Encoding")
        );
    }
}

#[test]
fn a_preflight_says_what_a_page_may_send_and_asks_for_nothing() {
    let server = named();
    let reply = preflight(&server, "/list", &[("origin", APP), ("access-control-request-headers", "authorization")]);
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, APP));
    assert_eq!(reply.header("access-control-allow-methods"), "GET, HEAD, QUERY");
    for name in ["Authorization", "X-Api-Key", "Last-Event-ID"] {
        assert!(reply.header("access-control-allow-headers").contains(name), "{name}");
    }
    assert_eq!(reply.header("access-control-max-age"), "7200");
    assert!(["Origin", "Access-Control-Request-Method"].iter().all(|name| reply.header("vary").contains(name)));
    assert_eq!(reply.header("access-control-allow-private-network"), "");

    let reply = preflight(&server, "/list", &[("origin", APP), ("access-control-request-private-network", "true")]);
    assert_eq!(reply.header("access-control-allow-private-network"), "true");

    let reply = preflight(&server, "/list", &[("origin", "https://evil.example")]);
    let told = ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"];
    assert_eq!((reply.status, told.map(|name| reply.header(name))), (204, [""; 3]));

    assert_eq!(server.chunkflow.metrics().loads(), 0);
    let plain = ask(server.address, "OPTIONS", "/list", &[]);
    assert_eq!(
        (plain.status, plain.header("allow")),
        (204, "GET, HEAD, OPTIONS, QUERY"),
        "what is no preflight is answered as ever"
    );
}

#[test]
fn a_page_can_read_why_it_gets_no_list() {
    let server = named();
    for (target, status) in [("/nothing", 404), ("/list?zzz=1", 400), ("/list?after=nonsense", 400), ("/healthz", 200)]
    {
        let reply = ask(server.address, "GET", target, &[("origin", APP)]);
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (status, APP), "{target}");
    }

    let mut client = Client::connect(server.address);
    client.send("GET", "/list", "HTTP/1.1", &[("host", "evil.example"), ("origin", APP), ("connection", "close")]);
    let reply = client.read_reply("GET");
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (400, APP));
}

#[test]
fn without_cors_no_answer_says_anything_of_origins() {
    let server = serve("");
    for reply in
        [ask(server.address, "GET", "/list", &[("origin", APP)]), preflight(&server, "/list", &[("origin", APP)])]
    {
        assert!(!reply.headers.keys().any(|name| name.starts_with("access-control")), "{:?}", reply.headers);
        assert!(!reply.header("vary").contains("Origin"));
    }
}

/// A page that reads lists of this server and tells what it got.
fn reads(server: &Running) -> String {
    format!(
        r#"<!doctype html><meta charset="utf-8"><title>an application</title><script type="module">
const list = "http://{}/list", said = [];
for (const [path, init] of [["", {{}}], [".ndjson", {{ credentials: "include" }}], [".csv", {{ headers: {{ "X-Api-Key": "a" }} }}]])
    said.push(await fetch(list + path, init)
        .then(async (answer) => answer.ok && (await answer.text()).length > 100 && answer.headers.get("X-Request-Id") !== null)
        .catch(() => "refused"));
said.push(await new Promise((done) => {{
    const events = new EventSource(list + ".sse");
    events.addEventListener("end", () => {{ events.close(); done("events"); }});
    events.onerror = () => {{ events.close(); done("refused"); }};
}}));
await fetch("/done?" + said.join());
</script>"#,
        server.address
    )
}

#[test]
fn in_chromium_a_page_of_a_named_origin_reads_lists_and_one_of_another_does_not() {
    let folder = tempfile::TempDir::new().unwrap();
    let read = |host: &str, server: &Running, port: u16, done: &std::sync::mpsc::Receiver<String>| {
        let url = format!("http://{host}:{port}/");
        let mut browser = chromium(folder.path()).arg(url).spawn().unwrap();
        let said = done.recv_timeout(STUCK);
        let _ = Command::new("kill").arg(browser.id().to_string()).status();
        let _ = browser.wait();
        let said = said.unwrap_or_else(|_| panic!("{} is not read from {host}", server.address));
        said.split(' ').next().unwrap_or_default().to_owned()
    };

    // The page's port is known once it is served, and the server's before.
    let listed = crate::servers::free_port();
    let server = serve(&format!("cors = {{ origins = [\"http://app.example:{listed}\"], credentials = true }}"));
    let (port, done) = somebody_else(reads(&server), listed);
    assert_eq!(read("app.example", &server, port, &done), "true,true,true,events");
    assert_eq!(read("evil.example", &server, port, &done), "refused,refused,refused,refused");
}
