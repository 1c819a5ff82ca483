//! Stores that several servers share: real Redis and Memcached, and what happens when they fail.

use std::{process::Command, sync::Arc, time::Duration};

use chunkflow::{
    Chunkflow, Metrics, Resource, ResourceOptions, ServerConfig, Source, Store, StoreOptions, open_store, promises,
    system_clock,
};

use crate::{
    servers::{Kind, Server},
    support::{Client, Numbers, Running, ids, runtime, until},
};

fn url(server: &Server) -> String {
    match server.kind {
        Kind::Redis => format!("redis://127.0.0.1:{}", server.port),
        _ => format!("memcached://127.0.0.1:{}", server.port),
    }
}

/// A store of its own names, so that tests which share a server do not meet.
fn options(server: &Server, prefix: &str, near: u64) -> StoreOptions {
    StoreOptions { prefix: format!("{prefix}:"), near, ..StoreOptions::new(url(server)) }
}

#[test]
fn every_shared_store_keeps_the_promises_of_stores_with_and_without_a_near_tier() {
    for kind in [Kind::Redis, Kind::Memcached] {
        for (prefix, near) in [("bare", 0), ("tiered", 16 << 20)] {
            runtime().block_on(async {
                promises(open_store(&options(Server::shared(kind), prefix, near)).unwrap()).await;
            });
        }
    }
}

/// A server of `/numbers` over a shared store.
fn serve(source: &Arc<Numbers>, options: StoreOptions, resource: ResourceOptions) -> Running {
    Running::with(ServerConfig::default(), async || {
        let store: Arc<dyn Store> = open_store(&options).unwrap();
        let resource = Resource::new("numbers", Arc::clone(source) as Arc<dyn Source>, resource).unwrap();
        Chunkflow::with_clock(store, system_clock(), Arc::new(Metrics::default())).with(resource)
    })
}

fn loads(servers: &[Running]) -> u64 {
    servers.iter().map(|server| server.chunkflow.metrics().loads.get()).sum()
}

#[test]
fn many_servers_load_each_chunk_once_however_many_clients_they_have() {
    for kind in [Kind::Redis, Kind::Memcached] {
        for count in [2, 4] {
            let source = Numbers::new(5_000, 200);
            let alone = crate::support::serve_numbers(&source);
            let expected = alone.get("/numbers").body;
            let alone_reads = source.reads.lock().unwrap().len();
            let chunks = alone.chunkflow.metrics().loads.get();
            let servers: Vec<Running> = (0..count)
                .map(|_| {
                    serve(
                        &source,
                        options(Server::shared(kind), &format!("once{count}"), 16 << 20),
                        ResourceOptions::default(),
                    )
                })
                .collect();
            let mut clients: Vec<Client> =
                (0..100 * count).map(|n| Client::get(servers[n % count].address, "/numbers")).collect();
            for client in &mut clients {
                let reply = client.read_reply("GET");
                assert!(reply.whole && reply.body == expected, "{kind:?}");
            }
            // What one has read ahead another need not load.
            assert!(loads(&servers) <= chunks, "{kind:?}, {count} servers: {} of {chunks}", loads(&servers));
            let mut reads = source.reads.lock().unwrap().split_off(alone_reads);
            reads.sort_unstable();
            let distinct = reads.windows(2).all(|pair| pair[0] != pair[1]);
            assert!(distinct, "{kind:?}, {count} servers: no place is read twice: {reads:?}");
        }
    }
}

#[test]
fn a_server_that_dies_with_a_lease_costs_a_moment_and_no_more() {
    let source = Numbers::new(100, 10);
    let held_back = Numbers::held_back(100, 10);
    let dead = serve(&held_back, options(Server::shared(Kind::Redis), "dead", 0), ResourceOptions::default());
    let client = Client::get(dead.address, "/numbers");
    until("it holds the lease", || held_back.begun() == 1);
    // Its process is gone: nothing is given back.
    std::mem::forget(client);
    std::mem::forget(dead);
    let alive = serve(&source, options(Server::shared(Kind::Redis), "dead", 0), ResourceOptions::default());
    assert_eq!(ids(&alive.get("/numbers")).len(), 100);
}

