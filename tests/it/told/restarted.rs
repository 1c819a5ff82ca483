//! Servers that begin over a store in which chunks and told changes are already.

use chunkflow::Change;
use serde_json::Value;

use super::SMALL;
use crate::{
    machines::{cli, delete},
    servers::{Kind, Server},
    support::{File, Running, until},
};

/// A list of 2,000 rows in about 250 chunks, and the servers over one store.
struct Fleet {
    file: File,
    store: String,
    /// How the list is ordered: by its key, if nothing is said.
    order: &'static str,
}

impl Fleet {
    fn over(machine: &Server) -> Fleet {
        Fleet::of("id INTEGER PRIMARY KEY, value TEXT, code INTEGER NOT NULL UNIQUE", machine)
    }

    /// The same, of a table with these columns.
    fn of(columns: &str, machine: &Server) -> Fleet {
        let scheme = if machine.kind == Kind::Redis { "redis" } else { "memcached" };
        let file = File::with(&format!(
            "CREATE TABLE item ({columns});
             WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 2 FROM n LIMIT 2000)
             INSERT INTO item SELECT i, 'value ' || i, i FROM n;"
        ));
        Fleet { file, order: "", store: format!("[store]\nurl = \"{scheme}://127.0.0.1:{}\"", machine.port) }
    }

    fn start(&self) -> Running {
        let list = self.file.config(&format!("table = \"item\"\n{}\n{SMALL}", self.order));
        Running::config(&format!("{list}\n{}", self.store))
    }

    fn change(&self, sql: &str) {
        self.file.open().execute_batch(sql).unwrap();
    }

    /// Starts a server and reads the list, which must be right. Returns how often that read the
    /// database, and how many rows.
    fn restarted(&self) -> (u64, u64) {
        let server = self.start();
        let rows = server.rows("/list");
        let shown: Vec<&str> = rows.iter().map(|row| row["value"].as_str().unwrap()).collect();

        let connection = self.file.open();
        let mut statement = connection.prepare("SELECT value FROM item ORDER BY code").unwrap();
        let truth: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(shown, truth);
        server.reads()
    }

    /// Waits until the store has every chunk: they are written after the list was sent.
    fn settled(&self) {
        until("every chunk is in the store", || self.restarted().0 == 0);
    }
}

#[test]
fn a_server_that_is_restarted_reads_one_run_from_where_a_row_was_changed_meanwhile() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let machine = Server::start(kind);
        let fleet = Fleet::over(&machine);
        let other = fleet.start();
        assert_eq!(other.rows("/list").len(), 2_000);
        fleet.settled();

        // The first chunks are from before the first change that the store was told. Those that were
        // loaded for one change know of it, and the others do not.
        for (key, sql) in [
            (3_000, "UPDATE item SET value = 'new' WHERE id = 3000"),
            (2_000, "UPDATE item SET value = 'new' WHERE id = 2000"),
            (3_000, "UPDATE item SET value = 'newer' WHERE id = 3000"),
            (1_001, "INSERT INTO item VALUES (1001, 'came', 1001)"),
            (200, "DELETE FROM item WHERE id = 200"),
        ] {
            fleet.change(sql);
            other.told(&[key]);
            // A read is a run of 500 rows from the chunk's start on. All other chunks are the stored
            // ones.
            assert_eq!(fleet.restarted(), (1, 500), "{kind:?}: {sql}");
            fleet.settled();
        }
    }
}

#[test]
fn a_server_that_is_restarted_in_a_quiet_journal_reads_nothing_but_the_chunk_that_a_change_touched() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let machine = Server::start(kind);
        let fleet = Fleet::over(&machine);
        let other = fleet.start();
        // Of rows that there never were.
        let tell = |count: i64| (0..count).for_each(|n| other.told(&[1_000_001 + 2 * n]));
        tell(30);
        assert_eq!(other.rows("/list").len(), 2_000);
        fleet.settled();

        // What a store forgets after ten minutes: all but the last eight.
        tell(8);
        let last = other.block_on(other.chunkflow.changed(&[Change::of("list", ["1000001"])])).unwrap();
        for number in 1..=last.number - 9 {
            delete(&machine, &format!("chunkflow:j:{{chunkflow:}}:{:016x}.{number}", last.epoch));
        }
        assert_eq!(fleet.restarted(), (0, 0), "{kind:?}: no change touched a chunk");

        fleet.change("UPDATE item SET value = 'new' WHERE id = 3000");
        other.told(&[3_000]);
        tell(8);
        assert_eq!(fleet.restarted(), (1, 500), "{kind:?}: a run from the chunk with the row on");
    }
}

/// Has a Redis lose how far the journal goes.
fn lose_the_head(machine: &Server) {
    let heads: Value = cli(machine, &["--json", "KEYS", "*j:{*}"]).parse().unwrap();
    assert_eq!(cli(machine, &["DEL", heads[0].as_str().unwrap()]).trim(), "1");
}

#[test]
fn chunks_whose_keys_are_not_known_are_shared_by_their_position_and_not_believed_once_the_journal_is_lost() {
    let machine = Server::start(Kind::Redis);
    // Its key tells apart what its column calls equal, so nobody knows which rows a told key is of.
    let columns = "id TEXT COLLATE NOCASE, value TEXT, code INTEGER NOT NULL UNIQUE, PRIMARY KEY (id COLLATE BINARY)";
    let fleet = Fleet { order: "order = [\"code\"]", ..Fleet::of(columns, &machine) };
    let other = fleet.start();
    other.told(&[2]);
    assert_eq!(other.rows("/list").len(), 2_000);
    fleet.settled();

    fleet.change("UPDATE item SET value = 'new' WHERE id = 2000");
    other.told(&[2_000]);
    let (_, rows) = fleet.restarted();
    assert_eq!(rows, 2_000, "any change touches every chunk");
    fleet.settled();

    fleet.change("UPDATE item SET value = 'newer' WHERE id = 2000");
    other.told(&[2_000]);
    lose_the_head(&machine);
    let (_, rows) = fleet.restarted();
    assert_eq!(rows, 2_000, "each is read once");
    fleet.settled();
}

#[test]
fn a_server_that_is_restarted_over_a_store_without_its_journal_trusts_no_chunk() {
    let machine = Server::start(Kind::Redis);
    let fleet = Fleet::over(&machine);
    let other = fleet.start();
    other.rows("/list");
    other.told(&[2]);
    other.rows("/list");
    fleet.settled();

    fleet.change("UPDATE item SET value = 'new' WHERE id = 2000");
    other.told(&[2_000]);
    lose_the_head(&machine);
    let (_, rows) = fleet.restarted();
    assert_eq!(rows, 2_000, "each is read once");
    fleet.settled();
}
