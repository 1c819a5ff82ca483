//! Lists that are cut and go on behind the last whole row; streams that send heartbeats while rows
//! are slow to come.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::system_clock;
use chunkflow::{Kind, ResourceOptions, server::ServerConfig, source::Field};
use serde_json::Value;

use crate::support::{Client, Numbers, Reply, Running, ask, ids, numbered, numbers_app, serve_numbers, until};

/// An event: its id, its kind and its data.
pub type Event = (String, String, String);

/// Parses a stream of events as in WHATWG HTML §9.2.6; an event without an empty line at its end
/// does not count.
pub fn events(body: &str) -> Vec<Event> {
    let mut events = vec![];
    let mut event = Event::default();
    let mut id = String::new();
    for line in body.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        match line.split_once(':') {
            None if line.is_empty() => {
                if !event.2.is_empty() {
                    event.0.clone_from(&id);
                    events.push(std::mem::take(&mut event));
                }
            }
            Some(("" | "retry", _)) => {}
            Some(("id", value)) => id = value.trim_start().to_owned(),
            Some(("event", value)) => event.1 = value.trim_start().to_owned(),
            Some(("data", value)) => event.2 = value.strip_prefix(' ').unwrap_or(value).to_owned(),
            _ => panic!("an unknown field: {line}"),
        }
    }

    events
}

fn get(server: &Running, target: &str, last: Option<&str>) -> Reply {
    let mut headers = vec![("accept", "text/event-stream")];
    headers.extend(last.map(|last| ("last-event-id", last)));
    ask(server.address, "GET", target, &headers)
}

#[test]
fn each_row_is_an_event_and_the_list_ends_in_one_of_its_own() {
    let file = numbered(1_000);
    let server = file.serve("table = \"item\"\ncount = true");
    let rows = server.get("/list").results();
    let reply = get(&server, "/list", None);
    assert!(reply.header("content-type").starts_with("text/event-stream"));
    let all = events(std::str::from_utf8(&reply.body).unwrap());
    let (end, events) = all.split_last().unwrap();
    let data: Vec<Value> = events.iter().map(|event| serde_json::from_str(&event.2).unwrap()).collect();
    assert_eq!(data, rows);
    assert_eq!((&*end.1, &*end.2), ("end", "{\"count\":1000}"));
    // A client that comes back behind the end is told not to come again; one that comes with a
    // foreign id is told that this is no place.
    let over = get(&server, "/list", Some(&end.0));
    // A cache that stored it would end the events of all clients.
    assert_eq!((over.status, over.header("cache-control")), (204, "no-store"));
    assert_eq!(get(&server, "/list", Some("elsewhere")).status, 400);
}

#[test]
fn events_that_are_cut_at_any_byte_go_on_behind_the_last_whole_one() {
    let file = numbered(300);
    let server = file.serve("table = \"item\"\norder = [\"-name\"]\nchunk_rows = 10");
    let whole = get(&server, "/list", None);
    let text = String::from_utf8(whole.body).unwrap();
    let all = events(&text);
    for cut in (0..text.len()).step_by(97) {
        let mut got = events(&text[..cut]);
        let last = got.last().map(|event| event.0.clone());
        let rest = get(&server, "/list", last.as_deref());
        got.extend(events(std::str::from_utf8(&rest.body).unwrap_or_default()));
        assert_eq!(got, all, "cut at {cut}");
    }
}

#[test]
fn a_list_in_any_format_goes_on_behind_the_last_whole_row_by_its_key_or_its_cursor() {
    let file = numbered(300);
    let server = file.serve("table = \"item\"\nfilters = [\"id\"]\nchunk_rows = 10");
    for format in ["ndjson", "json", "csv"] {
        let ids = |text: &str| ids_of(format, text);
        let whole = String::from_utf8(server.get(&format!("/list.{format}")).body).unwrap();
        assert_eq!(ids(&whole), (1..=300).collect::<Vec<_>>(), "{format}");
        for cut in (0..whole.len()).step_by(173) {
            let mut got = ids(&whole[..cut]);
            let filter = got.last().map_or(String::new(), |id| format!("?id=gt.{id}"));
            let rest = server.get(&format!("/list.{format}{filter}"));
            got.extend(ids(std::str::from_utf8(&rest.body).unwrap()));
            assert_eq!(got, ids(&whole), "{format} cut at {cut}");
        }
    }

    // If the order is not one to filter by, rows contain their cursors.
    let fields = "[resources.list.fields]\nname = \"name\"\nplace = { cursor = true }";
    let server = file.serve(&format!("table = \"item\"\norder = [\"-name\"]\nchunk_rows = 10\n{fields}"));
    let rows = server.get("/list").results();
    for (index, row) in rows.iter().enumerate().step_by(29) {
        let rest = server.get(&format!("/list?after={}", row["place"].as_str().unwrap())).results();
        assert_eq!(rest, rows[index + 1..]);
    }
}

