//! A purge with conditions: of which lists, and of which chunks.

use std::collections::BTreeSet;

use chunkflow::{Kind, metrics::MetricsFormat};
use serde_json::Value;

use super::SMALL;
use crate::{
    servers::{self, Server},
    support::{File, Running, until},
};

/// Rows of ten organisations, a hundred each, in the order of their ids.
const TABLE: &str =
    "CREATE TABLE item (id INTEGER PRIMARY KEY, org INTEGER NOT NULL, title TEXT COLLATE NOCASE NOT NULL,
    value TEXT);
    CREATE INDEX org ON item (org); CREATE INDEX title ON item (title, id);
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
    INSERT INTO item SELECT i, i / 100, printf('title %04d', i), 'old' FROM n";

const WHOLE: &str = "/list";

fn serve(file: &File, more: &str) -> Running {
    file.serve(&format!("table = \"item\"\nfilters = [\"org\", \"title\"]\n{SMALL}{more}"))
}

impl Running {
    fn purged_where(&self, conditions: &[(&str, &str)]) {
        let resource = self.chunkflow.resource("list").unwrap();
        self.block_on(self.chunkflow.purge_where(&resource, conditions)).unwrap();
    }

    /// How many chunks are loaded for a list.
    fn loads_for(&self, target: &str) -> u64 {
        let before = self.misses();
        self.rows(target);
        self.misses() - before
    }
}

fn values(rows: &[Value]) -> BTreeSet<&str> {
    rows.iter().map(|row| row["value"].as_str().unwrap()).collect()
}

#[test]
fn a_purge_with_a_condition_has_lists_with_it_read_again_and_of_others_the_chunks_with_its_rows() {
    for order in ["order = [\"id\"]", "order = [\"-id\"]", "order = [\"title\"]"] {
        let file = File::with(TABLE);
        let running = serve(&file, order);
        let chunks = running.loads_for(WHOLE);
        assert!(chunks > 90, "{order}: {chunks}");
        let lists = ["/list?org=eq.3", "/list?org=eq.3&title=like.*7", "/list?org=eq.4", "/list?org=in.(3,4)"];
        let of = lists.map(|list| running.loads_for(list));

        // Nobody tells of this.
        file.open().execute("UPDATE item SET value = 'new' WHERE org = 3", []).unwrap();
        running.purged_where(&[("org", "eq.3")]);

        let loaded = lists.map(|list| running.loads_for(list));
        assert_eq!((loaded[0], loaded[1], loaded[2]), (of[0], of[1], 0), "{order}");
        // Where only the database compares titles, a chunk in doubt may come with the rows of the one
        // before it, without a question.
        let most = if order.contains("title") { of[3] } else { of[3] * 2 / 3 };
        assert!((of[3] / 3..=most).contains(&loaded[3]), "{order}: {} of {}", loaded[3], of[3]);
        let whole = running.loads_for(WHOLE);
        assert!((chunks / 15..=chunks / 5).contains(&whole), "{order}: {whole} of {chunks}");

        assert_eq!(values(&running.rows(lists[0])), ["new"].into(), "{order}");
        assert_eq!(values(&running.rows(lists[2])), ["old"].into(), "{order}");
        let new = running.rows(WHOLE).iter().filter(|row| row["value"] == "new").count();
        assert_eq!(new, 100, "{order}");
    }
}

#[test]
fn after_it_rows_that_came_in_and_rows_that_left_are_right_too() {
    let file = File::with(TABLE);
    let running = serve(&file, "order = [\"id\"]");
    let ids =
        |target: &str| -> Vec<i64> { running.rows(target).iter().map(|row| row["id"].as_i64().unwrap()).collect() };
    for target in [WHOLE, "/list?org=eq.3", "/list?org=in.(3,5)"] {
        ids(target);
    }

    file.open()
        .execute_batch(
            "DELETE FROM item WHERE id = 350; UPDATE item SET org = 3 WHERE id = 777;
             INSERT INTO item VALUES (5000, 3, 'title 5000', 'new')",
        )
        .unwrap();
    running.purged_where(&[("org", "eq.3")]);
    let expected: Vec<i64> = (300..400).filter(|id| *id != 350).chain([777, 5000]).collect();
    assert_eq!(ids("/list?org=eq.3"), expected);
    let both = ids("/list?org=in.(3,5)");
    assert!(both.contains(&777) && both.contains(&5000));
    assert_eq!(ids(WHOLE).last(), Some(&5000));

    assert_eq!(ids("/list?org=eq.9").len(), 100);
    file.open().execute("DELETE FROM item WHERE org = 9", []).unwrap();
    running.purged_where(&[("org", "eq.9")]);
    assert_eq!(ids("/list?org=eq.9"), [0; 0], "no row is left that could tell of it");
}

