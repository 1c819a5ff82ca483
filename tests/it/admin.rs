//! The operator's listener: which requests it accepts.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use chunkflow::server::{AdminConfig, Listen, Server, Shutdown};

use crate::support::{Client, Running, STUCK, numbered};

const TOKEN: &str = "s3cret";

/// Header fields.
type Fields = Vec<(&'static str, String)>;
/// Where the outcome of a reload is sent.
type Asked = tokio::sync::oneshot::Sender<Result<String, String>>;

/// A list, and the operator's listener beside it.
struct Operated {
    server: Running,
    admin: SocketAddr,
    /// Requests for a reload.
    reloads: tokio::sync::mpsc::Receiver<Asked>,
}

impl Operated {
    fn start(token: Option<&str>) -> Operated {
        let file = numbered(10);
        let server = file.serve("table = \"item\"");
        let (ask, reloads) = tokio::sync::mpsc::channel(100);
        let config =
            AdminConfig::at(SocketAddr::from(([127, 0, 0, 1], 0))).with(|admin| admin.token = token.map(str::to_owned));
        let admin = server.block_on(async {
            let listener = Server::bind_admin(config, server.chunkflow.clone()).unwrap();
            listener.ask_for_reloads(ask);
            let admin = listener.address().unwrap();
            tokio::spawn(listener.run(Shutdown::default()));
            admin
        });
        assert_eq!(server.get("/list").status, 200);
        Operated { server, admin, reloads }
    }

    fn ask(&self, method: &str, target: &str, version: &str, headers: &[(&str, &str)]) -> u16 {
        let mut client = Client::connect(self.admin);
        client.send(method, target, version, &[headers, &[("connection", "close")]].concat());
        client.read_reply(method).status
    }

    /// Whether the list's chunks are still there and no reload was asked for.
    fn is_untouched(&mut self) -> bool {
        self.server.get("/list").header("cache-status").contains("hit") && self.reloads.try_recv().is_err()
    }
}

/// Hosts that really lead here, with every port.
fn own_hosts(admin: SocketAddr) -> Vec<String> {
    let names = ["localhost", "LocalHost", "127.0.0.1", "127.8.7.6", "[::1]", "[::ffff:127.0.0.1]"];
    let ports = [String::new(), ":80".to_owned(), ":1".to_owned(), format!(":{}", admin.port())];
    names.iter().flat_map(|name| ports.iter().map(move |port| format!("{name}{port}"))).collect()
}

/// Hosts under which a foreign page may reach this listener.
fn other_hosts(admin: SocketAddr) -> Vec<String> {
    let names = [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "localhostt",
        "127.0.0.1x",
        "0.0.0.0",
        "128.0.0.1",
        "[::]",
        "[::2]",
        "[::ffff:10.0.0.1]",
        "10.0.0.1",
        "2130706433",
        "0x7f000001",
        "a localhost",
        "evil@localhost",
        "localhost, evil.example",
        "",
    ];

    let port = format!(":{}", admin.port());
    names.iter().flat_map(|name| [(*name).to_owned(), format!("{name}{port}")]).collect()
}

/// A browser's header fields for a page that is not this listener's own.
fn foreign(admin: SocketAddr) -> Vec<Fields> {
    let port = admin.port();
    let origins = [
        "null".to_owned(),
        "http://evil.example".to_owned(),
        format!("http://evil.example:{port}"),
        "http://localhost:3000".to_owned(),
        format!("http://127.0.0.1:{port}.evil.example"),
        format!("http://localhost:{port}/"),
        "file://".to_owned(),
        "chrome-extension://abcdef".to_owned(),
        String::new(),
    ];

    let sites = ["cross-site", "same-site", "Same-Origin", "", "none, cross-site"];
    let mut all: Vec<Fields> = vec![];
    all.extend(origins.iter().map(|origin| vec![("origin", origin.clone())]));
    all.extend(sites.iter().map(|site| vec![("sec-fetch-site", (*site).to_owned())]));
    // One right field does not excuse a wrong one.
    let own = format!("http://127.0.0.1:{port}");
    all.push(vec![("origin", own.clone()), ("sec-fetch-site", "cross-site".to_owned())]);
    all.push(vec![("origin", "null".to_owned()), ("sec-fetch-site", "same-origin".to_owned())]);
    all.push(vec![("origin", own), ("origin", "http://evil.example".to_owned())]);
    all
}

const PATHS: [(&str, &str); 5] =
    [("GET", "/metrics"), ("HEAD", "/metrics"), ("GET", "/healthz"), ("POST", "/purge/list"), ("POST", "/reload")];

fn refer<'a>(headers: &'a [(&'static str, String)]) -> impl Iterator<Item = (&'static str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, &**value))
}

