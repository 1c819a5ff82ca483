//! Spans as a collector gets them.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use super::{
    PARENT, TRACE,
    collector::{Collector, Span},
    line,
};
use crate::{
    logs::Logged,
    servers::{Kind, Server, every_kind, free_port},
    support::{Process, STUCK, ask, binary, until},
};

/// A server whose spans a collector gets at once.
fn traced(collector: &Collector, server: &str, environment: &[(&str, &str)]) -> Logged {
    let soon = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
    Logged::with(&format!("log_format = \"json\"\n{server}"), &[], &[&soon[..], environment].concat())
}

fn within(inner: &Span, outer: &Span) {
    assert_eq!((&inner.trace, &inner.parent), (&outer.trace, &outer.id), "{inner:?} in {outer:?}");
    assert!(inner.times[0] >= outer.times[0] && inner.times[0] <= inner.times[1], "{inner:?} in {outer:?}");
}

/// Asks a server to end, as a supervisor does.
fn end(logged: &mut Logged) -> (ExitStatus, Duration) {
    let began = Instant::now();
    Command::new("kill").args(["-TERM", &logged.child.id().to_string()]).status().unwrap();
    until("its end", || logged.child.try_wait().unwrap().is_some());
    (logged.child.wait().unwrap(), began.elapsed())
}

#[test]
fn a_cold_list_is_one_tree_of_request_chunk_load_and_sql_within_its_clients_trace() {
    let collector = Collector::start();
    let logged = traced(&collector, "", &[]);
    let headers = [("traceparent", PARENT), ("tracestate", "a=1,b=2"), ("x-request-id", "mine")];
    assert_eq!(logged.get("/list.csv?id=gt.0", &headers).status, 200);

    let request = collector.one(TRACE, "GET /list");
    assert_eq!((&*request.parent, &*request.state, request.kind), ("00f067aa0ba902b7", "a=1,b=2", 2));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/list"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("url.path", "/list.csv"),
        ("client.address", "127.0.0.1"),
        ("chunkflow.format", "csv"),
        ("chunkflow.rows", "10"),
        ("chunkflow.outcome", "complete"),
    ] {
        assert_eq!(request.attribute(name), value, "{name} of {request:?}");
    }

    let chunk = collector.one(TRACE, "chunk");
    let load = collector.one(TRACE, "load");
    let sql = collector.one(TRACE, "SELECT");
    within(&chunk, &request);
    within(&load, &chunk);
    within(&sql, &load);
    assert_eq!((chunk.attribute("chunkflow.found"), load.attribute("chunkflow.found")), ("source", "source"));
    assert_eq!((&*sql.name, sql.kind, sql.attribute("db.system.name")), ("SELECT item", 3, "sqlite"));
    assert!(sql.attribute("db.query.text").contains("> ?"), "a value is no part of the text: {sql:?}");
    assert_eq!(collector.spans().len(), 4, "{:?}", collector.spans());
    assert_eq!(line(&logged, "mine")["trace_id"], TRACE);
    assert_eq!(collector.resource().get("service.name").map(|name| &**name), Some("chunkflow"));
}

#[test]
fn a_warm_list_is_a_request_alone_of_a_trace_of_its_own_where_it_carries_none() {
    let collector = Collector::start();
    let logged = traced(&collector, "", &[]);
    let wrong = PARENT.to_uppercase();
    for (id, headers) in [("cold", &[][..]), ("warm", &[]), ("wrong", &[("traceparent", &*wrong)])] {
        assert_eq!(logged.get("/list", &[&[("x-request-id", id)], headers].concat()).status, 200);
    }

    let traces = ["cold", "warm", "wrong"].map(|id| line(&logged, id)["trace_id"].as_str().unwrap().to_owned());
    let names = |trace: &str| {
        let request = collector.one(trace, "GET /list");
        assert_eq!(request.parent, "");
        let spans = collector.spans().into_iter().filter(|span| span.trace == trace);
        spans.map(|span| span.name).collect::<Vec<_>>()
    };

    assert_eq!(names(&traces[0]), ["GET /list", "chunk", "load", "SELECT item"]);
    assert_eq!(names(&traces[1]), ["GET /list"]);
    assert_eq!(names(&traces[2]), ["GET /list"]);
    assert!(traces[1] != traces[2] && !traces.contains(&TRACE.to_owned()), "{traces:?}");
}

