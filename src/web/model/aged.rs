//! Chunks in the store that were read long ago: of thousands of changes since then, none makes a
//! server read a chunk again that it does not touch.

use std::time::Duration;

use super::{
    clients::rows,
    fleet::{Server, World},
    in_time,
    plan::Plan,
};
use crate::change::{Change, Token};

/// Between two changes in a journal that keeps each for ten minutes.
const SELDOM: Duration = Duration::from_secs(70);

/// No memory in front of the store, so that each list is judged by what the store has of it.
fn plan() -> Plan {
    Plan { servers: 2, near: 0, ttl: Duration::from_secs(48 * 3600), ..Plan::quiet() }
}

/// How many reads of the database a list costs.
async fn reads(world: &World, server: &Server) -> usize {
    let before = world.commits.reads();
    rows(server, "/list", "identity").await.expect("the list is there");
    // Until what was read is in the store.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.commits.reads() - before
}

/// Tells a change that touches no chunk: of a row that there never was.
async fn tell(server: &Server, id: i64) -> Token {
    let change = Change::of("list", [(1_000_000 + id).to_string()]);
    server.chunkflow.changed(&[change]).await.expect("the store is here")
}

/// How many chunks the list has.
async fn chunks(world: &World) -> u64 {
    let server = world.any();
    let hits = server.chunkflow.metrics().hits();
    rows(&server, "/list", "identity").await.expect("the list is there");
    server.chunkflow.metrics().hits() - hits
}

/// Changes the last row, which stays where it is, and tells it. A read from there on reads nothing
/// else.
async fn change_the_last_row(world: &World) {
    let (all, _) = rows(&world.any(), "/list", "identity").await.expect("the list is there");
    let id = all.last().and_then(|row| row["id"].as_i64()).expect("there are rows");
    world.commit(|tables| {
        if let Some(item) = tables.items.get_mut(&id) {
            item.version += 1;
        }
    });
    world.any().chunkflow.changed(&[Change::of("list", [id.to_string()])]).await.expect("the store is here");
}

#[test]
fn a_chunk_that_was_read_hours_ago_is_right_in_a_quiet_journal_also_after_a_restart() {
    for seed in 0..2 {
        in_time(seed, async || {
            let world = World::new(plan());
            tell(&world.any(), 0).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(reads(&world, &world.any()).await > 0);

            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                world.restart();
                for server in world.all() {
                    assert_eq!(reads(&world, &server).await, 0, "seed {seed}");
                }
            }
        });
    }
}

#[test]
fn a_chunk_that_was_read_an_hour_ago_is_right_in_a_busy_journal_and_one_of_the_last_minute_also_after_a_restart() {
    in_time(0, async || {
        let world = World::new(plan());
        let servers = world.all();
        tell(&servers[0], 0).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(reads(&world, &servers[0]).await > 0);

        for id in 0..3_600 {
            tell(&servers[(id % 2) as usize], id).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        for server in &servers {
            assert_eq!(reads(&world, server).await, 0, "an hour and 3,600 changes later");
        }

        // A server that begins does not know the entries of an hour ago, nor whether they concern
        // the list. It knows those of the last ten minutes.
        world.restart();
        for server in world.all() {
            reads(&world, &server).await;
        }
        for id in 0..90 {
            tell(&servers[0], id).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        world.restart();
        for server in world.all() {
            assert_eq!(reads(&world, &server).await, 0, "a minute and a half and 90 changes later");
        }
    });
}

#[test]
fn a_server_that_begins_judges_chunks_by_all_entries_that_the_journal_still_has() {
    for seed in 0..4 {
        in_time(seed, async || {
            let world = World::new(Plan { is_stepwise: seed % 2 == 0, ..plan() });
            // More entries than the journal has at any time: it keeps each for ten minutes.
            for id in 0..25 {
                tell(&world.any(), id).await;
                tokio::time::sleep(SELDOM).await;
            }
            assert!(reads(&world, &world.any()).await > 0);

            // Each of the entries is the oldest that can be read at some time.
            for id in 0..6 {
                tell(&world.any(), id).await;
                tokio::time::sleep(SELDOM).await;
                world.restart();
                for server in world.all() {
                    assert_eq!(reads(&world, &server).await, 0, "seed {seed}: no change touched the list");
                }
            }

            assert!(chunks(&world).await >= 3);
            change_the_last_row(&world).await;
            tell(&world.any(), 0).await;
            tokio::time::sleep(SELDOM).await;
            world.restart();
            let mut loads = vec![];
            for server in world.all() {
                reads(&world, &server).await;
                loads.push(server.chunkflow.metrics().loads());
            }
            assert_eq!(loads.iter().sum::<u64>(), 1, "seed {seed}: the chunk with the row, once: {loads:?}");
        });
    }
}

#[test]
fn a_token_from_before_a_server_began_is_answered_and_one_of_another_change_at_a_known_number_is_not() {
    in_time(0, async || {
        let world = World::new(plan());
        let old = tell(&world.any(), 0).await;
        let last = tell(&world.any(), 1).await;
        // Their entries are gone by now.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        (0..2).for_each(|_| world.restart());

        let other = Token { mark: !last.mark, ..last };
        let unmarked = last.unmarked();
        for server in world.all() {
            for (token, is_answered) in [(old, true), (last, true), (unmarked, true), (other, false)] {
                let answer = rows(&server, &format!("/list?at_least={token}"), "identity").await;
                assert_eq!(answer.is_some(), is_answered, "{token}");
            }
        }
    });
}
