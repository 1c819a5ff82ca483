//! A steady load of streams on two servers with a shared store, while something happens to the
//! store. Tests use short times, `benches/fleet.rs` long ones.

#![allow(dead_code, reason = "tests and the benchmark each look at some of it")]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    firewall::Firewall,
    machines::{Cluster, Sentinels, cli},
    servers::{Db, Kind, Server, postgres},
    support::{Client, Running, until},
};

/// How much load there is, and how long each fault lasts.
#[derive(Clone, Copy)]
pub struct Plan {
    pub clients: usize,
    pub rows: u32,
    pub time: Duration,
}

/// The results.
#[derive(Debug)]
pub struct Figures {
    pub streams: u64,
    /// Streams that were not whole, or not the list.
    pub errors: Vec<String>,
    pub first_byte: Duration,
    pub longest: Duration,
    /// Queries of the list in the database while the load ran.
    pub queries: u64,
    /// Queries that one server alone needs for the list.
    pub queries_once: u64,
    /// The largest number of connections seen at the database, from two servers with a pool of four
    /// each.
    pub connections: usize,
    /// The time from the end of the fault until both servers find all chunks again.
    pub back: Duration,
}

/// A fault under load, and its results.
type Fault = fn(Plan) -> Figures;

/// The faults of a store.
pub const FAULTS: [(&str, Fault); 14] = [
    ("nothing", nothing),
    ("Redis is killed, and comes back empty", killed),
    ("Redis hangs (SIGSTOP)", paused),
    ("Redis hangs, `near` holds the list", paused_with_near),
    ("connections to Redis fall silent, each second", silenced),
    ("connections to a cluster's nodes fall silent, each second", cluster_silenced),
    ("Redis is full, with `noeviction`", full),
    ("Redis refuses writes (`NOREPLICAS`)", refusing),
    ("a master becomes a replica, and its name leads to the new one", demoted),
    ("`FLUSHALL` each second", flushed),
    ("a master behind Sentinel is killed, its replica promoted", promoted),
    ("a master of a cluster is killed, slots are moved", resharded),
    ("one of three Memcached nodes is killed, and comes back", node_killed),
    ("one of three Memcached nodes hangs (SIGSTOP)", node_paused),
];

pub fn nothing(plan: Plan) -> Figures {
    under_load(&url(&Server::start(Kind::Redis)), "0", plan, || thread::sleep(plan.time))
}

pub fn killed(plan: Plan) -> Figures {
    let redis = Server::start(Kind::Redis);
    under_load(&url(&redis), "0", plan, || kill_for(&redis, plan.time))
}

pub fn paused(plan: Plan) -> Figures {
    let redis = Server::start(Kind::Redis);
    under_load(&url(&redis), "0", plan, || pause_for(&redis, plan.time))
}

pub fn paused_with_near(plan: Plan) -> Figures {
    let redis = Server::start(Kind::Redis);
    under_load(&url(&redis), "64MiB", plan, || pause_for(&redis, plan.time))
}

pub fn silenced(plan: Plan) -> Figures {
    let redis = Server::start(Kind::Redis);
    let firewall = Firewall::before(redis.port);
    under_load(&format!("redis://{}", firewall.address), "0", plan, || each_second(plan, || firewall.silence()))
}

pub fn cluster_silenced(plan: Plan) -> Figures {
    let (cluster, firewalls) = Cluster::start_behind_firewalls();
    under_load(&cluster.url, "0", plan, || each_second(plan, || firewalls.iter().for_each(Firewall::silence)))
}

pub fn refusing(plan: Plan) -> Figures {
    let redis = Server::start(Kind::Redis);
    under_load(&url(&redis), "0", plan, || {
        cli(&redis, &["config", "set", "min-replicas-to-write", "1"]);
        thread::sleep(plan.time);
        cli(&redis, &["config", "set", "min-replicas-to-write", "0"]);
    })
}

