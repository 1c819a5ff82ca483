//! The configuration is reloaded while streams run.

use std::{net::SocketAddr, path::Path, process::Output};

use crate::support::{Client, File, Process, Reply, ask, binary, numbered, until};

/// A server with one list, whose configuration a test rewrites.
struct Server {
    file: File,
    process: Process,
    admin: SocketAddr,
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], crate::servers::free_port()))
}

fn write(file: &File, admin: SocketAddr, sections: &str, resource: &str) {
    let config = file.config("table = \"item\"").replace("resources.list", &format!("resources.{resource}"));
    let text = format!("[admin]\nlisten = \"{admin}\"\n\n{sections}\n\n{config}");
    std::fs::write(file.folder.path().join("chunkflow.toml"), text).unwrap();
}

impl Server {
    fn start(rows: u64, sections: &str) -> Server {
        let file = numbered(rows);
        let admin = free_address();
        write(&file, admin, sections, "list");
        let process = Process::serve(&["serve", "--log", "info"], file.folder.path());
        Server { file, process, admin }
    }

    fn write(&self, sections: &str, resource: &str) {
        write(&self.file, self.admin, sections, resource);
    }

    fn reload(&self) -> Output {
        binary(&["reload"], self.file.folder.path()).output().unwrap()
    }

    fn hang_up(&self) {
        let process = self.process.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &process]).status().unwrap().success());
    }

    fn get(&self, target: &str) -> Reply {
        self.process.get(target)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn new_requests_get_the_new_lists_and_streams_under_way_end_with_the_old_ones() {
    let server = Server::start(200_000, "");
    let mut stream = Client::get(server.process.address, "/list");
    assert!(stream.wait_for("\"id\":10,"));
    let mut kept = Client::get(server.process.address, "/list?limit=1");
    assert_eq!(kept.read_reply("GET").status, 200);
    server.write("", "other");
    server.hang_up();
    until("the new list is there", || server.get("/other?limit=1").status == 200);
    assert_eq!(server.get("/list").status, 404, "the old one is not");
    kept.send("GET", "/other?limit=2", "HTTP/1.1", &[("host", "localhost")]);
    assert_eq!(kept.read_reply("GET").results().len(), 2, "an old connection gets it too");
    assert_eq!(stream.read_reply("GET").results().len(), 200_000, "the stream ended whole");
    // And back again.
    server.write("", "list");
    let output = server.reload();
    assert!(output.status.success() && said(&output).contains("reloaded: serving list"), "{}", said(&output));
    assert_eq!((server.get("/list?limit=1").status, server.get("/other").status), (200, 404));
}

#[test]
fn a_configuration_that_is_wrong_is_refused_whole_with_its_complaints() {
    let server = Server::start(10, "");
    let config = server.file.folder.path().join("chunkflow.toml");
    let right = std::fs::read_to_string(&config).unwrap();
    for (old, new, complaint) in [
        ("table = \"item\"", "table = \"itm\"", "no table or view `itm`"),
        ("[admin]", "[server]\nmax_stream = 5\n[admin]", "unknown key `max_stream`"),
        ("[admin]", "[server]\ntls = { cert = \"gone.pem\", key = \"gone.pem\" }\n[admin]", "is not there"),
    ] {
        std::fs::write(
            &config,
            right.replace(old, new) + "\n[resources.more]\ndatabase = \"main\"\ntable = \"item\"\n",
        )
        .unwrap();
        let output = server.reload();
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("chunkflow.toml:") && said(&output).contains(complaint), "{}", said(&output));
        server.hang_up();
        assert_eq!((server.get("/list").status, server.get("/more").status), (200, 404), "nothing of it is taken over");
    }

    std::fs::write(&config, right).unwrap();
    assert!(server.reload().status.success());
}

