//! Reads from a standby, where a tell says which commit it is of: PostgreSQL and MariaDB, each with a
//! replica that a test can hold back.

use std::{thread, time::Duration};

use chunkflow::{Change, Kind as ErrorKind, Token};

use super::SMALL;
use crate::{
    servers::{Db, Kind, Server},
    support::{Running, until},
};

/// A database and its standby, from which lists are read.
struct Replicated {
    primary: Db,
    standby: Db,
    kind: Kind,
}

const TABLE: &str = "CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(40) NOT NULL)";

impl Replicated {
    fn start(kind: Kind) -> Replicated {
        // Their tests end with the process, as those of servers that tests share do.
        let leaked = |server: Server| -> &'static Server { Box::leak(Box::new(server)) };
        let primary = leaked(Server::start_with(kind, if kind == Kind::MariaDb { &["primary"] } else { &[] }));
        let port = primary.port.to_string();
        let standby = leaked(Server::start_with(kind, &[if kind == Kind::MariaDb { "replica" } else { &port }]));
        if kind == Kind::MariaDb {
            standby.named("mysql").execute(&format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'chunkflow',
                 MASTER_USE_GTID = slave_pos; START SLAVE"
            ));
        }

        let database = primary.database();
        let rows: Vec<String> = (0..200).map(|id| format!("({id}, 'old')")).collect();
        database.execute(&format!("{TABLE}; INSERT INTO item VALUES {}", rows.join(", ")));
        let standby = standby.named(database.database());
        let has_all = || standby.query("SELECT count(*) FROM item").is_ok_and(|rows| rows == [["200"]]);
        until("the standby has the table", has_all);
        Replicated { primary: database, standby, kind }
    }

    /// Both kinds.
    fn all() -> [Replicated; 2] {
        [Replicated::start(Kind::Postgres), Replicated::start(Kind::MariaDb)]
    }

    /// Keeps the standby from showing what is committed from now on.
    fn hold(&self) {
        self.standby.execute(match self.kind {
            Kind::Postgres => "SELECT pg_wal_replay_pause()",
            _ => "STOP SLAVE SQL_THREAD",
        });
        if self.kind == Kind::Postgres {
            until("it is held back", || {
                self.standby.query("SELECT pg_get_wal_replay_pause_state()").is_ok_and(|state| state == [["paused"]])
            });
        }
    }

    fn go(&self) {
        self.standby.execute(match self.kind {
            Kind::Postgres => "SELECT pg_wal_replay_resume()",
            _ => "START SLAVE SQL_THREAD",
        });
    }

    /// Renames a row. Returns the positions by which the commit can be told.
    fn rename(&self, id: u32, name: &str) -> Vec<String> {
        let update = format!("UPDATE item SET name = '{name}' WHERE id = {id};");
        let positions = match self.kind {
            Kind::Postgres => {
                format!("BEGIN; {update} SELECT pg_current_xact_id(); COMMIT; SELECT pg_current_wal_insert_lsn();")
            }
            _ => format!("{update} SELECT @@last_gtid;"),
        };
        self.primary.query(&positions).unwrap().concat()
    }

    fn serve(&self, settle: &str, store: &str) -> Running {
        let text = self.standby.config(&format!("table = \"item\"\n{SMALL}"));
        let url = format!("\"{}\"", self.standby.url());
        let database = format!("{{ url = {url}{settle} }}");
        Running::config(&(store.to_owned() + &text.replacen(&url, &database, 1)))
    }
}

impl Running {
    fn name_of(&self, id: usize) -> String {
        self.rows("/list")[id]["name"].as_str().unwrap().to_owned()
    }

    fn told_at(&self, id: u32, commit: &str) -> chunkflow::Result<Token> {
        let change = Change::of("list", [id.to_string()]).at(commit);
        self.block_on(self.chunkflow.changed(&[change]))
    }
}

#[test]
fn a_tell_with_its_commit_returns_when_the_standby_shows_it_and_from_then_on_no_list_shows_the_row_as_it_was() {
    for replicated in Replicated::all() {
        let running = replicated.serve("", "");
        let mut id = 0;
        for way in 0..replicated.rename(199, "tried").len() {
            running.name_of(id);

            // The standby shows it already.
            let commit = replicated.rename(id as u32, "at once").swap_remove(way);
            let shows = || replicated.standby.query(&format!("SELECT name FROM item WHERE id = {id}"));
            until("the standby shows it", || shows().is_ok_and(|rows| rows == [["at once"]]));
            running.told_at(id as u32, &commit).unwrap();
            assert_eq!(running.name_of(id), "at once", "{commit}");

            id += 1;
            replicated.hold();
            let commit = replicated.rename(id as u32, "later").swap_remove(way);
            let change = Change::of("list", [id.to_string()]).at(&*commit);
            let chunkflow = running.chunkflow.clone();
            let (sender, mut told) = tokio::sync::oneshot::channel();
            running.block_on(async {
                tokio::spawn(async move { sender.send(chunkflow.changed(&[change]).await) });
            });
            // Clients go on meanwhile, and what they load is what the standby has.
            for _ in 0..5 {
                assert_eq!(running.name_of(id), "old", "{commit}");
                thread::sleep(Duration::from_millis(50));
            }
            assert!(told.try_recv().is_err(), "{commit}: it is not there yet");
            replicated.go();
            running.block_on(told).unwrap().unwrap();
            assert_eq!(running.name_of(id), "later", "{commit}");

            // One that did not show in time shows all the same.
            id += 1;
            replicated.hold();
            let commit = replicated.rename(id as u32, "late").swap_remove(way);
            let error = running.told_at(id as u32, &commit).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{commit}: {error}");
            assert_eq!(running.name_of(id), "old", "{commit}");
            replicated.go();
            until("it shows", || running.name_of(id) == "late");
            id += 1;
        }
    }
}

#[test]
fn with_the_token_another_server_waits_until_its_standby_shows_the_commit() {
    for replicated in Replicated::all() {
        let redis = Server::start(Kind::Redis);
        let store = format!("[store]\nurl = \"redis://127.0.0.1:{}\"\n\n", redis.port);
        let [one, other] = [(); 2].map(|()| replicated.serve(", settle = \"1h\"", &store));
        other.name_of(7);

        replicated.hold();
        let commit = replicated.rename(7, "new").pop().unwrap();
        let refused = one.told_at(7, &commit).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        // The change is in the journal, and told again it has another token.
        let ask = |at: Token| other.get(&format!("/list?at_least={at}"));
        let at = one.block_on(one.chunkflow.changed(&[])).unwrap();
        assert_eq!(ask(at).status, 503, "its standby does not show it");

        replicated.go();
        until("it shows", || ask(at).status == 200);
        assert_eq!(other.name_of(7), "new");
    }
}

#[test]
fn a_text_that_is_no_commit_of_its_database_is_refused_and_touches_nothing() {
    for db in crate::servers::every_kind() {
        db.execute(&format!("{TABLE}; INSERT INTO item VALUES (1, 'old')"));
        let running = db.serve("table = \"item\"\nttl = \"1h\"");
        running.rows("/list");
        let foreign = if db.name() == "postgres" { "0-1-7" } else { "0/16B3748" };
        for wrong in [foreign, "x", "-1", "0/", "'; DROP TABLE item; --"] {
            let error = running.told_at(1, wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{}: {wrong}: {error}", db.name());
            assert!(error.advice().is_some(), "{wrong}");
        }
        let before = running.misses();
        running.rows("/list");
        assert_eq!(running.misses(), before, "{}", db.name());
    }
}
