//! PostgreSQL's own types and those of its usual extensions.

use std::fmt::Write;

use serde_json::json;

use super::{Differences, nothing_is_without_a_form, raw_values};
use crate::{servers::postgres, support::Running};

/// How SQL says what is to stand in a list, as JSON: with `v` for the value.
const TEXT: &str = "to_json(v::text)";
const NUMBER: &str = "CASE WHEN v::text IN ('NaN', 'Infinity', '-Infinity') THEN 'null' ELSE v::text END";
const JSON: &str = "to_json(v)";
const BASE64: &str = "to_json(translate(encode(v, 'base64'), E'\\n', ''))";
const MOMENT: &str = "to_json(CASE WHEN isfinite(v) THEN regexp_replace(v::text, ' ', 'T') ELSE v::text END)";
const UTC: &str =
    "to_json(CASE WHEN isfinite(v) THEN regexp_replace(replace(v::text, '+00', 'Z'), ' ', 'T') ELSE v::text END)";

/// Types of PostgreSQL, how SQL says what stands in the list, and values.
const POSTGRES: &[(&str, &str, &[&str])] = &[
    ("boolean", JSON, &["true", "false"]),
    ("smallint", NUMBER, &["-32768", "0", "32767"]),
    ("integer", NUMBER, &["-2147483648", "2147483647"]),
    ("bigint", NUMBER, &["-9223372036854775808", "9223372036854775807", "9007199254740993"]),
    ("oid", NUMBER, &["0", "4294967295"]),
    ("real", NUMBER, &["'NaN'", "'Infinity'", "'-Infinity'", "0.1", "-0.0", "3.4e38", "1e-45", "16777217"]),
    ("double precision", NUMBER, &["'NaN'", "'Infinity'", "0.1", "1e308", "5e-324", "-0.0", "0.30000000000000004"]),
    (
        "numeric",
        NUMBER,
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0",
            "0.000",
            "-0.10",
            "1e300",
            "1e-300",
            "1e131071",
            "123456789012345678901234567890.000100",
            "10000",
            "99990000",
            "0.00010000",
        ],
    ),
    ("numeric(20,5)", NUMBER, &["1.5", "-99999.99999", "'NaN'"]),
    ("numeric(3,-2)", NUMBER, &["12345", "-100"]),
    ("numeric(5,5)", NUMBER, &["0.00001", "-0.99999"]),
    ("money", TEXT, &["1.00", "-1234567.89", "92233720368547758.07"]),
    (
        "text",
        TEXT,
        &["''", "' '", "E'\\t\\n\\r\\\\\"'", "E'\\u2028\\u0085\\u0001'", "'NULL'", "'é😀'", "repeat('x', 100000)"],
    ),
    ("text COLLATE \"C\"", TEXT, &["'a'", "'B'"]),
    ("varchar", TEXT, &["''", "'x'"]),
    ("varchar(9)", TEXT, &["'123456789'"]),
    ("char(5)", "to_json(rpad(v, 5))", &["'ab'", "''"]),
    ("\"char\"", TEXT, &["'a'", "''", "'\\351'"]),
    ("name", TEXT, &["'a name'"]),
    ("citext", TEXT, &["'CaSe'"]),
    ("bytea", BASE64, &["''", "'\\x00ff'", "decode(repeat('ab', 1000), 'hex')"]),
    ("uuid", TEXT, &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"]),
    (
        "date",
        TEXT,
        &[
            "'2026-02-28'",
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
            "'0044-03-15 BC'",
            "'0001-01-01'",
            "'9999-12-31'",
            "'10000-01-01'",
            "'5874897-12-31'",
        ],
    ),
    ("time", TEXT, &["'00:00'", "'24:00'", "'01:02:03.5'", "'23:59:59.999999'"]),
    ("time(2)", TEXT, &["'01:02:03.456'"]),
    ("timetz", TEXT, &["'01:02:03+02'", "'24:00:00-15:59:59'"]),
    (
        "timestamp",
        MOMENT,
        &[
            "'2026-01-02 03:04:05.678'",
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 00:00 BC'",
            "'294276-12-31 23:59:59.999999'",
            "'10000-01-01'",
        ],
    ),
    ("timestamp(0)", MOMENT, &["'2026-01-02 03:04:05.678'"]),
    ("timestamp(6)", MOMENT, &["'2026-01-02 03:04:05.000001'", "'2026-01-02 03:04:05.100000'"]),
    (
        "timestamptz",
        UTC,
        &[
            "'2026-01-02 03:04:05+02'",
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 00:00Z BC'",
            "'294276-12-31 23:59:59.999999Z'",
        ],
    ),
    ("timestamptz(3)", UTC, &["'2026-01-02 03:04:05.6789Z'"]),
    ("interval", TEXT, &["'1 day 02:03:04'", "'-1 year -1 mon'", "'178000000 years'", "'0'", "'00:00:00.000001'"]),
    ("interval year to month", TEXT, &["'1 year 2 mons'"]),
    ("bit(4)", TEXT, &["B'1010'", "B'0000'"]),
    ("bit varying", TEXT, &["B''", "B'1'"]),
    ("json", JSON, &["'{\"a\": [1,  2.50, \"\\u0000\"]}'", "'null'", "' 1 '", "'\"x\"'", "'{\"a\":1,\"a\":2}'"]),
    ("jsonb", JSON, &["'{\"b\": null}'", "'[]'", "'1e300'"]),
    ("jsonpath", TEXT, &["'$.a[*] ? (@ > 1)'"]),
    ("xml", TEXT, &["'<a/>'", "'text'", "'<?xml version=\"1.0\"?><a>é</a>'"]),
    ("inet", JSON, &["'192.168.0.1'", "'10.0.0.1/8'", "'::1'", "'2001:db8::/32'", "'::ffff:1.2.3.4'"]),
    ("cidr", TEXT, &["'10.0.0.0/8'", "'0.0.0.0/0'", "'::/0'"]),
    ("macaddr", TEXT, &["'08:00:2b:01:02:03'"]),
    ("macaddr8", TEXT, &["'08:00:2b:01:02:03:04:05'"]),
    ("point", TEXT, &["'(1,2)'", "'(NaN,Infinity)'"]),
    ("line", TEXT, &["'{1,2,3}'"]),
    ("lseg", TEXT, &["'[(0,0),(1,1)]'"]),
    ("box", TEXT, &["'(1,1),(0,0)'"]),
    ("path", TEXT, &["'((0,0),(1,1))'", "'[(0,0),(1,1)]'"]),
    ("polygon", TEXT, &["'((0,0),(1,1),(1,0))'"]),
    ("circle", TEXT, &["'<(0,0),1>'"]),
    ("tsvector", TEXT, &["'a b'", "'''it''''s'':1A,2B'", "''"]),
    ("tsquery", TEXT, &["'a & !b'"]),
    ("int4range", TEXT, &["'[1,10)'", "'empty'", "'(,)'"]),
    ("numrange", TEXT, &["'(1.5,]'"]),
    ("tstzrange", TEXT, &["'[2026-01-01Z,infinity)'"]),
    ("daterange", TEXT, &["'[2026-01-01,)'"]),
    ("int8multirange", TEXT, &["'{[1,2),[5,9)}'", "'{}'"]),
    ("pg_lsn", TEXT, &["'16/B374D848'"]),
    ("regclass", TEXT, &["'pg_class'", "0"]),
    ("regtype", TEXT, &["'integer'"]),
    ("tid", TEXT, &["'(0,1)'"]),
    ("xid8", TEXT, &["'42'"]),
    ("hstore", JSON, &["'a=>1, b=>NULL'", "''", "'\"q\\\"\"=>\"\\\\\"'"]),
    ("ltree", JSON, &["'top.a.b'", "''"]),
    ("cube", JSON, &["'(1,2),(3,4)'"]),
    ("mood", TEXT, &["'sad'", "'happy day'"]),
    ("floats", TEXT, &["'[1.5,2.5)'"]),
    ("pair", JSON, &["'(1,x)'", "'(,)'", "'(,\"\")'", "'(2,\"a,\"\"b\"\"\\\\\")'"]),
    ("nested", JSON, &["ROW(ROW(1,'x')::pair, ARRAY[ROW(2,NULL)::pair, NULL], 'happy day')::nested", "'(,,)'"]),
    ("int[]", JSON, &["'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'", "'[0:1]={7,8}'", "'[-1:0][2:3]={{1,2},{3,4}}'"]),
    ("text[]", JSON, &["'{a,\"b \\\"c\\\"\",NULL,\"NULL\",\"\"}'"]),
    ("numeric[]", JSON, &["'{1.10,-5}'"]),
    ("bool[]", JSON, &["'{t,f}'"]),
    ("date[]", JSON, &["'{2026-01-01,infinity}'"]),
    ("timestamp[]", JSON, &["'{2026-01-01 01:02:03.5}'"]),
    ("uuid[]", JSON, &["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"]),
    ("jsonb[]", JSON, &["ARRAY['{\"a\":1}'::jsonb, '[null]', NULL]"]),
    ("mood[]", JSON, &["'{sad,NULL}'"]),
    ("pair[]", JSON, &["ARRAY[ROW(1,'x')::pair, NULL]"]),
    ("hstore[]", JSON, &["ARRAY['a=>1'::hstore]"]),
    ("int4range[]", JSON, &["'{\"[1,2)\",empty}'"]),
    ("interval[]", JSON, &["'{1 day,NULL}'"]),
    ("money[]", JSON, &["'{1.00}'"]),
];