#[test]
fn without_a_token_only_this_machines_names_are_answered_to() {
    let mut operated = Operated::start(None);
    let admin = operated.admin;
    for host in own_hosts(admin) {
        assert_eq!(operated.ask("GET", "/metrics", "HTTP/1.1", &[("host", &host)]), 200, "{host}");
    }

    for host in other_hosts(admin) {
        for (method, target) in PATHS {
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let status = operated.ask(method, target, version, &[("host", &host)]);
                assert_eq!(status, 400, "{method} {target} {version} Host: {host}");
            }
        }
        if !host.contains([' ', '@']) && !host.is_empty() && !host.starts_with(':') {
            let target = format!("http://{host}/metrics");
            assert_eq!(operated.ask("GET", &target, "HTTP/1.1", &[("host", "localhost")]), 400, "{target}");
        }
    }

    assert_eq!(operated.ask("GET", "/metrics", "HTTP/1.1", &[]), 400, "no host");
    assert_eq!(operated.ask("GET", "/metrics", "HTTP/1.1", &[("host", "localhost"), ("host", "evil")]), 400);
    assert_eq!(
        operated.ask("GET", "/metrics", "HTTP/1.0", &[]),
        200,
        "HTTP/1.0 need not name one, and no browser speaks it"
    );

    // No proxy is trusted here, so forwarded fields do not count.
    let headers = [("host", "evil.example"), ("x-forwarded-host", "localhost"), ("forwarded", "host=localhost")];
    assert_eq!(operated.ask("GET", "/metrics", "HTTP/1.1", &headers), 400);
    assert!(operated.is_untouched());
}

