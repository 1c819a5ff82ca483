//! Names lead to the tables and columns that have them, however alike they are, and a condition
//! stays within its own.

use serde_json::json;

use super::generated::{Resource, path, resources};
use crate::{
    servers::{Db, Kind, Server, every_kind, mariadb, postgres, sqlite},
    support::{Process, Running, binary, checked, parse, runtime},
};

fn init(db: &Db) -> String {
    let folder = tempfile::TempDir::new().unwrap();
    String::from_utf8(binary(&["init", &db.url()], folder.path()).output().unwrap().stdout).unwrap()
}

/// What is wrong with a configuration; nothing where it can be served.
fn refused(text: &str) -> String {
    match runtime().block_on(parse(text).unwrap().open()) {
        Ok(_) => String::new(),
        Err(complaints) => complaints.to_string(),
    }
}

#[test]
fn only_the_database_that_the_url_names_is_served_unasked() {
    let own = mariadb();
    let other = mariadb();
    let name = other.url().rsplit_once('/').unwrap().1.to_owned();
    other.execute(
        "CREATE TABLE secret_plan (id INT PRIMARY KEY, text VARCHAR(9)); INSERT INTO secret_plan VALUES (1, 'x');",
    );

    // A database that differs in its case alone is another one, and so is one that a foreign key
    // leads to.
    let twin = own.url().rsplit_once('/').unwrap().1.to_uppercase();
    own.execute(&format!(
        "CREATE DATABASE `{twin}`; CREATE TABLE `{twin}`.upper_only (id INT PRIMARY KEY);
         CREATE TABLE item (id INT PRIMARY KEY, plan INT, FOREIGN KEY (plan) REFERENCES `{name}`.secret_plan (id)); INSERT INTO item VALUES (1, 1);",
    ));

    let text = init(&own);
    assert!(text.contains("[resources.item]"), "{text}");
    assert!(!text.contains("secret_plan") && !text.contains("upper_only"), "{text}");
    let folder = tempfile::TempDir::new().unwrap();
    let server = Process::serve(&["serve", &own.url()], folder.path());
    assert_eq!(server.get("/item").results(), [json!({"id": 1, "plan": 1})]);
    for list in ["secret_plan", &format!("{name}.secret_plan"), "upper_only", &format!("{twin}.upper_only")] {
        assert_eq!(server.get(&format!("/{list}")).status, 404, "{list}");
    }

    // Who names it is served.
    let named = own.serve(&format!(
        "table = \"item\"\nfields = {{ id = \"id\", plan = {{ via = \"plan\", table = \"{name}.secret_plan\", column = \"text\" }} }}"
    ));
    assert_eq!(named.get("/list").results(), [json!({"id": 1, "plan": "x"})]);
    own.execute(&format!("DROP DATABASE `{twin}`"));
}

#[test]
fn a_url_of_mysql_that_names_no_database_is_refused_with_a_remedy() {
    let port = Server::shared(Kind::MariaDb).port;
    for url in [format!("mysql://chunkflow@127.0.0.1:{port}"), format!("mariadb://chunkflow@127.0.0.1:{port}/")] {
        let folder = tempfile::TempDir::new().unwrap();
        let output = binary(&["init", &url], folder.path()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty(), "{url}");
        assert!(told.contains("names no database") && told.contains("/DATABASE"), "{url}: {told}");
    }
}

