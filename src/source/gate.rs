//! The door to a database: a bound on its reads, on those who wait, and on how long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Kind, Result};

/// How many reads of a database run at once, how many may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub struct GateLimits {
    /// Reads at once.
    pub reads: usize,
    /// Reads that may wait for their turn; one more is refused at once.
    pub waiting: usize,
    /// How long a read may wait.
    pub wait: Duration,
}

impl Default for GateLimits {
    /// Four reads at once, a thousand in the queue, ten seconds.
    fn default() -> GateLimits {
        GateLimits { reads: 4, waiting: 1000, wait: Duration::from_secs(10) }
    }
}

/// The door to one database, shared by all its resources.
#[derive(Debug)]
pub struct Gate {
    limits: GateLimits,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Gate {
    /// A door with these limits.
    pub fn new(limits: GateLimits) -> Gate {
        Gate { limits, turns: Arc::new(Semaphore::new(limits.reads)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn, which lasts until the permit is dropped. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`Kind::Busy`] when too many wait already, or when the wait was too long.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(&self.waiting, self.limits.waiting)?;
        match tokio::time::timeout(self.limits.wait, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| Error::new(Kind::Internal, "the gate of a database was closed")),
            Err(_) => Err(busy("no turn at the database came in time")),
        }
    }
}

fn busy(message: &str) -> Error {
    Error::new(Kind::Busy, message).remedy("try again shortly; if this is frequent, give the database a larger `pool`")
}

/// A place in the queue, given back on drop.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Result<Place<'a>> {
        let place = Place(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(busy("too many loads wait for the database"));
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn more_reads_than_turns_and_places_are_refused_and_a_long_wait_ends() {
        let gate = Gate::new(GateLimits { reads: 1, waiting: 1, wait: Duration::from_secs(5) });
        let turn = gate.turn().await.unwrap();
        let (waited, refused) = tokio::join!(gate.turn(), gate.turn());
        assert_eq!(waited.unwrap_err().kind(), Kind::Busy);
        assert_eq!(refused.unwrap_err().message(), "too many loads wait for the database");
        drop(turn);
        assert!(gate.turn().await.is_ok(), "places and turns are given back");
    }
}
