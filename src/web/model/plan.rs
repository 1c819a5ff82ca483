//! What a run is made of.

use std::time::Duration;

pub(super) const ITEMS: i64 = 24;
pub(super) const RANKS: i64 = 10;
pub(super) const GROUPS: i64 = 3;
pub(super) const AUTHORS: i64 = 4;
pub(super) const TAGS: i64 = 4;

/// What a run is made of, drawn at random.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// How many servers share the store; 0: one server alone, whose store is its memory.
    pub(super) servers: usize,
    /// Bytes of memory in each server; 0: none in front of a shared store.
    pub(super) near: u64,
    /// Whether the journal moves as in Memcached, and not as in Redis.
    pub(super) is_stepwise: bool,
    /// Whether there is a list that only the database puts in order.
    pub(super) is_collated: bool,
    /// How far the database may lag behind the one that is written to.
    pub(super) lag: Duration,
    /// Whether only the lists themselves know where a changed row belongs.
    pub(super) asks_later: bool,
    /// About how many rows a chunk has.
    pub(super) chunk_rows: u32,
    pub(super) ttl: Duration,
    pub(super) stale: Duration,
    /// Whether reads stop before they have as many rows as they may have.
    pub(super) stops_early: bool,
    /// Of a thousand calls of the store, and of a thousand steps of reads, this many fail.
    pub(super) failures: u32,
    /// How many times a fault of the store, a restart or a purge comes.
    pub(super) faults: u32,
    /// Whether each fault is a failover, after which one server tells others what they do not hear
    /// at once.
    pub(super) fails_over: bool,
    /// How many different lists clients ask for.
    pub(super) lists: usize,
    pub(super) writers: usize,
    pub(super) clients: usize,
}

impl Plan {
    /// One server, and nothing that goes wrong.
    pub(super) fn quiet() -> Plan {
        Plan {
            servers: 0,
            near: 1 << 20,
            is_stepwise: false,
            is_collated: false,
            lag: Duration::ZERO,
            asks_later: false,
            chunk_rows: 4,
            ttl: Duration::from_secs(300),
            stale: Duration::ZERO,
            stops_early: false,
            failures: 0,
            faults: 0,
            fails_over: false,
            lists: 1,
            writers: 1,
            clients: 1,
        }
    }

    pub(super) fn draw() -> Plan {
        let one_in = |n: u32| fastrand::u32(0..n) == 0;
        let servers = [0, 1, 2, 2, 3][fastrand::usize(0..5)];
        let near = [8 << 10, 1 << 20, 1 << 20, 0][fastrand::usize(0..if servers == 0 { 3 } else { 4 })];
        let is_short = one_in(3);
        let plan = Plan {
            servers,
            near,
            is_stepwise: fastrand::bool(),
            is_collated: one_in(3),
            lag: if one_in(6) { Duration::from_millis(fastrand::u64(100..1500)) } else { Duration::ZERO },
            asks_later: false,
            chunk_rows: fastrand::u32(2..8),
            ttl: Duration::from_secs(if is_short { 1 } else { 300 }),
            stale: Duration::from_secs(if is_short { 3 } else { 0 }),
            stops_early: fastrand::bool(),
            failures: if one_in(3) { fastrand::u32(1..10) } else { 0 },
            faults: if one_in(3) { 0 } else { fastrand::u32(1..6) },
            fails_over: false,
            lists: fastrand::usize(1..5),
            writers: fastrand::usize(1..4),
            clients: fastrand::usize(2..5),
        };
        let plan = if one_in(5) { plan.that_fails_over() } else { plan };
        // Such lists are read from no standby.
        Plan { asks_later: plan.lag.is_zero() && one_in(4), ..plan }
    }

    /// The same, so that servers, chunks and changes meet in failovers.
    fn that_fails_over(self) -> Plan {
        Plan {
            servers: fastrand::usize(2..4),
            ttl: Duration::from_secs(300),
            chunk_rows: fastrand::u32(4..12),
            failures: 0,
            faults: fastrand::u32(2..8),
            fails_over: true,
            lists: 1,
            writers: 4,
            clients: 6,
            ..self
        }
    }
}
