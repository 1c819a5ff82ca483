//! SQLite's storage classes in columns of every declared type.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{super::walk, Differences, raw_values};
use crate::{servers::sqlite, support::File};

/// Types as SQLite's tables declare them, those of its documentation and of frameworks.
const DECLARED: [&str; 27] = [
    "",
    "INT",
    "INTEGER",
    "TINYINT",
    "UNSIGNED BIG INT",
    "INT8",
    "CHARACTER(20)",
    "VARCHAR(255)",
    "NVARCHAR(100)",
    "TEXT",
    "CLOB",
    "BLOB",
    "REAL",
    "DOUBLE PRECISION",
    "FLOAT",
    "NUMERIC",
    "DECIMAL(10,5)",
    "BOOLEAN",
    "DATE",
    "DATETIME",
    "TIMESTAMP",
    "UUID",
    "STRING",
    "GEOMETRY",
    "JSON",
    "ANY",
    "FLOATING POINT",
];

/// A value of every storage class, at its ends.
const STORED: [&str; 24] = [
    "NULL",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "0.1",
    "-0.0",
    "1e300",
    "5e-324",
    "9e999",
    "-9e999",
    "3.0",
    "''",
    "'text'",
    "'12'",
    "'012'",
    "'1e5'",
    "'NaN'",
    "char(0, 1, 8232)",
    "x''",
    "x'00ff'",
    "'2026-01-02 03:04:05'",
    "'{\"a\": [1, 2.50]}'",
];

#[test]
fn every_value_of_every_declared_type_of_sqlite_stands_as_sql_says_it() {
    let mut differences = Differences::default();
    for declared in DECLARED {
        let rows: Vec<String> = STORED.iter().enumerate().map(|(id, value)| format!("({id}, {value})")).collect();
        let db = sqlite();
        db.execute(&format!(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, v {declared}, g {declared} GENERATED ALWAYS AS (v) VIRTUAL, n {declared} DEFAULT (1 + 1));
             INSERT INTO item (id, v) VALUES {}; CREATE INDEX item_v ON item (v);",
            rows.join(", ")
        ));
        let said = "CASE typeof(v) WHEN 'null' THEN 'null' WHEN 'integer' THEN v WHEN 'real' THEN CASE WHEN abs(v) > 1.7976931348623157e308 THEN 'null' ELSE printf('%!.17g', v) END
            WHEN 'text' THEN json_quote(v) ELSE '\"' || hex(v) || '\"' END";
        let expected = db.query(&format!("SELECT {said}, typeof(v), hex(v) FROM item ORDER BY id")).unwrap();
        for column in ["v", "g"] {
            let server = db.serve(&format!("table = \"item\"\nfields = {{ v = \"{column}\" }}"));
            let shown = raw_values(&server, "list");
            let mut not_json = 0;
            for ((shown, row), value) in shown.iter().zip(&expected).zip(STORED) {
                let what = format!("{value} in {declared} ({column})");
                match &*row[1] {
                    "blob" => {
                        let hex = &row[2];
                        let bytes: Vec<u8> = (0..hex.len() / 2)
                            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                            .collect();
                        assert_eq!(*shown, json!(STANDARD.encode(bytes)).to_string(), "{what}");
                    }
                    "real" if row[0] != "null" => {
                        assert_eq!(shown.parse::<f64>().unwrap(), row[0].parse::<f64>().unwrap(), "{what}");
                    }
                    "text" if declared == "JSON" => {
                        let text: String = serde_json::from_str(&row[0]).unwrap();
                        match serde_json::from_str::<Value>(&text) {
                            Ok(inner) => assert_eq!(serde_json::from_str::<Value>(shown).unwrap(), inner, "{what}"),
                            Err(_) => {
                                not_json += 1;
                                differences.compare(shown, &row[0], false, &what);
                            }
                        }
                    }
                    _ => differences.compare(shown, &row[0], false, &what),
                }
            }
            let metrics = server.chunkflow.metrics();
            assert_eq!([metrics.values_without_form(), metrics.replaced_utf8()], [not_json, 0], "{declared}");
        }
        let order = db.serve("table = \"item\"\norder = [\"v\"]\nfields = { id = \"id\" }");
        assert_eq!(
            walk(&order, "/list"),
            db.query("SELECT id FROM item ORDER BY v, id").unwrap().concat(),
            "{declared}"
        );
    }

    differences.none();
    let strict = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, i INT, t TEXT, b BLOB, r REAL, a ANY) STRICT; INSERT INTO item VALUES (1, 1, 'x', x'01', 1.5, '7');",
    );

    let server = strict.serve("table = \"item\"");
    assert_eq!(server.get("/list").results(), [json!({"id": 1, "i": 1, "t": "x", "b": "AQ==", "r": 1.5, "a": "7"})]);
}
