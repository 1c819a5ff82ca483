//! Behind real proxies. Each promise is tested with every proxy of the table. What a proxy breaks
//! is in the table too, and a test fails if it works again. The client is curl, whose exit code
//! says whether it takes a body for whole.

use std::{
    fmt::Debug,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use chunkflow::{Kind as Failure, ResourceOptions, server::ServerConfig};
use tokio::sync::Semaphore;

use crate::{
    client::ask,
    servers::{Kind, Server},
    support::{Numbers, Running, numbered, numbers_app, serve_numbers, until},
};

const ENCODINGS: [&str; 3] = ["identity", "gzip", "br"];

struct Proxy {
    name: &'static str,
    kind: Kind,
    /// The protocol that it speaks with clients: `http1` or `http2`.
    http: &'static str,
    /// Its settings: directives of nginx's location, statements of Varnish's `vcl_recv`.
    settings: &'static str,
    /// How clients see that a stream's source failed half-way,
    failure: Cut,
    /// that a stream's connection was closed half-way, as by a killed server,
    crash: Cut,
    /// and that a list with a length was cut, for each encoding.
    short: [Cut; 3],
    /// Whether it passes a HEAD request on as one.
    head: bool,
    /// Whether it waits for the end of an HTTP chunk shorter than 32 KiB.
    waits_for_chunks: bool,
    /// How many bytes a row needs so that the first chunk is larger than what the proxy holds back.
    width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Seen,
    /// It looks like a whole body.
    Hidden,
}
use Cut::{Hidden, Seen};

/// A proxy without faults; each row of the table lists the differences.
const PROXY: Proxy = Proxy {
    name: "nginx, HTTP/1.1 to the server",
    kind: Kind::Nginx,
    http: "http1",
    settings: "proxy_http_version 1.1; proxy_set_header Connection '';",
    failure: Seen,
    crash: Seen,
    short: [Seen; 3],
    head: true,
    waits_for_chunks: false,
    width: 100,
};

/// Varnish always asks for gzip, and decompresses for clients that do not: 32 KiB at a time,
/// without a length.
const VARNISH: Proxy = Proxy { name: "Varnish", kind: Kind::Varnish, settings: "", head: false, width: 1_000, ..PROXY };

const PROXIES: [Proxy; 16] = [
    // HTTP/1.0 to the server: a body ends with its connection.
    Proxy { name: "nginx as it comes", settings: "", crash: Hidden, ..PROXY },
    PROXY,
    Proxy {
        name: "nginx with a cache",
        settings: "proxy_http_version 1.1; proxy_cache kept; proxy_cache_valid 200 5m;",
        head: false,
        ..PROXY
    },
    Proxy {
        name: "nginx that compresses itself",
        settings: "proxy_http_version 1.1; proxy_set_header Accept-Encoding ''; gzip on; gzip_proxied any; gzip_types *;",
        ..PROXY
    },
    Proxy { name: "nginx, HTTP/2 to clients", http: "http2", ..PROXY },
    VARNISH,
    Proxy { name: "Varnish that passes", settings: "return (pass);", head: true, width: 100, ..VARNISH },
    Proxy {
        name: "Varnish, HTTP/2 to clients",
        http: "http2",
        failure: Hidden,
        crash: Hidden,
        short: [Hidden, Seen, Hidden],
        ..VARNISH
    },
    Proxy { name: "HAProxy", kind: Kind::HaProxy, ..PROXY },
    Proxy {
        name: "HAProxy, HTTP/2 to clients",
        kind: Kind::HaProxy,
        http: "http2",
        failure: Hidden,
        crash: Hidden,
        ..PROXY
    },
    Proxy { name: "Caddy", kind: Kind::Caddy, failure: Hidden, crash: Hidden, waits_for_chunks: true, ..PROXY },
    Proxy { name: "h2o", kind: Kind::H2o, ..PROXY },
    Proxy { name: "lighttpd", kind: Kind::Lighttpd, ..PROXY },
    Proxy { name: "Apache", kind: Kind::Apache, ..PROXY },
    Proxy { name: "Squid", kind: Kind::Squid, ..PROXY },
    Proxy { name: "nghttpx", kind: Kind::Nghttpx, ..PROXY },
];

impl Proxy {
    /// Runs it before a server.
    fn before(&self, origin: SocketAddr) -> Before {
        let server = Server::start_with(self.kind, &[&origin.port().to_string(), self.http, self.settings]);
        Before { http2: self.http == "http2", server }
    }
}

/// A running proxy.
struct Before {
    http2: bool,
    server: Server,
}

impl Before {
    /// curl, with a request.
    fn curl(&self, target: &str, encoding: &str, arguments: &[&str]) -> Asked {
        let mut command = Command::new("curl");
        command
            .args(["-fsSN", "--compressed", "--max-time", "60", "-H", &format!("Accept-Encoding: {encoding}")])
            .args(arguments);
        if self.http2 {
            command.arg("--http2-prior-knowledge");
        }
        command.arg(format!("http://127.0.0.1:{}{target}", self.server.port));
        Asked { curl: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), body: vec![] }
    }

    /// Asks for a list and cuts it, at once or when rows have arrived. Returns how the client sees
    /// that.
    fn cut(&self, encoding: &str, when: When, cut: impl FnOnce()) -> Cut {
        let mut asked = self.curl("/numbers", encoding, &[]);
        if when == When::RowsAreHere {
            // Some proxies pass on nothing of a response until they have all of it.
            asked.comes("{\"id\":2,");
        }

        cut();
        let (code, body, error) = asked.end();
        assert!(!body.ends_with(b"]}"), "nothing was cut off: {} bytes, {error}", body.len());
        match code {
            0 => Hidden,
            // Over HTTP/1.1 a reset is 18 or 56, or 52 if nothing came before; h2o passes on half
            // of a chunk.
            18 | 52 | 56 | 92 => Seen,
            // A proxy that has passed nothing on yet answers with an error.
            22 if error.contains("returned error: 5") => Seen,
            _ => panic!("it neither looks whole nor like a cut: curl's {code}, {error}"),
        }
    }
}

