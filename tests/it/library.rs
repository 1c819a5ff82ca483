//! The library without the server: lists over closures and other sources, within another program.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chunkflow::{
    Chunkflow, Fetch, Format, Memory, Resource, ResourceOptions, closure,
    metrics::MetricsFormat,
    source::{
        Closure, Column, Comparison, Condition, DatabaseOptions, Filter, GateLimits, Operand, Operator, Query,
        RowBatch, Spec, Value, open_database,
    },
    store::{Store, promises},
};
use http::Request;
use http_body_util::BodyExt;
use serde::Serialize;

use crate::support::File;

#[derive(Serialize)]
struct Flight {
    number: String,
    seats: u64,
    stops: Vec<&'static str>,
    note: Option<String>,
}

/// A list of flights whose fetches are counted.
fn resource(name: &str, total: usize, fetches: &Arc<AtomicUsize>) -> Resource {
    let fetches = Arc::clone(fetches);
    let source = closure(
        &["number", "seats", "stops", "note"],
        |flight: &Flight| flight.number.clone(),
        move |fetch: Fetch<String>| {
            fetches.fetch_add(1, Ordering::SeqCst);
            async move {
                let from = fetch.after.map_or(0, |number| number[2..].parse::<usize>().unwrap() + 1);
                let flight = |n: usize| Flight {
                    number: format!("CF{n:05}"),
                    seats: u64::MAX - n as u64,
                    stops: vec!["a\u{2028}b"; n % 3],
                    note: n.is_multiple_of(2).then(|| "say \"hi\", twice".to_owned()),
                };
                Ok::<_, std::io::Error>((from..total).take(fetch.limit).map(flight).collect())
            }
        },
    );

    Resource::new(name, Arc::new(source), ResourceOptions::default()).unwrap()
}

fn flights(total: usize, fetches: Arc<AtomicUsize>) -> Chunkflow {
    no_lists().with(resource("flights", total, &fetches))
}

fn no_lists() -> Chunkflow {
    Chunkflow::new(Arc::new(Memory::new(64 << 20)))
}

