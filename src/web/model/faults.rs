//! What goes wrong with the store and the servers, and purges.

use std::time::Duration;

use tokio::time::Instant;

use super::fleet::{Server, World};
use crate::store::pretended::Machine;

/// Makes as many faults as the run has.
pub(super) async fn make(world: &World) {
    for _ in 0..world.plan.faults {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..2000))).await;
        make_one(world).await;
    }
}

async fn make_one(world: &World) {
    let machine = &world.machine;
    if world.plan.fails_over {
        return fail_over_without_those_who_know(world).await;
    }
    match fastrand::u32(0..9) {
        0 => {
            after_an_entry(machine).await;
            machine.names().retain(|_| false);
            world.history().note("the store is emptied");
            world.history().lost_journal();
        }
        1 => {
            machine.names().retain(|name| is_of_journal(name) || fastrand::bool());
            world.history().note("the store loses chunks");
        }
        // Entries go, and the head stays.
        2 | 8 => {
            after_an_entry(machine).await;
            machine.names().retain(|name| !is_of_journal(name) || is_head(name) || fastrand::bool());
            world.history().note("the journal loses entries");
        }
        3 => {
            after_an_entry(machine).await;
            machine.names().retain(|name| !is_head(name));
            world.history().note("the journal loses its head");
            world.history().lost_journal();
        }
        4 => {
            let moment = world.history().moment();
            let copy = machine.names().clone();
            world.history().note("the store is copied");
            for _ in 0..fastrand::u32(1..4) {
                after_an_entry(machine).await;
            }
            // Alone, if other machines keep the chunks.
            let is_alone = fastrand::bool();
            machine.names().go_back(&copy, |name| !is_alone || is_of_journal(name));
            world.history().note("the store goes back to its copy");
            world.history().lost_journal();
            world.history().went_back(moment);
        }
        5 => world.restart(),
        6 => world.cut_off(Duration::from_millis(fastrand::u64(50..4000))).await,
        _ => {
            let chunkflow = world.any().chunkflow;
            if let Some(list) = chunkflow.resource("list") {
                let is_purged = chunkflow.purge(&list).await.is_ok();
                world.history().note(&format!("the list is purged: {is_purged}"));
            }
        }
    }
}

/// The store goes back to an earlier state, and only a server goes on that had not heard of what is
/// lost: it tells other changes under the same numbers, until those who know can look again.
async fn fail_over_without_those_who_know(world: &World) {
    let machine = &world.machine;
    let late = world.any();
    let know: Vec<Server> = world.all().into_iter().filter(|server| server.id != late.id).collect();
    late.cut_off(true);
    world.history().note(&format!("server {} is cut off before a failover", late.id));

    let moment = world.history().moment();
    let copy = machine.names().clone();
    for _ in 0..fastrand::u32(1..3) {
        after_an_entry(machine).await;
    }
    // Chunks are written that know of them.
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..600))).await;
    know.iter().for_each(|server| server.cut_off(true));
    let is_alone = fastrand::bool();
    machine.names().go_back(&copy, |name| !is_alone || is_of_journal(name));
    world.history().note("the store goes back to its copy, and the other servers are cut off");
    world.history().lost_journal();
    world.history().went_back(moment);
    late.cut_off(false);
    world.history().trouble(late.id, Instant::now());

    tokio::time::sleep(Duration::from_millis(fastrand::u64(100..2500))).await;
    for server in know {
        server.cut_off(false);
        world.history().trouble(server.id, Instant::now());
    }
    world.history().note("all servers are there again");
}

/// Loses the entries of the journal, and keeps its head.
pub(super) fn lose_entries(machine: &Machine) {
    machine.names().retain(|name| !is_of_journal(name) || is_head(name));
}

pub(super) fn is_of_journal(name: &str) -> bool {
    name.contains("j:{")
}

fn is_head(name: &str) -> bool {
    is_of_journal(name) && name.ends_with('}')
}

/// Waits for an entry of the journal, so that what happens then comes before most servers have
/// heard of it. For a second at the longest.
async fn after_an_entry(machine: &Machine) {
    let entries = || machine.names().count(is_of_journal);
    let before = entries();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if entries() > before {
            return;
        }
    }
}
