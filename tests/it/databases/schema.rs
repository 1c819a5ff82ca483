//! Tables that change while their chunks are fresh.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::{
    client::Reply,
    servers::{Db, every_kind, mariadb, postgres, sqlite},
    support::{Client, Running, until},
};

/// More than a page and what is read on behind it.
const ROWS: usize = 9_000;

/// Rows 1 to `ROWS` of `(id, k, name)`; `k` is text in which upper and lower case alternate.
fn fill(db: &Db, table: &str, key: &str) {
    let rows: Vec<String> = (1..=ROWS)
        .map(|n| {
            let k = if n % 2 == 0 { format!("Key {n}") } else { format!("key {n}") };
            format!("({n}, '{k}', '{}')", "x".repeat(300))
        })
        .collect();
    db.execute(&format!("CREATE TABLE {table} ({key}); INSERT INTO {table} VALUES {};", rows.join(", ")));
}

/// How a table is declared, what its list says, and what changes it.
struct Change {
    table: &'static str,
    list: &'static str,
    change: &'static str,
}

const NUMBERED: &str = "id INTEGER NOT NULL PRIMARY KEY, k VARCHAR(40), name VARCHAR(300)";
const PLAIN: &str = "table = \"item\"\n[resources.list.fields]\nid = \"id\"\nname = \"name\"";
const BY_TEXT: &str = "table = \"item\"\norder = [\"k\"]\n[resources.list.fields]\nid = \"id\"\nname = \"name\"";
const OF_VIEW: &str = "table = \"v\"\nkey = [\"id\"]\n[resources.list.fields]\nid = \"id\"\nname = \"name\"";

fn changes(db: &Db) -> Vec<Change> {
    let mut changes = vec![];
    let mut add = |table, list, all: &[&'static str]| {
        changes.extend(all.iter().map(|change| Change { table, list, change }));
    };

    match db.name() {
        "postgres" => {
            add(NUMBERED, PLAIN, &[
                "ALTER TABLE item ALTER id TYPE text",
                "ALTER TABLE item ALTER id TYPE text COLLATE \"C\"",
                "ALTER TABLE item ALTER id TYPE varchar(20) USING reverse(id::text)",
                "BEGIN; CREATE TABLE other (id text PRIMARY KEY, k text, name text); INSERT INTO other SELECT id, k, name FROM item;
                 DROP TABLE item; ALTER TABLE other RENAME TO item; COMMIT",
                "BEGIN; CREATE TABLE other (id text PRIMARY KEY, k text, name text); INSERT INTO other SELECT id, k, name FROM item;
                 ALTER TABLE item RENAME TO gone; ALTER TABLE other RENAME TO item; COMMIT",
                "BEGIN; CREATE SCHEMA new; CREATE TABLE new.item (id text PRIMARY KEY, k text, name text); INSERT INTO new.item SELECT id, k, name FROM item;
                 ALTER SCHEMA public RENAME TO old; ALTER SCHEMA new RENAME TO public; COMMIT",
            ]);
            add(
                "id INTEGER NOT NULL PRIMARY KEY, k VARCHAR(40) COLLATE \"C\", name VARCHAR(300)",
                BY_TEXT,
                &["ALTER TABLE item ALTER k TYPE varchar(40) COLLATE \"und-x-icu\""],
            );
            add(
                NUMBERED,
                OF_VIEW,
                &[
                    "CREATE OR REPLACE VIEW v AS SELECT 100000 - id AS id, name FROM item",
                    "CREATE OR REPLACE VIEW below AS SELECT 100000 - id AS id, name FROM item",
                    "DROP VIEW v; CREATE VIEW v AS SELECT id::text AS id, name FROM item",
                ],
            );
        }
        "mariadb" => {
            add(NUMBERED, PLAIN, &[
                "ALTER TABLE item MODIFY id VARCHAR(20) NOT NULL",
                "CREATE TABLE other (id VARCHAR(20) PRIMARY KEY, k TEXT, name TEXT); INSERT INTO other SELECT id, k, name FROM item;
                 RENAME TABLE item TO gone, other TO item",
            ]);
            add(
                "id INTEGER NOT NULL PRIMARY KEY, k VARCHAR(40) COLLATE utf8mb4_bin, name VARCHAR(300)",
                BY_TEXT,
                &["ALTER TABLE item MODIFY k VARCHAR(40) COLLATE utf8mb4_general_ci"],
            );
            add(
                NUMBERED,
                OF_VIEW,
                &[
                    "CREATE OR REPLACE VIEW v AS SELECT 100000 - id AS id, name FROM item",
                    // Not even the types of columns are others then.
                    "CREATE OR REPLACE VIEW below AS SELECT id, name FROM item WHERE id % 3 > 0",
                ],
            );
        }
        _ => {
            add(NUMBERED, PLAIN, &[
                "BEGIN; CREATE TABLE other (id TEXT NOT NULL PRIMARY KEY, k TEXT, name TEXT); INSERT INTO other SELECT id, k, name FROM item;
                 DROP TABLE item; ALTER TABLE other RENAME TO item; COMMIT",
            ]);
            add(NUMBERED, BY_TEXT, &[
                "BEGIN; CREATE TABLE other (id INTEGER NOT NULL PRIMARY KEY, k TEXT COLLATE NOCASE, name TEXT); INSERT INTO other SELECT * FROM item;
                 DROP TABLE item; ALTER TABLE other RENAME TO item; COMMIT",
            ]);
            add(
                "id INTEGER NOT NULL, k TEXT, name TEXT",
                "table = \"item\"",
                &["DELETE FROM item WHERE id = 1; VACUUM"],
            );
            add(
                NUMBERED,
                OF_VIEW,
                &[
                    "DROP VIEW v; CREATE VIEW v AS SELECT 100000 - id AS id, name FROM item",
                    "DROP VIEW below; CREATE VIEW below AS SELECT 100000 - id AS id, name FROM item",
                ],
            );
        }
    }

    changes
}