#[test]
fn chunks_in_memory_stay_unless_their_store_or_database_is_another() {
    let server = Server::start(500, "");
    let hit = || server.get("/list").header("cache-status").contains("hit");
    assert!(!hit() && hit());
    server.write("[server]\nmax_streams = 77", "list");
    assert!(server.reload().status.success() && hit());
    server.write("[store]\nurl = \"memory:32MiB\"", "list");
    assert!(server.reload().status.success() && !hit());
    let metrics = ask(server.admin, "GET", "/metrics", &[]);
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("chunkflow_streams_ended_total{how=\"complete\"} 4"), "counters go on: {text}");
}

#[test]
fn bounds_change_and_addresses_say_that_they_do_not() {
    let server = Server::start(10, "");
    assert_eq!(server.get("/list").status, 200);
    server.write("[server]\nrequest_rate = \"1/h\"", "list");
    assert!(server.reload().status.success());
    assert_eq!((server.get("/list").status, server.get("/list").status), (200, 429));
    write(&server.file, free_address(), "", "list");
    let reply = ask(server.admin, "POST", "/reload", &[("content-length", "0")]);
    let said = reply.json()["reloaded"].as_str().unwrap().to_owned();
    assert!(said.ends_with("; the address of [admin] changes only with a restart"), "{said}");
    assert_eq!((server.get("/list").status, server.get("/list").status), (200, 200));
}

#[test]
fn a_token_guards_reloads_too_and_without_a_server_there_is_nothing_to_ask() {
    let server = Server::start(10, "");
    let path = server.file.folder.path().join("chunkflow.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[admin]", "[admin]\ntoken = \"secret\"")).unwrap();
    assert!(server.reload().status.success(), "the token is new");
    assert_eq!(ask(server.admin, "POST", "/reload", &[("content-length", "0")]).status, 401);
    assert!(server.reload().status.success());
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::copy(&path, folder.path().join("chunkflow.toml")).unwrap();
    drop(server);
    let output = binary(&["reload"], Path::new(folder.path())).output().unwrap();
    assert!(said(&output).contains("no server answers at 127.0.0.1:"), "{}", said(&output));
}

#[test]
fn a_reload_never_takes_the_token_off_a_socket_that_is_bound_beyond_loopback() {
    let server = Server::start(10, "");
    let path = server.file.folder.path().join("chunkflow.toml");
    let port = free_address().port();
    let write = |admin: &str, resource: &str| {
        let config = server.file.config("table = \"item\"").replace("resources.list", &format!("resources.{resource}"));
        std::fs::write(&path, format!("{admin}\n{config}")).unwrap();
    };

    let beyond = format!("[admin]\nlisten = \"0.0.0.0:{port}\"\ntoken = \"t0ken\"\n");
    write(&beyond, "list");
    let process = Process::serve(&["serve", "--log", "info"], server.file.folder.path());
    let admin = SocketAddr::from(([127, 0, 0, 1], port));
    let bearer = [("authorization", "Bearer t0ken"), ("content-length", "0")];
    let reload = || ask(admin, "POST", "/reload", &bearer);
    let served = || ["/list", "/other"].map(|target| process.get(target).status);

    for listen in ["127.0.0.1", "[::1]", "localhost"] {
        write(&format!("[admin]\nlisten = \"{listen}:{port}\""), "other");
        let refused = reload();
        let why = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(refused.status == 400 && why.contains("until a restart: set `token` in [admin]"), "{listen}: {why}");
        assert_eq!(served(), [200, 404], "{listen}: nothing of it is taken over");
        assert_eq!(ask(admin, "GET", "/metrics", &[]).status, 401, "{listen}: the token stays");
    }

    // Without [admin] the operator's socket and its guard stay until a restart; it shows what is
    // served now.
    write("", "other");
    let said = reload().json()["reloaded"].as_str().unwrap().to_owned();
    assert!(said.contains("the address of [admin] changes only with a restart"), "{said}");
    assert_eq!(served(), [404, 200]);
    assert_eq!(ask(admin, "GET", "/metrics", &[]).status, 401);
    assert_eq!(ask(admin, "POST", "/purge/other", &bearer).status, 204, "it is the new configuration's");

    // Another token takes effect.
    write(&beyond.replace("t0ken", "other"), "list");
    assert_eq!(reload().status, 200);
    assert_eq!((served(), reload().status), ([200, 404], 401));
}
