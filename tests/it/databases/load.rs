//! Many clients: how many queries, how many connections.

use std::io::Write;

use chunkflow::server::ServerConfig;

use super::ids;
use crate::{
    servers::{Db, postgres},
    support::{Client, Running, parse, until},
};

fn long(db: &Db, rows: u32) {
    db.execute(&format!("CREATE TABLE item (id INTEGER PRIMARY KEY, name text); INSERT INTO item SELECT i, repeat('x', 1000) FROM generate_series(1, {rows}) i"));
}

fn connections(db: &Db) -> usize {
    db.query(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chunkflow' AND datname = current_database()",
    )
    .unwrap()[0][0]
        .parse()
        .unwrap()
}

#[test]
fn slow_readers_hold_no_connection_and_one_more_gets_its_first_chunk() {
    let db = postgres();
    long(&db, 20_000);
    let config =
        db.config("table = \"item\"").replace("main = ", "main = { pool = 4, url = ").replacen("\"\n\n", "\" }\n\n", 1)
            + "\n[store]\nurl = \"memory:1MiB\"\n";
    let server = Running::config(&config);
    // Each begins somewhere else, so that each needs chunks of its own.
    let slow: Vec<Client> = (0..100).map(|n| Client::get(server.address, &format!("/list?id=gt.{n}"))).collect();
    until("all have begun", || server.chunkflow.metrics().streams() == 100);
    let reads = || server.chunkflow.metrics().reads();
    until("nothing is read any more", || {
        let before = reads();
        // Between two reads no connection is busy either.
        std::thread::sleep(std::time::Duration::from_millis(300));
        reads() == before && db.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chunkflow' AND datname = current_database() AND state <> 'idle'").unwrap()[0][0] == "0"
    });

    assert!(connections(&db) <= 4);
    assert_eq!(ids(&server.get("/list?id=gt.19990").results()).len(), 10, "a cold request is served meanwhile");
    drop(slow);
    assert!(connections(&db) <= 4);
}

#[test]
fn cold_clients_share_each_query_however_many_they_are() {
    let db = postgres();
    long(&db, 5_000);
    db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    let server = db.serve("table = \"item\"");
    let counted = || -> Vec<u64> {
        let sql = "SELECT s.calls, s.rows FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() AND query LIKE 'SELECT \"public\".\"item\"%'";
        db.query(sql).unwrap().concat().iter().map(|n| n.parse().unwrap()).collect()
    };

    let mut clients: Vec<Client> = (0..50).map(|_| Client::get(server.address, "/list")).collect();
    for client in &mut clients {
        let reply = client.read_reply("GET");
        assert!(reply.whole && reply.results().len() == 5_000);
    }

    let rows: u64 = counted().iter().skip(1).step_by(2).sum();
    // Each row once; the first query is told apart by its text.
    assert_eq!(rows, 5_000, "{:?}", counted());
    let before = counted();
    assert_eq!(server.get("/list").results().len(), 5_000);
    assert_eq!(counted(), before, "and a warm list costs no query");
}

#[test]
fn a_client_that_leaves_stops_its_query_at_the_server() {
    let db = postgres();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 10); CREATE VIEW slow AS SELECT id, pg_sleep(id * 0 + 30)::text AS s FROM item");
    let server = db.serve("table = \"slow\"\nkey = [\"id\"]");
    let active = || {
        db.query("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%slow%' AND pid <> pg_backend_pid() AND datname = current_database()").unwrap()[0][0].clone()
    };
    let client = Client::get(server.address, "/list");
    until("it runs", || active() == "1");
    drop(client);
    until("it is stopped", || active() == "0");
    assert_eq!(connections(&db), 0, "and its connection is not used again");
}

#[test]
fn a_query_that_is_too_slow_is_stopped_by_the_server_and_is_504() {
    let db = postgres();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 10); CREATE VIEW slow AS SELECT id, pg_sleep(id * 0 + 30)::text AS s FROM item");
    let text = db
        .config("table = \"slow\"\nkey = [\"id\"]")
        .replace("main = ", "main = { timeout = \"300ms\", url = ")
        .replacen("\"\n\n", "\" }\n\n", 1);
    let server = Running::start(ServerConfig::default(), {
        let runtime = Box::leak(Box::new(crate::support::runtime()));
        runtime.block_on(parse(&text).unwrap().open()).unwrap()
    });
    let reply = server.get("/list");
    assert_eq!(reply.status, 504, "{}", String::from_utf8_lossy(&reply.body));
}

/// Holds an advisory lock of a database until it is dropped: whatever asks for it waits so long.
struct Advisory(std::process::Child);

impl Advisory {
    fn lock(db: &Db) -> Advisory {
        let lock = Advisory::ask(db);
        until("the lock is held", || Advisory::count(db, true) == "1");
        lock
    }