fn ids(reply: &Reply) -> Vec<String> {
    reply.results().iter().map(|row| row["id"].to_string().trim_matches('"').to_owned()).collect()
}

/// What the database itself gives for a list, in its order.
fn expected(db: &Db, list: &str) -> Vec<String> {
    let sql = match list {
        BY_TEXT => "SELECT id FROM item ORDER BY k, id",
        OF_VIEW => "SELECT id FROM v ORDER BY id",
        PLAIN => "SELECT id FROM item ORDER BY id",
        _ => "SELECT id FROM item ORDER BY rowid",
    };
    db.query(sql).unwrap().into_iter().map(|mut row| row.swap_remove(0)).collect()
}

/// A database and its kind, anew.
fn another(kind: &str) -> Db {
    match kind {
        "postgres" => postgres(),
        "mariadb" => mariadb(),
        _ => sqlite(),
    }
}

#[test]
fn no_stream_goes_from_rows_of_a_table_to_rows_of_what_it_has_become() {
    for kind in every_kind() {
        for Change { table, list, change } in changes(&kind) {
            let db = another(kind.name());
            fill(&db, "item", table);
            if list == OF_VIEW {
                db.execute("CREATE VIEW below AS SELECT id, name FROM item");
                db.execute("CREATE VIEW v AS SELECT id, name FROM below");
            }
            let server = db.serve(list);
            let what = format!("{}: {change}", db.name());

            // The first chunks are in the cache, and a stream is under way.
            let page = server.get("/list?limit=1000");
            assert_eq!((page.status, page.results().len()), (200, 1000), "{what}");
            let after =
                page.header("link").split("after=").nth(1).map(|rest| rest.split('>').next().unwrap().to_owned());
            db.execute(change);

            let right = expected(&db, list);
            let old = server.get("/list");
            assert!(old.status == 503 || !old.whole || ids(&old) == right, "{what}: {} rows", old.results().len());
            let honest = |reply: &Reply| reply.status != 200 || !reply.whole || ids(reply) == right;
            until(&format!("{what}: the list is what the table is"), || {
                let reply = server.get("/list");
                assert!(honest(&reply), "{what}");
                reply.status == 200 && reply.whole
            });
            assert!(server.get("/list").header("cache-status").contains("hit"), "{what}");
            if let Some(after) = after.filter(|_| list != OF_VIEW) {
                let reply = server.get(&format!("/list?after={after}"));
                assert_eq!(reply.status, 400, "{what}: the place is one of another order");
            }
        }
    }
}

