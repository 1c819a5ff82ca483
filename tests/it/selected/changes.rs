//! What told changes, a purge and a changed table mean for selections.

use chunkflow::Change;

use super::{ROWS, fill, serve};
use crate::{
    servers::every_kind,
    support::{Running, until},
};

const TARGET: &str = "/list?select=tags,note";

/// Tells a change of a row of a table.
fn told(server: &Running, change: Change) {
    server.block_on(server.chunkflow.changed(&[change])).unwrap();
}

/// How many chunks a request had to load.
fn cost(server: &Running, target: &str) -> u64 {
    let before = server.chunkflow.metrics().misses();
    server.get(target);
    server.chunkflow.metrics().misses() - before
}

#[test]
fn a_told_change_of_a_row_is_in_every_selection_and_costs_its_chunk() {
    for db in every_kind() {
        fill(&db);
        let server = serve(&db, "");
        for target in [TARGET, "/list?select=id", "/list"] {
            server.get(target);
            assert_eq!(cost(&server, target), 0, "{}: {target} is warm", db.name());
        }

        db.execute("UPDATE item SET note = 'changed' WHERE id = 150");
        told(&server, Change::of("list", ["150"]));
        for target in [TARGET, "/list"] {
            let cost = cost(&server, target);
            assert!((1..=2).contains(&cost), "{}: {target} costs {cost}", db.name());
            assert_eq!(server.get(target).results()[149]["note"], "changed", "{}: {target}", db.name());
        }

        db.execute("DELETE FROM item_tag WHERE item_id = 200; DELETE FROM comment WHERE item_id = 200; DELETE FROM item WHERE id = 200");
        told(&server, Change::of("list", ["200"]));
        assert_eq!(server.get(TARGET).results().len(), ROWS as usize - 1);
        assert_eq!(server.get("/list?select=id").results().len(), ROWS as usize - 1);
    }
}

#[test]
fn a_told_change_of_a_related_row_touches_the_selections_that_show_it_and_no_other() {
    for db in every_kind() {
        fill(&db);
        let server = serve(&db, "");
        let targets = [TARGET, "/list?select=comments,editor", "/list?select=id,price"];
        targets.iter().for_each(|target| drop(server.get(target)));

        db.execute("UPDATE tag SET name = 'changed' WHERE id = 3");
        told(&server, Change::of("list", ["3"]).in_table("tag"));
        assert_eq!(cost(&server, targets[1]), 0, "{}: neither comments nor editors are tags", db.name());
        assert_eq!(cost(&server, targets[2]), 0, "{}", db.name());
        assert!(cost(&server, TARGET) > 0, "{}", db.name());
        let shown = String::from_utf8(server.get(TARGET).body).unwrap();
        assert!(shown.contains("\"changed\"") && !shown.contains("tag \\\"3"), "{}", db.name());

        db.execute("UPDATE author SET name = 'changed' WHERE id = 2");
        told(&server, Change::of("list", ["2"]).in_table("author"));
        assert_eq!(cost(&server, TARGET), 0, "{}", db.name());
        let shown = String::from_utf8(server.get(targets[1]).body).unwrap();
        assert!(shown.contains("\"changed\"") && !shown.contains("author, 2"), "{}", db.name());
    }
}

#[test]
fn a_purge_of_a_list_forgets_its_selections() {
    for db in every_kind() {
        fill(&db);
        let server = serve(&db, "");
        server.get(TARGET);
        db.execute("UPDATE item SET note = 'changed' WHERE id = 1");
        assert_eq!(cost(&server, TARGET), 0);

        server.block_on(server.purge("list")).unwrap();
        assert_eq!(server.get(TARGET).results()[0]["note"], "changed", "{}", db.name());
    }
}

#[test]
fn a_table_that_changes_is_looked_at_again_for_a_selection() {
    for db in every_kind() {
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, a VARCHAR(20), b VARCHAR(20)); INSERT INTO item VALUES (1, 'x', 'y')");
        let server = db.serve("table = \"item\"\nttl = \"0s\"\nstale = \"0s\"");
        assert_eq!(server.get("/list?select=b,a").results().len(), 1);

        // Not even a column that the selection does not show goes unnoticed: all is one list.
        db.execute("ALTER TABLE item DROP COLUMN a");
        until("the list is made again", || server.get("/list?select=b").status == 200);
        assert_eq!(server.get("/list?select=b,id").body, br#"{"results":[{"b":"y","id":1}]}"#, "{}", db.name());
        assert_eq!(server.get("/list?select=b,a").status, 400, "{}", db.name());
        assert_eq!(server.get("/list").body, br#"{"results":[{"id":1,"b":"y"}]}"#, "{}", db.name());
    }
}
