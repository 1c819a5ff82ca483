//! One suite of promises for every kind of database: what holds for one holds for all.

mod broken;
mod connect;
mod failures;
mod forms;
mod generated;
mod hidden;
mod large;
mod load;
pub mod mariadb;
mod names;
mod order;
mod paths;
mod raising;
mod schema;
mod secrets;
mod trees;
pub mod types;
mod wild;

use serde_json::{Value, json};

use crate::{
    servers::{Db, every_kind},
    support::{Running, forged, next_cursor},
};

/// All ids of a list, one row a request: behind each row the next one must be found.
fn walk(server: &Running, target: &str) -> Vec<String> {
    walk_by(server, target, "id")
}

/// The same by another column.
fn walk_by(server: &Running, target: &str, column: &str) -> Vec<String> {
    let path = target.split('?').next().unwrap();
    let mut next = format!("{target}{}limit=1", if target.contains('?') { '&' } else { '?' });
    let mut found = vec![];
    loop {
        let reply = server.get(&next);
        found.extend(reply.results().iter().map(|row| row[column].to_string()));
        match reply.next(path) {
            Some(link) => next = link,
            None => return found,
        }
    }
}

/// The numbers in a JSON array of objects with `id`.
fn ids(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

#[test]
fn the_same_list_is_the_same_json_from_every_database() {
    let mut bodies: Vec<(&str, Vec<Value>)> = vec![];
    for db in every_kind() {
        db.execute(
            "CREATE TABLE category (id INTEGER PRIMARY KEY, name VARCHAR(100));
             CREATE TABLE item (id INTEGER PRIMARY KEY, title VARCHAR(100), price NUMERIC(10,2), ratio DOUBLE PRECISION, big BIGINT, parent INTEGER REFERENCES item (id));
             CREATE TABLE item_category (id INTEGER PRIMARY KEY, item_id INTEGER REFERENCES item (id), category_id INTEGER REFERENCES category (id));
             CREATE TABLE comment (id INTEGER PRIMARY KEY, item_id INTEGER REFERENCES item (id), text VARCHAR(200));",
        );
        for id in 1..=5 {
            db.execute(&format!("INSERT INTO category VALUES ({id}, 'c\"{id}')"));
        }
        for id in 1..=1500 {
            let parent = if id % 3 == 0 { format!("{}", id / 3) } else { "NULL".into() };
            db.execute_later(&format!(
                "INSERT INTO item VALUES ({id}, 'title {id} é', {id}.25, {id}.5e-3, {}, {parent});",
                9_007_199_254_740_993i64 + id
            ));
            for category in 0..id % 4 {
                db.execute_later(&format!(
                    "INSERT INTO item_category VALUES ({}, {id}, {});",
                    id * 10 + category,
                    1 + (id + category) % 5
                ));
            }
            if id % 100 == 0 {
                db.execute_later(&format!(
                    "INSERT INTO comment VALUES ({id}, {id}, 'first'); INSERT INTO comment VALUES ({}, {id}, NULL);",
                    id + 5000
                ));
            }
        }
        db.execute_now();
        let server = db.serve(
            "table = \"item\"\nfields = { id = \"id\", title = \"title\", ratio = \"ratio\", big = \"big\", link = { link = \"/item/{id}/\" }, \
             parent = { via = \"parent\", columns = [\"id\", \"title\"] }, \
             categories = { through = \"item_category\", table = \"category\", column = \"name\" }, \
             comments = { from = \"comment\", columns = [\"id\", \"text\"] } }",
        );
        let body = server.get("/list").results();
        assert_eq!(body.len(), 1500, "{}", db.name());
        bodies.push((db.name(), body));
    }

    let (_, first) = &bodies[0];
    assert_eq!(first[2]["categories"].as_array().unwrap().len(), 3);
    assert_eq!(first[2]["parent"], json!({"id": 1, "title": "title 1 é"}));
    for (name, body) in &bodies {
        for (index, row) in body.iter().enumerate() {
            assert_eq!(row, &first[index], "{name}");
        }
    }
}

#[test]
fn check_says_what_is_slow_and_its_remedies_mend_it() {
    for db in every_kind() {
        db.execute(
            "CREATE TABLE category (id INTEGER PRIMARY KEY, name VARCHAR(100));
             CREATE TABLE item (id INTEGER PRIMARY KEY, made INTEGER NOT NULL, kind INTEGER NOT NULL, note INTEGER);
             CREATE TABLE item_category (id INTEGER PRIMARY KEY, item_id INTEGER, category_id INTEGER);
             CREATE TABLE comment (id INTEGER PRIMARY KEY, item_id INTEGER, text VARCHAR(200));
             INSERT INTO item VALUES (1, 1, 1, NULL), (2, 2, 1, 3)",
        );
        let config = db.config(
            "table = \"item\"\norder = [\"-made\", \"-kind\"]\n[resources.list.fields]\nid = \"id\"\nmade = \"made\"\nkind = \"kind\"\n\
             categories = { through = \"item_category\", on = \"item_id\", to = \"category_id\", table = \"category\", column = \"name\" }\n\
             comments = { from = \"comment\", on = \"item_id\", column = \"text\" }\n",
        );
        let check = || crate::support::checked(&config);
        let mut rounds = 0;
        loop {
            let told = check();
            let remedies: Vec<&str> =
                told.lines().filter_map(|line| line.split_once("help: ")).map(|(_, remedy)| remedy).collect();
            if remedies.is_empty() {
                break;
            }
            assert_eq!((rounds, remedies.len()), (0, 3), "{}: {told}", db.name());
            for remedy in remedies {
                db.execute(remedy);
            }
            rounds += 1;
        }
        assert_eq!(rounds, 1, "{}: the order and both relations were told of", db.name());
        let nullable = config.replace("\"-kind\"", "\"note\"");
        let told = crate::support::checked(&nullable);
        assert!(told.contains("column `note` of the order can be NULL"), "{}: {told}", db.name());
    }
}

#[test]
fn check_names_the_heirs_and_partitions_that_lack_an_index_and_its_remedies_mend_it() {
    let db = crate::servers::postgres();
    db.execute(
        "CREATE TABLE item (id int PRIMARY KEY, made int NOT NULL);
         CREATE INDEX ON item (made DESC, id);
         CREATE TABLE old_item () INHERITS (item);
         CREATE TABLE \"older Item\" () INHERITS (old_item);
         CREATE TABLE indexed_item () INHERITS (item);
         CREATE INDEX ON indexed_item (made DESC, id);
         INSERT INTO item VALUES (1, 1); INSERT INTO old_item VALUES (2, 1); INSERT INTO \"older Item\" VALUES (3, 1);
         CREATE TABLE comment (id int PRIMARY KEY, item_id int, text text);
         CREATE INDEX ON comment (item_id);
         CREATE TABLE old_comment (PRIMARY KEY (id)) INHERITS (comment);
         CREATE TABLE visit (id int PRIMARY KEY, item_id int) PARTITION BY RANGE (id);
         CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (1) TO (100);
         CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM (100) TO (200)",
    );

    let config = db.config(
        "table = \"item\"\norder = [\"-made\"]\nkey = [\"id\"]\n[resources.list.fields]\nid = \"id\"\nmade = \"made\"\n\
         comments = { from = \"comment\", on = \"item_id\", column = \"text\" }\n\
         visits = { from = \"visit\", on = \"item_id\", column = \"id\" }\n",
    );

    let told = crate::support::checked(&config);
    let remedies: Vec<&str> =
        told.lines().filter_map(|line| line.split_once("help: ")).map(|(_, remedy)| remedy).collect();
    let indexed = |remedy: &str| remedy.split("; ").map(|one| one.split(" ON ").nth(1).unwrap().to_owned()).collect();
    let on: Vec<Vec<String>> = remedies.iter().map(|remedy| indexed(remedy)).collect();
    let columns = "(\"made\" DESC, \"id\")";
    let heirs = [format!("\"public\".\"old_item\" {columns}"), format!("\"public\".\"older Item\" {columns}")];
    assert_eq!(on[0], heirs, "{told}");
    assert_eq!(on[1], ["\"public\".\"old_comment\" (\"item_id\")"], "{told}");
    assert_eq!(on[2], ["\"public\".\"visit\" (\"item_id\")"], "{told}");
    remedies.iter().for_each(|remedy| db.execute(remedy));
    assert_eq!(crate::support::checked(&config), "");
}

fn filtered() -> impl Iterator<Item = (Db, Running)> {
    every_kind().into_iter().map(|db| {
        db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40), price NUMERIC(10,2), made TIMESTAMP NULL);
             INSERT INTO item VALUES (1, 'one', 1.50, '2026-01-01 00:00:00'), (2, 'two', 2.50, '2026-01-02 00:00:00'), (3, NULL, NULL, NULL), (4, 'it''s 100%', 10.00, '2026-01-03 00:00:00');",
        );
        let server = db.serve("table = \"item\"\nwhere = \"id < 100 -- all of them\"\nfilters = [\"id\", \"name\", \"price\", \"made\"]");
        (db, server)
    })
}

