//! MariaDB's types with their attributes.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    super::{types::orders_are_the_database_s_own, walk},
    Differences, nothing_is_without_a_form,
};
use crate::{servers::mariadb, support::Running};

/// How a value of MariaDB stands in a list, from the bytes of what SQL says.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    Base64,
    Json,
    /// A date or time; one that is none is NULL.
    Moment(&'static str),
}

/// Types of MariaDB with their attributes, what SQL makes of a value, and values.
fn mariadb_types() -> Vec<(String, Form, &'static str, Vec<String>)> {
    let mut types = vec![];
    let mut add = |kind: &str, form, said, values: &[&str]| {
        types.push((kind.to_owned(), form, said, values.iter().map(|value| value.to_string()).collect()));
    };

    for kind in ["TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT", "TINYINT(1)", "INT(11)", "BIGINT(3)"] {
        add(kind, Form::Number, "v", &["-128", "0", "1", "127"]);
        for attribute in ["UNSIGNED", "ZEROFILL", "UNSIGNED ZEROFILL"] {
            add(&format!("{kind} {attribute}"), Form::Number, "v", &["0", "1", "255"]);
        }
    }

    add("BIGINT UNSIGNED ZEROFILL", Form::Number, "v", &["18446744073709551615", "7"]);
    add("BOOLEAN", Form::Number, "v", &["TRUE", "FALSE"]);
    for kind in [
        "DECIMAL",
        "DECIMAL(10,2)",
        "DECIMAL(5,5)",
        "DECIMAL(65,30)",
        "DECIMAL(65,38)",
        "DECIMAL(1)",
        "NUMERIC(12,0)",
        "FIXED(9,3)",
    ] {
        add(kind, Form::Number, "v", &["0", "-0.5", "0.00001", "-0.99999"]);
        for attribute in ["UNSIGNED", "ZEROFILL", "UNSIGNED ZEROFILL"] {
            add(&format!("{kind} {attribute}"), Form::Number, "v", &["0", "0.5", "0.00001"]);
        }
    }

    add("DECIMAL(12,2) ZEROFILL", Form::Number, "v", &["1.5", "12345", "1000000000.01", "9999999999.99"]);
    for kind in ["FLOAT", "DOUBLE", "FLOAT(7,3)", "DOUBLE(12,4)", "REAL"] {
        add(kind, Form::Number, "v", &["0", "-0.5", "0.1", "123.25"]);
        for attribute in ["UNSIGNED", "ZEROFILL"] {
            add(&format!("{kind} {attribute}"), Form::Number, "v", &["0", "0.5", "123.25"]);
        }
    }

    for bits in [1, 7, 8, 9, 33, 64] {
        add(&format!("BIT({bits})"), Form::Number, "v + 0", &["b'0'", "b'1'"]);
    }

    add("BIT(64)", Form::Number, "v + 0", &["~0"]);
    for kind in ["YEAR", "YEAR(4)", "YEAR UNSIGNED ZEROFILL"] {
        add(kind, Form::Number, "v + 0", &["0", "1901", "2155", "'0000'"]);
    }

    let texts = ["''", "' a'", "'a\\tb\\\\\"'", "'é'", "'NULL'"];
    for kind in ["CHAR(20)", "VARCHAR(40)", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"] {
        for attribute in [
            "",
            "CHARACTER SET latin1",
            "CHARACTER SET utf8mb3",
            "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            "CHARACTER SET ucs2",
            "CHARACTER SET utf16",
            "CHARACTER SET utf32",
            "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
            "BINARY",
        ] {
            add(&format!("{kind} {attribute}"), Form::Text, "CONVERT(v USING utf8mb4)", &texts);
        }
    }

    add("VARCHAR(40) CHARACTER SET utf8mb4", Form::Text, "v", &["'\u{1d11e}'", "REPEAT('x', 40)"]);
    add("LONGTEXT COMPRESSED", Form::Text, "v", &["REPEAT('x', 100000)"]);
    for kind in ["BINARY(4)", "VARBINARY(40)", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB", "CHAR BYTE"] {
        add(kind, Form::Base64, "v", &["''", "x'00'", "x'ff'"]);
    }

    for attribute in ["", "CHARACTER SET latin1", "COLLATE utf8mb4_bin", "CHARACTER SET binary"] {
        add(
            &format!("ENUM('a','','it''s','é\"') {attribute}"),
            Form::Text,
            "CONVERT(v USING utf8mb4)",
            &["'a'", "''", "'it''s'", "'é\"'"],
        );
        add(
            &format!("SET('x','y','z z') {attribute}"),
            Form::Text,
            "CONVERT(v USING utf8mb4)",
            &["''", "'x'", "'x,y,z z'"],
        );
    }

    add(
        "DATE",
        Form::Moment("v"),
        "v",
        &["'2026-02-28'", "'0000-00-00'", "'2026-00-10'", "'0001-01-01'", "'9999-12-31'"],
    );

    for digits in 0..=6 {
        add(
            &format!("DATETIME({digits})"),
            Form::Moment("T"),
            "v",
            &["'2026-01-02 03:04:05.123456'", "'0000-00-00'", "'9999-12-31 23:59:59'", "'2026-01-02 03:04:05.100'"],
        );
        add(
            &format!("TIMESTAMP({digits}) NULL"),
            Form::Moment("Z"),
            "v",
            &["'2026-01-02 03:04:05.123456'", "0", "'2038-01-19 03:14:07'", "'1970-01-01 00:00:01'"],
        );
        add(
            &format!("TIME({digits})"),
            Form::Moment("v"),
            "v",
            &["'838:59:59'", "'-838:59:59'", "'00:00:00'", "'25:00:01.5'", "'-00:00:01'", "'100:00:00.000001'"],
        );
    }

    add("JSON", Form::Json, "v", &["'{\"a\": [1,  2]}'", "'[]'", "'null'", "'1.50'"]);
    add("LONGTEXT CHECK (JSON_VALID(v))", Form::Json, "v", &["'{\"a\": 1}'"]);
    add("UUID", Form::Text, "CAST(v AS CHAR)", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]);
    add("INET4", Form::Text, "CAST(v AS CHAR)", &["'192.168.0.1'", "'0.0.0.0'"]);
    add("INET6", Form::Text, "CAST(v AS CHAR)", &["'::'", "'2001:db8::1'", "'::ffff:1.2.3.4'"]);
    for (kind, shape) in [
        ("GEOMETRY", "POINT(1 2)"),
        ("POINT", "POINT(1 2)"),
        ("LINESTRING", "LINESTRING(0 0,1 1)"),
        ("POLYGON", "POLYGON((0 0,1 0,1 1,0 0))"),
        ("MULTIPOINT", "MULTIPOINT(0 0,1 1)"),
        ("MULTILINESTRING", "MULTILINESTRING((0 0,1 1))"),
        ("MULTIPOLYGON", "MULTIPOLYGON(((0 0,1 0,1 1,0 0)))"),
        ("GEOMETRYCOLLECTION", "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))"),
        ("GEOMETRYCOLLECTION", "GEOMETRYCOLLECTION EMPTY"),
    ] {
        add(
            kind,
            Form::Text,
            "ST_AsText(v)",
            &[&format!("ST_GeomFromText('{shape}')"), &format!("ST_GeomFromText('{shape}', 4326)")],
        );
    }

    types
}

