//! Lists are read by the parsers that people use: strict ones, each a small program in
//! `tests/readers`.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    process::{Command, Stdio},
};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::{
    servers::{every_kind, postgres, sqlite},
    support::{File, Running, ask},
};

/// A program's output for a body.
fn read_with(program: &[&str], body: &[u8]) -> String {
    let cache = concat!(env!("CARGO_MANIFEST_DIR"), "/target/go");
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .envs([("GO111MODULE", "off"), ("GOFLAGS", ""), ("GOCACHE", cache)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let sent = body.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program:?}: {told}\n{}",
        String::from_utf8_lossy(&body[..body.len().min(2_000)])
    );

    String::from_utf8(output.stdout).unwrap()
}

const CSV_READERS: [&[&str]; 2] =
    [&["go", "run", "tests/readers/read_csv.go"], &["python3", "tests/readers/read_csv.py"]];
const JSON_READERS: [&[&str]; 3] = [
    &["go", "run", "tests/readers/read_json.go"],
    &["python3", "tests/readers/read_json.py"],
    &["node", "tests/readers/read_json.js"],
];

/// A list's bytes, decoded.
fn body(server: &Running, target: &str, coding: &str) -> Vec<u8> {
    let reply = ask(server.address, "GET", target, &[("Accept-Encoding", coding)]);
    assert_eq!(reply.status, 200);
    assert!(reply.whole);
    if reply.header("content-encoding") != "gzip" {
        return reply.body;
    }
    let mut plain = vec![];
    GzDecoder::new(&reply.body[..]).read_to_end(&mut plain).unwrap();
    plain
}

/// The records that strict readers find, including header and mark; all find the same.
fn records(body: &[u8]) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<Vec<String>>> =
        CSV_READERS.iter().map(|reader| serde_json::from_str(&read_with(reader, body)).unwrap()).collect();
    // Go's reader turns CRLF into LF, within quotes too.
    for field in found.iter_mut().flatten().flatten() {
        *field = field.replace("\r\n", "\n");
    }
    let first = found.swap_remove(0);
    found.iter().for_each(|other| assert_eq!(&first, other));
    first
}

/// Texts that break CSV files, as SQL.
const TEXTS: [&str; 16] = [
    "''",
    "'_end'",
    "'_end 3'",
    "'_end,3'",
    "'a\"b'",
    "'\"'",
    "char(13)",
    "char(10)",
    "char(13, 10)",
    "'x' || char(13, 10) || '_end,7,'",
    "'=1+1'",
    "'@SUM(A1)'",
    "char(65279) || 'bom'",
    "' '",
    "'\\.'",
    "',,'",
];

#[test]
fn strict_csv_readers_find_every_row_and_behind_them_their_number() {
    let rows: String = TEXTS.iter().enumerate().fold(String::new(), |mut sql, (id, text)| {
        let _ = write!(sql, "INSERT INTO item VALUES ({id}, {text}, {id} - 1, NULL);");
        sql
    });

    let file = File::with(&format!(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, text, n INTEGER, void TEXT); {rows}
         INSERT INTO item VALUES (100, NULL, NULL, NULL), (101, 9e999, NULL, NULL), (102, x'', NULL, NULL), (103, x'00', NULL, NULL);"
    ));
    let expected: Vec<String> = file
        .open()
        .prepare("SELECT text FROM item ORDER BY id")
        .unwrap()
        .query_map([], |row| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).replace("\r\n", "\n"),
                rusqlite::types::ValueRef::Blob([0]) => "AA==".to_owned(),
                _ => String::new(),
            })
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for fields in [
        "text = \"text\"",
        "text = \"text\"\nn = \"n\"",
        "text = \"text\"\nvoid = \"void\"",
        "text = \"text\"\nn = \"n\"\nvoid = \"void\"\nid = \"id\"",
        "\"\" = \"text\"",
    ] {
        let server = file.serve(&format!(
            "table = \"item\"\nchunk_rows = 4\ncount = true\nfilters = [\"id\"]\n[resources.list.fields]\n{fields}"
        ));
        let width = fields.lines().count();
        for (target, coding, rows) in [
            ("/list.csv", "identity", expected.len()),
            ("/list.csv", "gzip", expected.len()),
            ("/list.csv?limit=3", "identity", 3),
            ("/list.csv?id=gt.1000", "gzip", 0),
        ] {
            let mut found = records(&body(&server, target, coding));
            let header = found.remove(0);
            assert_eq!(header.len(), width);
            let mark = found.pop().unwrap();
            let count = rows.to_string();
            let expected_mark: Vec<String> = match width {
                1 => vec![format!("_end {count}")],
                _ => ["_end", &count].into_iter().chain(std::iter::repeat("")).take(width).map(str::to_owned).collect(),
            };
            assert_eq!(mark, expected_mark, "{fields} {target}");
            let first: Vec<&String> = found.iter().map(|record| &record[0]).collect();
            assert_eq!(first, expected[..rows].iter().collect::<Vec<_>>(), "{fields} {target} {coding}");
        }
    }

    let server = file.serve("table = \"item\"\nfields = { text = \"text\" }");
    assert_eq!(
        records(&body(&server, "/list.csv", "identity")).len(),
        1 + expected.len(),
        "without a mark where not counted"
    );
}

