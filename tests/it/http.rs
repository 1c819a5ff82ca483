//! What a client sees: headers, methods, parameters, problems, and the end of a failed response.

use std::{process::Command, sync::Arc};

use chunkflow::{
    Chunkflow, Kind, Memory, Resource, ResourceOptions,
    server::{AdminConfig, Listen, Server, ServerConfig, Shutdown},
};
use serde_json::{Value, json};

use crate::support::{Client, Numbers, Running, ask, formats, ids, numbered, numbers_app, serve_numbers, until};

#[test]
fn every_list_has_the_headers_of_the_contract() {
    let file = numbered(20_000);
    let server = file.serve("table = \"item\"");
    for (target, kind) in [
        ("/list", "application/json; charset=utf-8"),
        ("/list.ndjson", "application/x-ndjson; charset=utf-8"),
        ("/list.csv", "text/csv; charset=utf-8; header=present"),
        ("/list.sse", "text/event-stream; charset=utf-8"),
    ] {
        assert_eq!(ask(server.address, "HEAD", target, &[]).header("content-type"), kind);
    }

    for target in formats().iter().map(|format| format!("/list.{format}")) {
        let reply = server.get(&target);
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("vary"), "Accept, Accept-Encoding");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("x-accel-buffering"), "no");
        assert_eq!(reply.header("surrogate-control"), "", "Varnish would cache for it in spite of Cache-Control");
        assert_eq!(reply.header("cache-status"), "chunkflow; fwd=miss; stored");
        assert_eq!(reply.header("x-request-id").len(), 16);
        assert!(server.get(&target).header("cache-status").starts_with("chunkflow; hit; ttl="));
    }

    assert_eq!(
        ask(server.address, "GET", "/list", &[("x-request-id", "from-the-client")]).header("x-request-id"),
        "from-the-client"
    );
}

#[test]
fn a_small_list_at_hand_has_a_length_and_no_request_to_proxies() {
    let file = numbered(350);
    let server = file.serve("table = \"item\"");
    let cold = server.get("/list");
    assert_eq!((cold.header("transfer-encoding"), cold.header("x-accel-buffering")), ("chunked", "no"));
    let warm = server.get("/list");
    assert_eq!(warm.header("content-length"), cold.body.len().to_string());
    assert_eq!((warm.header("transfer-encoding"), warm.header("x-accel-buffering")), ("", ""));
    assert_eq!(warm.body, cold.body);
}

#[test]
fn a_list_above_four_mebibytes_has_no_length() {
    let source = Numbers::new(50_000, 100);
    let server = serve_numbers(&source);
    let cold = server.get("/numbers");
    let warm = server.get("/numbers");
    assert!(warm.body.len() > 4 << 20);
    assert_eq!((warm.header("content-length"), warm.header("x-accel-buffering")), ("", "no"));
    assert!(warm.whole && warm.body == cold.body);
}

#[test]
fn head_has_the_headers_of_get_and_reads_nothing() {
    let source = Numbers::new(300, 100);
    let server = serve_numbers(&source);
    let cold = ask(server.address, "HEAD", "/numbers", &[]);
    assert_eq!((cold.status, source.begun()), (200, 0));
    assert_eq!(cold.header("cache-status"), "chunkflow; fwd=miss");
    let body = server.get("/numbers").body;
    let head = ask(server.address, "HEAD", "/numbers", &[]);
    let get = server.get("/numbers");
    assert_eq!(head.header("content-length"), body.len().to_string());
    for name in ["content-type", "cache-control", "vary", "x-content-type-options", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }

    // The remaining seconds may differ by one between the two.
    for reply in [&head, &get] {
        assert!(reply.header("cache-status").starts_with("chunkflow; hit; ttl="), "{}", reply.header("cache-status"));
    }

    // Also for a limited list, once it is in memory.
    for target in ["/numbers?limit=5", "/numbers?limit=120", "/numbers?limit=300"] {
        server.get(target);
        let head = ask(server.address, "HEAD", target, &[]);
        let get = server.get(target);
        for name in ["content-length", "link", "x-accel-buffering"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {target}");
        }
    }

    // And for a list too long to be gathered before its first byte.
    let server = serve_numbers(&Numbers::new(3_000, 100));
    server.get("/numbers?limit=1500");
    let head = ask(server.address, "HEAD", "/numbers?limit=1500", &[]);
    let get = server.get("/numbers?limit=1500");
    assert!(get.header("link").contains("rel=\"next\""));
    for name in ["content-length", "link", "x-accel-buffering"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }

    assert_eq!((get.header("content-length"), ids(&get).len()), (&*get.body.len().to_string(), 1_500));
}

