//! What a told change costs: how many chunks, in lists of many, for every kind of order.

use std::fmt::Debug;

use chunkflow::Change;
use rusqlite::Connection;

use super::{SMALL, rows};
use crate::{
    servers::postgres,
    support::{File, Running},
};

/// A list over a table `item` with the columns `order`, `value` and those of the key.
struct Case {
    name: &'static str,
    table: &'static str,
    /// Inserts a row with the place `n` of the list; `?1` is `n`, `?2` the value.
    insert: &'static str,
    /// The condition that finds the row with this `n`, which is `?1`.
    find: &'static str,
    /// The key of the row with this `n`, as SQL.
    key: &'static str,
    config: &'static str,
    order: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "whole numbers",
        table: "CREATE TABLE item (id INTEGER PRIMARY KEY, value TEXT)",
        insert: "INSERT INTO item VALUES (?1, ?2)",
        find: "id = ?1",
        key: "id",
        config: "order = [\"id\"]",
        order: "id",
    },
    Case {
        name: "uuids in a text column",
        table: "CREATE TABLE item (id TEXT PRIMARY KEY NOT NULL, value TEXT)",
        insert: "INSERT INTO item VALUES (printf('%08x-0000-4000-8000-000000000000', ?1), ?2)",
        find: "id = printf('%08x-0000-4000-8000-000000000000', ?1)",
        key: "id",
        config: "order = [\"id\"]",
        order: "id",
    },
    Case {
        name: "times, the last first, then the key",
        table: "CREATE TABLE item (id INTEGER PRIMARY KEY, created TEXT NOT NULL, value TEXT);
                CREATE INDEX created ON item (created DESC, id)",
        insert: "INSERT INTO item VALUES (?1 * 7919 % 1000003, strftime('%Y-%m-%d %H:%M:%f', ?1 / 3, 'unixepoch'), ?2)",
        find: "id = ?1 * 7919 % 1000003",
        key: "id",
        config: "order = [\"-created\"]",
        order: "created DESC, id",
    },
    Case {
        name: "keys of two columns",
        table: "CREATE TABLE item (a INTEGER NOT NULL, b TEXT NOT NULL, value TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID",
        insert: "INSERT INTO item VALUES (?1 / 10, printf('%d', ?1 % 10), ?2)",
        find: "a = ?1 / 10 AND b = printf('%d', ?1 % 10)",
        key: "json_array(a, b)",
        config: "",
        order: "a, b",
    },
    Case {
        name: "titles in upper and lower case, which only the database compares",
        table: TITLES,
        insert: INSERT_TITLE,
        find: "id = ?1",
        key: "id",
        config: "order = [\"title\"]",
        order: "title, id",
    },
    Case {
        name: "the same, the last first",
        table: TITLES,
        insert: INSERT_TITLE,
        find: "id = ?1",
        key: "id",
        config: "order = [\"-title\"]",
        order: "title DESC, id",
    },
];

/// Four rows have one title, but for upper and lower case.
const TITLES: &str = "CREATE TABLE item (id INTEGER PRIMARY KEY, title TEXT COLLATE NOCASE NOT NULL, value TEXT);
                      CREATE INDEX title ON item (title, id)";
const INSERT_TITLE: &str =
    "INSERT INTO item VALUES (?1, printf(CASE ?1 / 3 % 2 WHEN 0 THEN 'Title %06d' ELSE 'title %06d' END, ?1 / 8), ?2)";

const ROWS: i64 = 3_000;

impl Case {
    fn serve(&self) -> (File, Running) {
        let file = File::with(self.table);
        let mut connection = file.open();
        let transaction = connection.transaction().unwrap();
        for n in (0..2 * ROWS).step_by(2) {
            transaction.execute(self.insert, (n, format!("value {n}"))).unwrap();
        }
        transaction.commit().unwrap();
        let running = file.serve(&format!("table = \"item\"\n{}\n{SMALL}", self.config));
        (file, running)
    }

