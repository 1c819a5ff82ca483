//! Changes of related rows, on every database: which chunks they touch.

use chunkflow::Change;
use serde_json::{Value, json};

use super::SMALL;
use crate::{
    servers::{Db, every_kind},
    support::{Running, until},
};

const TABLES: &str = "
    CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(40));
    CREATE TABLE tag (id INTEGER PRIMARY KEY, name VARCHAR(40));
    CREATE TABLE item (id INTEGER PRIMARY KEY, author_id INTEGER, parent_id INTEGER REFERENCES item (id));
    CREATE TABLE item_tag (id INTEGER PRIMARY KEY, item_id INTEGER REFERENCES item (id), tag_id INTEGER REFERENCES tag (id));
    CREATE INDEX item_tag_item ON item_tag (item_id);
    CREATE TABLE comment (id INTEGER PRIMARY KEY, item_id INTEGER REFERENCES item (id), text VARCHAR(40));
    CREATE INDEX comment_item ON comment (item_id);";

const ROWS: i64 = 2_000;

const FIELDS: &str = "[resources.list.fields]
    id = \"id\"
    author = { via = \"author_id\", table = \"author\", column = \"name\" }
    parent = { via = \"parent_id\", columns = [\"id\", \"author_id\"] }
    tags = { through = \"item_tag\", column = \"name\" }
    comments = { from = \"comment\", columns = [\"id\", \"text\"] }";

struct Lists {
    db: Db,
    running: Running,
}

impl Lists {
    fn new(db: Db) -> Lists {
        fill(&db);
        let running = db.serve(&format!("table = \"item\"\n{SMALL}{FIELDS}"));
        running.rows("/list");
        Lists { db, running }
    }

    fn on_every_kind() -> impl Iterator<Item = Lists> {
        every_kind().into_iter().map(Lists::new)
    }

    /// Changes the database and tells it. Returns how many chunks that cost, and the rows.
    fn after(&self, sql: &str, change: Change) -> (u64, Vec<Value>) {
        self.db.execute(sql);
        self.running.block_on(self.running.chunkflow.changed(&[change])).unwrap();
        let before = self.running.misses();
        let rows = self.running.rows("/list");
        let cost = self.running.misses() - before;

        // A server that has seen nothing shows the same.
        let other = self.db.serve(&format!("table = \"item\"\n{SMALL}{FIELDS}"));
        assert_eq!(rows, other.rows("/list"), "{}: {sql}", self.db.name());
        (cost, rows)
    }
}

/// The tables with their rows: every item but one has an author, every second a tag, and every third
/// a comment, of the item's own number.
fn fill(db: &Db) {
    let rows = |table: &str, ids: &mut dyn Iterator<Item = i64>, values: &dyn Fn(i64) -> String| {
        let rows = ids.map(|id| format!("({id}, {})", values(id))).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO {table} VALUES {rows};")
    };
    let parent = |id: i64| if id > 1 { (id - 1).to_string() } else { "NULL".into() };
    db.execute(TABLES);
    db.execute_later(&rows("item", &mut (1..=ROWS), &|id| format!("{id}, {}", parent(id))));
    db.execute_later(&rows("author", &mut (1..=ROWS).filter(|id| *id != 777), &|id| format!("'author {id}'")));
    db.execute_later(&rows("tag", &mut (1..=ROWS), &|id| format!("'tag {id}'")));
    db.execute_later(&rows("item_tag", &mut (2..=ROWS).step_by(2), &|id| format!("{id}, {id}")));
    db.execute_later(&rows("comment", &mut (3..=ROWS).step_by(3), &|id| format!("{id}, 'comment {id}'")));
    db.execute_now();
}

fn of(table: &str, key: i64) -> Change {
    Change::of("list", [key.to_string()]).in_table(table)
}

#[test]
fn a_related_row_touches_the_chunks_that_show_it_and_no_other() {
    for lists in Lists::on_every_kind() {
        let (cost, rows) = lists.after("UPDATE author SET name = 'Dahlia' WHERE id = 500", of("author", 500));
        assert_eq!((cost, &rows[499]["author"]), (1, &json!("Dahlia")));

        let (cost, rows) = lists.after("INSERT INTO author VALUES (777, 'late')", of("author", 777));
        assert_eq!((cost, &rows[776]["author"]), (1, &json!("late")), "where there was none");

        let (cost, rows) = lists.after("DELETE FROM author WHERE id = 900", of("author", 900));
        assert_eq!((cost, &rows[899]["author"]), (1, &Value::Null));

        let (cost, rows) = lists.after("UPDATE tag SET name = 'x' WHERE id = 1000", of("tag", 1000));
        assert_eq!((cost, &rows[999]["tags"]), (1, &json!(["x"])));

        let (cost, _) = lists.after("UPDATE tag SET name = 'x' WHERE id = 1001", of("tag", 1001));
        assert_eq!(cost, 0, "no row shows it");

        let (cost, rows) = lists.after("UPDATE comment SET text = 'x' WHERE id = 1500", of("comment", 1500));
        assert_eq!((cost, &rows[1499]["comments"]), (1, &json!([{"id": 1500, "text": "x"}])));
    }
}

#[test]
fn a_related_row_that_comes_goes_or_moves_touches_the_chunks_of_its_owners() {
    for lists in Lists::on_every_kind() {
        let (cost, rows) = lists.after("INSERT INTO comment VALUES (5000, 100, 'first')", of("comment", 5000));
        assert_eq!((cost, &rows[99]["comments"]), (1, &json!([{"id": 5000, "text": "first"}])));

        let (cost, rows) = lists.after("UPDATE comment SET item_id = 1900 WHERE id = 5000", of("comment", 5000));
        assert_eq!((cost, &rows[99]["comments"]), (2, &json!([])));

        let (cost, rows) = lists.after("DELETE FROM comment WHERE id = 5000", of("comment", 5000));
        assert_eq!((cost, &rows[1899]["comments"]), (1, &json!([])));
    }
}

#[test]
fn a_row_of_a_join_table_touches_the_chunk_of_its_owner_and_one_that_is_gone_all_unless_it_says_whose_it_was() {
    for lists in Lists::on_every_kind() {
        let (cost, rows) = lists.after("INSERT INTO item_tag VALUES (5000, 101, 7)", of("item_tag", 5000));
        assert_eq!((cost, &rows[100]["tags"]), (1, &json!(["tag 7"])));

        let moved = of("item_tag", 5000).was("item_id", Some("101")).is("item_id", Some("1901"));
        let (cost, rows) = lists.after("UPDATE item_tag SET item_id = 1901 WHERE id = 5000", moved);
        assert_eq!((cost, &rows[100]["tags"]), (2, &json!([])));

        let moved = of("item_tag", 5000).was("item_id", Some("1901"));
        let (cost, rows) = lists.after("UPDATE item_tag SET item_id = 1902 WHERE id = 5000", moved);
        assert!(
            rows[1900]["tags"] == json!([]) && rows[1901]["tags"] == json!(["tag 7", "tag 1902"]),
            "{:?}",
            rows[1901]
        );
        assert!((1..=2).contains(&cost), "{cost}: where it is now is looked up");
        lists.after(
            "UPDATE item_tag SET item_id = 1901 WHERE id = 5000",
            of("item_tag", 5000).was("item_id", Some("1902")),
        );

        let gone = of("item_tag", 5000).was("ITEM_ID", Some("1901"));
        let (cost, rows) = lists.after("DELETE FROM item_tag WHERE id = 5000", gone);
        assert_eq!((cost, &rows[1900]["tags"]), (1, &json!([])));

        let (cost, rows) = lists.after("DELETE FROM item_tag WHERE id = 4", of("item_tag", 4));
        assert!(cost > 100, "{cost}");
        assert_eq!(rows[3]["tags"], json!([]));
    }
}

#[test]
fn a_row_that_others_of_its_own_table_show_touches_their_chunks_too() {
    for lists in Lists::on_every_kind() {
        lists.after("UPDATE item SET parent_id = 1200 WHERE id = 100", of("item", 100));
        let (cost, rows) = lists.after("UPDATE item SET author_id = 3 WHERE id = 1200", of("item", 1200));
        for child in [100, 1201] {
            assert_eq!(rows[child - 1]["parent"], json!({"id": 1200, "author_id": 3}));
        }
        assert!((2..=3).contains(&cost), "{cost}");
    }
}

#[test]
fn a_table_that_no_list_shows_touches_nothing() {
    for lists in Lists::on_every_kind() {
        let (cost, _) = lists.after("CREATE TABLE other (id INTEGER PRIMARY KEY)", of("other", 1));
        assert!(cost == 0 || cost > 100, "a new table may be a new schema");
        let (cost, _) = lists.after("INSERT INTO other VALUES (1)", of("other", 1));
        assert_eq!(cost, 0);
    }
}

#[test]
fn where_the_database_lags_behind_what_a_change_touches_is_read_once_more() {
    for db in every_kind() {
        fill(&db);
        let database = format!("main = {{ url = \"{}\", settle = \"300ms\" }}", db.url());
        let list = format!("[resources.list]\ndatabase = \"main\"\ntable = \"item\"\n{SMALL}");
        let running = Running::config(&format!("[databases]\n{database}\n{list}"));
        // What was read sooner after the start is read once more too.
        std::thread::sleep(std::time::Duration::from_millis(400));
        running.rows("/list");

        // The commit is not visible yet when it is told.
        running.block_on(running.chunkflow.changed(&[Change::of("list", ["500"])])).unwrap();
        assert_eq!(running.rows("/list")[499]["author_id"], 500);
        db.execute("UPDATE item SET author_id = 7 WHERE id = 500");
        until("the row as it is", || running.rows("/list")[499]["author_id"] == 7);
        assert!(running.misses() < 2 * 2_000 / 8, "each time only its chunk is read: {}", running.misses());
    }
}