const POSTGRES_TYPES: &str = "
    CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION cube;
    CREATE TYPE mood AS ENUM ('sad', 'happy day'); CREATE TYPE floats AS RANGE (subtype = float8);
    CREATE TYPE pair AS (a int, b text); CREATE TYPE nested AS (one pair, many pair[], mood mood);";

#[test]
fn every_value_of_every_type_of_postgresql_stands_as_sql_says_it() {
    let db = postgres();
    db.execute(POSTGRES_TYPES);
    let mut config = format!("[databases]\nmain = \"{}\"\n", db.url());
    let mut columns_of = vec![];
    for (index, (kind, _, values)) in POSTGRES.iter().enumerate() {
        let bare = kind.split(" COLLATE").next().unwrap();
        let rows = values.iter().enumerate().fold(String::new(), |mut rows, (id, value)| {
            let _ = write!(rows, "({id}, {value}), ");
            rows
        });
        let fixed = !["regclass", "regtype", "money", "xml"].contains(&bare);
        let generated = if fixed { format!(", g {kind} GENERATED ALWAYS AS (v) STORED") } else { String::new() };
        db.execute_later(&format!(
            "CREATE DOMAIN domain_{index} AS {kind}; CREATE DOMAIN deeper_{index} AS domain_{index};
             CREATE TABLE item_{index} (id int PRIMARY KEY, v {kind}{generated}, d domain_{index}, e deeper_{index} DEFAULT NULL);
             INSERT INTO item_{index} (id, v) VALUES {rows} (1000, NULL); UPDATE item_{index} SET d = v, e = v;"
        ));
        let columns = if fixed { vec!["v", "g", "d", "e"] } else { vec!["v", "d", "e"] };
        for column in &columns {
            let _ = write!(
                config,
                "\n[resources.list_{index}_{column}]\ndatabase = \"main\"\ntable = \"item_{index}\"\nfields = {{ v = \"{column}\" }}\n"
            );
        }
        columns_of.push(columns);
    }

    db.execute_now();
    let server = Running::config(&config);
    let mut differences = Differences::default();
    for (index, ((kind, said, values), columns)) in POSTGRES.iter().zip(&columns_of).enumerate() {
        let expected = db
            .query(&format!("SELECT coalesce(({said})::text, 'null') FROM item_{index} ORDER BY id"))
            .unwrap()
            .concat();
        let float = ["real", "double"].iter().any(|name| kind.starts_with(name));
        for column in columns {
            let shown = raw_values(&server, &format!("list_{index}_{column}"));
            assert_eq!((shown.len(), expected.len()), (values.len() + 1, values.len() + 1), "{kind}");
            for (shown, expected) in shown.iter().zip(&expected) {
                differences.compare(shown, expected, float, &format!("{kind} ({column})"));
            }
        }
    }

    differences.none();
    nothing_is_without_a_form(&server, "types of PostgreSQL");
}

#[test]
fn a_row_of_a_view_is_an_object() {
    let db = postgres();
    db.execute(
        "CREATE TABLE base (id int PRIMARY KEY, name text); INSERT INTO base VALUES (1, 'a'), (2, NULL);
         CREATE VIEW item AS SELECT id, base AS whole, ARRAY[base] AS many FROM base;",
    );
    let server = db.serve("table = \"item\"\nkey = [\"id\"]");
    let rows = server.get("/list").results();
    assert_eq!(rows[1], json!({"id": 2, "whole": {"id": 2, "name": null}, "many": [{"id": 2, "name": null}]}));
    nothing_is_without_a_form(&server, "rows");
}