#[test]
fn http2_names_its_host_as_strictly() {
    let operated = Operated::start(None);
    let status = |host: &str| {
        let url = format!("http://{}/metrics", operated.admin);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--http2-prior-knowledge", "--output", "/dev/null", "--write-out", "%{http_code}"]);
        let output = curl.args(["--header", &format!("Host: {host}"), &url]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!((&*status("localhost"), &*status("evil.example")), ("200", "400"));
}

#[test]
fn no_page_of_another_site_is_answered_with_a_token_or_without() {
    for token in [None, Some(TOKEN)] {
        let mut operated = Operated::start(token);
        let admin = operated.admin;
        let own = admin.to_string();
        let bearer = format!("Bearer {TOKEN}");
        for (method, target) in PATHS {
            for headers in foreign(admin) {
                let mut all = vec![("host", &*own), ("authorization", &*bearer)];
                all.extend(refer(&headers));
                assert_eq!(operated.ask(method, target, "HTTP/1.1", &all), 403, "{method} {target} {headers:?}");
            }
        }
        let preflight = [("host", &*own), ("origin", "http://evil.example"), ("access-control-request-method", "POST")];
        assert_eq!(operated.ask("OPTIONS", "/purge/list", "HTTP/1.1", &preflight), 403);
        assert!(operated.is_untouched());

        // Requests of this listener's own page, and of programs, which state no origin.
        let origin = format!("http://{own}");
        for headers in
            [&[][..], &[("sec-fetch-site", "none")], &[("sec-fetch-site", "same-origin"), ("origin", &*origin)]]
        {
            let all = [&[("host", &*own), ("authorization", &*bearer)][..], headers].concat();
            assert_eq!(operated.ask("POST", "/purge/list", "HTTP/1.1", &all), 204, "{headers:?}");
        }
        assert!(!operated.is_untouched());
    }
}

#[test]
fn with_a_token_any_name_will_do_and_nothing_is_told_without_it() {
    let mut operated = Operated::start(Some(TOKEN));
    for host in ["admin.internal:8081", "10.1.2.3", "localhost"] {
        for (given, status) in [
            (Some(format!("Bearer {TOKEN}")), 200),
            (Some(format!("bearer {TOKEN}")), 200),
            (Some("Bearer wrong".to_owned()), 401),
            (Some("Bearer ".to_owned()), 401),
            (Some(format!("Basic {TOKEN}")), 401),
            (None, 401),
        ] {
            let mut headers = vec![("host", host)];
            headers.extend(given.as_deref().map(|given| ("authorization", given)));
            assert_eq!(operated.ask("GET", "/metrics", "HTTP/1.1", &headers), status, "{host} {given:?}");
        }
    }

    assert!(operated.is_untouched());
}

#[test]
fn what_needs_a_token_is_judged_by_the_address_that_the_socket_is_bound_to() {
    let file = numbered(1);
    let server = file.serve("table = \"item\"");
    let bind = |address: &str, token: Option<&str>| {
        let config =
            AdminConfig::at(address.parse::<Listen>().unwrap()).with(|admin| admin.token = token.map(str::to_owned));
        server.block_on(async { Server::bind_admin(config, server.chunkflow.clone()) })
    };

    for loopback in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        assert!(bind(loopback, None).is_ok(), "{loopback}");
    }

    for beyond in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let refused = bind(beyond, None).err().unwrap().to_string();
        assert!(refused.contains("beyond loopback") && refused.contains("set `token`"), "{beyond}: {refused}");
        for empty in ["", " ", "\t"] {
            assert!(bind(beyond, Some(empty)).err().unwrap().to_string().contains("is empty"), "{beyond}");
        }
        // The listener is bound beyond loopback, so it needs its token, even if a new configuration
        // names another address.
        let bound = bind(beyond, Some(TOKEN)).unwrap();
        for named in ["127.0.0.1:1", "[::1]:1", beyond] {
            let prepare = |token: Option<&str>| {
                let admin = AdminConfig::at(named.parse::<Listen>().unwrap())
                    .with(|admin| admin.token = token.map(str::to_owned));
                bound.reload().prepare_admin(&admin, server.chunkflow.clone()).err().map(|error| error.to_string())
            };
            assert!(prepare(None).is_some_and(|why| why.contains("until a restart")), "{beyond} {named}");
            assert!(prepare(Some("")).is_some_and(|why| why.contains("is empty")), "{beyond} {named}");
            assert_eq!(prepare(Some("new")), None, "{beyond} {named}");
        }
    }
}

/// A foreign page that tries everything a page may do unasked, and reports at the end.
fn attack(admin: SocketAddr) -> String {
    format!(
        r#"<!doctype html><meta charset="utf-8"><title>a page of somebody else</title><body><script type="module">
const admin = "http://{admin}", paths = ["/purge/list", "/reload"];
const loaded = (frame) => new Promise((done) => {{ frame.onload = done; document.body.append(frame); }});
let read = "";
for (const path of paths) {{
    navigator.sendBeacon(admin + path);
    for (const mode of ["no-cors", "cors"])
        for (const body of ["", "x"]) {{
            await fetch(admin + path, {{ method: "POST", mode, body }}).catch(() => 0);
            // By another name of this machine.
            await fetch(admin.replace("127.0.0.1", "localhost") + path, {{ method: "POST", mode, body }}).catch(() => 0);
        }}
    for (const sandbox of [null, "allow-scripts allow-forms"]) {{
        const frame = document.createElement("iframe");
        if (sandbox) frame.sandbox = sandbox;
        frame.srcdoc = `<form method="post" action="${{admin + path}}"></form><script>document.forms[0].submit()</${{"script"}}>`;
        await loaded(frame);
        // The form's answer is the frame's second page.
        await new Promise((done) => {{ frame.onload = done; setTimeout(done, 2000); }});
    }}
}}
read = await fetch(admin + "/metrics").then((answer) => answer.text()).catch(() => "");
await fetch("/done?" + encodeURIComponent(read));
</script>"#
    )
}

