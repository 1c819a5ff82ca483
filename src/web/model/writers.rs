//! Writers: they change rows, and tell it after the commit.

use std::time::Duration;

use super::{
    fleet::{World, any_item, any_moment},
    plan::{AUTHORS, GROUPS, ITEMS, RANKS, TAGS},
};
use crate::{change::Change, source::pretended::Tables};

/// How many transactions a writer makes.
const TRANSACTIONS: u32 = 5;

/// Changes rows and tells it, again and again.
pub(super) async fn write(world: &World) {
    for _ in 0..fastrand::u32(1..=TRANSACTIONS) {
        any_moment(Duration::from_millis(1500)).await;
        let named = if world.plan.is_collated && fastrand::bool() { "names" } else { "list" };
        let mut changes = vec![];
        let change = world.commit(|tables| {
            let several = if fastrand::u32(0..4) == 0 { fastrand::u32(2..6) } else { 1 };
            for _ in 0..several {
                changes.extend(write_one(tables, named));
            }
        });
        let is_awaited = !world.plan.lag.is_zero() && fastrand::bool();
        if is_awaited {
            // Each transaction is one change of the history; the first makes the tables.
            changes = changes.into_iter().map(|one| one.at((change + 1).to_string())).collect();
        }
        any_moment(Duration::from_millis(100)).await;
        tell(world, change, &changes, is_awaited).await;
    }
}

/// Tells a change to any server, again until one has taken it.
async fn tell(world: &World, change: usize, changes: &[Change], is_awaited: bool) {
    loop {
        let server = world.any();
        let began = world.history().tells(change, server.id);
        if let Ok(token) = server.chunkflow.changed(changes).await {
            world.history().told(change, server.id, began, token, is_awaited);
            world.told.notify_waiters();
            return;
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(10..200))).await;
    }
}

/// Changes one thing. Returns what there is to tell.
fn write_one(tables: &mut Tables, named: &str) -> Vec<Change> {
    let id = fastrand::i64(0..ITEMS);
    let item = || Change::of(named, [id.to_string()]);
    let version = tables.items.values().map(|item| item.version).chain(tables.authors.values().copied());
    let version = version.max().unwrap_or(0) + 1 + fastrand::i64(0..2);

    match fastrand::u32(0..12) {
        0..2 => {
            let author = fastrand::i64(0..AUTHORS);
            let before = tables.authors.insert(author, version);
            let told = Change::of(named, [author.to_string()]).in_table("author");
            if fastrand::bool() {
                return vec![told];
            }
            let parity = |version: i64| (version % 2).to_string();
            vec![told.was("parity", before.map(parity)).is("parity", Some(parity(version)))]
        }
        2..4 => {
            let tag = fastrand::i64(0..TAGS);
            if !tables.items.contains_key(&id) {
                return vec![];
            }
            let is_gone = tables.tags.remove(&(id, tag));
            if !is_gone {
                tables.tags.insert((id, tag));
            }
            if fastrand::bool() {
                return vec![item()];
            }
            let joined = Change::of(named, [id.to_string(), tag.to_string()]).in_table("item_tag");
            vec![if is_gone { joined.was("item_id", Some(id.to_string())) } else { joined }]
        }
        kind => {
            let changed = match (tables.items.get_mut(&id), kind) {
                (None, _) => {
                    tables.items.insert(id, any_item(version));
                    true
                }
                (Some(_), 4) => {
                    tables.items.remove(&id);
                    tables.tags.retain(|(item, _)| *item != id);
                    true
                }
                (Some(item), 5..7) => {
                    (item.rank, item.version) = (fastrand::i64(0..RANKS), version);
                    true
                }
                (Some(item), 7..9) => {
                    (item.group, item.version) = (fastrand::i64(0..GROUPS), version);
                    true
                }
                (Some(item), 9) => {
                    (item.author, item.version) = (fastrand::i64(0..AUTHORS), version);
                    true
                }
                (Some(item), _) => {
                    item.version = version;
                    true
                }
            };
            changed.then(item).into_iter().collect()
        }
    }
}
