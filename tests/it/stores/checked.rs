//! What `chunkflow check` says of a store: it does with it what a server will do.

use std::collections::BTreeSet;

use chunkflow::store::StoreOptions;

use super::{options, said, url};
use crate::{
    firewall::Firewall,
    machines::{Cluster, cli},
    servers::{Kind, Server},
    support::{numbered, until},
};

/// What `check` says of a configuration with this in `[store]`.
fn checked(store: &str) -> (bool, String) {
    let file = numbered(100);
    let text = file.config("table = \"item\"") + &format!("[store]\nprefix = \"app:\"\n{store}\n");
    std::fs::write(file.folder.path().join("chunkflow.toml"), text).unwrap();
    said(&["check"], file.folder.path())
}

fn is_wrong(what: &str, store: &str, told: &[&str]) {
    let (well, text) = checked(store);
    assert!(!well, "{what}: {text}");
    for one in told {
        assert!(text.contains(one), "{what}: `{one}` in {text}");
    }
    assert!(text.contains("store") && !text.contains("s3cret"), "{what}: {text}");
}

/// Rights of a user, and what is said of those that are missing.
const RIGHTS: [(&str, &[&str]); 6] = [
    ("~app:* +get +eval +del", &["may not do this", "'set'", "+set"]),
    ("~app:* +get +set +del", &["may not do this", "'eval'", "+eval"]),
    ("~app:* +get +set +eval", &["may not do this", "can't run this command", "+del"]),
    ("~app:* +set +eval +del", &["may not do this", "'get'", "+get"]),
    ("~other:* +get +set +eval +del", &["may not do this", "~PREFIX*"]),
    ("~app:* +get +eval", &["'set'", "'eval'"]),
];

#[test]
fn rights_that_a_user_of_redis_lacks_are_each_reported_with_what_to_give_it() {
    let redis = Server::start(Kind::Redis);
    let url = format!("url = \"redis://app:s3cret@127.0.0.1:{}\"", redis.port);
    let user = |rights: &str| {
        let words = ["acl", "setuser", "app", "reset", "on", ">s3cret"];
        cli(&redis, &words.into_iter().chain(rights.split(' ')).collect::<Vec<_>>());
    };

    for (rights, told) in RIGHTS {
        user(rights);
        // Of a user without both, the one that gives leases back is not come to.
        let told = if rights == "~app:* +get +eval" { &told[..1] } else { told };
        is_wrong(rights, &url, told);
    }

    user("~app:* +get +set +eval +del");
    let (well, text) = checked(&url);
    assert!(well, "{text}");
    let left: Vec<String> = cli(&redis, &["--scan"]).lines().map(str::to_owned).collect();
    let lasts = |name: &&String| cli(&redis, &["ttl", name]).trim() == "-1";
    let lasting: BTreeSet<&str> = left.iter().filter(lasts).map(String::as_str).collect();
    let expected = ["app:g:6368756e6b666c6f7720636865636b20", "app:j:{app:}"];
    assert_eq!(lasting, expected.into(), "a generation and the journal's head are left");
}

#[test]
fn a_redis_that_is_not_what_servers_need_is_reported_with_the_remedy() {
    let master = Server::start(Kind::Redis);
    let address = |redis: &Server| format!("url = \"{}\"", url(redis));
    let of = |what: &str, arguments: &[&str], told: &[&str]| {
        let redis = Server::start_with(Kind::Redis, arguments);
        if arguments[0] == "--replicaof" {
            until("it follows", || cli(&redis, &["info", "replication"]).contains("master_link_status:up"));
        }
        is_wrong(what, &address(&redis), told);
    };

    of("no EVAL", &["--rename-command", "EVAL", "nothing"], &["Redis does not do this", "EVAL"]);
    of("a replica", &["--replicaof", "127.0.0.1", &master.port.to_string()], &["is a replica", "redis+sentinel://"]);
    of("full", &["--maxmemory", "1", "--maxmemory-policy", "noeviction"], &["is full", "volatile-lru"]);
    of("alone", &["--min-replicas-to-write", "1"], &["too few replicas", "min-replicas-to-write"]);
    of("a password", &["--requirepass", "s3cret"], &["asks for a password", "redis://:PASSWORD@HOST"]);

    cli(&master, &["acl", "setuser", "app", "on", ">s3cret", "~*", "+@all"]);
    let wrong = format!("url = \"redis://app:s3cretly@127.0.0.1:{}\"", master.port);
    is_wrong("a wrong password", &wrong, &["does not know this user", "percent-encoded"]);
    let cluster = Cluster::start();
    is_wrong("a node of a cluster", &address(&cluster.nodes[0]), &["a node of a cluster", "redis+cluster://"]);

    master.order("pause", "paused");
    is_wrong("one that hangs", &address(&master), &["the store does not answer", "did not answer in time"]);
    master.order("go", "going");
}

#[test]
fn a_memcached_that_is_not_what_servers_need_is_reported_with_the_remedy() {
    let small = Server::start_with(Kind::Memcached, &["-o", "slab_chunk_max=256", "-I", "256k"]);
    let StoreOptions { url, .. } = options(&small, "app", 0);
    is_wrong("small items", &format!("url = \"{url}\""), &["a chunk is too large", "-I 1m", "max_entry"]);
    let (well, text) = checked(&format!("url = \"{url}\"\nmax_entry = \"100KiB\""));
    assert!(well, "{text}");

    // A proxy that does not know the meta protocol.
    let node = Server::start(Kind::Memcached);
    let proxy = Server::start_with(Kind::Twemproxy, &["false", &node.port.to_string()]);
    let told = &["the store does not answer", "Memcached 1.6 or later"];
    is_wrong("no meta protocol", &format!("url = \"memcached://127.0.0.1:{}\"", proxy.port), told);
    let redis = Server::shared(Kind::Redis);
    is_wrong("a Redis", &format!("url = \"memcached://127.0.0.1:{}\"", redis.port), told);
}

#[test]
fn two_stores_behind_one_address_are_reported() {
    let servers = [Server::start(Kind::Redis), Server::start(Kind::Redis)];
    let balancer = Firewall::before_each(&servers.each_ref().map(|server| server.port));
    let store = format!("url = \"redis://{}\"", balancer.address);
    is_wrong("a balancer", &store, &["what was just written is not there", "all of its addresses are one store"]);
}

#[test]
fn one_node_of_several_that_is_dead_is_reported() {
    let nodes = [Server::start(Kind::Memcached), Server::start(Kind::Memcached)];
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let store = format!("url = \"memcached://{}\"", hosts.join(","));
    let (well, text) = checked(&store);
    assert!(well, "{text}");
    nodes[1].order("kill", "killed");
    is_wrong("a dead node", &store, &["the store does not answer", &hosts[1]]);
}
