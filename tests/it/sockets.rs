//! Sockets to stores and databases notice that the other end is gone.

use std::time::Duration;

use chunkflow::{ResourceOptions, store::StoreOptions};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::{SockRef, Socket};

use crate::{
    machines::Cluster,
    servers::{Kind, Server},
    stores::serve,
    support::Numbers,
};

/// The sockets of this process that lead to this port.
fn sockets_to(port: u16) -> Vec<Socket> {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let copies = numbers.filter_map(|number| pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).ok());
    let leads_there = |socket: &Socket| {
        let peer = SockRef::from(socket).peer_addr().ok().and_then(|peer| peer.as_socket());
        peer.is_some_and(|peer| peer.port() == port)
    };
    copies.map(Socket::from).filter(leads_there).collect()
}

/// Each connection has keepalive after half a minute, and fails if sent data is not acknowledged.
/// The MySQL driver leaves the latter to the time limit of a read.
fn are_prepared(ports: &[u16], gives_up: bool, what: &str) {
    let sockets: Vec<Socket> = ports.iter().flat_map(|port| sockets_to(*port)).collect();
    assert!(!sockets.is_empty(), "{what}: no connection");
    for socket in sockets {
        assert!(socket.keepalive().unwrap(), "{what}");
        assert!(socket.tcp_keepalive_time().unwrap() <= Duration::from_secs(30), "{what}");
        if gives_up {
            let most = socket.tcp_user_timeout().unwrap();
            assert!(most.is_some_and(|most| most <= Duration::from_secs(30)), "{what}: {most:?}");
        }
    }
}

#[test]
fn connections_to_every_store_are_asked_whether_they_are_still_there() {
    let rows = Numbers::new(2_000, 100);
    let used = |url: &str| {
        let server = serve(&rows, StoreOptions::new(url).with(|store| store.near = 0), ResourceOptions::default());
        assert!(server.get("/numbers").whole);
        server.block_on(server.chunkflow.written());
        server
    };

    for (kind, scheme) in [(Kind::Redis, "redis"), (Kind::Memcached, "memcached")] {
        let machine = Server::start(kind);
        let _server = used(&format!("{scheme}://127.0.0.1:{}", machine.port));
        are_prepared(&[machine.port], true, scheme);
    }

    let cluster = Cluster::start();
    let _server = used(&cluster.url);
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    are_prepared(&ports, true, "a cluster");

    let master = Server::start(Kind::Redis);
    let sentinel = Server::start_with(Kind::Sentinel, &[&master.port.to_string()]);
    let _server = used(&format!("redis+sentinel://127.0.0.1:{}/chunks", sentinel.port));
    are_prepared(&[master.port], true, "what Sentinel watches");
}

#[test]
fn connections_to_every_database_are_asked_whether_they_are_still_there() {
    for (kind, gives_up) in [(Kind::Postgres, true), (Kind::MariaDb, false)] {
        let machine: &'static Server = Box::leak(Box::new(Server::start(kind)));
        let db = machine.database();
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1)");
        let server = db.serve("table = \"item\"");
        assert_eq!(server.get("/list").results().len(), 1);
        are_prepared(&[machine.port], gives_up, db.name());
    }
}
