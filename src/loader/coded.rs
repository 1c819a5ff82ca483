//! Compressed chunks: each is made of the plain one, once, away from the threads that serve; the rows behind it are read meanwhile.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};

use super::{Fetch, Found, How, Loader, Place};
use crate::{
    chunk::{Chunk, ChunkKey, Sum},
    coding::CODINGS,
    error::{Error, Kind, Result},
};

/// Plain chunks that are read while one before them is compressed: for one stream, about as many as a read of the source gives, and for all together.
const AHEAD: usize = 8;
pub(super) const ALL_AHEAD: usize = 512;

/// Plain chunks that are being read, in the order of the list; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// The generation of the resource when it began.
    generation: u64,
    chunks: Mutex<mpsc::Receiver<Read>>,
}

/// A chunk that was read, or why it was not, and its room among all that are.
type Read = (ChunkKey, Result<Found>, OwnedSemaphorePermit);

impl Ahead {
    /// The chunk with this key, if it is among them; those before it are given up.
    async fn take(&self, key: &ChunkKey) -> Option<Result<Found>> {
        let mut chunks = self.chunks.lock().await;
        while let Some((read, outcome, _)) = chunks.recv().await {
            if read == *key {
                return Some(outcome);
            }
        }
        None
    }
}

impl Loader {
    /// From the store, else made of the plain chunk, wherever that comes from.
    pub(super) async fn coded(self: &Arc<Loader>, place: &Place, coding: usize, refresh: bool) -> Result<Found> {
        if !refresh
            && !place.list.is_cold()
            && let Some(found) = self.stored(place).await
        {
            return Ok(self.counted(found));
        }
        let generation = self.store.generation(&place.key.resource());
        let plain = place.plain();
        let mut ahead = place.ahead.clone().filter(|ahead| ahead.generation == generation && !refresh);
        let read = match &ahead {
            Some(ahead) => ahead.take(&plain.key).await,
            None => None,
        };
        let found = match read {
            Some(read) => read?,
            None => {
                let fetch = if refresh { self.fetch_fresh(&plain) } else { self.fetch(&plain) };
                let (found, at_hand) = match fetch {
                    Fetch::Ready(found) => (found, true),
                    Fetch::Waiting(waiter) => (waiter.wait().await?, false),
                };
                ahead = (place.reads_on && !at_hand).then(|| self.read_ahead(&plain, &found, generation));
                found
            }
        };
        place.list.note_cold(matches!(found.how, How::Loaded | How::Joined));
        let chunk = self.code(place, coding, &found.chunk).await?;
        self.store.keep_at_hand(&chunk, generation);
        if !self.store.is_here() {
            self.write(place, &chunk, generation, None, vec![]);
        }
        Ok(Found { chunk, how: found.how, ahead })
    }

    /// Begins to read the chunks behind one.
    fn read_ahead(self: &Arc<Loader>, place: &Place, found: &Found, generation: u64) -> Arc<Ahead> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (loader, list, mut next) = (Arc::clone(self), Arc::clone(&place.list), found.chunk.next.clone());
        tokio::spawn(async move {
            while let Some(cursor) = next {
                // Without room it ends, and whoever needs the next chunk asks for it.
                let Ok(room) = Arc::clone(&loader.all_ahead).try_acquire_owned() else { return };
                let Ok(slot) = sender.reserve().await else { return };
                let place = Place::new(Arc::clone(&list), cursor, 0);
                let read = match loader.fetch(&place) {
                    Fetch::Ready(found) => Ok(found),
                    Fetch::Waiting(waiter) => tokio::select! {
                        read = waiter.wait() => read,
                        () = sender.closed() => return,
                    },
                };
                next = read.as_ref().ok().and_then(|found| found.chunk.next.clone());
                slot.send((place.key, read, room));
            }
        });
        Arc::new(Ahead { generation, chunks: Mutex::new(receiver) })
    }

    /// Compresses a chunk on a thread of its own, as many at once as the machine has cores.
    async fn code(&self, place: &Place, coding: usize, plain: &Arc<Chunk>) -> Result<Arc<Chunk>> {
        let stopped = || Error::new(Kind::Internal, "a chunk was not compressed");
        let turn = Arc::clone(&self.presses).acquire_owned().await.map_err(|_| stopped())?;
        let (plain, key) = (Arc::clone(plain), place.key.clone());
        let press = move || {
            let body = CODINGS[coding].open.piece(&plain.body);
            drop(turn);
            let sum = Some(Sum::of(&plain.body));
            Arc::new(Chunk { key, body, plain: sum, next: plain.next.clone(), ..*plain })
        };
        let chunk = tokio::task::spawn_blocking(press).await.map_err(|_| stopped())?;
        self.metrics.compressed.inc();
        Ok(chunk)
    }
}
