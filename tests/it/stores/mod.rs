//! Stores that several servers share: real Redis and Memcached, and what happens when they fail.

mod away;
mod checked;
mod damage;
mod faults;
mod identity;
mod journal;
mod load;
mod machines;
mod others;
mod purges;
mod refused;
mod rounds;
mod sealed;
mod secrets;
mod silent;
pub mod written;

use std::{path::Path, sync::Arc};

use crate::support::system_clock;
use chunkflow::{
    Chunkflow, Resource, ResourceOptions,
    metrics::Metrics,
    server::ServerConfig,
    source::Source,
    store::{StoreOptions, open_store, promises},
};

use crate::{
    machines::cli,
    servers::{Kind, Server},
    support::{Client, Numbers, Process, Running, ask, binary, ids, numbered, runtime, until},
};

fn url(server: &Server) -> String {
    match server.kind {
        Kind::Redis => format!("redis://127.0.0.1:{}", server.port),
        _ => format!("memcached://127.0.0.1:{}", server.port),
    }
}

/// A store of its own names, so that tests which share a server do not meet.
pub fn options(server: &Server, prefix: &str, near: u64) -> StoreOptions {
    StoreOptions::new(url(server)).with(|store| {
        store.prefix = format!("{prefix}:");
        store.near = near;
    })
}

#[test]
fn every_shared_store_keeps_the_promises_of_stores_packed_or_not_with_and_without_a_near_tier() {
    for kind in [Kind::Redis, Kind::Memcached] {
        for (prefix, near, pack) in [("bare", 0, false), ("packed", 0, true), ("tiered", 16 << 20, true)] {
            let options = options(Server::shared(kind), prefix, near).with(|store| store.pack = pack);
            runtime().block_on(async { promises(open_store(&options).unwrap()).await });
        }
    }
}

/// A server of `/numbers` over a shared store.
pub fn serve(source: &Arc<Numbers>, options: StoreOptions, resource: ResourceOptions) -> Running {
    Running::with(ServerConfig::default(), async || {
        let store = open_store(&options).unwrap();
        let resource = Resource::new("numbers", Arc::clone(source) as Arc<dyn Source>, resource).unwrap();
        Chunkflow::with_clock(store, system_clock(), Arc::new(Metrics::default())).with(resource)
    })
}

fn loads(servers: &[Running]) -> u64 {
    servers.iter().map(|server| server.chunkflow.metrics().loads()).sum()
}