#[test]
fn other_methods_are_refused_with_what_is_allowed() {
    let server = serve_numbers(&Numbers::new(3, 1));
    let options = ask(server.address, "OPTIONS", "/numbers", &[]);
    assert_eq!((options.status, options.header("allow")), (204, "GET, HEAD, OPTIONS, QUERY"));
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let reply = ask(server.address, method, "/numbers", &[("content-length", "0")]);
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD, OPTIONS, QUERY"), "{method}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
    for path in ["/", "/healthz"] {
        let reply = ask(server.address, "POST", path, &[("content-length", "0")]);
        assert_eq!((reply.status, &reply.json()["status"]), (405, &405.into()), "{path}");
    }
    assert_eq!(options.header("cache-control"), "no-store");
}

#[test]
fn every_wrong_request_is_a_problem_with_a_remedy() {
    let file = numbered(10);
    let server = file.serve("table = \"item\"\nfilters = [\"id\", \"name\"]");
    let other = numbered(10);
    let other = other.serve("table = \"item\"\norder = [\"-id\"]");
    let cursor = |reply: &crate::support::Reply| {
        reply.header("link").split("after=").nth(1).unwrap().split('>').next().unwrap().to_owned()
    };

    let right = cursor(&server.get("/list?limit=3"));
    let foreign = cursor(&other.get("/list?limit=3"));
    let mut altered = right.clone().into_bytes();
    altered[12] = if altered[12] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    let long = "x".repeat(9_000);
    let wrong = [
        (404, "/nothing".to_owned()),
        (404, "/lst".to_owned()),
        (404, "/list.xml".to_owned()),
        (404, "/list/".to_owned()),
        (400, "/list?limit=-1".to_owned()),
        (400, "/list?limit=ten".to_owned()),
        (400, "/list?limit=99999999999999999999999".to_owned()),
        (400, "/list?limit=1&limit=2".to_owned()),
        (400, "/list?after=nonsense".to_owned()),
        (400, format!("/list?after={altered}")),
        (400, format!("/list?after={foreign}")),
        (400, format!("/list?after={long}")),
        (400, "/list?secret=eq.1".to_owned()),
        (400, "/list?id=1".to_owned()),
        (400, "/list?id=eq.one".to_owned()),
        (400, "/list?id=between.1.2".to_owned()),
        (400, "/list?id=in.1,2".to_owned()),
        (400, "/list?name=eq.%FF".to_owned()),
        (400, "/list?name=eq.%00".to_owned()),
    ];

    for (status, target) in wrong {
        let reply = server.get(&target);
        let problem = reply.json();
        assert_eq!(reply.status, status, "{target}: {problem}");
        assert_eq!(reply.header("content-type"), "application/problem+json", "{target}");
        assert_eq!(reply.header("cache-control"), "no-store", "{target}");
        assert_eq!(problem["status"], status, "{target}");
        for key in ["type", "title", "detail", "remedy"] {
            assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{target}: {key} in {problem}");
        }
    }

    let reply = ask(server.address, "GET", "/list", &[("accept", "image/png")]);
    assert_eq!(reply.status, 406);
    assert!(reply.json()["remedy"].as_str().unwrap().contains("application/json"));
    let mut client = Client::connect(server.address);
    client.send("GET", "/list", "HTTP/1.1", &[("host", "elsewhere.example")]);
    assert_eq!(client.read_reply("GET").status, 400);
    assert_eq!(server.get(&format!("/list?after={right}")).results().len(), 7, "and the right one still works");
}

