//! What a warm list costs above the socket: look-ups in the store.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chunkflow::{
    Chunkflow, Fetch, Memory, Resource, ResourceOptions, Result, Sizes, closure,
    metrics::Metrics,
    server::ServerConfig,
    source::{BoxFuture, Source},
    store::{Chunk, ChunkKey, Chunks, Generation, Held, Near, NearState, Store},
};

use crate::{
    client::Client,
    support::{Hands, Numbers, Running, ask, formats},
};

/// A store in memory that counts its look-ups.
struct Looks(Memory, AtomicUsize);

#[deny(clippy::missing_trait_methods)]
impl Chunks for Looks {
    fn get<'a>(&'a self, key: &'a ChunkKey, generation: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        self.0.get(key, generation)
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: Generation) -> BoxFuture<'a, Result<()>> {
        self.0.put(chunk, keep, generation)
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        self.0.forget(resource)
    }

    fn generation<'a>(&'a self, resource: &'a [u8; 16], keep: Duration) -> BoxFuture<'a, Result<Generation>> {
        self.0.generation(resource, keep)
    }

    fn known_generation(&self, resource: &[u8; 16]) -> Option<Generation> {
        self.0.known_generation(resource)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Near for Looks {
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.at_hand(key)
    }

    fn keep_at_hand(&self, chunk: &Arc<Chunk>, generation: Option<Generation>) {
        self.0.keep_at_hand(chunk, generation);
    }

    fn held(&self) -> HashMap<[u8; 16], Held> {
        self.0.held()
    }

    fn state(&self) -> NearState {
        self.0.state()
    }
}

/// `/numbers` over such a store.
struct Counted {
    server: Running,
    store: Arc<Looks>,
    hands: Hands,
}

impl Counted {
    fn serve(source: Arc<Numbers>) -> Counted {
        Counted::with(source, ResourceOptions::default())
    }

    fn with(source: Arc<dyn Source>, options: ResourceOptions) -> Counted {
        let store = Arc::new(Looks(Memory::new(64 << 20), AtomicUsize::new(0)));
        let hands = Hands::default();
        let numbers = Resource::new("numbers", source, options).unwrap();
        let app = Chunkflow::with_clock(Store::here(Arc::clone(&store)), hands.clock(), Arc::new(Metrics::default()));
        Counted { server: Running::start(ServerConfig::default(), app.with(numbers)), store, hands }
    }

    /// The look-ups, and the chunks served from the store, for one more list.
    fn looks(&self, known_length: bool) -> (usize, usize) {
        let hits = || self.server.chunkflow.metrics().hits();
        let before = (self.store.1.load(Ordering::Relaxed), hits());
        let reply = self.server.get("/numbers");
        assert!(reply.whole && reply.header("content-length").is_empty() != known_length);
        (self.store.1.load(Ordering::Relaxed) - before.0, (hits() - before.1) as usize)
    }

    fn purge(&self) {
        self.server.block_on(self.server.purge("numbers")).unwrap();
    }
}

#[test]
fn of_a_list_of_very_many_chunks_a_thousand_are_noted_and_the_others_looked_for() {
    let options = ResourceOptions::default().with(|options| options.sizes = Sizes { rows: 20, bytes: 1 });
    let counted = Counted::with(Numbers::new(30_000, 300), options);
    counted.looks(false);
    for _ in 0..2 {
        let (all, chunks) = counted.looks(false);
        assert!(all == chunks && chunks > 1_100, "{all} looks for {chunks} chunks");
        assert_eq!(counted.looks(false), (chunks - 1_000, chunks));
        counted.hands.advance(Duration::from_secs(1));
    }
}

#[test]
fn a_stream_that_goes_along_what_was_in_memory_serves_nothing_past_its_time_or_a_purge() {
    for (what, loaded) in [("nothing", false), ("a second", false), ("its time", true), ("a purge", true)] {
        let source = Numbers::new(60_000, 300);
        let counted = Counted::serve(Arc::clone(&source));
        let cold = counted.server.get("/numbers");
        let (_, chunks) = counted.looks(false);
        let loads = || counted.server.chunkflow.metrics().loads() as usize;
        let looks = counted.store.1.load(Ordering::Relaxed);
        let before = loads();
        let mut client = Client::connect(counted.server.address);
        client.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost")]);
        assert!(client.wait_for_body(|body| body.len() > 100_000));
        match what {
            "a second" => counted.hands.advance(Duration::from_secs(1)),
            "its time" => counted.hands.advance(Duration::from_secs(24 * 60 * 60)),
            "a purge" => counted.purge(),
            _ => {}
        }
        let reply = client.read_reply("GET");
        assert!(reply.whole && reply.body == cold.body, "{what}");
        // Much of the 19 MB is on its way already, as far as the client's buffers reach.
        let least = if loaded { chunks / 4 } else { 0 };
        assert!((least..=least * 4).contains(&(loads() - before)), "{what}: {} of {chunks} chunks", loads() - before);
        assert_eq!(counted.store.1.load(Ordering::Relaxed) - looks > 1, what != "nothing", "{what}");
    }
}