async fn body(chunkflow: &Chunkflow, target: &str) -> (http::StatusCode, String) {
    let request = Request::get(target).header("host", "localhost").body(()).unwrap();
    let response = chunkflow.respond(&request).await;
    let status = response.status();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn rows_that_are_objects_are_shown_with_all_their_members_in_every_format_but_csv() {
    let source = Closure::of_objects(&["id"], |query: Query| async move {
        let from = query.after.values().next().map_or(1, |id| if let Value::Integer(id) = id { id + 1 } else { 0 });
        let mut batch = RowBatch::new(1, 1);
        for id in (from..=2_000).take(query.limit as usize) {
            let more = if id % 2 == 0 { format!(", \"m{id}\": [1, 2.50]") } else { String::new() };
            batch.push_members(&[Value::Integer(id)], &format!("{{ \"id\": {id}, \"t\": \"a\u{2028}b\"{more} }}"))?;
        }
        Ok::<_, chunkflow::Error>(batch)
    });
    let resource = Resource::new("objects", Arc::new(source), ResourceOptions::default()).unwrap();
    let chunkflow = no_lists().with(resource);

    let (_, lines) = body(&chunkflow, "/objects.ndjson").await;
    assert!(
        lines.starts_with("{\"id\":1,\"t\":\"a\\u2028b\"}\n{\"id\":2,\"t\":\"a\\u2028b\",\"m2\":[1,2.50]}\n"),
        "{lines:.100}"
    );
    assert_eq!(lines.lines().count(), 2_000);
    let (_, json) = body(&chunkflow, "/objects").await;
    let rows: Vec<&str> = lines.lines().collect();
    assert_eq!(json, format!("{{\"results\":[{}]}}", rows.join(",")));

    // It begins with the names of all columns.
    let (status, problem) = body(&chunkflow, "/objects.csv").await;
    assert_eq!(status, 406);
    assert!(problem.contains("declare the list's columns"), "{problem}");
}

#[tokio::test]
async fn a_cursor_of_another_version_is_taken_where_it_means_the_same() {
    let list = |version: &str, places: Option<&str>| {
        let source = Closure::of_objects(&["id"], |query: Query| async move {
            let from = query.after.values().next().map_or(1, |id| if let Value::Integer(id) = id { id + 1 } else { 0 });
            let mut batch = RowBatch::new(1, 1);
            for id in (from..=9).take(query.limit as usize) {
                batch.push_members(&[Value::Integer(id)], &format!("{{\"id\":{id}}}"))?;
            }
            Ok::<_, chunkflow::Error>(batch)
        });
        let source = source.version(version);
        let source = if let Some(places) = places { source.places(places) } else { source };
        no_lists().with(Resource::new("objects", Arc::new(source), ResourceOptions::default()).unwrap())
    };
    let next = async |list: &Chunkflow| {
        let request = Request::get("/objects?limit=4").header("host", "localhost").body(()).unwrap();
        let response = list.respond(&request).await;
        let link = response.headers()["link"].to_str().unwrap().to_owned();
        format!("/objects{}", link.trim_start_matches('<').split('>').next().unwrap())
    };

    let after = next(&list("1", Some("by id"))).await;
    let (status, rows) = body(&list("2", Some("by id")), &after).await;
    assert_eq!((status.as_u16(), &*rows), (200, r#"{"results":[{"id":5},{"id":6},{"id":7},{"id":8}]}"#));
    assert_eq!(body(&list("2", Some("by name")), &after).await.0, 400);
    assert_eq!(body(&list("2", None), &next(&list("1", None)).await).await.0, 400);
}

#[test]
fn a_row_that_is_no_object_with_members_is_refused() {
    for row in ["", "[1]", "7", "null", "\"{}\"", "{}", " { } ", "{\"a\":1", "{\"a\":1}{}", "{a:1}"] {
        let mut batch = RowBatch::new(1, 1);
        assert!(batch.push_members(&[Value::Integer(1)], row).is_err(), "{row}");
    }
}

#[tokio::test]
async fn a_closure_is_a_list_like_any_other() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let chunkflow = flights(3_000, Arc::clone(&fetches));
    let (_, json) = body(&chunkflow, "/flights").await;
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = read["results"].as_array().unwrap();
    assert_eq!(rows.len(), 3_000);
    assert!(
        json.starts_with(
            r#"{"results":[{"number":"CF00000","seats":18446744073709551615,"stops":[],"note":"say \"hi\", twice"},"#
        ),
        "{}",
        &json[..200]
    );

    assert!(json.contains(r#""stops":["a\u2028b"],"note":null"#));
    assert!(rows.iter().enumerate().all(|(n, row)| row["number"] == format!("CF{n:05}")));
    let cold = fetches.load(Ordering::SeqCst);
    assert_eq!(body(&chunkflow, "/flights").await.1, json);
    assert_eq!(fetches.load(Ordering::SeqCst), cold, "a warm list asks nothing");
    let (_, csv) = body(&chunkflow, "/flights.csv?limit=2").await;
    assert_eq!(
        csv,
        "number,seats,stops,note\r\nCF00000,18446744073709551615,[],\"say \"\"hi\"\", twice\"\r\nCF00001,18446744073709551614,\"[\"\"a\\u2028b\"\"]\",\r\n"
    );

    let (status, problem) = body(&chunkflow, "/flights?number=eq.x").await;
    assert_eq!((status.as_u16(), problem.contains("limit, after")), (400, true), "a closure has no filters: {problem}");
}

#[tokio::test]
async fn a_closure_that_fails_or_hangs_is_a_problem() {
    let failing =
        closure(&["id"], |row: &u8| *row, |_: Fetch<u8>| async { Err::<Vec<u8>, _>(std::io::Error::other("broken")) });
    let away = closure(
        &["id"],
        |row: &u8| *row,
        |_: Fetch<u8>| async { Err::<Vec<u8>, _>(chunkflow::Error::new(chunkflow::Kind::Unavailable, "away")) },
    );

    let hanging =
        closure(&["id"], |row: &u8| *row, |_: Fetch<u8>| std::future::pending::<Result<Vec<u8>, std::io::Error>>());
    let hanging = hanging.limits(GateLimits::default(), Duration::from_millis(50));
    let unwritable = closure(&["id"], |row: &u8| *row, |_: Fetch<u8>| async { Ok::<_, std::io::Error>(vec![1u8]) });
    let store = Arc::new(Memory::new(1 << 20));
    let chunkflow = Chunkflow::new(store)
        .with(Resource::new("failing", Arc::new(failing), ResourceOptions::default()).unwrap())
        .with(Resource::new("away", Arc::new(away), ResourceOptions::default()).unwrap())
        .with(Resource::new("hanging", Arc::new(hanging), ResourceOptions::default()).unwrap())
        .with(Resource::new("unwritable", Arc::new(unwritable), ResourceOptions::default()).unwrap());
    assert_eq!(body(&chunkflow, "/failing").await.0, 500, "it says nothing of what cannot be reached");
    assert_eq!(body(&chunkflow, "/away").await.0, 503, "and its own errors say what they are");
    assert_eq!(body(&chunkflow, "/hanging").await.0, 504);
    assert_eq!(body(&chunkflow, "/unwritable").await.0, 500, "a number is no object");
}

/// How many rows a closure was asked for, and with which conditions.
type Asked = Vec<(u32, Arc<[Condition]>)>;

/// Seats of a theatre by row and number, as complete JSON; their key has two columns.
fn seats(asked: Arc<Mutex<Asked>>) -> Closure {
    let columns: Vec<Column> = ["row", "number", "name"].map(Column::scalar).into();
    let shown = columns.clone();
    Closure::of_batches(columns, &["row", "number"], move |query: Query| {
        asked.lock().unwrap().push((query.limit, Arc::clone(&query.conditions)));
        let columns = shown.clone();
        async move {
            let place: Vec<i64> = query
                .after
                .values()
                .map(|value| if let Value::Integer(n) = value { n } else { panic!("{value:?} is no number") })
                .collect();
            let row = query
                .conditions
                .first()
                .and_then(|only| only.comparisons().next())
                .map(|only| only.values[0].parse::<i64>().unwrap());
            let all = (0..40).flat_map(|row| (0..50).map(move |number| (row, number)));
            let rest = all.filter(|seat| place.is_empty() || *seat > (place[0], place[1]));
            let mut batch = RowBatch::new(2, 3);
            for (row, number) in rest.filter(|seat| row.is_none_or(|row| seat.0 == row)).take(query.limit as usize) {
                let json = format!(r#"{{"number":{number},"name":"{row}-{number}","row":{row},"hidden":true}}"#);
                batch.push_object(&[Value::Integer(row), Value::Integer(number)], &columns, &json)?;
            }
            Ok::<_, chunkflow::Error>(batch)
        }
    })
}

#[tokio::test]
async fn a_closure_gives_batches_of_finished_json_by_composite_keys_conditions_and_its_own_run_length() {
    let asked = Arc::<Mutex<Asked>>::default();
    let filter = Filter::new("row", Operand::Integer);
    let source = seats(Arc::clone(&asked)).filters(vec![filter]).longest_run(70);
    let resource = Resource::new("seats", Arc::new(source), ResourceOptions::default()).unwrap();
    let chunkflow = Chunkflow::new(Arc::new(Memory::new(64 << 20))).with(resource);

    let (_, json) = body(&chunkflow, "/seats").await;
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = read["results"].as_array().unwrap();
    assert!(rows.iter().enumerate().all(|(n, row)| row["name"] == format!("{}-{}", n / 50, n % 50)));
    assert!(json.starts_with(r#"{"results":[{"row":0,"number":0,"name":"0-0"},"#), "{}", &json[..60]);
    assert_eq!(rows.len(), 2_000);
    assert!(asked.lock().unwrap().drain(..).all(|(limit, conditions)| limit <= 70 && conditions.is_empty()));

    let (_, csv) = body(&chunkflow, "/seats.csv?row=eq.7&limit=2").await;
    assert_eq!(csv, "row,number,name\r\n7,0,7-0\r\n7,1,7-1\r\n");
    let asked = asked.lock().unwrap();
    let [Condition::Is(condition)] = &*asked[0].1 else { panic!("{asked:?}") };
    assert_eq!((asked[0].0, &*condition.column, condition.operator), (3, "row", Operator::Eq));
    assert_eq!(condition.values, ["7"]);
}

#[derive(Serialize)]
struct Square {
    root: u64,
    square: u64,
}

#[tokio::test]
async fn a_closure_gets_trees_of_conditions_and_is_told_which_rows_meet_them() {
    let fetch = |fetch: Fetch<u64>| async move {
        let from = fetch.after.map_or(0, |after| after + 1);
        let meets = |row: &Square| {
            let compares = |one: &Comparison| {
                let own = if one.column == "root" { row.root } else { row.square };
                let other: u64 = one.values[0].parse().unwrap();
                match one.operator {
                    Operator::Eq => own == other,
                    Operator::Neq => own != other,
                    Operator::Gt => own > other,
                    other => panic!("{other:?} was not asked for"),
                }
            };
            fetch.conditions.iter().all(|condition| condition.is_met(compares))
        };
        let rows = (from..30).map(|root| Square { root, square: root * root }).filter(meets).take(fetch.limit);
        Ok::<_, chunkflow::Error>(rows.collect::<Vec<_>>())
    };
    let filters = ["root", "square"].map(|name| Filter::new(name, Operand::Integer));
    let source = closure(&["root", "square"], |row: &Square| row.root, fetch).filters(filters.into());
    let resource = Resource::new("squares", Arc::new(source), ResourceOptions::default()).unwrap();
    let chunkflow = Chunkflow::new(Arc::new(Memory::new(1 << 20))).with(resource);
    let target = "/squares.csv?or=(root.eq.3,and(square.gt.625,not.or(root.eq.27,root.eq.28)))";
    assert_eq!(body(&chunkflow, target).await.1, "root,square\r\n3,9\r\n26,676\r\n29,841\r\n");
}

#[test]
fn a_filter_that_is_called_as_a_parameter_of_every_list_is_refused() {
    for name in ["limit", "after", "download", "or", "and", "not.or", "not.and"] {
        let source = seats(Arc::default()).filters(vec![Filter::new(name, Operand::Integer)]);
        let refused = Resource::new("seats", Arc::new(source), ResourceOptions::default()).unwrap_err();
        assert!(refused.message().contains(&format!("`{name}` is a parameter of every list")), "{refused}");
    }
}

#[tokio::test]
async fn a_batch_that_has_not_the_columns_of_its_list_fails_the_load() {
    let columns = vec![Column::scalar("id")];
    let batch = || async { Ok::<_, chunkflow::Error>(RowBatch::new(1, 2)) };
    let source = Closure::of_batches(columns, &["id"], move |_| batch());
    let resource = Resource::new("wrong", Arc::new(source), ResourceOptions::default()).unwrap();
    let chunkflow = Chunkflow::new(Arc::new(Memory::new(1 << 20))).with(resource);
    assert_eq!(body(&chunkflow, "/wrong").await.0, 500);
}

/// The answer of a program's own resource to a request, for any path.
async fn answer(
    chunkflow: &Chunkflow,
    resource: &Arc<Resource>,
    request: http::request::Builder,
) -> (http::response::Parts, Bytes) {
    let request = request.header("host", "localhost").body(()).unwrap();
    let (head, body) = chunkflow.respond_to(resource, &request).await.into_parts();
    (head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_resource_that_no_name_leads_to_is_answered_as_one_of_the_table_whatever_the_path() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let named = flights(3_000, Arc::clone(&fetches));
    let chunkflow = no_lists();
    let own = Arc::new(resource("flights", 3_000, &fetches));
    let path = "/some/where.csv/else";
    let get = |query: &str| Request::get(format!("{path}{query}"));

    let (head, json) = answer(&chunkflow, &own, get("")).await;
    assert_eq!((head.status.as_u16(), &json[..]), (200, body(&named, "/flights").await.1.as_bytes()));
    assert_eq!(head.headers["cache-control"], "no-store");
    assert_eq!(head.headers["cache-status"], "chunkflow; fwd=miss; stored");
    let cold = fetches.load(Ordering::SeqCst);

    let (head, again) = answer(&chunkflow, &own, get("")).await;
    assert_eq!((&again, fetches.load(Ordering::SeqCst)), (&json, cold), "a warm list asks nothing");
    assert!(head.headers["cache-status"].to_str().unwrap().starts_with("chunkflow; hit; ttl="));

    let (head, nothing) = answer(&chunkflow, &own, Request::head(path)).await;
    assert_eq!((&head.headers["content-length"], nothing.len()), (&json.len().into(), 0));
    let (head, _) = answer(&chunkflow, &own, Request::options(path)).await;
    assert_eq!((head.status.as_u16(), head.headers["allow"].to_str().unwrap()), (204, "GET, HEAD, OPTIONS, QUERY"));
    let (head, problem) = answer(&chunkflow, &own, Request::post(path)).await;
    assert_eq!((head.status.as_u16(), problem.starts_with(b"{")), (405, true));
    assert_eq!(answer(&chunkflow, &own, get("?wrong=1")).await.0.status, 400);

    let (head, csv) = answer(&chunkflow, &own, get("").header("accept", "text/csv")).await;
    assert!(head.headers["content-type"].to_str().unwrap().starts_with("text/csv") && csv.starts_with(b"number,"));
    let (_, said) = answer(&chunkflow, &own, get("").extension(Format::named("csv").unwrap())).await;
    assert_eq!(said, csv, "the program may say the format");
    let (head, packed) = answer(&chunkflow, &own, get("").header("accept-encoding", "gzip")).await;
    assert_eq!((head.headers["content-encoding"].to_str().unwrap(), &packed[..2]), ("gzip", &[31, 139][..]));

    let (head, page) = answer(&chunkflow, &own, get("?limit=2")).await;
    let next = head.headers["link"].to_str().unwrap();
    let next = next.strip_prefix("<").and_then(|next| next.strip_suffix(">; rel=\"next\"")).unwrap();
    let (_, rest) = answer(&chunkflow, &own, get(next)).await;
    let row = |body: &[u8], at: usize| {
        serde_json::from_slice::<serde_json::Value>(body).unwrap()["results"][at]["number"].clone()
    };

    assert_eq!([row(&page, 1), row(&rest, 0)], ["CF00001", "CF00002"]);
}

#[tokio::test]
async fn two_resources_that_are_made_apart_share_loads_chunks_and_purges() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let made = || Arc::new(resource("flights", 3_000, &fetches));
    let chunkflow = no_lists();
    let [first, second] = [made(), made()];
    let get = || Request::get("/");

    let (one, other) = tokio::join!(answer(&chunkflow, &first, get()), answer(&chunkflow, &second, get()));
    assert_eq!(one.1, other.1);
    assert_eq!(other.0.headers["cache-status"], "chunkflow; fwd=miss; collapsed");
    let cold = fetches.load(Ordering::SeqCst);
    let metrics = chunkflow.metrics();
    assert_eq!((metrics.reads(), metrics.rows_read()), (cold as u64, 3_000), "each row was read once");

    assert_eq!(answer(&chunkflow, &made(), get()).await.1, one.1);
    assert_eq!(fetches.load(Ordering::SeqCst), cold, "a third finds their chunks");
    let other = Arc::new(resource("another", 3_000, &fetches));
    assert_eq!(answer(&chunkflow, &other, get()).await.1, one.1);
    assert!(fetches.load(Ordering::SeqCst) > cold, "another name is another list");

    let before = chunkflow.generation(&first);
    chunkflow.purge(&made()).await.unwrap();
    assert_ne!(chunkflow.generation(&first), before);
    let (head, _) = answer(&chunkflow, &second, get()).await;
    assert_eq!(head.headers["cache-status"], "chunkflow; fwd=miss; stored");
}

#[tokio::test]
async fn a_resource_that_is_made_for_one_request_leaves_its_chunks_behind_and_nothing_else() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let chunkflow = no_lists().with(resource("named", 1, &fetches));
    for n in 0..300 {
        let own = Arc::new(resource(&format!("list {n}"), 1, &fetches));
        let gone = Arc::downgrade(&own);
        assert_eq!(answer(&chunkflow, &own, Request::get("/")).await.0.status, 200);
        drop(own);
        // The task of its load may just be ending.
        while gone.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }

    let text = chunkflow.exposition(MetricsFormat::Text);
    let counted: Vec<&str> = text.lines().filter(|line| line.starts_with("chunkflow_loads_total{")).collect();
    assert_eq!(counted.len(), 102, "the one in the table, a hundred by name, and the others together");
    assert!(counted.contains(&"chunkflow_loads_total{resource=\"-/others\"} 200"), "{counted:?}");
    assert_eq!(chunkflow.names().collect::<Vec<_>>(), ["named"]);
}

#[tokio::test]
async fn a_resource_that_no_name_leads_to_is_made_again_for_the_request_where_its_table_has_changed() {
    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1)");
    let url = format!("sqlite:{}", file.path.display());
    let database = open_database(&DatabaseOptions::new(url)).await.unwrap();
    let spec = Spec::of("item");
    let own = Resource::of("items", &database, &spec, &ResourceOptions::default()).await.unwrap();
    let chunkflow = no_lists();
    let own = Arc::new(own);
    let rows = async || answer(&chunkflow, &own, Request::get("/")).await.1;
    assert_eq!(rows().await, r#"{"results":[{"id":1}]}"#);

    file.open().execute_batch("ALTER TABLE item ADD name TEXT").unwrap();
    chunkflow.purge(&own).await.unwrap();
    for _ in 0..2 {
        assert_eq!(rows().await, r#"{"results":[{"id":1,"name":null}]}"#);
    }
}

#[path = "../../examples/embed.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod embed;

#[tokio::test]
async fn the_example_mounts_a_list_in_an_axum_application() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = embed::app().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (own, list) = tokio::task::spawn_blocking(move || {
        (crate::support::ask(address, "GET", "/", &[]), crate::support::ask(address, "GET", "/lists/planets", &[]))
    })
    .await
    .unwrap();
    assert!(String::from_utf8_lossy(&own.body).contains("/lists/planets"));
    assert_eq!(list.results().len(), 8);
    assert_eq!(list.header("cache-control"), "no-store");
}

#[path = "../../examples/own_store.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod own_store;

#[tokio::test]
async fn a_store_that_is_written_outside_of_the_crate_keeps_the_promises_and_is_shared() {
    let table = || Store::shared(Arc::new(own_store::Table::default()));
    promises(table()).await;
    promises(table().behind(Memory::new(16 << 20))).await;
    assert_eq!(own_store::rows_read_by_two_servers().await.unwrap(), [10_000, 0]);
}

#[path = "../../examples/hyper.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod hyper_example;

#[tokio::test]
async fn the_example_with_hyper_has_a_list_for_each_tenant() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(hyper_example::serve(listener, hyper_example::Shop::open()));
    let asked = tokio::task::spawn_blocking(move || {
        let get = |path: &str| crate::support::ask(address, "GET", path, &[]);
        [get("/acme/orders"), get("/tyrell/orders"), get("/acme/orders"), get("/nobody/orders")]
    });
    let [acme, tyrell, again, nobody] = asked.await.unwrap();
    assert_eq!((acme.results().len(), tyrell.results().len()), (2, 1), "nobody gets another's rows");
    assert!(tyrell.header("cache-status").contains("miss") && again.header("cache-status").contains("hit"));
    assert_eq!((again.body, nobody.status), (acme.body, 404));
}
