//! What a warm list costs above the socket: looks into the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chunkflow::{
    BoxFuture, Chunk, ChunkKey, Chunkflow, Memory, Metrics, Resource, ResourceOptions, Result, ServerConfig, Store,
};

use crate::support::{Hands, Numbers, Running, ask};

/// A store in memory that counts how often somebody looks into it.
struct Looks(Memory, AtomicUsize);

impl Store for Looks {
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.at_hand(key)
    }

    fn keep_at_hand(&self, chunk: &Arc<Chunk>, generation: u64) {
        self.0.keep_at_hand(chunk, generation);
    }

    fn get<'a>(&'a self, key: &'a ChunkKey) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        self.0.get(key)
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: u64) -> BoxFuture<'a, Result<()>> {
        self.0.put(chunk, keep, generation)
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        self.0.forget(resource)
    }

    fn generation(&self, resource: &[u8; 16]) -> u64 {
        self.0.generation(resource)
    }

    fn is_here(&self) -> bool {
        true
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
        let (store, hands) = (Arc::new(Looks(Memory::new(64 << 20), AtomicUsize::new(0))), Hands::default());
        let numbers = Resource::new("numbers", source, ResourceOptions::default()).unwrap();
        let app = Chunkflow::with_clock(Arc::clone(&store) as _, hands.clock(), Arc::new(Metrics::default()));
        Counted { server: Running::start(ServerConfig::default(), app.with(numbers)), store, hands }
    }

    /// Looks into the store and chunks that were served of it, for one more list.
    fn looks(&self, known_length: bool) -> (usize, usize) {
        let hits = &self.server.chunkflow.metrics().hits;
        let before = (self.store.1.load(Ordering::Relaxed), hits.get());
        let reply = self.server.get("/numbers");
        assert!(reply.whole && reply.header("content-length").is_empty() != known_length);
        (self.store.1.load(Ordering::Relaxed) - before.0, (hits.get() - before.1) as usize)
    }

    fn purge(&self) {
        self.server.block_on(self.server.chunkflow.purge("numbers")).unwrap();
    }
}

#[test]
fn a_warm_chunk_is_looked_for_once_also_where_the_list_is_too_long_for_a_length() {
    let counted = Counted::serve(Numbers::new(30_000, 300));
    counted.looks(false);
    let (first, chunks) = counted.looks(false);
    assert!(first > chunks + 20, "{first} looks for {chunks} chunks, since a length may be known");
    assert_eq!(counted.looks(false), (chunks, chunks));
    // Another first chunk is another list, which may be shorter.
    counted.purge();
    counted.looks(false);
    assert_eq!(counted.looks(false), (first, chunks));
}

#[test]
fn of_a_list_that_was_all_in_memory_a_moment_ago_only_the_first_chunk_is_looked_for() {
    let source = Numbers::new(5_000, 300);
    let counted = Counted::serve(Arc::clone(&source));
    let cold = counted.server.get("/numbers");
    let (all, chunks) = counted.looks(true);
    assert!(all == chunks && chunks > 10, "{all} looks for {chunks} chunks");
    assert_eq!(counted.looks(true), (1, chunks));
    assert_eq!(counted.server.get("/numbers").body, cold.body);
    counted.hands.advance(Duration::from_secs(1));
    assert_eq!(counted.looks(true), (all, chunks), "after a second the store learns what is wanted");
    assert_eq!(counted.looks(true), (1, chunks));
    let begun = source.begun();
    counted.purge();
    assert_eq!(counted.server.get("/numbers").body, cold.body);
    assert!(source.begun() > begun, "a purge counts at once");
    assert_eq!(counted.looks(true), (all, chunks));
}

#[test]
fn lists_that_are_known_to_be_in_memory_are_the_same_bytes_in_every_format_and_coding() {
    let counted = Counted::serve(Numbers::new(5_000, 30));
    for target in ["/numbers", "/numbers.ndjson", "/numbers.csv", "/numbers.sse"] {
        for coding in ["identity", "gzip", "br"] {
            let get = || ask(counted.server.address, "GET", target, &[("accept-encoding", coding)]);
            let replies = [get(), get(), get()];
            assert!(replies.iter().all(|reply| reply.whole && reply.body == replies[0].body), "{target} {coding}");
            assert!(!replies[2].header("content-length").is_empty(), "{target} {coding}");
        }
    }
}

#[test]
fn of_a_list_whose_chunks_went_out_of_memory_no_chunk_is_missing() {
    // So small a store that other lists drive this one out of it.
    let store = Arc::new(Memory::new(2 << 20));
    let sources = [Numbers::new(4_000, 300), Numbers::new(4_001, 300), Numbers::new(4_002, 300)];
    let app = sources.iter().enumerate().fold(Chunkflow::new(store), |app, (at, source)| {
        let name = format!("numbers{at}");
        app.with(Resource::new(&name, Arc::clone(source) as _, ResourceOptions::default()).unwrap())
    });
    let server = Running::start(ServerConfig::default(), app);
    for turn in 0..60 {
        let at = [0, 0, 1, 0, 2][turn % 5];
        let reply = server.get(&format!("/numbers{at}"));
        assert!(reply.whole);
        assert_eq!(crate::support::ids(&reply).len(), 4_000 + at, "turn {turn}");
    }
}