#[test]
fn names_that_differ_in_their_case_alone_are_told_apart() {
    let db = postgres();
    db.execute(
        "CREATE TABLE item (\"K\" int, k int, \"Case\" text, PRIMARY KEY (\"K\", k)); INSERT INTO item SELECT i / 10, i % 10, 'x' || i FROM generate_series(1, 40) i;
         CREATE TABLE \"Item\" (id int PRIMARY KEY);",
    );

    let server = Running::config(&init(&db));
    let found: Vec<String> = super::walk_by(&server, "/item", "Case");
    assert_eq!(found, db.query("SELECT '\"' || \"Case\" || '\"' FROM item ORDER BY \"K\", k").unwrap().concat());
    assert_eq!(server.get("/Item").results().len(), 0);

    // Keys of several columns of tables that lie beside each other in every catalogue.
    let db = mariadb();
    let mut ddl = String::new();
    for name in ["item", "Item", "ITEM"] {
        ddl += &format!("CREATE TABLE `{name}` (a INT, b INT, id INT, PRIMARY KEY (a, b), KEY by_b (b, a));");
        ddl += &format!("INSERT INTO `{name}` SELECT seq DIV 10, seq % 10, seq FROM seq_1_to_40;");
    }

    db.execute(&ddl);
    let server = Running::config(&init(&db));
    for name in ["item", "Item", "ITEM"] {
        let expected: Vec<String> = (1..=40).map(|n: i32| n.to_string()).collect();
        assert_eq!(super::walk(&server, &format!("/{name}")), expected, "{name}");
    }
}

#[test]
fn related_tables_are_looked_for_in_the_resource_s_own_schema_first() {
    let db = postgres();
    for schema in ["public", "sales"] {
        db.execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};
             CREATE TABLE {schema}.orders (id int PRIMARY KEY, tag int); INSERT INTO {schema}.orders VALUES (1, 1);
             CREATE TABLE {schema}.line (id int PRIMARY KEY, orders int REFERENCES {schema}.orders, what text); CREATE INDEX ON {schema}.line (orders);
             INSERT INTO {schema}.line VALUES (1, 1, '{schema}');",
        ));
    }

    // One whose bare name leads elsewhere.
    db.execute("CREATE TABLE sales.note (id int PRIMARY KEY, line int REFERENCES public.line); INSERT INTO sales.note VALUES (1, 1)");
    for (table, expected) in [("orders", "public"), ("sales.orders", "sales")] {
        let server = db.serve(&format!(
            "table = \"{table}\"\nfields = {{ id = \"id\", lines = {{ from = \"line\", column = \"what\" }}, line = {{ via = \"id\", table = \"line\", column = \"what\" }} }}"
        ));
        assert_eq!(server.get("/list").results(), [json!({"id": 1, "lines": [expected], "line": expected})], "{table}");
    }

    // And `init` writes what leads to the table that it means.
    let text = init(&db).replace("# line = ", "line = ").replace("    # rows that point here", "#");
    let server = Running::config(&text);
    for (list, expected) in [("orders", "public"), ("sales.orders", "sales")] {
        assert_eq!(
            server.get(&format!("/{list}")).results()[0]["line"],
            json!([{"id": 1, "what": expected}]),
            "{text}"
        );
    }

    assert_eq!(server.get("/sales.note").results()[0]["line_row"], json!({"id": 1, "what": "public"}), "{text}");
}

#[test]
fn tables_with_dots_in_their_names_are_not_those_of_a_schema() {
    let db = postgres();
    db.execute(
        "CREATE SCHEMA a; CREATE TABLE a.b (id int PRIMARY KEY, what text); INSERT INTO a.b VALUES (1, 'in a schema');
         CREATE TABLE \"a.b\" (id int PRIMARY KEY, what text); INSERT INTO \"a.b\" VALUES (1, 'with a dot');",
    );
    let text = init(&db);
    let server = Running::config(&text);
    let what = |resource: &Resource| server.get(&path(&resource.name)).results()[0]["what"].to_string();
    let mut found: Vec<String> = resources(&text).iter().map(what).collect();
    found.sort();
    assert_eq!(found, ["\"in a schema\"", "\"with a dot\""], "{text}");
}

