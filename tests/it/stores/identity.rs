//! What stands in one store is shared by those who would read the same rows, and by nobody else.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use super::url;
use crate::{
    servers::{Db, Kind, Server, mariadb, postgres},
    support::{File, Reply, Running, checked, parse, runtime, until},
};

fn url_of_store() -> String {
    url(Server::shared(Kind::Redis))
}

/// A configuration of `/list` over a database, as it stands in `[databases]`, with chunks in the
/// Redis of all tests.
fn config(prefix: &str, database: &str) -> String {
    format!(
        "[databases]\nmain = {database}\n\n[store]\nurl = \"{}\"\nprefix = \"{prefix}:\"\n\n\
         [resources.list]\ndatabase = \"main\"\ntable = \"item\"\nkey = [\"id\"]\n",
        url_of_store()
    )
}

fn serve(prefix: &str, database: &str) -> Running {
    Running::config(&config(prefix, database))
}

/// The list of a server, once its chunks are in the store.
fn list(server: &Running) -> (Vec<String>, bool) {
    let reply: Reply = server.get("/list");
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    server.block_on(server.chunkflow.written());
    let names = reply.results().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    (names, reply.header("cache-status").contains("hit"))
}

fn fresh(names: &[&str]) -> (Vec<String>, bool) {
    (names.iter().map(ToString::to_string).collect(), false)
}

fn found(names: &[&str]) -> (Vec<String>, bool) {
    (fresh(names).0, true)
}

/// Each user's own rows by a policy, and a role that both may take.
fn with_policy(prefix: &str) -> (Db, [String; 2], String) {
    let db = postgres();
    let [a, b, role] = ["a", "b", "both"].map(|name| format!("{prefix}_{name}"));
    db.execute(&format!(
        "CREATE ROLE {a} LOGIN; CREATE ROLE {b} LOGIN; CREATE ROLE {role}; GRANT {role} TO {a}, {b};
         CREATE TABLE item (id int PRIMARY KEY, owner text, name text);
         INSERT INTO item VALUES (1, '{a}', 'of a'), (2, '{b}', 'of b'), (3, '{role}', 'of both');
         GRANT SELECT ON item TO PUBLIC; ALTER TABLE item ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON item USING (owner = current_user)"
    ));
    (db, [a, b], role)
}

#[test]
fn two_users_of_one_database_never_see_each_others_rows() {
    let (db, [a, b], _) = with_policy("users");
    let servers = [a, b].map(|user| serve("users", &format!("\"{}\"", db.as_user(&user).url())));
    assert_eq!(list(&servers[0]), fresh(&["of a"]));
    assert_eq!(list(&servers[1]), fresh(&["of b"]));
    assert_eq!(list(&servers[0]), found(&["of a"]));

    let db = mariadb();
    db.execute(
        "CREATE TABLE base (id int PRIMARY KEY, owner varchar(20), name varchar(20)); INSERT INTO base VALUES (1, 'cf_a', 'of a'), (2, 'cf_b', 'of b');
         CREATE VIEW item AS SELECT id, name FROM base WHERE owner = SUBSTRING_INDEX(USER(), '@', 1);
         CREATE USER IF NOT EXISTS cf_a@'127.0.0.1'; CREATE USER IF NOT EXISTS cf_b@'127.0.0.1';
         GRANT SELECT, SHOW VIEW ON *.* TO cf_a@'127.0.0.1'; GRANT SELECT, SHOW VIEW ON *.* TO cf_b@'127.0.0.1';",
    );

    let servers = ["cf_a", "cf_b"].map(|user| serve("users", &format!("\"{}\"", db.as_user(user).url())));
    assert_eq!(list(&servers[0]), fresh(&["of a"]));
    assert_eq!(list(&servers[1]), fresh(&["of b"]));
}

