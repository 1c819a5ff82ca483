//! Bounds on one client: its connections, its streams, its requests, and how slowly it may read.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use crate::support::system_clock;
use chunkflow::{
    ResourceOptions,
    server::{RequestRate, ServerConfig},
};
use serde_json::json;

use crate::{
    frames::{DATA, Frames, HEADERS, INITIAL_WINDOW, RST_STREAM, get, window},
    support::{Client, Numbers, Process, Running, ask, binary, ids, numbers_app, parse, serve_numbers, until},
};

fn serve(source: &Arc<Numbers>, config: ServerConfig) -> Running {
    Running::start(config, numbers_app(source, ResourceOptions::default(), system_clock()))
}

fn behind_a_proxy(config: ServerConfig) -> ServerConfig {
    config.with(|server| server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()])
}

#[test]
fn connections_of_one_address_beyond_their_bound_get_429_and_a_proxy_has_none() {
    let config = || ServerConfig::default().with(|server| server.max_connections_per_address = 2);
    let server = serve(&Numbers::new(5, 1), config());
    let mut kept: Vec<Client> = (0..2).map(|_| Client::get(server.address, "/numbers")).collect();
    assert!(kept.iter_mut().all(|client| client.read_reply("GET").status == 200));
    let refused = Client::get(server.address, "/numbers").read_reply("GET");
    assert_eq!((refused.status, refused.header("retry-after")), (429, "2"));
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(refused.json()["detail"], json!("this address has too many connections under way"));
    kept.pop();
    until("there is room again", || Client::get(server.address, "/numbers").read_reply("GET").status == 200);
    let server = serve(&Numbers::new(5, 1), behind_a_proxy(config()));
    let mut many: Vec<Client> = (0..20).map(|_| Client::get(server.address, "/numbers")).collect();
    assert!(many.iter_mut().all(|client| client.read_reply("GET").status == 200));
}

#[test]
fn streams_count_for_the_address_that_a_trusted_proxy_names() {
    let source = Numbers::held_back(10, 1);
    let config = ServerConfig::default().with(|server| server.max_streams_per_address = 2);
    let server = serve(&source, behind_a_proxy(config.clone()));
    let open = |address: &str| {
        let mut client = Client::connect(server.address);
        client.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost"), ("x-forwarded-for", address)]);
        client
    };

    let _first = open("192.0.2.1");
    until("the first has begun", || source.begun() == 1);
    let _second = open("6.6.6.6, 192.0.2.1");
    until("the second has begun", || server.chunkflow.metrics().joined() == 1);
    assert_eq!(open("192.0.2.1").read_reply("GET").status, 429);
    let _other = open("192.0.2.2");
    until("another address has its own", || server.chunkflow.metrics().joined() == 2);
    // The header does not count if the proxy is not trusted; over HTTP/2 neither.
    let server = serve(&source, config);
    let mut client = Frames::connect(server.address, &[]);
    for stream in [1, 3, 5] {
        client.send(&get(stream, "/numbers"));
    }

    // Each stream has its own task, so any of them may be refused.
    assert_eq!(client.next_of(&[HEADERS]).unwrap().status(), 429);
}

#[test]
fn requests_beyond_the_rate_get_429_and_others_and_probes_do_not() {
    let rate = RequestRate { requests: 3.try_into().unwrap(), per: Duration::from_secs(3600) };
    let config = ServerConfig::default().with(|server| server.request_rate = Some(rate));
    let server = serve(&Numbers::new(5, 1), behind_a_proxy(config));
    let status = |address: &str, target: &str| {
        let reply = ask(server.address, "GET", target, &[("x-forwarded-for", address)]);
        // Three an hour: the next is after twenty minutes.
        let early = reply.header("retry-after").parse::<u64>();
        assert_eq!(early.is_ok_and(|seconds| (1_000..=1_200).contains(&seconds)), reply.status != 200);
        reply.status
    };

    let asked: Vec<u16> = (0..5).map(|_| status("192.0.2.1", "/numbers")).collect();
    assert_eq!(asked, [200, 200, 200, 429, 429]);
    assert_eq!(status("192.0.2.1", "/"), 429);
    assert_eq!((status("192.0.2.1", "/healthz"), status("192.0.2.1", "/readyz")), (200, 200));
    assert_eq!(status("192.0.2.2", "/numbers"), 200);
    // One client has a whole IPv6 network of 64 bits.
    let asked: Vec<u16> = (0..4).map(|at| status(&format!("2001:db8::{at}"), "/numbers")).collect();
    assert_eq!(asked, [200, 200, 200, 429]);
    assert_eq!(status("2001:db8:0:1::1", "/numbers"), 200);
    // A proxy that names no client, or none that can be read, counts as the client.
    let nobody = ["", "unknown", "_hidden", "\"1.1.1.1, for=192.0.2.9"];
    let asked: Vec<u16> = nobody.iter().map(|address| status(address, "/numbers")).collect();
    assert_eq!(asked, [200, 200, 200, 429]);
    assert_eq!(server.get("/numbers").status, 429);
}