/// The ids of the whole rows in the beginning of a list.
pub fn ids_of(format: &str, text: &str) -> Vec<u64> {
    match format {
        "ndjson" => ids_of_lines(text),
        "csv" => ids_of_csv(text),
        _ => ids_of_json(text),
    }
}

fn ids_of_lines(text: &str) -> Vec<u64> {
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap()).collect()
}

fn ids_of_json(text: &str) -> Vec<u64> {
    let mut rest = text.strip_prefix("{\"results\":[").unwrap_or_default();
    let mut ids = vec![];
    loop {
        let mut rows =
            serde_json::Deserializer::from_str(rest.trim_start_matches([',', '\n', ' '])).into_iter::<Value>();
        let Some(Ok(row)) = rows.next() else { return ids };
        let passed = rest.len() - rest.trim_start_matches([',', '\n', ' ']).len() + rows.byte_offset();
        ids.push(row["id"].as_u64().unwrap());
        rest = &rest[passed..];
    }
}

fn ids_of_csv(text: &str) -> Vec<u64> {
    let whole = &text[..text.rfind("\r\n").map_or(0, |at| at + 2)];
    whole.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}

/// A server whose streams send a heartbeat after a few milliseconds of silence.
fn restless(source: &std::sync::Arc<Numbers>) -> Running {
    let app = numbers_app(source, ResourceOptions::default(), system_clock());
    Running::start(ServerConfig::default(), app.with_heartbeat(Duration::from_millis(5)))
}

#[test]
fn while_rows_are_long_in_coming_what_means_nothing_is_sent_and_the_list_stays_right() {
    let expected = serve_numbers(&Numbers::new(2_000, 100)).get("/numbers");
    for (format, idle) in [("json", "} "), ("ndjson", "\n  "), ("sse", "\n:\n\n:\n\n")] {
        for encoding in ["identity", "gzip", "br"] {
            let source = Numbers::held_back(2_000, 100);
            source.permits.add_permits(1);
            let server = restless(&source);
            let mut client = Client::connect(server.address);
            let headers = [("host", "localhost"), ("accept-encoding", encoding)];
            client.send("GET", &format!("/numbers.{format}"), "HTTP/1.1", &headers);
            match encoding {
                "identity" => assert!(client.wait_for_body(|body| String::from_utf8_lossy(body).contains(idle))),
                // Stored blocks, which hold it unchanged.
                "gzip" => {
                    let length = if format == "sse" { 3 } else { 1 };
                    let block = [0, length, 0, !length, 0xff];
                    assert!(client.wait_for_body(|body| body.windows(5).filter(|window| *window == block).count() > 2));
                }
                _ => {
                    let block = if format == "sse" { [0x10, 0, 8, b':'] } else { [0, 0, 8, b' '] };
                    assert!(client.wait_for_body(|body| body.windows(4).filter(|window| *window == block).count() > 2));
                }
            }
            source.permits.add_permits(1_000);
            let reply = crate::encodings::decoded(client.read_reply("GET")).unwrap();
            assert!(reply.whole);
            let text = String::from_utf8(reply.body.clone()).unwrap();
            match format {
                "json" => assert_eq!(ids(&reply), ids(&expected)),
                "ndjson" => {
                    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                    assert_eq!(rows, expected.results());
                }
                _ => assert_eq!(events(&text).len(), 2_001),
            }
        }
    }
}

