//! Every type of each database is valid JSON that says what the database's own client says.

use serde_json::json;

use super::walk;
use crate::servers::{Db, postgres};

/// A table with a column of every type, and hard values.
pub const POSTGRES: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
         CREATE DOMAIN positive AS int CHECK (VALUE > 0);
         CREATE TYPE pair AS (a int, b text);
         CREATE TABLE item (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(20,5), t text, vc varchar(9), ch char(5),
            ba bytea, u uuid, d date, ti time, ts timestamp, tz timestamptz, iv interval, j json, jb jsonb, ai int[], at text[], a2 int[][], m mood, am mood[], p positive,
            inet inet, cidr cidr, mac macaddr, r int4range, nr numrange, pt point, bits bit(4), x xml, mon money, tsv tsvector, pr pair, ttz timetz, ad date[], an numeric[]);
         INSERT INTO item VALUES (1, true, -32768, 9223372036854775807, 0.1, 1e308, 123456789012345678901234567890.000100, 1.5, E'q\"\\\\\\n\u{2028}', 'vc', 'ab',
            '\\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2026-02-28', '01:02:03.5', '2026-01-02 03:04:05.678', '2026-01-02 03:04:05+02', '1 day 02:03:04', '{\"a\": [1,  2]}', '{\"b\": null}',
            '{1,NULL,3}', '{a,\"b \\\"c\\\"\",NULL}', '{{1,2},{3,4}}', 'happy', '{sad,ok}', 7, '192.168.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', '[1,10)', '(1.5,]', '(1,2)', '1010', '<a/>', '1.00', 'a b', '(1,x)', '01:02:03+02', '{2026-01-01}', '{1.10,NaN}');
         INSERT INTO item (id, f4, f8, n, d, ts, tz, ai) VALUES (2, 'NaN', '-Infinity', 'NaN', '0044-03-15 BC', 'infinity', '12026-01-01 00:00:00Z', '{}');
         INSERT INTO item (id) VALUES (3);";

#[test]
fn every_type_of_postgresql_is_json_that_says_what_psql_says() {
    let db = postgres();
    db.execute(POSTGRES);
    let rows = db.serve("table = \"item\"").get("/list").results();
    let one = &rows[0];
    for (name, value) in [
        ("b", json!(true)),
        ("i2", json!(-32768)),
        ("i8", json!(9_223_372_036_854_775_807i64)),
        ("f4", json!(0.1)),
        ("f8", json!(1e308)),
        ("t", json!("q\"\\\n\u{2028}")),
        ("vc", json!("vc")),
        ("ch", json!("ab   ")),
        ("ba", json!("AP8=")),
        ("u", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("d", json!("2026-02-28")),
        ("ti", json!("01:02:03.5")),
        ("ts", json!("2026-01-02T03:04:05.678")),
        ("tz", json!("2026-01-02T01:04:05Z")),
        ("iv", json!("1 day 02:03:04")),
        ("j", json!({"a": [1, 2]})),
        ("jb", json!({"b": null})),
        ("ai", json!([1, null, 3])),
        ("at", json!(["a", "b \"c\"", null])),
        ("a2", json!([[1, 2], [3, 4]])),
        ("m", json!("happy")),
        ("am", json!(["sad", "ok"])),
        ("p", json!(7)),
        ("inet", json!("192.168.0.1")),
        ("cidr", json!("10.0.0.0/8")),
        ("mac", json!("08:00:2b:01:02:03")),
        ("r", json!("[1,10)")),
        ("nr", json!("(1.5,)")),
        ("pt", json!("(1,2)")),
        ("bits", json!("1010")),
        ("x", json!("<a/>")),
        ("mon", json!("$1.00")),
        ("tsv", json!("'a' 'b'")),
        ("pr", json!({"a": 1, "b": "x"})),
        ("ttz", json!("01:02:03+02")),
        ("ad", json!(["2026-01-01"])),
    ] {
        assert_eq!(one[name], value, "{name}");
    }

    let body = String::from_utf8(db.serve("table = \"item\"").get("/list").body).unwrap();
    assert!(body.contains("\"n\":123456789012345678901234567890.000100,\"n2\":1.50000"), "{body}");
    assert!(body.contains("\"an\":[1.10,null]"), "{body}");
    let csv = String::from_utf8(db.serve("table = \"item\"").get("/list.csv").body).unwrap();
    for text in
        [",1 day 02:03:04,", ",\"[1,10)\",", ",\"(1,2)\",", ",1010,", ",<a/>,", ",$1.00,", ",'a' 'b',", ",01:02:03+02,"]
    {
        assert!(csv.contains(text), "{text} stands as it is in {csv}");
    }

    let two = &rows[1];
    assert_eq!(
        [&two["f4"], &two["f8"], &two["n"], &two["d"], &two["ts"], &two["tz"], &two["ai"]],
        [
            &json!(null),
            &json!(null),
            &json!(null),
            &json!("0044-03-15 BC"),
            &json!("infinity"),
            &json!("12026-01-01T00:00:00Z"),
            &json!([])
        ]
    );

    assert!(rows[2].as_object().unwrap().iter().all(|(name, value)| name == "id" || value.is_null()));
    let columns: Vec<&String> = one.as_object().unwrap().keys().collect();
    orders_are_the_database_s_own(&db, &columns, &["j", "x", "pt"]);
}

/// Every column can be ordered by, or is one of those that say why not; each order goes on behind
/// each row.
pub fn orders_are_the_database_s_own(db: &Db, columns: &[&String], unordered: &[&str]) {
    for column in columns {
        for (order, sql) in
            [(format!("-{column}"), format!("`{column}` DESC, id")), (column.to_string(), format!("`{column}`, id"))]
        {
            let resource = format!("table = \"item\"\norder = [\"{order}\"]\nfields = {{ id = \"id\" }}");
            let config = crate::support::parse(&db.config(&resource)).unwrap();
            match crate::support::runtime().block_on(config.open()) {
                Ok(_) => {
                    let quoted = if db.name() == "mariadb" { sql } else { sql.replace('`', "\"") };
                    let expected = db.query(&format!("SELECT id FROM item ORDER BY {quoted}")).unwrap().concat();
                    assert_eq!(walk(&db.serve(&resource), "/list"), expected, "{order}");
                }
                Err(complaints) => assert!(unordered.contains(&column.as_str()), "{column}: {complaints}"),
            }
        }
    }
}