#[derive(PartialEq)]
enum When {
    RowsAreHere,
    AtOnce,
}

/// A request by curl, and the response.
struct Asked {
    curl: Child,
    body: Vec<u8>,
}

impl Asked {
    fn wait_for(&mut self, text: &str) {
        assert!(self.comes(text), "it ended before {text} came");
    }

    /// Waits until a text comes, or the answer ends.
    fn comes(&mut self, text: &str) -> bool {
        let mut buffer = [0; 65_536];
        while !self.body.windows(text.len()).any(|window| window == text.as_bytes()) {
            let read = self.curl.stdout.as_mut().unwrap().read(&mut buffer).unwrap();
            if read == 0 {
                return false;
            }
            self.body.extend_from_slice(&buffer[..read]);
        }
        true
    }

    /// curl's exit code, the body, and curl's message.
    fn end(mut self) -> (i32, Vec<u8>, String) {
        let rest = self.curl.wait_with_output().unwrap();
        self.body.extend(rest.stdout);
        (rest.status.code().unwrap(), self.body, String::from_utf8_lossy(&rest.stderr).into_owned())
    }
}

/// A server in front of a server. It passes the beginning of a response on, waits for an order, and
/// then closes the connection as the kernel does for a killed process.
fn killed(origin: SocketAddr) -> (SocketAddr, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (order, orders) = mpsc::channel();
    let orders = Arc::new(Mutex::new(orders));
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let orders = Arc::clone(&orders);
            thread::spawn(move || pass_on_until_told(client, origin, &orders));
        }
    });
    (address, order)
}