/// Serves a page on loopback at `port` (0: any). Receives what is requested under `/done`.
pub fn somebody_else(page: String, port: u16) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            if let Some((_, rest)) = line.split_once("/done?")
                && tell.send(rest.to_owned()).is_err()
            {
                return;
            }
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });

    (port, told)
}

pub fn chromium(folder: &std::path::Path) -> Command {
    // `timeout` ends it if this test dies.
    let mut command = Command::new("timeout");
    command.args([
        "60",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command.args(["--disable-background-networking", "--host-resolver-rules=MAP *.example 127.0.0.1"]);
    command.arg(format!("--user-data-dir={}", folder.display()));
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_page_in_a_browser_on_this_machine_can_neither_purge_nor_reload_nor_read() {
    let mut operated = Operated::start(None);
    let folder = tempfile::TempDir::new().unwrap();
    let (port, done) = somebody_else(attack(operated.admin), 0);
    let mut browser = chromium(folder.path()).arg(format!("http://evil.example:{port}/")).spawn().unwrap();
    let read = done.recv_timeout(STUCK);
    let _ = Command::new("kill").arg(browser.id().to_string()).status();
    let _ = browser.wait();
    assert!(read.is_ok_and(|read| read.starts_with(' ')), "the page came to its end and read nothing");
    assert!(operated.is_untouched(), "nothing was purged, and no reload asked for");

    // A foreign name that leads here, as after DNS rebinding, and this machine's own.
    let dump = |host: &str| {
        let url = format!("http://{host}:{}/healthz", operated.admin.port());
        let output = chromium(folder.path()).args(["--dump-dom", &url]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };

    let rebound = dump("evil.example");
    assert!(rebound.contains("is not served here") && !rebound.contains("true"), "{rebound}");
    assert!(dump("127.0.0.1").contains("\"ok\": true"));
}

#[test]
fn each_path_of_the_operators_says_which_methods_it_takes() {
    let operated = Operated::start(None);
    for (method, path, methods) in [
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
        ("GET", "/purge/list", "POST"),
        ("OPTIONS", "/reload", "POST"),
    ] {
        let reply = crate::support::ask(operated.admin, method, path, &[]);
        assert_eq!((reply.status, reply.header("allow")), (405, methods), "{method} {path}");
    }
    let reply = crate::support::ask(operated.admin, "GET", "/nothing", &[]);
    let remedy = reply.json()["remedy"].to_string();
    assert!(reply.status == 404 && remedy.contains("POST /purge/RESOURCE; POST /warm/RESOURCE"), "{remedy}");
}

#[test]
fn a_request_to_purge_warm_cut_or_reload_that_asks_for_more_is_refused_and_does_nothing() {
    let mut operated = Operated::start(None);
    for target in ["/warm/list?limit=5", "/warm/list?host=http://localhost&limit=5", "/cut/1?stream=2", "/reload?now"] {
        let reply = crate::support::ask(operated.admin, "POST", target, &[]);
        assert_eq!(reply.status, 400, "{target}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("is not understood here"), "{target}");
    }
    for (target, told) in [
        ("/purge/list?organisation_id=eq.1", "there is no parameter `organisation_id`"),
        ("/purge/list?id", "the filter `id` has no operator that is known"),
        ("/purge/list?%69d=1&", "the filter `id` has no operator that is known"),
        ("/purge/list?id=eq.1&limit=5", "there is no parameter `limit`"),
        ("/purge/list?id=eq.%ff", "the query string is not UTF-8"),
    ] {
        let reply = crate::support::ask(operated.admin, "POST", target, &[]);
        assert_eq!(reply.status, 400, "{target}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(told), "{target}: {}", reply.json());
    }
    assert!(operated.is_untouched());

    for target in ["/purge/list?", "/purge/list", "/purge/list?%69d=eq.3&"] {
        assert_eq!(crate::support::ask(operated.admin, "POST", target, &[]).status, 204, "{target}");
        assert!(!operated.is_untouched(), "{target}");
    }
}