#[test]
fn a_client_that_takes_less_than_the_minimum_all_the_time_is_cut() {
    let stall = Duration::from_secs(1);
    let pause = Duration::from_millis(50);
    // Far more bytes than the client below reads.
    let config = ServerConfig::default().with(|server| {
        server.stall_timeout = stall;
        server.minimum_rate = 16 << 20;
    });

    let server = serve(&Numbers::new(200_000, 1_000), config);
    let mut slow = Client::with_buffer(server.address, 64 * 1024);
    slow.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost")]);
    let mut buffer = vec![0; 8 * 1024];
    while slow.stream.read_exact(&mut buffer).is_ok() {
        std::thread::sleep(pause);
    }

    assert_eq!(server.chunkflow.metrics().stalled(), 1);
    let mut slow = Frames::connect(server.address, &[(INITIAL_WINDOW, 100)]);
    slow.send(&get(1, "/numbers"));
    loop {
        slow.send(&window(1, 100));
        match slow.next_of(&[DATA, RST_STREAM]).unwrap().kind {
            DATA => slow.pause(pause),
            _ => break,
        }
    }

    assert!(slow.lives(), "over HTTP/2 only the stream ends");
}

#[test]
fn a_source_that_is_slow_is_not_the_clients_fault() {
    let source = Numbers::held_back(5_000, 200);
    source.permits.add_permits(1);
    let config = ServerConfig::default().with(|server| {
        server.stall_timeout = Duration::from_millis(200);
        server.minimum_rate = 1 << 30;
    });

    let server = serve(&source, config);
    let mut old = Client::get(server.address, "/numbers");
    assert!(old.wait_for("{\"id\":10,"));
    let mut new = Frames::connect(server.address, &[(INITIAL_WINDOW, 1 << 30)]);
    new.send(&[get(1, "/numbers"), window(0, 1 << 30)].concat());
    assert!(new.next_of(&[DATA]).is_some());
    std::thread::sleep(Duration::from_secs(1));
    source.permits.add_permits(1_000);
    assert!(old.read_reply("GET").whole && new.drain(1).1.ends());
}

#[test]
fn requests_in_one_piece_are_answered_in_their_order() {
    let server = serve_numbers(&Numbers::new(20, 1));
    let mut client = Client::connect(server.address);
    let request = |limit: usize| format!("GET /numbers?limit={limit} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    client.stream.write_all((1..=20).map(request).collect::<String>().as_bytes()).unwrap();
    for limit in 1..=20 {
        assert_eq!(ids(&client.read_reply("GET")).len(), limit);
    }
}

#[test]
fn requests_without_end_in_one_piece_wait_for_their_turn_outside_of_memory() {
    let source = Numbers::held_back(20, 1);
    let server = serve_numbers(&source);
    let mut client = Client::connect(server.address);
    client.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let request = b"GET /numbers HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1_000);
    let mut sent = 0;
    while let Ok(more) = client.stream.write(&request) {
        sent += more;
        assert!(sent < 64 << 20, "the server reads on and on");
    }
    assert_eq!(source.begun(), 1);
}

#[test]
fn targets_and_heads_and_bodies_beyond_all_measure_are_refused_unread() {
    let server = serve_numbers(&Numbers::new(20, 1));
    let long = "x".repeat(15_000);
    let reply = ask(server.address, "GET", &format!("/numbers?after={long}"), &[]);
    assert_eq!(reply.status, 400, "within the head, but no cursor");
    for (target, value) in [(&*"x".repeat(20_000), "y"), ("numbers", &"y".repeat(20_000))] {
        let mut client = Client::connect(server.address);
        client.send("GET", &format!("/{target}"), "HTTP/1.1", &[("host", "localhost"), ("x", value)]);
        assert!([414, 431].contains(&client.read_reply("GET").status));
    }

    let fields: Vec<String> = (0..200).map(|at| format!("x-{at}")).collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|name| (&**name, "y")).collect();
    assert_eq!(ask(server.address, "GET", "/numbers", &fields).status, 431);
    // The server does not wait for a body of a terabyte.
    let mut client = Client::connect(server.address);
    client.stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    client.send("POST", "/numbers", "HTTP/1.1", &[("host", "localhost"), ("content-length", "1000000000000")]);
    assert_eq!(client.read_reply("POST").status, 405);
    let mut sent = 0;
    while client.stream.write(&[0; 65_536]).is_ok_and(|more| {
        sent += more;
        more > 0
    }) {
        assert!(sent < 64 << 20, "the server reads on and on");
    }
}

