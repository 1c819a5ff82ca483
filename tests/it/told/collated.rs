//! Told changes in lists that only the database can put in order, or filter.

use std::fmt::Debug;

use chunkflow::Change;
use serde_json::Value;

use super::{SMALL, rows};
use crate::{
    servers::{Db, Kind, Server, mariadb, postgres, sqlite},
    support::{File, Running},
};

/// A list of rows `(id, title, value)` in the order of their titles, and the questions and loads
/// that it has cost.
struct Titles {
    db: Db,
    running: Running,
    /// The list's parameters, and the condition in SQL that they stand for.
    filter: (&'static str, &'static str),
}

/// Two rows have one title, but for upper and lower case.
fn title(n: i64) -> String {
    format!("{} {:05}", ["Wörter", "wÖrter"][n as usize / 3 % 2], n / 4)
}

const ROWS: i64 = 1_600;

impl Titles {
    /// `text` is the type of the titles.
    fn new(db: Db, text: &str, config: &str, filter: (&'static str, &'static str)) -> Titles {
        db.execute(&format!(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, title {text} NOT NULL, grp {text} NOT NULL, value VARCHAR(40) NOT NULL);
             CREATE INDEX title ON item (title, id);"
        ));
        for n in (0..2 * ROWS).step_by(2) {
            db.execute_later(&insert(n));
        }
        db.execute_now();
        let running = db.serve(&format!("table = \"item\"\n{config}\n{SMALL}"));
        Titles { db, running, filter }
    }

    fn on_every_kind(config: &str, filter: (&'static str, &'static str)) -> Vec<Titles> {
        vec![
            Titles::new(sqlite(), "TEXT COLLATE NOCASE", config, filter),
            Titles::new(postgres(), "TEXT COLLATE \"und-x-icu\"", config, filter),
            Titles::new(mariadb(), "VARCHAR(100)", config, filter),
        ]
    }

    /// Reads the list, which must be right. Returns what that has cost: loads and questions.
    fn read(&self, what: &str) -> (u64, u64) {
        let before = (self.running.misses(), self.running.questions());
        let (parameters, condition) = self.filter;
        let shown = self.running.block_on(rows(&self.running.chunkflow, &format!("/list?{parameters}"))).unwrap();
        let after = (self.running.misses(), self.running.questions());

        let shown: Vec<&str> = shown.iter().map(|row| row["value"].as_str().unwrap()).collect();
        let truth = self.db.query(&format!("SELECT value FROM item WHERE {condition} ORDER BY title, id")).unwrap();
        let truth: Vec<&str> = truth.iter().map(|row| &*row[0]).collect();
        assert_eq!(shown, truth, "{} {what}", self.db.name());
        (after.0 - before.0, after.1 - before.1)
    }

    /// Changes the database by `sql`, tells these rows, and reads the list.
    fn after(&self, sql: &str, told: &[i64]) -> (u64, u64) {
        self.db.execute(sql);
        self.running.told(told);
        self.read(sql)
    }

    /// The costs of changes of many rows.
    fn after_each(&self, mut change: impl FnMut(i64) -> (String, Vec<i64>)) -> Vec<(u64, u64)> {
        self.read("before");
        let change = |step: i64| {
            let (sql, told) = change(2 * (step * 47 % ROWS));
            self.after(&sql, &told)
        };
        (0..60_i64).map(change).collect()
    }
}

fn insert(n: i64) -> String {
    format!(
        "INSERT INTO item VALUES ({n}, '{}', '{}', 'value {n}');",
        title(n),
        ["Gruppe", "andere"][n as usize / 2 % 2]
    )
}

/// Asserts that the costs are at most `mean`, and none is above `most`.
#[track_caller]
fn assert_costs(what: impl Debug, mut costs: Vec<u64>, mean: f64, most: u64) {
    costs.sort_unstable();
    let is_mean = costs.iter().sum::<u64>() as f64 / costs.len() as f64;
    assert!(is_mean <= mean && costs[costs.len() - 1] <= most, "{what:?}: mean {is_mean}, {costs:?}");
    assert!(is_mean >= 0.9, "{what:?} costs nothing: {costs:?}");
}