    /// The key of the row `n`, for a change.
    fn key(&self, connection: &Connection, n: i64) -> Vec<String> {
        let sql = format!("SELECT {} FROM item WHERE {}", self.key, self.find);
        let key = connection.query_row(&sql, [n], |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
        match key {
            rusqlite::types::Value::Integer(id) => vec![id.to_string()],
            rusqlite::types::Value::Text(text) => match serde_json::from_str::<Vec<serde_json::Value>>(&text) {
                Ok(parts) => {
                    parts.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect()
                }
                Err(_) => vec![text],
            },
            other => panic!("{other:?}"),
        }
    }

    /// The values in the list's order, as they are in the database.
    fn truth(&self, connection: &Connection) -> Vec<String> {
        let mut statement = connection.prepare(&format!("SELECT value FROM item ORDER BY {}", self.order)).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

/// Makes edits and tells each. Returns how many chunks each cost, the list being right each time.
fn costs(case: &Case, mut edit: impl FnMut(&Connection, i64) -> Vec<Vec<String>>) -> Vec<u64> {
    let (file, running) = case.serve();
    let connection = file.open();
    running.rows("/list");
    let mut costs = vec![];
    for step in 0..60 {
        let n = 2 * (step * 47 % ROWS);
        let told = edit(&connection, n);
        let changes: Vec<Change> = told.into_iter().map(|key| Change::of("list", key)).collect();
        running.block_on(running.chunkflow.changed(&changes)).unwrap();

        let before = running.misses();
        let shown = running.block_on(rows(&running.chunkflow, "/list")).unwrap();
        let shown: Vec<&str> = shown.iter().map(|row| row["value"].as_str().unwrap()).collect();
        assert_eq!(shown, case.truth(&connection), "{}, step {step}", case.name);
        costs.push(running.misses() - before);
    }
    costs
}

/// Asserts that the costs are at most `mean`, and none is above `most`.
#[track_caller]
pub(super) fn assert_costs(what: impl Debug, mut costs: Vec<u64>, mean: f64, most: u64) {
    costs.sort_unstable();
    let is_mean = costs.iter().sum::<u64>() as f64 / costs.len() as f64;
    assert!(is_mean <= mean && costs[costs.len() - 1] <= most, "{what:?}: mean {is_mean}, {costs:?}");
    assert!(is_mean >= 0.9, "{what:?} costs nothing: {costs:?}");
}

#[test]
fn an_update_in_place_loads_its_chunk_again_and_no_other() {
    for case in CASES {
        let mut count = 0;
        let costs = costs(case, |connection, n| {
            count += 1;
            let sql = format!("UPDATE item SET value = ?2 WHERE {}", case.find);
            assert_eq!(connection.execute(&sql, (n, format!("changed {count}"))).unwrap(), 1);
            vec![case.key(connection, n)]
        });
        assert_costs(case.name, costs, 1.1, 3);
    }
}

#[test]
fn an_insert_loads_its_chunk_and_at_most_its_neighbours() {
    for case in CASES {
        let costs = costs(case, |connection, n| {
            connection.execute(case.insert, (n + 1, format!("new {n}"))).unwrap();
            vec![case.key(connection, n + 1)]
        });
        assert_costs(case.name, costs, 1.5, 5);
    }
}

#[test]
fn a_delete_loads_its_chunk_and_at_most_its_neighbours() {
    for case in CASES {
        let costs = costs(case, |connection, n| {
            let key = case.key(connection, n);
            assert_eq!(connection.execute(&format!("DELETE FROM item WHERE {}", case.find), [n]).unwrap(), 1);
            vec![key]
        });
        assert_costs(case.name, costs, 1.5, 5);
    }
}

#[test]
fn a_move_loads_the_chunks_that_the_row_left_and_came_to() {
    for case in CASES {
        let costs = costs(case, |connection, n| {
            let old = case.key(connection, n);
            let value: String = connection
                .query_row(&format!("SELECT value FROM item WHERE {}", case.find), [n], |row| row.get(0))
                .unwrap();
            connection.execute(&format!("DELETE FROM item WHERE {}", case.find), [n]).unwrap();
            let to = (n + ROWS) % (2 * ROWS) + 1;
            connection.execute(case.insert, (to, format!("moved {value}"))).unwrap();
            vec![old, case.key(connection, to)]
        });
        assert_costs(case.name, costs, 3.0, 8);
    }
}

#[test]
fn a_uuid_of_postgresql_touches_its_chunk_in_every_spelling_that_is_told() {
    let uuid = |n: i64| format!("aaaaaaaa-bbbb-4ccc-8ddd-{n:012x}");
    let db = postgres();
    db.execute(
        "CREATE TABLE author (id uuid PRIMARY KEY, name text);
         CREATE TABLE item (id uuid PRIMARY KEY, author_id uuid, value text);
         INSERT INTO author SELECT ('aaaaaaaa-bbbb-4ccc-8ddd-' || lpad(to_hex(n), 12, '0'))::uuid, n FROM generate_series(2, 4000, 2) n;
         INSERT INTO item SELECT id, id, name FROM author;",
    );
    let fields = "[resources.list.fields]\nvalue = \"value\"\nauthor = { via = \"author_id\", table = \"author\", column = \"name\" }";
    let running = db.serve(&format!("table = \"item\"\n{SMALL}{fields}"));
    running.rows("/list");
    let after = |sql: String, change: Change| {
        db.execute(&sql);
        running.block_on(running.chunkflow.changed(&[change])).unwrap();
        let before = running.misses();
        let shown = running.rows("/list");
        let shown: Vec<_> = shown.iter().map(|row| [&row["value"], &row["author"]].map(|text| text.as_str())).collect();
        let truth = "SELECT value, name FROM item LEFT JOIN author ON author.id = author_id ORDER BY item.id";
        let truth = db.query(truth).unwrap();
        let truth: Vec<_> =
            truth.iter().map(|row| [&row[0], &row[1]].map(|text| (text != "").then_some(&**text))).collect();
        assert_eq!(shown, truth, "{sql}");
        running.misses() - before
    };

    let spellings: [fn(&str) -> String; 6] = [
        |uuid| uuid.to_uppercase(),
        |uuid| format!("{{{uuid}}}"),
        |uuid| uuid.replace('-', ""),
        |uuid| format!("{{{}}}", uuid.replace('-', "").to_uppercase()),
        // PostgreSQL takes a hyphen behind any four digits.
        |uuid| {
            uuid.replace('-', "")
                .as_bytes()
                .chunks(4)
                .map(|four| str::from_utf8(four).unwrap())
                .collect::<Vec<_>>()
                .join("-")
        },
        |uuid| uuid.replacen("aaaa", "aAAa", 1),
    ];
    for (at, spelling) in spellings.into_iter().enumerate() {
        let n = 500 + 500 * at as i64;
        let spelt = spelling(&uuid(n));
        let told = || Change::of("list", [spelt.clone()]);
        assert_eq!(after(format!("UPDATE item SET value = 'x' WHERE id = '{}'", uuid(n)), told()), 1, "{spelt}");
        let author = told().in_table("author");
        assert_eq!(after(format!("UPDATE author SET name = 'x' WHERE id = '{}'", uuid(n)), author), 1, "{spelt}");
        let author = told().in_table("author");
        assert_eq!(after(format!("DELETE FROM author WHERE id = '{}'", uuid(n)), author), 1, "{spelt}");
        let cost = after(format!("DELETE FROM item WHERE id = '{}'", uuid(n)), told());
        assert!((1..=3).contains(&cost), "{spelt}: {cost}");
        let cost = after(format!("INSERT INTO item VALUES ('{}', NULL, 'new')", uuid(n)), told());
        assert!((1..=3).contains(&cost), "{spelt}: {cost}");
    }
}
