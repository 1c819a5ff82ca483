//! `/openapi.json` is valid, describes each row correctly, and serves a client generator
//! (`tests/openapi`).

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    databases::{mariadb::MARIADB, types::POSTGRES},
    servers::{Db, every_kind, mariadb, postgres, sqlite},
    support::{Numbers, Running, ask, serve_numbers},
};

/// Runs the program that compares the description with the server; returns its report.
fn checked(server: &Running, how: &[&str]) -> Value {
    let url = format!("http://{}", server.address);
    let output = Command::new("tests/openapi/check").arg(url).args(how).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The members of the rows of `/list`; checks that all rows match their description.
fn described(server: &Running) -> Value {
    let said = checked(server, &[]);
    for (path, problems) in said["problems"].as_object().unwrap() {
        assert_eq!(*problems, json!([]), "{path}");
    }
    said["schemas"]["/list"]["properties"].clone()
}

fn types(members: &Value, expected: &[(&str, Value)]) {
    for (name, schema) in expected {
        assert_eq!(members[name], *schema, "{name}");
    }
}

#[test]
fn each_row_of_every_type_of_postgresql_is_as_described() {
    let db = postgres();
    db.execute(POSTGRES);
    let members = described(&db.serve("table = \"item\""));
    types(
        &members,
        &[
            ("id", json!({ "type": "integer" })),
            ("b", json!({ "type": ["boolean", "null"] })),
            ("i8", json!({ "type": ["integer", "null"] })),
            ("n", json!({ "type": ["number", "null"] })),
            ("ts", json!({ "type": ["string", "null"] })),
            ("u", json!({ "type": ["string", "null"], "format": "uuid" })),
            ("ba", json!({ "type": ["string", "null"], "contentEncoding": "base64" })),
            ("ai", json!({ "type": ["array", "null"] })),
            ("jb", json!({})),
        ],
    );

    // NOT NULL, but no number.
    db.execute(
        "CREATE TABLE other (id int PRIMARY KEY, f float8 NOT NULL, n numeric NOT NULL, t timestamp NOT NULL);
         INSERT INTO other VALUES (1, 'NaN', 'NaN', 'infinity'), (2, 1, 2, '2026-01-01')",
    );

    let members = described(&db.serve("table = \"other\""));
    types(
        &members,
        &[
            ("f", json!({ "type": ["number", "null"] })),
            ("n", json!({ "type": ["number", "null"] })),
            ("t", json!({ "type": "string" })),
        ],
    );
}

#[test]
fn each_row_of_every_type_of_mariadb_is_as_described() {
    let db = mariadb();
    db.execute(MARIADB);
    let members = described(&db.serve("table = \"item\""));
    types(&members, &[("id", json!({ "type": "integer" }))]);
}

#[test]
fn each_row_of_sqlite_is_as_described_whatever_its_columns_hold() {
    let db = sqlite();
    let any =
        "(1, 1, 'x', 1, 1), (2, 'x', 1.5, 'x', 2.5), (3, x'00ff', x'00ff', x'00', x'01'), (4, 1.5, NULL, 9e999, 'y')";
    db.execute(&format!(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, i INTEGER NOT NULL, t TEXT, r REAL NOT NULL, d DATETIME NOT NULL);
         INSERT INTO item VALUES {any};
         CREATE TABLE strict (id INTEGER PRIMARY KEY, i INT NOT NULL, t TEXT NOT NULL, r REAL NOT NULL, b BLOB, a ANY) STRICT;
         INSERT INTO strict VALUES (1, 1, 'x', 9e999, x'00', 'x'), (2, 2, 'y', 1.5, NULL, 1);
         CREATE VIEW seen AS SELECT id, t FROM item UNION ALL SELECT 10, 5;",
    ));
    let any = json!({ "type": ["integer", "number", "string", "null"] });
    let members = described(&db.serve("table = \"item\""));
    types(
        &members,
        &[
            ("id", json!({ "type": "integer" })),
            ("i", any.clone()),
            ("t", json!({ "type": ["string", "null"] })),
            ("r", any.clone()),
        ],
    );

    let members = described(&db.serve("table = \"strict\""));
    types(
        &members,
        &[
            ("i", json!({ "type": "integer" })),
            ("t", json!({ "type": "string" })),
            ("r", json!({ "type": ["number", "null"] })),
            ("b", json!({ "type": ["string", "null"], "contentEncoding": "base64" })),
            ("a", json!({})),
        ],
    );

    let members = described(&db.serve("table = \"seen\"\nkey = [\"id\"]"));
    types(&members, &[("t", any)]);
}

