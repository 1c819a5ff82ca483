//! What is MariaDB's own: its types, its collations, and how it fails.

use serde_json::{Value, json};

use super::{types::orders_are_the_database_s_own, walk};
use crate::{
    servers::{Db, Kind, Server, mariadb},
    support::{Client, checked, until},
};

fn rows(db: &Db, resource: &str) -> Vec<Value> {
    db.serve(resource).get("/list").results()
}

/// A table with a column of every type, and hard values.
pub const MARIADB: &str = "CREATE TABLE item (id INT PRIMARY KEY, body TEXT NOT NULL);
         INSERT INTO item SELECT seq, CONCAT(REPEAT('a', 2000), LPAD((seq * 7919) % 1000, 4, '0')) FROM seq_1_to_300;
         CREATE VIEW seen AS SELECT id, UPPER(body) AS body FROM item;";

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
            assert_eq!(walk(&db.serve(resource), "/list"), db.query(sql).unwrap().concat(), "{collation} {resource}");
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
            walk(&db.serve("table = \"item\"\norder = [\"name\", \"id\"]\nfields = { id = \"id\" }"), "/list"),
            all,
            "{charset}"
        );
        let mut declared =
            walk(&db.serve("table = \"seen\"\nkey = [\"name\", \"id\"]\nfields = { id = \"id\" }"), "/list");
        let mut expected = all.clone();
        declared.sort();
        expected.sort();
        assert_eq!(declared, expected, "{charset}");
    }
}

#[test]
fn long_texts_of_mariadb_that_begin_alike_are_in_order() {
    let db = mariadb();
    db.execute(MARIADB);
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

/// A table whose rows take a millisecond each.
fn slow(db: &Db) -> &'static str {
    db.execute("CREATE TABLE item (id INT PRIMARY KEY, t TEXT NOT NULL); INSERT INTO item SELECT seq, REPEAT('x', 500) FROM seq_1_to_20000;");
    "table = \"item\"\nwhere = \"SLEEP(0.001) = 0\""
}

fn running(db: &Db) -> usize {
    let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SLEEP(0.001)%' AND ID <> CONNECTION_ID()";
    db.query(sql).unwrap()[0][0].parse().unwrap()
}

#[test]
fn what_nobody_waits_for_is_stopped_at_the_server_and_what_is_asked_next_is_served() {
    let db = mariadb();
    let server = db.serve(&format!("{}\nchunk_rows = 4000", slow(&db)));
    let clients: Vec<Client> = (0..3).map(|at| Client::get(server.address, &format!("/list?id=gt.{at}"))).collect();
    until("all are read", || running(&db) == 3);
    drop(clients);
    until("all are stopped", || running(&db) == 0);
    assert_eq!(server.get("/list?id=lte.5").results().len(), 5);
}

#[test]
fn a_read_beyond_its_time_limit_is_a_504() {
    let db = mariadb();
    db.execute("CREATE TABLE item (id INT PRIMARY KEY); INSERT INTO item VALUES (1), (2);");
    let config = with_timeout(&db, "table = \"item\"\nwhere = \"SLEEP(20) = 0\"");
    let server = crate::support::Running::config(&config);
    assert_eq!(server.get("/list").status, 504);
    assert_eq!(server.get("/list").status, 504);
}

#[test]
fn a_server_that_hangs_is_a_504_and_one_that_goes_on_serves() {
    let own: &'static Server = Box::leak(Box::new(Server::start(Kind::MariaDb)));
    let db = own.database();
    db.execute("CREATE TABLE item (id INT PRIMARY KEY); INSERT INTO item VALUES (1), (2);");
    let server = crate::support::Running::config(&with_timeout(&db, "table = \"item\""));
    assert_eq!(server.get("/list?id=lt.9").results().len(), 2);
    own.order("pause", "paused");
    for at in 0..3 {
        assert_eq!(server.get(&format!("/list?id=gt.{at}")).status, 504);
    }
    own.order("go", "going");
    until("it serves again", || server.get("/list").status == 200);
}

/// A configuration with a short time limit.
fn with_timeout(db: &Db, resource: &str) -> String {
    let url = db.url();
    db.config(resource).replace(&format!("\"{url}\""), &format!("{{ url = \"{url}\", timeout = \"300ms\" }}"))
}

#[test]
fn a_server_that_dies_in_mid_stream_is_a_cut_body_and_one_that_is_back_serves() {
    let own: &'static Server = Box::leak(Box::new(Server::start(Kind::MariaDb)));
    let db = own.database();
    let server = db.serve(slow(&db));
    let mut client = Client::get(server.address, "/list");
    assert!(client.wait_for("\"id\":20"));
    own.order("kill", "killed");
    let reply = client.read_reply("GET");
    assert!(!reply.whole, "a list that was not read to its end looks whole");
    assert_eq!(server.get("/list?id=gt.7").status, 503);
    own.order("start", "ready");
    assert_eq!(server.get("/list?id=lt.7").results().len(), 6);
    // Connections that were idle when the server went are not the client's trouble.
    own.order("kill", "killed");
    own.order("start", "ready");
    assert_eq!(server.get("/list?id=lt.9").results().len(), 8);
}