#[test]
fn of_a_list_that_was_all_in_memory_a_moment_ago_only_the_first_chunk_is_looked_for() {
    // A list sent with its length, and one too long for that.
    for (rows, known_length) in [(5_000, true), (30_000, false)] {
        let source = Numbers::new(rows, 300);
        let counted = Counted::serve(Arc::clone(&source));
        let cold = counted.server.get("/numbers");
        let (all, chunks) = counted.looks(known_length);
        assert!(all == chunks && chunks > 10, "{all} looks for {chunks} chunks");
        assert_eq!(counted.looks(known_length), (1, chunks));
        assert_eq!(counted.server.get("/numbers").body, cold.body);
        counted.hands.advance(Duration::from_secs(1));
        assert_eq!(counted.looks(known_length), (all, chunks), "after a second the store learns what is wanted");
        assert_eq!(counted.looks(known_length), (1, chunks));
        let begun = source.begun();
        counted.purge();
        assert_eq!(counted.server.get("/numbers").body, cold.body);
        assert!(source.begun() > begun, "a purge counts at once");
        assert_eq!(counted.looks(known_length), (all, chunks));
    }
}

#[test]
fn what_was_in_memory_a_moment_ago_is_stale_once_its_time_is_over() {
    for (rows, known_length) in [(5_000, true), (30_000, false)] {
        let counted = Counted::serve(Numbers::new(rows, 300));
        counted.server.get("/numbers");
        counted.hands.advance(ResourceOptions::default().ttl - Duration::from_millis(500));
        let (_, chunks) = counted.looks(known_length);
        counted.hands.advance(Duration::from_millis(501));
        let (looks, fresh) = counted.looks(known_length);
        assert!(fresh == 0 && looks <= chunks + 1, "{fresh} of {chunks} are fresh, {looks} looks");
        assert_eq!(counted.server.chunkflow.metrics().stale(), chunks as u64);
    }
}

#[test]
fn a_list_whose_chunks_are_of_different_times_is_noted_for_as_long_as_the_oldest_is_fresh() {
    let counted = Counted::serve(Numbers::new(60_000, 300));
    let mut client = Client::connect(counted.server.address);
    client.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost")]);
    assert!(client.wait_for_body(|body| body.len() > 2_000_000));
    counted.hands.advance(Duration::from_secs(100));
    assert!(client.read_reply("GET").whole);
    counted.hands.advance(ResourceOptions::default().ttl - Duration::from_millis(100_500));
    let (_, chunks) = counted.looks(false);
    counted.hands.advance(Duration::from_millis(600));
    let (_, fresh) = counted.looks(false);
    let stale = counted.server.chunkflow.metrics().stale() as usize;
    assert!(stale + fresh == chunks && stale > 20 && fresh > chunks / 4, "{stale} stale, {fresh} fresh of {chunks}");
}

#[test]
fn a_compressed_list_too_that_is_too_long_for_a_length_is_the_same_bytes_each_time() {
    #[derive(serde::Serialize)]
    struct Noise {
        id: u64,
        noise: String,
    }

    let noise = |id: u64| -> String {
        (0..100).map(|at| format!("{:016x}", (id * 1_000 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
    };

    let source = closure(
        &["id", "noise"],
        |row: &Noise| row.id,
        move |fetch: Fetch<u64>| async move {
            let from = fetch.after.map_or(0, |id| id + 1);
            Ok::<_, std::io::Error>((from..8_000).take(fetch.limit).map(|id| Noise { id, noise: noise(id) }).collect())
        },
    );

    let counted = Counted::with(Arc::new(source), ResourceOptions::default());
    for coding in ["gzip", "br"] {
        let get = || ask(counted.server.address, "GET", "/numbers", &[("accept-encoding", coding)]);
        let cold = get();
        assert!(cold.whole && cold.body.len() > 4 << 20, "{coding}: {} bytes", cold.body.len());
        get();
        let looks = counted.store.1.load(Ordering::Relaxed);
        assert_eq!(get().body, cold.body, "{coding}");
        assert_eq!(counted.store.1.load(Ordering::Relaxed) - looks, 1, "{coding}");
        assert_eq!(crate::support::ids(&crate::encodings::decoded(cold).unwrap()), (0..8_000).collect::<Vec<_>>());
    }
}

#[test]
fn lists_that_are_known_to_be_in_memory_are_the_same_bytes_in_every_format_and_coding() {
    for (rows, width, lengths) in [(5_000, 30, true), (20_000, 300, false)] {
        let counted = Counted::serve(Numbers::new(rows, width));
        for target in formats().iter().map(|format| format!("/numbers.{format}")) {
            for coding in ["identity", "gzip", "br"] {
                let get = || ask(counted.server.address, "GET", &target, &[("accept-encoding", coding)]);
                let replies = [get(), get(), get()];
                assert!(replies.iter().all(|reply| reply.whole && reply.body == replies[0].body), "{target} {coding}");
                let length = !replies[2].header("content-length").is_empty();
                assert_eq!(length, lengths || coding != "identity", "{target} {coding}");
            }
        }
    }
}

#[test]
fn of_a_list_whose_chunks_went_out_of_memory_no_chunk_is_missing() {
    for (rows, room) in [(4_000, 2 << 20), (16_000, 8 << 20)] {
        // So small a store that other lists evict this one. The clock stands still, so that surveys
        // hold.
        let store = Arc::new(Memory::new(room));
        let hands = Hands::default();
        let app = Chunkflow::with_clock(store, hands.clock(), Arc::new(Metrics::default()));
        let app = (0..3).fold(app, |app, at| {
            let source = Numbers::new(rows + at, 300);
            app.with(Resource::new(&format!("numbers{at}"), source, ResourceOptions::default()).unwrap())
        });
        let server = Running::start(ServerConfig::default(), app);
        let cold = [0, 1, 2].map(|at| server.get(&format!("/numbers{at}")));
        for turn in 0..60 {
            let at = [0, 0, 1, 0, 2][turn % 5];
            let reply = server.get(&format!("/numbers{at}"));
            assert!(reply.whole && reply.body == cold[at].body, "turn {turn}");
        }
    }
}
