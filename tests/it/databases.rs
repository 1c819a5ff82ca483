//! One suite of promises for every kind of database: what holds for one holds for all.

use serde_json::{Value, json};

use crate::{
    servers::{Db, every_kind, mariadb, postgres},
    support::{Reply, until},
};

fn rows(db: &Db, resource: &str) -> Vec<Value> {
    db.serve(resource).get("/list").results()
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
fn every_type_of_postgresql_is_json_that_says_what_psql_says() {
    let db = postgres();
    db.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
         CREATE DOMAIN positive AS int CHECK (VALUE > 0);
         CREATE TYPE pair AS (a int, b text);
         CREATE TABLE item (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, n2 numeric(20,5), t text, vc varchar(9), ch char(5),
            ba bytea, u uuid, d date, ti time, ts timestamp, tz timestamptz, iv interval, j json, jb jsonb, ai int[], at text[], a2 int[][], m mood, am mood[], p positive,
            inet inet, cidr cidr, mac macaddr, r int4range, nr numrange, pt point, bits bit(4), x xml, mon money, tsv tsvector, pr pair, ttz timetz, ad date[], an numeric[]);
         INSERT INTO item VALUES (1, true, -32768, 9223372036854775807, 0.1, 1e308, 123456789012345678901234567890.000100, 1.5, E'q\"\\\\\\n\u{2028}', 'vc', 'ab',
            '\\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2026-02-28', '01:02:03.5', '2026-01-02 03:04:05.678', '2026-01-02 03:04:05+02', '1 day 02:03:04', '{\"a\": [1,  2]}', '{\"b\": null}',
            '{1,NULL,3}', '{a,\"b \\\"c\\\"\",NULL}', '{{1,2},{3,4}}', 'happy', '{sad,ok}', 7, '192.168.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', '[1,10)', '(1.5,]', '(1,2)', '1010', '<a/>', '1.00', 'a b', '(1,x)', '01:02:03+02', '{2026-01-01}', '{1.10,NaN}');
         INSERT INTO item (id, f4, f8, n, d, ts, tz, ai) VALUES (2, 'NaN', '-Infinity', 'NaN', '0044-03-15 BC', 'infinity', '12026-01-01 00:00:00Z', '{}');
         INSERT INTO item (id) VALUES (3);",
    );
    let rows = rows(&db, "table = \"item\"");
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

/// Every column can be ordered by, or is one of those that say why not; each order goes on behind each row.
fn orders_are_the_database_s_own(db: &Db, columns: &[&String], unordered: &[&str]) {
    for column in columns {
        for (order, sql) in
            [(format!("-{column}"), format!("`{column}` DESC, id")), (column.to_string(), format!("`{column}`, id"))]
        {
            let resource = format!("table = \"item\"\norder = [\"{order}\"]\nfields = {{ id = \"id\" }}");
            println!("{order}");
            let config = crate::support::parse(&db.config(&resource)).unwrap();
            match crate::support::runtime().block_on(config.open()) {
                Ok(_) => {
                    let quoted = if db.name() == "mariadb" { sql } else { sql.replace('`', "\"") };
                    let expected = db.query(&format!("SELECT id FROM item ORDER BY {quoted}")).unwrap().concat();
                    assert_eq!(one_by_one(&db.serve(&resource)), expected, "{order}");
                }
                Err(complaints) => assert!(unordered.contains(&column.as_str()), "{column}: {complaints}"),
            }
        }
    }
}

/// The ids of a list, of which each is asked for alone, behind the one before.
fn one_by_one(server: &crate::support::Running) -> Vec<String> {
    let (mut next, mut found) = ("/list?limit=1".to_owned(), vec![]);
    loop {
        let reply = server.get(&next);
        found.extend(reply.results().iter().map(|row| row["id"].as_i64().unwrap().to_string()));
        match reply.header("link").split(['<', '>']).nth(1) {
            Some(link) => next = link.to_owned(),
            None => return found,
        }
    }
}

#[test]
fn every_type_of_mariadb_is_json_that_says_what_its_client_says() {
    let db = mariadb();
    db.execute(
        "SET sql_mode = 'ALLOW_INVALID_DATES';
         CREATE TABLE item (id INT PRIMARY KEY, i1 TINYINT, u1 TINYINT UNSIGNED, i3 MEDIUMINT, i8 BIGINT, u8 BIGINT UNSIGNED, n DECIMAL(30,10), big DECIMAL(65,0), f FLOAT, g DOUBLE,
            b BIT(4), b8 BIT(64), y YEAR, c CHAR(5), vc VARCHAR(40), l1 VARCHAR(40) CHARACTER SET latin1, tx TEXT, lt LONGTEXT, e ENUM('z','a'), s SET('y','x'),
            bi BINARY(4), vb VARBINARY(40), bl BLOB, d DATE, dt DATETIME, d3 DATETIME(3), ts TIMESTAMP NULL, t6 TIMESTAMP(6) NULL, ti TIME, t3 TIME(3), js JSON,
            pt POINT, uu UUID, ip INET4, ip6 INET6) CHARACTER SET utf8mb4;
         INSERT INTO item VALUES (1, -128, 255, -8388608, -9223372036854775808, 18446744073709551615, -1234567890.0000000001, 99999999999999999999999999999999999999999999999999999999999999999, 0.1, 1e308,
            b'101', b'1111111111111111111111111111111111111111111111111111111111111111', 2155, 'ab   ', 'q\"\\\\é\u{1d11e}', 'é', 'text', 'long', 'a', 'y,x',
            'ab', '\\0ÿ', 'blob', '2026-02-28', '2026-01-02 03:04:05', '2026-01-02 03:04:05.67', '2026-01-02 03:04:05', '2026-01-02 03:04:05.000001', '838:59:59', '-00:00:01.5', '{\"a\": [1,  2]}',
            POINT(1, 2), 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '192.168.0.1', '2001:db8::1');
         INSERT INTO item VALUES (2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', '', '', '', '', 'z', '', '', '', '', '0000-00-00', '0000-00-00', '2026-00-10', 0, '0000-00-00', 0, 0, '[]',
            POINT(0, 0), '00000000-0000-0000-0000-000000000000', '0.0.0.0', '::');
         INSERT INTO item (id) VALUES (3);
         INSERT INTO item VALUES (4, 127, 9, 9, 9223372036854775807, 9223372036854775808, 1.5, 10, 3.4e38, 0.1, 1, 1, 1999, 'AB', 'a', 'E', 'TEXT ', 'long\\t', 'a', 'x',
            'ab\\0z', 'AB', 'bloc', '2026-02-31', '9999-12-31 23:59:59', '2026-01-02 03:04:05.671', '2038-01-19 03:14:07', '2038-01-19 03:14:07.999999', '-838:59:59', '00:00:00.001', '1',
            POINT(1, 3), 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a10', '192.168.0.10', '2001:db8::2');
         INSERT INTO item (id, f, g, vc, n, u8, ti) VALUES (5, 0.1, 0.30000000000000004, 'Q\"\\\\E', 1.5000000001, 9223372036854775807, '-00:00:01'), (6, 0.2, 0.3, 'A ', 1.4999999999, 18446744073709551614, '100:00:00');",
    );
    let rows = rows(&db, "table = \"item\"");
    for (name, value) in [
        ("i1", json!(-128)),
        ("u1", json!(255)),
        ("i3", json!(-8_388_608)),
        ("i8", json!(i64::MIN)),
        ("u8", json!(u64::MAX)),
        ("f", json!(0.1)),
        ("g", json!(1e308)),
        ("b", json!(5)),
        ("b8", json!(u64::MAX)),
        ("y", json!(2155)),
        ("c", json!("ab")),
        ("vc", json!("q\"\\é\u{1d11e}")),
        ("l1", json!("é")),
        ("tx", json!("text")),
        ("e", json!("a")),
        ("s", json!("y,x")),
        ("bi", json!("YWIAAA==")),
        ("vb", json!("AMO/")),
        ("bl", json!("YmxvYg==")),
        ("d", json!("2026-02-28")),
        ("dt", json!("2026-01-02T03:04:05")),
        ("d3", json!("2026-01-02T03:04:05.67")),
        ("ts", json!("2026-01-02T03:04:05Z")),
        ("t6", json!("2026-01-02T03:04:05.000001Z")),
        ("ti", json!("838:59:59")),
        ("t3", json!("-00:00:01.5")),
        ("js", json!({"a": [1, 2]})),
        ("pt", json!("POINT(1 2)")),
        ("uu", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("ip", json!("192.168.0.1")),
        ("ip6", json!("2001:db8::1")),
    ] {
        assert_eq!(rows[0][name], value, "{name}");
    }
    let body = String::from_utf8(db.serve("table = \"item\"").get("/list").body).unwrap();
    let nines = "9".repeat(65);
    assert!(body.contains(&format!("\"n\":-1234567890.0000000001,\"big\":{nines}")), "{body}");
    let two = &rows[1];
    assert!(["d", "dt", "d3", "ts", "t6"].iter().all(|name| two[name].is_null()), "{two}");
    assert_eq!([&two["y"], &two["ti"], &two["e"]], [&json!(0), &json!("00:00:00"), &json!("z")]);
    assert!(rows[2].as_object().unwrap().iter().all(|(name, value)| name == "id" || value.is_null()));
    let columns: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    orders_are_the_database_s_own(&db, &columns, &["e", "s", "js", "pt"]);
}

#[test]
fn text_keys_of_mariadb_go_on_behind_every_row_whatever_the_collation() {
    let collations = [
        "utf8mb4_general_ci",
        "utf8mb4_unicode_520_ci",
        "utf8mb4_bin",
        "utf8mb4_nopad_bin",
        "utf8mb4_unicode_nopad_ci",
        "latin1_swedish_ci",
        "latin1_bin",
    ];
    for collation in collations {
        let db = mariadb();
        let charset = collation.split('_').next().unwrap();
        db.execute(&format!(
            "CREATE TABLE item (id INT PRIMARY KEY, name VARCHAR(40) CHARACTER SET {charset} COLLATE {collation} NOT NULL, grp INT NOT NULL, KEY (name));
             CREATE TABLE keyed (name VARCHAR(40) CHARACTER SET {charset} COLLATE {collation} PRIMARY KEY, id INT NOT NULL);
             CREATE TABLE child (id INT PRIMARY KEY, name VARCHAR(40) CHARACTER SET {charset} COLLATE {collation}, KEY (name));",
        ));
        let texts = [
            "a", "A", "á", "Ä", "ä", "b", "B", "a ", "a  ", "", " ", "a\t", "a\u{1}", "ab", "aB", "ß", "ss", "s", "z",
            "ÿ", "É", "e",
        ];
        for (id, text) in texts.iter().enumerate() {
            db.execute_later(&format!("INSERT INTO item VALUES ({id}, '{text}', {});", id % 3));
            db.execute_later(&format!(
                "INSERT IGNORE INTO keyed VALUES ('{text}', {id}); INSERT INTO child VALUES ({id}, '{text}');"
            ));
        }
        db.execute_now();
        for (resource, sql) in [
            ("table = \"item\"\norder = [\"name\"]", "SELECT id FROM item ORDER BY name, id"),
            ("table = \"item\"\norder = [\"-name\", \"grp\"]", "SELECT id FROM item ORDER BY name DESC, grp, id"),
            ("table = \"keyed\"", "SELECT id FROM keyed ORDER BY name"),
        ] {
            assert_eq!(one_by_one(&db.serve(resource)), db.query(sql).unwrap().concat(), "{collation} {resource}");
        }
        // What is related is what SQL's own join says.
        let list = rows(
            &db,
            "table = \"keyed\"\nfields = { id = \"id\", children = { from = \"child\", on = \"name\", column = \"id\" } }",
        );
        let joined: Vec<String> = list
            .iter()
            .flat_map(|row| row["children"].as_array().unwrap().iter().map(|child| format!("{} {child}", row["id"])))
            .collect();
        let expected = db
            .query("SELECT CONCAT(k.id, ' ', c.id) FROM keyed k JOIN child c ON c.name = k.name ORDER BY k.name, c.id")
            .unwrap()
            .concat();
        assert_eq!(joined, expected, "{collation}");
    }
}

#[test]
fn keys_of_mariadb_that_are_bytes_or_no_utf_8_or_only_declared_lose_no_row() {
    for charset in ["binary", "cp1251", "gbk", "sjis", "ascii", "latin1", "utf8mb4", "utf16"] {
        let db = mariadb();
        db.execute(&format!(
            "CREATE TABLE item (id INT NOT NULL, name VARCHAR(40) CHARACTER SET {charset} NOT NULL, UNIQUE KEY (name, id));
             CREATE VIEW seen AS SELECT id, name FROM item;",
        ));
        for (id, bytes) in
            ["00", "61", "41", "6120", "61FF", "98", "C0", "E0", "8181", "C4E3", "FAD0", "EEEF", "81CA", "FFFE80"]
                .iter()
                .enumerate()
        {
            // What the character set does not know is left out.
            db.execute(&format!(
                "SET sql_mode = 'STRICT_TRANS_TABLES'; INSERT IGNORE INTO item VALUES ({id}, x'{bytes}');"
            ));
        }
        let all = db.query("SELECT id FROM item ORDER BY name, id").unwrap().concat();
        assert!(all.len() > 4);
        assert_eq!(
            one_by_one(&db.serve("table = \"item\"\norder = [\"name\", \"id\"]\nfields = { id = \"id\" }")),
            all,
            "{charset}"
        );
        let mut declared =
            one_by_one(&db.serve("table = \"seen\"\nkey = [\"name\", \"id\"]\nfields = { id = \"id\" }"));
        let mut expected = all.clone();
        declared.sort();
        expected.sort();
        assert_eq!(declared, expected, "{charset}");
    }
}

#[test]
fn long_texts_of_mariadb_that_begin_alike_are_in_order() {
    let db = mariadb();
    db.execute(
        "CREATE TABLE item (id INT PRIMARY KEY, body TEXT NOT NULL);
         INSERT INTO item SELECT seq, CONCAT(REPEAT('a', 2000), LPAD((seq * 7919) % 1000, 4, '0')) FROM seq_1_to_300;
         CREATE VIEW seen AS SELECT id, UPPER(body) AS body FROM item;",
    );
    for table in ["item", "seen"] {
        let key = if table == "seen" { "key = [\"id\"]\n" } else { "" };
        let found = rows(
            &db,
            &format!("table = \"{table}\"\n{key}order = [\"body\"]\nchunk_rows = 20\nfields = {{ id = \"id\" }}"),
        );
        let found: Vec<String> = found.iter().map(|row| row["id"].to_string()).collect();
        assert_eq!(found, db.query("SELECT id FROM item ORDER BY RIGHT(body, 4)").unwrap().concat(), "{table}");
    }
}
