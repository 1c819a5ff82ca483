//! What servers that share a store do for each other: leases, so that one of them loads a chunk,
//! and writes to the store.

use std::{sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::Instrument;

use super::{Found, Loader, Place, Provenance, STORE_TIMEOUT};
use crate::{
    chunk::{Chunk, ChunkKey},
    metrics::Call,
    store::{Agreement, Generation, Lease},
    trace,
};

/// A lease of a load lasts at most this long. If its holder dies, other servers load after that.
const LEASE: Duration = Duration::from_secs(3);
/// Milliseconds between looks whether another server has loaded a chunk: the first pause, and the
/// longest.
const LOOKS: [u64; 2] = [5, 80];
/// KiB that may be on their way to a shared store; chunks beyond that are not written.
pub(super) const WRITES: usize = 32 * 1024;

impl Loader {
    /// Writes the chunks of a run to a shared store in the background, the first one last, and then
    /// releases the lease of the first. A server that waits for the first chunk goes on to the
    /// second at once, and so finds it there.
    ///
    /// Chunks for which there is no room are not written, unless the demand waits for room. Nor are
    /// chunks whose generation the store has not said: nobody would find them.
    pub(super) async fn write(&self, place: &Place, run: Vec<Arc<Chunk>>, lease: Option<LeaseGuard>) {
        let Some(generation) = place.generation.filter(|_| !self.is_here()) else { return };
        let keep = place.keep();

        let mut roomy = self.with_room(run, place.demand.waits_for_room).await.into_iter();
        let first = roomy.next().flatten();
        let behind: Vec<_> = roomy.flatten().collect();
        let store = self.store.clone();
        let metrics = Arc::clone(&self.metrics);
        let within = place.around().clone();

        // One task writes them all, which leaves the other threads to the next run.
        tokio::spawn(async move {
            let put = async |(chunk, room)| {
                let began = Instant::now();
                let span = trace::put(&within);
                let written = store.chunks().put(chunk, keep, generation).instrument(span.clone()).await;
                trace::went(&span, written.as_ref());
                metrics.store.took(Call::Put, began.elapsed());
                if let Err(error) = written {
                    metrics.store.failed(Call::Put);
                    tracing::debug!(%error, "a chunk was not stored");
                }
                drop(room);
            };
            for chunk in behind.into_iter().chain(first) {
                put(chunk).await;
            }
            if let Some(mut lease) = lease {
                lease.release().await;
            }
        });
    }

    /// Each chunk with its share of the room for pending writes. `None` for a chunk without room,
    /// which can only be if the run does not wait for room.
    async fn with_room(&self, run: Vec<Arc<Chunk>>, waits: bool) -> Vec<Option<(Arc<Chunk>, OwnedSemaphorePermit)>> {
        let share = |chunk: &Arc<Chunk>| (chunk.weight() / 1024 + 1).min(WRITES);
        let mut waited = None;
        if waits {
            let all = run.iter().map(share).sum::<usize>().min(WRITES);
            waited = Arc::clone(&self.writes).acquire_many_owned(all as u32).await.ok();
        }

        let roomy = |chunk: Arc<Chunk>| {
            let share = share(&chunk);
            let room = match &mut waited {
                // The last of a run that is larger than all the room goes with what is left.
                Some(waited) => waited.split(share.min(waited.num_permits())),
                None => Arc::clone(&self.writes).try_acquire_many_owned(share as u32).ok(),
            };
            if room.is_none() {
                self.metrics.unwritten.inc();
            }
            Some((chunk, room?))
        };

        run.into_iter().map(roomy).collect()
    }

    /// Takes the lease to load a chunk, among all servers. `Err` is the chunk itself, if another
    /// server has loaded it meanwhile.
    pub(super) async fn lease(
        self: &Arc<Loader>,
        place: &Place,
        agreement: &Arc<dyn Agreement>,
        generation: Generation,
        refresh: bool,
    ) -> Result<Option<LeaseGuard>, Found> {
        // A refresh is not served by the stale chunk that is there already.
        let serves = |found: &Found| !refresh || matches!(found.provenance, Provenance::Fresh(_));
        // The holder may have died, and another server may have taken the lease when it ran out. So
        // this waits for two leases.
        let until = Instant::now() + 2 * LEASE;
        let mut pause = LOOKS[0];
        loop {
            let began = Instant::now();
            let answered = tokio::time::timeout(STORE_TIMEOUT, agreement.lease(&place.key, generation, LEASE)).await;
            self.metrics.store.took(Call::Lease, began.elapsed());
            match answered {
                Ok(Ok(Lease::Ours { token, there })) => {
                    let agreement = Arc::clone(agreement);
                    let guard = LeaseGuard { agreement, key: place.key.clone(), generation, token: Some(token) };
                    // The last holder may have just written the chunk.
                    return match self.accept(place, there).await.filter(serves) {
                        Some(found) => {
                            place.list.note_cold(false);
                            self.keep_at_hand(place, &found.chunk);
                            Err(found)
                        }
                        None => Ok(Some(guard)),
                    };
                }
                Ok(Ok(Lease::Theirs)) => {}
                Ok(Err(_)) | Err(_) => {
                    self.metrics.store.failed(Call::Lease);
                    return Ok(None);
                }
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(pause / 2 + fastrand::u64(0..=pause))).await;
            pause = (pause * 2).min(LOOKS[1]);
            if let Some(found) = self.stored(place).await.filter(serves) {
                return Err(found);
            }
        }
    }
}

/// A lease, given back when it is dropped.
pub(super) struct LeaseGuard {
    agreement: Arc<dyn Agreement>,
    key: ChunkKey,
    /// The generation that it was taken in.
    generation: Generation,
    /// `None` once it is given back.
    token: Option<u64>,
}

impl LeaseGuard {
    fn release(&mut self) -> impl Future<Output = ()> + use<> {
        let agreement = Arc::clone(&self.agreement);
        let key = self.key.clone();
        let generation = self.generation;
        let token = self.token.take();
        async move {
            if let Some(token) = token {
                // If the release fails, the lease ends when its time is over.
                let _ = agreement.release(&key, generation, token).await;
            }
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if self.token.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(self.release());
        }
    }
}
