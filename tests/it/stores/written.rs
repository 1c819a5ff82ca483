//! What is written to a store that servers share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chunkflow::{
    BoxFuture, Chunk, ChunkKey, Chunkflow, Lease, Memory, Metrics, Resource, ResourceOptions, Result, Sizes, Store,
    system_clock,
};
use http::Request;
use http_body_util::BodyExt;

use crate::support::{Numbers, runtime};

/// A store as a shared one is, which counts how often each chunk is written.
struct Counting {
    kept: Memory,
    writes: Mutex<HashMap<ChunkKey, u32>>,
}

impl Store for Counting {
    fn at_hand(&self, _: &ChunkKey) -> Option<Arc<Chunk>> {
        None
    }

    fn get<'a>(&'a self, key: &'a ChunkKey) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        self.kept.get(key)
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: u64) -> BoxFuture<'a, Result<()>> {
        *self.writes.lock().unwrap().entry(chunk.key.clone()).or_default() += 1;
        self.kept.put(chunk, keep, generation)
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        self.kept.forget(resource)
    }

    fn generation(&self, resource: &[u8; 16]) -> u64 {
        self.kept.generation(resource)
    }

    fn lease<'a>(&'a self, key: &'a ChunkKey, _: Duration) -> BoxFuture<'a, Result<Lease>> {
        Box::pin(async move { Ok(Lease::Ours { token: 1, there: self.kept.get(key).await }) })
    }
}

#[test]
fn each_chunk_of_a_cold_list_is_written_to_a_shared_store_once() {
    let store = Arc::new(Counting { kept: Memory::new(64 << 20), writes: Mutex::default() });
    // A run of it holds many chunks.
    let options = ResourceOptions { sizes: Sizes { rows: 40, bytes: 1 }, ..ResourceOptions::default() };
    let resource = Resource::new("list", Numbers::new(5_000, 7), options).unwrap();
    let chunkflow = Chunkflow::with_clock(Arc::clone(&store) as _, system_clock(), Arc::new(Metrics::default()));
    let chunkflow = chunkflow.with(resource);
    runtime().block_on(async {
        for _ in 0..2 {
            let request = Request::get("/list").header("host", "localhost").body(()).unwrap();
            chunkflow.respond(&request).await.into_body().collect().await.expect("a whole stream");
            chunkflow.written().await;
        }
    });
    let (writes, metrics) = (store.writes.lock().unwrap(), chunkflow.metrics());
    assert!(writes.values().all(|times| *times == 1), "{:?}", writes.values());
    assert_eq!(writes.len() as u64, metrics.loads.get());
    assert_eq!(metrics.hits.get(), metrics.loads.get(), "the second time all of it is there");
    assert!(metrics.reads.get() * 5 < metrics.loads.get(), "{metrics:?}");
}
