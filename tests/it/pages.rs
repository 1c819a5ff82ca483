//! Pages: with a `limit`, each page but the last says where the list goes on, no matter what is in
//! memory.

use std::collections::BTreeSet;

use crate::{
    client::ask2,
    encodings::decoded,
    resume::{events, ids_of},
    support::{Client, File, Numbers, Reply, Running, ask, ids, numbered, serve_numbers, until},
};

/// Those whose rows can be read here.
const FORMATS: [&str; 4] = ["json", "ndjson", "csv", "sse"];
const CODINGS: [&str; 3] = ["identity", "gzip", "br"];
const VERSIONS: [&str; 3] = ["HTTP/1.0", "HTTP/1.1", "HTTP/2"];

fn get(server: &Running, version: &str, target: &str, coding: &str) -> Reply {
    let reply = match version {
        "HTTP/2" => ask2(server, target, &[("accept-encoding", coding)]),
        _ => {
            let mut client = Client::connect(server.address);
            client.send("GET", target, version, &[("host", "localhost"), ("accept-encoding", coding)]);
            client.read_reply("GET")
        }
    };
    decoded(reply).unwrap()
}

/// A walk along `next` to the end: where each page was, and its rows.
#[derive(Debug, PartialEq, Eq)]
struct Walk {
    targets: Vec<String>,
    pages: Vec<Vec<u64>>,
}

fn walk(server: &Running, version: &str, path: &str, limit: u64, coding: &str) -> Walk {
    let mut walk = Walk { targets: vec![], pages: vec![] };
    let mut next = Some(format!("{path}?limit={limit}"));
    while let Some(target) = next {
        let reply = get(server, version, &target, coding);
        assert_eq!(reply.status, 200, "{target}");
        assert!(reply.whole && !reply.header("content-length").is_empty(), "{version} {target} {coding}");

        let text = String::from_utf8(reply.body.clone()).unwrap();
        let format = path.rsplit('.').next().unwrap();
        let rows = match format {
            "sse" => events(&text).iter().filter_map(|event| row_of(&event.2)).collect(),
            _ => ids_of(format, &text),
        };
        assert!(rows.len() as u64 <= limit);
        next = reply.next(path);
        assert!(next.is_none() || !rows.is_empty(), "a page without rows leads nowhere");
        walk.targets.push(target);
        walk.pages.push(rows);
    }

    walk
}

fn row_of(data: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(data).unwrap()["id"].as_u64()
}

/// Walks a list of `rows` rows of `width` bytes by pages of `limit`: cold, warm, and with every
/// other page in memory, each with another version of HTTP. All walks have the same pages.
fn walk_all_ways(rows: u64, width: usize, limit: u64, formats: &[&str], codings: &[&str]) {
    let server = serve_numbers(&Numbers::new(rows, width));
    let mut turn = 0;
    for format in formats {
        let mut pages = BTreeSet::new();
        for coding in codings {
            let path = format!("/numbers.{format}");
            let mut walk = || {
                turn += 1;
                walk(&server, VERSIONS[turn % 3], &path, limit, coding)
            };
            server.block_on(server.purge("numbers")).unwrap();
            let cold = walk();
            let warm = walk();
            server.block_on(server.purge("numbers")).unwrap();
            for target in cold.targets.iter().step_by(2) {
                get(&server, "HTTP/1.1", target, coding);
            }
            let half = walk();

            let what = format!("{rows} rows of {width} bytes by {limit} as {format} in {coding}");
            assert_eq!(cold.pages.concat(), (1..=rows).collect::<Vec<_>>(), "{what}");
            assert!(cold == warm && cold == half, "{what}");
            pages.insert(cold.pages);
        }
        assert_eq!(pages.len(), 1, "{format}: a page holds the same rows in every coding");
    }
}

#[test]
fn whoever_follows_next_gets_each_row_once_at_every_limit_in_every_format_coding_and_version() {
    for limit in [1, 2, 3, 49, 50, 51, 999, 1_000, 1_001, 5_000, 100_000] {
        let rows = (limit * 4 + 3).min(2_503);
        walk_all_ways(rows, 1, limit, &FORMATS, &CODINGS);
    }
    // The last page may be full, or there may be none.
    for (rows, limit) in [(100, 50), (99, 3), (1_000, 1_000), (5, 5), (600, 100), (0, 10)] {
        walk_all_ways(rows, 1, limit, &FORMATS, &["identity", "gzip"]);
    }
}

#[test]
fn pages_of_heavy_rows_end_early_and_never_without_next() {
    for (rows, limit) in [(4, 1), (10, 3), (80, 51), (90, 1_001)] {
        walk_all_ways(rows, 60_000, limit, &["json", "csv"], &["identity", "gzip"]);
    }
    for limit in [1, 3] {
        walk_all_ways(2, 10_000_000, limit, &["ndjson"], &["identity"]);
    }
    walk_all_ways(25_000, 200, 100_000, &["ndjson"], &["identity", "gzip"]);
    walk_all_ways(25_000, 200, 24_000, &["sse"], &["br"]);
}

