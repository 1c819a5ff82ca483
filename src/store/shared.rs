//! A store that other servers share, over anything that keeps bytes under names for a time: Redis, Memcached.
//!
//! Names are short and regular: `PREFIXc:{DIGEST}` a chunk, `PREFIXl:{DIGEST}` the lease of its load, `PREFIXg:RESOURCE` a resource's
//! generation. The digest is of the whole key and the generation, so that a purge is one new generation: chunks of an older one are
//! never read again, whoever writes them when, and fade by their time. The full key stands in the entry and is compared on read.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Lease, OnPurge, Store};
use crate::{
    chunk::{Chunk, ChunkKey},
    error::{Error, Kind, Result},
    source::BoxFuture,
};

/// What keeps bytes for many servers. Names are ASCII and at most 250 bytes long.
pub(super) trait Remote: Send + Sync + 'static {
    /// The bytes under a name.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// Keeps bytes under a name; without end where `keep` is `None`.
    fn set<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Option<Duration>) -> BoxFuture<'a, Result<()>>;

    /// Keeps bytes under a name where nothing is; says whether that was so.
    fn add<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Option<Duration>) -> BoxFuture<'a, Result<bool>>;

    /// The same, and what is under another name once that is done.
    fn add_and_get<'a>(
        &'a self,
        name: &'a str,
        bytes: Bytes,
        keep: Option<Duration>,
        other: &'a str,
    ) -> BoxFuture<'a, Result<(bool, Option<Bytes>)>> {
        Box::pin(async move {
            match self.add(name, bytes, keep).await? {
                true => Ok((true, self.get(other).await?)),
                false => Ok((false, None)),
            }
        })
    }

    /// Forgets what is under a name if it is exactly this.
    fn take_back<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>>;

    /// The largest value that it takes, in bytes.
    fn largest(&self) -> usize;
}

/// One call is waited for so long.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often generations are looked at: a purge is seen everywhere within this and one call.
const LOOK: Duration = Duration::from_secs(1);
/// A generation that is not known.
const UNKNOWN: u64 = u64::MAX;

/// A [`Remote`] as a store.
pub(super) struct Shared {
    remote: Box<dyn Remote>,
    prefix: String,
    largest: usize,
    breaker: Breaker,
    /// Of each resource that was asked for; `None` where the store has not said it yet.
    generations: Mutex<HashMap<[u8; 16], Option<u64>>>,
    on_purge: Mutex<Vec<OnPurge>>,
}

impl Shared {
    /// Needs a tokio runtime: a task of it looks at the generations, until the store is dropped.
    pub(super) fn new(remote: impl Remote, prefix: &str, largest: Option<usize>) -> Arc<Shared> {
        let largest = largest.unwrap_or(usize::MAX).min(remote.largest());
        let shared = Arc::new(Shared {
            remote: Box::new(remote),
            prefix: prefix.to_owned(),
            largest,
            breaker: Breaker::default(),
            generations: Mutex::default(),
            on_purge: Mutex::default(),
        });
        tokio::spawn(look(Arc::downgrade(&shared)));
        shared
    }

