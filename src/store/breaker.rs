//! A limit of time for each call of a server, and a circuit breaker.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::error::{Error, Kind, Result};

/// One call is waited for so long.
const PATIENCE: Duration = Duration::from_millis(500);

/// Leaves alone what fails, and looks now and then whether it is back: one call at a time (half-open; Nygard, *Release It!*, 2007).
#[derive(Default)]
pub(super) struct Breaker {
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

    /// A call with its limit of time, unless what it asks rests.
    pub(super) async fn call<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let pass = self.enter()?;
        let answer = match tokio::time::timeout(PATIENCE, request).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(Kind::Timeout, "the store did not answer in time")),
        };
        // A refusal is an answer: whoever refuses writes, for want of room, can still be read.
        pass.leave(answer.as_ref().err().filter(|error| error.kind() != Kind::Busy));
        answer
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
