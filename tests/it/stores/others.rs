//! What else can stand between servers and what they share: a store slower than the database,
//! clocks that differ, nodes that are dead.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::Clock;
use chunkflow::{
    Chunkflow, Resource, ResourceOptions,
    metrics::Metrics,
    server::ServerConfig,
    source::Source,
    store::{StoreOptions, open_store},
};

use super::{options, said};
use crate::{
    client::ask,
    firewall::Firewall,
    operator::operate,
    servers::{Kind, Server},
    steady::three_nodes,
    support::{File, Hands, Numbers, Running, ids, until},
};

#[test]
fn warm_waits_for_a_store_that_is_slower_than_the_database_and_all_chunks_are_in_it() {
    // More than what may be on its way at once.
    let rows = 2_200;
    let file = File::with(&format!(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows})
         INSERT INTO item SELECT i, hex(zeroblob(10000)) FROM n;"
    ));
    for kind in [Kind::Redis, Kind::Memcached] {
        let machine = Server::start(kind);
        let way = Firewall::before(machine.port);
        way.slow_down(20_000_000);
        let scheme = if kind == Kind::Redis { "redis" } else { "memcached" };
        let store = format!("[store]\nurl = \"{scheme}://{}\"\n", way.address);
        std::fs::write(file.folder.path().join("chunkflow.toml"), file.config("table = \"item\"") + &store).unwrap();
        let warm = || said(&["warm", "--encoding", "identity"], file.folder.path());

        let (well, text) = warm();
        assert!(well, "{kind:?}: {text}");
        let (well, text) = warm();
        assert!(well && text.contains("0 chunks loaded"), "{kind:?}: {text}");
    }
}

#[test]
fn what_an_operator_warms_waits_for_the_store_too() {
    let machine = Server::start(Kind::Redis);
    let way = Firewall::before(machine.port);
    let store = StoreOptions::new(format!("redis://{}", way.address)).with(|store| store.near = 0);
    let server = super::serve(&Numbers::new(1_500, 30_000), store, ResourceOptions::default());
    let admin = operate(&server, None);
    way.slow_down(20_000_000);

    assert_eq!(ask(admin, "POST", "/warm/numbers", &[]).status, 202);
    until("it is warm", || server.chunkflow.metrics().complete() == 1);
    server.block_on(server.chunkflow.written());
    assert_eq!(server.chunkflow.metrics().unwritten(), 0, "more than 32 MiB are written");
}

#[test]
fn what_is_not_written_for_want_of_room_is_counted_as_that_and_as_no_failure_of_the_store() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let machine = Server::start(kind);
        let way = Firewall::before(machine.port);
        let scheme = if kind == Kind::Redis { "redis" } else { "memcached" };
        let store = StoreOptions::new(format!("{scheme}://{}", way.address)).with(|store| store.near = 0);
        let server = super::serve(&Numbers::new(2_000, 40_000), store, ResourceOptions::default());
        // It answers, but takes in a second what the source gives in a moment.
        way.slow_down(4_000_000);
        assert!(server.get("/numbers").whole);

        let unwritten = server.chunkflow.metrics().unwritten();
        assert!(unwritten > 0, "{kind:?}: more than 32 MiB were to be written");
    }
}

/// A list over a store, by a server whose clock a test turns.
fn serve_by(clock: &Hands, source: &Arc<Numbers>, store: StoreOptions) -> Running {
    Running::with(ServerConfig::default(), async || by(clock.clock(), source, &store))
}

/// The same without a server.
fn by(clock: Clock, source: &Arc<Numbers>, store: &StoreOptions) -> Chunkflow {
    let store = open_store(store).unwrap();
    let options = ResourceOptions::default().with(|options| options.ttl = Duration::from_secs(60));
    let resource = Resource::new("numbers", Arc::clone(source) as Arc<dyn Source>, options).unwrap();
    Chunkflow::with_clock(store, clock, Arc::new(Metrics::default())).with(resource)
}

#[test]
fn a_clock_that_is_ahead_is_counted_by_the_others_as_soon_as_the_store_is_of_no_use_and_not_before() {
    for kind in [Kind::Redis, Kind::Memcached] {
        for (ahead, is_of_use) in [(0, true), (30, true), (59, true), (62, false), (7_200, false)] {
            let source = Numbers::new(1_000, 200);
            let store = options(Server::shared(kind), &format!("clocks{ahead}"), 0);
            let clocks = [Hands::default(), Hands::default()];
            let servers = clocks.each_ref().map(|clock| serve_by(clock, &source, store.clone()));
            clocks[0].advance(Duration::from_secs(ahead));
            for server in &servers {
                assert_eq!(ids(&server.get("/numbers")).len(), 1_000);
                server.block_on(server.chunkflow.written());
            }
            let [first, second] = servers.each_ref().map(|server| server.chunkflow.metrics());
            assert_eq!(second.loads() == 0, is_of_use, "{kind:?}, {ahead} s");
            assert_eq!(second.other_clock() == 0, is_of_use, "{kind:?}, {ahead} s");
            assert_eq!(first.other_clock(), 0, "the one that is ahead sees nothing of it");
        }
    }
}