#[test]
fn a_role_reads_in_the_place_of_each_user_and_its_rows_are_shared() {
    let (db, [a, b], role) = with_policy("roles");
    let servers =
        [a, b].map(|user| serve("roles", &format!("{{ url = \"{}\", role = \"{role}\" }}", db.as_user(&user).url())));
    assert_eq!(list(&servers[0]), fresh(&["of both"]));
    assert_eq!(list(&servers[1]), found(&["of both"]));

    let db = mariadb();
    db.execute(
        "CREATE TABLE base (id int PRIMARY KEY, name varchar(20)); INSERT INTO base VALUES (1, 'one');
         CREATE VIEW item AS SELECT id, COALESCE(CURRENT_ROLE(), 'none') AS name FROM base;
         CREATE ROLE IF NOT EXISTS cf_reader; GRANT SELECT, SHOW VIEW ON *.* TO cf_reader; GRANT cf_reader TO chunkflow@'127.0.0.1';",
    );

    let plain = serve("roles", &format!("\"{}\"", db.url()));
    let reader = serve("roles", &format!("{{ url = \"{}\", role = \"cf_reader\" }}", db.url()));
    assert_eq!(list(&plain).0.len(), 1);
    assert!(!list(&reader).1, "one role's chunks are not the other's");

    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)");
    let text = config("roles", &format!("{{ url = \"sqlite:{}\", role = \"x\" }}", file.path.display()));
    let refused = runtime().block_on(parse(&text).unwrap().open()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("has no roles"), "{refused}");
}

#[test]
fn rows_that_a_user_reads_who_has_become_another_are_not_kept_under_the_first_one_s_name() {
    let (db, [a, b], _) = with_policy("became");
    let config = config("became", &format!("\"{}\"", db.as_user(&a).url()));
    let first = Running::config(&config);
    assert_eq!(list(&first), fresh(&["of a"]));
    let sql = format!("SELECT coalesce(string_agg(pid::text, ','), '') FROM pg_stat_activity WHERE usename = '{a}'");
    let connections = db.query(&sql).unwrap()[0][0].clone();
    let second = Running::config(&config);

    // From now on new connections read as the other user; those of the second server are of before.
    db.execute(&format!("GRANT {b} TO {a}; ALTER ROLE {a} SET role TO {b}; SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[{connections}]) pid"));
    first.block_on(first.purge("list")).unwrap();
    until("the first server has read", || first.get("/list").status == 200);
    first.block_on(first.chunkflow.written());
    assert_eq!(list(&second).0, ["of a"]);
}

#[test]
fn users_share_what_is_said_to_depend_on_none_of_them() {
    let (db, [a, b], _) = with_policy("share");
    db.execute("ALTER TABLE item DISABLE ROW LEVEL SECURITY");
    let all = ["of a", "of b", "of both"];
    let servers =
        [a, b].map(|user| serve("share", &format!("{{ url = \"{}\", share = true }}", db.as_user(&user).url())));
    assert_eq!(list(&servers[0]), fresh(&all));
    assert_eq!(list(&servers[1]), found(&all));
}

#[test]
fn a_server_that_is_told_of_another_database_serves_that_one() {
    let rows = |name: &str| {
        let db = postgres();
        db.execute(&format!(
            "CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item VALUES (1, '{name}')"
        ));
        db
    };

    let a = rows("of a");
    let b = rows("of b");
    let text = |used: &str| {
        config("told", &format!("\"{}\"\nother = \"{}\"", a.url(), b.url()))
            .replace("database = \"main\"", &format!("database = \"{used}\""))
    };

    let before = parse(&text("main")).unwrap();
    let after = parse(&text("other")).unwrap();
    let server = Running::of(&before);
    assert_eq!(list(&server), fresh(&["of a"]));
    let reloaded = server.block_on(after.open_after(&before, &server.chunkflow)).unwrap();
    let reloaded = Running::start(after.server.clone(), reloaded);
    assert_eq!(list(&reloaded), fresh(&["of b"]));
}

#[test]
fn a_file_in_the_place_of_another_is_another_database() {
    let make = |name: &str| {
        File::with(&format!(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO item VALUES (1, '{name}')"
        ))
    };

    let one = make("one");
    let other = make("other");
    let database = format!("\"sqlite:{}\"", one.path.display());
    let first = serve("files", &database);
    assert_eq!(list(&first), fresh(&["one"]));

    // As another container sees it: the same path, and another file there.
    std::fs::rename(&one.path, one.folder.path().join("moved")).unwrap();
    std::fs::rename(&other.path, &one.path).unwrap();
    let second = serve("files", &database);
    assert_eq!(list(&second), fresh(&["other"]));
    // And a server that runs meanwhile: what it has may be served for its time, never with rows of
    // the other.
    let purged = first.block_on(first.purge("list"));
    purged.unwrap();
    until("it notices", || first.get("/list").status == 200);
    assert_eq!(list(&first).0, ["other"]);
}