#[test]
fn filters_compare_as_the_columns_type_does_and_values_are_bound() {
    for (db, server) in filtered() {
        let found = |query: &str| ids(&server.get(&format!("/list?{query}")).results());
        for (query, expected) in [
            ("id=gt.1&id=lte.3", vec![2, 3]),
            ("id=in.(4,1,99)", vec![1, 4]),
            ("name=eq.one", vec![1]),
            ("name=neq.one", vec![2, 4]),
            ("name=is.null", vec![3]),
            ("name=is.not_null&id=neq.2", vec![1, 4]),
            ("name=like.*o*", vec![1, 2]),
            ("name=eq.it's%20100%25", vec![4]),
            ("price=gte.2.5", vec![2, 4]),
            ("price=in.(1.5,10)", vec![1, 4]),
            ("made=gt.2026-01-01%2012:00:00", vec![2, 4]),
            ("name=eq.x'%20OR%201=1%20--%20", vec![]),
        ] {
            assert_eq!(found(query), expected, "{} {query}", db.name());
        }
        for wrong in ["id=eq.x", "id=gt.1%20OR%201=1", "price=lt.many", "password=eq.x", "id=is.maybe"] {
            let reply = server.get(&format!("/list?{wrong}"));
            assert_eq!(reply.status, 400, "{} {wrong}: {}", db.name(), String::from_utf8_lossy(&reply.body));
        }
        if db.name() != "sqlite" {
            // SQLite has no type for moments, and compares them as the texts they are.
            assert_eq!(server.get("/list?made=gt.yesterdayish").status, 400, "{}", db.name());
        }
    }
}

