//! Tries once all that a server does with a store, with a list that no server has: for `chunkflow
//! check`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Agreement, Chunks, Generation, Lease, Store, StoreOptions, open_store};
use crate::{
    chunk::{Chunk, ChunkKey, ListKey},
    cursor::Cursor,
    error::{Error, Kind, Result},
    row::Value,
};

/// The digest of that list. A trial leaves nothing behind but its generation.
const LIST: &[u8; 16] = b"chunkflow check ";
/// How many chunks: enough that each node of a cluster or a Memcached gets some.
const CHUNKS: i64 = 24;
/// The largest usual chunk, in bytes: see `boundary`.
const LARGEST: usize = 384 * 1024;
/// Bytes around a chunk's body in the store.
const AROUND: usize = 1024;
/// How often each written chunk is looked for.
const LOOKS: usize = 2;
/// How many calls a store has to answer one of.
const MEETINGS: u32 = 4;
/// Written chunks expire after this.
const KEEP: Duration = Duration::from_secs(10);

/// All reasons why servers could not use this store, each with a remedy. None for a store in this
/// process.
pub(crate) async fn trial(store: &Store, options: &StoreOptions) -> Vec<Error> {
    if store.agreement().is_none() {
        return vec![];
    }

    // Without memory in front, which would answer for the far store.
    let far = match open_store(&StoreOptions { near: 0, ..options.clone() }) {
        Ok(far) => far,
        Err(error) => return vec![error],
    };

    if let Err(error) = meet(&far).await {
        return vec![error];
    }

    let Some(agreement) = far.agreement() else { return vec![] };

    let largest = options.max_entry.unwrap_or(usize::MAX).saturating_sub(AROUND).min(LARGEST);
    let mut wrong = Wrong::default();
    for n in 0..CHUNKS {
        let bytes = if n == 0 { largest } else { 100 };
        try_chunk(far.chunks(), &**agreement, &chunk(bytes), &mut wrong).await;
        // Further chunks would fail alike, and after too many failures the store is left alone.
        if !wrong.0.is_empty() {
            break;
        }
    }

    if !wrong.0.iter().any(is_silent) {
        wrong.note(try_purge(far.chunks()).await);
        // An entry would be news to the servers that use the store.
        wrong.note(agreement.news(None).await);
    }

    wrong.0
}

/// Waits until a store answers. The first connection, over TLS to each node of a cluster, may take
/// longer than the time limit of a call.
///
/// # Errors
/// The error of the last call, or of the first call that did not time out.
pub(crate) async fn meet(store: &Store) -> Result<()> {
    let key = chunk(0).key.clone();
    let mut answer = look_for(store.chunks(), &key).await;
    for _ in 1..MEETINGS {
        match &answer {
            Err(error) if error.kind() == Kind::Timeout => answer = look_for(store.chunks(), &key).await,
            _ => break,
        }
    }
    answer.map(drop)
}

/// Looks for a chunk that was never written. Returns the generation in which it looked.
async fn look_for(chunks: &dyn Chunks, key: &ChunkKey) -> Result<Generation> {
    let generation = chunks.generation(LIST, KEEP).await?;
    chunks.get(key, generation).await?;
    Ok(generation)
}

/// What is wrong, each message once.
#[derive(Default)]
struct Wrong(Vec<Error>);

impl Wrong {
    fn note<T>(&mut self, outcome: Result<T>) -> Option<T> {
        let error = match outcome {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        if !self.0.iter().any(|known| known.told() == error.told()) {
            self.0.push(error);
        }
        None
    }
}

fn is_silent(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
}

/// A chunk of this many bytes that LZ4 cannot pack, under a key of its own.
fn chunk(bytes: usize) -> Arc<Chunk> {
    let mut list = [0; 48];
    list[..16].copy_from_slice(LIST);
    let cursor = Cursor::after(&[Value::Integer(fastrand::i64(..))]).expect("a short key");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let body: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect();
    let key = ChunkKey::new(&ListKey(list), &cursor, 0);
    Arc::new(Chunk::new(key, now, 1, None, body.into()))
}

/// Looks for a chunk, takes the lease of its load, writes it, finds it, and releases the lease.
async fn try_chunk(chunks: &dyn Chunks, agreement: &dyn Agreement, chunk: &Arc<Chunk>, wrong: &mut Wrong) {
    // If the store cannot be read, nothing else will work.
    let Some(generation) = wrong.note(look_for(chunks, &chunk.key).await) else { return };

    let lease = wrong.note(agreement.lease(&chunk.key, generation, KEEP).await);
    if wrong.note(chunks.put(Arc::clone(chunk), KEEP, generation).await).is_some() {
        // More than once: calls take turns on several connections, which a load balancer may spread
        // over several stores.
        for _ in 0..LOOKS {
            let found = wrong.note(chunks.get(&chunk.key, generation).await);
            if found.is_some_and(|found| found.as_ref() != Some(chunk)) {
                let error = Error::new(Kind::Data, "what was just written is not there")
                    .remedy("give it more memory; see its evictions, and that all of its addresses are one store");
                wrong.note(Err::<(), _>(error));
            }
        }
    }

    let Some(Lease::Ours { token, .. }) = lease else { return };
    if wrong.note(agreement.release(&chunk.key, generation, token).await).is_none() {
        return;
    }

    match wrong.note(agreement.lease(&chunk.key, generation, KEEP).await) {
        Some(Lease::Ours { token, .. }) => {
            wrong.note(agreement.release(&chunk.key, generation, token).await);
        }
        Some(Lease::Theirs) => {
            let error = Error::new(Kind::Data, "a lease that was given back is still held")
                .remedy("see that EVAL works there: without it servers wait for leases that nobody has");
            wrong.note(Err::<(), _>(error));
        }
        None => {}
    }
}

/// Purges the list, as `chunkflow purge` does.
async fn try_purge(chunks: &dyn Chunks) -> Result<()> {
    let before = chunks.generation(LIST, KEEP).await?;
    chunks.forget(LIST).await?;
    if chunks.known_generation(LIST) == Some(before) {
        return Err(Error::new(Kind::Data, "a purge has no effect"));
    }
    Ok(())
}