/// Asserts what a list of 200 chunks costs after each change.
#[track_caller]
fn assert_both(what: &str, costs: Vec<(u64, u64)>, mean: f64, most: u64) {
    let questions = costs.iter().map(|(_, questions)| questions).sum::<u64>() as f64 / costs.len() as f64;
    let loads = costs.iter().map(|(loads, _)| loads).sum::<u64>() as f64 / costs.len() as f64;
    println!("{what}: {loads} loads, {questions} questions");
    assert!(questions <= 25.0, "{what}: {costs:?}");
    assert_costs(what, costs.into_iter().map(|(loads, _)| loads).collect(), mean, most);
}

#[test]
fn in_a_list_that_only_the_database_orders_an_update_loads_its_chunk_again_and_no_other() {
    for list in Titles::on_every_kind("order = [\"title\"]", ("", "0 = 0")) {
        let costs = list.after_each(|n| (format!("UPDATE item SET value = 'changed {n}' WHERE id = {n}"), vec![n]));
        assert_both(list.db.name(), costs, 1.1, 3);
    }
}

#[test]
fn in_a_list_that_only_the_database_orders_a_row_that_comes_or_goes_loads_its_chunk_and_at_most_its_neighbours() {
    for list in Titles::on_every_kind("order = [\"title\"]", ("", "0 = 0")) {
        let costs = list.after_each(|n| (insert(n + 1), vec![n + 1]));
        assert_both(list.db.name(), costs, 1.5, 5);
    }

    for list in Titles::on_every_kind("order = [\"title\"]", ("", "0 = 0")) {
        let costs = list.after_each(|n| (format!("DELETE FROM item WHERE id = {n}"), vec![n]));
        assert_both(list.db.name(), costs, 1.5, 5);
    }
}

#[test]
fn in_a_list_that_only_the_database_orders_a_row_that_moves_loads_the_chunks_it_left_and_came_to() {
    for list in Titles::on_every_kind("order = [\"title\"]", ("", "0 = 0")) {
        let costs = list.after_each(|n| {
            let to = title((n + ROWS) % (2 * ROWS) + 1).to_uppercase();
            (format!("UPDATE item SET title = '{to}' WHERE id = {n}"), vec![n])
        });
        assert_both(list.db.name(), costs, 3.0, 8);
    }
}

#[test]
fn a_filtered_list_whose_condition_only_the_database_tests_is_read_again_where_a_row_came_or_went() {
    let filter = ("grp=eq.gruppe", "grp = 'Gruppe'");
    for list in Titles::on_every_kind("order = [\"title\"]\nfilters = [\"grp\"]", ("grp=eq.Gruppe", "grp = 'Gruppe'")) {
        // PostgreSQL's texts are equal only if their bytes are.
        let list = if list.db.name() == "postgres" { list } else { Titles { filter, ..list } };
        let costs = list.after_each(|n| {
            (
                format!("UPDATE item SET grp = CASE grp WHEN 'andere' THEN 'GRUPPE' ELSE 'andere' END WHERE id = {n}"),
                vec![n],
            )
        });
        if list.db.name() != "postgres" {
            assert_both(list.db.name(), costs, 1.5, 5);
        }
        let costs = list.after_each(|n| (format!("UPDATE item SET value = 'x {n}' WHERE id = {n}"), vec![n]));
        let (loads, questions) = costs.iter().fold((0, 0), |sum, cost| (sum.0 + cost.0, sum.1 + cost.1));
        assert!(loads <= 66 && questions <= 60 * 12, "{}: {loads} loads, {questions} questions", list.db.name());
    }
}

#[test]
fn a_row_outside_of_the_list_costs_one_question_and_no_load() {
    let list = Titles::new(
        sqlite(),
        "TEXT COLLATE NOCASE",
        "order = [\"title\"]\nfilters = [\"grp\"]",
        ("grp=like.grup*", "grp LIKE 'grup%'"),
    );
    list.read("before");
    assert_eq!(list.after("UPDATE item SET value = 'x' WHERE id = 1002", &[1002]), (0, 1));
    assert_eq!(list.read("again"), (0, 0));
}

