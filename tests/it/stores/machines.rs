//! Redis on several machines.

use chunkflow::{
    ResourceOptions,
    store::{StoreOptions, open_store, promises},
};

use super::serve;
use crate::{
    machines::{Cluster, Sentinels},
    support::{Numbers, ids, runtime, until},
};

fn options(url: &str, prefix: &str) -> StoreOptions {
    StoreOptions::new(url).with(|store| {
        store.prefix = format!("{prefix}:");
        store.near = 0;
    })
}

fn keeps_the_promises_and_survives(url: &str, kill: impl FnOnce()) {
    runtime().block_on(async { promises(open_store(&options(url, "promises")).unwrap()).await });
    let source = Numbers::new(5_000, 200);
    let server = serve(&source, options(url, "killed"), ResourceOptions::default());
    let whole = || {
        let reply = server.get("/numbers");
        assert!(reply.whole && ids(&reply) == (1..=5_000).collect::<Vec<u64>>());
    };

    (0..2).for_each(|_| whole());
    kill();
    let hits = || server.chunkflow.metrics().hits();
    (0..5).for_each(|_| whole());
    let before = hits();
    until("the store is used again", || {
        whole();
        hits() > before
    });
}

#[test]
fn a_cluster_keeps_the_promises_and_a_master_that_is_killed_costs_time_and_nothing_else() {
    let cluster = Cluster::start();
    keeps_the_promises_and_survives(&cluster.url, || cluster.kill_first());
}

#[test]
fn sentinel_is_asked_who_leads_and_a_new_master_is_found() {
    let sentinels = Sentinels::start();
    keeps_the_promises_and_survives(&sentinels.url, || sentinels.kill_master());
}