#[test]
fn a_counted_list_in_csv_that_was_cut_has_no_mark() {
    let file = File::with(
        "CREATE TABLE base (id INTEGER PRIMARY KEY, name TEXT, n INTEGER);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) INSERT INTO base SELECT i, '_end', i - 1 FROM n;
         INSERT INTO base VALUES (5001, 'x', 1), (5002, 'x', 1);
         CREATE VIEW item AS SELECT CASE WHEN id > 5000 THEN 5001 ELSE id END AS id, name, n FROM base;",
    );
    let server = file
        .serve("table = \"item\"\nkey = [\"id\"]\ncount = true\n[resources.list.fields]\nname = \"name\"\nn = \"n\"");
    let reply = server.get("/list.csv");
    assert!(!reply.whole, "two rows have the same key");
    assert!(
        !reply.body.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"_end")),
        "the mark is never in quotes"
    );
}

/// JSON texts that spoil a list, as they are in a column, and whether they can be embedded.
fn texts() -> Vec<(String, bool)> {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let nines = "9".repeat(400);
    [
        ("{\"a\": [1, 2.50, true, null, \"x\"]}".to_owned(), true),
        (nested(128), true),
        (nested(129), false),
        (objects(127), true),
        (objects(200), false),
        (nested(5_000), false),
        ("[1e999]".into(), false),
        ("[-1e400]".into(), false),
        (format!("{{\"n\": {nines}}}"), false),
        ("[123456789012345678901234567890.12345678901234567890]".into(), true),
        ("[1e-999]".into(), true),
        ("[1.7976931348623157e308]".into(), true),
        ("\"\\ud800\"".into(), true),
        ("[\"\\udc00\\ud800\", \"\\ud83d\\ude00\"]".into(), true),
        ("{\"a\": 1, \"a\": 2}".into(), true),
        ("\"\u{2028}\u{2029}\u{85}\u{7f}\"".into(), true),
        ("\"\\u0000\"".into(), true),
        (" [ 1 ,\n2\t] ".into(), true),
    ]
    .into()
}

