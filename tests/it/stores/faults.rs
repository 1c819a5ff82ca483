//! What happens to a store while it is used all the time. The figures of longer runs are in
//! docs/stores.md.

use std::time::Duration;

use crate::steady::{self, Figures, Plan};

const PLAN: Plan = Plan { clients: 4, rows: 4_000, time: Duration::from_secs(2) };
/// Two calls of the store, another server's lease, the turn at the database, the read: each has its
/// limit.
const LIMIT: Duration = Duration::from_millis(2 * 1_200 + 3_000 + 10_000 + 10_000);

/// Every stream was the list, none waited for longer than all limits together, and the database was
/// asked by no more than it allows. (That both servers found all chunks again was waited for.)
fn nobody_noticed(figures: &Figures) {
    println!("{figures:?}");
    assert!(figures.errors.is_empty() && figures.streams > 0, "{figures:?}");
    assert!(figures.first_byte < LIMIT, "{figures:?}");
    assert!(figures.connections <= 8, "{figures:?}");
}

macro_rules! nobody_notices {
    ($($sentence:ident: $fault:ident,)*) => {$(
        #[test]
        fn $sentence() {
            nobody_noticed(&steady::$fault(PLAN));
        }
    )*};
}

nobody_notices! {
    nobody_notices_that_redis_is_killed_and_comes_back_empty: killed,
    nobody_notices_that_redis_hangs: paused,
    nobody_notices_that_connections_to_redis_fall_silent: silenced,
    nobody_notices_that_connections_to_the_nodes_of_a_cluster_fall_silent: cluster_silenced,
    nobody_notices_that_a_master_becomes_a_replica_and_its_name_leads_to_the_new_one: demoted,
    nobody_notices_that_redis_is_full_and_takes_nothing: full,
    nobody_notices_that_redis_is_emptied_each_second: flushed,
    nobody_notices_that_sentinel_has_a_replica_lead: promoted,
    nobody_notices_that_a_master_of_a_cluster_is_killed_and_slots_are_moved: resharded,
    nobody_notices_that_one_of_three_memcached_nodes_is_killed_and_comes_back: node_killed,
    nobody_notices_that_one_of_three_memcached_nodes_hangs: node_paused,
}

#[test]
fn what_is_there_is_served_without_a_query_while_redis_refuses_writes() {
    let figures = steady::refusing(PLAN);
    nobody_noticed(&figures);
    assert_eq!(figures.queries, 0, "{figures:?}");
}

#[test]
fn what_is_near_is_served_without_a_query_while_redis_hangs() {
    let figures = steady::paused_with_near(PLAN);
    nobody_noticed(&figures);
    assert_eq!(figures.queries, 0, "{figures:?}");
}
