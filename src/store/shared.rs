//! A store that several servers share, over any [`Remote`]: Redis, Memcached.
//!
//! Names are short and regular: `PREFIXc3:{DIGEST}` a chunk, `PREFIXl3:{DIGEST}` the lease of its
//! load, `PREFIXg:RESOURCE` a resource's generation, `PREFIXj:…` the journal (`journal/`). The 3 is
//! the version of the stored form, so that servers of two versions never use the same name;
//! generations and the journal have no version, since those servers tell each other. The digest
//! covers the whole key and the generation. So a purge only needs a new generation: chunks of older
//! ones are never read again, even if a server still writes one, and expire in time. The full key
//! stands in the entry and is compared on read.

use std::{
    iter::zip,
    slice,
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use super::{
    Agreement, Chunks, FarState, Generation, Lease, News, OnPurge, StoreOptions,
    generations::Known,
    journal::Journal,
    remote::{Remote, Taken, number_in},
};
use crate::{
    change::Token,
    chunk::{Chunk, ChunkKey, FORM},
    error::{Error, Kind, Result},
    secret::Secret,
    source::BoxFuture,
};

/// How often the server looks at generations: a purge is seen everywhere within this and one call.
const LOOK: Duration = Duration::from_secs(1);

/// How many generations are asked for in one call.
const ASKS: usize = 64;

/// A [`Remote`] as a store.
pub(super) struct Shared {
    remote: Arc<dyn Remote>,
    prefix: String,
    largest: usize,
    /// Authenticates chunks.
    secret: Option<Secret>,
    known: Known,
    journal: Journal,
}

impl Shared {
    /// Needs a tokio runtime: its task looks at the generations until the store is dropped.
    pub(super) fn new(remote: Arc<dyn Remote>, options: &StoreOptions) -> Arc<Shared> {
        let largest = options.max_entry.unwrap_or(usize::MAX).min(remote.largest());
        let journal = Journal::new(Arc::clone(&remote), &options.prefix, options.secret.clone());
        let shared = Arc::new(Shared {
            remote,
            prefix: options.prefix.clone(),
            largest,
            secret: options.secret.clone(),
            known: Known::default(),
            journal,
        });
        tokio::spawn(look(Arc::downgrade(&shared)));
        shared
    }

    /// Asks for a resource's generation.
    async fn ask(&self, resource: &[u8; 16]) -> Result<Generation> {
        self.ask_all(slice::from_ref(resource)).await.pop().unwrap_or_else(|| Ok(Generation(0)))
    }

    /// Asks for the generations of resources in one call.
    async fn ask_all(&self, resources: &[[u8; 16]]) -> Vec<Result<Generation>> {
        let names: Vec<String> = resources.iter().map(|resource| self.generation_name(resource)).collect();
        let said = self.remote.copies(&names).await;
        join_all(zip(resources, said).map(async |(resource, said)| self.said(resource, said?).await)).await
    }

    /// The generation that these copies say. Writes it again where a place has lost it, or is led by
    /// a replica that had not heard of it.
    async fn said(&self, resource: &[u8; 16], copies: Vec<Option<Bytes>>) -> Result<Generation> {
        let name = self.generation_name(resource);
        let said = |copy: &Option<Bytes>| copy.as_deref().map_or(Generation(0), |bytes| Generation(number_in(bytes)));
        let copies: Vec<Generation> = copies.iter().map(said).collect();
        let largest = copies.iter().copied().max().unwrap_or(Generation(0));
        let generation = self.known.at_least(resource, largest);
        if copies.iter().any(|copy| *copy < generation) {
            // A purge at the same moment writes a larger number, which stays.
            self.remote.raise_copies(&name, generation.0).await?;
        }
        self.known.learn(resource, generation);
        Ok(generation)
    }

    /// The stored chunk, if its checks pass.
    fn opened(&self, bytes: Option<Bytes>, key: &ChunkKey) -> Result<Option<Arc<Chunk>>> {
        let Some(bytes) = bytes else { return Ok(None) };
        Ok(Chunk::open(&bytes, key, self.secret.as_ref())?.map(Arc::new))
    }

    fn generation_name(&self, resource: &[u8; 16]) -> String {
        format!("{}g:{}", self.prefix, hex(resource))
    }

    /// The name of a chunk (`c`), or of the lease of its load (`l`).
    fn name(&self, what: char, key: &ChunkKey, generation: Generation) -> String {
        let mut digest = Sha256::new();
        digest.update(generation.0.to_le_bytes());
        digest.update(key.as_bytes());
        // In braces, so that a cluster keeps a chunk and its lease on one node.
        format!("{}{what}{FORM}:{{{}}}", self.prefix, hex(&digest.finalize()[..20]))
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Looks at the generations of all remembered resources, until the store is dropped.
async fn look(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(shared) = shared.upgrade() else { return };
        let resources = shared.known.resources(Instant::now());
        // Their machines may be different ones: one that is away hides no purge on the others.
        for some in resources.chunks(ASKS) {
            for error in shared.ask_all(some).await.into_iter().filter_map(Result::err) {
                tracing::debug!(%error, "whether a resource was purged is not known");
            }
        }
    }
}

impl Chunks for Shared {
    fn get<'a>(&'a self, key: &'a ChunkKey, generation: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        Box::pin(async move {
            let bytes = self.remote.get(&self.name('c', key, generation)).await?;
            self.opened(bytes, key)
        })
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: Generation) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let bytes = chunk.seal(self.secret.as_ref());
            if bytes.len() > self.largest {
                let message = format!("a chunk of {} bytes is too large for the store", bytes.len());
                return Err(Error::new(Kind::Invalid, message).remedy("make `chunk_bytes` of the resource smaller"));
            }
            self.remote.set(&self.name('c', &chunk.key, generation), bytes, keep).await
        })
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            // Later than any before, by every server's clock. If a larger one is there when this is
            // written, its purge began after this one.
            let next = Generation(now.max(self.ask(resource).await?.0 + 1));
            self.remote.raise_copies(&self.generation_name(resource), next.0).await?;
            self.known.learn(resource, next);
            Ok(())
        })
    }

    fn generation<'a>(&'a self, resource: &'a [u8; 16], keep: Duration) -> BoxFuture<'a, Result<Generation>> {
        Box::pin(async move {
            // Remembered first: if the store does not answer now, `look` asks again until it does.
            self.known.remember(resource, keep);
            match self.known.get(resource) {
                Some(known) => Ok(known),
                None => self.ask(resource).await,
            }
        })
    }

    fn known_generation(&self, resource: &[u8; 16]) -> Option<Generation> {
        self.known.get(resource)
    }
}

