//! Circuit breakers: after several failures in a row a machine is left alone, and one call now and
//! then tries it (half-open; Nygard, *Release It!*, 2007).

use std::{
    future::Future,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::FarState;
use crate::{
    error::{Error, Kind, Result},
    unpoisoned::Unpoisoned,
};

/// After this many failures in a row the machine is left alone ("rests").
const FAILURES: u32 = 5;
const SHORTEST_REST: u64 = 500;
const LONGEST_REST: u64 = 4_000;

/// Whether a machine answers, and whether it takes writes. Each has its own breaker, since a
/// machine that refuses writes can still be read.
pub(super) struct Health {
    answers: Breaker,
    takes: Breaker,
}

impl Default for Health {
    fn default() -> Health {
        let answers = Breaker::new(Words {
            rests: "the store failed lately, and is left alone for a moment",
            opens: "the store fails: it is left alone for a while, and sources are asked instead",
            closes: "the store answers again",
        });
        let takes = Breaker::new(Words {
            rests: "the store refused writes lately, and is only read for a moment",
            opens: "the store refuses writes: for a while it is only read",
            closes: "the store takes writes again",
        });
        Health { answers, takes }
    }
}

impl Health {
    /// Makes a call that only reads, unless the machine rests.
    pub(super) async fn read<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let pass = self.answers.enter(Kind::Unavailable)?;
        let answer = call.await;

        // Any answer, even a refusal, shows that the machine is there.
        let failure = answer.as_ref().err().filter(|error| is_failure(error));
        pass.leave(failure);
        answer
    }

    /// Makes a call that writes, unless the machine rests, or only writes to it do.
    pub(super) async fn write<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let pass = self.takes.enter(Kind::Refused)?;
        self.written(pass, call).await
    }

    /// Makes a call that writes, unless the machine rests. Somebody waits for this write, so it is
    /// tried even if other writes were refused lately.
    pub(super) async fn insist<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let pass = Pass { breaker: &self.takes, probes: false };
        self.written(pass, call).await
    }

    async fn written<T>(&self, pass: Pass<'_>, call: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = self.read(call).await;

        // No answer at all does not tell whether the machine takes writes.
        match &answer {
            Ok(_) => pass.leave(None),
            Err(error) if error.kind() == Kind::Refused => pass.leave(Some(error)),
            Err(_) => {}
        }
        answer
    }

    /// Whether calls are kept from the machine, except one now and then.
    pub(super) fn rests(&self) -> bool {
        self.answers.is_open()
    }

    /// Whether its rest is over and no call tries it yet.
    #[cfg(feature = "memcached")]
    pub(super) fn may_be_tried(&self) -> bool {
        self.answers.rest_is_over() && !self.answers.probing.load(Ordering::Relaxed)
    }
}

impl FarState {
    /// The state of these machines together.
    pub(super) fn of<'a>(machines: impl IntoIterator<Item = &'a Health>) -> FarState {
        let mut state = FarState::default();
        for health in machines {
            state.machines += 1;
            state.all_rest += u64::from(health.rests());
            state.writes_rest += u64::from(health.takes.is_open());
        }
        state
    }
}

fn is_failure(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout | Kind::Internal)
}

/// Stops calls after several failures in a row, and lets one through now and then.
struct Breaker {
    words: Words,
    /// How many calls failed in a row.
    failures: AtomicU32,
    /// The last failure.
    last: Mutex<Option<Error>>,
    /// No call is made until then, in milliseconds since `began`.
    rests_until: AtomicU64,
    probing: AtomicBool,
    began: OnceLock<Instant>,
}

/// The messages for callers and for the log.
struct Words {
    rests: &'static str,
    opens: &'static str,
    closes: &'static str,
}

impl Breaker {
    fn new(words: Words) -> Breaker {
        Breaker {
            words,
            failures: AtomicU32::new(0),
            last: Mutex::default(),
            rests_until: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            began: OnceLock::new(),
        }
    }

    fn now(&self) -> u64 {
        self.began.get_or_init(Instant::now).elapsed().as_millis() as u64
    }

    fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES
    }

    fn rest_is_over(&self) -> bool {
        self.now() >= self.rests_until.load(Ordering::Relaxed)
    }

    /// Lets a call through, or refuses it: with an error of this kind, caused by the last failure.
    fn enter(&self, kind: Kind) -> Result<Pass<'_>> {
        if !self.is_open() {
            return Ok(Pass { breaker: self, probes: false });
        }

        if !self.rest_is_over() || self.probing.swap(true, Ordering::Relaxed) {
            let error = Error::new(kind, self.words.rests);
            let last = self.last.lock().unpoisoned();
            return Err(match &*last {
                Some(last) => error.remedy(last.advice().unwrap_or_default()).caused_by(last.told()),
                None => error,
            });
        }
        Ok(Pass { breaker: self, probes: true })
    }
}

/// The right to make one call. If it is dropped without `leave`, as when the caller has gone, the
/// call counts neither as success nor as failure, and another call may probe.
struct Pass<'a> {
    breaker: &'a Breaker,
    probes: bool,
}

impl Pass<'_> {
    /// Records whether the call failed.
    fn leave(self, failure: Option<&Error>) {
        let breaker = self.breaker;
        let Some(error) = failure else {
            if breaker.failures.swap(0, Ordering::Relaxed) >= FAILURES {
                tracing::info!("{}", breaker.words.closes);
            }
            return;
        };

        *breaker.last.lock().unpoisoned() = Some(error.clone());
        let failures = breaker.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= FAILURES {
            let rest = (SHORTEST_REST << (failures - FAILURES).min(4)).min(LONGEST_REST);
            breaker.rests_until.store(breaker.now() + rest, Ordering::Relaxed);
        }

        if failures == FAILURES {
            tracing::warn!(%error, "{}", breaker.words.opens);
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

    fn down() -> Error {
        Error::new(Kind::Unavailable, "it is down")
    }

    #[test]
    fn a_store_that_fails_is_left_alone_and_tried_by_one_call_at_a_time() {
        let breaker = Health::default().answers;
        let enter = || breaker.enter(Kind::Unavailable);
        for _ in 0..FAILURES {
            enter().unwrap().leave(Some(&down()));
        }

        let rests = enter().err().expect("it rests");
        assert!(rests.to_string().contains("it is down"), "and says why: {rests}");

        breaker.rests_until.store(0, Ordering::Relaxed);
        let probe = enter().unwrap();
        assert!(enter().is_err(), "one probe, and no other while it is under way");
        drop(probe);
        let probe = enter().expect("a probe that nobody waited for leaves the way free");
        probe.leave(None);
        assert!(enter().is_ok() && enter().is_ok(), "it is back");
    }

    #[tokio::test]
    async fn a_store_that_refuses_writes_is_read_and_written_to_again_after_a_rest() {
        let health = Health::default();
        let refused = || async { Err::<(), _>(Error::new(Kind::Refused, "it is full")) };
        for _ in 0..FAILURES {
            assert!(health.write(refused()).await.is_err());
        }
        let never = async { panic!("writes rest") };
        let rests: Error = health.write::<()>(never).await.unwrap_err();
        assert_eq!(rests.kind(), Kind::Refused);
        assert!(health.read(async { Ok(()) }).await.is_ok(), "reads go on");
        assert_eq!(health.insist(refused()).await.unwrap_err().message(), "it is full", "a purge is tried");

        health.takes.rests_until.store(0, Ordering::Relaxed);
        assert!(health.write(async { Ok(()) }).await.is_ok());
        assert!(health.write(async { Ok(()) }).await.is_ok(), "it takes them again");
    }
}
