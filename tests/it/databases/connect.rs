//! Ways to a database: TLS, poolers, several hosts.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use crate::{
    servers::{Db, Kind, Server, postgres},
    support::{Running, parse, runtime, until},
};

fn with_rows() -> Db {
    let db = postgres();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name text); INSERT INTO item SELECT i, 'name ' || i FROM generate_series(1, 3000) i");
    db
}

fn config(url: &str) -> String {
    format!("[databases]\nmain = \"{url}\"\n[resources.list]\ndatabase = \"main\"\ntable = \"item\"\n")
}

/// Why it cannot be opened; empty when it can.
fn refused(url: &str) -> String {
    match runtime().block_on(parse(&config(url)).unwrap().open()) {
        Ok(_) => String::new(),
        Err(complaints) => complaints.to_string(),
    }
}

#[test]
fn tls_checks_what_sslmode_says_and_no_less() {
    let db = with_rows();
    let server = Server::shared(Kind::Postgres);
    let authority = server.folder.path().join("ca.pem");
    let other = tempfile::NamedTempFile::new().unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=other",
            "-keyout",
            "/dev/null",
            "-out",
        ])
        .arg(other.path())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let url = |host: &str, mode: &str, root: Option<&std::path::Path>| {
        let root = root.map_or(String::new(), |root| format!("&sslrootcert={}", root.display()));
        format!("{}?sslmode={mode}{root}", db.url().replace("127.0.0.1", host))
    };

    for (host, mode, root) in [
        ("127.0.0.1", "disable", None),
        ("127.0.0.1", "prefer", None),
        ("127.0.0.1", "require", None),
        ("127.0.0.1", "require", Some(&*authority)),
        ("127.0.0.1", "verify-ca", Some(&*authority)),
        ("localhost", "verify-full", Some(&*authority)),
    ] {
        assert_eq!(refused(&url(host, mode, root)), "", "{host} {mode} {root:?}");
    }

    for (host, mode, root) in [
        ("127.0.0.1", "verify-full", Some(&*authority)),
        ("localhost", "verify-full", Some(other.path())),
        ("localhost", "verify-ca", Some(other.path())),
        ("127.0.0.1", "require", Some(other.path())),
        ("localhost", "verify-full", None),
    ] {
        let why = refused(&url(host, mode, root));
        assert!(why.contains("error: chunkflow.toml:2:8") && why.contains("help:"), "{host} {mode} {root:?}: {why}");
    }

    let encrypted = Running::config(&config(&url("localhost", "verify-full", Some(&*authority))));
    assert_eq!(encrypted.get("/list").results().len(), 3000);
    let sql = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE s.ssl AND a.application_name = 'chunkflow' AND a.datname = current_database()";
    assert_eq!(db.query(sql).unwrap()[0][0], "1");
}

#[test]
fn hosts_are_tried_one_after_the_other() {
    let db = with_rows();
    let url = db.url().replace("127.0.0.1", "127.0.0.1:1,127.0.0.1");
    assert_eq!(refused(&format!("{url}?target_session_attrs=primary")), "");
    assert_eq!(refused(&format!("{url}?target_session_attrs=any")), "");
    assert_eq!(refused(&format!("{url}?target_session_attrs=prefer-standby")), "");
    assert!(
        refused(&format!("{url}?target_session_attrs=read-only")).contains("no host is what"),
        "there is no replica"
    );
}

#[test]
fn a_socket_in_the_file_system_is_a_way_too() {
    let db = with_rows();
    let server = Server::shared(Kind::Postgres);
    let (folder, name) = (server.folder.path().display(), db.url().rsplit_once('/').unwrap().1.to_owned());
    let url = format!("postgres:///{name}?host={folder}&port={}&user=chunkflow", server.port);
    assert_eq!(Running::config(&config(&url)).get("/list").results().len(), 3000);
    // A client that leaves stops its query over the socket as well.
    db.execute("CREATE VIEW slow AS SELECT id, pg_sleep(id * 0 + 30)::text AS s FROM item");
    let text = config(&url).replace("table = \"item\"", "table = \"slow\"\nkey = [\"id\"]");
    let text = text.replace(&format!("\"{url}\""), &format!("{{ url = \"{url}\", timeout = \"10m\" }}"));
    let slow = Running::config(&text);
    let active = || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%slow%' AND pid <> pg_backend_pid() AND datname = current_database()";
        db.query(sql).unwrap()[0][0].clone()
    };

    let client = crate::support::Client::get(slow.address, "/list");
    until("it runs", || active() == "1");
    drop(client);
    until("it is stopped", || active() == "0");
}

/// PgBouncer in transaction mode with one connection to the server, ended when dropped.
struct Pooler(Child);

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pooler_in_transaction_mode_serves_two_servers_over_one_connection() {
    let db = with_rows();
    let server = Server::shared(Kind::Postgres);
    let folder = tempfile::TempDir::new().unwrap();
    let port = crate::servers::free_port();
    let ini = folder.path().join("pgbouncer.ini");
    fs::write(folder.path().join("users.txt"), "\"chunkflow\" \"\"\n").unwrap();
    fs::write(
        &ini,
        format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {}\npool_mode = transaction\ndefault_pool_size = 1\n",
            server.port,
            folder.path().join("users.txt").display()
        ),
    )
    .unwrap();
    // It does not run as root, and must read its files.
    Command::new("chmod").args(["-R", "a+rX"]).arg(folder.path()).status().unwrap();
    let mut command = Command::new("pgbouncer");
    if rustix::process::getuid().is_root() {
        command.args(["-u", "postgres"]);
    }

    let _pooler = Pooler(command.arg(&ini).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("the pooler listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = db.url().replace(&format!(":{}/", server.port), &format!(":{port}/"));
    // Each reads in turn over the same connection of the server's: nothing of the one may be left
    // behind for the other.
    let servers = [Running::config(&config(&url)), Running::config(&config(&url))];
    for round in 0..5 {
        for server in &servers {
            assert_eq!(server.get(&format!("/list?id=gt.{round}")).results().len(), 3000 - round);
        }
    }

    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name <> 'psql' AND datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(db.query(sql).unwrap()[0][0], "1", "all went over one connection");

    // A client that leaves stops its query behind the pooler too.
    db.execute("CREATE VIEW slow AS SELECT id, pg_sleep(id * 0 + 30)::text AS s FROM item");
    let text = config(&url).replace("table = \"item\"", "table = \"slow\"\nkey = [\"id\"]");
    // Its time limit is longer than the test waits.
    let text = text.replace(&format!("\"{url}\""), &format!("{{ url = \"{url}\", timeout = \"10m\" }}"));
    let server = Running::config(&text);
    let active = || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%slow%' AND pid <> pg_backend_pid() AND datname = current_database()";
        db.query(sql).unwrap()[0][0].clone()
    };

    let client = crate::support::Client::get(server.address, "/list");
    until("it runs", || active() == "1");
    drop(client);
    until("it is stopped", || active() == "0");
}
