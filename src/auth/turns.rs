//! Turns at another server: how many questions it gets at once, in all and for one address.
//!
//! A question that has its turn keeps it until it ends, whether a client still waits for the answer
//! or not. So nobody makes the server work on more questions by asking and leaving.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::refusal::Refusal;
use crate::{
    error::{Error, Kind},
    unpoisoned::Unpoisoned,
};

/// How many questions the server gets at once.
pub(super) const ALL: usize = 64;
/// How many of them may be of one address.
pub(super) const EACH: usize = 16;
/// How many questions one address may have under way, with those that wait. One more is refused.
pub(super) const LINE: usize = 128;
/// How long a question may wait for its turn.
pub(super) const WAIT: Duration = Duration::from_secs(2);
/// When an address that has too many may come back, in seconds.
const COME_BACK: u64 = 1;

/// The turns at one server.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    lines: Arc<Mutex<HashMap<IpAddr, Line>>>,
}

/// The questions of one address.
struct Line {
    under_way: usize,
    turns: Arc<Semaphore>,
}

/// A place in the line of an address.
pub(super) struct Place {
    lines: Arc<Mutex<HashMap<IpAddr, Line>>>,
    address: IpAddr,
    turns: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// A turn, until it is dropped.
pub(super) struct Turn {
    _of_address: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
    _place: Place,
}

/// Why a question got no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// Its address has too many questions under way.
    OfAddress,
    /// All addresses together have.
    OfAll,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns { all: Arc::new(Semaphore::new(ALL)), lines: Arc::default() }
    }

    /// Takes a place in the line of an address.
    ///
    /// # Errors
    /// When the address has too many already.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, NoTurn> {
        let mut lines = self.lines.lock().unpoisoned();
        let new = || Line { under_way: 0, turns: Arc::new(Semaphore::new(EACH)) };
        let line = lines.entry(address).or_insert_with(new);
        if line.under_way >= LINE {
            return Err(NoTurn::OfAddress);
        }

        line.under_way += 1;
        let turns = Arc::clone(&line.turns);
        Ok(Place { lines: Arc::clone(&self.lines), address, turns, all: Arc::clone(&self.all) })
    }
}

impl Place {
    /// Waits for the turn. Those of one address come in their order. All addresses wait in one line
    /// for the server, where each has [`EACH`] questions at most. So an address that has many in its
    /// own line delays the others by no more than these.
    ///
    /// Dropping the future leaves the line.
    ///
    /// # Errors
    /// When no turn comes in time.
    pub(super) async fn turn(self) -> Result<Turn, NoTurn> {
        let end = Instant::now() + WAIT;
        let of_address = timeout_at(end, Arc::clone(&self.turns).acquire_owned()).await;
        let of_address = of_address.ok().and_then(Result::ok).ok_or(NoTurn::OfAddress)?;
        let of_all = timeout_at(end, Arc::clone(&self.all).acquire_owned()).await;
        let of_all = of_all.ok().and_then(Result::ok).ok_or(NoTurn::OfAll)?;
        Ok(Turn { _of_address: of_address, _of_all: of_all, _place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.lines.lock().unpoisoned();
        if let Entry::Occupied(mut line) = lines.entry(self.address) {
            line.get_mut().under_way -= 1;
            if line.get().under_way == 0 {
                line.remove();
            }
        }
    }
}

impl NoTurn {
    /// 429 for an address that asks for too much, 503 where all do.
    pub(super) fn refusal(self) -> Refusal {
        let error = match self {
            NoTurn::OfAddress => {
                let message = "this address has too many logins checked at once";
                Error::new(Kind::RateLimited, message).retry_in(COME_BACK)
            }
            NoTurn::OfAll => Error::new(Kind::Busy, "too many logins are being checked now"),
        };
        Refusal::Problem(error)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, poll};

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn turn(turns: &Turns, last: u8) -> impl Future<Output = Result<Turn, NoTurn>> {
        turns.enter(address(last)).unwrap().turn()
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_never_has_all_turns_and_waits_alone() {
        let turns = Turns::new();
        let mut held: Vec<Turn> = vec![];
        for _ in 0..EACH {
            held.push(turn(&turns, 1).await.ok().unwrap());
        }
        let mut one_more = Box::pin(turn(&turns, 1));
        assert!(poll!(&mut one_more).is_pending());
        assert!(turn(&turns, 2).now_or_never().unwrap().is_ok(), "another address need not wait");
        held.pop();
        assert!(one_more.await.is_ok());

        held.push(turn(&turns, 1).await.ok().unwrap());
        assert_eq!(turn(&turns, 1).await.err(), Some(NoTurn::OfAddress), "the wait ends");
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_its_line_an_address_is_refused_at_once_and_others_are_not() {
        let turns = Turns::new();
        let line: Vec<Place> = (0..LINE).map(|_| turns.enter(address(1)).ok().unwrap()).collect();
        let refused = turns.enter(address(1)).err().unwrap().refusal();
        assert_eq!(refused.kind(), Some(Kind::RateLimited));
        assert_eq!(refused.response().headers()["retry-after"], "1");
        assert!(turns.enter(address(2)).is_ok());

        drop(line);
        assert!(turns.enter(address(1)).is_ok());
        assert!(turns.lines.lock().unwrap().is_empty(), "nothing is kept of who left");
    }

    #[tokio::test(start_paused = true)]
    async fn where_several_addresses_have_all_turns_the_next_waits_and_is_told_that_all_are_taken() {
        let turns = Turns::new();
        let mut held = vec![];
        for number in 0..ALL {
            held.push(turn(&turns, (number / EACH) as u8).await.ok().unwrap());
        }
        let refused = turn(&turns, 100).await.err().unwrap();
        assert_eq!((refused, refused.refusal().kind()), (NoTurn::OfAll, Some(Kind::Busy)));

        let mut next = Box::pin(turn(&turns, 100));
        assert!(poll!(&mut next).is_pending());
        let mut left = Box::pin(turn(&turns, 101));
        assert!(poll!(&mut left).is_pending());
        drop(left);
        held.pop();
        assert!(next.await.is_ok());
        assert!(turn(&turns, 101).now_or_never().unwrap().is_ok(), "who left took no turn along");
    }
}