    /// A call with its limit, unless the store rests.
    async fn call<T>(&self, request: BoxFuture<'_, Result<T>>) -> Result<T> {
        let pass = self.breaker.enter()?;
        let answer = match tokio::time::timeout(PATIENCE, request).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(Kind::Timeout, "the store did not answer in time")),
        };
        // A refusal is an answer: whoever refuses writes, for want of room, can still be read.
        pass.leave(answer.as_ref().err().filter(|error| error.kind() != Kind::Busy));
        answer
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 16], Option<u64>>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resource's generation, asked for if it is not known yet.
    async fn current(&self, resource: &[u8; 16]) -> Result<u64> {
        match self.generation(resource) {
            UNKNOWN => {
                // If there is no answer now, the question is asked again until there is.
                self.known().entry(*resource).or_default();
                self.ask(resource).await
            }
            known => Ok(known),
        }
    }

    /// Asks what a resource's generation is; a store that lost it is told again.
    async fn ask(&self, resource: &[u8; 16]) -> Result<u64> {
        let name = self.generation_name(resource);
        let stored = self.call(self.remote.get(&name)).await?;
        let stored = stored.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        let known = self.known().get(resource).copied().flatten();
        let value = match (stored, known) {
            // A replica that leads now may not have heard of the last purge.
            (Some(stored), Some(known)) if stored < known => {
                self.call(self.remote.set(&name, known.to_string().into(), None)).await?;
                known
            }
            (Some(stored), _) => stored,
            (None, Some(known)) if known > 0 => {
                self.call(self.remote.add(&name, known.to_string().into(), None)).await?;
                known
            }
            (None, _) => 0,
        };
        self.learn(resource, value);
        Ok(value)
    }

    /// Takes note of a generation; a later one than was known is a purge, and so may be the first: what was read before it was known is
    /// of nobody knows which. An older one is a store that forgot.
    fn learn(&self, resource: &[u8; 16], value: u64) {
        let is_news = {
            let mut known = self.known();
            let before = known.get(resource).copied().flatten();
            known.insert(*resource, Some(before.map_or(value, |before| value.max(before))));
            before.is_none_or(|before| value > before)
        };
        if is_news {
            for tell in self.on_purge.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                tell(resource);
            }
        }
    }

    fn generation_name(&self, resource: &[u8; 16]) -> String {
        format!("{}g:{}", self.prefix, hex(resource))
    }

    /// The name of a chunk (`c`) or of the lease of its load (`l`).
    fn name(&self, what: char, key: &ChunkKey, generation: u64) -> String {
        let mut digest = Sha256::new();
        digest.update(generation.to_le_bytes());
        digest.update(key.as_bytes());
        // In braces, so that a cluster keeps a chunk and its lease on one node.
        format!("{}{what}:{{{}}}", self.prefix, hex(&digest.finalize()[..20]))
    }
}

/// What is stored, if it checks out.
fn opened(bytes: Option<Bytes>, key: &ChunkKey) -> Result<Option<Arc<Chunk>>> {
    bytes.map(|bytes| Chunk::open(&bytes, key).map(Arc::new)).transpose()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Looks at the generations of all resources that were asked for, for as long as there is a store.
async fn look(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(shared) = shared.upgrade() else { return };
        let resources: Vec<[u8; 16]> = shared.known().keys().copied().collect();
        for resource in resources {
            if let Err(error) = shared.ask(&resource).await {
                tracing::debug!(%error, "whether a resource was purged is not known");
                break;
            }
        }
    }
}

impl Store for Shared {
    fn at_hand(&self, _: &ChunkKey) -> Option<Arc<Chunk>> {
        None
    }

    fn get<'a>(&'a self, key: &'a ChunkKey) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        Box::pin(async move {
            let generation = self.current(&key.resource()).await?;
            let bytes = self.call(self.remote.get(&self.name('c', key, generation))).await?;
            opened(bytes, key)
        })
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if generation == UNKNOWN {
                return Ok(());
            }
            let bytes = chunk.seal();
            if bytes.len() > self.largest {
                let message = format!("a chunk of {} bytes is too large for the store", bytes.len());
                return Err(Error::new(Kind::Invalid, message).remedy("make `chunk_bytes` of the resource smaller"));
            }
            self.call(self.remote.set(&self.name('c', &chunk.key, generation), bytes, Some(keep))).await
        })
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            // Later than any before, whichever server's clock that was.
            let next = now.max(self.ask(resource).await? + 1);
            self.call(self.remote.set(&self.generation_name(resource), next.to_string().into(), None)).await?;
            self.learn(resource, next);
            Ok(())
        })
    }

    fn generation(&self, resource: &[u8; 16]) -> u64 {
        self.known().get(resource).copied().flatten().unwrap_or(UNKNOWN)
    }

    fn on_purge(&self, tell: OnPurge) {
        self.on_purge.lock().unwrap_or_else(PoisonError::into_inner).push(tell);
    }

    fn lease<'a>(&'a self, key: &'a ChunkKey, time: Duration) -> BoxFuture<'a, Result<Lease>> {
        Box::pin(async move {
            let generation = self.current(&key.resource()).await?;
            let token = fastrand::u64(1..);
            let (name, chunk) = (self.name('l', key, generation), self.name('c', key, generation));
            let request = self.remote.add_and_get(&name, token.to_string().into(), Some(time), &chunk);
            match self.call(request).await? {
                (true, bytes) => Ok(Lease::Ours { token, there: opened(bytes, key) }),
                (false, _) => Ok(Lease::Theirs),
            }
        })
    }

    fn release<'a>(&'a self, key: &'a ChunkKey, token: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // After a purge it is another name, where nothing is to be taken back.
            let name = self.name('l', key, self.generation(&key.resource()));
            self.call(self.remote.take_back(&name, token.to_string().into())).await
        })
    }
}

