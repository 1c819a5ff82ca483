//! Keys and conditions of which a told text does not say everything.

use chunkflow::Change;
use serde_json::json;

use super::SMALL;
use crate::support::{File, Running};

fn serve(tables: &str, list: &str) -> (File, Running) {
    let file = File::with(tables);
    let running = file.serve(&format!("table = \"item\"\n{list}\n{SMALL}"));
    running.rows("/list");
    (file, running)
}

fn tell(file: &File, running: &Running, sql: &str, key: &str) {
    file.open().execute_batch(sql).unwrap();
    running.block_on(running.chunkflow.changed(&[Change::of("list", [key])])).unwrap();
}

#[test]
fn a_text_that_the_database_keeps_as_a_number_is_found_as_that_number() {
    let (file, running) = serve(
        "CREATE TABLE item (code STRING PRIMARY KEY NOT NULL, value TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n LIMIT 500)
         INSERT INTO item SELECT printf('%d', i), 'old' FROM n;",
        "",
    );
    tell(&file, &running, "UPDATE item SET value = 'new' WHERE code = '1234'", "1234");
    assert_eq!(running.rows("/list")[234], json!({"code": 1234, "value": "new"}));

    tell(&file, &running, "INSERT INTO item VALUES ('2000', 'came')", "2000");
    assert_eq!(running.rows("/list").len(), 501);
    tell(&file, &running, "DELETE FROM item WHERE code = '1300'", "1300");
    assert_eq!(running.rows("/list").len(), 500);
}

#[test]
fn a_row_that_a_condition_on_the_same_table_lets_in_or_out_is_seen_by_a_change_of_another() {
    let (file, running) = serve(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, parent_id INTEGER);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)
         INSERT INTO item SELECT i, NULL FROM n;",
        "where = \"NOT EXISTS (SELECT 1 FROM item child WHERE child.parent_id = item.id)\"",
    );
    tell(&file, &running, "INSERT INTO item VALUES (900, 5)", "900");
    let rows = running.rows("/list");
    assert!(rows[4]["id"] == 6 && rows[499]["id"] == 900, "{:?}", rows[4]);
}

#[test]
fn a_row_that_comes_to_meet_a_filter_or_to_the_end_of_a_list_is_in_it() {
    let (file, running) = serve(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, grp INTEGER NOT NULL);
         CREATE INDEX grp ON item (grp);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)
         INSERT INTO item SELECT i, i % 5 FROM n;",
        "filters = [\"grp\"]",
    );
    let one = || running.rows("/list?grp=eq.1").len();
    let other = || running.rows("/list?grp=in.(2,3)").len();
    assert_eq!((one(), other()), (100, 200));

    let before = running.misses();
    tell(&file, &running, "UPDATE item SET grp = 1 WHERE id = 5", "5");
    assert_eq!((one(), other()), (101, 200));
    assert!(running.misses() - before <= 2, "the lists of other groups stay as they are");

    tell(&file, &running, "INSERT INTO item VALUES (501, 3)", "501");
    assert_eq!((one(), other(), running.rows("/list").len()), (101, 201, 501));
    tell(&file, &running, "UPDATE item SET grp = 4 WHERE id = 5", "5");
    assert_eq!((one(), other()), (100, 201));
}
