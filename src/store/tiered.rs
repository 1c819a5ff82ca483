//! A store in memory in front of another.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{Chunks, Generation, Held, Memory, Near, NearState};
use crate::{
    chunk::{Chunk, ChunkKey},
    error::Result,
    source::BoxFuture,
};

/// Keeps chunks from the far store in memory, bounded in bytes. A chunk carries its load time, so
/// its age is the same in both. Once the far store knows of a purge, the resource is forgotten here
/// too ([`Store::behind`](super::Store::behind)).
pub(super) struct Tiered {
    pub(super) near: Arc<Memory>,
    pub(super) far: Arc<dyn Chunks>,
}

#[deny(clippy::missing_trait_methods)]
impl Chunks for Tiered {
    fn get<'a>(&'a self, key: &'a ChunkKey, generation: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        Box::pin(async move {
            // What is near was looked at before, and was too old or touched by a change.
            let found = self.far.get(key, generation).await?;
            if let Some(chunk) = &found {
                self.keep_at_hand(chunk, Some(generation));
            }
            Ok(found)
        })
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: Generation) -> BoxFuture<'a, Result<()>> {
        // The loader puts chunks that were asked for in memory; here only an older version is
        // replaced.
        if self.near.at_hand(&chunk.key).is_some() {
            self.keep_at_hand(&chunk, Some(generation));
        }
        self.far.put(chunk, keep, generation)
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        self.near.forget_now(resource);
        self.far.forget(resource)
    }

    fn generation<'a>(&'a self, resource: &'a [u8; 16], keep: Duration) -> BoxFuture<'a, Result<Generation>> {
        self.far.generation(resource, keep)
    }

    fn known_generation(&self, resource: &[u8; 16]) -> Option<Generation> {
        self.far.known_generation(resource)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Near for Tiered {
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>> {
        self.near.at_hand(key)
    }

    fn keep_at_hand(&self, chunk: &Arc<Chunk>, generation: Option<Generation>) {
        let resource = chunk.key.resource();
        if self.far.known_generation(&resource) != generation {
            return;
        }
        self.near.keep(chunk);
        // A purge since the first look has missed this chunk.
        if self.far.known_generation(&resource) != generation {
            self.near.forget_now(&resource);
        }
    }

    fn held(&self) -> HashMap<[u8; 16], Held> {
        self.near.held()
    }

    fn state(&self) -> NearState {
        self.near.state()
    }
}