#[test]
fn several_conditions_are_of_lists_that_have_them_all_and_of_rows_that_meet_them_all() {
    let file = File::with(TABLE);
    let running = serve(&file, "order = [\"id\"]");
    let lists = ["/list?org=eq.3&title=eq.title 0305", "/list?org=eq.3", "/list?title=eq.title 0305", WHOLE]
        .map(|list| list.replace(' ', "%20"));
    for list in &lists {
        running.rows(list);
    }

    running.purged_where(&[("title", "eq.title 0305"), ("org", "eq.3")]);
    assert_eq!(lists.each_ref().map(|list| running.loads_for(list)), [1, 1, 1, 1]);
    // No row meets them.
    running.purged_where(&[("title", "eq.title 0305"), ("org", "eq.4")]);
    assert_eq!(lists.each_ref().map(|list| running.loads_for(list)), [0, 0, 0, 0]);
}

#[test]
fn of_more_than_ten_thousand_rows_the_whole_list_is_read_again() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, org INTEGER NOT NULL, title TEXT NOT NULL, value TEXT);
         CREATE INDEX org ON item (org);
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 20001)
         INSERT INTO item SELECT i, i / 10001, 'x', 'old' FROM n",
    );
    let running =
        file.serve("table = \"item\"\nfilters = [\"org\", \"id\"]\nttl = \"1h\"\nstale = \"1h\"\nchunk_rows = 50");
    let chunks = running.loads_for(WHOLE);
    running.purged_where(&[("org", "eq.0"), ("id", "neq.5")]);
    let some = running.loads_for(WHOLE);
    assert!((chunks / 3..=chunks * 2 / 3).contains(&some), "10,000 rows: {some} of {chunks}");
    running.purged_where(&[("org", "eq.0")]);
    assert_eq!(running.loads_for(WHOLE), chunks, "10,001 rows");
}

#[test]
fn a_condition_that_no_request_may_have_is_refused_and_nothing_is_purged() {
    let file = File::with(TABLE);
    let running = serve(&file, "");
    running.rows(WHOLE);
    let resource = running.chunkflow.resource("list").unwrap();
    for wrong in [("value", "eq.x"), ("org", "3"), ("org", "eq.x"), ("limit", "5"), ("after", "x"), ("", "")] {
        let refused = running.block_on(running.chunkflow.purge_where(&resource, &[("org", "eq.3"), wrong]));
        assert_eq!(refused.unwrap_err().kind(), Kind::Invalid, "{wrong:?}");
    }
    assert_eq!(running.loads_for(WHOLE), 0);

    running.purged_where(&[]);
    assert!(running.loads_for(WHOLE) > 90, "without conditions it is a purge");
}

#[test]
fn other_servers_of_the_store_hear_a_purge_with_conditions_within_two_seconds() {
    for (kind, name) in [(servers::Kind::Redis, "redis"), (servers::Kind::Memcached, "memcached")] {
        let store = Server::start(kind);
        let file = File::with(TABLE);
        let text = format!(
            "[store]\nurl = \"{name}://127.0.0.1:{}\"\n\n{}",
            store.port,
            file.config(&format!("table = \"item\"\nfilters = [\"org\"]\n{SMALL}"))
        );
        let [one, other] = [Running::config(&text), Running::config(&text)];
        for list in [WHOLE, "/list?org=eq.3"] {
            one.rows(list);
            other.rows(list);
        }

        file.open().execute("UPDATE item SET value = 'new' WHERE org = 3", []).unwrap();
        one.purged_where(&[("org", "eq.3")]);
        assert_eq!(values(&one.rows("/list?org=eq.3")), ["new"].into());
        until("the other server has heard", || values(&other.rows("/list?org=eq.3")) == ["new"].into());
        assert_eq!(other.rows(WHOLE).iter().filter(|row| row["value"] == "new").count(), 100);
        let text = other.chunkflow.exposition(MetricsFormat::Text);
        assert!(text.contains("\nchunkflow_touched_lists_total 0\n"), "no list was touched whole: {text}");
    }
}
