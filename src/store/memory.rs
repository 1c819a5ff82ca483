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

/// The smallest shard, in bytes. An entry heavier than its shard is never kept. Chunks are at most
/// 384 KiB by default, and 6 MiB with the largest setting.
const SHARD: u64 = 16 * 1024 * 1024;
const SHARDS: u64 = 16;

/// A store in memory. The bound holds at every moment: adding a chunk evicts the least useful ones
/// at once.
///
/// A chunk heavier than the whole store, or than its shard (at least 16 MiB, in a store that
/// large), is not kept. Chunks do not expire here, since the loader checks the age of each; they
/// leave when others need the room.
#[derive(Debug)]
pub struct Memory {
    chunks: Cache<ChunkKey, Arc<Chunk>, ByBytes, DefaultHashBuilder, Evicts>,
    evictions: Arc<AtomicU64>,
    purges: Mutex<Purges>,
}

/// How many purged resources have a number of their own.
const PURGES: usize = 4096;

/// Purges, numbered in order. The generation of a resource is the number of its last purge.
/// Resources that were purged long ago or never share one number.
#[derive(Debug, Default)]
struct Purges {
    of: HashMap<[u8; 16], u64>,
    last: u64,
    /// The number of all other resources; none of them ever had a larger one.
    others: u64,
}

impl Purges {
    fn generation(&self, resource: &[u8; 16]) -> Generation {
        Generation(self.of.get(resource).copied().unwrap_or(self.others))
    }

    fn note(&mut self, resource: &[u8; 16]) {
        self.last += 1;
        self.of.insert(*resource, self.last);

        if self.of.len() > PURGES {
            self.others = self.last - PURGES as u64 / 2;
            self.of.retain(|_, number| *number > self.others);
        }
    }
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<ChunkKey, Arc<Chunk>> for ByBytes {
    fn weight(&self, _key: &ChunkKey, chunk: &Arc<Chunk>) -> u64 {
        chunk.weight() as u64
    }
}

/// Counts evicted chunks. Their memory is freed after the lock of their shard.
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
    /// A store of at most this many bytes.
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
        self.purges.lock().unpoisoned().note(resource);
        self.chunks.retain(|key, _| !key.is_of(resource));
    }

    /// How many bytes its chunks take now.
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
        Box::pin(ready(Ok(self.purges.lock().unpoisoned().generation(resource))))
    }

    fn known_generation(&self, resource: &[u8; 16]) -> Option<Generation> {
        Some(self.purges.lock().unpoisoned().generation(resource))
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
        // A purge since the first look has missed this chunk.
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

    #[test]
    fn a_purge_is_a_later_generation_however_many_there_are_and_few_are_remembered() {
        let digest = |n: u64| std::array::from_fn(|at| n.to_le_bytes()[at % 8]);
        let mut purges = Purges::default();
        let mut before = purges.generation(&digest(0));
        for n in 0..3 * PURGES as u64 {
            let one = digest(n % 5_000);
            let last = purges.generation(&one);
            purges.note(&one);
            assert!(purges.generation(&one) > last, "{n}");
            assert!(purges.generation(&digest(0)) >= before, "{n}");
            before = purges.generation(&digest(0));
            assert!(purges.of.len() <= PURGES, "{n}");
        }
    }

    #[tokio::test]
    async fn it_never_holds_more_than_its_bytes() {
        for bound in [1 << 20, 32 << 20] {
            let store = Memory::new(bound);
            for n in 0..2_000 {
                let key = ChunkKey::new(&ListKey([1; 48]), &Cursor::after(&[Value::Integer(n)]).unwrap(), 0);
                let chunk = Chunk::new(key, 0, 1, None, vec![b'x'; 40_000].into());
                store.put(Arc::new(chunk), Duration::ZERO, Generation(0)).await.unwrap();
                assert!(store.bytes() <= bound);
            }
            assert!(store.bytes() > bound / 2, "room is used: {}", store.bytes());
        }
    }
}
