//! Changes that move rows into and out of lists with trees of conditions, and with conditions on
//! related rows.

use chunkflow::Change;
use serde_json::Value;

use super::SMALL;
use crate::{
    servers::{Db, every_kind},
    support::Running,
};

const ROWS: i64 = 400;

const LIST: &str = "table = \"item\"
    filters = [\"id\", \"rank\", \"word\", \"author.name\", \"editor_id.name\"]
    fields = { id = \"id\", rank = \"rank\", word = \"word\", author = { via = \"author_id\", table = \"author\", column = \"name\" } }\n";

/// A list without conditions, and those with conditions of every kind.
const LISTS: [&str; 8] = [
    "/list",
    "/list?or=(rank.eq.3,word.eq.w5)",
    "/list?not.and=(rank.neq.3,word.not.in.(w5,w6))",
    "/list?author.name=eq.ann",
    "/list?or=(author.name.eq.ann,rank.eq.3)",
    "/list?author.name=is.null",
    "/list?word=not.ilike.W1*",
    // No field shows editors.
    "/list?or=(editor_id.name.eq.eve,rank.eq.3)",
];

struct Lists {
    db: Db,
    running: Running,
}

impl Lists {
    fn on_every_kind() -> impl Iterator<Item = Lists> {
        every_kind().into_iter().map(|db| {
            db.execute(
                "CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(40));
                 CREATE TABLE editor (id INTEGER PRIMARY KEY, name VARCHAR(40));
                 CREATE TABLE item (id INTEGER PRIMARY KEY, rank INTEGER, word VARCHAR(40), author_id INTEGER,
                     editor_id INTEGER REFERENCES editor (id));
                 CREATE INDEX item_author ON item (author_id);
                 INSERT INTO author VALUES (0, 'ann'), (1, 'bob'), (2, 'cid'), (3, NULL);
                 INSERT INTO editor VALUES (0, 'eve'), (1, 'fay');",
            );
            let row = |id: i64| format!("({id}, {}, 'w{}', {}, {})", id % 10, id % 17, id % 5, id % 2);
            let rows: Vec<String> = (1..=ROWS).map(row).collect();
            db.execute(&format!("INSERT INTO item VALUES {}", rows.join(", ")));
            let running = db.serve(&format!("{LIST}{SMALL}"));
            Lists { db, running }
        })
    }

    /// How many chunks each list loads now. Its rows are those that a server shows which has seen
    /// nothing of it before.
    fn loads(&self, what: &str) -> [u64; LISTS.len()] {
        let fresh = self.db.serve(&format!("{LIST}{SMALL}"));
        LISTS.map(|target| {
            let before = self.running.misses();
            let rows = self.running.rows(target);
            assert_eq!(rows, fresh.rows(target), "{}: {what}: {target}", self.db.name());
            self.running.misses() - before
        })
    }

    fn after(&self, sql: &str, change: Change) -> [u64; LISTS.len()] {
        self.db.execute(sql);
        self.running.block_on(self.running.chunkflow.changed(&[change])).unwrap();
        self.loads(sql)
    }
}

fn item(key: i64) -> Change {
    Change::of("list", [key.to_string()])
}

fn author(key: i64) -> Change {
    Change::of("list", [key.to_string()]).in_table("author")
}

#[test]
fn a_changed_row_moves_between_lists_with_trees_and_loads_few_of_their_chunks() {
    for lists in Lists::on_every_kind() {
        let whole = lists.loads("at first");
        assert!(whole.iter().all(|loads| *loads > 5), "{}: {whole:?}", lists.db.name());

        for sql in [
            "UPDATE item SET rank = 3 WHERE id = 100",
            "UPDATE item SET rank = 4, word = 'w5' WHERE id = 100",
            "UPDATE item SET rank = 4, word = 'W1' WHERE id = 100",
            "UPDATE item SET rank = 4, word = 'v' WHERE id = 100",
            "UPDATE item SET rank = NULL, word = NULL WHERE id = 100",
            "UPDATE item SET author_id = NULL WHERE id = 100",
            "UPDATE item SET author_id = 0 WHERE id = 100",
            "UPDATE item SET author_id = 99, rank = 3 WHERE id = 100",
            "DELETE FROM item WHERE id = 100",
            "INSERT INTO item VALUES (100, 1, 'w5', 0, NULL)",
            "UPDATE item SET editor_id = 0 WHERE id = 100",
            "UPDATE item SET editor_id = 1 WHERE id = 100",
        ] {
            // A row that comes or goes may move the ends of the next chunks.
            let loads = lists.after(sql, item(100));
            let mut each = loads.iter().zip(&whole);
            assert!(each.all(|(loads, whole)| *loads <= whole / 3), "{}: {sql}: {loads:?}", lists.db.name());
        }
    }
}

/// Whether a list has a condition on authors.
fn is_of_authors(target: &str) -> bool {
    target.contains("author")
}

#[test]
fn a_renamed_author_moves_rows_between_lists_and_loads_whole_only_lists_with_conditions_on_authors() {
    for lists in Lists::on_every_kind() {
        // Nobody has it but one row: so of the other lists only that row's chunk is loaded.
        lists.db.execute("INSERT INTO author VALUES (9, 'dan')");
        lists.db.execute("UPDATE item SET author_id = 9, rank = 3, word = 'w5', editor_id = 0 WHERE id = 200");
        let whole = lists.loads("at first");
        for sql in [
            "UPDATE author SET name = 'ann' WHERE id = 9",
            "UPDATE author SET name = NULL WHERE id = 9",
            "DELETE FROM author WHERE id = 9",
            "INSERT INTO author VALUES (9, 'ann')",
        ] {
            let loads = lists.after(sql, author(9));
            for ((target, loads), whole) in LISTS.iter().zip(&loads).zip(&whole) {
                if is_of_authors(target) {
                    assert!(*loads >= whole - 1, "{}: {sql}: {target}: {loads} of {whole}", lists.db.name());
                } else {
                    assert_eq!(*loads, 1, "{}: {sql}: {target}", lists.db.name());
                }
            }
        }

        let editor = Change::of("list", ["1"]).in_table("editor");
        let loads = lists.after("UPDATE editor SET name = 'eve' WHERE id = 1", editor);
        for (target, loads) in LISTS.iter().zip(loads) {
            assert_eq!(loads > 0, target.contains("editor"), "{}: {target}: {loads}", lists.db.name());
        }

        // An author of nobody: only lists with conditions on authors cannot know that.
        let loads = lists.after("INSERT INTO author VALUES (50, 'ann')", author(50));
        for (target, loads) in LISTS.iter().zip(loads) {
            assert_eq!(loads > 5, is_of_authors(target), "{}: {target}: {loads}", lists.db.name());
            assert!(loads == 0 || is_of_authors(target), "{}: {target}: {loads}", lists.db.name());
        }
    }
}

#[test]
fn an_author_whose_name_is_told_before_and_after_loads_whole_only_the_lists_by_either_name() {
    for lists in Lists::on_every_kind() {
        lists.db.execute("INSERT INTO author VALUES (9, 'dan')");
        lists.db.execute("UPDATE item SET author_id = 9, rank = 3, word = 'w5', editor_id = 0 WHERE id = 200");
        let whole = lists.loads("at first");
        let told = |old: Option<&str>, new: Option<&str>| author(9).was("name", old).is("name", new);
        let ann = "/list?author.name=eq.ann";
        let any_ann = "/list?or=(author.name.eq.ann,rank.eq.3)";
        let null = "/list?author.name=is.null";
        for (sql, change, touched) in [
            ("UPDATE author SET name = 'eli' WHERE id = 9", told(Some("dan"), Some("eli")), &[][..]),
            ("UPDATE author SET name = 'ann' WHERE id = 9", told(Some("eli"), Some("ann")), &[ann, any_ann]),
            ("UPDATE author SET name = 'ann' WHERE id = 9", told(Some("ann"), Some("ann")), &[]),
            ("UPDATE author SET name = NULL WHERE id = 9", told(Some("ann"), None), &[ann, any_ann, null]),
            ("UPDATE author SET name = 'dan' WHERE id = 9", told(None, Some("dan")), &[null]),
            ("DELETE FROM author WHERE id = 9", told(Some("dan"), None), &[null]),
            ("INSERT INTO author VALUES (9, 'ann')", told(None, Some("ann")), &[ann, any_ann, null]),
        ] {
            // Where texts of other bytes may be equal, only the database knows.
            let is_known = lists.db.name() != "mariadb";
            let loads = lists.after(sql, change);
            for ((target, loads), whole) in LISTS.iter().zip(loads).zip(&whole) {
                let is_touched = touched.contains(target) || (is_of_authors(target) && !is_known);
                let what = format!("{}: {sql}: {target}: {loads} of {whole}", lists.db.name());
                if is_touched {
                    assert!(loads >= whole - 1, "{what}");
                } else {
                    // The chunk with the row, which shows the author.
                    assert!(loads <= 1, "{what}");
                }
            }
            assert_eq!(loads[0], 1, "{}: {sql}", lists.db.name());
        }
    }
}

#[test]
fn a_purge_with_a_tree_or_a_condition_on_a_related_row_has_its_rows_read_again() {
    for lists in Lists::on_every_kind() {
        lists.loads("at first");
        let purged = |conditions: &[(&str, &str)]| {
            let resource = lists.running.chunkflow.resource("list").unwrap();
            lists.running.block_on(lists.running.chunkflow.purge_where(&resource, conditions))
        };

        lists.db.execute("UPDATE item SET word = 'new' WHERE rank = 3 OR id = 7");
        purged(&[("or", "(rank.eq.3,id.eq.7)")]).unwrap();
        lists.loads("a tree");

        let old = |rows: &[Value]| rows.iter().filter(|row| row["word"] != "newer").count();
        lists.db.execute("UPDATE item SET word = 'newer' WHERE author_id = 0");
        purged(&[("author.name", "eq.ann")]).unwrap();
        assert_eq!(old(&lists.running.rows("/list?author.name=eq.ann")), 0);
        lists.loads("a condition on authors");
        assert!(purged(&[("author.none", "eq.ann")]).is_err());
        assert!(purged(&[("or", "(none.eq.1)")]).is_err());
    }
}