#[test]
fn many_servers_load_each_chunk_once_however_many_clients_they_have() {
    for kind in [Kind::Redis, Kind::Memcached] {
        for count in [2, 4] {
            let source = Numbers::new(5_000, 200);
            let alone = crate::support::serve_numbers(&source);
            let expected = alone.get("/numbers").body;
            let alone_reads = source.reads.lock().unwrap().len();
            let chunks = alone.chunkflow.metrics().loads();
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
        servers[0].block_on(servers[0].purge("numbers")).unwrap();
        assert_eq!(ids(&servers[0].get("/numbers")).len(), 300);
        assert!(loads(&servers) > before, "{kind:?}: at once where it was asked for");
        let fresh = loads(&servers);
        let at = |server: &Running| server.generation("numbers");
        until("the other server sees it", || at(&servers[1]) == at(&servers[0]));
        assert_eq!(ids(&servers[1].get("/numbers")).len(), 300);
        assert_eq!(loads(&servers), fresh, "{kind:?}: and takes what the first has loaded");
    }
}

#[test]
fn a_server_that_began_without_the_store_learns_of_a_purge_once_it_is_there() {
    let machine = Server::start(Kind::Redis);
    let source = Numbers::new(300, 10);
    let serve = || serve(&source, options(&machine, "late", 16 << 20), ResourceOptions::default());
    let with = serve();
    assert_eq!(ids(&with.get("/numbers")).len(), 300);
    machine.order("pause", "paused");
    // What it loads now it keeps near, of a generation that it does not know.
    let without = serve();
    assert_eq!(ids(&without.get("/numbers")).len(), 300);
    machine.order("go", "going");
    until("the purge is done", || with.block_on(with.purge("numbers")).is_ok());
    let at = |server: &Running| server.generation("numbers");
    until("it learns of it", || at(&without) == at(&with));
    let before = without.chunkflow.metrics().loads() + without.chunkflow.metrics().misses();
    assert_eq!(ids(&without.get("/numbers")).len(), 300);
    let after = without.chunkflow.metrics().loads() + without.chunkflow.metrics().misses();
    assert!(after > before, "what was near is gone");
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
        let hits = || server.chunkflow.metrics().hits();
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
fn a_full_redis_that_forgets_nothing_can_still_be_read() {
    let machine = Server::start_with(Kind::Redis, &["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let source = Numbers::new(10_000, 500);
    let server = serve(&source, options(&machine, "full", 0), ResourceOptions::default());
    let hits = |server: &Running| server.chunkflow.metrics().hits();
    for _ in 0..3 {
        let reply = server.get("/numbers");
        assert!(reply.whole && ids(&reply).len() == 10_000);
    }
    assert!(server.chunkflow.metrics().store_errors() > 5, "it was full");
    let before = hits(&server);
    assert!(server.get("/numbers").whole);
    assert!(hits(&server) > before, "what it took it gives");
}

#[test]
fn one_of_three_memcached_nodes_takes_its_share_with_it_and_no_more() {
    let nodes: Vec<Server> = (0..3).map(|_| Server::start(Kind::Memcached)).collect();
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let url = format!("memcached://{}", hosts.join(","));
    let source = Numbers::new(60_000, 60);
    // Chunks larger than what is read at once for one that is missing: otherwise its rows are the
    // next chunk's too.
    let large =
        ResourceOptions::default().with(|options| options.sizes = chunkflow::Sizes { rows: 50, bytes: 200_000 });
    let server = serve(&source, StoreOptions::new(url).with(|store| store.near = 0), large);
    let hits = || server.chunkflow.metrics().hits();
    let whole = || {
        let reply = server.get("/numbers");
        assert!(reply.whole && ids(&reply) == (1..=60_000).collect::<Vec<u64>>());
    };

    whole();
    let all = server.chunkflow.metrics().loads();
    let found = || {
        let before = hits();
        whole();
        hits() - before
    };

    until("all are found", || found() >= all);
    nodes[1].order("kill", "killed");
    let some = found();
    assert!(some > all / 3, "the others' share: {some} of {all}");
    nodes[1].order("start", "ready");
    until("all are found again", || found() >= all);
}

#[test]
fn garbage_under_our_names_is_a_miss_and_never_a_row() {
    let redis = Server::shared(Kind::Redis);
    let source = Numbers::new(1_000, 100);
    let fill = serve(&source, options(redis, "garbage", 0), ResourceOptions::default());
    assert_eq!(ids(&fill.get("/numbers")).len(), 1_000);
    let cli = |arguments: &[&str]| cli(redis, arguments);
    let names = || cli(&["--scan", "--pattern", "garbage:c3:*"]);
    until("all is written", || names().lines().count() as u64 == fill.chunkflow.metrics().loads());
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
    assert!(server.chunkflow.metrics().damaged() > 0);
}

#[test]
fn a_resource_of_another_definition_never_reads_the_others_chunks() {
    let source = Numbers::new(100, 10);
    let redis = Server::shared(Kind::Redis);
    let one = serve(&source, options(redis, "mixed", 0), ResourceOptions::default());
    let other = ResourceOptions::default().with(|options| options.sizes = chunkflow::Sizes { rows: 7, bytes: 1 });
    let other = serve(&source, options(redis, "mixed", 0), other);
    assert_eq!(ids(&one.get("/numbers")).len(), 100);
    assert_eq!(ids(&other.get("/numbers")).len(), 100);
    assert_eq!(other.chunkflow.metrics().hits(), 0);
}

/// Runs the binary to its end, and gives what it said.
fn said(arguments: &[&str], folder: &Path) -> (bool, String) {
    said_with(arguments, folder, &[])
}

/// The same with these variables in its environment.
fn said_with(arguments: &[&str], folder: &Path, environment: &[(&str, &Path)]) -> (bool, String) {
    let output = binary(arguments, folder).envs(environment.iter().copied()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn what_is_warm_needs_no_load_and_a_purge_from_the_command_line_is_seen_by_every_server() {
    let redis = Server::shared(Kind::Redis);
    let file = numbered(2_000);
    let folder = file.folder.path();
    let config = file.config("table = \"item\"") + &format!("[store]\nurl = \"{}\"\nprefix = \"warm:\"\n", url(redis));
    std::fs::write(folder.join("chunkflow.toml"), config).unwrap();
    let (well, text) = said(&["warm"], folder);
    assert!(well && text.contains("3 chunks loaded, 3 compressed, 0 were there"), "{text}");
    let (well, text) = said(&["warm", "list"], folder);
    assert!(well && text.contains("0 chunks loaded, 0 compressed, 6 were there"), "{text}");
    let servers = [Process::serve(&["serve"], folder), Process::serve(&["serve"], folder)];
    let rows = |server: &Process| server.get("/list").results().len();
    file.open().execute_batch("DELETE FROM item WHERE id > 10").unwrap();
    servers.iter().for_each(|server| assert_eq!(rows(server), 2_000, "from what is warm"));
    let (well, text) = said(&["purge", "list"], folder);
    assert!(well && text.contains("purged list"), "{text}");
    servers.iter().for_each(|server| until("the purge is seen", || rows(server) == 10));
    let (well, text) = said(&["check"], folder);
    assert!(well, "{text}");
    let (well, text) = said(&["purge", "lisst"], folder);
    assert!(!well && text.contains("did you mean `list`?"), "{text}");
    let (well, text) = said(&["warm", "--format", "xml"], folder);
    assert!(!well && text.contains("no format `xml`"), "{text}");
    let config = std::fs::read_to_string(folder.join("chunkflow.toml")).unwrap();
    std::fs::write(folder.join("chunkflow.toml"), config.replace(&url(redis), "redis://127.0.0.1:1")).unwrap();
    let (well, text) = said(&["check"], folder);
    assert!(!well && text.contains("the store does not answer"), "{text}");
}

#[test]
fn chunks_in_memory_are_purged_through_the_admin_listener() {
    let file = numbered(100);
    let folder = file.folder.path();
    let port = crate::servers::free_port();
    let admin = format!("[admin]\nlisten = \"127.0.0.1:{port}\"\ntoken = \"secret\"\n");
    std::fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"") + &admin).unwrap();
    let server = Process::serve(&["serve"], folder);
    let rows = || server.get("/list").results().len();
    assert_eq!(rows(), 100);
    file.open().execute_batch("DELETE FROM item WHERE id > 10").unwrap();
    assert_eq!(rows(), 100);
    let (well, text) = said(&["purge", "list"], folder);
    assert!(well, "{text}");
    assert_eq!(rows(), 10);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let post = |path: &str, token: &str| {
        ask(address, "POST", path, &[("authorization", token), ("content-length", "0")]).status
    };

    assert_eq!(post("/purge/list", "Bearer wrong"), 401);
    assert_eq!(post("/purge/other", "Bearer secret"), 404);
    let (well, text) = said(&["warm"], folder);
    assert!(!well && text.contains("needs a store that servers share"), "{text}");
}
