//! Compressed chunks: each is made of the plain one, once, away from the threads that serve.

use std::sync::Arc;

use super::{Fetch, Found, How, Loader, Place, Waiter};
use crate::{
    chunk::{Chunk, Sum},
    coding::CODINGS,
    error::{Error, Kind, Result},
};

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
        let ahead = place.ahead.as_ref().filter(|ahead| ahead.generation == generation && !refresh);
        let fetch = match ahead {
            Some(ahead) => Fetch::Waiting(Waiter::clone(ahead)),
            None if refresh => self.fetch_fresh(&plain),
            None => self.fetch(&plain),
        };
        let found = match fetch {
            Fetch::Ready(found) => found,
            Fetch::Waiting(waiter) => waiter.wait().await?,
        };
        place.list.note_cold(matches!(found.how, How::Loaded | How::Joined));
        let ahead = if place.reads_on { self.read_ahead(&plain, &found.chunk) } else { None };
        let chunk = self.code(place, coding, &found.chunk).await?;
        self.store.keep_at_hand(&chunk, generation);
        if !self.store.is_here() {
            self.write(place, &chunk, generation, None, vec![]);
        }
        Ok(Found { chunk, how: found.how, ahead })
    }

    /// Begins to read the rows behind a chunk while it is compressed and sent; for as long as somebody holds what is returned.
    fn read_ahead(self: &Arc<Loader>, place: &Place, chunk: &Chunk) -> Option<Arc<Waiter>> {
        match self.fetch(&Place::new(Arc::clone(&place.list), chunk.next.clone()?, 0)) {
            Fetch::Ready(_) => None,
            Fetch::Waiting(waiter) => Some(Arc::new(waiter)),
        }
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