impl Agreement for Shared {
    fn lease<'a>(&'a self, key: &'a ChunkKey, generation: Generation, time: Duration) -> BoxFuture<'a, Result<Lease>> {
        Box::pin(async move {
            let token = fastrand::u64(1..);
            let name = self.name('l', key, generation);
            let chunk = self.name('c', key, generation);
            match self.remote.take(&name, token.to_string().into(), time, &chunk).await? {
                Taken { ours: true, there } => Ok(Lease::Ours { token, there: self.opened(there, key) }),
                Taken { ours: false, .. } => Ok(Lease::Theirs),
            }
        })
    }

    fn release<'a>(&'a self, key: &'a ChunkKey, generation: Generation, token: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.remote.give_back(&self.name('l', key, generation), token.to_string().into()).await })
    }

    fn on_purge(&self, tell: OnPurge) {
        self.known.on_purge(tell);
    }

    fn tell<'a>(&'a self, entry: Bytes) -> BoxFuture<'a, Result<Token>> {
        Box::pin(self.journal.tell(entry))
    }

    fn news<'a>(&'a self, since: Option<Token>) -> BoxFuture<'a, Result<News>> {
        Box::pin(self.journal.news(since))
    }

    fn recent(&self) -> BoxFuture<'_, Result<News>> {
        Box::pin(self.journal.recent())
    }

    fn machines(&self) -> FarState {
        self.remote.state()
    }
}
