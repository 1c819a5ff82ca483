//! Files of SQLite in which something cannot be read, as other programs leave them: the rest of
//! them can.

use std::process::Command;

use crate::support::{File, Process, binary};

/// What makes a thing that a program without its functions, collations and modules cannot read, and
/// which table or view that is; or one that can be read all the same.
const MADE: &[(&str, &str, bool)] = &[
    (
        "CREATE TABLE gone (id INTEGER PRIMARY KEY, x); CREATE VIEW over AS SELECT id, x FROM gone; DROP TABLE gone",
        "over",
        false,
    ),
    (
        "CREATE TABLE gone (id INTEGER PRIMARY KEY); CREATE VIEW first AS SELECT id FROM gone;
         CREATE VIEW over AS SELECT * FROM first; DROP TABLE gone",
        "over",
        false,
    ),
    (
        "ALTER TABLE more ADD c INT; CREATE VIEW over AS SELECT c FROM more; CREATE TABLE new (id INTEGER PRIMARY KEY);
      PRAGMA legacy_alter_table = ON; DROP TABLE more; ALTER TABLE new RENAME TO more",
        "over",
        false,
    ),
    ("CREATE VIEW over (a, b) AS SELECT 1", "over", false),
    ("CREATE VIEW over AS SELECT id, own(name) AS n FROM item", "over", false),
    ("CREATE VIEW over AS SELECT id FROM item WHERE own(name) = 1", "over", false),
    ("CREATE VIEW over AS SELECT id, name FROM item ORDER BY name COLLATE odd", "over", false),
    (
        "CREATE VIEW other AS SELECT 1 AS id; CREATE VIEW over AS SELECT * FROM other; DROP VIEW other;
      CREATE VIEW other AS SELECT * FROM over",
        "over",
        false,
    ),
    (
        "CREATE TABLE over (id INTEGER PRIMARY KEY, a INT, b INT GENERATED ALWAYS AS (own(a)) VIRTUAL);
      INSERT INTO over (a) VALUES (1)",
        "over",
        false,
    ),
    ("CREATE TABLE over (k TEXT COLLATE odd PRIMARY KEY, a INT); INSERT INTO over VALUES ('x', 1)", "over", false),
    ("CREATE TABLE over (k TEXT COLLATE odd PRIMARY KEY) WITHOUT ROWID; INSERT INTO over VALUES ('x')", "over", false),
    (
        "CREATE TABLE over (id INTEGER PRIMARY KEY, a INT GENERATED ALWAYS AS (own(id)) STORED); INSERT INTO over DEFAULT VALUES",
        "over",
        true,
    ),
    ("CREATE TABLE over (id INTEGER PRIMARY KEY, a INT CHECK (own(a))); INSERT INTO over VALUES (1, 1)", "over", true),
    (
        "CREATE TABLE over (id INTEGER PRIMARY KEY, a INT DEFAULT (own(1))); INSERT INTO over VALUES (1, 1)",
        "over",
        true,
    ),
    (
        "CREATE TABLE over (id INTEGER PRIMARY KEY, a INT); CREATE INDEX own_a ON over (own(a)); INSERT INTO over VALUES (1, 1)",
        "over",
        true,
    ),
    (
        "CREATE TABLE over (id INTEGER PRIMARY KEY, a INT); CREATE INDEX some_a ON over (a) WHERE own(a) > 0; INSERT INTO over VALUES (1, 1)",
        "over",
        true,
    ),
    ("CREATE TABLE over (id INTEGER PRIMARY KEY, a TEXT COLLATE odd); INSERT INTO over VALUES (1, 'x')", "over", true),
    (
        "CREATE TABLE over (id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX odd_a ON over (a COLLATE odd); INSERT INTO over VALUES (1, 'x')",
        "over",
        true,
    ),
    ("CREATE TRIGGER over AFTER INSERT ON item BEGIN INSERT INTO gone VALUES (own(new.id)); END", "item", true),
    (
        "CREATE TABLE over (id INTEGER PRIMARY KEY, a INT REFERENCES gone (x), b INT REFERENCES item (nope)); INSERT INTO over VALUES (1, 1, 1)",
        "over",
        true,
    ),
    // What no SQL makes: a module that is not here, and a row of the schema without a text.
    (
        "PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema VALUES ('table', 'over', 'over', 0, 'CREATE VIRTUAL TABLE over USING nowhere (a)')",
        "over",
        false,
    ),
    (
        "PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema VALUES ('table', 'over', 'over', 0, 'CREATE VIRTUAL TABLE over USING nowhere (a)');
         INSERT INTO sqlite_schema VALUES ('view', 'on_it', 'on_it', 0, 'CREATE VIEW on_it AS SELECT a FROM over')",
        "over",
        false,
    ),
];

/// A program that has a function and a collation of its own.
const PROGRAM: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.create_function('own', 1, lambda value: 1, deterministic=True)
connection.create_collation('odd', lambda a, b: (a > b) - (a < b))
connection.executescript(sys.argv[2])
connection.commit()
";

/// A file with two tables, and what this makes in it by a program that knows more than this one.
fn file(made: &str) -> File {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO item VALUES (1, 'a'), (2, 'b');
         CREATE TABLE more (id INTEGER PRIMARY KEY, item INTEGER REFERENCES item (id)); INSERT INTO more VALUES (1, 1);",
    );
    let mut python = Command::new("python3");
    python.args(["-c", PROGRAM]).arg(&file.path).arg(made);
    let output = python.output().unwrap();
    assert!(output.status.success(), "{made}: {}", String::from_utf8_lossy(&output.stderr));
    file
}

#[test]
fn what_cannot_be_read_of_a_file_is_left_out_with_the_reason_and_the_rest_is_served() {
    for (made, name, is_served) in MADE {
        let file = file(made);
        let folder = file.folder.path();
        let output = binary(&["init", "test.sqlite"], folder).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("\n[resources.item]"), "{made}: {text}");
        let kind = if made.contains("CREATE VIEW over") { "View" } else { "Table" };
        let left_out = format!("{kind} \"{name}\" is left out: ");
        assert_eq!(!text.contains(&left_out), *is_served, "{made}: {text}");

        std::fs::write(folder.join("chunkflow.toml"), &text).unwrap();
        let output = binary(&["check"], folder).output().unwrap();
        assert!(output.status.success(), "{made}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::remove_file(folder.join("chunkflow.toml")).unwrap();

        let server = Process::serve(&["serve", "test.sqlite"], folder);
        assert_eq!(server.get("/item").results().len(), 2, "{made}");
        let reply = server.get(&format!("/{name}"));
        assert_eq!(reply.status, if *is_served { 200 } else { 404 }, "{made}");
        if *is_served {
            assert!(!reply.results().is_empty(), "{made}");
        }
    }
}
