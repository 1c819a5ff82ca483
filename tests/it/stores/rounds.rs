//! Stored chunks that lead back to one where a stream was before: somebody forged them. No stream
//! goes round for ever.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::support::system_clock;
use bytes::Bytes;
use chunkflow::{
    Chunkflow, Resource, ResourceOptions, Result, Sizes, Token,
    metrics::Metrics,
    server::ServerConfig,
    source::{BoxFuture, Cursor, Source, Value},
    store::{
        Agreement, Chunk, ChunkKey, Chunks, FarState, Generation, Held, Lease, ListKey, Near, NearState, News, OnPurge,
        Store, open_store,
    },
};
use http::Request;
use http_body_util::BodyExt;
use proptest::prelude::*;
use redis::Commands;

use crate::{
    servers::{Kind, Server},
    support::{Numbers, Reply, Running, ask, ids, runtime},
};

fn place(n: usize) -> Cursor {
    if n == 0 { Cursor::start() } else { Cursor::after(&[Value::Integer(n as i64)]).unwrap() }
}

/// The place that a key ends in.
fn place_of(key: &ChunkKey) -> usize {
    let cursor = Cursor::from_canonical(key.as_bytes().slice(52..)).unwrap();
    match cursor.values().next() {
        Some(Value::Integer(n)) => n as usize,
        _ => 0,
    }
}

/// A store full of forged chunks: where each place leads, until it is told to forget them.
struct Forged {
    next: Vec<Option<usize>>,
    rows: u32,
    made: Mutex<HashMap<ChunkKey, Arc<Chunk>>>,
    handed_out: AtomicU64,
    forgotten: AtomicBool,
}

impl Forged {
    fn chunk(&self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        let next = self.next.get(place_of(key)).filter(|_| !self.forgotten.load(Ordering::SeqCst))?;
        self.handed_out.fetch_add(1, Ordering::SeqCst);
        let make = || {
            let body = if self.rows == 0 { Bytes::new() } else { "{\"id\":0}\n".into() };
            Arc::new(Chunk::new(key.clone(), system_clock()(), self.rows, next.map(place), body))
        };
        Some(Arc::clone(self.made.lock().unwrap().entry(key.clone()).or_insert_with(make)))
    }
}

impl Forged {
    fn generation_now(&self) -> Generation {
        Generation(self.forgotten.load(Ordering::SeqCst).into())
    }
}

impl Chunks for Forged {
    fn get<'a>(&'a self, key: &'a ChunkKey, _: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        Box::pin(async move { Ok(self.chunk(key)) })
    }

    fn put<'a>(&'a self, _: Arc<Chunk>, _: Duration, _: Generation) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn forget<'a>(&'a self, _: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        self.forgotten.store(true, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn generation<'a>(&'a self, _: &'a [u8; 16], _: Duration) -> BoxFuture<'a, Result<Generation>> {
        Box::pin(async { Ok(self.generation_now()) })
    }

    fn known_generation(&self, _: &[u8; 16]) -> Option<Generation> {
        Some(self.generation_now())
    }
}

impl Near for Forged {
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        self.chunk(key)
    }

    fn keep_at_hand(&self, _: &Arc<Chunk>, _: Option<Generation>) {}

    fn held(&self) -> HashMap<[u8; 16], Held> {
        HashMap::new()
    }

    fn state(&self) -> NearState {
        NearState::default()
    }
}

impl Agreement for Forged {
    fn lease<'a>(&'a self, _: &'a ChunkKey, _: Generation, _: Duration) -> BoxFuture<'a, Result<Lease>> {
        Box::pin(async { Ok(Lease::Ours { token: 0, there: Ok(None) }) })
    }

    fn release<'a>(&'a self, _: &'a ChunkKey, _: Generation, _: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn on_purge(&self, _: OnPurge) {}

    fn tell<'a>(&'a self, _: Bytes) -> BoxFuture<'a, Result<Token>> {
        Box::pin(async { Ok(Token::default()) })
    }

    fn news<'a>(&'a self, _: Option<Token>) -> BoxFuture<'a, Result<News>> {
        Box::pin(async { Ok(News { head: Token::default(), entries: Some(vec![]), marks: vec![] }) })
    }

    fn recent(&self) -> BoxFuture<'_, Result<News>> {
        self.news(None)
    }

    fn machines(&self) -> FarState {
        FarState::default()
    }
}