#[test]
fn a_view_with_a_declared_key_has_relations_as_a_table_has() {
    for db in every_kind() {
        db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(9)); CREATE VIEW seen AS SELECT id, name FROM item;
             CREATE TABLE tag (id INTEGER PRIMARY KEY, label VARCHAR(9)); CREATE TABLE item_tag (item INTEGER NOT NULL, tag INTEGER NOT NULL, PRIMARY KEY (item, tag));
             CREATE TABLE note (id INTEGER PRIMARY KEY, item INTEGER);
             INSERT INTO item VALUES (1, 'a'), (2, 'b'); INSERT INTO tag VALUES (1, 'x'), (2, 'y'); INSERT INTO item_tag VALUES (1, 1), (1, 2), (2, 1);
             INSERT INTO note VALUES (10, 2), (11, 2);",
        );
        let server = db.serve(
            "table = \"seen\"\nkey = [\"id\"]\nfields = { id = \"id\", tags = { through = \"item_tag\", on = \"item\", to = \"tag\", table = \"tag\", column = \"label\" }, \
             notes = { from = \"note\", on = \"item\", column = \"id\" } }",
        );
        let expected =
            [json!({"id": 1, "tags": ["x", "y"], "notes": []}), json!({"id": 2, "tags": ["x"], "notes": [10, 11]})];
        assert_eq!(server.get("/list").results(), expected, "{}", db.name());
    }
}

#[test]
fn a_text_key_of_sqlite_is_served_and_names_rows_in_relations() {
    let db = sqlite();
    db.execute(
        "CREATE TABLE country (k TEXT PRIMARY KEY, name TEXT); INSERT INTO country VALUES ('de', 'D'), (NULL, 'n1'), ('at', 'A'), (NULL, 'n2'), ('x', 'X');
         CREATE TABLE city (id INTEGER PRIMARY KEY, country TEXT REFERENCES country); CREATE INDEX by_country ON city (country);
         INSERT INTO city VALUES (1, 'de'), (2, 'at'), (3, 'de'), (4, NULL);
         CREATE TABLE pair (a TEXT, b INT, PRIMARY KEY (a, b)); INSERT INTO pair VALUES ('x', NULL), ('x', NULL), ('x', 1), (NULL, 1);",
    );

    let text = init(&db).replace("# city = ", "city = ").replace("    # rows that point here", "#");
    assert!(!text.contains("rowid\""), "{text}");
    assert_eq!(checked(&text), "");
    let server = Running::config(&text);
    assert_eq!(super::walk_by(&server, "/country", "name"), ["\"n1\"", "\"n2\"", "\"A\"", "\"D\"", "\"X\""]);
    assert_eq!(super::walk_by(&server, "/pair", "b"), ["1", "null", "null", "1"]);
    assert_eq!(server.get("/city").results()[0]["country_row"], json!({"k": "de", "name": "D"}), "{text}");
    let cities = server.get("/country?k=eq.de").results()[0]["city"].clone();
    assert_eq!(cities, json!([{"id": 1, "country": "de"}, {"id": 3, "country": "de"}]), "{text}");
}

#[test]
fn a_condition_that_does_not_stand_by_itself_is_refused() {
    for db in every_kind() {
        db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(9)); INSERT INTO item VALUES (1, 'a'), (2, ')');",
        );
        let of = |condition: &str| {
            let condition = condition.replace('\\', "\\\\").replace('"', "\\\"");
            db.config(&format!("table = \"item\"\nwhere = \"{condition}\""))
        };
        for wrong in [
            "id = 1) OR (1=1",
            "id = 1)) OR ((1=1",
            "1=1) -- (",
            "1=1) OR ('a' = ')'",
            "(id = 1",
            "id = 1)",
            "1=1; SELECT (1",
            "name = 'a",
            "1=1 /* (",
            "1=1) ORDER BY (id",
            "1=1) UNION SELECT * FROM item WHERE (1=1",
        ] {
            let told = refused(&of(wrong));
            assert!(told.contains("where") && told.contains("help:"), "{}: {wrong}: {told:?}", db.name());
        }
        for (right, rows) in [
            ("name = ')' -- (", 1),
            ("(id = 1) OR (name = ')')", 2),
            ("id IN (1, 2) /* ) */", 2),
            ("CASE WHEN id = 1 THEN 1 ELSE 0 END = 1", 1),
        ] {
            assert_eq!(Running::config(&of(right)).get("/list").results().len(), rows, "{}: {right}", db.name());
        }
    }
}

