//! Values, relations and wrong data, from SQLite through to JSON.

use serde_json::json;

use crate::support::{Client, File, Running, numbered, until};

#[test]
fn every_kind_of_value_is_written_as_the_contract_says() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, any, number INTEGER, real REAL, text TEXT, bytes BLOB, doc JSON);
         INSERT INTO item VALUES
         (1, NULL, 9223372036854775807, 0.1, 'plain', x'00ff10', '{\"a\": [1, 2]}'),
         (2, 'text in an untyped column', -9223372036854775808, 1e300, CAST(x'61ff62' AS TEXT), x'', '{broken'),
         (3, x'01', 1, 9e999, char(0, 1, 133, 8232, 8233), NULL, NULL),
         (4, 1.5, 'text in a number column', 3, '\"\\/', x'61', '7');",
    );

    let server = file.serve("table = \"item\"");
    let text = String::from_utf8(server.get("/list").body).unwrap();
    let expected = [
        r#"{"id":1,"any":null,"number":9223372036854775807,"real":0.1,"text":"plain","bytes":"AP8Q","doc":{"a":[1,2]}}"#,
        "{\"id\":2,\"any\":\"text in an untyped column\",\"number\":-9223372036854775808,\"real\":1e+300,\"text\":\"a\u{fffd}b\",\"bytes\":\"\",\"doc\":\"{broken\"}",
        r#"{"id":3,"any":"AQ==","number":1,"real":null,"text":"\u0000\u0001\u0085\u2028\u2029","bytes":null,"doc":null}"#,
        r#"{"id":4,"any":1.5,"number":"text in a number column","real":3.0,"text":"\"\\/","bytes":"YQ==","doc":7}"#,
    ];

    assert_eq!(text, format!("{{\"results\":[{}]}}", expected.join(",")));
    let metrics = server.chunkflow.metrics();
    assert_eq!(metrics.replaced_utf8(), 1, "texts that were not UTF-8 are counted");
    assert_eq!(metrics.values_without_form(), 1, "and what is no JSON in a column of JSON");
}

#[test]
fn a_column_that_its_table_checks_to_be_json_is_embedded_as_django_s_is() {
    let file = File::with(
        "CREATE TABLE \"shop_item\" (\"id\" integer NOT NULL PRIMARY KEY AUTOINCREMENT, \"doc\" text NOT NULL CHECK ((JSON_VALID(\"doc\") OR \"doc\" IS NULL)),
            \"plain\" text NOT NULL, other text CHECK (json_valid( other )), [odd name] text check(json_valid([odd name],1)));
         INSERT INTO shop_item VALUES (1, '{\"a\": [1, 2]}', '{\"a\": 1}', '[]', 'null');",
    );
    let row = file.serve("table = \"shop_item\"").get("/list").results().remove(0);
    assert_eq!(row, json!({"id": 1, "doc": {"a": [1, 2]}, "plain": "{\"a\": 1}", "other": [], "odd name": null}));
}

const SHOP: &str = "
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT, email TEXT, boss INTEGER REFERENCES author);
CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT NOT NULL, author_id INTEGER REFERENCES author (id), editor_id INTEGER REFERENCES author (id));
CREATE TABLE comment (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL REFERENCES post, text TEXT, stars INTEGER);
CREATE INDEX comment_post ON comment (post_id);
CREATE TABLE tag (slug TEXT PRIMARY KEY NOT NULL, label TEXT);
CREATE TABLE post_tag (post_id INTEGER NOT NULL REFERENCES post, tag TEXT NOT NULL REFERENCES tag, rank INTEGER, PRIMARY KEY (post_id, tag));
CREATE TABLE post_post (source INTEGER REFERENCES post (id), target INTEGER REFERENCES post (id));
INSERT INTO author VALUES (1, 'Ada', 'ada@example.com', NULL), (2, 'Ben', NULL, 1);
INSERT INTO post VALUES (1, 'one', 1, 2), (2, 'two', 2, NULL), (3, 'three', NULL, 1), (900000, 'far', 2, 2);
INSERT INTO comment VALUES (1, 1, 'first', 3), (2, 1, 'second', 5), (3, 900000, 'late', NULL), (4, 3, NULL, 1);
INSERT INTO tag VALUES ('a', 'A'), ('b', 'B'), ('c', 'C');
INSERT INTO post_tag VALUES (1, 'b', 1), (1, 'a', 2), (2, 'c', 1), (900000, 'a', 1);
INSERT INTO post_post VALUES (1, 2), (1, 3), (2, 1), (900000, 900000), (3, NULL);
";

