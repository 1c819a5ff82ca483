//! The gate of a database. It bounds how many reads run at once, how many wait and for how long,
//! and decides which is next.
//!
//! Turns go round by requester, as in fair queuing (Nagle, RFC 970): a client with forty loads in
//! the queue delays only itself. Lists with filters cost the database more, and hardly anybody
//! shares one. So they never take the last turn: where there are two turns or more, one is left for
//! lists without filters.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    error::{Error, Kind, Result},
    unpoisoned::Unpoisoned,
};

/// How many reads of a database run at once, how many may wait, and how long.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct GateLimits {
    /// How many reads run at once.
    pub reads: usize,
    /// How many reads may wait for their turn; one more is refused at once.
    pub waiting: usize,
    /// How long a read may wait.
    pub wait: Duration,
}

impl Default for GateLimits {
    /// Four reads at once, a thousand waiting, ten seconds for each.
    fn default() -> GateLimits {
        GateLimits { reads: 4, waiting: 1000, wait: Duration::from_secs(10) }
    }
}

/// Whom a read is for, so that turns can go round: a number for each client; 0 for no client in
/// particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requester(pub u64);

/// What a read tells the gate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Claim {
    /// Whom it is for.
    pub requester: Requester,
    /// Whether it has a request's conditions, and so rows that hardly anybody else asks for.
    pub filtered: bool,
}

/// The state of a database's connections at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolState {
    /// How many reads may run at once.
    pub max: u64,
    /// How many reads run.
    pub in_use: u64,
    /// How many reads wait for their turn.
    pub waiting: u64,
    /// How many connections are open, idle ones included.
    pub connections: u64,
    /// How many reads were tried again since the start, after an error that the database itself
    /// calls temporary.
    pub retries: u64,
}

/// The gate of one database, shared by all its resources.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: GateLimits,
    retries: AtomicU64,
    queue: Arc<Mutex<Queue>>,
}

/// The right to read, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    queue: Arc<Mutex<Queue>>,
    filtered: bool,
}

/// Which read is next, and which wait.
#[derive(Debug)]
struct Queue {
    free: usize,
    /// How many turns reads with filters may still take.
    free_for_filtered: usize,
    /// One line for each requester with waiting reads; the first line is served next.
    lines: VecDeque<Line>,
    next_ticket: u64,
}

/// The waiting reads of one requester, those without filters apart.
#[derive(Debug, Default)]
struct Line {
    requester: Requester,
    plain: VecDeque<Waiting>,
    filtered: VecDeque<Waiting>,
}

/// A read that waits.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    turn: oneshot::Sender<Result<Turn>>,
}

impl Gate {
    /// A gate with these limits.
    pub(crate) fn new(limits: GateLimits) -> Gate {
        let queue = Queue {
            free: limits.reads,
            free_for_filtered: if limits.reads > 1 { limits.reads - 1 } else { limits.reads },
            lines: VecDeque::new(),
            next_ticket: 0,
        };
        Gate { limits, retries: AtomicU64::new(0), queue: Arc::new(Mutex::new(queue)) }
    }

