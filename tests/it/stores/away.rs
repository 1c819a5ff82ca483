//! A server that starts while its database is away.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use super::{said, url};
use crate::{
    servers::{Db, Kind, Server},
    support::{Process, Reply, until},
};

const ROWS: usize = 3_000;

/// A database that a test has gone and come back.
struct Leaving {
    server: &'static Server,
    db: Db,
}

impl Leaving {
    fn new(kind: Kind) -> Leaving {
        let server: &'static Server = Box::leak(Box::new(Server::start(kind)));
        let db = server.database();
        let values: Vec<String> = (1..=ROWS).map(|id| format!("({id}, 'name {id}')")).collect();
        db.execute(&format!(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40)); INSERT INTO item VALUES {};
             CREATE TABLE other (id INTEGER PRIMARY KEY); INSERT INTO other VALUES (1), (2)",
            values.join(", ")
        ));
        Leaving { server, db }
    }

    fn goes(&self) {
        self.server.order("kill", "killed");
    }

    fn comes_back(&self) {
        self.server.order("start", "ready");
    }

    /// Its value in `[databases]`.
    fn named(&self, options: &str) -> String {
        format!("{{ url = \"{}\", timeout = \"2s\"{options} }}", self.db.url())
    }
}

const IDENTITY: &str = ", identity = \"shop\"";

/// A configuration of `/list` and more, with chunks in this store.
fn configure(folder: &Path, database: &str, store: &Server, more: &str) {
    let text = format!(
        "[databases]\nmain = {database}\n[store]\nurl = \"{}\"\nnear = \"0\"\n\
         [resources.list]\ndatabase = \"main\"\ntable = \"item\"\nfields = {{ id = \"id\", it = \"name\" }}\n{more}",
        url(store)
    );
    fs::write(folder.join("chunkflow.toml"), text).unwrap();
}

const OTHER: &str = "[resources.other]\ndatabase = \"main\"\ntable = \"other\"\n";

fn serve(folder: &Path) -> Process {
    Process::serve(&["serve", "--log", "info"], folder)
}

fn is_hit(reply: &Reply) -> bool {
    reply.header("cache-status").contains("; hit")
}

/// The list, when all of it and what the database says is in the store.
fn kept(folder: &Path) -> Reply {
    let server = serve(folder);
    let cold = server.get("/list");
    assert_eq!(cold.results().len(), ROWS);
    // By another server, which finds nothing in its own memory.
    until("the whole list is in the store", || {
        let server = serve(folder);
        let reads = || server.get("/list").body == cold.body && is_hit(&server.get("/list"));
        reads() && server.get("/list?limit=1000").results().len() == 1000
    });
    cold
}

#[test]
fn lists_whose_chunks_are_in_the_store_are_served_and_the_rest_is_503_until_the_database_comes() {
    for (kind, store) in [(Kind::Postgres, Kind::Redis), (Kind::MariaDb, Kind::Memcached)] {
        let database = Leaving::new(kind);
        let store = Server::start(store);
        let folder = TempDir::new().unwrap();
        configure(folder.path(), &database.named(IDENTITY), &store, "");
        let cold = kept(folder.path());
        // A list that was never served before, and of which nothing is known.
        configure(folder.path(), &database.named(IDENTITY), &store, OTHER);
        database.goes();

        let server = serve(folder.path());
        assert_eq!(server.get("/readyz").json(), json!({ "ok": true, "away": ["list", "other"] }), "{kind:?}");
        let verbose = server.get("/readyz?verbose").json();
        let away = |check: &&serde_json::Value| check["ok"] == json!(false) && check["check"] == "database";
        assert_eq!(verbose["checks"].as_array().unwrap().iter().filter(away).count(), 2, "{kind:?}: {verbose}");
        let found = server.get("/list");
        assert_eq!((found.status, is_hit(&found)), (200, true), "{kind:?}");
        assert_eq!(found.body, cold.body, "{kind:?}");
        for rest in ["/list?id=gt.5", "/other", "/other?id=gt.1"] {
            let reply = server.get(rest);
            assert_eq!(reply.status, 503, "{kind:?}: {rest}: {}", String::from_utf8_lossy(&reply.body));
        }
        assert_eq!(server.get("/list?nonsense=eq.5").status, 400, "{kind:?}: what may be asked is known");

        database.comes_back();
        until("nothing is away", || server.get("/list?id=gt.5").status == 200 && server.get("/other").status == 200);
        assert_eq!(server.get("/readyz").json(), json!({ "ok": true }), "{kind:?}");
        assert_eq!(server.get("/list?id=gt.5").results().len(), ROWS - 5, "{kind:?}");
        assert_eq!(server.get("/other?id=gt.1").results().len(), 1, "{kind:?}");
        assert_eq!(server.get("/list").body, cold.body, "{kind:?}");
    }
}

#[test]
fn a_table_that_has_changed_meanwhile_is_served_as_it_is_from_the_first_read_on() {
    let database = Leaving::new(Kind::Postgres);
    let store = Server::shared(Kind::Redis);
    let folder = TempDir::new().unwrap();
    let named = database.named(", identity = \"changed\"");
    configure(folder.path(), &named, store, "");
    kept(folder.path());
    database.db.execute("ALTER TABLE item ALTER name TYPE integer USING id * 2");
    database.goes();

    let server = serve(folder.path());
    assert_eq!(server.get("/list").results()[0]["it"], "name 1", "whole in the store, and fresh");
    database.comes_back();
    until("it is read", || server.get("/list?id=gt.2").status == 200);
    assert_eq!(server.get("/list?id=gt.2").results()[0]["it"], 6);
    assert_eq!(server.get("/list").results()[0]["it"], 2, "no chunk of what the table was");
}

#[test]
fn what_one_user_or_database_was_told_another_does_not_find() {
    let database = Leaving::new(Kind::Postgres);
    let store = Server::start(Kind::Redis);
    database.db.execute("CREATE ROLE another LOGIN; GRANT SELECT ON item TO another");
    let folder = TempDir::new().unwrap();
    configure(folder.path(), &database.named(IDENTITY), &store, "");
    kept(folder.path());
    database.goes();

    let another = database.named(IDENTITY).replace("postgres://chunkflow@", "postgres://another@");
    for named in
        [another, database.named(", identity = \"copy\""), database.named(&format!("{IDENTITY}, share = true"))]
    {
        configure(folder.path(), &named, &store, "");
        assert_eq!(serve(folder.path()).get("/list").status, 503, "{named}");
    }

    configure(folder.path(), &database.named(IDENTITY), &store, "");
    assert_eq!(serve(folder.path()).get("/list").status, 200);

    // Two stacks may write one URL: without a name nothing is kept, and none starts.
    configure(folder.path(), &database.named(""), &store, "");
    let (well, text) = said(&["serve", "--listen", "127.0.0.1:0"], folder.path());
    assert!(!well && text.contains("cannot be reached"), "{text}");
    // Commands that do one thing do not do half of it.
    configure(folder.path(), &database.named(IDENTITY), &store, "");
    for command in [&["check"][..], &["purge", "list"], &["warm"], &["export", "list"]] {
        let (well, text) = said(command, folder.path());
        assert!(!well && text.contains("cannot be reached"), "{command:?}: {text}");
    }
}
