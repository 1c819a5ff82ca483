//! What a server does with a store, done once with a list that no server has: for
//! `chunkflow check`.

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

/// The digest of that list. Its generation is all that a trial leaves behind.
const LIST: &[u8; 16] = b"chunkflow check ";
/// So many chunks, which a cluster and the nodes of a Memcached have among them.
const CHUNKS: i64 = 24;
/// The largest chunk that is usual, in bytes: see `boundary`.
const LARGEST: usize = 384 * 1024;
/// What stands around a chunk's body in the store.
const AROUND: usize = 1024;
/// So often what was written is looked for.
const LOOKS: usize = 2;
/// So often a store is asked until it answers.
const MEETINGS: u32 = 4;
/// What is written fades after this.
const KEEP: Duration = Duration::from_secs(10);

/// Everything that keeps servers from using this store, each with what to do about it; nothing
/// where it is in this process.
pub(crate) async fn trial(store: &Store, options: &StoreOptions) -> Vec<Error> {
    if store.agreement().is_none() {
        return vec![];
    }

    // What is near would answer for what is far.
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
        // More of the same is no news, and too much of it has the store left alone.
        if !wrong.0.is_empty() {
            break;
        }
    }

    if !wrong.0.iter().any(is_silent) {
        wrong.note(try_purge(far.chunks()).await);
    }

    wrong.0
}

/// Waits until a store answers: the first connection, over TLS to each node of a cluster, may take
/// longer to come about than a call waits for it.
///
/// # Errors
/// What it said in the last of several calls, or in the first that was an answer.
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

/// Looks for a chunk that was never written, and gives the generation in which it did.
async fn look_for(chunks: &dyn Chunks, key: &ChunkKey) -> Result<Generation> {
    let generation = chunks.generation(LIST, KEEP).await?;
    chunks.get(key, generation).await?;
    Ok(generation)
}

/// What is wrong, each thing once.
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

/// A chunk of so many bytes that cannot be packed, under a name of its own.
fn chunk(bytes: usize) -> Arc<Chunk> {
    let mut list = [0; 48];
    list[..16].copy_from_slice(LIST);
    let cursor = Cursor::after(&[Value::Integer(fastrand::i64(..))]).expect("a short key");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let body: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect();
    let key = ChunkKey::new(&ListKey(list), &cursor, 0);
    Arc::new(Chunk { key, loaded_at: now, rows: 1, next: None, body: body.into(), plain: None })
}

/// Looks for a chunk, takes the lease of its load, writes it, finds it, and gives the lease back.
async fn try_chunk(chunks: &dyn Chunks, agreement: &dyn Agreement, chunk: &Arc<Chunk>, wrong: &mut Wrong) {
    // Where it cannot be read nothing else will do.
    let Some(generation) = wrong.note(look_for(chunks, &chunk.key).await) else { return };

    let lease = wrong.note(agreement.lease(&chunk.key, generation, KEEP).await);
    if wrong.note(chunks.put(Arc::clone(chunk), KEEP, generation).await).is_some() {
        // More than once: calls take turns at several connections, which a balancer may lead to
        // several stores.
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