pub fn demoted(plan: Plan) -> Figures {
    let master = Server::start(Kind::Redis);
    let replica = Server::start_with(Kind::Redis, &["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let name = Firewall::before(master.port);
    under_load(&format!("redis://{}", name.address), "0", plan, || {
        let follows = || cli(&replica, &["info", "replication"]).contains("master_link_status:up");
        until("there is a copy", follows);
        cli(&replica, &["replicaof", "no", "one"]);
        cli(&master, &["replicaof", "127.0.0.1", &replica.port.to_string()]);
        name.leads_to(replica.port);
        thread::sleep(plan.time);
        // Chunks written from now on are found again.
        cli(&replica, &["flushall"]);
    })
}

pub fn full(plan: Plan) -> Figures {
    let redis = Server::start(Kind::Redis);
    under_load(&url(&redis), "0", plan, || {
        assert_eq!(cli(&redis, &["config", "set", "maxmemory-policy", "noeviction", "maxmemory", "1mb"]).trim(), "OK");
        cli(&redis, &["flushall"]);
        thread::sleep(plan.time);
        cli(&redis, &["config", "set", "maxmemory", "0"]);
    })
}

pub fn flushed(plan: Plan) -> Figures {
    let redis = Server::start(Kind::Redis);
    under_load(&url(&redis), "0", plan, || {
        for _ in 0..plan.time.as_secs() {
            cli(&redis, &["flushall"]);
            thread::sleep(Duration::from_secs(1));
        }
    })
}

pub fn promoted(plan: Plan) -> Figures {
    let sentinels = Sentinels::start();
    under_load(&sentinels.url, "0", plan, || sentinels.kill_master())
}

pub fn resharded(plan: Plan) -> Figures {
    let cluster = Cluster::start();
    under_load(&cluster.url, "0", plan, || {
        cluster.kill_first();
        cluster.reshard(1_000);
    })
}

pub fn node_killed(plan: Plan) -> Figures {
    let (nodes, url) = three_nodes();
    under_load(&url, "0", plan, || kill_for(&nodes[1], plan.time))
}

pub fn node_paused(plan: Plan) -> Figures {
    let (nodes, url) = three_nodes();
    under_load(&url, "0", plan, || pause_for(&nodes[1], plan.time))
}

fn url(redis: &Server) -> String {
    format!("redis://127.0.0.1:{}", redis.port)
}

pub fn three_nodes() -> (Vec<Server>, String) {
    let nodes: Vec<Server> = (0..3).map(|_| Server::start(Kind::Memcached)).collect();
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let url = format!("memcached://{}", hosts.join(","));
    (nodes, url)
}

fn each_second(plan: Plan, happens: impl Fn()) {
    for _ in 0..plan.time.as_secs() {
        happens();
        thread::sleep(Duration::from_secs(1));
    }
}

fn kill_for(server: &Server, time: Duration) {
    server.order("kill", "killed");
    thread::sleep(time);
    server.order("start", "ready");
}

fn pause_for(server: &Server, time: Duration) {
    server.order("pause", "paused");
    thread::sleep(time);
    server.order("go", "going");
}

/// A list of this many rows in PostgreSQL, which counts the queries.
pub fn counted_list(rows: u32) -> Db {
    let db = postgres();
    db.execute(&format!(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         INSERT INTO item SELECT i, repeat(md5(i::text), 6) FROM generate_series(1, {rows}) i;
         CREATE EXTENSION IF NOT EXISTS pg_stat_statements"
    ));
    db
}

/// Finished queries of a table or view, and the rows that they read, as counted by the database.
pub fn counted(db: &Db, table: &str) -> (u64, u64) {
    let sql = format!(
        "SELECT coalesce(sum(s.calls), 0), coalesce(sum(s.rows), 0) FROM pg_stat_statements s
         JOIN pg_database d ON d.oid = s.dbid
         WHERE d.datname = current_database() AND query LIKE 'SELECT \"public\".\"{table}\"%'"
    );
    let counts: Vec<u64> = db.query(&sql).unwrap()[0].iter().map(|n| n.parse().unwrap()).collect();
    (counts[0], counts[1])
}

fn connections(db: &Db) -> usize {
    let sql =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chunkflow' AND datname = current_database()";
    db.query(sql).unwrap()[0][0].parse().unwrap()
}

/// A server of the list with a shared store, and at most four connections to the database.
pub fn serve(db: &Db, url: &str, near: &str) -> Running {
    let text = db.config("table = \"item\"\nttl = \"1h\"");
    Running::config(&format!("{text}[store]\nurl = \"{url}\"\nnear = \"{near}\"\n"))
}

/// Clients ask two servers with one store for a list, again and again, while something happens to
/// the store.
fn under_load(url: &str, near: &str, plan: Plan, happens: impl FnOnce()) -> Figures {
    let db = counted_list(plan.rows);
    let expected = db.serve("table = \"item\"").get("/list").body;
    let queries_once = counted(&db, "item").0;
    let servers = [serve(&db, url, near), serve(&db, url, near)];
    let sum = |of: fn(&chunkflow::metrics::Metrics) -> u64| -> u64 {
        servers.iter().map(|server| of(server.chunkflow.metrics())).sum()
    };

    let all_is_found = || {
        let loads = sum(|metrics| metrics.loads());
        servers.iter().for_each(|server| assert!(server.get("/list").body == expected));
        sum(|metrics| metrics.loads()) == loads
    };

    until("both find all", all_is_found);
    let warm = counted(&db, "item").0;

    let (ends, streams, first_byte, longest) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let errors = Mutex::new(vec![]);
    let stream = |address| {
        let began = Instant::now();
        let mut client = Client::get(address, "/list");
        client.wait_for("\r\n\r\n");
        first_byte.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        let reply = client.read_reply("GET");
        longest.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        streams.fetch_add(1, Ordering::Relaxed);
        if reply.status != 200 || !reply.whole || reply.body != expected {
            let text = format!("{} {} {} bytes", reply.status, reply.whole, reply.body.len());
            errors.lock().unwrap().push(text);
        }
    };

    let (most, back) = thread::scope(|scope| {
        let load = Ends(&ends);
        for n in 0..plan.clients {
            let address = servers[n % 2].address;
            let ends = &ends;
            let stream = &stream;
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    stream(address);
                    thread::sleep(Duration::from_millis(10));
                }
            });
        }
        let most = scope.spawn(|| {
            let mut most = 0;
            while !ends.load(Ordering::Relaxed) {
                most = connections(&db).max(most);
                thread::sleep(Duration::from_millis(300));
            }
            most
        });
        thread::sleep(Duration::from_millis(300));
        happens();
        let ended = Instant::now();
        until("both find all again", all_is_found);
        let back = ended.elapsed();
        thread::sleep(Duration::from_millis(300));
        drop(load);
        (most.join().unwrap(), back)
    });

    Figures {
        streams: streams.into_inner(),
        errors: errors.into_inner().unwrap(),
        first_byte: Duration::from_micros(first_byte.into_inner()),
        longest: Duration::from_micros(longest.into_inner()),
        queries: counted(&db, "item").0 - warm,
        queries_once,
        connections: most,
        back,
    }
}

/// Ends the load, also if the fault panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