    /// Waits for a turn, which lasts until it is dropped. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`Kind::Busy`] when too many reads wait already, or this one has waited too long.
    pub(crate) async fn turn(&self, claim: Claim) -> Result<Turn> {
        let (_slot, receiver) = {
            let mut queue = self.queue.lock().unpoisoned();
            if queue.may_begin(claim.filtered) {
                return Ok(queue.begin(&self.queue, claim.filtered));
            }

            self.make_room(&mut queue, claim.requester)?;
            let (turn, receiver) = oneshot::channel();
            let ticket = queue.enter(claim, turn);
            (QueueSlot { queue: &self.queue, ticket }, receiver)
        };

        match tokio::time::timeout(self.limits.wait, receiver).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => Err(Error::new(Kind::Internal, "the gate of a database was closed")),
            Err(_) => Err(busy("no turn at the database came in time")),
        }
    }

    /// Counts a read that is tried again.
    #[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only databases say that a read may be tried again"))]
    pub(in crate::source) fn note_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// The state of the reads, with `idle` connections that are not in use.
    #[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only databases tell of it"))]
    pub(in crate::source) fn state(&self, idle: usize) -> PoolState {
        let (free, waiting) = {
            let queue = self.queue.lock().unpoisoned();
            (queue.free, queue.lines.iter().map(Line::len).sum::<usize>())
        };
        let in_use = self.limits.reads.saturating_sub(free);

        PoolState {
            max: self.limits.reads as u64,
            in_use: in_use as u64,
            waiting: waiting as u64,
            connections: (idle + in_use) as u64,
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// Makes room for one more in the queue. If it is full, the newest read of the longest line is
    /// refused, if that line is longer than the newcomer's own.
    fn make_room(&self, queue: &mut Queue, requester: Requester) -> Result<()> {
        let waiting: usize = queue.lines.iter().map(Line::len).sum();
        if waiting < self.limits.waiting {
            return Ok(());
        }

        let own = queue.lines.iter().find(|line| line.requester == requester).map_or(0, Line::len);
        let longest = queue.lines.iter_mut().max_by_key(|line| line.len()).filter(|line| line.len() > own + 1);
        let newest = longest.and_then(Line::take_newest).ok_or_else(too_many)?;
        // If that read has left meanwhile, nobody hears of it.
        let _ = newest.turn.send(Err(too_many()));
        Ok(())
    }
}

fn busy(message: &str) -> Error {
    Error::new(Kind::Busy, message).remedy("try again shortly; if this is frequent, give the database a larger `pool`")
}

fn too_many() -> Error {
    busy("too many loads wait for the database")
}

impl Queue {
    /// Whether a read of this kind may begin. If so, no read that could begin waits.
    fn may_begin(&self, filtered: bool) -> bool {
        self.free > 0 && (!filtered || self.free_for_filtered > 0)
    }

    fn begin(&mut self, queue: &Arc<Mutex<Queue>>, filtered: bool) -> Turn {
        self.free -= 1;
        if filtered {
            self.free_for_filtered -= 1;
        }
        Turn { queue: Arc::clone(queue), filtered }
    }

    fn enter(&mut self, claim: Claim, turn: oneshot::Sender<Result<Turn>>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;

        let known = self.lines.iter().position(|line| line.requester == claim.requester);
        let at = known.unwrap_or_else(|| {
            self.lines.push_back(Line { requester: claim.requester, ..Line::default() });
            self.lines.len() - 1
        });
        let line = &mut self.lines[at];
        let kind = if claim.filtered { &mut line.filtered } else { &mut line.plain };
        kind.push_back(Waiting { ticket, turn });
        ticket
    }

    /// The next read that may begin now, and whether it has filters. Its requester goes to the end
    /// of the round.
    fn next(&mut self) -> Option<(Waiting, bool)> {
        let may_filter = self.may_begin(true);
        let fits = |line: &Line| !line.plain.is_empty() || (may_filter && !line.filtered.is_empty());
        let at = self.lines.iter().position(fits).filter(|_| self.may_begin(false))?;
        let mut line = self.lines.remove(at)?;

        let oldest = |kind: &VecDeque<Waiting>| kind.front().map(|waiting| waiting.ticket);
        let filtered = match (oldest(&line.plain), oldest(&line.filtered)) {
            (Some(plain), Some(filtered)) => may_filter && filtered < plain,
            (plain, _) => plain.is_none(),
        };

        let kind = if filtered { &mut line.filtered } else { &mut line.plain };
        let next = kind.pop_front()?;
        if line.len() > 0 {
            self.lines.push_back(line);
        }

        Some((next, filtered))
    }

    fn leave(&mut self, ticket: u64) {
        for line in &mut self.lines {
            line.plain.retain(|waiting| waiting.ticket != ticket);
            line.filtered.retain(|waiting| waiting.ticket != ticket);
        }
        self.lines.retain(|line| line.len() > 0);
    }
}

impl Line {
    fn len(&self) -> usize {
        self.plain.len() + self.filtered.len()
    }

    fn take_newest(&mut self) -> Option<Waiting> {
        let newest = |kind: &VecDeque<Waiting>| kind.back().map(|waiting| waiting.ticket);
        let filtered = newest(&self.filtered) > newest(&self.plain);
        if filtered { self.filtered.pop_back() } else { self.plain.pop_back() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.queue.lock().unpoisoned();
        queue.free += 1;
        queue.free_for_filtered += usize::from(self.filtered);

        let mut begun = vec![];
        while let Some((next, filtered)) = queue.next() {
            begun.push((next, queue.begin(&self.queue, filtered)));
        }
        drop(queue);

        // Not under the lock: if a read has left meanwhile, its turn comes back, is dropped here
        // and goes to the next.
        for (next, turn) in begun {
            let _ = next.turn.send(Ok(turn));
        }
    }
}

/// A place in the queue, left on drop.
struct QueueSlot<'a> {
    queue: &'a Mutex<Queue>,
    ticket: u64,
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.queue.lock().unpoisoned().leave(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::{FutureExt, poll};
    use proptest::prelude::*;

    use super::*;

    const A: Claim = Claim { requester: Requester(1), filtered: false };
    const B: Claim = Claim { requester: Requester(2), filtered: false };

    fn filtered(claim: Claim) -> Claim {
        Claim { filtered: true, ..claim }
    }

    fn gate(reads: usize, waiting: usize) -> Gate {
        Gate::new(GateLimits { reads, waiting, wait: Duration::from_secs(5) })
    }

    #[tokio::test(start_paused = true)]
    async fn more_reads_than_turns_and_places_are_refused_and_a_long_wait_ends() {
        let gate = gate(1, 1);
        let turn = gate.turn(A).await.unwrap();
        let (waited, refused) = tokio::join!(gate.turn(A), gate.turn(A));
        assert_eq!(waited.unwrap_err().kind(), Kind::Busy);
        assert_eq!(refused.unwrap_err().message(), "too many loads wait for the database");
        drop(turn);
        assert!(gate.turn(A).await.is_ok(), "places and turns are given back");
    }

    #[tokio::test]
    async fn lists_with_filters_leave_one_turn_to_those_without() {
        let gate = gate(2, 10);
        let first = gate.turn(filtered(A)).await.unwrap();
        let mut second = Box::pin(gate.turn(filtered(A)));
        assert!(poll!(&mut second).is_pending());
        let plain = gate.turn(B).now_or_never().expect("a turn is left").unwrap();
        drop(plain);
        assert!(poll!(&mut second).is_pending(), "the turn that is left stays so");
        drop(first);
        assert!(poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn with_one_turn_lists_with_filters_have_it_too() {
        let gate = gate(1, 10);
        assert!(gate.turn(filtered(A)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn turns_go_round_by_requester() {
        let gate = gate(1, 100);
        let turn = gate.turn(A).await.unwrap();
        let mut many: Vec<_> = (0..40).map(|_| Box::pin(gate.turn(filtered(A)))).collect();
        for one in &mut many {
            assert!(poll!(one).is_pending());
        }
        let mut other = Box::pin(gate.turn(filtered(B)));
        assert!(poll!(&mut other).is_pending());

        drop(turn);
        let Poll::Ready(first) = poll!(&mut many[0]) else { panic!("the first in line is served") };
        drop(first);
        assert!(poll!(&mut other).is_ready(), "then another requester, before the other thirty-nine");
    }

    #[tokio::test]
    async fn a_full_queue_takes_the_newcomer_and_refuses_the_newest_of_the_longest_line() {
        let gate = gate(1, 3);
        let _turn = gate.turn(A).await.unwrap();
        let mut many: Vec<_> = (0..3).map(|_| Box::pin(gate.turn(A))).collect();
        for one in &mut many {
            assert!(poll!(one).is_pending());
        }
        let mut other = Box::pin(gate.turn(B));
        assert!(poll!(&mut other).is_pending(), "it has a place");
        let Poll::Ready(refused) = poll!(&mut many[2]) else { panic!("the newest has given way") };
        assert_eq!(refused.unwrap_err().kind(), Kind::Busy);
        assert!(poll!(&mut many[0]).is_pending());
    }

    proptest! {
        #[test]
        fn no_turn_is_lost_or_doubled_however_reads_come_wait_leave_and_end(
            reads in 1_usize..4,
            steps in prop::collection::vec((0_u64..4, any::<bool>(), 0_u8..4), 1..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let gate = gate(reads, 8);
                let mut waiting = vec![];
                let mut running = vec![];
                for (requester, filtered, step) in steps {
                    match step {
                        0 | 1 => waiting.push((Box::pin(gate.turn(Claim { requester: Requester(requester), filtered })), filtered)),
                        2 if !waiting.is_empty() => drop(waiting.remove(requester as usize % waiting.len())),
                        _ if !running.is_empty() => drop(running.remove(requester as usize % running.len())),
                        _ => {}
                    }
                    // A turn may come back and be handed on again.
                    for _ in 0..2 {
                        let mut still = vec![];
                        for (mut one, filtered) in std::mem::take(&mut waiting) {
                            match poll!(&mut one) {
                                Poll::Ready(turn) => running.extend(turn.ok().map(|turn| (turn, filtered))),
                                Poll::Pending => still.push((one, filtered)),
                            }
                        }
                        waiting = still;
                    }

                    let filtered = running.iter().filter(|(_, filtered)| *filtered).count();
                    assert!(running.len() <= reads);
                    assert!(reads == 1 || filtered < reads, "one turn is left to lists without filters");
                    let plain_waits = waiting.iter().any(|(_, filtered)| !filtered);
                    assert!(!plain_waits || running.len() == reads, "nobody waits while there is a turn");
                    let all_filtered = reads == 1 || filtered + 1 == reads;
                    assert!(waiting.is_empty() || running.len() == reads || all_filtered);
                }
                drop(running);
                drop(waiting);
                let all: Vec<_> = (0..reads).map(|_| gate.turn(A).now_or_never()).collect();
                assert!(all.iter().all(Option::is_some), "every turn has come back");
            });
        }
    }
}
