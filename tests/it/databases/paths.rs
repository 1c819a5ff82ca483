//! A table's list has the table's own name, whatever it is.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{servers::every_kind, support::Process};

/// Names that are told apart only by what stands in them, or are like other paths.
const NAMES: &[&str] = &[
    "a b",
    "a_b",
    "a-b",
    "a+b",
    "中国",
    "__",
    "Ünï cödé",
    "data",
    "data.json",
    "data.json.json",
    "x.csv",
    "50%",
    "%41",
    "a/b",
    "a?b",
    "a#b",
    "quote'd",
    "semi;colon",
    "metrics",
    "openapi",
    "...",
    "ελληνικά",
];

#[test]
fn every_table_is_served_under_its_own_name_in_utf_8() {
    for db in every_kind() {
        let quotes = if db.name() == "mariadb" { "SET sql_mode = 'ANSI_QUOTES';" } else { "" };
        let table = |(at, name): (usize, &&str)| {
            format!("CREATE TABLE \"{name}\" (id INTEGER PRIMARY KEY); INSERT INTO \"{name}\" VALUES ({at});")
        };
        let names: Vec<&str> = NAMES.to_vec();
        db.execute(&format!("{quotes}{}", names.iter().enumerate().map(table).collect::<String>()));
        db.execute(&format!("{quotes}CREATE TABLE healthz (id INTEGER PRIMARY KEY); CREATE TABLE healthz_ (id INTEGER PRIMARY KEY); INSERT INTO healthz VALUES (7);"));
        let folder = tempfile::TempDir::new().unwrap();
        let server = Process::serve(&["serve", &db.url()], folder.path());
        for (at, name) in names.iter().enumerate() {
            let path = format!("/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
            for (suffix, body) in
                [("", format!("{{\"results\":[{{\"id\":{at}}}]}}")), (".ndjson", format!("{{\"id\":{at}}}\n"))]
            {
                let reply = server.get(&format!("{path}{suffix}"));
                assert_eq!(String::from_utf8_lossy(&reply.body), body, "{} {name} {suffix}", db.name());
            }
        }
        // The server's own path is its own, and no other table's name is taken for it.
        assert!(String::from_utf8_lossy(&server.get("/healthz").body).contains("ok"), "{}", db.name());
        assert_eq!(server.get("/healthz_").results().len(), 0);
        assert_eq!(server.get("/healthz__").results()[0]["id"], 7);
        let landing = server.get("/").json();
        let paths: Vec<&str> =
            landing["resources"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
        assert!(paths.contains(&"/%E4%B8%AD%E5%9B%BD") && paths.contains(&"/a%20b"), "{paths:?}");
    }
}