/// What is to stand in a list, as JSON, for what SQL says.
fn expected(form: Form, said: Option<Vec<u8>>) -> String {
    let Some(said) = said else { return "null".to_owned() };
    let text = String::from_utf8_lossy(&said).into_owned();
    match form {
        Form::Text => json!(text).to_string(),
        Form::Json => text,
        Form::Base64 => json!(STANDARD.encode(said)).to_string(),
        Form::Number => {
            let (sign, digits) = text.strip_prefix('-').map_or(("", &*text), |digits| ("-", digits));
            let digits = digits.trim_start_matches('0');
            let digits =
                if digits.is_empty() || digits.starts_with('.') { format!("0{digits}") } else { digits.to_owned() };
            format!("{sign}{digits}")
        }
        Form::Moment(kind) => {
            let none = |date: &str| {
                date.starts_with("0000-00-00") || date.get(5..7) == Some("00") || date.get(8..10) == Some("00")
            };
            if !text.contains(':') && none(&text) || text.contains(' ') && none(&text) {
                return "null".to_owned();
            }
            let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
            json!(short.replace(' ', "T") + if kind == "Z" { "Z" } else { "" }).to_string()
        }
    }
}

#[test]
fn every_value_of_every_type_and_attribute_of_mariadb_stands_as_sql_says_it() {
    let db = mariadb();
    let types = mariadb_types();
    let mut config = format!("[databases]\nmain = \"{}\"\n", db.url());
    for (index, (kind, .., values)) in types.iter().enumerate() {
        let rows: Vec<String> = values.iter().enumerate().map(|(id, value)| format!("({id}, {value})")).collect();
        let plain = !kind.contains("CHECK") && !kind.contains("COMPRESSED");
        let more = if plain { format!(", g {kind} AS (v) VIRTUAL, i {kind} INVISIBLE") } else { String::new() };
        let more = if kind.starts_with("TIMESTAMP") { String::new() } else { more };
        let mut sql = format!(
            "SET sql_mode = 'ALLOW_INVALID_DATES'; SET time_zone = '+00:00';
             CREATE TABLE item_{index} (id INT PRIMARY KEY, v {kind}{more}) CHARACTER SET utf8mb4;
             INSERT IGNORE INTO item_{index} (id, v) VALUES {}, (1000, NULL);",
            rows.join(", ")
        );
        if !more.is_empty() {
            let _ = write!(sql, "UPDATE item_{index} SET i = v;");
        }
        db.execute_later(&sql);
        for column in if more.is_empty() { vec!["v"] } else { vec!["v", "g", "i"] } {
            let _ = write!(
                config,
                "\n[resources.list_{index}_{column}]\ndatabase = \"main\"\ntable = \"item_{index}\"\nfields = {{ v = \"{column}\" }}\n"
            );
        }
    }

    db.execute_now();
    let server = Running::config(&config);
    let mut differences = Differences::default();
    for (index, (kind, form, said, _)) in types.iter().enumerate() {
        let bytes = format!(
            "HEX(CAST({said} AS {}))",
            if matches!(form, Form::Base64) { "BINARY" } else { "CHAR CHARACTER SET utf8mb4" }
        );
        let sql = format!("SELECT COALESCE({bytes}, 'nothing') FROM item_{index} ORDER BY id");
        let hex = |text: &str| {
            (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
        };
        let all: Vec<String> = db
            .query(&sql)
            .unwrap()
            .concat()
            .iter()
            .map(|said| expected(*form, Some(said).filter(|said| *said != "nothing").map(|said| hex(said))))
            .collect();
        let mut columns = 0;
        for column in ["v", "g", "i"] {
            let reply = server.get(&format!("/list_{index}_{column}.ndjson"));
            if reply.status == 404 {
                continue;
            }
            columns += 1;
            let text = String::from_utf8(reply.body).unwrap();
            let shown: Vec<&str> = text.lines().map(|line| &line[5..line.len() - 1]).collect();
            assert_eq!(shown.len(), all.len(), "{kind}");
            let float = ["FLOAT", "DOUBLE", "REAL"].iter().any(|name| kind.starts_with(name));
            for (shown, expected) in shown.iter().zip(&all) {
                differences.compare(shown, expected, float, &format!("{kind} ({column})"));
            }
        }
        assert!(columns > 0);
    }

    differences.none();
    let dates = types.iter().filter(|(_, form, ..)| matches!(form, Form::Moment(_)));
    let zero = "'0000-00-00'";
    let none: usize = dates
        .map(|(kind, .., values)| {
            let none =
                values.iter().filter(|value| *value == zero || *value == "'2026-00-10'" || *value == "0").count();
            none * if kind.starts_with("TIMESTAMP") { 1 } else { 3 }
        })
        .sum();
    let metrics = server.chunkflow.metrics();
    assert_eq!(metrics.values_without_form(), none as u64, "only dates that are none have no form");
    assert_eq!(metrics.replaced_utf8(), 0);
}

#[test]
fn padded_numbers_of_mariadb_are_keys_and_join_columns_like_any_other() {
    let db = mariadb();
    db.execute(
        "CREATE TABLE item (id INT PRIMARY KEY, d DECIMAL(12,2) ZEROFILL NOT NULL, big DECIMAL(65,0) UNSIGNED ZEROFILL NOT NULL, f FLOAT ZEROFILL, i BIGINT(30) ZEROFILL, z INT ZEROFILL, KEY (d));
         INSERT INTO item SELECT seq, (seq * 7919) % 1000 / 8, POW(seq % 50, 30), seq / 4, seq * 1000000007, 301 - seq FROM seq_1_to_300;
         CREATE TABLE keyed (d DECIMAL(12,2) ZEROFILL PRIMARY KEY, id INT NOT NULL); INSERT IGNORE INTO keyed SELECT d, id FROM item;
         CREATE TABLE child (n INT PRIMARY KEY, d DECIMAL(12,2) ZEROFILL, KEY (d)); INSERT INTO child SELECT id, d FROM item;",
    );

    let columns: Vec<String> = ["id", "d", "big", "f", "i", "z"].map(str::to_owned).into();
    orders_are_the_database_s_own(&db, &columns.iter().collect::<Vec<_>>(), &[]);
    let sql = "SELECT id FROM keyed ORDER BY d";
    assert_eq!(
        walk(&db.serve("table = \"keyed\""), "/list"),
        db.query(sql).unwrap().concat().iter().map(|id| id.trim_start_matches('0').to_owned()).collect::<Vec<_>>()
    );

    let server = db.serve(
        "table = \"keyed\"\nfilters = [\"d\"]\n[resources.list.fields]\nd = \"d\"\nchildren = { from = \"child\", on = \"d\", column = \"n\" }",
    );

    let shown: Vec<String> = server
        .get("/list")
        .results()
        .iter()
        .flat_map(|row| row["children"].as_array().unwrap().iter().map(|n| n.to_string()).collect::<Vec<_>>())
        .collect();
    let joined = db
        .query("SELECT CAST(c.n AS SIGNED) FROM keyed k JOIN child c ON c.d = k.d ORDER BY k.d, c.n")
        .unwrap()
        .concat();
    assert_eq!(shown, joined);
    assert_eq!(server.get("/list?d=eq.0000000000.13").results().len(), server.get("/list?d=eq.0.13").results().len());
    nothing_is_without_a_form(&server, "padded keys");
}
