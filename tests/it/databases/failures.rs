//! What happens when a database is killed, hangs, or comes back.

use crate::{
    servers::{Db, Kind, Server},
    support::{Client, Running, until},
};

const ROWS: usize = 30_000;

fn own() -> (&'static Server, Db) {
    let server: &'static Server = Box::leak(Box::new(Server::start(Kind::Postgres)));
    let db = server.database();
    db.execute(&format!("CREATE TABLE item (id INTEGER PRIMARY KEY, name text); INSERT INTO item SELECT i, repeat('x', 1000) FROM generate_series(1, {ROWS}) i"));
    (server, db)
}

fn serve(db: &Db) -> Running {
    // A store too small for anything, so that every chunk is read.
    let config = db
        .config("table = \"item\"")
        .replace("main = ", "main = { timeout = \"2s\", url = ")
        .replacen("\"\n\n", "\" }\n\n", 1);
    Running::config(&(config + "\n[store]\nurl = \"memory:1KiB\"\n"))
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_never_a_wrong_list() {
    let (machine, db) = own();
    let server = serve(&db);
    let whole = |server: &Running| server.get("/list").results().len() == ROWS;
    assert!(whole(&server));
    // While idle: the connections of before are dead, and nobody notices.
    machine.order("kill", "killed");
    machine.order("start", "ready");
    assert!(whole(&server), "a connection that died while it was idle is no failure");
    // In mid-stream.
    let mut client = Client::get(server.address, "/list");
    assert!(client.wait_for("\"id\":100,"));
    machine.order("kill", "killed");
    let reply = client.read_reply("GET");
    assert!(!reply.whole, "a cut list is not a whole one");
    // At the start.
    let reply = server.get("/list");
    assert_eq!(reply.status, 503, "{}", String::from_utf8_lossy(&reply.body));
    assert!(String::from_utf8_lossy(&reply.body).contains("remedy"));
    machine.order("start", "ready");
    assert!(whole(&server), "and it goes on");
    assert!(whole(&server));
}

#[test]
fn a_server_that_hangs_is_a_timeout_and_everything_goes_on_when_it_does() {
    let (machine, db) = own();
    let server = serve(&db);
    assert_eq!(server.get("/list?limit=1").status, 200);
    machine.order("pause", "paused");
    let replies: Vec<u16> = (0..3).map(|n| server.get(&format!("/list?limit=2&id=gt.{n}")).status).collect();
    assert!(replies.iter().all(|status| [503, 504].contains(status)), "{replies:?}");
    machine.order("go", "going");
    until("it answers again", || server.get("/list?limit=1&id=gt.7").status == 200);
    assert_eq!(server.get("/list").results().len(), ROWS);
}
