//! A row that changes all the time: it is loaded for each client that asks after a change, and not
//! again and again for the same clients.

use std::{cell::Cell, time::Duration};

use futures_util::future::{join, join_all};
use tokio::time::Instant;

use super::{clients::rows, fleet::World, in_time, plan::Plan};
use crate::change::Change;

const WRITERS: usize = 4;
const CLIENTS: usize = 8;
const ROUNDS: usize = 10;
/// The clients of a round come within this time.
const SPREAD: u64 = 50;
/// A read has four pauses of at most 80 ms. A client waits for the one that began before it came, and
/// for its own, and takes some pauses of at most 200 ms itself.
const LONGEST: Duration = Duration::from_millis(2 * 4 * 80 + 3 * 200);
/// Each round needs a read for its first client, and another for those who came after it began.
const READS: usize = 3;

/// Changes a row and tells it, until the clients are done.
async fn write(world: &World, is_over: &Cell<bool>) {
    while !is_over.get() {
        world.commit(|tables| {
            if let Some(item) = tables.items.values_mut().next() {
                item.version += 1;
            }
        });
        let id = world.commits.last().items.keys().next().copied().unwrap_or_default();
        world.any().chunkflow.changed(&[Change::of("list", [id.to_string()])]).await.expect("the store is here");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Clients ask for the list, many at a time.
async fn ask(world: &World, is_over: &Cell<bool>) {
    for _ in 0..ROUNDS {
        let clients = (0..CLIENTS).map(async |_| {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..SPREAD))).await;
            let began = Instant::now();
            rows(&world.any(), "/list", "identity").await.expect("the list is there");
            let took = began.elapsed();
            assert!(took <= LONGEST, "a list took {took:?} while a row in it changed all the time");
        });
        join_all(clients).await;
    }
    is_over.set(true);

    let reads = world.commits.reads();
    assert!(reads <= READS * ROUNDS, "{reads} reads in {ROUNDS} rounds while a row changed all the time");
}

#[test]
fn a_row_that_changes_all_the_time_is_not_loaded_for_ever() {
    for seed in 0..20 {
        in_time(seed, async || {
            let plan = Plan { servers: 0, near: 1 << 20, chunk_rows: 1000, ..Plan::quiet() };
            let world = World::new(plan);
            let is_over = Cell::new(false);
            let writers = join_all((0..WRITERS).map(|_| write(&world, &is_over)));
            join(writers, ask(&world, &is_over)).await;
        });
    }
}