#[test]
fn a_filter_is_compared_as_its_column_s_type_or_refused() {
    let db = mariadb();
    db.execute(
        "CREATE TABLE item (id BIGINT UNSIGNED PRIMARY KEY, d DATE, dt DATETIME(3), ts TIMESTAMP(2) NULL, ti TIME, n DECIMAL(10,2), f FLOAT, u UUID, name VARCHAR(20), e ENUM('z','a'), js JSON);
         INSERT INTO item VALUES (1, '2026-01-01', '2026-01-01 10:00:00.5', '2026-01-01 10:00:00.5', '100:00:00', 1.25, 0.1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a\\\\b', 'z', '1'),
            (18446744073709551615, '2026-01-02', '2026-01-02', '2026-01-02', '-01:00:00', 1.26, 0.2, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', 'a%b', 'a', '2');",
    );

    let server = db.serve(
        "table = \"item\"\nfilters = [\"id\", \"d\", \"dt\", \"ts\", \"ti\", \"n\", \"f\", \"u\", \"name\", \"e\"]",
    );

    for (filter, found) in [
        ("id=eq.18446744073709551615", 1),
        ("id=gt.18446744073709551614", 1),
        ("id=gt.-1", 2),
        ("id=in.(1,2,18446744073709551615)", 2),
        ("d=eq.2026-01-01", 1),
        ("d=gte.2026-01-01", 2),
        ("dt=eq.2026-01-01T10:00:00.5", 1),
        ("dt=lt.2026-01-02", 1),
        ("ts=eq.2026-01-01T10:00:00.5Z", 1),
        ("ti=eq.100:00:00", 1),
        ("ti=lt.00:00:00", 1),
        ("n=eq.1.25", 1),
        ("n=eq.1.254", 0),
        ("n=gt.1.2549", 1),
        ("f=eq.0.1", 1),
        ("u=eq.A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", 1),
        ("name=eq.A%25B", 1),
        ("name=like.a%5C*", 1),
        ("e=eq.a", 1),
        ("name=is.null", 0),
    ] {
        assert_eq!(server.get(&format!("/list?{filter}")).results().len(), found, "{filter}");
    }

    for filter in [
        "d=eq.soon",
        "d=gt.2026-1-1",
        "dt=eq.2026-01-01T25:00:00",
        "ti=eq.noon",
        "u=eq.7",
        "n=eq.x",
        "ts=in.(2026-01-01,x)",
    ] {
        assert_eq!(server.get(&format!("/list?{filter}")).status, 400, "{filter}");
    }
}

/// What `chunkflow check` says of a resource.
fn advice(db: &Db, resource: &str) -> String {
    checked(&db.config(resource))
}

#[test]
fn check_tells_an_order_that_an_index_gives_from_one_that_is_sorted() {
    let db = mariadb();
    db.execute(
        "CREATE TABLE item (a INT NOT NULL, b INT NOT NULL, c INT, id INT PRIMARY KEY, KEY (a, b), KEY (b, a DESC), KEY (c));
         CREATE TABLE note (id INT PRIMARY KEY, item_id INT, KEY (item_id));
         CREATE TABLE bare (id INT PRIMARY KEY, item_id INT);
         INSERT INTO item VALUES (1, 1, 1, 1), (1, 2, NULL, 2);",
    );

    let order = |order: &str| advice(&db, &format!("table = \"item\"\norder = [{order}]"));
    for given in ["", "\"a\", \"b\"", "\"-a\", \"-b\", \"-id\"", "\"b\", \"-a\"", "\"-b\", \"a\", \"-id\""] {
        assert_eq!(order(given), "", "{given}");
    }

    for sorted in ["\"a\"", "\"a\", \"-b\"", "\"b\", \"a\"", "\"-a\", \"id\""] {
        assert!(order(sorted).contains("no index gives the order"), "{sorted}: {}", order(sorted));
    }

    assert!(order("\"c\"").contains("can be NULL") && !order("\"c\"").contains("no index"), "{}", order("\"c\""));
    let related = |table: &str| {
        advice(
            &db,
            &format!(
                "table = \"item\"\nfields = {{ id = \"id\", all = {{ from = \"{table}\", on = \"item_id\", column = \"id\" }} }}"
            ),
        )
    };

    assert_eq!(related("note"), "");
    assert!(related("bare").contains("CREATE INDEX"), "{}", related("bare"));
}

#[test]
fn json_is_json_whatever_rights_the_user_has() {
    let db = mariadb();
    db.execute(
        "CREATE TABLE item (id INT PRIMARY KEY, js JSON, plain LONGTEXT); INSERT INTO item VALUES (1, '{\"a\": 1}', '{\"a\": 1}');
         CREATE USER IF NOT EXISTS narrow@'127.0.0.1'; GRANT SELECT ON item TO narrow@'127.0.0.1';",
    );
    let config = db.config("table = \"item\"").replace("chunkflow@", "narrow@");
    let row = crate::support::Running::config(&config).get("/list").results().remove(0);
    assert_eq!(row, json!({"id": 1, "js": {"a": 1}, "plain": "{\"a\": 1}"}));
}