/// A column of each type that filters can be on, with a value of it; NULL in a second row.
fn filtered(db: &Db) -> Vec<(&'static str, &'static str)> {
    let usual = [
        ("INTEGER", "7"),
        ("SMALLINT", "7"),
        ("BIGINT", "7"),
        ("VARCHAR(9)", "'a'"),
        ("CHAR(3)", "'a'"),
        ("TEXT", "'a'"),
        ("DECIMAL(9, 2)", "1.50"),
        ("DOUBLE PRECISION", "1.5"),
        ("BOOLEAN", "TRUE"),
        ("DATE", "'2026-01-02'"),
        ("TIME", "'03:04:05'"),
        ("TIMESTAMP NULL", "'2026-01-02 03:04:05'"),
    ];

    let own: &[(&str, &str)] = match db.name() {
        "postgres" => &[
            ("uuid", "'00000000-0000-0000-0000-000000000001'"),
            ("timestamptz", "'2026-01-02 03:04:05Z'"),
            ("inet", "'10.0.0.1'"),
            ("interval", "'1 day'"),
            ("numeric", "1.5"),
            ("int[]", "'{1}'"),
            ("bit(3)", "'101'"),
            ("\"char\"", "'x'"),
        ],
        "mariadb" => &[
            ("ENUM('a', 'b')", "'a'"),
            ("SET('a', 'b')", "'a'"),
            ("YEAR", "2026"),
            ("BIT(3)", "b'101'"),
            ("VARBINARY(9)", "'a'"),
            ("UUID", "'00000000-0000-0000-0000-000000000001'"),
            ("INET6", "'::1'"),
        ],
        _ => &[("ANY", "'a'"), ("DATETIME", "'2026-01-02'"), ("UUID", "'x'"), ("REAL", "1.5")],
    };

    usual.iter().chain(own).copied().collect()
}

#[test]
fn nothing_is_in_an_empty_list_whatever_the_column_s_type() {
    for db in every_kind() {
        let types = filtered(&db);
        let named = || types.iter().enumerate().map(|(n, (kind, _))| (format!("c{n}"), *kind));
        let columns: Vec<String> = named().map(|(name, kind)| format!("{name} {kind}")).collect();
        let values: Vec<&str> = types.iter().map(|(_, value)| *value).collect();
        let nulls = vec!["NULL"; types.len()];
        db.execute(&format!(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, {}); INSERT INTO item VALUES (1, {}), (2, {})",
            columns.join(", "),
            values.join(", "),
            nulls.join(", ")
        ));
        let mut served = 0;
        for (name, kind) in named() {
            let resource = format!("table = \"item\"\norder = [\"-id\"]\nfilters = [\"id\", \"{name}\"]");
            // Some types are no filters, as `check` says.
            if !refused(&db.config(&resource)).is_empty() {
                continue;
            }
            served += 1;
            let server = db.serve(&resource);
            for filter in ["in.()", "in.()&id=gt.0", "in.()&limit=1"] {
                let target = format!("/list?{name}={filter}");
                let reply = server.get(&target);
                assert_eq!(reply.status, 200, "{} {kind}: {target}", db.name());
                assert_eq!(reply.results().len(), 0, "{} {kind}: {target}", db.name());
            }
            assert_eq!(server.get("/list").results().len(), 2, "{} {kind}", db.name());
        }
        assert!(served * 4 >= types.len() * 3, "{}: {served} of {}", db.name(), types.len());
    }
}

#[test]
fn nothing_is_in_an_empty_list() {
    for db in every_kind() {
        db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(9)); INSERT INTO item VALUES (1, 'a'), (2, NULL);",
        );
        let server = db.serve("table = \"item\"\nfilters = [\"id\", \"name\"]");
        for filter in ["id=in.()", "name=in.()", "id=in.()&name=eq.a"] {
            assert_eq!(server.get(&format!("/list?{filter}")).results().len(), 0, "{} {filter}", db.name());
        }
    }
}