/// Asks for two lists while their table is locked, until so many chunks were found so.
fn ask_at_once(collector: &Collector, targets: [&str; 2], found: &str) {
    let port = free_port();
    let logged = traced(collector, &format!("\n[admin]\nlisten = \"127.0.0.1:{port}\""), &[]);
    let both_wait = || {
        let metrics = ask(([127, 0, 0, 1], port).into(), "GET", "/metrics", &[]);
        String::from_utf8(metrics.body).unwrap().contains(&format!("{{resource=\"list\",found={found}"))
    };

    // A read waits while another process writes.
    let writer = logged.file.open();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    std::thread::scope(|scope| {
        let logged = &logged;
        let both = targets.map(|target| scope.spawn(move || assert_eq!(logged.get(target, &[]).status, 200)));
        until("both wait", both_wait);
        writer.execute_batch("COMMIT").unwrap();
        both.into_iter().for_each(|one| one.join().unwrap());
    });

    // Those that wait in a queue are sent before it ends.
    let mut logged = logged;
    assert!(end(&mut logged).0.success());
}

#[test]
fn a_load_in_another_format_links_to_that_whose_read_it_shares() {
    let collector = Collector::start();
    ask_at_once(&collector, ["/list", "/list.csv"], "\"miss\"} 2");
    let [reads, loads] = ["SELECT item", "load"]
        .map(|name| collector.spans().into_iter().filter(|span| span.name == name).collect::<Vec<_>>());
    assert_eq!((reads.len(), loads.len()), (1, 2), "{reads:?} {loads:?}");
    let (leads, joins): (Vec<&Span>, Vec<&Span>) = loads.iter().partition(|load| load.id == reads[0].parent);
    assert_eq!(joins[0].links, [leads[0].id.clone()], "{loads:?}");
}

#[test]
fn requests_that_join_a_load_link_to_it() {
    let collector = Collector::start();
    ask_at_once(&collector, ["/list", "/list"], "\"joined\"} 1");
    let chunks = collector.wait_for(2, |span| span.name == "chunk");
    let loads = collector.wait_for(1, |span| span.name == "load");
    let load = &loads[0];
    assert_eq!(loads.len(), 1, "{loads:?}");
    let (began, joined): (Vec<&Span>, Vec<&Span>) = chunks.iter().partition(|chunk| chunk.id == load.parent);
    assert_eq!((began.len(), joined.len()), (1, 1), "{chunks:?}");
    assert_eq!((&joined[0].links, joined[0].attribute("chunkflow.found")), (&vec![load.id.clone()], "joined"));
    assert_ne!(joined[0].trace, load.trace);
}

#[test]
fn each_kind_of_database_has_its_reads_told_under_its_own_name() {
    for db in every_kind() {
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(20)); INSERT INTO item VALUES (1, 'a')");
        let folder = tempfile::TempDir::new().unwrap();
        let collector = Collector::start();
        let where_one = db.config("table = \"item\"\nwhere = \"name <> 'hunter2'\"").replace("list", "hidden");
        let resource = where_one.split_once("[resources").map(|(_, resource)| format!("[resources{resource}")).unwrap();
        let config = format!("{}\n{resource}", db.config("table = \"item\""));
        std::fs::write(folder.path().join("chunkflow.toml"), config).unwrap();
        let mut command = binary(&["serve"], folder.path());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).env("OTEL_BSP_SCHEDULE_DELAY", "20");
        let server = Process::spawn(&mut command);
        assert_eq!(server.get("/list").status, 200, "{}", db.name());
        assert_eq!(server.get("/hidden").status, 200, "{}", db.name());

        let reads = collector.wait_for(2, |span| span.name.starts_with("SELECT "));
        let system = match db.name() {
            "postgres" => "postgresql",
            name => name,
        };
        let loads = collector.wait_for(2, |span| span.name == "load");
        for (read, load) in reads.iter().zip(&loads) {
            within(read, load);
            assert_eq!(read.attribute("db.system.name"), system);
            assert!(read.name.ends_with("item") && read.attribute("db.collection.name").ends_with("item"), "{read:?}");
        }
        assert!(reads[0].attribute("db.query.text").starts_with("SELECT "), "{reads:?}");
        assert_eq!(reads[1].attribute("db.query.text"), "", "a condition of the operator's may hold a secret");
    }
}

#[test]
fn calls_of_a_shared_store_are_within_the_load() {
    let store = Server::start(Kind::Redis);
    let collector = Collector::start();
    let logged = traced(&collector, &format!("\n[store]\nurl = \"redis://127.0.0.1:{}\"", store.port), &[]);
    let gzip = [("traceparent", PARENT), ("accept-encoding", "gzip")];
    assert_eq!(logged.get("/list", &gzip).status, 200);

    let compress = collector.one(TRACE, "compress");
    within(
        &collector.one(TRACE, "GET /list"),
        &Span { trace: TRACE.into(), id: "00f067aa0ba902b7".into(), ..Span::default() },
    );

    let load = collector.one(TRACE, "load");
    let chunks = collector.wait_for(2, |span| span.name == "chunk");
    within(&compress, &chunks[0]);
    within(&chunks[1], &compress);
    within(&load, &chunks[1]);
    within(&collector.one(TRACE, "lease"), &load);
    for put in collector.wait_for(2, |span| span.name == "store.put") {
        assert!([&load.id, &compress.id].contains(&&put.parent), "{put:?}");
    }

    for get in collector.wait_for(2, |span| span.name == "store.get") {
        assert!([&load.id, &compress.id].contains(&&get.parent), "{get:?}");
    }
}