#[test]
fn limits_and_places_go_on_where_they_ended_in_every_database() {
    for (db, server) in filtered() {
        assert_eq!(walk(&server, "/list"), ["1", "2", "3", "4"], "{}", db.name());
        assert_eq!(walk(&server, "/list?id=gt.1"), ["2", "3", "4"], "{}", db.name());
        assert_eq!(ids(&server.get("/list?limit=3").results()), [1, 2, 3]);
    }
}

#[test]
fn a_forged_cursor_is_a_place_or_a_bad_request_and_never_more() {
    use chunkflow::source::{Cursor, Value};
    for (db, server) in filtered() {
        let reply = server.get("/list?limit=1");
        let real = next_cursor(&reply);
        assert_eq!(forged(&real, &Cursor::after(&[Value::Integer(1)]).unwrap()), real, "the test forges as it should");
        for value in [
            Value::Text(b"1); DROP TABLE item; --"),
            Value::Text(b"1 OR 1=1"),
            Value::Text(b"\x00\xff"),
            Value::Blob(b"\x00\xff'"),
            Value::Null,
            Value::Real(f64::NAN),
            Value::Real(1e300),
            Value::Integer(i64::MIN),
            Value::Decimal(b"99999999999999999999999999999"),
            Value::Bool(true),
        ] {
            let forged = forged(&real, &Cursor::after(&[value]).unwrap());
            let reply = server.get(&format!("/list?after={forged}"));
            let told = String::from_utf8_lossy(&reply.body);
            assert!([200, 400].contains(&reply.status), "{} {value:?}: {told}", db.name());
        }
        assert_eq!(server.get("/list").results().len(), 4, "{}", db.name());
    }
}

#[test]
fn hostile_texts_are_values_wherever_they_come_from() {
    use proptest::{prelude::*, test_runner::TestRunner};
    let servers: Vec<_> = filtered().collect();
    let mut runner = TestRunner::new(ProptestConfig { cases: 60, ..ProptestConfig::default() });
    let texts = "[\\PC&&[^*%_]]{0,12}|['\";\\\\$?{}()-]{1,8}|'; DROP TABLE item; --|\\) OR \\(1=1";
    runner
        .run(&(texts, 0usize..4), |(text, operator)| {
            let operator = ["eq", "neq", "gt", "like"][operator];
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
            for (db, server) in &servers {
                let reply = server.get(&format!("/list?name={operator}.{encoded}"));
                prop_assert!(reply.status == 200 || reply.status == 400, "{} {text:?}: {}", db.name(), reply.status);
                if reply.status == 200 && operator == "eq" {
                    let same = |name: &str| name.to_lowercase() == text.to_lowercase().trim_end();
                    let all = reply.results().iter().all(|row| row["name"].as_str().is_some_and(same));
                    prop_assert!(all, "{} {text:?}", db.name());
                }
                for parameter in ["id", "price", "nonsense", &text] {
                    let name = percent_encoding::utf8_percent_encode(parameter, percent_encoding::NON_ALPHANUMERIC);
                    let status = server.get(&format!("/list?{name}={operator}.{encoded}")).status;
                    prop_assert!(status == 200 || status == 400, "{} {parameter:?} {text:?}: {status}", db.name());
                }
                prop_assert_eq!(server.get("/list").results().len(), 4, "{}", db.name());
            }
            Ok(())
        })
        .unwrap();
}