fn shop(db: &Db) {
    db.execute(
        "CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL);
         CREATE TABLE item (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES author (id), slug VARCHAR(40) NOT NULL,
             state VARCHAR(10), price NUMERIC(10, 2) NOT NULL);
         CREATE TABLE comment (id INTEGER PRIMARY KEY, item_id INTEGER NOT NULL REFERENCES item (id), words VARCHAR(40));
         INSERT INTO author VALUES (1, 'Ada');
         INSERT INTO item VALUES (1, 1, 'a b', 'p', 1.5), (2, NULL, 'c', 'x', 2), (3, 1, 'd', NULL, 3);
         INSERT INTO comment VALUES (1, 1, 'first'), (2, 1, NULL);",
    );
}

const SHOP: &str = r#"table = "item"
count = true
values = "django"

[resources.list.fields]
id = "id"
url = { link = "/items/{slug}/" }
state_url = { link = "/states/{state}/" }
state = { column = "state", labels = { p = "Published" } }
price = { column = "price", decimals = 2 }
place = { cursor = true }
author = { via = "author_id", column = "name" }
author_object = { via = "author_id", columns = ["id", "name"] }
comments = { from = "comment", column = "words" }
comment_objects = { from = "comment", columns = ["id", "words"] }
"#;

#[test]
fn related_rows_links_and_values_in_another_form_are_as_described_in_every_database() {
    for db in every_kind() {
        shop(&db);
        let members = described(&db.serve(SHOP));
        let types_of = |name: &str| members[name]["type"].clone();
        assert_eq!(types_of("url"), json!("string"), "{}", db.name());
        assert_eq!(types_of("state_url"), json!(["string", "null"]));
        assert_eq!(types_of("price"), json!("string"));
        assert_eq!(types_of("author"), json!(["string", "null"]));
        assert_eq!(members["author_object"]["required"], json!(["id", "name"]));
        assert_eq!(types_of("author_object"), json!(["object", "null"]));
        assert_eq!(types_of("comments"), json!("array"));
        assert_eq!(members["comment_objects"]["items"]["properties"]["id"]["type"], json!("integer"));
    }
}

#[test]
fn a_client_that_is_generated_from_the_description_reads_each_list() {
    for db in every_kind() {
        shop(&db);
        let config = format!("{}\n[resources.\"a b/中\"]\ndatabase = \"main\"\ntable = \"author\"\n", db.config(SHOP));
        let said = checked(&Running::config(&config), &["client"]);
        assert_eq!((&said["/list"]["rows"], &said["/list"]["limited"]), (&json!(3), &json!(2)), "{}", db.name());
        assert_eq!(said["/list"]["first"]["comment_objects"][0]["words"], "first");
        assert_eq!(said["/a%20b%2F%E4%B8%AD"]["first"], json!({ "id": 1, "name": "Ada" }));
    }
}

#[test]
fn the_description_is_read_and_not_written_and_takes_no_other_parameter() {
    let server = serve_numbers(&Numbers::new(3, 3));
    let whole = server.get("/openapi.json");
    assert_eq!((whole.status, whole.header("content-type")), (200, "application/json; charset=utf-8"));
    assert_eq!((whole.header("cache-control"), &whole.json()["openapi"]), ("no-store", &json!("3.1.0")));
    assert_eq!(server.get("/openapi.json?openapi=3.2").json()["openapi"], "3.2.0");
    assert_eq!(server.get("/openapi.json?openapi=2").status, 400);
    assert_eq!(
        ask(server.address, "HEAD", "/openapi.json", &[]).header("content-length"),
        whole.body.len().to_string()
    );
    let posted = ask(server.address, "POST", "/openapi.json", &[]);
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));
    let base = &whole.json()["servers"][0]["url"];
    assert_eq!(*base, json!("http://localhost"));
}
