//! What is written to a store that servers share, and what is not read again.

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
    Body, Chunkflow, Error, Kind, Memory, Resource, ResourceOptions, Result, Sizes, Token,
    metrics::Metrics,
    source::BoxFuture,
    store::{Agreement, Chunk, ChunkKey, Chunks, FarState, Generation, Lease, News, OnPurge, Store},
};
use http::Request;
use http_body_util::BodyExt;

use crate::support::{Numbers, runtime, until};

/// A store as a shared one is, which counts how often each chunk is written.
pub struct Counting {
    pub kept: Memory,
    pub writes: Mutex<HashMap<ChunkKey, u32>>,
    /// Whether it says no generation, as one that is down.
    is_down: AtomicBool,
    /// How often it was asked for one.
    asked: AtomicU64,
}

impl Counting {
    pub fn new() -> Arc<Counting> {
        Arc::new(Counting {
            kept: Memory::new(64 << 20),
            writes: Mutex::default(),
            is_down: AtomicBool::new(false),
            asked: AtomicU64::new(0),
        })
    }

    fn serve(self: &Arc<Counting>) -> Chunkflow {
        serve(self.store())
    }

    pub fn store(self: &Arc<Counting>) -> Store {
        Store::shared(Arc::clone(self))
    }
}

/// A list over a store, of which a run holds many chunks.
fn serve(store: impl Into<Store>) -> Chunkflow {
    let options = ResourceOptions::default().with(|options| options.sizes = Sizes { rows: 40, bytes: 1 });
    let resource = Resource::new("list", Numbers::new(5_000, 7), options).unwrap();
    Chunkflow::with_clock(store, system_clock(), Arc::new(Metrics::default())).with(resource)
}

async fn ask(chunkflow: &Chunkflow, path: &str) -> Body {
    ask_in(chunkflow, path, "identity").await
}

async fn ask_in(chunkflow: &Chunkflow, path: &str, coding: &str) -> Body {
    let request = Request::get(path).header("host", "localhost").header("accept-encoding", coding);
    chunkflow.respond(&request.body(()).unwrap()).await.into_body()
}

/// The cursor behind the first rows.
async fn page_behind(chunkflow: &Chunkflow, rows: &str) -> String {
    let request = Request::get(format!("/list?limit={rows}")).header("host", "localhost").body(()).unwrap();
    let link = chunkflow.respond(&request).await.headers()["link"].to_str().unwrap().to_owned();
    link.split_once("after=").unwrap().1.split('>').next().unwrap().to_owned()
}

async fn read_all(chunkflow: &Chunkflow) {
    ask(chunkflow, "/list").await.collect().await.expect("a whole stream");
    chunkflow.written().await;
}

#[deny(clippy::missing_trait_methods)]
impl Chunks for Counting {
    fn get<'a>(&'a self, key: &'a ChunkKey, generation: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        self.kept.get(key, generation)
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: Generation) -> BoxFuture<'a, Result<()>> {
        *self.writes.lock().unwrap().entry(chunk.key.clone()).or_default() += 1;
        self.kept.put(chunk, keep, generation)
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        self.kept.forget(resource)
    }

    fn generation<'a>(&'a self, resource: &'a [u8; 16], keep: Duration) -> BoxFuture<'a, Result<Generation>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(Error::new(Kind::Unavailable, "it is down"))));
        }
        self.kept.generation(resource, keep)
    }

    fn known_generation(&self, resource: &[u8; 16]) -> Option<Generation> {
        self.kept.known_generation(resource).filter(|_| !self.is_down.load(Ordering::SeqCst))
    }
}

/// Nobody else shares it.
impl Agreement for Counting {
    fn lease<'a>(&'a self, key: &'a ChunkKey, generation: Generation, _: Duration) -> BoxFuture<'a, Result<Lease>> {
        Box::pin(async move { Ok(Lease::Ours { token: 1, there: self.kept.get(key, generation).await }) })
    }