#[test]
fn whatever_json_columns_hold_strict_parsers_read_the_list() {
    for db in [sqlite(), postgres()] {
        db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, doc JSON);
             CREATE TABLE child (id INTEGER PRIMARY KEY, item_id INTEGER REFERENCES item (id), doc JSON);",
        );
        let texts = texts();
        for (id, (text, _)) in texts.iter().enumerate() {
            db.execute_later(&format!("INSERT INTO item VALUES ({id}, '{text}');"));
            db.execute_later(&format!("INSERT INTO child VALUES ({id}, {}, '{text}');", id / 4));
        }
        db.execute_now();
        let server = db.serve(
            "table = \"item\"\n[resources.list.fields]\nid = \"id\"\ndoc = \"doc\"\n\
             children = { from = \"child\", columns = [\"id\", \"doc\"] }\ndocs = { from = \"child\", column = \"doc\" }",
        );
        let list = body(&server, "/list", "identity");
        for reader in JSON_READERS {
            assert_eq!(read_with(reader, &list), "OK\n", "{}", db.name());
        }

        // Line by line, as streams are read; each value is embedded, or is the text that it was.
        let lines = String::from_utf8(body(&server, "/list.ndjson", "identity")).unwrap();
        assert_eq!(lines.lines().count(), texts.len());
        for (line, (text, embedded)) in lines.lines().zip(&texts) {
            let shown = line.split_once("\"doc\":").unwrap().1;
            let as_text = serde_json::Deserializer::from_str(shown).into_iter::<String>().next().unwrap();
            let stands_as_text = as_text.is_ok_and(|shown| shown == *text);
            assert_eq!(stands_as_text, !embedded, "{}: {text:.60} in {shown:.60}", db.name());
        }

        // In each of the two formats there are six values. Of the three related lists each has a
        // flaw, and one has two. Lone surrogates are in two values and in one related list. Both
        // fields of related rows show them.
        let metrics = server.chunkflow.metrics();
        assert_eq!(metrics.values_without_form(), 2 * (6 + 2 * 4), "{}", db.name());
        assert_eq!(metrics.replaced_utf8(), 2 * (2 + 2), "{}", db.name());
    }
}

#[test]
fn numeric_keeps_its_digits_at_any_size_where_json_would_be_text() {
    let db = postgres();
    let nines = "9".repeat(1_000);
    db.execute(&format!(
        "CREATE TABLE item (id int PRIMARY KEY, n numeric, ns numeric[], doc jsonb); INSERT INTO item VALUES (1, {nines}.50, '{{{nines}}}', '{nines}');"
    ));
    let server = db.serve("table = \"item\"");
    let text = String::from_utf8(server.get("/list").body).unwrap();
    assert_eq!(text, format!("{{\"results\":[{{\"id\":1,\"n\":{nines}.50,\"ns\":[{nines}],\"doc\":\"{nines}\"}}]}}"));
    assert_eq!(server.chunkflow.metrics().values_without_form(), 1);
}

#[test]
fn invalid_utf_8_within_json_is_replaced_and_the_json_stays_json() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, doc JSON);
         INSERT INTO item VALUES (1, CAST(x'7b2261223a22ff227d' AS TEXT)), (2, CAST(x'7b61ff' AS TEXT));",
    );
    let server = file.serve("table = \"item\"");
    assert_eq!(
        server.get("/list").results(),
        [json!({"id": 1, "doc": {"a": "\u{fffd}"}}), json!({"id": 2, "doc": "{a\u{fffd}"})]
    );
    let metrics = server.chunkflow.metrics();
    assert_eq!([metrics.replaced_utf8(), metrics.values_without_form()], [2, 1]);
}

#[test]
fn each_column_with_values_that_have_no_form_is_warned_of_once() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, doc JSON, other JSON, text TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000)
         INSERT INTO item SELECT i, '[1e999]', '[' || i || ']', CAST(x'ff' AS TEXT) FROM n;",
    );

    std::fs::write(file.folder.path().join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let mut child = crate::support::binary(&["export", "list", "--format", "ndjson"], file.folder.path());
    let output = child.output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout.split(|byte| *byte == b'\n').count(), 3_001);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    assert!(warnings.iter().any(|line| line.contains("doc") && line.contains("double")), "{log}");
    assert!(warnings.iter().any(|line| line.contains("text") && line.contains("UTF-8")), "{log}");
}

#[test]
fn a_list_of_every_database_that_is_counted_ends_in_its_number_in_every_format() {
    for db in every_kind() {
        db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(9)); INSERT INTO item VALUES (1, 'a'), (2, NULL);",
        );
        let server = db.serve("table = \"item\"\ncount = true");
        let text = |target: &str| String::from_utf8(server.get(target).body).unwrap();
        assert!(text("/list").ends_with("],\"count\":2}"), "{}", db.name());
        assert!(text("/list.ndjson").ends_with("{\"_end\":{\"count\":2}}\n"), "{}", db.name());
        assert_eq!(text("/list.csv"), "id,name\r\n1,a\r\n2,\r\n_end,2\r\n", "{}", db.name());
        let two: Value = serde_json::from_str(&text("/list")).unwrap();
        assert_eq!(two["count"], 2);
    }
}