#[test]
fn only_the_weight_of_its_rows_ends_a_page_before_its_limit_and_it_stays_within_four_mebibytes() {
    let server = serve_numbers(&Numbers::new(40_000, 200));
    let page = server.get("/numbers?limit=100000");
    assert!((3 << 20..=4 << 20).contains(&page.body.len()), "{}", page.body.len());
    assert!(page.next("/numbers").is_some());
    let page = server.get("/numbers?limit=10000");
    assert_eq!(ids(&page).len(), 10_000);
}

#[test]
fn pages_that_nobody_reads_hold_no_more_than_the_budget_and_all_rows_are_found_behind_them() {
    // A thousand rows of 3 KB are 3 MB, and the budget is 256 MiB for all together.
    let server = serve_numbers(&Numbers::new(1_000, 3_000));
    let mut clients: Vec<_> = (0..100).map(|_| Client::get(server.address, "/numbers?limit=1000")).collect();
    let metrics = server.chunkflow.metrics();
    until("all have begun", || metrics.streams() + metrics.complete() == 100);
    let replies: Vec<_> = clients.iter_mut().map(|client| client.read_reply("GET")).collect();
    drop(clients);
    let mut full = 0;
    for reply in &replies {
        assert_eq!(reply.header("content-length"), reply.body.len().to_string());
        let mut rows = ids(reply);
        full += usize::from(rows.len() == 1_000);
        let mut next = reply.next("/numbers");
        while let Some(target) = next {
            let more = server.get(&target);
            rows.extend(ids(&more));
            next = more.next("/numbers");
        }
        assert!(rows.iter().copied().eq(1..=1_000), "{} rows", rows.len());
    }

    assert!((1..=90).contains(&full), "{full} of 100 found room for all their rows");
}

#[test]
fn a_source_that_fails_within_a_page_gives_a_problem_and_no_page() {
    let source = Numbers::new(5_000, 200);
    source.fail_behind(1_500, chunkflow::Kind::Unavailable);
    let server = serve_numbers(&source);
    assert_eq!(server.get("/numbers?limit=2000").status, 503);
    assert_eq!(server.get("/numbers?limit=1000").status, 200);
}

#[test]
fn a_page_of_none_and_a_page_behind_the_last_row_are_empty_and_lead_nowhere() {
    let server = serve_numbers(&Numbers::new(20, 1));
    for target in ["/numbers?limit=0", "/numbers.sse?limit=0", "/numbers.csv?limit=0"] {
        let reply = server.get(target);
        assert_eq!((reply.status, reply.next("/numbers")), (200, None), "{target}");
    }
    let page = server.get("/numbers?limit=10");
    let last = page.next("/numbers").unwrap();
    let file = numbered(20);
    let rows = file.serve("table = \"item\"");
    let behind = rows.get("/list?limit=10").next("/list").unwrap();
    file.open().execute_batch("DELETE FROM item WHERE id > 10").unwrap();
    let empty = rows.get(&behind);
    assert_eq!((ids(&empty), empty.next("/list")), (vec![], None), "the rows behind are gone");
    assert_eq!((ids(&server.get(&last)).len(), server.get(&last).next("/numbers")), (10, None));
}

#[test]
fn next_keeps_the_rest_of_the_query_as_it_is_and_names_no_path() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300)
         INSERT INTO item SELECT i, CASE i % 3 WHEN 0 THEN '中国 a+b' ELSE 'x' END FROM n",
    );

    let server = file.serve("table = \"item\"\nfilters = [\"id\", \"name\"]\ncount = true");
    for query in ["name=eq.%E4%B8%AD%E5%9B%BD%20a%2Bb", "name=eq.中国+a%2Bb", "%6Eame=eq.中国%20a%2Bb&id=gt.0"] {
        let mut target = format!("/list?{query}&limit=7");
        let mut rows = vec![];
        loop {
            let reply = server.get(&target);
            assert_eq!(reply.json()["count"], ids(&reply).len());
            rows.extend(ids(&reply));
            let link = reply.header("link").to_owned();
            assert!(link.is_empty() || link.starts_with("<?"), "{link}");
            match reply.next("/list") {
                Some(next) => target = next,
                None => break,
            }
        }
        assert_eq!(rows, (1..=100).map(|n| 3 * n).collect::<Vec<_>>(), "{query}");
    }
}

#[test]
fn events_of_a_page_that_ends_early_go_on_to_their_limit_and_no_further() {
    let server = serve_numbers(&Numbers::new(60_000, 200));
    for (limit, expected) in [(100, 100), (40_000, 40_000), (1_000_000, 60_000)] {
        let target = format!("/numbers.sse?limit={limit}");
        let mut rows = vec![];
        let mut last = String::new();
        // As `EventSource` does: it comes back with the last id until it is told to stop.
        loop {
            let reply = ask(server.address, "GET", &target, &[("last-event-id", &last)]);
            if reply.status == 204 {
                break;
            }
            assert_eq!(reply.status, 200);
            let text = String::from_utf8(reply.body).unwrap();
            rows.extend(events(&text).iter().filter_map(|event| row_of(&event.2)));
            let id = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap();
            last = id.to_owned();
        }
        assert!(rows.iter().copied().eq(1..=expected), "{limit}: {} rows", rows.len());
    }

    assert_eq!(ask(server.address, "GET", "/numbers.sse?limit=3", &[("last-event-id", "x~y")]).status, 400);
}
