//! Many clients of several servers over one store and one database, counted at the database.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    machines::cli,
    servers::{Db, Kind, Server},
    steady::{counted_list, three_nodes},
    support::{Client, Process, Running, ask, until},
};

const ROWS: u32 = 2_000;

fn config(db: &Db, table: &str, store: &str, prefix: &str) -> String {
    let text = db.config(&format!("table = \"{table}\"\nkey = [\"id\"]"));
    format!("{text}[store]\nurl = \"{store}\"\nprefix = \"{prefix}:\"\n")
}

/// A view of so many rows whose queries PostgreSQL logs. No other test has one of this name.
fn logged_view(name: &str, more: &str) -> Db {
    let db = counted_list(ROWS);
    db.execute(&format!("CREATE VIEW {name} AS SELECT id, name{more} FROM item"));
    db.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_statement = ''all''', current_database()); END $$",
    );
    db
}

/// Behind which row each query of the view began (0: at the start), as PostgreSQL logged it.
fn places(view: &str) -> Vec<u32> {
    let log = std::fs::read_to_string(Server::shared(Kind::Postgres).folder.path().join("log")).unwrap();
    let process = |line: &str| line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).unwrap().0.to_owned();
    let query = format!("execute <unnamed>: SELECT \"public\".\"{view}\"");
    let mut places: Vec<u32> = vec![];
    let mut lines = log.lines();
    while let Some(line) = lines.by_ref().find(|line| line.contains(&query)) {
        let parameters = lines.clone().find(|next| next.contains("DETAIL:") && process(next) == process(line)).unwrap();
        let first = parameters.split('\'').nth(1).unwrap().parse().unwrap();
        places.push(if line.contains(" WHERE ") { first } else { 0 });
    }
    places.sort_unstable();
    places
}

/// Four hundred clients of the servers, all at once.
fn crowd(servers: &[Running]) -> Vec<Client> {
    (0..400).map(|n| Client::get(servers[n % servers.len()].address, "/list")).collect()
}

#[test]
fn four_hundred_clients_of_several_servers_have_each_place_of_a_cold_list_read_once() {
    for kind in [Kind::Redis, Kind::Memcached] {
        for count in [2, 4] {
            let view = format!("cold_{kind:?}_{count}").to_lowercase();
            let db = logged_view(&view, "");
            let text = config(&db, &view, &super::url(Server::shared(kind)), &view);
            let servers: Vec<Running> = (0..count).map(|_| Running::config(&text)).collect();
            let mut replies = crowd(&servers).into_iter().map(|mut client| client.read_reply("GET"));
            let first = replies.next().unwrap();
            assert_eq!(first.results().len(), ROWS as usize);
            replies.for_each(|reply| assert!(reply.whole && reply.body == first.body, "{view}"));
            let read = places(&view);
            assert!(read.len() > 2 && read.windows(2).all(|pair| pair[0] != pair[1]), "{view}: {read:?}");
        }
    }
}

#[test]
fn a_server_that_is_killed_while_it_loads_costs_the_others_its_lease_and_the_database_one_read() {
    let redis = Server::shared(Kind::Redis);
    for count in [2, 4] {
        // The first read takes more than a second, and less than a lease.
        let view = format!("killed_{count}");
        let db = logged_view(&view, ", CASE WHEN id <= 100 THEN pg_sleep(0.012)::text END AS s");
        let text = config(&db, &view, &super::url(redis), &view);
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("chunkflow.toml"), &text).unwrap();
        let servers: Vec<Running> = (0..count).map(|_| Running::config(&text)).collect();
        let mut holder = Process::serve(&["serve"], folder.path());
        let client = Client::get(holder.address, "/list");
        let leases = || cli(redis, &["--scan", "--pattern", &format!("{view}:l3:*")]).lines().count();
        until("it holds the lease", || leases() == 1);
        until("it reads", || places(&view) == [0]);
        let clients = crowd(&servers);
        holder.child.kill().unwrap();
        assert_eq!(leases(), 1, "it died with the lease");
        let mut replies = clients.into_iter().map(|mut client| client.read_reply("GET"));
        let first = replies.next().unwrap();
        assert_eq!(first.results().len(), ROWS as usize);
        replies.for_each(|reply| assert!(reply.whole && reply.body == first.body, "{view}"));
        let read = places(&view);
        assert_eq!(read[..2], [0, 0], "once by the dead, once by another: {read:?}");
        assert!(read.len() > 3 && read[1..].windows(2).all(|pair| pair[0] != pair[1]), "{view}: {read:?}");
        drop(client);
    }
}

/// A purge is seen on every server within this: a look each second, and its calls.
const SEEN: Duration = Duration::from_secs(2);

/// Purges a list on two servers under a load, now on one, now on the other; `between` is done
/// before each purge.
fn purged_under_load(store: &str, prefix: &str, between: &[&dyn Fn()]) {
    let db = counted_list(1_000);
    db.execute("ALTER TABLE item ADD version int NOT NULL DEFAULT 0");
    let servers = [0, 1].map(|_| Running::config(&config(&db, "item", store, prefix)));
    let addresses = [servers[0].address, servers[1].address];
    // Of each version: when the purge had returned, and on which server.
    let purges: Mutex<Vec<(Instant, usize)>> = Mutex::default();
    let ends = AtomicBool::new(false);
    let judged = AtomicU64::new(0);
    let stream = |server: usize| {
        let began = Instant::now();
        let seen = |(at, by): &(Instant, usize)| *at + if server == *by { Duration::ZERO } else { SEEN } <= began;
        let oldest = purges.lock().unwrap().iter().rposition(seen).map_or(0, |last| last + 1);
        let reply = ask(addresses[server], "GET", "/list", &[]);
        assert_eq!(reply.status, 200);
        assert!(reply.whole);
        let text = String::from_utf8(reply.body).unwrap();
        for version in 0..oldest {
            let old = format!("\"version\":{version}}}");
            assert!(!text.contains(&old), "server {server} sent version {version} where {oldest} is due");
        }
        judged.fetch_add(oldest as u64, Ordering::Relaxed);
    };

    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|n| {
                let stream = &stream;
                let ends = &ends;
                scope.spawn(move || {
                    while !ends.load(Ordering::Relaxed) {
                        stream(n % 2);
                        thread::sleep(Duration::from_millis(5));
                    }
                })
            })
            .collect();
        for (n, event) in between.iter().enumerate() {
            thread::sleep(Duration::from_millis(300));
            event();
            db.execute(&format!("UPDATE item SET version = {}", n + 1));
            let by = n % 2;
            servers[by].block_on(servers[by].purge("list")).unwrap();
            purges.lock().unwrap().push((Instant::now(), by));
            thread::sleep(SEEN + Duration::from_millis(300));
        }
        ends.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });

    assert!(judged.into_inner() > 0);
}

#[test]
fn no_stream_that_starts_after_a_purge_gets_an_older_chunk() {
    purged_under_load(&super::url(Server::shared(Kind::Redis)), "purges", &[&|| (), &|| ()]);
}

#[test]
fn a_purge_while_a_memcached_node_hangs_or_is_down_is_a_purge() {
    let (nodes, url) = three_nodes();
    let hang = || nodes[1].order("pause", "paused");
    let die = || {
        nodes[1].order("go", "going");
        nodes[0].order("kill", "killed");
    };
    let back = || nodes[0].order("start", "ready");
    purged_under_load(&url, "purges", &[&hang, &die, &back]);
}