#[test]
fn the_format_follows_the_extension_then_accept() {
    let server = serve_numbers(&Numbers::new(2, 1));
    let kind = |target: &str, accept: &str| {
        ask(server.address, "GET", target, &[("accept", accept)]).header("content-type").to_owned()
    };
    assert!(kind("/numbers", "text/csv").starts_with("text/csv"));
    assert!(kind("/numbers", "application/json;q=0.1, application/x-ndjson").starts_with("application/x-ndjson"));
    assert!(kind("/numbers.json", "text/csv").starts_with("application/json"));
    assert!(kind("/numbers", "text/html, */*;q=0.1").starts_with("application/json"));
}

#[test]
fn the_count_ends_the_body_where_it_is_asked_for() {
    let file = numbered(123);
    let server = file.serve("table = \"item\"\ncount = true");
    for _ in 0..2 {
        assert!(server.get("/list").body.ends_with(br#"],"count":123}"#));
        assert!(server.get("/list.ndjson").body.ends_with(b"}\n{\"_end\":{\"count\":123}}\n"));
        assert!(server.get("/list?id=gt.200").body.ends_with(br#"{"results":[],"count":0}"#));
        assert!(server.get("/list?limit=5").body.ends_with(br#"],"count":5}"#));
    }
}

#[test]
fn links_follow_the_host_of_the_request_and_never_mix() {
    let file = numbered(100);
    let config = "table = \"item\"\n[resources.list.fields]\nid = \"id\"\nurl = { link = \"/items/{id}/\" }\n[server]\nallowed_hosts = [\"a.example\", \"b.example:81\"]\ntrusted_proxies = [\"127.0.0.1\"]";
    let server = file.serve(config);
    let url = |headers: &[(&str, &str)]| {
        let mut client = Client::connect(server.address);
        client.send("GET", "/list", "HTTP/1.1", headers);
        client.read_reply("GET").results()[99]["url"].as_str().unwrap().to_owned()
    };

    for _ in 0..2 {
        assert_eq!(url(&[("host", "a.example")]), "http://a.example/items/100/");
        assert_eq!(url(&[("host", "b.example:81")]), "http://b.example:81/items/100/");
        assert_eq!(
            url(&[("host", "proxy"), ("x-forwarded-host", "a.example"), ("x-forwarded-proto", "https")]),
            "https://a.example/items/100/"
        );
    }
}

#[test]
fn a_source_that_fails_at_the_start_is_a_problem_and_not_a_list() {
    for (kind, status) in [(Kind::Unavailable, 503), (Kind::Timeout, 504), (Kind::Busy, 503), (Kind::Data, 500)] {
        let source = Numbers::new(10, 1);
        source.fail_behind(0, kind);
        let server = serve_numbers(&source);
        let reply = server.get("/numbers");
        assert_eq!((reply.status, reply.header("content-type")), (status, "application/problem+json"));
        assert_eq!(reply.header("retry-after").is_empty(), status != 503);
        assert!(!reply.json()["remedy"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_failure_in_mid_stream_never_looks_whole() {
    let source = Numbers::new(5_000, 200);
    source.fail_behind(3_000, Kind::Unavailable);
    let server = serve_numbers(&source);
    let reply = server.get("/numbers");
    assert_eq!((reply.status, reply.whole), (200, false));
    assert!(reply.body.len() > 100_000, "what was read before the failure is delivered: {}", reply.body.len());
    assert!(reply.reset, "never a FIN before its end");
    // HTTP/1.0 ends its bodies with the close of the connection, so only the reset is visible.
    let mut client = Client::connect(server.address);
    client.send("GET", "/numbers", "HTTP/1.0", &[("host", "localhost")]);
    assert!(client.read_reply("GET").reset);
    // A real client.
    let curl = Command::new("curl")
        .args(["-sS", "-o", "/dev/null"])
        .arg(format!("http://{}/numbers", server.address))
        .output()
        .unwrap();
    assert_eq!(curl.status.code(), Some(56), "{}", String::from_utf8_lossy(&curl.stderr));
    let python = "import sys, urllib.request, http.client\ntry: urllib.request.urlopen(sys.argv[1]).read()\nexcept (http.client.IncompleteRead, ConnectionResetError): print('cut')";
    let python = Command::new("python3")
        .args(["-c", python])
        .arg(format!("http://{}/numbers", server.address))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&python.stdout), "cut\n", "{}", String::from_utf8_lossy(&python.stderr));
    assert_eq!(server.chunkflow.metrics().cut(), 4);
}

#[test]
fn an_old_client_gets_a_whole_list_and_a_plain_close() {
    let server = serve_numbers(&Numbers::new(30_000, 200));
    for _ in 0..3 {
        let mut client = Client::connect(server.address);
        client.send("GET", "/numbers", "HTTP/1.0", &[]);
        let reply = client.read_reply("GET");
        assert!(!reply.reset && reply.whole);
        assert_eq!(ids(&reply).len(), 30_000);
    }
}

#[test]
fn one_connection_serves_many_requests() {
    let server = serve_numbers(&Numbers::new(3_000, 200));
    let mut client = Client::connect(server.address);
    let expected: Vec<u64> = (1..=3_000).collect();
    for method in ["GET", "HEAD", "GET", "OPTIONS", "GET"] {
        client.send(method, "/numbers", "HTTP/1.1", &[("host", "localhost")]);
        let reply = client.read_reply(method);
        if method == "GET" {
            assert_eq!(ids(&reply), expected);
        }
    }

    // Two requests at once.
    for _ in 0..2 {
        client.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost")]);
    }

    assert_eq!(ids(&client.read_reply("GET")), expected);
    assert_eq!(ids(&client.read_reply("GET")), expected);
}

#[test]
fn streams_and_connections_beyond_their_bounds_get_503() {
    let source = Numbers::held_back(10, 1);
    let app = numbers_app(&source, ResourceOptions::default(), crate::support::system_clock());
    let server = Running::start(
        ServerConfig::default().with(|server| {
            server.max_streams = 1;
            server.max_connections = 3;
        }),
        app,
    );

    let mut first = Client::get(server.address, "/numbers");
    until("the first stream has begun", || source.begun() == 1);
    let mut second = Client::get(server.address, "/numbers");
    let refused = second.read_reply("GET");
    assert_eq!((refused.status, refused.header("retry-after")), (503, "2"));
    let _third = Client::connect(server.address);
    let mut fourth = Client::get(server.address, "/numbers");
    let refused = fourth.read_reply("GET");
    assert_eq!((refused.status, refused.header("retry-after")), (503, "2"));
    assert_eq!((refused.json()["status"].clone(), refused.body.last()), (json!(503), Some(&b'\n')));
    source.permits.add_permits(10);
    assert_eq!(ids(&first.read_reply("GET")).len(), 10);
    second.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost")]);
    assert_eq!(ids(&second.read_reply("GET")).len(), 10, "there is room again");
}

#[test]
fn health_and_readiness_and_the_root_say_what_they_are_for() {
    let file = numbered(1);
    let server = file.serve("table = \"item\"");
    assert_eq!(server.get("/healthz").json(), json!({ "ok": true }));
    assert_eq!(server.get("/readyz").json(), json!({ "ok": true }));
    let verbose = server.get("/readyz?verbose").json();
    let checks = verbose["checks"].as_array().unwrap().iter().map(|one| one["check"].as_str().unwrap());
    assert_eq!((&verbose["ok"], checks.collect()), (&json!(true), vec!["serving", "store", "database"]));
    let mut orchestrator = Client::connect(server.address);
    orchestrator.send("GET", "/readyz", "HTTP/1.1", &[("host", "10.1.2.3:8080")]);
    assert_eq!(orchestrator.read_reply("GET").status, 200, "by whatever name");
    let root = server.get("/").json();
    assert_eq!(root["resources"][0]["path"], "/list");
    let paths: Vec<String> = formats().iter().map(|format| format!("/list.{format}")).collect();
    assert_eq!(root["resources"][0]["formats"], json!(paths));
    assert_eq!(root["resources"][0]["fields"], json!(["id", "name"]));
    assert_eq!(root["resources"][0]["filters"], json!(["id"]));
}

#[test]
fn two_servers_with_different_settings_run_in_one_process() {
    let one = numbered(10);
    let one = one.serve("table = \"item\"\ncount = true");
    let two = numbered(20);
    let two = two.serve("table = \"item\"\norder = [\"-id\"]\n[server]\nallowed_hosts = [\"two.example\"]");
    assert_eq!(one.get("/list").json()["count"], 10);
    assert_eq!(two.get("/list").status, 400);
    let mut client = Client::connect(two.address);
    client.send("GET", "/list", "HTTP/1.1", &[("host", "two.example")]);
    let body: Value = client.read_reply("GET").json();
    assert_eq!((body["results"][0]["id"].clone(), body.get("count")), (json!(20), None));
    assert_eq!(one.chunkflow.metrics().complete(), 1);
    assert_eq!(two.chunkflow.metrics().complete(), 1);
}

#[test]
fn a_request_head_that_is_too_large_or_broken_is_refused() {
    let server = serve_numbers(&Numbers::new(1, 1));
    let large = "x".repeat(20_000);
    let reply = ask(server.address, "GET", "/numbers", &[("x-large", &large)]);
    assert_eq!(reply.status, 431);
    let mut client = Client::connect(server.address);
    client.send("GET", "/numbers", "HTTP/9.9", &[("host", "localhost")]);
    assert_eq!(client.read_reply("GET").status, 400);
}

#[test]
fn a_store_without_room_serves_the_same_list() {
    let source = Numbers::new(3_000, 300);
    let resource = Resource::new("numbers", source as Arc<_>, ResourceOptions::default()).unwrap();
    let server = Running::start(ServerConfig::default(), Chunkflow::new(Arc::new(Memory::new(0))).with(resource));
    for _ in 0..2 {
        assert_eq!(ids(&server.get("/numbers")), (1..=3_000).collect::<Vec<_>>());
    }
}

#[test]
fn the_operator_sees_the_counters_on_a_listener_of_its_own() {
    let source = Numbers::new(100, 10);
    let server = serve_numbers(&source);
    assert_eq!(server.get("/metrics").status, 404, "never on the public listener");
    ids(&server.get("/numbers"));
    let admin =
        AdminConfig::at("127.0.0.1:0".parse::<Listen>().unwrap()).with(|admin| admin.token = Some("secret".into()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let admin = runtime.block_on(async { Server::bind_admin(admin, server.chunkflow.clone()).unwrap() });
    let address = admin.address().unwrap();
    runtime.spawn(admin.run(Shutdown::default()));
    for headers in [&[][..], &[("authorization", "Bearer wrong")]] {
        let refused = ask(address, "GET", "/metrics", headers);
        assert_eq!((refused.status, &refused.json()["status"]), (401, &401.into()));
    }

    let metrics = ask(address, "GET", "/metrics", &[("authorization", "bearer secret")]);
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(metrics.body).unwrap();
    for line in [
        "chunkflow_source_rows_total{resource=\"numbers\"} 100",
        "chunkflow_streams_ended_total{how=\"complete\"} 1",
        "chunkflow_streams 0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }

    assert_eq!(ask(address, "GET", "/numbers", &[("authorization", "Bearer secret")]).status, 404, "and no list there");
}

#[test]
fn a_whole_stream_is_counted_complete_in_every_format_and_length() {
    let server = serve_numbers(&Numbers::new(120, 10));
    let targets =
        formats().into_iter().flat_map(|format| ["", "?limit=7"].map(|end| format!("/numbers.{format}{end}")));
    let targets: Vec<String> = targets.collect();
    for target in targets.iter().chain(&targets) {
        assert!(server.get(target).whole);
    }
    until("all are counted", || server.chunkflow.metrics().streams() == 0);
    let metrics = server.chunkflow.metrics();
    assert_eq!((metrics.complete(), metrics.left()), (2 * targets.len() as u64, 0));
}
