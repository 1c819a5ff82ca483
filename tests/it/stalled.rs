//! Thousands of clients that read nothing: what each costs, and that the others are served.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
};

use crate::{
    frames::{Frames, get},
    support::{Client, Process, STUCK, ask, until},
};

const READERS: u64 = 2_000;
/// How much memory of the process a stalled reader may take, in KiB. It is 29 over HTTP/1.1.
const EACH: u64 = 68;

/// Both ends of a connection may be in this process, and the soft limit of many systems is 1024.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

struct Server {
    _folder: tempfile::TempDir,
    process: Process,
    admin: SocketAddr,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::TempDir::new().unwrap();
        let admin = SocketAddr::from(([127, 0, 0, 1], crate::servers::free_port()));
        drop(Process::serve(&["demo", "--rows", "50000", "--database", "t.sqlite"], folder.path()));
        let config = include_str!("../../src/command/demo.toml").replace("${DEMO_DATABASE_URL}", "sqlite:t.sqlite");
        fs::write(folder.path().join("chunkflow.toml"), format!("{config}\n[admin]\nlisten = \"{admin}\"\n")).unwrap();
        let process = Process::serve(&["serve"], folder.path());
        // From here on all of it is in memory.
        assert!(process.get("/tricks").whole && process.get("/tricks").whole);
        Server { _folder: folder, process, admin }
    }

    fn streams(&self) -> u64 {
        let text = String::from_utf8(ask(self.admin, "GET", "/metrics", &[]).body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("chunkflow_streams "));
        line.unwrap().parse().unwrap()
    }

    /// Resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Connects readers that stall, and measures what they cost.
    fn hold(&self, connect: impl Fn(SocketAddr) -> TcpStream) {
        let before = self.memory();
        let readers: Vec<TcpStream> = (0..READERS).map(|_| connect(self.process.address)).collect();
        until("all are under way", || self.streams() == READERS);
        for reader in &readers {
            reader.set_read_timeout(Some(STUCK)).unwrap();
            assert!(reader.peek(&mut [0]).unwrap() > 0, "each got its first bytes");
        }

        let each = self.memory().saturating_sub(before) / READERS;
        println!("{each} KiB for each of {READERS} stalled readers");
        assert!(each < EACH, "{each} KiB for each of {READERS} readers");
        let reply = self.process.get("/tricks?limit=1000");
        assert!(reply.whole && reply.results().len() == 1_000, "others are served");
        assert_eq!(self.streams(), READERS);
        drop(readers);
        until("all are gone", || self.streams() == 0);
    }
}

#[test]
fn thousands_of_stalled_readers_cost_little_and_others_are_served() {
    raise_open_files();
    Server::start().hold(|address| {
        let mut client = Client::with_buffer(address, 4 * 1024);
        client.send("GET", "/tricks", "HTTP/1.1", &[("host", "localhost")]);
        client.stream
    });
    Server::start().hold(|address| {
        let mut client = Frames::connect(address, &[]);
        client.send(&get(1, "/tricks"));
        client.stream
    });
}