#[test]
fn a_stream_under_way_is_cut_and_never_looks_whole() {
    for db in every_kind() {
        fill(&db, "item", NUMBERED);
        // A store too small for anything, so that every chunk is read.
        let server = Running::config(&(db.config(PLAIN) + "\n[store]\nurl = \"memory:1KiB\"\n"));
        // Much more than the kernel holds for a client that takes nothing.
        db.execute("CREATE TABLE more (id INTEGER)");
        let grow = match db.name() {
            "postgres" => "INSERT INTO item SELECT id + 10000 * n, k, name FROM item, generate_series(1, 60) n",
            "mariadb" => "INSERT INTO item SELECT id + 10000 * seq, k, name FROM item, seq_1_to_60",
            _ => {
                "INSERT INTO item WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 60)
                 SELECT id + 10000 * n, k, name FROM item, n"
            }
        };
        db.execute(grow);
        let mut client = Client::with_buffer(server.address, 4096);
        client.send("GET", "/list", "HTTP/1.1", &[("host", "localhost")]);
        assert!(client.wait_for("\"id\":10,"), "{}", db.name());
        db.execute(changes(&db)[0].change);
        let reply = client.read_reply("GET");
        assert!(!reply.whole, "{}", db.name());
    }
}

#[test]
fn what_does_not_change_a_list_goes_unnoticed() {
    for db in every_kind() {
        fill(&db, "item", NUMBERED);
        let cached = db.serve(PLAIN);
        let bare = Running::config(&(db.config(PLAIN) + "\n[store]\nurl = \"memory:1KiB\"\n"));
        assert_eq!((cached.get("/list").status, bare.get("/list").status), (200, 200));
        let mut harmless = vec![
            "CREATE TABLE unrelated (x INTEGER)",
            "ANALYZE TABLE item",
            "CREATE INDEX by_id ON item (id, k)",
            "ALTER TABLE item ADD COLUMN more INTEGER",
            "ALTER TABLE item DROP COLUMN more",
            "DROP TABLE unrelated",
        ];
        match db.name() {
            "postgres" => {
                harmless.extend([
                    "COMMENT ON TABLE item IS 'things'",
                    "CREATE ROLE harmless; GRANT SELECT (id) ON item TO harmless",
                    "ALTER TABLE item ALTER name SET STATISTICS 10; ALTER TABLE item ALTER id SET STATISTICS 10",
                    "VACUUM FULL item",
                ]);
                harmless[1] = "ANALYZE item";
            }
            "mariadb" => harmless.push("ALTER TABLE item COMMENT 'things'"),
            _ => {
                harmless[1] = "ANALYZE";
                harmless.push("VACUUM");
            }
        }
        for change in harmless {
            db.execute(change);
            let reply = bare.get("/list");
            assert_eq!((reply.status, reply.whole), (200, true), "{}: {change}", db.name());
            assert_eq!(reply.results().len(), ROWS, "{}: {change}", db.name());
            assert!(cached.get("/list").header("cache-status").contains("hit"), "{}: {change}", db.name());
        }
    }
}

