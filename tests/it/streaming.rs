//! *When* and *how much*: the first byte, loads, memory, clients that leave and clients that stall.

use std::{
    io::Read,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::support::system_clock;
use chunkflow::{Kind, ResourceOptions, server::ServerConfig};

use crate::support::{Client, Hands, Numbers, Process, Running, ask, ids, numbered, numbers_app, serve_numbers, until};

#[test]
fn the_first_rows_arrive_while_a_later_chunk_is_blocked() {
    let source = Numbers::held_back(100_000, 100);
    source.permits.add_permits(1);
    let server = serve_numbers(&source);
    let mut client = Client::get(server.address, "/numbers");
    assert!(client.wait_for("{\"id\":10,"), "rows of the first chunk are here");
    until("the next read has begun", || source.begun() == 2);
    assert_eq!(source.reads.lock().unwrap().len(), 1, "and has not been answered");
    source.permits.add_permits(10_000);
    assert_eq!(ids(&client.read_reply("GET")).len(), 100_000);
}

#[test]
fn the_status_waits_for_the_first_chunk() {
    let source = Numbers::held_back(100, 1);
    let server = serve_numbers(&source);
    let mut client = Client::get(server.address, "/numbers");
    until("the read has begun", || source.begun() == 1);
    client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(client.stream.peek(&mut [0]).is_err(), "nothing is sent yet");
    source.fail_behind(0, Kind::Timeout);
    source.permits.add_permits(1);
    client.stream.set_read_timeout(Some(crate::support::STUCK)).unwrap();
    assert_eq!(client.read_reply("GET").status, 504);
}

#[test]
fn each_row_is_read_once_in_a_cold_list_and_none_in_a_warm_one() {
    let source = Numbers::new(20_000, 150);
    let server = serve_numbers(&source);
    let cold = server.get("/numbers");
    assert_eq!(ids(&cold), (1..=20_000).collect::<Vec<_>>());
    assert_eq!(source.handed.load(Ordering::SeqCst), 20_000, "rows beyond a boundary begin the next chunk");
    let begun = source.begun();
    assert_eq!(server.get("/numbers").body, cold.body);
    assert_eq!(source.begun(), begun, "a warm list asks nothing");
}

#[test]
fn a_warm_list_is_served_though_the_database_file_is_gone() {
    let file = numbered(2_000);
    let server = file.serve("table = \"item\"");
    let cold = server.get("/list");
    std::fs::rename(&file.path, file.path.with_extension("moved")).unwrap();
    assert_eq!(server.get("/list").body, cold.body);
    let reply = server.get("/list?id=gt.5");
    assert_eq!(reply.status, 503, "what is not cached says that its source is away");
    std::fs::rename(file.path.with_extension("moved"), &file.path).unwrap();
    assert_eq!(ids(&server.get("/list?id=gt.5")).len(), 1_995, "and comes back with it");
}

#[test]
fn two_hundred_clients_on_a_cold_list_load_each_chunk_once() {
    let source = Numbers::held_back(5_000, 200);
    let server = serve_numbers(&source);
    let first = Client::get(server.address, "/numbers");
    until("the first load has begun", || source.begun() == 1);
    let others: Vec<_> = (0..200).map(|_| Client::get(server.address, "/numbers")).collect();
    until("all have joined it", || server.chunkflow.metrics().joined() == 200);
    // The client that came first leaves; the load does not belong to it.
    drop(first);
    source.permits.add_permits(10_000);
    let readers = others.into_iter().map(|mut client| std::thread::spawn(move || client.read_reply("GET")));
    let readers: Vec<_> = readers.collect();
    let replies: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert_eq!(ids(&replies[0]), (1..=5_000).collect::<Vec<_>>());
    assert!(replies.iter().all(|reply| reply.whole && reply.body == replies[0].body));
    let reads = source.reads.lock().unwrap().clone();
    let mut distinct = reads.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(reads.len(), distinct.len(), "no read was made twice: {reads:?}");
    assert_eq!(source.handed.load(Ordering::SeqCst), 5_000);
    assert_eq!(server.get("/numbers").header("cache-status").split(';').nth(1), Some(" hit"));
}

#[test]
fn a_client_that_leaves_stops_the_loads() {
    let source = Numbers::held_back(1_000_000, 100);
    let server = serve_numbers(&source);
    let client = Client::get(server.address, "/numbers");
    until("the first read has begun", || source.begun() == 1);
    drop(client);
    until("it is given up in the source too", || source.dropped.load(Ordering::SeqCst) == 1);
    until("it is counted as given up", || server.chunkflow.metrics().abandoned() == 1);
    // In mid-stream.
    source.permits.add_permits(3);
    let mut client = Client::get(server.address, "/numbers");
    assert!(client.wait_for("{\"id\":10,"));
    until("it waits for a later read", || source.begun() == 5);
    drop(client);
    until("that is given up too", || source.dropped.load(Ordering::SeqCst) == 2);
    until("it is counted that its client left", || server.chunkflow.metrics().left() == 1);
    assert_eq!(server.chunkflow.metrics().streams(), 0);
}

#[test]
fn a_client_that_does_not_read_holds_back_the_source() {
    let source = Numbers::new(1_000_000, 1_000);
    let server = serve_numbers(&source);
    let mut client = Client::get(server.address, "/numbers");
    assert!(client.wait_for("{\"id\":10,"));
    // Sockets and hyper take some megabytes; the list is a gigabyte.
    let mut last = 0;
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = source.handed.load(Ordering::SeqCst);
        if now == last {
            break;
        }
        last = now;
    }

    assert!(last < 50_000, "{last} rows were read for a client that takes none");
}

