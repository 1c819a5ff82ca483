//! Properties of order: every row once, as the database itself sorts, whatever the order and
//! wherever it is cut.

use proptest::{prelude::*, test_runner::TestRunner};

use super::walk;
use crate::servers::{Db, every_kind, postgres};

/// A row: small numbers, texts that collations find alike, and NULL.
fn cell() -> impl Strategy<Value = (Option<i8>, Option<&'static str>, Option<&'static str>)> {
    let texts = ["a", "A", "á", "b", "B", "", " ", "z", "ß", "ss", "_", "10", "9", "é", "e"];
    (
        prop::option::of(-2i8..3),
        prop::option::of(prop::sample::select(texts.to_vec())),
        prop::option::of(prop::sample::select(vec!["1.5", "-2.25", "0.00", "1000000.01"])),
    )
}

fn check(
    db: &Db,
    columns: &str,
    rows: &[(Option<i8>, Option<&str>, Option<&str>)],
    order: &[(&str, bool)],
) -> Result<(), TestCaseError> {
    db.execute("DROP TABLE IF EXISTS item");
    db.execute(&format!("CREATE TABLE item (id INTEGER PRIMARY KEY, {columns})"));
    let quoted = |text: &Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
    for (id, (a, b, c)) in rows.iter().enumerate() {
        let a = a.map_or("NULL".to_owned(), |a| a.to_string());
        db.execute_later(&format!("INSERT INTO item VALUES ({id}, {a}, {}, {});", quoted(b), quoted(c)));
    }

    db.execute_now();
    let names: Vec<String> =
        order.iter().map(|(name, down)| format!("\"{}{name}\"", if *down { "-" } else { "" })).collect();
    let server = db.serve(&format!(
        "table = \"item\"\norder = [{}]\nchunk_rows = 3\nchunk_bytes = \"1B\"\nfields = {{ id = \"id\" }}",
        names.join(", ")
    ));
    let terms: Vec<String> = order
        .iter()
        .map(|(name, down)| format!("{name}{}", if *down { " DESC" } else { "" }))
        .chain(["id".into()])
        .collect();
    let expected = db.query(&format!("SELECT id FROM item ORDER BY {}", terms.join(", "))).unwrap().concat();
    let whole: Vec<String> = server.get("/list").results().iter().map(|row| row["id"].to_string()).collect();
    prop_assert_eq!(&whole, &expected, "{} {:?}", db.name(), order);
    prop_assert_eq!(walk(&server, "/list"), expected, "{} {:?}, row by row", db.name(), order);
    Ok(())
}

#[test]
fn any_order_gives_every_row_once_and_as_the_database_sorts_them() {
    let databases = every_kind();
    let rows = prop::collection::vec(cell(), 0..40);
    let order = prop::sample::subsequence(vec!["a", "b", "c"], 0..=3).prop_shuffle();
    let mut runner = TestRunner::new(ProptestConfig { cases: 12, ..ProptestConfig::default() });
    runner
        .run(&(rows, order, prop::array::uniform3(any::<bool>()), any::<bool>()), |(rows, order, down, nullable)| {
            let not_null = if nullable { "" } else { " NOT NULL" };
            let columns = format!("a SMALLINT{not_null}, b VARCHAR(20){not_null}, c NUMERIC(12,2){not_null}");
            let rows: Vec<_> = rows
                .into_iter()
                .map(|(a, b, c)| if nullable { (a, b, c) } else { (a.or(Some(0)), b.or(Some("")), c.or(Some("0.00"))) })
                .collect();
            let order: Vec<(&str, bool)> = order.into_iter().zip(down).collect();
            databases.iter().try_for_each(|db| check(db, &columns, &rows, &order))
        })
        .unwrap();
}

#[test]
fn texts_are_ordered_by_their_collation_whatever_it_finds_alike() {
    let db = postgres();
    db.execute("CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false)");
    let rows: Vec<_> =
        ["b", "A", "á", "a", "B", "", "ss", "ß", "z"].iter().map(|text| (Some(0), Some(*text), None)).collect();
    for collation in ["\"C\"", "\"und-x-icu\"", "blind", "\"de-x-icu\""] {
        for down in [false, true] {
            let columns = format!("a SMALLINT, b VARCHAR(20) COLLATE {collation}, c NUMERIC(12,2)");
            check(&db, &columns, &rows, &[("b", down)]).unwrap();
        }
    }
}

#[test]
fn a_declared_key_tells_apart_what_a_collation_does_not() {
    let db = postgres();
    db.execute(
        "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
         CREATE TABLE item (id INTEGER, name text COLLATE blind);
         INSERT INTO item VALUES (1, 'a'), (2, 'A'), (3, 'á'), (4, 'b');
         CREATE VIEW list AS SELECT * FROM item",
    );
    let server = db.serve("table = \"list\"\nkey = [\"name\"]");
    let mut found = walk(&server, "/list");
    found.sort();
    assert_eq!(found, ["1", "2", "3", "4"]);
}