    fn ask(db: &Db) -> Advisory {
        let mut psql = std::process::Command::new("psql");
        psql.args(["-X", "-q", &db.url()]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        let mut child = psql.spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "SELECT pg_advisory_lock(7);").unwrap();
        Advisory(child)
    }

    /// How many have the lock, or wait for it.
    fn count(db: &Db, granted: bool) -> String {
        let sql = format!(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
             WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted = {granted} AND datname = current_database()"
        );
        db.query(&sql).unwrap()[0][0].clone()
    }

    /// Waits for the lock behind all who wait for it already.
    fn wait(db: &Db) -> Advisory {
        let lock = Advisory::ask(db);
        until("the lock is waited for", || Advisory::count(db, false) == "1");
        lock
    }
}

impl Drop for Advisory {
    fn drop(&mut self) {
        // At the end of its input psql leaves, and the server frees the lock.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn one_client_with_many_filtered_lists_leaves_others_their_turn() {
    let db = postgres();
    long(&db, 100);
    db.execute(
        "CREATE VIEW slow AS SELECT id, name FROM item WHERE (SELECT pg_advisory_xact_lock_shared(7)::text) = ''",
    );

    let text = db.config("table = \"item\"")
        + "\n[resources.slow]\ndatabase = \"main\"\ntable = \"slow\"\nkey = [\"id\"]\nfilters = [\"id\"]\n";
    let server = Running::config(&text);
    let lock = Advisory::lock(&db);

    let mut many: Vec<Client> = (0..40).map(|n| Client::get(server.address, &format!("/slow?id=gt.{n}"))).collect();
    let waiting = || {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()";
        db.query(sql).unwrap()[0][0].clone()
    };

    until("as many as may read", || waiting() == "3");
    assert_eq!(server.get("/list").results().len(), 100, "of four turns one is left to lists without filters");
    assert_eq!(waiting(), "3");

    drop(lock);
    for (n, client) in many.iter_mut().enumerate() {
        let reply = client.read_reply("GET");
        assert!(reply.whole && reply.results().len() == 100 - n, "{n}: {}", reply.status);
    }
}

#[test]
fn turns_at_a_database_go_round_by_the_address_that_asks() {
    let db = postgres();
    long(&db, 10);
    let mut text =
        db.config("table = \"item\"").replace("main = ", "main = { pool = 1, url = ").replacen("\"\n\n", "\" }\n\n", 1);
    for view in ["slow", "other"] {
        db.execute(&format!(
            "CREATE VIEW {view} AS SELECT id, name FROM item WHERE (SELECT pg_advisory_xact_lock_shared(7)::text) = ''"
        ));
        text += &format!(
            "[resources.{view}]\ndatabase = \"main\"\ntable = \"{view}\"\nkey = [\"id\"]\nfilters = [\"id\"]\n"
        );
    }

    let server = Running::config(&(text + "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n"));
    let ask = |address: &str, target: &str| {
        let mut client = Client::connect(server.address);
        client.send("GET", target, "HTTP/1.1", &[("host", "localhost"), ("x-forwarded-for", address)]);
        client
    };

    let reads = || {
        let sql = "SELECT CASE WHEN query LIKE '%other%' THEN 'other' ELSE 'slow' END FROM pg_stat_activity
            WHERE wait_event = 'advisory' AND query NOT LIKE '%pg_advisory_lock(7)%' AND datname = current_database()";
        db.query(sql).unwrap().concat()
    };

    let lock = Advisory::lock(&db);
    let mut clients = vec![ask("192.0.2.1", "/slow?id=gt.0")];
    until("the first reads", || reads() == ["slow"]);
    clients.extend((1..20).map(|n| ask("192.0.2.1", &format!("/slow?id=gt.{n}"))));
    let loads = || server.chunkflow.metrics().misses();
    until("all of one address wait", || loads() == 20);
    clients.push(ask("192.0.2.2", "/other?id=gt.0"));
    until("and another", || loads() == 21);

    // One read after the other: behind each the lock is held again.
    let mut lock = lock;
    let mut turns = vec![];
    for _ in 0..2 {
        let next = Advisory::wait(&db);
        drop(std::mem::replace(&mut lock, next));
        let held = || Advisory::count(&db, true) == "1" && Advisory::count(&db, false) == "0";
        until("the read before has ended", held);
        until("the next reads", || !reads().is_empty());
        turns.extend(reads());
    }

    assert_eq!(turns, ["slow", "other"], "the other is second in turn, before eighteen that came before it");
    drop(lock);
    for client in &mut clients {
        assert_eq!(client.read_reply("GET").status, 200);
    }
}