/// Asks for a list; its body, and whether that came whole.
async fn body(chunkflow: &Chunkflow, method: &str, target: &str, coding: &str) -> (u16, Bytes, bool) {
    let request = Request::builder().method(method).uri(target).header("host", "localhost");
    let request = request.header("accept-encoding", coding).body(()).unwrap();
    let response = chunkflow.respond(&request).await;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = vec![];
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap()),
            Err(_) => return (status, bytes.into(), false),
        }
    }
    (status, bytes.into(), true)
}

fn numbers(store: Store, rows: u64) -> Chunkflow {
    let source: Arc<dyn Source> = Numbers::new(rows, 3);
    let options = ResourceOptions::default().with(|options| options.sizes = Sizes { rows: 10, bytes: 1 });
    let metrics = Arc::new(Metrics::default());
    Chunkflow::with_clock(store, system_clock(), metrics).with(Resource::new("numbers", source, options).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_stream_ends_whatever_the_chain_of_stored_chunks_and_after_a_round_the_next_has_the_rows(
        tail in 0usize..60, round in 1usize..60, rows in 0u32..3, here: bool, how in 0usize..5,
    ) {
        // A way into a round: 0, 1, … and back to where the tail ends.
        let places = tail + round;
        let next: Vec<Option<usize>> = (1..places).chain([tail]).map(Some).collect();
        let store = Arc::new(Forged {
            next, rows, made: Mutex::default(), handed_out: AtomicU64::new(0), forgotten: AtomicBool::new(false),
        });

        let (method, target, coding) = [
            ("GET", "/numbers.ndjson", "identity"),
            ("GET", "/numbers.ndjson", "gzip"),
            ("GET", "/numbers.ndjson?limit=900", "identity"),
            ("GET", "/numbers.ndjson?limit=5000", "br"),
            ("HEAD", "/numbers.ndjson", "identity"),
        ][how];
        runtime().block_on(async {
            // In memory, or another machine's.
            let forged = Arc::clone(&store);
            let chunkflow = numbers(if here { Store::here(forged) } else { Store::shared(forged) }, 100);
            let asked = body(&chunkflow, method, target, coding);
            let (status, _, whole) = tokio::time::timeout(crate::support::STUCK, asked).await.expect("it ends");
            // Looked at while its length is found out, and then sent.
            let most = 2 * (3 * places as u64 + 4);
            assert!(store.handed_out.load(Ordering::SeqCst) <= most, "{:?} of {places}", store.handed_out);
            if method == "HEAD" {
                assert_eq!(status, 200);
                return;
            }
            if whole && status == 200 {
                assert!(target.contains("limit"), "a limit ended it");
                return;
            }
            assert!(status == 200 || status == 503, "{status}");
            assert_eq!(chunkflow.metrics().damaged(), 1);
            let (status, bytes, whole) = body(&chunkflow, "GET", "/numbers.ndjson", "identity").await;
            assert!(status == 200 && whole, "{status}");
            assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 100, "rows of the source");
        });
    }
}

/// The entries of chunks in a real Redis below a prefix, by their names, each with where its key
/// stands and where the next place.
fn entries(redis: &mut redis::Connection, prefix: &str) -> HashMap<String, Vec<u8>> {
    let names: Vec<String> = redis.keys(format!("{prefix}c3:*")).unwrap();
    names.into_iter().map(|name| (name.clone(), redis.get(&name).unwrap())).collect()
}

fn key_of(entry: &[u8]) -> ChunkKey {
    let length = u32::from_le_bytes(entry[20..24].try_into().unwrap()) as usize;
    let key = &entry[48..48 + length];
    let cut = u32::from_le_bytes(key[48..52].try_into().unwrap());
    let cursor = Cursor::from_canonical(Bytes::copy_from_slice(&key[52..])).unwrap();
    ChunkKey::new(&ListKey(key[..48].try_into().unwrap()), &cursor, cut)
}