#[test]
fn a_client_that_reads_nothing_is_cut_and_one_that_reads_slowly_is_not() {
    let source = Numbers::new(100_000, 1_000);
    let app = numbers_app(&source, ResourceOptions::default(), system_clock());
    let config = ServerConfig::default().with(|server| server.stall_timeout = Duration::from_millis(800));
    let server = Running::start(config, app);
    let stalled = Client::get(server.address, "/numbers");
    let mut slow = Client::get(server.address, "/numbers");
    // The slow client reads a little all the time, until long after the other was cut.
    let began = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    let mut was_cut = None;
    while was_cut.is_none_or(|at: Duration| began.elapsed() < at * 3) {
        slow.stream.read_exact(&mut buffer).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        was_cut = was_cut.or((server.chunkflow.metrics().stalled() == 1).then(|| began.elapsed()));
        assert!(began.elapsed() < crate::support::STUCK);
    }

    assert_eq!(server.chunkflow.metrics().stalled(), 1, "only the stalled one was cut");
    drop(stalled);
}

#[test]
fn a_client_that_takes_a_little_all_the_time_is_never_cut_however_little() {
    // So little that the kernel would not call the socket writable for many times the limit.
    let stall = Duration::from_secs(3);
    let sip = 8 * 1024;
    let pause = Duration::from_millis(100);
    let app = numbers_app(&Numbers::new(100_000, 1_000), ResourceOptions::default(), system_clock());
    let server = Running::start(ServerConfig::default().with(|server| server.stall_timeout = stall), app);
    let mut slow = Client::with_buffer(server.address, 64 * 1024);
    slow.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost")]);
    let began = Instant::now();
    let mut buffer = vec![0; sip];
    while began.elapsed() < stall * 3 {
        slow.stream.read_exact(&mut buffer).expect("it is still served");
        std::thread::sleep(pause);
    }

    assert_eq!(server.chunkflow.metrics().stalled(), 0);
    until("it is cut once it takes nothing", || server.chunkflow.metrics().stalled() == 1);
}

#[test]
fn a_request_that_never_ends_is_cut_and_so_is_a_connection_that_says_nothing() {
    use std::io::Write;
    let app = numbers_app(&Numbers::new(1, 1), ResourceOptions::default(), system_clock());
    let config = ServerConfig::default().with(|server| {
        server.header_timeout = Duration::from_millis(300);
        server.idle_timeout = Duration::from_millis(600);
    });

    let server = Running::start(config, app);
    let mut silent = Client::connect(server.address);
    let mut endless = Client::connect(server.address);
    endless.stream.write_all(b"GET /numbers HTTP/1.1\r\n").unwrap();
    let trickle = std::thread::spawn({
        let mut stream = endless.stream.try_clone().unwrap();
        move || {
            while stream.write_all(b"x: y\r\n").is_ok() && stream.flush().is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });

    let mut idle = Client::get(server.address, "/numbers");
    assert_eq!(idle.read_reply("GET").status, 200);
    for client in [&mut silent, &mut endless, &mut idle] {
        client.read_to_end();
    }

    trickle.join().unwrap();
}

#[test]
fn expired_chunks_are_served_while_the_source_is_away_and_no_longer_than_promised() {
    let source = Numbers::new(500, 100);
    let hands = Hands::default();
    let options = ResourceOptions::default().with(|options| {
        options.ttl = Duration::from_secs(60);
        options.stale = Duration::from_secs(600);
    });

    let server = Running::start(ServerConfig::default(), numbers_app(&source, options, hands.clock()));
    let fresh = server.get("/numbers");
    source.fail_behind(0, Kind::Unavailable);
    hands.advance(Duration::from_secs(50));
    let begun = source.begun();
    assert_eq!(server.get("/numbers").body, fresh.body);
    assert_eq!(source.begun(), begun, "a repeat within the ttl asks nothing");
    hands.advance(Duration::from_secs(20));
    let stale = server.get("/numbers");
    assert_eq!(stale.body, fresh.body);
    assert!(stale.header("cache-status").contains("detail=stale"), "{}", stale.header("cache-status"));
    until("a refresh was tried", || source.begun() > begun);
    hands.advance(Duration::from_secs(580));
    assert_eq!(server.get("/numbers").body, fresh.body, "ten seconds before the promise ends");
    hands.advance(Duration::from_secs(11));
    assert_eq!(server.get("/numbers").status, 503, "gone is gone");
    *source.fails_behind.lock().unwrap() = None;
    assert_eq!(server.get("/numbers").body, fresh.body, "and comes back with the source");
}

#[test]
fn a_stale_chunk_is_refreshed_once_behind_the_scenes() {
    let source = Numbers::new(500, 100);
    let hands = Hands::default();
    let options = ResourceOptions::default().with(|options| options.ttl = Duration::from_secs(60));
    let server = Running::start(ServerConfig::default(), numbers_app(&source, options, hands.clock()));
    let cold = server.get("/numbers");
    let loads = server.chunkflow.metrics().loads();
    let handed = source.handed.load(Ordering::SeqCst);
    hands.advance(Duration::from_secs(70));
    source.permits.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    for _ in 0..20 {
        assert_eq!(server.get("/numbers").body, cold.body, "nobody waits for the refresh");
    }

    source.permits.add_permits(1_000);
    until("every chunk is refreshed", || server.chunkflow.metrics().loads() == 2 * loads);
    assert!(server.get("/numbers").header("cache-status").contains("hit; ttl="));
    assert!(source.handed.load(Ordering::SeqCst) <= 3 * handed, "twenty requests made one refresh of each chunk");
    assert_eq!(server.chunkflow.metrics().loads(), 2 * loads);
}

#[test]
fn memory_stays_flat_while_a_million_rows_pass_a_slow_reader() {
    let folder = tempfile::TempDir::new().unwrap();
    let arguments = ["demo", "--rows", "1000000", "--database", "m.sqlite", "--store", "memory:16MiB", "--log", "warn"];
    // Another process makes the file, since that takes memory of its own.
    drop(Process::serve(&["demo", "--rows", "1000000", "--database", "m.sqlite"], folder.path()));
    let server = Process::serve(&arguments[..7], folder.path());
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };

    assert_eq!(ask(server.address, "GET", "/tricks?id=lt.20000", &[]).status, 200);
    let before = peak();
    let mut client = Client::get(server.address, "/tricks");
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let read = client.stream.read(&mut buffer).unwrap();
        total += read;
        // Slower than the source, so that everything that can pile up does.
        std::thread::sleep(Duration::from_millis(1));
        if buffer[..read].ends_with(b"0\r\n\r\n") || read == 0 {
            break;
        }
    }

    assert!(total > 150 << 20, "{total}");
    let after = peak();
    assert!(after < before + 48, "{before} MiB before, {after} MiB after: the store's 16 MiB and a wide margin");
}