#[test]
fn a_failure_behind_silence_is_still_a_cut_and_csv_is_silent_for_it_has_nothing_that_means_nothing() {
    for (target, idle) in [("/numbers", "}  "), ("/numbers.csv", "\r\n")] {
        let source = Numbers::held_back(2_000, 100);
        source.permits.add_permits(1);
        let server = restless(&source);
        let mut client = Client::get(server.address, target);
        assert!(client.wait_for_body(|body| String::from_utf8_lossy(body).contains(idle)));
        source.fail_behind(600, Kind::Unavailable);
        source.permits.add_permits(1_000);
        let reply = client.read_reply("GET");
        assert!(!reply.whole);
        assert_eq!(String::from_utf8_lossy(&reply.body).contains(' '), target == "/numbers");
    }
}

/// The program in this language on a page of the documentation.
fn snippet(page: &str, language: &str) -> String {
    let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_programs_of_the_docs_print_each_row_once_though_they_are_cut_twice() {
    for (language, program) in [("sh", "sh"), ("python", "python3"), ("js", "node")] {
        let source = Numbers::new(3_000, 100);
        let fields = [("id", Field::Column(0)), ("text", Field::Column(1)), ("place", Field::Cursor)];
        let fields = fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect();
        let options = ResourceOptions::default().with(|options| options.fields = Some(fields));
        let server = Running::start(ServerConfig::default(), numbers_app(&source, options, system_clock()));
        let folder = tempfile::TempDir::new().unwrap();
        let url = format!("http://{}/numbers.ndjson", server.address);
        let text = snippet("docs/resume.md", language).replace("http://localhost:8080/tricks.ndjson", &url);
        let file = folder.path().join(if language == "js" { "program.mjs" } else { "program" });
        std::fs::write(&file, text).unwrap();
        source.fail_behind(700, Kind::Unavailable);
        let mut child = Command::new(program);
        child.arg(file).current_dir(&folder).stdin(Stdio::null()).stderr(Stdio::null());
        let printed = folder.path().join("printed");
        let mut child = child.stdout(std::fs::File::create(&printed).unwrap()).spawn().unwrap();
        let cut = || server.chunkflow.metrics().cut();
        until("it is cut", || cut() == 1);
        source.fail_behind(1_900, Kind::Unavailable);
        until(&format!("{language} is cut again"), || cut() == 2);
        source.fail_behind(u64::MAX, Kind::Unavailable);
        assert!(child.wait().unwrap().success(), "{language}");
        let text = std::fs::read_to_string(printed).unwrap();
        let ids: Vec<u64> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (1..=3_000).collect::<Vec<_>>(), "{language}");
    }
}

#[test]
fn to_event_source_a_failure_that_passes_says_when_to_come_back_and_any_other_is_the_end() {
    for (kind, status) in
        [(Kind::Unavailable, 503), (Kind::Busy, 503), (Kind::Timeout, 504), (Kind::Data, 500), (Kind::Config, 500)]
    {
        let source = Numbers::new(5, 1);
        source.fail_behind(0, kind);
        let server = serve_numbers(&source);
        for headers in [[("accept", "text/event-stream")], [("last-event-id", "")], [("accept", "*/*")]] {
            let reply = ask(server.address, "GET", "/numbers.sse", &headers);
            let comes_back = headers[0].1 == "text/event-stream" && status != 500;
            assert_eq!(reply.status, if comes_back { 200 } else { status }, "{kind:?} {headers:?}");
            if comes_back {
                let body = String::from_utf8(reply.body.clone()).unwrap();
                assert!(body.starts_with("retry: 2000\n") && events(&body).is_empty(), "{body}");
                assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8");
                assert_eq!((reply.header("cache-control"), reply.header("retry-after")), ("no-store", ""));
            }
        }
    }

    // In the middle of its events too, and when the server has no room.
    let source = Numbers::new(5, 1);
    let config = ServerConfig::default().with(|server| server.max_streams = 0);
    let full = Running::start(config, numbers_app(&source, ResourceOptions::default(), system_clock()));
    let server = serve_numbers(&source);
    let last = events(std::str::from_utf8(&get(&server, "/numbers", None).body).unwrap())[2].0.clone();
    let reply = ask(full.address, "GET", "/numbers.sse", &[("last-event-id", &last)]);
    assert!(reply.status == 200 && reply.body.starts_with(b"retry: 2000\n"));
    // A wrong request stays wrong.
    assert_eq!(get(&server, "/numbers?limit=x", None).status, 400);
    assert_eq!(get(&server, "/nothing", None).status, 404);
}