/// Leaves a store alone that fails, and looks now and then whether it is back: one call at a time (half-open).
#[derive(Default)]
struct Breaker {
    /// Failures one after the other.
    failures: AtomicU32,
    /// Until when nothing is asked, in milliseconds since the first failure of all.
    rests_until: AtomicU64,
    probing: AtomicBool,
    began: std::sync::OnceLock<Instant>,
}

/// So many failures one after the other, and it rests.
const FAILURES: u32 = 5;
const SHORTEST_REST: u64 = 500;
const LONGEST_REST: u64 = 4_000;

impl Breaker {
    fn now(&self) -> u64 {
        self.began.get_or_init(Instant::now).elapsed().as_millis() as u64
    }

    fn enter(&self) -> Result<Pass<'_>> {
        if self.failures.load(Ordering::Relaxed) < FAILURES {
            return Ok(Pass { breaker: self, probes: false });
        }
        let rests = self.now() < self.rests_until.load(Ordering::Relaxed);
        if rests || self.probing.swap(true, Ordering::Relaxed) {
            return Err(Error::new(Kind::Unavailable, "the store failed lately, and is left alone for a moment"));
        }
        Ok(Pass { breaker: self, probes: true })
    }
}

/// The right to ask the store once. Dropped without an answer, as when nobody waits for it any more, it says nothing of the store, and
/// another may probe.
struct Pass<'a> {
    breaker: &'a Breaker,
    probes: bool,
}

impl Pass<'_> {
    /// Says how the call went.
    fn leave(self, failure: Option<&Error>) {
        let breaker = self.breaker;
        if let Some(error) = failure {
            let failures = breaker.failures.fetch_add(1, Ordering::Relaxed) + 1;
            if failures >= FAILURES {
                let rest = (SHORTEST_REST << (failures - FAILURES).min(4)).min(LONGEST_REST);
                breaker.rests_until.store(breaker.now() + rest, Ordering::Relaxed);
                if failures == FAILURES {
                    tracing::warn!(%error, "the store fails: it is left alone for a while, and sources are asked instead");
                }
            }
        } else if breaker.failures.swap(0, Ordering::Relaxed) >= FAILURES {
            tracing::info!("the store answers again");
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probes {
            self.breaker.probing.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_fails_is_left_alone_and_tried_by_one_call_at_a_time() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.enter().unwrap().leave(Some(&Error::new(Kind::Unavailable, "it is down")));
        }
        assert!(breaker.enter().is_err(), "it rests");
        breaker.rests_until.store(0, Ordering::Relaxed);
        let probe = breaker.enter().unwrap();
        assert!(breaker.enter().is_err(), "one probe, and no other while it is under way");
        drop(probe);
        let probe = breaker.enter().expect("a probe that nobody waited for leaves the way free");
        probe.leave(None);
        assert!(breaker.enter().is_ok() && breaker.enter().is_ok(), "it is back");
    }
}
