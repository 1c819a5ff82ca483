//! The demo list, compared with an independent reading of the same file.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Process, Reply};

/// What the list must hold, by plain SQL without any code of the project.
fn expected(path: &std::path::Path, base: &str) -> Vec<Value> {
    let connection = Connection::open(path).unwrap();
    let names = |join: &str, target: &str, column: &str, id: i64| -> Vec<String> {
        let sql = format!(
            "SELECT slug FROM {target} WHERE id IN (SELECT {column} FROM {join} WHERE trick_id = {id}) ORDER BY id"
        );
        let mut statement = connection.prepare(&sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };

    let mut tricks = connection
        .prepare("SELECT id, title, slug FROM tricks_trick WHERE publishing_status LIKE 'published%' ORDER BY id")
        .unwrap();
    let rows = tricks
        .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, String>(2)?)))
        .unwrap();
    let encode = |slug: &str| -> String {
        let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        slug.bytes().map(|byte| if keep(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
    };

    rows.map(Result::unwrap)
        .map(|(id, title, slug)| {
            json!({
                "title": title,
                "url": format!("{base}/tricks/{}/", encode(&slug)),
                "categories": names("tricks_trick_categories", "tricks_category", "category_id", id),
                "technologies": names("tricks_trick_technologies", "tricks_technology", "technology_id", id),
            })
        })
        .collect()
}

fn ndjson(reply: &Reply) -> Vec<Value> {
    assert!(reply.whole && (reply.body.is_empty() || reply.body.ends_with(b"\n")));
    // Split as by a client that uses Unicode's rules, with any text in the rows.
    let text = std::str::from_utf8(&reply.body).unwrap();
    let splits = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    text.split(splits).filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn csv_rows(reply: &Reply) -> Vec<Value> {
    assert!(reply.whole);
    let mut reader = csv::Reader::from_reader(&reply.body[..]);
    assert_eq!(reader.headers().unwrap(), vec!["title", "url", "categories", "technologies"]);
    let list = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let rows = reader.records().map(Result::unwrap);
    rows.map(
        |row| json!({ "title": row[0], "url": row[1], "categories": list(&row[2]), "technologies": list(&row[3]) }),
    )
    .collect()
}

#[test]
fn the_demo_equals_an_independent_reading_in_all_formats_at_every_length() {
    let folder = tempfile::TempDir::new().unwrap();
    for rows in [0, 1, 49, 50, 51, 350, 10_007] {
        let file = format!("{rows}.sqlite");
        let server = Process::serve(&["demo", "--rows", &rows.to_string(), "--database", &file], folder.path());
        let expected = expected(&folder.path().join(&file), "http://localhost");
        assert!(expected.len() * 100 + 200 >= rows * 85 && expected.len() <= rows, "most tricks are published");
        // Cold, then warm: the same bytes.
        for name in ["/tricks", "/tricks.json"] {
            let reply = server.get(name);
            assert_eq!(reply.results(), expected, "{name}, {rows} rows");
            assert_eq!(reply.json().as_object().unwrap().len(), 1, "nothing else in the envelope");
        }
        for _ in 0..2 {
            assert_eq!(ndjson(&server.get("/tricks.ndjson")), expected, "{rows} rows of ndjson");
            let mut as_csv = expected.clone();
            // CSV has no null; it has the empty field.
            as_csv.iter_mut().filter(|row| row["title"].is_null()).for_each(|row| row["title"] = json!(""));
            assert_eq!(csv_rows(&server.get("/tricks.csv")), as_csv, "{rows} rows of csv");
        }
    }
}

#[test]
fn a_configuration_file_serves_any_table() {
    let folder = tempfile::TempDir::new().unwrap();
    Connection::open(folder.path().join("shop.sqlite"))
        .unwrap()
        .execute_batch("CREATE TABLE \"order\" (\"select\" TEXT PRIMARY KEY NOT NULL, \"a b\" REAL); INSERT INTO \"order\" VALUES ('x', 1.5), ('w', NULL);")
        .unwrap();
    let config =
        "[databases]\nshop = \"sqlite:shop.sqlite\"\n[resources.orders]\ndatabase = \"shop\"\ntable = \"order\"\n";
    std::fs::write(folder.path().join("chunkflow.toml"), config).unwrap();
    let server = Process::serve(&[], folder.path());
    assert_eq!(server.get("/orders").body, br#"{"results":[{"select":"w","a b":null},{"select":"x","a b":1.5}]}"#);
}
