//! Compressed chunks. Each is made once from the plain chunk, on threads that serve no connection;
//! meanwhile the rows behind it are read.

use std::{fmt, sync::Arc};

use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};

use super::{Fetch, Found, Loader, Place, Provenance};
use crate::{
    chunk::{Chunk, ChunkKey, Sum},
    coding::Coding,
    error::Result,
    store::Generation,
};

/// Chunks that are read and compressed before their stream needs them: at most `AHEAD` for one
/// stream and `ALL_AHEAD` for all. `AHEAD` is more than most reads of a source give, so that the
/// next read begins while chunks are compressed.
const AHEAD: usize = 16;
pub(super) const ALL_AHEAD: usize = 512;

/// Chunks that are being read and compressed for one stream, in the order of the list. Dropping it
/// stops that.
pub(crate) struct Ahead {
    loader: Arc<Loader>,
    /// The generation that they are read in.
    generation: Option<Generation>,
    chunks: Mutex<mpsc::Receiver<(ChunkKey, Result<Fetch>, OwnedSemaphorePermit)>>,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead").finish_non_exhaustive()
    }
}

impl Ahead {
    /// The chunk at a place. If the next chunk here is another one, since rows have changed in
    /// between, all of them are dropped and the loader fetches this one alone.
    pub(crate) async fn wait(self: Arc<Ahead>, place: Place) -> Result<Found> {
        let resource = place.key.resource();
        let mut chunks = self.chunks.lock().await;
        if self.loader.generation(&resource) == self.generation
            && let Some((key, fetch, _room)) = chunks.recv().await
            && key == place.key
        {
            let found = fetch?.wait().await?;
            drop(chunks);
            return Ok(Found { ahead: Some(self), ..found });
        }
        let loader = Arc::clone(&self.loader);
        drop(chunks);
        drop(self);
        loader.fetch(&place).wait().await
    }
}

impl Loader {
    /// From the store, else compressed from the plain chunk, which may itself come from anywhere.
    pub(super) async fn coded(self: &Arc<Loader>, place: &Place, coding: Coding, refresh: bool) -> Result<Found> {
        let ask = !refresh && place.plain_chunk.is_none() && !place.list.is_cold();
        if ask && let Some(found) = self.stored(place).await {
            return Ok(self.counted(place, found));
        }

        let (found, at_hand) = match (&place.plain_chunk, refresh) {
            (Some(found), _) => (found.clone(), true),
            (None, true) => (self.fetch_fresh(&place.plain()).wait().await?, true),
            (None, false) => match self.fetch(&place.plain()) {
                Fetch::Ready(found) => {
                    let at_hand = found.provenance != Provenance::Loaded;
                    (found, at_hand)
                }
                Fetch::Waiting(waiter) => (waiter.wait().await?, false),
            },
        };

        place.list.note_cold(matches!(found.provenance, Provenance::Loaded | Provenance::Joined));
        let ahead = (place.reads_on && !at_hand).then(|| self.compress_ahead(place, &found));
        let chunk = self.compress(place, coding, &found.chunk).await?;
        self.keep_at_hand(place, &chunk);
        self.write(place, vec![Arc::clone(&chunk)], None).await;
        Ok(Found { chunk, provenance: found.provenance, ahead })
    }

    /// Begins to read and compress the chunks behind this one, in the same generation.
    fn compress_ahead(self: &Arc<Loader>, place: &Place, found: &Found) -> Arc<Ahead> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let loader = Arc::clone(self);
        let list = Arc::clone(&place.list);
        let mut next = found.chunk.next.clone();
        let demand = place.demand.clone();
        let generation = place.generation;
        tokio::spawn(async move {
            while let Some(cursor) = next {
                // Without room the task ends; the stream then fetches the next chunk itself.
                let Ok(room) = Arc::clone(&loader.all_ahead).try_acquire_owned() else { return };
                let Ok(slot) = sender.reserve().await else { return };
                let place = Place::new(Arc::clone(&list), cursor, 0).asked_by(demand.clone());
                let place = Place { generation, ..place };
                if loader.generation(&place.key.resource()) != generation {
                    return;
                }
                let read = tokio::select! {
                    read = loader.fetch(&place.plain()).wait() => read,
                    () = sender.closed() => return,
                };
                next = read.as_ref().ok().and_then(|found| found.chunk.next.clone());
                let key = place.key.clone();
                let coded = |found| loader.fetch(&Place { plain_chunk: Some(found), ..place });
                slot.send((key, read.map(coded), room));
            }
        });

        Arc::new(Ahead { loader: Arc::clone(self), generation, chunks: Mutex::new(receiver) })
    }

    /// Compresses a chunk on a thread that serves no connection.
    async fn compress(&self, place: &Place, coding: Coding, plain: &Arc<Chunk>) -> Result<Arc<Chunk>> {
        let (key, plain, rows) = (place.key.clone(), Arc::clone(plain), place.plain().list.rows_of(plain));
        let compress = move || {
            let body = coding.codec().piece(&rows);
            let sum = Some(Sum::of(&rows));
            Arc::new(Chunk { key, body, plain: sum, ..Chunk::clone(&plain) })
        };
        let chunk = self.compressors.run(compress).await?;
        self.metrics.compressed.inc();
        Ok(chunk)
    }
}