/// What is logged by the threads that it is set for.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn that_the_clocks_of_two_servers_differ_is_warned_of_once_by_the_one_that_is_behind() {
    let source = Numbers::new(2_000, 200);
    let store = options(Server::shared(Kind::Redis), "clocks_log", 0);
    let ahead = Hands::default();
    let first = serve_by(&ahead, &source, store.clone());
    ahead.advance(Duration::from_secs(7_200));
    let lists = ["/numbers", "/numbers.csv", "/numbers.ndjson"];
    assert!(lists.iter().all(|list| first.get(list).whole));
    first.block_on(first.chunkflow.written());

    let log = Log::default();
    let writer = log.clone();
    let logged = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let logged = tracing::Dispatch::new(logged);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&logged)))
        .build()
        .unwrap();
    let clock = Hands::default().clock();
    let chunkflow = runtime.block_on(async { by(clock, &source, &store) });
    let second = Running::on(runtime, ServerConfig::default(), chunkflow);
    assert!(lists.iter().all(|list| second.get(list).whole));
    let counted = second.chunkflow.metrics().other_clock();
    assert!(counted > 1, "{counted}");
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("clock")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    for part in ["WARN", "numbers", "7200 s ahead", "keep the clocks of all servers in step"] {
        assert!(warnings[0].contains(part), "{part}: {said}");
    }
}

/// A list over three nodes, of which each chunk is its own query.
fn over_nodes(url: &str, source: &Arc<Numbers>) -> Running {
    let large =
        ResourceOptions::default().with(|options| options.sizes = chunkflow::Sizes { rows: 50, bytes: 200_000 });
    super::serve(source, StoreOptions::new(url).with(|store| store.near = 0), large)
}

#[test]
fn the_share_of_a_memcached_node_that_is_dead_or_hangs_goes_to_the_others_until_it_is_back() {
    for (goes, is_gone, comes, is_back) in [("kill", "killed", "start", "ready"), ("pause", "paused", "go", "going")] {
        let (nodes, url) = three_nodes();
        let source = Numbers::new(20_000, 500);
        let servers = [over_nodes(&url, &source), over_nodes(&url, &source)];
        let reads = || source.reads.lock().unwrap().len();
        let read_by = |server: &Running| {
            let before = reads();
            let reply = server.get("/numbers");
            assert!(reply.whole && ids(&reply) == (1..=20_000).collect::<Vec<u64>>());
            server.block_on(server.chunkflow.written());
            reads() - before
        };
        until("all are found", || servers.iter().all(|server| read_by(server) == 0));

        nodes[1].order(goes, is_gone);
        until("nothing is read though it is gone", || servers.iter().all(|server| read_by(server) == 0));
        // However long that lasts: longer than any rest, after which somebody tries the node.
        let until_tried = std::time::Instant::now() + Duration::from_secs(6);
        while std::time::Instant::now() < until_tried {
            servers.iter().for_each(|server| assert_eq!(read_by(server), 0, "{is_gone}"));
        }
        let server = &servers[0];
        server.block_on(server.purge("numbers")).expect("a purge is one without it");
        assert!(read_by(server) > 0);
        let generation = server.generation("numbers");
        until("the other sees it", || servers[1].generation("numbers") == generation);

        // What it kept from before the purge is never asked for.
        nodes[1].order(comes, is_back);
        until("it is used again, and all are found", || servers.iter().all(|server| read_by(server) == 0));
        assert!(servers.iter().all(|server| server.generation("numbers") == generation));
    }
}

#[test]
fn a_purge_without_a_node_is_known_to_a_server_that_never_saw_it_away() {
    let (nodes, url) = three_nodes();
    let source = Numbers::new(2_000, 200);
    let server = over_nodes(&url, &source);
    assert!(server.get("/numbers").whole);
    // Each of them, since one of them would be asked first where each name has one.
    for node in &nodes {
        node.order("kill", "killed");
        server.block_on(server.purge("numbers")).expect("a purge is one without it");
        node.order("start", "ready");

        let another = over_nodes(&url, &source);
        assert!(another.get("/numbers").whole);
        assert_eq!(another.generation("numbers"), server.generation("numbers"));
    }
}
