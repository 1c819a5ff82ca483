//! A list that is asked for in several formats and codings and for several hosts at once: its rows
//! are read once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::system_clock;
use chunkflow::{
    Chunkflow, Memory, Resource, ResourceOptions,
    metrics::Metrics,
    source::{BoxFuture, Column, Field, Part, Query, RowSink, Run, Source, Value},
    store::{Chunk, ChunkKey, Chunks, Store},
};
use http::Request;
use http_body_util::BodyExt;
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{
    servers::{Kind, Server},
    stores,
    support::{Numbers, Running, formats, ids, runtime, until},
};

/// A request: a path, a coding and a host.
type Asked<'a> = (&'a str, &'a str, &'a str);

const JSON: Asked<'_> = ("/list", "identity", "one");
const CSV: Asked<'_> = ("/list.csv", "identity", "one");

/// A list with links, so that its bytes depend on the host.
fn serve(source: &Arc<Numbers>, store: impl Into<Store>) -> Chunkflow {
    serve_source(Arc::clone(source) as _, store)
}

fn serve_source(source: Arc<dyn Source>, store: impl Into<Store>) -> Chunkflow {
    let link = Field::Link(vec![Part::Literal("/numbers/".to_owned()), Part::Column(0)]);
    let fields =
        vec![("id".to_owned(), Field::Column(0)), ("text".to_owned(), Field::Column(1)), ("url".to_owned(), link)];
    let options = ResourceOptions::default().with(|options| options.fields = Some(fields));
    let resource = Resource::new("list", source, options).unwrap();
    Chunkflow::with_clock(store, system_clock(), Arc::new(Metrics::default())).with(resource)
}

fn memory() -> Memory {
    Memory::new(64 << 20)
}

/// Makes a request and reads the whole response, concurrently with others.
fn ask(chunkflow: &Chunkflow, (path, coding, host): Asked<'_>) -> JoinHandle<Vec<u8>> {
    let request = Request::get(path).header("host", host).header("accept-encoding", coding).body(()).unwrap();
    let chunkflow = chunkflow.clone();
    tokio::spawn(async move {
        let body = chunkflow.respond(&request).await.into_body();
        body.collect().await.expect("a whole list").to_bytes().to_vec()
    })
}