#[test]
fn a_purge_on_one_server_is_seen_on_all_and_what_was_read_before_it_never_comes_back() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let source = Numbers::new(300, 10);
        let servers: Vec<Running> = (0..2)
            .map(|_| serve(&source, options(Server::shared(kind), "purge", 16 << 20), ResourceOptions::default()))
            .collect();
        servers.iter().for_each(|server| assert_eq!(ids(&server.get("/numbers")).len(), 300));
        let before = loads(&servers);
        servers[0].block_on(servers[0].chunkflow.purge("numbers")).unwrap();
        assert_eq!(ids(&servers[0].get("/numbers")).len(), 300);
        assert!(loads(&servers) > before, "{kind:?}: at once where it was asked for");
        let fresh = loads(&servers);
        let at = |server: &Running| server.chunkflow.generation("numbers").unwrap();
        until("the other server sees it", || at(&servers[1]) == at(&servers[0]));
        assert_eq!(ids(&servers[1].get("/numbers")).len(), 300);
        assert_eq!(loads(&servers), fresh, "{kind:?}: and takes what the first has loaded");
    }
}

#[test]
fn a_store_that_dies_hangs_or_comes_back_empty_costs_time_and_nothing_else() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let machine = Server::start(kind);
        let source = Numbers::new(2_000, 100);
        // Without a near tier everything goes through the store.
        let server = serve(&source, options(&machine, "faults", 0), ResourceOptions::default());
        let whole = || {
            let reply = server.get("/numbers");
            assert!(reply.whole && ids(&reply) == (1..=2_000).collect::<Vec<u64>>(), "{kind:?}");
        };
        whole();
        machine.order("kill", "killed");
        (0..3).for_each(|_| whole());
        machine.order("start", "ready");
        // The breaker closes, and what is loaded is found again.
        let hits = || server.chunkflow.metrics().hits.get();
        let before = hits();
        until("it is used again", || {
            whole();
            hits() > before
        });
        machine.order("pause", "paused");
        (0..2).for_each(|_| whole());
        machine.order("go", "going");
        let before = hits();
        until("it is used again", || {
            whole();
            hits() > before
        });
    }
}

#[test]
fn garbage_under_our_names_is_a_miss_and_never_a_row() {
    let redis = Server::shared(Kind::Redis);
    let source = Numbers::new(1_000, 100);
    let fill = serve(&source, options(redis, "garbage", 0), ResourceOptions::default());
    assert_eq!(ids(&fill.get("/numbers")).len(), 1_000);
    let cli = |arguments: &[&str]| {
        let output = Command::new("redis-cli").args(["-p", &redis.port.to_string()]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let names = || cli(&["--scan", "--pattern", "garbage:c:*"]);
    until("all is written", || names().lines().count() as u64 == fill.chunkflow.metrics().loads.get());
    for (index, name) in names().lines().enumerate() {
        match index % 4 {
            0 => drop(cli(&["SET", name, "garbage"])),
            1 => drop(cli(&["SETRANGE", name, "200", "flipped"])),
            2 => drop(cli(&["COPY", names().lines().next().unwrap(), name, "REPLACE"])),
            _ => drop(cli(&["SET", name, ""])),
        }
    }
    let server = serve(&source, options(redis, "garbage", 0), ResourceOptions::default());
    assert_eq!(ids(&server.get("/numbers")), (1..=1_000).collect::<Vec<u64>>());
    assert!(server.chunkflow.metrics().damaged.get() > 0);
}

#[test]
fn a_resource_of_another_definition_never_reads_the_others_chunks() {
    let source = Numbers::new(100, 10);
    let redis = Server::shared(Kind::Redis);
    let one = serve(&source, options(redis, "mixed", 0), ResourceOptions::default());
    let other = ResourceOptions { sizes: chunkflow::Sizes { rows: 7, bytes: 1 }, ..ResourceOptions::default() };
    let other = serve(&source, options(redis, "mixed", 0), other);
    assert_eq!(ids(&one.get("/numbers")).len(), 100);
    assert_eq!(ids(&other.get("/numbers")).len(), 100);
    assert_eq!(other.chunkflow.metrics().hits.get(), 0);
    let _ = Duration::ZERO;
}
