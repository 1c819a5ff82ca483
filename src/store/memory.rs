//! Chunks in this process's memory, bounded in bytes.

use std::{sync::Arc, time::Duration};

use quick_cache::{OptionsBuilder, Weighter, sync::Cache};

use super::Store;
use crate::{
    bytes_size,
    chunk::{Chunk, ChunkKey},
    error::{Error, Kind, Result},
    source::BoxFuture,
};

/// The share of a shard at least: an entry heavier than its shard is never kept. Chunks are 384 KiB at the most by default, and
/// 6 MiB where the configuration asks for the largest.
const SHARD: u64 = 16 * 1024 * 1024;
const SHARDS: u64 = 16;

/// A store in memory. The bound holds at every moment: what is put evicts what is least wanted at once.
///
/// Chunks heavier than the whole store, or than its shard (16 MiB, where the store is that large), are not kept.
/// The lifetime of a chunk is not enforced here, since the loader judges every chunk by its own age; room is made by need.
#[derive(Debug)]
pub struct Memory(Cache<ChunkKey, Arc<Chunk>, ByBytes>);

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<ChunkKey, Arc<Chunk>> for ByBytes {
    fn weight(&self, _key: &ChunkKey, chunk: &Arc<Chunk>) -> u64 {
        chunk.weight() as u64
    }
}

/// Opens `memory:256MiB`.
pub(super) fn open(url: &str) -> Result<Arc<dyn Store>> {
    let size = url.strip_prefix("memory:").and_then(bytes_size::parse);
    let size = size.ok_or_else(|| {
        Error::new(Kind::Config, format!("`{url}` is no size of a memory store"))
            .remedy("write memory: and a size, for instance memory:256MiB")
    })?;
    Ok(Arc::new(Memory::new(size)))
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
        Memory(Cache::with_options(options, ByBytes, Default::default(), Default::default()))
    }

    /// How many bytes it holds now.
    pub fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

impl Store for Memory {
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        self.0.get(key)
    }

    fn get<'a>(&'a self, key: &'a ChunkKey) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        Box::pin(std::future::ready(Ok(self.0.get(key))))
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, _keep: Duration) -> BoxFuture<'a, Result<()>> {
        self.0.insert(chunk.key.clone(), chunk);
        Box::pin(std::future::ready(Ok(())))
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        self.0.retain(|key, _| !key.is_of(resource));
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chunk::ListKey, cursor::Cursor, row::Value};

    #[tokio::test]
    async fn the_memory_store_keeps_the_promises_of_stores() {
        super::super::promises(Arc::new(Memory::new(64 << 20))).await;
    }

    #[tokio::test]
    async fn it_never_holds_more_than_its_bytes() {
        for bound in [1 << 20, 32 << 20] {
            let store = Memory::new(bound);
            for n in 0..2_000 {
                let key = ChunkKey::new(&ListKey([1; 48]), &Cursor::after(&[Value::Integer(n)]).unwrap(), 0);
                let chunk = Chunk { key, loaded_at: 0, rows: 1, next: None, body: vec![b'x'; 40_000].into() };
                store.put(Arc::new(chunk), Duration::ZERO).await.unwrap();
                assert!(store.bytes() <= bound);
            }
            assert!(store.bytes() > bound / 2, "room is used: {}", store.bytes());
        }
    }
}