/// Waits until this many loads ask the source.
async fn until_they_wait(chunkflow: &Chunkflow, loads: u64) {
    while chunkflow.metrics().misses() < loads {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[test]
fn formats_codings_and_hosts_that_are_asked_for_together_read_each_row_once() {
    let paths: Vec<String> = formats().iter().map(|format| format!("/list.{format}")).collect();
    let mut asked: Vec<Asked<'_>> = paths.iter().map(|path| (&**path, "identity", "one")).collect();
    asked.push(("/list", "identity", "another.example.com"));
    let loads = asked.len() as u64;
    // Compressed lists are made from the plain ones.
    asked.extend([("/list.csv", "gzip", "one"), ("/list", "br", "one")]);

    runtime().block_on(async {
        let mut expected = vec![];
        for asked in &asked {
            expected.push(ask(&serve(&Numbers::new(5_000, 200), memory()), *asked).await.unwrap());
        }

        let source = Numbers::held_back(5_000, 200);
        let chunkflow = serve(&source, memory());
        let lists: Vec<_> = asked.iter().map(|asked| ask(&chunkflow, *asked)).collect();
        until_they_wait(&chunkflow, loads).await;
        source.permits.add_permits(1_000);

        for ((list, expected), asked) in lists.into_iter().zip(expected).zip(asked) {
            assert!(list.await.unwrap() == expected, "{asked:?}");
        }
        assert_eq!(source.handed.load(Ordering::SeqCst), 5_000);
        assert_eq!(chunkflow.metrics().rows_read(), 5_000);
    });
}

/// A source whose read behind one place waits for a permit.
struct HeldAt {
    numbers: Arc<Numbers>,
    place: i64,
    waits: AtomicUsize,
    permits: Semaphore,
}

impl Source for HeldAt {
    fn columns(&self) -> &[Column] {
        self.numbers.columns()
    }

    fn order(&self) -> &[String] {
        self.numbers.order()
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.numbers.fingerprint()
    }

    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, chunkflow::Result<Run>> {
        Box::pin(async move {
            if query.after.values().next() == Some(Value::Integer(self.place)) {
                self.waits.fetch_add(1, Ordering::SeqCst);
                self.permits.acquire().await.unwrap().forget();
            }
            self.numbers.rows(query, sink).await
        })
    }
}

#[test]
fn who_has_read_as_far_by_itself_joins_the_read_that_goes_on_from_there() {
    let numbers = Numbers::new(5_000, 200);
    // The first read ends at row 100.
    let held = Arc::new(HeldAt {
        numbers: Arc::clone(&numbers),
        place: 100,
        waits: AtomicUsize::new(0),
        permits: Semaphore::new(0),
    });

    let chunkflow = serve_source(Arc::clone(&held) as _, memory());
    runtime().block_on(async {
        let mut expected = vec![];
        for asked in [JSON, CSV] {
            expected.push(ask(&serve(&Numbers::new(5_000, 200), memory()), asked).await.unwrap());
        }

        let first = ask(&chunkflow, JSON);
        while held.waits.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        // After the first read, whose rows are then not for this request.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let second = ask(&chunkflow, CSV);
        until_they_wait(&chunkflow, 4).await;
        assert_eq!(held.waits.load(Ordering::SeqCst), 1, "it waits for the read of the first");
        held.permits.add_permits(1_000);
        assert!(first.await.unwrap() == expected[0]);
        assert!(second.await.unwrap() == expected[1]);
    });

    assert_eq!(numbers.handed.load(Ordering::SeqCst), 5_100, "the first hundred twice, all others once");
}

#[test]
fn a_list_for_twenty_hosts_is_read_once() {
    let source = Numbers::held_back(5_000, 200);
    let chunkflow = serve(&source, memory());
    runtime().block_on(async {
        let hosts: Vec<String> = (0..20).map(|n| format!("host-{n}")).collect();
        let lists: Vec<_> = hosts.iter().map(|host| ask(&chunkflow, ("/list", "identity", host))).collect();
        until_they_wait(&chunkflow, 20).await;
        source.permits.add_permits(1_000);
        for (list, host) in lists.into_iter().zip(&hosts) {
            let text = String::from_utf8(list.await.unwrap()).unwrap();
            assert_eq!(text.matches(&format!("http://{host}/")).count(), 5_000);
        }
    });
    assert_eq!(source.handed.load(Ordering::SeqCst), 5_000);
}

#[test]
fn a_request_that_begins_when_the_read_is_over_takes_none_of_its_rows() {
    let source = Numbers::new(90, 200);
    let chunkflow = serve(&source, memory());
    runtime().block_on(async {
        for asked in [JSON, CSV] {
            tokio::time::sleep(Duration::from_millis(2)).await;
            ask(&chunkflow, asked).await.unwrap();
        }
    });
    assert_eq!(source.begun(), 2);
}

#[test]
fn a_client_that_leaves_takes_the_rows_from_nobody_who_waits_for_them_in_another_format() {
    let source = Numbers::held_back(5_000, 200);
    let chunkflow = serve(&source, memory());
    runtime().block_on(async {
        let first = ask(&chunkflow, JSON);
        until_they_wait(&chunkflow, 1).await;
        let second = ask(&chunkflow, CSV);
        until_they_wait(&chunkflow, 2).await;

        first.abort();
        first.await.expect_err("it has left");
        source.permits.add_permits(1_000);
        second.await.unwrap();
    });
    assert_eq!((source.handed.load(Ordering::SeqCst), source.dropped.load(Ordering::SeqCst)), (5_000, 0));
}

#[test]
fn with_the_last_client_of_all_formats_the_read_is_given_up() {
    let source = Numbers::held_back(5_000, 200);
    let chunkflow = serve(&source, memory());
    runtime().block_on(async {
        let lists = [ask(&chunkflow, JSON), ask(&chunkflow, CSV)];
        until_they_wait(&chunkflow, 2).await;
        assert_eq!((source.begun(), source.dropped.load(Ordering::SeqCst)), (1, 0));
        lists.iter().for_each(JoinHandle::abort);
        while source.dropped.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_failure_of_the_read_is_told_to_everybody_and_the_next_read_is_another() {
    let source = Numbers::held_back(5_000, 200);
    source.fail_behind(0, chunkflow::Kind::Unavailable);
    let chunkflow = serve(&source, memory());
    runtime().block_on(async {
        let status = |path: &'static str| {
            let chunkflow = chunkflow.clone();
            let request = Request::get(path).header("host", "one").body(()).unwrap();
            tokio::spawn(async move { chunkflow.respond(&request).await.status() })
        };
        let answers = [status("/list"), status("/list.csv")];
        until_they_wait(&chunkflow, 2).await;
        source.permits.add_permits(1_000);
        for answer in answers {
            assert_eq!(answer.await.unwrap(), 503);
        }
        *source.fails_behind.lock().unwrap() = None;
        ask(&chunkflow, JSON).await.unwrap();
    });

    assert_eq!(source.begun.load(Ordering::SeqCst), source.reads.lock().unwrap().len());
}

#[test]
fn what_nobody_asks_for_any_more_is_not_written_in_that_format() {
    let store = stores::written::Counting::new();
    let source = Numbers::held_back(20_000, 200);
    let chunkflow = serve(&source, store.store());
    runtime().block_on(async {
        let json = ask(&chunkflow, JSON);
        let csv = ask(&chunkflow, CSV);
        until_they_wait(&chunkflow, 2).await;
        source.permits.add_permits(2);
        while source.begun() < 3 {
            tokio::task::yield_now().await;
        }
        csv.abort();
        source.permits.add_permits(1_000);
        json.await.unwrap();
        chunkflow.written().await;
    });

    let keys: Vec<ChunkKey> = store.writes.lock().unwrap().keys().cloned().collect();
    let chunks = runtime()
        .block_on(futures_util::future::join_all(keys.iter().map(|key| store.kept.get(key, stores::written::FIRST))));
    let is_json = |chunk: &Chunk| chunk.body.starts_with(b",{");
    let (json, csv): (Vec<_>, Vec<_>) =
        chunks.into_iter().map(|chunk| chunk.unwrap().unwrap()).partition(|c| is_json(c));
    assert!(json.len() > 50, "{}", json.len());
    assert!((1..json.len() / 2).contains(&csv.len()), "{} chunks of CSV, {} of JSON", csv.len(), json.len());
    // A read that only the client waited for that left is given up, and another begins: one run at most.
    let handed = source.handed.load(Ordering::SeqCst);
    assert!((20_000..=24_000).contains(&handed), "{handed}");
}

#[test]
fn on_other_servers_each_format_has_a_lease_of_its_own() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let source = Numbers::held_back(5_000, 200);
        let options = || stores::options(Server::shared(kind), "together", 0);
        let servers: Vec<Running> =
            (0..2).map(|_| stores::serve(&source, options(), ResourceOptions::default())).collect();
        let clients = [(0, "/numbers"), (1, "/numbers.csv"), (0, "/numbers.csv"), (1, "/numbers")];
        let clients: Vec<_> = clients
            .into_iter()
            .map(|(server, path)| {
                let client = crate::support::Client::get(servers[server].address, path);
                std::thread::sleep(Duration::from_millis(20));
                std::thread::spawn(move || {
                    let mut client = client;
                    client.read_reply("GET")
                })
            })
            .collect();

        until("each server reads for the format that was first there", || source.begun() == 2);
        source.permits.add_permits(10_000);
        let replies: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let bodies: BTreeSet<&[u8]> = replies.iter().map(|reply| &reply.body[..]).collect();
        assert!(replies.iter().all(|reply| reply.whole) && bodies.len() == 2, "{kind:?}");
        assert_eq!(ids(&replies[0]), (1..=5_000).collect::<Vec<_>>());
    }
}
