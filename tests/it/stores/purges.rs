//! Purges that meet at one store.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use chunkflow::store::{Generation, StoreOptions, open_store};

use super::{options, url};
use crate::{
    machines::Cluster,
    servers::{Kind, Server},
    support::{runtime, until},
};

const LIST: [u8; 16] = [7; 16];
const KEEP: Duration = Duration::from_secs(60);

/// A machine in front of a store, on which what writes a generation waits for an order.
struct Slow {
    address: SocketAddr,
    /// Whether something waits, and whether it may go on.
    state: Arc<(Mutex<(bool, bool)>, Condvar)>,
}

impl Slow {
    fn before(port: u16) -> Slow {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let slow = Slow { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = Arc::clone(&slow.state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let mut store = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let mut answers = store.try_clone().unwrap();
                let mut to = client.try_clone().unwrap();
                thread::spawn(move || std::io::copy(&mut answers, &mut to));
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    let mut some = [0; 4096];
                    while let Ok(read @ 1..) = client.read(&mut some) {
                        let text = String::from_utf8_lossy(&some[..read]);
                        if text.contains("g:") && ["EVAL", "SET", "ms "].iter().any(|write| text.contains(write)) {
                            let mut state_of = state.0.lock().unwrap();
                            state_of.0 = true;
                            drop(state.1.wait_while(state_of, |(_, go)| !*go).unwrap());
                        }
                        if store.write_all(&some[..read]).is_err() {
                            return;
                        }
                    }
                });
            }
        });

        slow
    }

    fn waits(&self) -> bool {
        self.state.0.lock().unwrap().0
    }

    fn go(&self) {
        self.state.0.lock().unwrap().1 = true;
        self.state.1.notify_all();
    }
}

#[test]
fn a_purge_is_not_undone_by_a_server_that_puts_an_older_one_back_into_a_store_that_lost_it() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let machine = Server::start(kind);
        let slow = Slow::before(machine.port);
        let runtime = runtime();
        let direct = options(&machine, "undone", 0);
        let behind = url(&machine).replace(&machine.port.to_string(), &slow.address.port().to_string());
        let behind = StoreOptions::new(behind).with(|store| {
            store.prefix = direct.prefix.clone();
            store.near = 0;
        });
        let (purger, server) = runtime.block_on(async { (open_store(&direct).unwrap(), open_store(&behind).unwrap()) });
        runtime.block_on(purger.chunks().forget(&LIST)).unwrap();
        let first = purger.chunks().known_generation(&LIST);
        drop(purger);
        until("the server knows of the first purge", || {
            runtime.block_on(server.chunks().generation(&LIST, KEEP)).ok() == first
        });
        let mut machine_itself = TcpStream::connect(("127.0.0.1", machine.port)).unwrap();
        machine_itself.write_all(if kind == Kind::Redis { b"FLUSHALL\r\n" } else { b"flush_all\r\n" }).unwrap();
        until("the server is about to put it back", || slow.waits());
        // By a process that is gone then, as `chunkflow purge` is.
        let second = runtime.block_on(async {
            let purger = open_store(&direct).unwrap();
            purger.chunks().forget(&LIST).await.unwrap();
            purger.chunks().known_generation(&LIST)
        });
        assert!(second > first);
        slow.go();
        until("the server knows of the second purge", || server.chunks().known_generation(&LIST) == second);
    }
}

#[test]
fn a_node_that_is_away_hides_no_purge_of_a_resource_on_another_node() {
    let (cluster, firewalls) = Cluster::start_behind_firewalls();
    let runtime = runtime();
    let options = StoreOptions::new(&cluster.url).with(|store| store.near = 0);
    let [purger, server] = runtime.block_on(async { [open_store(&options).unwrap(), open_store(&options).unwrap()] });
    let resources: Vec<[u8; 16]> = (0..30).map(|at| [at; 16]).collect();
    for resource in &resources {
        runtime.block_on(server.chunks().generation(resource, KEEP)).unwrap();
        runtime.block_on(purger.chunks().generation(resource, KEEP)).unwrap();
    }

    // What is sent there from now on is answered by nobody.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    firewalls[0].leads_to(nobody.local_addr().unwrap().port());
    firewalls[0].silence();
    let purge = |resource: &[u8; 16]| runtime.block_on(purger.chunks().forget(resource)).is_ok();
    let purged: HashSet<&[u8; 16]> = resources.iter().filter(|resource| purge(resource)).collect();
    assert!((10..30).contains(&purged.len()), "{} are on the nodes that answer", purged.len());
    for resource in purged {
        let expected = purger.chunks().known_generation(resource);
        until("the server sees the purge", || server.chunks().known_generation(resource) == expected);
    }
}

#[test]
fn what_is_no_generation_is_no_match_for_a_purge() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let machine = Server::start(kind);
        let runtime = runtime();
        let options = options(&machine, "garbage", 0);
        let name = format!("garbage:g:{}", "07".repeat(16));
        for garbage in
            ["x", "1e15", "-5", "9007199254740992", "9007199254740993", "18446744073709551615", "99999999999999999999"]
        {
            let command = match kind {
                Kind::Redis => format!("SET {name} {garbage}\r\n"),
                _ => format!("set {name} 0 0 {}\r\n{garbage}\r\n", garbage.len()),
            };
            let mut raw = TcpStream::connect(("127.0.0.1", machine.port)).unwrap();
            raw.write_all(command.as_bytes()).unwrap();
            assert!(raw.read(&mut [0; 64]).unwrap() > 0);
            let purged = runtime.block_on(async {
                let purger = open_store(&options).unwrap();
                purger.chunks().forget(&LIST).await.unwrap();
                purger.chunks().known_generation(&LIST).unwrap()
            });
            let seen = runtime.block_on(async {
                let store = open_store(&options).unwrap();
                store.chunks().generation(&LIST, KEEP).await.unwrap()
            });
            assert!(seen == purged && seen < Generation(1 << 53), "{kind:?}, {garbage}: {seen:?} and not {purged:?}");
        }
    }
}