/// Stores chunks again, changed by the test, under their names and with right sums.
fn forge(redis: &mut redis::Connection, prefix: &str, change: impl Fn(&mut Chunk, &[usize])) {
    let entries = entries(redis, prefix);
    let mut places: Vec<usize> = entries.values().map(|entry| place_of(&key_of(entry))).collect();
    places.sort_unstable();
    places.dedup();
    assert!(places.len() > 20, "{places:?}");
    for (name, entry) in entries {
        let mut chunk = Chunk::open(&entry.clone().into(), &key_of(&entry), None).unwrap().unwrap();
        let before = chunk.clone();
        change(&mut chunk, &places);
        if chunk != before {
            let () = redis.set(name, &chunk.seal(None)[..]).unwrap();
        }
    }
}

#[test]
fn forged_chunks_in_a_real_redis_that_lead_round_are_found_and_the_next_list_is_right() {
    type Change = fn(&mut Chunk, &[usize]);
    /// Leads from one of the places to another, both by their number in the list.
    fn lead_from(chunk: &mut Chunk, places: &[usize], from: usize, to: usize) {
        if place_of(&chunk.key) == places[from] {
            chunk.next = Some(place(places[to]));
        }
    }

    let forgeries: [(&str, Change); 6] = [
        ("itself", |chunk, places| lead_from(chunk, places, 3, 3)),
        ("two", |chunk, places| lead_from(chunk, places, 4, 3)),
        ("far into the list", |chunk, places| lead_from(chunk, places, places.len() - 2, places.len() - 9)),
        ("all of it", |chunk, places| lead_from(chunk, places, places.len() - 1, 1)),
        ("empty", |chunk, places| {
            lead_from(chunk, places, 6, 5);
            if [places[5], places[6]].contains(&place_of(&chunk.key)) {
                (chunk.rows, chunk.body) = (0, Bytes::new());
            }
        }),
        ("empty ones one behind the other", |chunk, places| {
            if places[5..9].contains(&place_of(&chunk.key)) {
                (chunk.rows, chunk.body) = (0, Bytes::new());
            }
        }),
    ];

    let server = Server::shared(Kind::Redis);
    let mut redis = redis::Client::open(super::url(server)).unwrap().get_connection().unwrap();
    for (number, (what, change)) in forgeries.into_iter().enumerate() {
        for (near, coding, limit) in [(0, "identity", ""), (16 << 20, "identity", "?limit=4900"), (0, "gzip", "")] {
            let prefix = format!("round{number}{near}{coding}");
            let options = super::options(server, &prefix, near);
            let source = Numbers::new(5_000, 100);
            let resource = || {
                let options = ResourceOptions::default().with(|options| options.sizes = Sizes { rows: 50, bytes: 1 });
                Resource::new("numbers", Arc::clone(&source) as Arc<dyn Source>, options).unwrap()
            };
            let serve = || {
                Running::with(ServerConfig::default(), async || {
                    Chunkflow::with_clock(open_store(&options).unwrap(), system_clock(), Arc::default())
                        .with(resource())
                })
            };
            let get = |server: &Running, target: &str| -> Reply {
                ask(server.address, "GET", target, &[("accept-encoding", coding)])
            };
            let target = format!("/numbers{limit}");
            let first = serve();
            let right = get(&first, &target);
            assert!(right.whole, "{what}");
            first.block_on(first.chunkflow.written());

            forge(&mut redis, &format!("{prefix}:"), change);
            // Another server, which has nothing in memory.
            let other = serve();
            let rows = source.begun();
            let reply = get(&other, &target);
            if reply.whole && limit.is_empty() {
                assert!(reply.body == right.body, "{what}: another list");
            }
            assert!(reply.body.len() < 4 * right.body.len(), "{what}: {} bytes", reply.body.len());
            if !limit.is_empty() && other.chunkflow.metrics().damaged() == 0 {
                // The limit came before the round was seen to be one.
                continue;
            }
            assert!(other.chunkflow.metrics().damaged() > 0, "{what}: it is counted");
            let reply = get(&other, &target);
            assert!(reply.whole && reply.body == right.body, "{what}, {coding}: the list is right again");
            assert!(source.begun() > rows, "{what}: rows were read from the source");
            if coding == "identity" && limit.is_empty() {
                assert_eq!(ids(&reply).len(), 5_000);
            }
        }
    }
}