    fn release<'a>(&'a self, _: &'a ChunkKey, _: Generation, _: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
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

/// The generation of a resource that nobody has purged.
pub const FIRST: Generation = Generation(0);

#[test]
fn each_chunk_of_a_cold_list_is_written_to_a_shared_store_once() {
    let store = Counting::new();
    let chunkflow = store.serve();
    runtime().block_on(async {
        read_all(&chunkflow).await;
        read_all(&chunkflow).await;
    });
    let writes = store.writes.lock().unwrap();
    let metrics = chunkflow.metrics();
    assert!(writes.values().all(|times| *times == 1), "{:?}", writes.values());
    assert_eq!(writes.len() as u64, metrics.loads());
    assert_eq!(metrics.hits(), metrics.loads(), "the second time all of it is there");
    assert!(metrics.reads() * 5 < metrics.loads(), "{metrics:?}");
}

#[test]
fn a_store_that_does_not_say_its_generation_is_asked_once_for_a_place_and_nothing_is_written_to_it() {
    let store = Counting::new();
    let chunkflow = serve(store.store().behind(Memory::new(64 << 20)));
    let metrics = chunkflow.metrics();
    let fetched = || metrics.loads() + metrics.hits();
    runtime().block_on(async {
        store.is_down.store(true, Ordering::SeqCst);
        read_all(&chunkflow).await;
        assert!(store.writes.lock().unwrap().is_empty(), "no server would find it");
        let asked = store.asked.load(Ordering::SeqCst);
        assert!((1..=metrics.loads()).contains(&asked), "{asked} times for {} places", metrics.loads());

        let loads = metrics.loads();
        read_all(&chunkflow).await;
        assert_eq!(metrics.loads(), loads, "it is kept near");
        assert!(fetched() > loads);
    });
}

#[test]
fn no_row_is_read_twice_where_some_chunks_of_a_run_are_at_hand_already() {
    let full = Counting::new();
    let all = runtime().block_on(async {
        let chunkflow = full.serve();
        read_all(&chunkflow).await;
        let keys: Vec<ChunkKey> = full.writes.lock().unwrap().keys().cloned().collect();
        let mut chunks = vec![];
        for key in &keys {
            chunks.extend(full.kept.get(key, FIRST).await.unwrap());
        }
        chunks
    });

    let store = Counting::new().store().behind(Memory::new(64 << 20));
    // One in three, wherever it stands.
    all.iter().step_by(3).for_each(|chunk| store.near().unwrap().keep_at_hand(chunk, Some(FIRST)));
    let chunkflow = serve(store);
    runtime().block_on(read_all(&chunkflow));
    let metrics = chunkflow.metrics();
    assert!(metrics.hits() > 10 && metrics.loads() > 10, "{metrics:?}");
    assert!(metrics.rows_read() <= 5_000, "{} rows of 5,000", metrics.rows_read());
}

#[test]
fn a_client_that_begins_in_the_middle_of_a_run_leaves_the_chunks_before_to_whoever_wants_them() {
    let full = Counting::new();
    // In memory, where nothing is kept that nobody asked for.
    let chunkflow = serve(Arc::new(Memory::new(64 << 20)));
    runtime().block_on(async {
        let elsewhere = full.serve();
        read_all(&elsewhere).await;
        let keys: Vec<ChunkKey> = full.writes.lock().unwrap().keys().cloned().collect();
        let mut chunks = vec![];
        for key in &keys {
            chunks.extend(full.kept.get(key, FIRST).await.unwrap());
        }
        let first_id = |chunk: &Arc<Chunk>| {
            let text = String::from_utf8_lossy(&chunk.body);
            text.split_once("\"id\":").unwrap().1.split([',', '}']).next().unwrap().parse::<u64>().unwrap()
        };
        chunks.sort_by_key(first_id);
        let rows: u32 = chunks[..6].iter().map(|chunk| chunk.rows).sum();
        let after = page_behind(&elsewhere, &rows.to_string()).await;

        let mut slow = ask(&chunkflow, "/list").await;
        slow.frame().await.expect("a frame").expect("of rows");
        until("a run with many chunks is read", || chunkflow.metrics().reads() == 2);
        let hits = chunkflow.metrics().hits();
        ask(&chunkflow, &format!("/list?after={after}")).await.collect().await.expect("the rest");
        assert_eq!(chunkflow.metrics().hits(), hits, "it got its first chunks from the run");
        slow.collect().await.expect("a whole list");
    });

    assert_eq!(chunkflow.metrics().rows_read(), 5_000, "each row once");
}

/// A list that is never kept, and a clock that goes on whenever somebody looks.
fn serve_unkept(source: &Arc<Numbers>) -> Chunkflow {
    let options = ResourceOptions::default().with(|options| {
        options.ttl = Duration::ZERO;
        options.stale = Duration::ZERO;
        options.sizes = Sizes { rows: 50, bytes: 1 };
    });
    let resource = Resource::new("list", Arc::clone(source) as _, options).unwrap();
    let looks = AtomicU64::new(0);
    let clock = Arc::new(move || 1_700_000_000_000 + 3 * looks.fetch_add(1, Ordering::SeqCst));
    let memory = Arc::new(Memory::new(64 << 20));
    Chunkflow::with_clock(memory, clock, Arc::new(Metrics::default())).with(resource)
}

#[test]
fn a_list_that_is_never_kept_reads_each_row_once_for_a_request_and_anew_for_the_next() {
    let source = Numbers::new(5_000, 7);
    let chunkflow = serve_unkept(&source);
    let handed = || source.handed.load(Ordering::SeqCst);

    runtime().block_on(async {
        let mut body = ask(&chunkflow, "/list").await;
        let mut chunks = vec![];
        while let Some(frame) = body.frame().await {
            let text = String::from_utf8_lossy(&frame.unwrap().into_data().unwrap()).into_owned();
            chunks.extend(text.rsplit_once("\"id\":").map(|(_, last)| last.split(',').next().unwrap().to_owned()));
        }
        assert_eq!(handed(), 5_000, "what lies beyond a boundary was read since the request began");
        let rows = &chunks[6];
        let after = page_behind(&chunkflow, &chunks[6]).await;

        let before = handed();
        let mut slow = ask(&chunkflow, "/list").await;
        slow.frame().await.expect("a frame").expect("of rows");
        until("a run with many chunks is read", || handed() > before + 1_000);
        let before = handed();
        ask(&chunkflow, &format!("/list?after={after}")).await.collect().await.expect("the rest");
        let rest = 5_000 - rows.parse::<u64>().unwrap();
        assert!(
            handed() - before >= rest,
            "a request that began later has none of the rows that wait for the slow one"
        );
        slow.collect().await.expect("a whole list");
    });
}

#[test]
fn who_joins_a_load_gets_no_row_that_was_read_before_it_began_and_is_past_its_ttl() {
    for coding in ["identity", "gzip"] {
        let source = Numbers::held_back(5_000, 7);
        let chunkflow = serve_unkept(&source);
        let read_from = || source.reads.lock().unwrap().clone();

        runtime().block_on(async {
            // The last chunk that the first reads have made is begun, and waits for the rest of its
            // rows.
            source.permits.add_permits(2);
            let mut first = ask(&chunkflow, "/list").await;
            let mut text = String::new();
            loop {
                match tokio::time::timeout(Duration::from_millis(50), first.frame()).await {
                    Ok(frame) => text += &String::from_utf8_lossy(&frame.unwrap().unwrap().into_data().unwrap()),
                    Err(_) if source.begun() == 3 => break,
                    Err(_) => {}
                }
            }
            let last = text.rsplit_once("\"id\":").unwrap().1.split(',').next().unwrap().to_owned();
            let after = page_behind(&serve_unkept(&Numbers::new(5_000, 7)), &last).await;

            // Another joins its load.
            let elsewhere = chunkflow.clone();
            let joined = chunkflow.metrics().joined();
            let second = tokio::spawn(async move {
                let body = ask_in(&elsewhere, &format!("/list?after={after}"), coding).await;
                body.collect().await.expect("the rest");
            });
            while chunkflow.metrics().joined() == joined {
                tokio::task::yield_now().await;
            }
            assert_eq!(read_from().len(), 2, "what was begun waits");
            source.permits.add_permits(1_000);
            second.await.unwrap();

            let last: i64 = last.parse().unwrap();
            assert!(read_from()[2] > last, "{coding}: the chunk that both wait for was begun");
            assert!(read_from().contains(&last), "{coding}: it reads those rows itself: {:?}", read_from());
            first.collect().await.expect("a whole list");
            let times = |row: &i64| read_from().iter().filter(|from| *from == row).count();
            assert_eq!(times(&last), 1, "{coding}: and who came first keeps those that it has");
        });
    }
}
