//! Stores that refuse writes and can be read, and masters that are masters no more.

use std::{cell::Cell, sync::Arc, time::Duration};

use crate::support::system_clock;
use chunkflow::{
    Kind as ErrorKind, ResourceOptions,
    source::{Cursor, Value},
    store::{Chunk, ChunkKey, ListKey, StoreOptions, open_store},
};

use super::{options, serve};
use crate::{
    firewall::Firewall,
    machines::{Cluster, cli},
    servers::{Kind, Server},
    support::{Numbers, Running, ask, ids, numbered, runtime, until},
};

const ROWS: u64 = 3_000;

/// A list over a store, and what of it had to be loaded.
struct Listed {
    server: Running,
    /// Where the last of the lists was cut that nobody had asked for before.
    cut: Cell<u64>,
}

impl Listed {
    fn over(options: StoreOptions) -> Listed {
        let server = serve(&Numbers::new(ROWS, 200), options, ResourceOptions::default());
        let listed = Listed { server, cut: Cell::new(1_000) };
        until("all is found in the store", || listed.loads_of("/numbers", ROWS) == 0);
        listed
    }

    /// Asks for a list of so many rows, and says how many chunks were loaded for it.
    fn loads_of(&self, target: &str, rows: u64) -> u64 {
        let loads = || self.server.chunkflow.metrics().loads();
        let before = loads();
        let reply = self.server.get(target);
        assert!(reply.whole && ids(&reply) == (1..=rows).collect::<Vec<u64>>(), "{target}");
        loads() - before
    }

    /// Asks twice for a list that is not in the store; whether it was found the second time.
    fn takes_another(&self) -> bool {
        let rows = self.cut.get() + 1;
        self.cut.set(rows);
        let target = format!("/numbers?limit={rows}");
        assert!(self.loads_of(&target, rows) > 0, "nobody asked for it before");
        self.server.block_on(self.server.chunkflow.written());
        self.loads_of(&target, rows) == 0
    }
}

type Commands = &'static [&'static [&'static str]];

/// How a Redis is brought to refuse writes, what it says then, and how it is brought back.
const REFUSALS: [(&str, Commands, Commands); 5] = [
    (
        "too few replicas",
        &[&["config", "set", "min-replicas-to-write", "1"]],
        &[&["config", "set", "min-replicas-to-write", "0"]],
    ),
    (
        "it is full",
        &[&["config", "set", "maxmemory-policy", "noeviction", "maxmemory", "1mb"]],
        &[&["config", "set", "maxmemory", "0"]],
    ),
    (
        "may not do this",
        &[&["acl", "setuser", "default", "-set", "-eval"]],
        &[&["acl", "setuser", "default", "+set", "+eval"]],
    ),
    (
        "cannot save to its disk",
        &[&["config", "set", "save", "3600 1"], &["bgsave"]],
        &[&["config", "set", "stop-writes-on-bgsave-error", "no"]],
    ),
    ("is a replica", &[&["replicaof", "127.0.0.1", "OTHER"]], &[&["replicaof", "no", "one"]]),
];

#[test]
fn a_redis_that_refuses_writes_for_any_reason_is_read_and_is_written_to_again_when_it_takes_them() {
    for (reason, refuse, take) in REFUSALS {
        let machine = Server::start(Kind::Redis);
        let other = Server::start(Kind::Redis);
        // It cannot save over a folder.
        std::fs::create_dir(machine.folder.path().join("dump.rdb")).unwrap();
        let run = |commands: Commands| {
            for command in commands {
                let port = other.port.to_string();
                let command: Vec<&str> =
                    command.iter().map(|word| if *word == "OTHER" { &*port } else { *word }).collect();
                cli(&machine, &command);
            }
        };
        let listed = Listed::over(options(&machine, "refused", 0));
        assert!(listed.takes_another(), "{reason}");

        // What is here stays, once it follows the other.
        cli(&other, &["replicaof", "127.0.0.1", &machine.port.to_string()]);
        until("it has a copy", || cli(&other, &["info", "replication"]).contains("master_link_status:up"));
        cli(&other, &["replicaof", "no", "one"]);
        // Told again, since it saves nothing while the copy for the other is still being made.
        let refuses = || cli(&machine, &["set", "refused:probe", "1"]).trim() != "OK";
        until("it refuses", || {
            run(refuse);
            refuses()
        });
        let serves = || cli(&machine, &["get", "refused:none"]).trim().is_empty();
        until("it can be read", serves);

        // More refusals than a breaker allows.
        for _ in 0..4 {
            assert!(!listed.takes_another(), "{reason}");
            assert_eq!(listed.loads_of("/numbers", ROWS), 0, "{reason}: what is there is found");
        }
        let purged = listed.server.block_on(listed.server.purge("numbers")).expect_err("it is refused");
        assert_eq!(purged.kind(), ErrorKind::Refused, "{reason}: {purged}");
        assert!(purged.advice().is_some(), "{reason}: {purged}");

        run(take);
        until("it takes writes", || !refuses());
        until("they are written", || listed.takes_another());
        assert_eq!(listed.loads_of("/numbers", ROWS), 0, "{reason}");
    }
}

#[test]
fn a_cluster_that_only_reads_since_it_is_not_whole_is_read() {
    let cluster = Cluster::start();
    let url = StoreOptions::new(cluster.url.clone()).with(|store| {
        store.prefix = "refused:".into();
        store.near = 0;
    });

    let listed = Listed::over(url);
    let each = |command: &[&str]| {
        for node in &cluster.nodes {
            cli(node, command);
        }
    };

    each(&["config", "set", "cluster-allow-reads-when-down", "yes"]);
    // One of 16,384 places for names is nobody's.
    each(&["cluster", "delslots", "7"]);
    let refuses = || cluster.nodes.iter().all(|node| cli(node, &["cluster", "info"]).contains("cluster_state:fail"));
    until("it takes no writes", refuses);
    let chunk = |reply: &crate::support::Reply| reply.header("cache-status").contains("; hit");
    until("it is read", || chunk(&listed.server.get("/numbers?limit=10")) || listed.loads_of("/numbers", ROWS) <= 1);

    for list in ["/numbers.csv", "/numbers.ndjson", "/numbers.csv", "/numbers.ndjson"] {
        // More chunks in a row than a breaker allows.
        assert!(listed.server.get(list).whole);
        listed.server.block_on(listed.server.chunkflow.written());
        // What stood in that place, if anything did, is gone.
        assert!(listed.loads_of("/numbers", ROWS) <= 1, "what is there is found");
    }

    let purged = listed.server.block_on(listed.server.purge("numbers")).expect_err("it is refused");
    assert_eq!(purged.kind(), ErrorKind::Refused, "{purged}");
    assert!(purged.to_string().contains("the cluster of Redis is not whole, and takes no writes"), "{purged}");
}

#[test]
fn a_memcached_that_is_full_and_forgets_nothing_can_still_be_read() {
    let machine = Server::start_with(Kind::Memcached, &["-M", "-m", "2"]);
    let server = serve(&Numbers::new(10_000, 500), options(&machine, "full", 0), ResourceOptions::default());
    let metrics = server.chunkflow.metrics();
    let found = || {
        let before = metrics.hits();
        assert!(server.get("/numbers").whole);
        server.block_on(server.chunkflow.written());
        metrics.hits() - before
    };

    until("it is full", || found() > 0 && metrics.store_errors() > 5);
    let taken = found();
    assert!(taken > 0);
    for _ in 0..20 {
        assert_eq!(found(), taken, "what it took it gives, however often it refuses more");
    }
}

#[test]
fn a_memcached_that_refuses_many_writes_in_a_row_is_read_all_the_same() {
    let machine = Server::start_with(Kind::Memcached, &["-M", "-m", "2"]);
    let key = |n: i64| ChunkKey::new(&ListKey([7; 48]), &Cursor::after(&[Value::Integer(n)]).unwrap(), 0);
    let chunk = |n: i64, bytes: usize| {
        // Bytes that cannot be packed.
        let mut state = n as u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        });
        let body = noise.take(bytes).collect::<Vec<u8>>().into();
        Arc::new(Chunk::new(key(n), system_clock()(), 1, None, body))
    };

    runtime().block_on(async {
        let store = open_store(&options(&machine, "row", 0)).unwrap();
        let store = store.chunks();
        let keep = Duration::from_secs(60);
        let generation = store.generation(&key(0).resource(), keep).await.unwrap();
        assert!(store.get(&key(0), generation).await.unwrap().is_none());
        store.put(chunk(0, 10), keep, generation).await.unwrap();

        // More than a breaker allows, and no read comes between them.
        let mut refused = 0;
        for n in 1..400 {
            refused += u32::from(store.put(chunk(n, 60_000), keep, generation).await.is_err());
        }
        assert!(refused > 20, "{refused} writes were refused");
        assert!(store.get(&key(0), generation).await.unwrap().is_some(), "what is there is found");
    });
}

