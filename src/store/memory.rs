//! Chunks in this process's memory, bounded in bytes.

use std::{
    collections::HashMap,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use super::{Chunks, Generation, Held, Near, NearState, Store, StoreOptions};
use crate::{
    bytes_size,
    chunk::{Chunk, ChunkKey},
    error::{Error, Kind, Result},
    source::BoxFuture,
    unpoisoned::Unpoisoned,
};

/// The share of a shard at least: an entry heavier than its shard is never kept. Chunks are 384 KiB at the most
/// by default, and 6 MiB where the configuration asks for the largest.
const SHARD: u64 = 16 * 1024 * 1024;
const SHARDS: u64 = 16;

/// A store in memory. The bound holds at every moment: what is put evicts what is least wanted at once.
///
/// Chunks heavier than the whole store, or than its shard (16 MiB, where the store is that large), are not
/// kept. The lifetime of a chunk is not enforced here, since the loader judges every chunk by its own age; room
/// is made by need.
#[derive(Debug)]
pub struct Memory {
    chunks: Cache<ChunkKey, Arc<Chunk>, ByBytes, DefaultHashBuilder, Evicts>,
    evictions: Arc<AtomicU64>,
    /// How often each resource was forgotten.
    purges: Mutex<HashMap<[u8; 16], u64>>,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<ChunkKey, Arc<Chunk>> for ByBytes {
    fn weight(&self, _key: &ChunkKey, chunk: &Arc<Chunk>) -> u64 {
        chunk.weight() as u64
    }
}

/// Counts what makes room for others. That is given back behind the lock of its shard.
#[derive(Clone, Debug, Default)]
struct Evicts(Arc<AtomicU64>);

impl Lifecycle<ChunkKey, Arc<Chunk>> for Evicts {
    type RequestState = Vec<(ChunkKey, Arc<Chunk>)>;

    fn on_evict(&self, evicted: &mut Self::RequestState, key: ChunkKey, chunk: Arc<Chunk>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        evicted.push((key, chunk));
    }
}

/// Opens `memory:256MiB`.
pub(super) fn open(options: &StoreOptions) -> Result<Store> {
    let url = &*options.url;
    let size = url.strip_prefix("memory:").and_then(bytes_size::parse);
    let size = size.ok_or_else(|| {
        Error::new(Kind::Config, format!("`{url}` is no size of a memory store"))
            .remedy("write memory: and a size, for instance memory:256MiB")
    })?;
    Ok(Memory::new(size).into())
}

impl Memory {
    /// A store of at most so many bytes.
    pub fn new(bytes: u64) -> Memory {
        let shards = (bytes / SHARD).clamp(1, SHARDS);
        let options = OptionsBuilder::new()
            .weight_capacity(bytes)
            .estimated_items_capacity((bytes / 65_536).max(16) as usize)
            .shards(shards as usize)
            .build()
            .expect("both capacities are given");
        let evicts = Evicts::default();
        let evictions = Arc::clone(&evicts.0);
        let chunks = Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), evicts);
        Memory { chunks, evictions, purges: Mutex::default() }
    }

    /// Keeps a chunk.
    pub(super) fn keep(&self, chunk: &Arc<Chunk>) {
        self.chunks.insert(chunk.key.clone(), Arc::clone(chunk));
    }

    /// Forgets every chunk of a resource.
    pub(super) fn forget_now(&self, resource: &[u8; 16]) {
        *self.purges.lock().unpoisoned().entry(*resource).or_default() += 1;
        self.chunks.retain(|key, _| !key.is_of(resource));
    }

    /// How many bytes it holds now.
    pub fn bytes(&self) -> u64 {
        self.chunks.weight()
    }
}

impl Chunks for Memory {
    fn get<'a>(&'a self, key: &'a ChunkKey, _: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        Box::pin(ready(Ok(self.chunks.get(key))))
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, _: Duration, generation: Generation) -> BoxFuture<'a, Result<()>> {
        self.keep_at_hand(&chunk, Some(generation));
        Box::pin(ready(Ok(())))
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        self.forget_now(resource);
        Box::pin(ready(Ok(())))
    }

    fn generation<'a>(&'a self, resource: &'a [u8; 16], _: Duration) -> BoxFuture<'a, Result<Generation>> {
        let purges = self.purges.lock().unpoisoned().get(resource).copied();
        Box::pin(ready(Ok(Generation(purges.unwrap_or_default()))))
    }

    fn known_generation(&self, resource: &[u8; 16]) -> Option<Generation> {
        let purges = self.purges.lock().unpoisoned().get(resource).copied();
        Some(Generation(purges.unwrap_or_default()))
    }
}

impl Near for Memory {
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        self.chunks.get(key)
    }

    fn keep_at_hand(&self, chunk: &Arc<Chunk>, generation: Option<Generation>) {
        let resource = chunk.key.resource();
        if self.known_generation(&resource) != generation {
            return;
        }
        self.keep(chunk);
        // Forgetting in between has missed this one.
        if self.known_generation(&resource) != generation {
            self.chunks.remove(&chunk.key);
        }
    }

    fn held(&self) -> HashMap<[u8; 16], Held> {
        let mut held: HashMap<[u8; 16], Held> = HashMap::new();
        for (key, chunk) in self.chunks.iter() {
            held.entry(key.resource()).or_default().take_in(&chunk);
        }
        held
    }

    fn state(&self) -> NearState {
        NearState {
            bytes: self.chunks.weight(),
            max_bytes: self.chunks.capacity(),
            entries: self.chunks.len() as u64,
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chunk::ListKey, cursor::Cursor, row::Value};

    #[tokio::test]
    async fn the_memory_store_keeps_the_promises_of_stores() {
        super::super::promises(Memory::new(64 << 20)).await;
    }

    #[tokio::test]
    async fn it_never_holds_more_than_its_bytes() {
        for bound in [1 << 20, 32 << 20] {
            let store = Memory::new(bound);
            for n in 0..2_000 {
                let key = ChunkKey::new(&ListKey([1; 48]), &Cursor::after(&[Value::Integer(n)]).unwrap(), 0);
                let chunk =
                    Chunk { key, loaded_at: 0, rows: 1, next: None, body: vec![b'x'; 40_000].into(), plain: None };
                store.put(Arc::new(chunk), Duration::ZERO, Generation(0)).await.unwrap();
                assert!(store.bytes() <= bound);
            }
            assert!(store.bytes() > bound / 2, "room is used: {}", store.bytes());
        }
    }
}