#[test]
fn where_the_database_does_not_say_the_list_is_refused_until_it_does() {
    let machine: &'static Server = Box::leak(Box::new(Server::start(Kind::Postgres)));
    let list = Titles::new(machine.database(), "TEXT COLLATE \"und-x-icu\"", "order = [\"title\"]", ("", "0 = 0"));
    list.read("before");
    list.db.execute("UPDATE item SET value = 'x' WHERE id = 1000");
    list.running.told(&[1000]);

    machine.order("kill", "killed");
    let refused = list.running.get("/list");
    assert_eq!(refused.status, 503, "{}", String::from_utf8_lossy(&refused.body));
    assert!(list.running.questions() > 0);

    machine.order("start", "ready");
    let (loads, _) = list.read("after it");
    assert_eq!(loads, 1, "a question that failed is asked again");
}

#[test]
fn many_rows_that_change_at_once_are_asked_about_together() {
    let list = Titles::new(sqlite(), "TEXT COLLATE NOCASE", "order = [\"title\"]", ("", "0 = 0"));
    list.read("before");
    let told: Vec<i64> = (1_000..1_040).step_by(2).collect();
    let (loads, questions) = list.after("UPDATE item SET value = 'x' WHERE id >= 1000 AND id < 1040", &told);
    assert!((3..=8).contains(&loads) && questions <= 25, "{loads} loads, {questions} questions");

    let told: Vec<i64> = (0..ROWS).map(|n| 2 * n).collect();
    list.after("UPDATE item SET title = 'the same', value = 'y' || id", &told);
}

#[test]
fn a_key_that_only_the_database_compares_is_found_as_it_is_told() {
    let file = File::with(
        "CREATE TABLE item (id TEXT PRIMARY KEY COLLATE NOCASE NOT NULL, value TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000)
         INSERT INTO item SELECT printf(CASE i % 2 WHEN 0 THEN 'Key %05d' ELSE 'key %05d' END, i), i FROM n;",
    );
    let running = file.serve(&format!("table = \"item\"\n{SMALL}"));
    running.rows("/list");
    let after = |sql: &str, key: &str| -> (u64, Vec<Value>) {
        file.open().execute_batch(sql).unwrap();
        running.block_on(running.chunkflow.changed(&[Change::of("list", [key])])).unwrap();
        let before = running.misses();
        let rows = running.rows("/list");
        (running.misses() - before, rows)
    };

    let (cost, rows) = after("UPDATE item SET value = 'x' WHERE id = 'KEY 01000'", "kEy 01000");
    assert_eq!((cost, rows[999]["value"].as_str()), (1, Some("x")));
    let (cost, rows) = after("INSERT INTO item VALUES ('KEY 01000 b', 'new')", "key 01000 B");
    assert!((1..=3).contains(&cost), "{cost}");
    assert_eq!(rows[1000]["value"], "new");

    // A key that finds no row may be written in another way than the row's was.
    let (cost, rows) = after("DELETE FROM item WHERE id = 'Key 01000'", "kEy 01000");
    assert!(cost > 100, "{cost}");
    assert_eq!(rows[999]["value"], "new");
}

#[test]
fn white_space_is_part_of_a_key() {
    let file = File::with(
        "CREATE TABLE item (id TEXT PRIMARY KEY NOT NULL, value TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200)
         INSERT INTO item SELECT printf('%05d', i), 'value' FROM n;",
    );
    let running = file.serve(&format!("table = \"item\"\n{SMALL}"));
    running.rows("/list");
    file.open().execute_batch("INSERT INTO item VALUES (' 00100', 'new'), ('00100 ', 'new')").unwrap();
    running.told(&[" 00100", "00100 "]);
    let rows = running.rows("/list");
    assert_eq!([&rows[0]["value"], &rows[101]["value"]], ["new", "new"]);
}