#[test]
fn a_master_that_became_a_replica_is_left_for_the_one_that_its_name_leads_to() {
    let first = Server::start(Kind::Redis);
    let second = Server::start_with(Kind::Redis, &["--replicaof", "127.0.0.1", &first.port.to_string()]);
    let name = Firewall::before(first.port);
    let url = format!("redis://{}", name.address);
    let listed = Listed::over(StoreOptions::new(url).with(|store| store.near = 0));
    until("it has a copy", || cli(&second, &["info", "replication"]).contains("master_link_status:up"));

    // The name leads to the new master; the connections that there are stay where they are.
    cli(&second, &["replicaof", "no", "one"]);
    cli(&first, &["replicaof", "127.0.0.1", &second.port.to_string()]);
    name.leads_to(second.port);
    until("the first is a replica", || cli(&first, &["set", "probe", "1"]).contains("READONLY"));

    listed.takes_another();
    assert!(listed.takes_another(), "the second list after that is in the new master");
    listed.server.block_on(listed.server.purge("numbers")).expect("and a purge");
    assert!(cli(&second, &["--scan", "--pattern", "chunkflow:g:*"]).lines().count() == 1);
}

#[test]
fn a_purge_that_the_store_refuses_or_cannot_take_says_that_it_is_the_store() {
    let machine = Server::start(Kind::Redis);
    let file = numbered(100);
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], crate::servers::free_port()));
    let text = file.config("table = \"item\"")
        + &format!("[store]\nurl = \"redis://127.0.0.1:{}\"\n[admin]\nlisten = \"{admin}\"\n", machine.port);
    std::fs::write(file.folder.path().join("chunkflow.toml"), text).unwrap();
    let server = crate::support::Process::serve(&["serve"], file.folder.path());
    assert!(server.get("/list").whole);
    let purge = || {
        let reply = ask(admin, "POST", "/purge/list", &[("content-length", "0")]);
        (reply.status, String::from_utf8(reply.body).unwrap())
    };

    assert_eq!(purge().0, 204);

    cli(&machine, &["config", "set", "min-replicas-to-write", "1"]);
    let (status, text) = purge();
    assert!(status == 503 && text.contains("the store did not take the purge"), "{status} {text}");
    assert!(text.contains("too few replicas") && text.contains("min-replicas-to-write"), "{text}");

    machine.order("kill", "killed");
    let (status, text) = purge();
    assert!(status == 503 && text.contains("the store did not take the purge"), "{status} {text}");
    assert!(!text.contains("source"), "{text}");
}