#[test]
fn a_drain_lets_a_stream_end_and_a_deadline_cuts_it_visibly() {
    for ends in [true, false] {
        let source = Numbers::held_back(5_000, 200);
        source.permits.add_permits(1);
        let app = numbers_app(&source, ResourceOptions::default(), system_clock());
        let drain = if ends { crate::support::STUCK } else { Duration::from_millis(200) };
        let server = Running::start(ServerConfig::default().with(|server| server.drain = drain), app);
        let mut client = Client::get(server.address, "/numbers");
        let mut old = Client::connect(server.address);
        old.send("GET", "/numbers", "HTTP/1.0", &[]);
        assert!(client.wait_for("{\"id\":10,") && old.wait_for("{\"id\":10,"));
        server.shutdown.drain();
        until("no new connection is taken", || std::net::TcpStream::connect(server.address).is_err());
        if ends {
            source.permits.add_permits(1_000);
        }
        let reply = client.read_reply("GET");
        let old = old.read_reply("GET");
        assert_eq!((reply.whole, old.whole), (ends, ends));
        server.ended.recv_timeout(crate::support::STUCK).unwrap();
    }
}

#[test]
fn a_server_that_is_told_to_stop_says_first_that_it_is_not_ready_and_takes_no_new_stream() {
    let server = serve_numbers(&Numbers::new(5, 1));
    // They are connected before, so that time does not matter.
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(server.address)).collect();
    server.shutdown.drain();
    until("no new connection is taken", || std::net::TcpStream::connect(server.address).is_err());
    for (client, (path, status)) in clients.iter_mut().zip([("/readyz", 503), ("/healthz", 200), ("/numbers", 503)]) {
        client.send("GET", path, "HTTP/1.1", &[("host", "localhost")]);
        let reply = client.read_reply("GET");
        assert_eq!((reply.status, reply.header("connection")), (status, "close"), "{path}");
    }
    server.ended.recv_timeout(crate::support::STUCK).unwrap();
}

#[test]
fn chunks_that_are_stale_as_soon_as_they_are_loaded_lock_nobody_out() {
    let source = Numbers::new(2_000, 50);
    let options = ResourceOptions::default().with(|options| {
        options.ttl = Duration::ZERO;
        options.stale = Duration::from_secs(60);
    });
    let server = Running::start(ServerConfig::default(), numbers_app(&source, options, system_clock()));
    let address = server.address;
    let readers = (0..16).map(|_| {
        std::thread::spawn(move || (0..20).all(|_| ids(&ask(address, "GET", "/numbers", &[])).len() == 2_000))
    });
    let readers: Vec<_> = readers.collect();
    assert!(readers.into_iter().all(|reader| reader.join().unwrap()));
}