#[test]
fn bounds_are_read_from_the_configuration_and_wrong_ones_are_complaints() {
    let file = crate::support::numbered(1);
    let read = |server: &str| parse(&format!("[server]\n{server}\n{}", file.config("table = \"item\"")));
    let right = "max_connections_per_address = 20\nmax_streams_per_address = 10\nrequest_rate = \"600/m\"\nminimum_rate = \"1KiB\"";
    let config = read(right).unwrap().server;
    assert_eq!((config.max_connections_per_address, config.max_streams_per_address), (20, 10));
    let rate = RequestRate { requests: 600.try_into().unwrap(), per: Duration::from_secs(60) };
    assert_eq!((config.request_rate, config.minimum_rate), (Some(rate), 1_024));
    for wrong in
        ["request_rate = \"fast\"", "request_rate = \"0/s\"", "request_rate = \"5/d\"", "minimum_rate = \"slow\""]
    {
        let complaints = read(wrong).unwrap_err().to_string();
        assert!(complaints.contains("chunkflow.toml:2:16: "), "{complaints}");
    }
}

#[test]
fn without_files_for_all_connections_there_are_fewer_and_the_rest_is_told_so() {
    let folder = tempfile::TempDir::new().unwrap();
    for files in [24, 32, 48, 64, 100, 200, 256, 400, 1_024] {
        let plain = binary(&["demo", "--rows", "50", "--database", "t.sqlite"], folder.path());
        let mut command = std::process::Command::new("sh");
        let limited = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited]).arg(plain.get_program()).args(plain.get_args());
        command.current_dir(folder.path()).env("XDG_CACHE_HOME", folder.path()).stdin(std::process::Stdio::null());
        let mut server = Process::spawn(&mut command);

        // More connections than files: each still gets an answer or an end.
        let mut all: Vec<Client> = (0..files + 20).map(|_| Client::connect(server.address)).collect();
        let mut served = 0;
        for (n, client) in all.iter_mut().enumerate() {
            let request = format!("GET /tricks?limit={} HTTP/1.1\r\nhost: localhost\r\n\r\n", n % 50 + 1);
            // A connection that was refused may be closed by now.
            let _ = client.stream.write_all(request.as_bytes());
            served += usize::from(client.wait_for("HTTP/1.1 200"));
        }
        assert!(served > 0 && served < files, "{files} files: {served} served");
        assert!(served >= files / 2 || files < 64, "{files} files: {served} served");

        drop(all);
        until("there is room again", || {
            let mut client = Client::connect(server.address);
            let _ = client.stream.write_all(b"GET /tricks HTTP/1.1\r\nhost: localhost\r\n\r\n");
            client.wait_for("HTTP/1.1 200")
        });
        let log = server.kill();
        let complaints = log.iter().filter(|line| line.contains("ERROR")).count();
        assert!(complaints <= 3, "{files} files: {log:?}");
    }
}

#[test]
fn a_server_without_files_says_so_once_and_goes_on_when_there_are_some() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut server = Process::serve(&["demo", "--rows", "50", "--database", "t.sqlite"], folder.path());
    assert_eq!(server.get("/tricks").status, 200);
    let limit = |files: &str| {
        let pid = server.child.id().to_string();
        let limited =
            std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:")]).status();
        assert!(limited.unwrap().success());
    };

    limit("4");
    let mut client = Client::get(server.address, "/tricks");
    // Time for many tries.
    std::thread::sleep(Duration::from_secs(1));
    limit("200");
    assert_eq!(client.read_reply("GET").status, 200);
    assert_eq!(server.get("/tricks").status, 200);
    let log = server.kill();
    assert_eq!(log.iter().filter(|line| line.contains("raise the limit on open files")).count(), 1, "{log:?}");
}
