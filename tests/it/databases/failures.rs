//! What happens when a database is killed, hangs, or comes back.

use super::ids;
use crate::{
    servers::{Db, Kind, Server, postgres, sqlite},
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

/// A table whose row `bad` fails a read with an error that says "try again", the first `times`
/// times.
fn failing_for_a_moment(bad: u32, times: u32) -> Db {
    let db = postgres();
    db.execute(&format!(
        "CREATE EXTENSION dblink;
        CREATE SEQUENCE attempt;
        CREATE TABLE item (id INTEGER PRIMARY KEY);
        INSERT INTO item SELECT generate_series(1, 1000);
        CREATE FUNCTION passes(id INTEGER) RETURNS boolean LANGUAGE plpgsql AS $$
        DECLARE
            own text := format('host=127.0.0.1 port=%s user=chunkflow dbname=%s', current_setting('port'), current_database());
            made bigint;
        BEGIN
            IF id = {bad} THEN
                -- By a connection of its own, since the read's transaction only reads, and is undone.
                SELECT n INTO made FROM dblink(own, 'SELECT nextval(''attempt'')') AS counted (n bigint);
                IF made <= {times} THEN
                    RAISE EXCEPTION 'canceling statement due to conflict with recovery' USING ERRCODE = '40001';
                END IF;
            END IF;
            RETURN true;
        END $$;
        CREATE VIEW held AS SELECT id FROM item WHERE passes(id);"
    ));
    db
}

#[test]
fn a_read_that_the_database_says_may_be_tried_again_is_tried_again_twice() {
    // Rows of a table are handed on as they come, those of a view once all of a run are there.
    let resources = ["table = \"item\"\nwhere = \"passes(id)\"", "table = \"held\"\nkey = [\"id\"]"];
    for (bad, times, passes) in [(1, 2, true), (1, 3, false), (400, 2, true)] {
        for resource in resources {
            let db = failing_for_a_moment(bad, times);
            let server = db.serve(resource);
            let reply = server.get("/list");

            let case = format!("{resource}: row {bad} fails {times} times");
            if passes {
                assert!(reply.status == 200 && reply.whole, "{case}");
                let expected: Vec<i64> = (1..=1000).collect();
                assert_eq!(ids(&reply.results()), expected, "{case}");
            } else {
                assert_eq!(reply.status, 503, "{case}");
            }
            assert_eq!(db.query("SELECT last_value FROM attempt").unwrap()[0][0], "3", "{case}: tries");
        }
    }
}

/// A table whose row `bad` fails a read with the error `code`, on each connection whose number is
/// less than `least` says.
fn failing_on_connections(machine: &'static Server, code: u16, bad: u32) -> Db {
    let db = machine.database();
    db.execute(&format!(
        "CREATE TABLE item (id INTEGER PRIMARY KEY);
         INSERT INTO item SELECT seq FROM seq_1_to_1000;
         CREATE TABLE least (connection BIGINT);
         INSERT INTO least VALUES (0);
         DELIMITER $$
         CREATE FUNCTION passes(id INTEGER) RETURNS INTEGER READS SQL DATA
         BEGIN
             IF id = {bad} AND CONNECTION_ID() < (SELECT connection FROM least) THEN
                 SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'try restarting transaction';
             END IF;
             RETURN 1;
         END $$
         DELIMITER ;
         CREATE VIEW held AS SELECT id FROM item WHERE passes(id);"
    ));
    db
}

#[test]
fn a_read_that_mariadb_says_may_be_tried_again_is_tried_again_twice() {
    let machine: &'static Server = Box::leak(Box::new(Server::start(Kind::MariaDb)));
    let resources = ["table = \"item\"\nwhere = \"passes(id)\"", "table = \"held\"\nkey = [\"id\"]"];
    let cases = [(1, 2, true), (1, 3, false), (400, 2, true)];
    // A deadlock, a lock that was waited for too long, and a row that has changed since it was
    // read.
    for (code, (bad, times, passes)) in [1213, 1205, 1020].into_iter().flat_map(|code| cases.map(|case| (code, case))) {
        for resource in resources {
            let db = failing_on_connections(machine, code, bad);
            let server = db.serve(resource);
            // The first try is by a connection of before, each further one by a new one: what has
            // failed is not used again.
            let newest = || db.query("SELECT CONNECTION_ID()").unwrap()[0][0].parse::<u32>().unwrap();
            let before = newest() + 1;
            db.execute(&format!("UPDATE least SET connection = {before} + {times}"));
            let reply = server.get("/list");

            let case = format!("{resource}: row {bad} fails {times} times with {code}");
            if passes {
                assert!(reply.status == 200 && reply.whole, "{case}: {}", String::from_utf8_lossy(&reply.body));
                let expected: Vec<i64> = (1..=1000).collect();
                assert_eq!(ids(&reply.results()), expected, "{case}");
            } else {
                assert_eq!(reply.status, 503, "{case}");
            }
            assert_eq!(newest() - before, 3, "{case}: two further tries, each by a connection of its own");
        }
    }
}

#[test]
fn a_read_of_a_sqlite_file_that_is_locked_for_long_is_tried_again() {
    let db = sqlite();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1)");
    // SQLite itself waits five seconds for a lock; a read is tried again for half of its time.
    let config = db.config("table = \"item\"").replace("main = ", "main = { timeout = \"40s\", url = ");
    let server = Running::config(&config.replacen("\"\n\n", "\" }\n\n", 1));

    let lock = rusqlite::Connection::open(db.url().trim_start_matches("sqlite:")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut client = Client::get(server.address, "/list");
    std::thread::sleep(std::time::Duration::from_secs(6));
    lock.execute_batch("COMMIT").unwrap();
    let reply = client.read_reply("GET");
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(ids(&reply.results()), [1]);
}

#[test]
fn a_text_that_a_database_cannot_read_is_a_fault_of_the_server_and_not_an_absence_of_the_database() {
    let postgres = postgres();
    postgres.execute(
        "CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1);
         CREATE FUNCTION torn(id INTEGER) RETURNS INTEGER LANGUAGE plpgsql AS $$
         BEGIN EXECUTE 'SELEC 1'; RETURN id; END $$;
         CREATE VIEW held AS SELECT torn(id) AS id FROM item;",
    );

    let mariadb = crate::servers::mariadb();
    mariadb.execute(
        "CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1);
         DELIMITER $$
         CREATE FUNCTION torn(id INTEGER) RETURNS INTEGER
         BEGIN
             SIGNAL SQLSTATE '42000' SET MYSQL_ERRNO = 1064, MESSAGE_TEXT = 'You have an error in your SQL syntax';
             RETURN id;
         END $$
         DELIMITER ;
         CREATE VIEW held AS SELECT torn(id) AS id FROM item;",
    );

    for db in [postgres, mariadb] {
        let server = db.serve("table = \"held\"\nkey = [\"id\"]");
        for target in ["/list", "/list?limit=1", "/list?id=eq.1", "/list.csv"] {
            let reply = server.get(target);
            let told = String::from_utf8_lossy(&reply.body).into_owned();
            assert_eq!(reply.status, 500, "{} {target}: {told}", db.name());
            assert!(!told.contains("reached") && !told.contains("syntax"), "{} {target}: {told}", db.name());
        }
    }
}