/// Passes on the beginning of the response to one request. A proxy's health check, which only
/// connects, makes no request.
fn pass_on_until_told(mut client: TcpStream, origin: SocketAddr, orders: &Mutex<mpsc::Receiver<()>>) {
    let mut request = [0; 8_192];
    let length = client.read(&mut request).unwrap_or(0);
    if length == 0 {
        return;
    }

    let mut server = TcpStream::connect(origin).unwrap();
    server.write_all(&request[..length]).unwrap();

    let mut beginning = [0; 4_000];
    server.read_exact(&mut beginning).unwrap();
    client.write_all(&beginning).unwrap();
    // Enough for rows to arrive: Varnish passes pieces of 16 KiB within one HTTP chunk.
    let compressed = String::from_utf8_lossy(&beginning).contains("content-encoding");
    let more = if compressed { 0 } else { 40_000 };
    let _ = std::io::copy(&mut Read::by_ref(&mut server).take(more), &mut client);
    let _ = orders.lock().unwrap().recv();
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

/// Tests each proxy with each encoding, and compares the results with the table.
fn each<T: PartialEq + Debug>(proxies: &[Proxy], see: impl Fn(&Proxy) -> [T; 3], expected: impl Fn(&Proxy) -> [T; 3]) {
    let tell = |of: &dyn Fn(&Proxy) -> [T; 3]| {
        proxies.iter().map(|proxy| format!("{}: {:?}\n", proxy.name, of(proxy))).collect::<String>()
    };
    let seen = tell(&see);
    let expected = tell(&expected);
    assert!(seen == expected, "{ENCODINGS:?}\n{seen}and not\n{expected}");
}

#[test]
fn no_proxy_keeps_a_list_or_alters_one() {
    let server = serve_numbers(&Numbers::new(2_500, 2_000));
    // A list too long for a length, and one that has a length once it is in memory.
    let lists = ["/numbers", "/numbers?limit=350"].map(|target| (target, server.get(target).body));
    for proxy in PROXIES {
        let before = proxy.before(server.address);
        for (target, direct) in &lists {
            let seen = server.chunkflow.metrics().complete();
            for encoding in ENCODINGS.iter().chain(&ENCODINGS) {
                let (code, body, error) = before.curl(target, encoding, &[]).end();
                assert!(code == 0 && body == *direct, "{}, {target} in {encoding}: {error}", proxy.name);
            }
            until("every request has reached the server", || server.chunkflow.metrics().complete() == seen + 6);
        }
    }
}

#[test]
fn the_first_rows_arrive_through_every_proxy_while_a_later_chunk_is_blocked() {
    for proxy in PROXIES {
        let source = Numbers::held_back(3_000, proxy.width);
        let server = serve_numbers(&source);
        let before = proxy.before(server.address);
        for encoding in ENCODINGS {
            server.block_on(server.purge("numbers")).unwrap();
            let begun = source.begun();
            let read = source.reads.lock().unwrap().len();
            source.permits.forget_permits(Semaphore::MAX_PERMITS);
            source.permits.add_permits(1);
            let mut asked = before.curl("/numbers", encoding, &[]);
            asked.wait_for("{\"id\":10,");
            until("the next read has begun", || source.begun() == begun + 2);
            assert_eq!(source.reads.lock().unwrap().len(), read + 1, "{}: and has not been answered", proxy.name);
            source.permits.add_permits(10_000);
            let (code, body, error) = asked.end();
            assert_eq!(code, 0, "{}, {encoding}: {error}", proxy.name);
            assert!(body.ends_with(b"]}"));
        }
    }
}

#[test]
fn a_source_that_fails_in_mid_stream_is_seen_behind_proxies() {
    let seen = |proxy: &Proxy| {
        let source = Numbers::held_back(5_000, 1_000);
        source.fail_behind(3_000, Failure::Unavailable);
        let server = serve_numbers(&source);
        let before = proxy.before(server.address);
        ENCODINGS.map(|encoding| {
            server.block_on(server.purge("numbers")).unwrap();
            source.permits.forget_permits(Semaphore::MAX_PERMITS);
            source.permits.add_permits(1);
            before.cut(encoding, When::RowsAreHere, || source.permits.add_permits(10_000))
        })
    };
    each(&PROXIES, seen, |proxy| [proxy.failure; 3]);
}

#[test]
fn a_server_that_is_killed_in_mid_stream_is_seen_behind_proxies_but_for_http_1_0() {
    let seen = |proxy: &Proxy| {
        let server = serve_numbers(&Numbers::new(4_000, 1_000));
        let (address, order) = killed(server.address);
        let (before, kill) = (proxy.before(address), || order.send(()).unwrap());
        let mut expected = proxy.short.into_iter();
        ENCODINGS.map(|encoding| {
            server.block_on(server.purge("numbers")).unwrap();
            let waits = proxy.waits_for_chunks && encoding != "identity";
            let when = if waits { When::AtOnce } else { When::RowsAreHere };
            let stream = before.cut(encoding, when, kill);
            // Again with the whole list in memory: now it has a length, and a proxy may wait for
            // more of it.
            let get = || ask(server.address, "GET", "/numbers", &[("accept-encoding", encoding)]);
            get();
            let length = get().header("content-length").parse::<u64>().unwrap();
            assert!(length > 5_000, "{length} bytes are too few to be cut");
            let when = if expected.next() == Some(Hidden) { When::RowsAreHere } else { When::AtOnce };
            (stream, before.cut(encoding, when, kill))
        })
    };

    each(&PROXIES, seen, |proxy| proxy.short.map(|short| (proxy.crash, short)));
}

#[test]
fn silence_that_nginx_would_end_is_broken_in_time_in_every_encoding() {
    let impatient = Proxy { settings: "proxy_http_version 1.1; proxy_read_timeout 2s;", ..PROXY };
    for (heartbeat, expected) in [(Duration::from_millis(200), 0), (Duration::ZERO, 18)] {
        let source = Numbers::held_back(2_000, 100);
        let app = numbers_app(&source, ResourceOptions::default(), crate::support::system_clock());
        let server = Running::start(ServerConfig::default(), app.with_heartbeat(heartbeat));
        let before = impatient.before(server.address);
        for encoding in ENCODINGS {
            server.block_on(server.purge("numbers")).unwrap();
            source.permits.forget_permits(Semaphore::MAX_PERMITS);
            source.permits.add_permits(1);
            let mut asked = before.curl("/numbers", encoding, &[]);
            asked.wait_for("{\"id\":10,");
            // Twice nginx's time limit.
            thread::sleep(Duration::from_secs(4));
            source.permits.add_permits(10_000);
            let (code, body, error) = asked.end();
            assert_eq!((code, body.ends_with(b"]}")), (expected, expected == 0), "{encoding}: {error}");
            // Only a write shows that nginx has left.
            until("its stream is over", || server.chunkflow.metrics().streams() == 0);
        }
    }
}

#[test]
fn head_reads_nothing_behind_proxies() {
    let seen = |proxy: &Proxy| {
        let source = Numbers::new(5_000, 200);
        let server = serve_numbers(&source);
        let before = proxy.before(server.address);
        ENCODINGS.map(|encoding| {
            server.block_on(server.purge("numbers")).unwrap();
            let begun = source.begun();
            let (code, head, error) = before.curl("/numbers", encoding, &["-I"]).end();
            assert!(code == 0 && head.starts_with(b"HTTP/"), "{}: {error}", proxy.name);
            source.begun() == begun
        })
    };
    each(&PROXIES, seen, |proxy| [proxy.head; 3]);
}

/// The header fields that nginx sets for its server, for each block of a document that proxies to
/// Chunkflow.
fn set_by_nginx(page: &str) -> impl Iterator<Item = String> {
    let blocks = page.split("proxy_pass http://chunkflow").skip(1);
    blocks.map(|block| {
        let block = block.split("\n```").next().unwrap_or_default();
        let lines = block.lines().map(str::trim).take_while(|line| *line != "}");
        let fields = lines.filter(|line| line.starts_with("proxy_set_header"));
        fields.map(|line| &line[..=line.find(';').unwrap()]).collect()
    })
}

#[test]
fn nothing_that_a_client_makes_up_passes_an_nginx_that_is_set_up_as_the_pages_say() {
    let pages = [
        include_str!("../../deploy/nginx.conf"),
        include_str!("../../docs/proxies.md"),
        include_str!("../../docs/coming-from-a-web-framework.md"),
    ];

    let file = numbered(3);
    let server = file.serve(
        "table = \"item\"\n[resources.list.fields]\nid = \"id\"\nurl = { link = \"/i/{id}\" }\n[server]\nallowed_hosts = [\"*\"]\n\
         trusted_proxies = [\"127.0.0.1\"]",
    );

    let all: Vec<String> = pages.into_iter().flat_map(set_by_nginx).collect();
    assert_eq!(all.len(), 4, "{all:?}");
    for fields in all {
        assert!(fields.contains("X-Forwarded-For $proxy_add_x_forwarded_for"), "{fields}");
        let directives = format!("proxy_http_version 1.1; {fields}");
        let origin = server.address.port().to_string();
        let nginx = Server::start_with(Kind::Nginx, &[&origin, "http1", &directives]);
        for made_up in [
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "host=evil.example;proto=https"),
        ] {
            let reply = ask(SocketAddr::from(([127, 0, 0, 1], nginx.port)), "GET", "/list", &[made_up]);
            assert_eq!(reply.results()[0]["url"], "http://localhost/i/1", "{made_up:?} {fields}");
        }
    }
}