#[test]
fn related_rows_of_every_kind_belong_to_their_row() {
    let file = File::with(SHOP);
    let fields = |extra: &str| {
        format!(
            "table = \"post\"\n{extra}\n[resources.list.fields]\nid = \"id\"
             author = {{ via = \"author_id\", column = \"name\" }}
             editor = {{ via = \"editor_id\", columns = [\"name\", \"email\"] }}
             comments = {{ from = \"comment\", columns = [\"text\", \"stars\"], order = [\"-stars\"] }}
             stars = {{ from = \"comment\", column = \"stars\" }}
             tags = {{ through = \"post_tag\", table = \"tag\", column = \"label\" }}
             ranked = {{ through = \"post_tag\", column = \"slug\", order = [\"through.rank\"] }}
             targets = {{ through = \"post_post\", on = \"source\", column = \"title\" , table = \"post\" }}"
        )
    };

    let expected = json!([
        { "id": 1, "author": "Ada", "editor": { "name": "Ben", "email": null },
          "comments": [{ "text": "second", "stars": 5 }, { "text": "first", "stars": 3 }], "stars": [3, 5],
          "tags": ["A", "B"], "ranked": ["b", "a"], "targets": ["two", "three"] },
        { "id": 2, "author": "Ben", "editor": null, "comments": [], "stars": [], "tags": ["C"], "ranked": ["c"], "targets": ["one"] },
        { "id": 3, "author": null, "editor": { "name": "Ada", "email": "ada@example.com" },
          "comments": [{ "text": null, "stars": 1 }], "stars": [1], "tags": [], "ranked": [], "targets": [] },
        { "id": 900_000, "author": "Ben", "editor": { "name": "Ben", "email": null },
          "comments": [{ "text": "late", "stars": null }], "stars": [null], "tags": ["A"], "ranked": ["a"], "targets": ["far"] },
    ]);
    let forward = file.serve(&fields("")).get("/list").json()["results"].clone();
    assert_eq!(forward, expected);
    let mut backward =
        file.serve(&fields("order = [\"-title\"]\nchunk_rows = 1\nchunk_bytes = \"1\"")).get("/list").results();
    backward.sort_by_key(|row| row["id"].as_u64());
    assert_eq!(json!(backward), expected, "in another order, a row a chunk");
    let near = file.serve(&fields("where = \"post.id < 100 -- a comment hides nothing\"")).get("/list").results();
    assert_eq!(json!(near), json!(expected.as_array().unwrap()[..3]), "found by a range of keys");
}

#[test]
fn a_related_name_that_changes_is_never_shown_in_rows_read_later() {
    let file = File::with(
        "CREATE TABLE post (id INTEGER PRIMARY KEY); CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE post_tag (post_id INTEGER REFERENCES post, tag_id INTEGER REFERENCES tag, UNIQUE (post_id, tag_id));
         INSERT INTO post VALUES (1), (2); INSERT INTO tag VALUES (1, 'old'), (2, 'two'); INSERT INTO post_tag VALUES (1, 1), (1, 2), (2, 1);",
    );

    let config = "table = \"post\"\nttl = \"0s\"\nstale = \"0s\"\n[resources.list.fields]\ntags = { through = \"post_tag\", table = \"tag\", column = \"name\" }";
    let server = file.serve(config);
    let writer = file.open();
    assert_eq!(server.get("/list").body, br#"{"results":[{"tags":["old","two"]},{"tags":["old"]}]}"#);
    for name in ["new", "newer"] {
        writer.execute("UPDATE tag SET name = ?1 WHERE id = 1", [name]).unwrap();
        let tags = json!([{ "tags": [name, "two"] }, { "tags": [name] }]);
        assert_eq!(json!(server.get("/list").results()), tags);
    }

    writer.execute_batch("INSERT INTO tag VALUES (70000, 'far'); INSERT INTO post_tag VALUES (2, 70000)").unwrap();
    assert_eq!(
        server.get("/list").results()[1]["tags"],
        json!(["newer", "far"]),
        "and a table that is no longer small is joined"
    );

    writer.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM tag WHERE id = 2").unwrap();
    assert_eq!(
        server.get("/list").results()[0]["tags"],
        json!(["newer"]),
        "a join row that points nowhere is no related row"
    );
}

#[test]
fn rows_that_a_declared_key_does_not_tell_apart_are_a_failure_and_not_a_loss() {
    let file = File::with(
        "CREATE TABLE base (a INT, b INT); INSERT INTO base VALUES (1, 1), (2, 1), (2, 2); CREATE VIEW item AS SELECT * FROM base",
    );
    let server = file.serve("table = \"item\"\nkey = [\"a\"]");
    assert_eq!(server.get("/list").status, 500);
    let server = file.serve("table = \"item\"\nkey = [\"a\", \"b\"]");
    assert_eq!(server.get("/list").results().len(), 3);
}

#[test]
fn a_locked_file_is_unavailable_and_a_slow_query_is_a_timeout() {
    let file = numbered(300_000);
    let database = |extra: &str| {
        file.config("table = \"item\"").replace("main = \"sqlite:", "main = { url = \"sqlite:").replacen(
            "\"\n\n",
            &format!("\", {extra} }}\n\n"),
            1,
        )
    };

    let server = Running::config(&database("timeout = \"300ms\""));
    let writer = file.open();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let reply = server.get("/list");
    assert!([503, 504].contains(&reply.status), "{}", reply.status);
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(server.get("/list?limit=1").status, 200);
    let slow = file.config("table = \"item\"\nwhere = \"(SELECT count(*) FROM item a, item b) > 0\"");
    let slow = slow.replace("main = \"sqlite:", "main = { url = \"sqlite:").replacen(
        "\"\n\n",
        "\", timeout = \"300ms\" }\n\n",
        1,
    );

    let server = Running::config(&slow);
    let reply = server.get("/list");
    assert_eq!(reply.status, 504, "{}", reply.json());
}

#[test]
fn a_file_that_took_the_place_of_another_is_read_and_not_the_old_one() {
    let file = numbered(10);
    let server = file.serve("table = \"item\"\nttl = \"0s\"\nstale = \"0s\"");
    assert_eq!(server.get("/list").results().len(), 10);
    let other = numbered(20);
    std::fs::rename(&other.path, &file.path).unwrap();
    assert_eq!(server.get("/list").results().len(), 20);
}

#[test]
fn a_query_whose_client_has_left_is_stopped_in_sqlite_too() {
    let file = numbered(300_000);
    let config = file.config("table = \"item\"\nwhere = \"(SELECT count(*) FROM item a, item b) > 0\"");
    let config = config.replace("main = \"sqlite:", "main = { url = \"sqlite:").replacen(
        "\"\n\n",
        "\", pool = 1, timeout = \"10m\" }\n\n",
        1,
    );

    let server = Running::config(&(config + "\n[resources.fast]\ndatabase = \"main\"\ntable = \"item\"\n"));
    let slow = Client::get(server.address, "/list");
    until("the slow query runs", || server.chunkflow.metrics().misses() == 1);
    std::thread::sleep(std::time::Duration::from_millis(100));
    drop(slow);
    // The only connection is free again, long before the ninety billion steps of the slow query are
    // done.
    assert_eq!(server.get("/fast?limit=5").results().len(), 5);
    assert_eq!(server.chunkflow.metrics().abandoned(), 1);
}

#[test]
fn rows_with_very_many_related_rows_are_read_in_shorter_runs() {
    let file = File::with(
        "CREATE TABLE post (id INTEGER PRIMARY KEY); CREATE TABLE comment (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES post, text TEXT);
         CREATE INDEX comment_post ON comment (post_id);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40) INSERT INTO post SELECT i FROM n;
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT 200000)
         INSERT INTO comment SELECT i, 1 + i % 40, 'comment ' || i FROM n;",
    );

    let server = file.serve(
        "table = \"post\"\n[resources.list.fields]\nid = \"id\"\ncomments = { from = \"comment\", column = \"text\" }",
    );

    let rows = server.get("/list").results();
    assert_eq!(rows.len(), 40);
    for (index, row) in rows.iter().enumerate() {
        let comments = row["comments"].as_array().unwrap();
        assert_eq!((comments.len(), &comments[4_999]), (5_000, &json!(format!("comment {}", 199_960 + index))));
    }

    assert!(server.chunkflow.metrics().reads() > 2, "not all in one run");
}

#[test]
fn related_rows_are_found_as_sql_compares_whatever_the_columns_are_declared_as() {
    for (parent, child) in [
        ("INTEGER PRIMARY KEY", "TEXT"),
        ("INTEGER PRIMARY KEY", "REAL"),
        ("INTEGER PRIMARY KEY", ""),
        ("TEXT PRIMARY KEY NOT NULL", "INTEGER"),
        ("TEXT PRIMARY KEY NOT NULL COLLATE NOCASE", "TEXT"),
        ("REAL PRIMARY KEY NOT NULL", "TEXT"),
        ("INT NOT NULL UNIQUE", "NUMERIC"),
    ] {
        let file = File::with(&format!(
            "CREATE TABLE post (id {parent}); CREATE TABLE tag (id {parent}, name TEXT);
             CREATE TABLE comment (n INTEGER PRIMARY KEY, post {child} REFERENCES post (id));
             CREATE TABLE post_tag (n INTEGER PRIMARY KEY, post {child} REFERENCES post (id), tag {child} REFERENCES tag (id));
             INSERT INTO post VALUES (1), (2), (30); INSERT INTO tag VALUES (1, 'one'), (30, 'thirty');
             INSERT INTO comment VALUES (1, '1'), (2, 30), (3, 1); INSERT INTO post_tag VALUES (1, '1', '30'), (2, 30, 1), (3, 2, 30);"
        ));
        let server = file.serve(
            "table = \"post\"\n[resources.list.fields]\nid = \"id\"\ncomments = { from = \"comment\", column = \"n\" }\ntags = { through = \"post_tag\", table = \"tag\", column = \"name\" }",
        );
        let found: Vec<_> =
            server.get("/list").results().iter().map(|row| json!([row["comments"], row["tags"]])).collect();
        assert_eq!(json!(found), json!([[[1, 3], ["thirty"]], [[], ["thirty"]], [[2], ["one"]]]), "{parent}, {child}");
    }
}

#[test]
fn rows_that_share_a_key_for_related_rows_all_get_them() {
    let file = File::with(
        "PRAGMA foreign_keys = OFF; CREATE TABLE grp (id INTEGER PRIMARY KEY, g INTEGER); CREATE TABLE item (id INTEGER PRIMARY KEY, g INTEGER REFERENCES grp (g));
         INSERT INTO grp VALUES (1, 1), (2, 1), (3, 2); INSERT INTO item VALUES (7, 1), (8, 1), (9, 2);",
    );
    let server = file.serve("table = \"grp\"\n[resources.list.fields]\nitems = { from = \"item\", column = \"id\" }");
    assert_eq!(
        server.get("/list").json()["results"],
        json!([{ "items": [7, 8] }, { "items": [7, 8] }, { "items": [9] }])
    );
}

#[test]
fn a_declared_key_that_repeats_at_the_end_of_a_read_is_a_failure_too() {
    let file = File::with(
        "CREATE TABLE base (id INTEGER PRIMARY KEY, n INT, s TEXT COLLATE NOCASE);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000)
         INSERT INTO base SELECT i, i - (i = 101), CASE WHEN i = 100 THEN 'k' || 99 ELSE 'K' || i END FROM n;
         CREATE VIEW item AS SELECT * FROM base;",
    );
    // Rows 100 and 101 have the same n, and the first read ends between them.
    let server = file.serve("table = \"item\"\nkey = [\"n\"]");
    assert_eq!(server.get("/list").status, 500);
    let server = file.serve("table = \"base\"\nkey = [\"n\"]");
    assert_eq!(server.get("/list").results().len(), 1_000, "a table has its own key behind it");
    // k99 and K99 are equal by the column's collation, but are different rows.
    let server = file.serve("table = \"item\"\nkey = [\"s\"]");
    assert_eq!(server.get("/list").results().len(), 1_000);
}

#[test]
fn a_file_replaced_in_mid_stream_is_not_read_any_more_afterwards() {
    let file = numbered(300_000);
    let other = numbered(20);
    let server = file.serve("table = \"item\"\nttl = \"0s\"\nstale = \"0s\"");
    let mut client = Client::get(server.address, "/list");
    assert!(client.wait_for("\"id\":10,"));
    std::fs::rename(&other.path, &file.path).unwrap();
    drop(client);
    for _ in 0..3 {
        assert_eq!(server.get("/list").results().len(), 20);
    }
}

/// The list read by its `Link`s, `step` rows at a time.
fn by_links(server: &Running, step: usize) -> Vec<serde_json::Value> {
    let mut target = format!("/list?limit={step}");
    let mut rows = vec![];
    loop {
        let reply = server.get(&target);
        rows.extend(reply.results());
        match reply.next("/list") {
            Some(next) => target = next,
            None => return rows,
        }
    }
}

#[test]
fn a_key_that_is_unique_under_another_collation_than_its_column_loses_no_row() {
    for kind in ["", "WITHOUT ROWID"] {
        let file = File::with(&format!(
            "CREATE TABLE item (a TEXT NOT NULL COLLATE NOCASE, v INT, PRIMARY KEY (a COLLATE BINARY)) {kind};
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 600)
             INSERT INTO item SELECT CASE i % 2 WHEN 0 THEN 'k' ELSE 'K' END || (i / 2), i FROM n;"
        ));
        for order in ["", "order = [\"v\"]", "order = [\"-a\"]"] {
            let server = file.serve(&format!("table = \"item\"\n{order}"));
            for step in [1, 7, 101] {
                assert_eq!(by_links(&server, step).len(), 600, "{kind}, {order}, in steps of {step}");
            }
            assert_eq!(server.get("/list").results().len(), 600);
        }
    }
}

#[test]
fn equal_numbers_of_two_types_are_the_same_key() {
    let file = File::with(
        "CREATE TABLE base (k); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300)
         INSERT INTO base SELECT CASE i WHEN 150 THEN 149.0 ELSE i END FROM n; CREATE VIEW item AS SELECT * FROM base;",
    );
    let server = file.serve("table = \"item\"\nkey = [\"k\"]");
    let whole = server.get("/list");
    assert!(whole.status == 500 || !whole.whole, "it is a failure, and is seen");
    let part = server.get("/list?limit=149");
    assert!(part.status == 500 || !part.whole, "at a cut too");
}

#[test]
fn related_rows_are_those_of_exactly_their_parent() {
    let comments = |sql: &str| {
        let file = File::with(&format!("PRAGMA foreign_keys = OFF; {sql}"));
        let fields = "table = \"post\"\n[resources.list.fields]\nc = { from = \"comment\", column = \"text\" }";
        json!(file.serve(fields).get("/list").results().iter().map(|row| row["c"].clone()).collect::<Vec<_>>())
    };

    let child = "CREATE TABLE comment (n INTEGER PRIMARY KEY, post REFERENCES post (id), text TEXT);";
    // The collation of the parent's column counts, not that of an index.
    let sql = "CREATE TABLE post (n INTEGER PRIMARY KEY, id TEXT COLLATE NOCASE); CREATE UNIQUE INDEX u ON post (id);";
    let rows =
        "INSERT INTO post VALUES (1, 'Ab'), (2, 'x'); INSERT INTO comment VALUES (1, 'ab', 'one'), (2, 'X', 'two');";
    assert_eq!(comments(&format!("{sql} {child} {rows}")), json!([["one"], ["two"]]));
    let other = sql.replace("ON post (id)", "ON post (id COLLATE BINARY)");
    assert_eq!(comments(&format!("{other} {child} {rows}")), json!([["one"], ["two"]]));
    // A fraction in a column of whole numbers.
    let sql = "CREATE TABLE post (id INT PRIMARY KEY NOT NULL); INSERT INTO post VALUES (5), (5.5), ('five');";
    let rows = "INSERT INTO comment VALUES (1, 5, 'of 5'), (2, 5.5, 'of 5.5'), (3, 'five', 'of five');";
    for kind in ["post INT", "post TEXT", "post"] {
        let child = child.replace("post REFERENCES", &format!("{kind} REFERENCES"));
        assert_eq!(comments(&format!("{sql} {child} {rows}")), json!([["of 5"], ["of 5.5"], ["of five"]]), "{kind}");
    }

    // A blob and a text with the same bytes; a text that is not UTF-8.
    let sql = "CREATE TABLE post (id TEXT PRIMARY KEY NOT NULL); INSERT INTO post VALUES ('a'), (CAST(x'ff41' AS TEXT)), (x'61');";
    let rows =
        "INSERT INTO comment VALUES (1, 'a', 'of text'), (2, x'61', 'of blob'), (3, CAST(x'ff41' AS TEXT), 'of ff41');";
    assert_eq!(comments(&format!("{sql} {child} {rows}")), json!([["of text"], ["of ff41"], ["of blob"]]));
}

#[test]
fn rows_with_nothing_but_a_rowid_are_not_mixed_across_a_vacuum() {
    let file = File::with("CREATE TABLE item (name TEXT); INSERT INTO item VALUES ('a'), ('b'), ('c')");
    let server = file.serve("table = \"item\"\nttl = \"0s\"\nstale = \"0s\"");
    assert_eq!(server.get("/list").results().len(), 3);
    file.open().execute_batch("DELETE FROM item WHERE name = 'a'; VACUUM").unwrap();
    assert_eq!(server.get("/list").results().len(), 2, "rowids may have changed, and it is made again");
}

#[test]
fn one_row_with_endless_related_rows_has_null_in_their_place_or_is_a_failure_and_not_endless_memory() {
    let file = File::with(
        "CREATE TABLE post (id INTEGER PRIMARY KEY); CREATE TABLE comment (id INTEGER PRIMARY KEY, post INTEGER REFERENCES post, text TEXT);
         CREATE INDEX c ON comment (post); INSERT INTO post VALUES (1);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 70000) INSERT INTO comment SELECT i, 1, hex(zeroblob(500)) FROM n;",
    );
    let fields = "[resources.list.fields]\nc = { from = \"comment\", column = \"text\" }";
    let server = file.serve(&format!("table = \"post\"\n{fields}"));
    assert_eq!(server.get("/list").results(), [json!({ "c": null })]);
    let server = file.serve(&format!("table = \"post\"\ntoo_large = \"fail\"\n{fields}"));
    assert_eq!(server.get("/list").status, 500);
}
