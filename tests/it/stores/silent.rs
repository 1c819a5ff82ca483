//! Connections to a store that fall silent, and servers that are not any more what they were when
//! they were connected to.

use std::sync::Arc;

use chunkflow::{ResourceOptions, metrics::MetricsFormat, store::StoreOptions};

use super::serve;
use crate::{
    firewall::Firewall,
    machines::{Cluster, cli},
    servers::{Kind, Server},
    support::{Client, Numbers, Running, ids, until},
};

const ROWS: u64 = 5_000;
/// So many lists are asked for after connections fell silent: what is lost is found missing by the
/// first, and written again.
const LISTS: usize = 3;

fn options(url: &str, prefix: &str) -> StoreOptions {
    StoreOptions::new(url).with(|store| {
        store.prefix = format!("{prefix}:");
        store.near = 0;
    })
}

/// A list over a store, and how many of its chunks had to be loaded for one more client.
struct Listed {
    server: Running,
}

impl Listed {
    fn over(url: &str, prefix: &str) -> Listed {
        let source: Arc<Numbers> = Numbers::new(ROWS, 200);
        let listed = Listed { server: serve(&source, options(url, prefix), ResourceOptions::default()) };
        until("all is found in the store", || listed.loads_of_one() == 0);
        listed
    }

    /// Asks for the whole list, and says how many chunks were loaded for it.
    fn loads_of_one(&self) -> u64 {
        let loads = || self.server.chunkflow.metrics().loads();
        let before = loads();
        let reply = self.server.get("/numbers");
        assert!(reply.whole && ids(&reply) == (1..=ROWS).collect::<Vec<u64>>());
        loads() - before
    }

    /// Waits while the store is left alone for a moment: the server's own looks fail beside the
    /// list's calls, so there may be several failures in a row.
    fn store_is_asked(&self) {
        let rests = || {
            let text = self.server.chunkflow.exposition(MetricsFormat::Text);
            !text.contains("chunkflow_store_resting{calls=\"all\"} 0\n")
        };
        until("the store is asked", || !rests());
    }

    /// Within so many lists as may be, one is found whole in the store again.
    fn is_found_again(&self, what: &str) {
        let one = |_| {
            self.store_is_asked();
            self.loads_of_one()
        };
        let loads: Vec<u64> = (0..LISTS).map(one).collect();
        assert_eq!(loads.last(), Some(&0), "{what}: of each list so many chunks were loaded: {loads:?}");
    }
}

#[test]
fn a_silent_connection_to_any_store_is_replaced_within_a_few_calls() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let machine = Server::start(kind);
        let firewall = Firewall::before(machine.port);
        let scheme = if kind == Kind::Redis { "redis" } else { "memcached" };
        let listed = Listed::over(&format!("{scheme}://{}", firewall.address), "silent");
        for round in 0..3 {
            let connections = firewall.connections();
            firewall.silence();
            listed.is_found_again(&format!("{kind:?}, round {round}"));
            let more = firewall.connections() - connections;
            assert!(more > 0 && more <= 16, "{kind:?}: {more} connections");
        }
    }
}

#[test]
fn of_many_connections_that_fell_silent_one_is_waited_for_and_none_is_used_again() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let machine = Server::start(kind);
        let firewall = Firewall::before(machine.port);
        let scheme = if kind == Kind::Redis { "redis" } else { "memcached" };
        let listed = Listed::over(&format!("{scheme}://{}", firewall.address), "many");
        // As many connections as clients need: each list is another one.
        let server = &listed.server;
        let mut clients: Vec<Client> =
            (1..=40).map(|n| Client::get(server.address, &format!("/numbers?limit={}", n * 100))).collect();
        assert!(clients.iter_mut().all(|client| client.read_reply("GET").whole));
        server.block_on(server.chunkflow.written());
        assert!(firewall.connections() >= 4, "{kind:?}: {} connections", firewall.connections());

        firewall.silence();
        listed.is_found_again(&format!("{kind:?}"));
        // One call of the list's, and those that began before it was over.
        let asked = firewall.asked_in_vain();
        let most = if kind == Kind::Redis { 3 } else { 5 };
        assert!((1..=most).contains(&asked), "{kind:?}: {asked} of {} connections", firewall.connections());
    }
}

#[test]
fn silent_connections_to_the_nodes_of_a_cluster_are_replaced_within_a_few_calls() {
    let (cluster, firewalls) = Cluster::start_behind_firewalls();
    let listed = Listed::over(&cluster.url, "silent");
    firewalls.iter().for_each(Firewall::silence);
    listed.is_found_again("all nodes");
    firewalls[1].silence();
    listed.is_found_again("one of three");
}

#[test]
fn a_silent_connection_to_what_sentinel_watches_is_replaced_within_a_few_calls() {
    let master = Server::start(Kind::Redis);
    let firewall = Firewall::before(master.port);
    let sentinel = Server::start_with(Kind::Sentinel, &[&firewall.address.port().to_string()]);
    let watcher = Firewall::before(sentinel.port);
    let follows = || cli(&sentinel, &["sentinel", "master", "chunks"]).lines().any(|line| line == "master");
    until("Sentinel knows its master", follows);
    let of_sentinel = firewall.connections();
    let listed = Listed::over(&format!("redis+sentinel://{}/chunks", watcher.address), "silent");
    watcher.silence();
    // Sentinel itself goes on seeing its master.
    firewall.silence_but(of_sentinel);
    listed.is_found_again("Sentinel");
}