#[test]
fn a_database_whose_replicas_would_be_others_is_to_be_named_where_the_store_is_shared() {
    let db = mariadb();
    let other = postgres();
    for db in [&db, &other] {
        db.execute("CREATE TABLE item (id int PRIMARY KEY, name varchar(20))");
    }

    let url = db.url();
    let named = format!("{{ url = \"{url}\", identity = \"shop\" }}");
    let told = checked(&config("replicas", &format!("\"{url}\"")));
    assert!(told.contains("each of its replicas counts as another database"), "{told}");
    assert!(told.contains("identity = \"…\""), "{told}");
    assert_eq!(checked(&config("replicas", &named)), "");
    assert_eq!(
        checked(&config("replicas", &format!("\"{}\"", other.url()))),
        "",
        "standbys of PostgreSQL are the same"
    );

    let alone = config("replicas", &format!("\"{url}\"")).replace(&url_of_store(), "memory:1MiB");
    assert_eq!(checked(&alone), "", "nobody else has its chunks");
}

/// A way to a server that can be turned to another.
struct Way {
    port: u16,
    to: Arc<Mutex<u16>>,
}

impl Way {
    fn to(port: u16) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Way { port: listener.local_addr().unwrap().port(), to: Arc::new(Mutex::new(port)) };
        let to = Arc::clone(&way.to);
        thread::spawn(move || {
            for client in listener.incoming() {
                let address = SocketAddr::from(([127, 0, 0, 1], *to.lock().unwrap()));
                let (mut client, Ok(mut server)) = (client.unwrap(), TcpStream::connect(address)) else { continue };
                let mut answers = server.try_clone().unwrap();
                let mut back = client.try_clone().unwrap();
                thread::spawn(move || {
                    let _ = std::io::copy(&mut answers, &mut back);
                    let _ = back.shutdown(std::net::Shutdown::Both);
                });
                thread::spawn(move || {
                    let _ = std::io::copy(&mut client, &mut server);
                    let _ = server.shutdown(std::net::Shutdown::Both);
                });
            }
        });

        way
    }
}

#[test]
fn two_databases_behind_one_url_are_two_unless_they_are_named_as_one() {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        let machines: [&'static Server; 2] = [Server::shared(kind), Box::leak(Box::new(Server::start(kind)))];
        let scheme = if kind == Kind::Postgres { "postgres" } else { "mariadb" };
        let name = format!("twins_{scheme}");
        for (number, machine) in machines.iter().enumerate() {
            let admin = machine.named(if kind == Kind::Postgres { "postgres" } else { "mysql" });
            admin.execute(&format!("CREATE DATABASE {name}"));
            machine.named(&name).execute(&format!(
                "CREATE TABLE item (id int PRIMARY KEY, name varchar(20)); INSERT INTO item VALUES (1, 'row of {number}')"
            ));
        }
        let way = Way::to(machines[0].port);
        let url = format!("{scheme}://chunkflow@127.0.0.1:{}/{name}", way.port);
        let plain = format!("\"{url}\"");
        let named = format!("{{ url = \"{url}\", identity = \"shop\" }}");
        assert_eq!(list(&serve(&name, &plain)), fresh(&["row of 0"]), "{kind:?}");
        assert_eq!(list(&serve(&name, &named)), fresh(&["row of 0"]), "{kind:?}");

        *way.to.lock().unwrap() = machines[1].port;
        assert_eq!(list(&serve(&name, &plain)), fresh(&["row of 1"]), "{kind:?}: the same URL, and another server");
        assert_eq!(list(&serve(&name, &named)), found(&["row of 0"]), "{kind:?}: the same by name");
    }
}

#[test]
fn a_database_that_is_no_other_is_shared_by_whatever_way_it_is_reached() {
    for db in [postgres(), mariadb()] {
        db.execute("CREATE TABLE item (id int PRIMARY KEY, name varchar(20)); INSERT INTO item VALUES (1, 'one')");
        let port = db.url().rsplit_once(':').unwrap().1.split('/').next().unwrap().parse().unwrap();
        let way = Way::to(port);
        let by_way = db.url().replace(&port.to_string(), &way.port.to_string());
        let prefix = format!("ways_{}", db.name());
        assert_eq!(list(&serve(&prefix, &format!("\"{}\"", db.url()))), fresh(&["one"]));
        assert_eq!(list(&serve(&prefix, &format!("\"{by_way}\""))), found(&["one"]), "{}", db.name());
    }
}
