//! A store in memory in front of one that is shared.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{Held, Lease, Memory, OnPurge, Store, StoreState};
use crate::{
    chunk::{Chunk, ChunkKey},
    error::Result,
    source::BoxFuture,
};

/// Keeps near what was got from afar, bounded in bytes. A chunk is as old near as it is far, since its age
/// stands in it; what is purged afar is forgotten here as soon as the far store knows.
pub(super) struct Tiered {
    near: Arc<Memory>,
    far: Arc<dyn Store>,
}

impl Tiered {
    pub(super) fn new(near: Memory, far: Arc<dyn Store>) -> Tiered {
        let near = Arc::new(near);
        let told = Arc::clone(&near);
        far.on_purge(Box::new(move |resource| told.forget_now(resource)));
        Tiered { near, far }
    }

    /// Keeps a chunk near, unless it is of an older generation than is known now.
    fn keep(&self, chunk: &Arc<Chunk>, generation: u64) {
        let resource = chunk.key.resource();
        if self.far.generation(&resource) != generation {
            return;
        }
        self.near.keep(chunk);
        // A purge in between has forgotten everything but this.
        if self.far.generation(&resource) != generation {
            self.near.forget_now(&resource);
        }
    }
}

impl Store for Tiered {
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        self.near.at_hand(key)
    }

    fn keep_at_hand(&self, chunk: &Arc<Chunk>, generation: u64) {
        self.keep(chunk, generation);
    }

    fn get<'a>(&'a self, key: &'a ChunkKey) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        Box::pin(async move {
            if let Some(chunk) = self.near.at_hand(key) {
                return Ok(Some(chunk));
            }
            let resource = key.resource();
            let before = self.far.generation(&resource);
            let found = self.far.get(key).await?;
            if let Some(chunk) = &found {
                // What was not known before the call is known after it.
                let generation = self.far.generation(&resource);
                if before == generation || before == u64::MAX {
                    self.keep(chunk, generation);
                }
            }
            Ok(found)
        })
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: u64) -> BoxFuture<'a, Result<()>> {
        // Whoever loads chunks keeps those near that are asked for; here only an older one is replaced.
        if self.near.at_hand(&chunk.key).is_some() {
            self.keep(&chunk, generation);
        }
        self.far.put(chunk, keep, generation)
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        self.near.forget_now(resource);
        self.far.forget(resource)
    }

    fn generation(&self, resource: &[u8; 16]) -> u64 {
        self.far.generation(resource)
    }

    fn on_purge(&self, tell: OnPurge) {
        self.far.on_purge(tell);
    }

    fn state(&self) -> StoreState {
        StoreState { near: self.near.state().near, ..self.far.state() }
    }

    fn held(&self) -> HashMap<[u8; 16], Held> {
        self.near.held()
    }

    fn lease<'a>(&'a self, key: &'a ChunkKey, time: Duration) -> BoxFuture<'a, Result<Lease>> {
        self.far.lease(key, time)
    }

    fn release<'a>(&'a self, key: &'a ChunkKey, token: u64) -> BoxFuture<'a, Result<()>> {
        self.far.release(key, token)
    }
}