#[test]
fn a_list_by_rowid_is_a_new_list_after_any_change_of_the_schema_and_not_gone_for_good() {
    for change in ["CREATE TABLE unrelated (x)", "ANALYZE"] {
        let db = sqlite();
        fill(&db, "item", "id INTEGER NOT NULL, k TEXT, name TEXT");
        db.execute("CREATE INDEX i ON item (k)");
        let server = Running::config(&(db.config("table = \"item\"") + "\n[store]\nurl = \"memory:1KiB\"\n"));
        let page = server.get("/list?limit=1");
        let next = page.header("link").split(['<', '>']).nth(1).unwrap().to_owned();
        db.execute(change);
        until("it is there again", || server.get("/list").status == 200);
        assert_eq!(server.get("/list").results().len(), ROWS);
        assert_eq!(server.get(&next).status, 400, "rowids may be others");
    }
}

#[test]
fn a_table_that_is_gone_says_so_and_heals_when_it_is_back() {
    for db in every_kind() {
        for (go, come) in [
            ("ALTER TABLE item RENAME TO gone", "ALTER TABLE gone RENAME TO item"),
            ("ALTER TABLE item RENAME COLUMN name TO gone", "ALTER TABLE item RENAME COLUMN gone TO name"),
        ] {
            db.execute("DROP TABLE IF EXISTS item");
            fill(&db, "item", NUMBERED);
            let server = Running::config(&(db.config(PLAIN) + "\n[store]\nurl = \"memory:1KiB\"\n"));
            assert_eq!(server.get("/list").status, 200);
            db.execute(go);
            for _ in 0..3 {
                let reply = server.get("/list");
                let told = String::from_utf8_lossy(&reply.body).into_owned();
                assert_eq!(reply.status, 503, "{} {go}: {told}", db.name());
                assert!(told.contains("has changed"), "{} {go}: {told}", db.name());
                assert!(!reply.header("retry-after").is_empty());
            }
            db.execute(come);
            until(&format!("{}: it is back", db.name()), || server.get("/list").status == 200);
            assert_eq!(server.get("/list").results().len(), ROWS, "{}", db.name());
        }
    }
}

#[test]
fn a_reader_that_waits_for_a_rewrite_never_gets_an_empty_list() {
    for kind in ["table", "matview"] {
        let db = postgres();
        fill(&db, "base", NUMBERED);
        let (make, rewrite) = match kind {
            "table" => (
                "CREATE TABLE item AS SELECT * FROM base; ALTER TABLE item ADD PRIMARY KEY (id)",
                "TRUNCATE item; INSERT INTO item SELECT * FROM base;",
            ),
            _ => (
                "CREATE MATERIALIZED VIEW item AS SELECT * FROM base; CREATE UNIQUE INDEX ON item (id)",
                "DROP MATERIALIZED VIEW item; CREATE MATERIALIZED VIEW item AS SELECT * FROM base; CREATE UNIQUE INDEX ON item (id);",
            ),
        };
        db.execute(make);
        let server = Running::config(&(db.config(PLAIN) + "\n[store]\nurl = \"memory:1KiB\"\n"));
        assert_eq!(server.get("/list").results().len(), ROWS);

        let mut psql = Command::new("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", &db.url()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = psql.stdin.take().unwrap();
        input.write_all(format!("BEGIN; {rewrite}\n").as_bytes()).unwrap();
        let locks = |granted: bool| {
            let sql = format!(
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                 WHERE d.datname = current_database() AND l.granted = {granted} AND l.locktype = 'relation'
                     AND l.mode = '{}'",
                if granted { "AccessExclusiveLock" } else { "AccessShareLock" }
            );
            db.query(&sql).unwrap()[0][0] != "0"
        };
        until("it is being written anew", || locks(true));
        let mut client = Client::get(server.address, "/list");
        until("the reader waits", || locks(false));
        input.write_all(b"COMMIT;\n").unwrap();
        drop(input);
        psql.wait().unwrap();
        let reply = client.read_reply("GET");
        let rows = if reply.status == 200 { reply.results().len() } else { 0 };
        assert!(rows == ROWS || reply.status != 200 || !reply.whole, "{kind}: {} with {rows} rows", reply.status);
        until("it is there", || server.get("/list").status == 200);
        assert_eq!(server.get("/list").results().len(), ROWS, "{kind}");
    }
}