#[test]
fn a_failed_load_and_its_request_are_failures_in_their_trace() {
    let collector = Collector::start();
    let logged = traced(&collector, "", &[]);
    std::fs::remove_file(&logged.file.path).unwrap();
    assert_eq!(logged.get("/list?id=eq.1", &[("traceparent", PARENT)]).status, 503);
    let [request, load] = ["GET /list", "load"].map(|name| collector.one(TRACE, name));
    assert_eq!((request.status, request.attribute("error.type")), (2, "503"));
    assert_eq!(request.attribute("http.response.status_code"), "503");
    assert_eq!((load.status, load.attribute("error.type")), (2, "unavailable"));

    assert_eq!(logged.get("/list?limit=x", &[]).status, 400);
    let wrong = collector.wait_for(1, |span| span.attribute("http.response.status_code") == "400");
    assert_eq!(wrong[0].status, 0, "what a client asks for in vain is no failure of the server's");
}

#[test]
fn a_trace_is_kept_as_its_client_says_and_else_by_the_ratio_that_is_set() {
    let collector = Collector::start();
    let none = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let mut logged = traced(&collector, "", &none);
    assert_eq!(logged.get("/list", &[("x-request-id", "none")]).status, 200);
    let unkept = PARENT.replace("-01", "-00");
    assert_eq!(logged.get("/list", &[("traceparent", &unkept), ("x-request-id", "unkept")]).status, 200);
    let other = PARENT.replace("4bf9", "5bf9");
    assert_eq!(logged.get("/list", &[("traceparent", &other)]).status, 200);
    assert!(line(&logged, "none")["trace_id"].is_string(), "it has an id all the same");
    assert_eq!(line(&logged, "unkept")["trace_id"], TRACE);
    assert!(end(&mut logged).0.success());
    let traces: Vec<String> = collector.spans().into_iter().map(|span| span.trace).collect();
    assert_eq!(traces, [TRACE.replace("4bf9", "5bf9")]);
}

#[test]
fn the_last_spans_are_sent_at_the_end_with_what_the_collector_is_to_be_shown() {
    let collector = Collector::start();
    let secret = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=hunter2"),
        ("OTEL_SERVICE_NAME", "lists"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];

    let traces = format!("traces = \"{}\"\nlog_format = \"json\"", collector.url);
    let mut logged = Logged::with(&traces, &["--log", "debug"], &secret);
    assert_eq!(logged.get("/list", &[]).status, 200);
    assert!(end(&mut logged).0.success());
    assert!(collector.spans().iter().any(|span| span.name == "GET /list"));
    let heads = collector.heads();
    assert!(heads[0].starts_with("post /v1/traces ") && heads[0].contains("x-api-key: hunter2"), "{heads:?}");
    let resource = collector.resource();
    assert_eq!((&*resource["service.name"], &*resource["deployment.environment.name"]), ("lists", "test"));
    assert!(!logged.text().contains("hunter2"), "{}", logged.text());
}

#[test]
fn a_collector_that_is_away_or_silent_delays_neither_answers_nor_the_end() {
    // It takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    // Where nobody listens, and nobody else may.
    let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    taken.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let away = format!("http://{}", taken.local_addr().unwrap().as_socket().unwrap());
    for (url, warns) in [(silent, false), (away, true)] {
        let hasty = [("OTEL_BSP_SCHEDULE_DELAY", "20"), ("OTEL_BSP_MAX_QUEUE_SIZE", "64")];
        let mut logged = Logged::with(&format!("traces = \"{url}\""), &[], &hasty);
        let began = Instant::now();
        for _ in 0..300 {
            assert_eq!(logged.get("/list", &[]).status, 200);
        }
        assert!(began.elapsed() < STUCK / 4, "{url}: {:?}", began.elapsed());
        if warns {
            assert!(logged.line("spans are lost").contains(&url));
            std::thread::sleep(Duration::from_millis(1500));
            assert_eq!(logged.text().matches("spans are lost").count(), 1, "{}", logged.text());
        }
        let (status, took) = end(&mut logged);
        // A batch that nobody answers is waited for 10 s, else.
        assert!(status.success() && took < Duration::from_secs(6), "{url}: {took:?}");
    }
}

#[test]
fn opentelemetrys_own_switch_turns_spans_off() {
    let collector = Collector::start();
    let mut logged = traced(&collector, "", &[("OTEL_SDK_DISABLED", "true")]);
    assert_eq!(logged.get("/list", &[("x-request-id", "mine")]).status, 200);
    assert_eq!(line(&logged, "mine")["trace_id"], serde_json::Value::Null);
    assert!(end(&mut logged).0.success());
    assert!(collector.heads().is_empty());
}
