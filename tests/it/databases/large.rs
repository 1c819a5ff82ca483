//! A row has a bound: what is too large is NULL, counted and told of, or fails its list; and reads
//! of large rows take no more memory together than they may.
//!
//! The bounds are lowered where nothing but the rule is meant. One test has the true ones, and
//! looks at the memory of a process.

use std::time::Duration;

use chunkflow::{
    server::Config,
    source::{ReadMemory, RowBounds},
};
use serde_json::{Value, json};

use crate::{
    servers::{Db, every_kind},
    support::{Client, Process, Running, STUCK, parse, until},
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What the rule is tried with: 64 KiB for a value, 128 KiB for a row, and 16 KiB unmeasured.
fn lowered() -> RowBounds {
    let mut bounds = RowBounds::default();
    bounds.value = 64 * KIB as u64;
    bounds.row = 128 * KIB as u64;
    bounds.unmeasured = 16 * KIB as u64;
    bounds
}

fn lowered_config(db: &Db, resource: &str) -> Config {
    let mut config = parse(&db.config(resource)).unwrap();
    config.bound_rows(lowered(), &ReadMemory::default());
    config
}

fn serve(db: &Db, resource: &str) -> Running {
    Running::of(&lowered_config(db, resource))
}

fn counted(server: &Running) -> u64 {
    server.chunkflow.metrics().values_without_form()
}

/// How a database writes the types of text, bytes and JSON that have no length of their own.
fn types(db: &Db) -> [&'static str; 3] {
    match db.name() {
        "postgres" => ["text", "bytea", "json"],
        "mariadb" => ["longtext", "longblob", "json"],
        _ => ["text", "blob", "json"],
    }
}

/// A text of so many bytes, made by the database.
fn text(db: &Db, bytes: usize) -> String {
    match db.name() {
        "sqlite" => format!("CAST(replace(hex(zeroblob({bytes})), '00', 'x') AS TEXT)"),
        _ => format!("repeat('x', {bytes})"),
    }
}

/// So many bytes that are no text.
fn blob(db: &Db, bytes: usize) -> String {
    match db.name() {
        "sqlite" => format!("zeroblob({bytes})"),
        "postgres" => format!("decode(repeat('00', {bytes}), 'hex')"),
        _ => format!("repeat(char(0), {bytes})"),
    }
}

/// A JSON text of so many bytes.
fn json_text(db: &Db, bytes: usize) -> String {
    let inner = text(db, bytes - 2);
    match db.name() {
        "mariadb" => format!("concat('\"', {inner}, '\"')"),
        "postgres" => format!("('\"' || {inner} || '\"')::json"),
        _ => format!("'\"' || {inner} || '\"'"),
    }
}

/// What stands in a list for a text, bytes and JSON of these lengths, where those that `stays` says
/// are not NULL.
fn shown(lengths: [usize; 3], stays: [bool; 3]) -> Value {
    let x = |bytes: usize| Value::from("x".repeat(bytes));
    let zeros = |bytes: usize| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        Value::from(STANDARD.encode(vec![0; bytes]))
    };
    let [body, data, doc] = lengths;
    let all = [x(body), zeros(data), x(doc.saturating_sub(2))];
    let kept: Vec<Value> =
        all.into_iter().zip(stays).map(|(value, stays)| if stays { value } else { Value::Null }).collect();
    json!({ "body": kept[0], "data": kept[1], "doc": kept[2] })
}

/// The rule, written down a second time: which of these stay.
fn stay(lengths: &[usize], bounds: RowBounds) -> Vec<bool> {
    let mut stays: Vec<bool> = lengths.iter().map(|&length| length as u64 <= bounds.value).collect();
    loop {
        let sum: usize = (0..lengths.len()).filter(|at| stays[*at]).map(|at| lengths[at]).sum();
        if sum as u64 <= bounds.row {
            return stays;
        }
        let most = (0..lengths.len()).filter(|at| stays[*at]).map(|at| lengths[at]).max().unwrap();
        // Of equal ones the last goes.
        let at = (0..lengths.len()).rev().find(|at| stays[*at] && lengths[*at] == most).unwrap();
        stays[at] = false;
    }
}

#[test]
fn what_is_too_large_is_null_wherever_it_stands_and_nothing_else_is() {
    let b = lowered();
    let value = b.value as usize;
    let row = b.row as usize;
    let unmeasured = b.unmeasured as usize;
    let mut rows: Vec<[usize; 3]> = vec![
        [3, 3, 3],
        [value - 1, 3, 3],
        [value, 3, 3],
        [value + 1, 3, 3],
        [3, value, 3],
        [3, value + 1, 3],
        [3, 3, value],
        [3, 3, value + 1],
        [value + 1, value + 1, value + 1],
        [value, value, 3],
        [value, row - value - 3, 3],
        [value, row - value - 2, 3],
        [value - 9, value, value - 5],
        [value, value, value],
        [row / 3, row / 3, row / 3],
        [row / 3, row / 3, row / 3 + 9],
        [10 * value, 3, 40 * KIB],
        [unmeasured - 99, 3, 3],
        [unmeasured, 3, 3],
        [unmeasured / 2, unmeasured / 2, unmeasured / 2],
    ];

    let mut random = fastrand::Rng::with_seed(17);
    for _ in 0..20 {
        let mut one = || match random.u8(..4) {
            0 => random.usize(value - 3..value + 4),
            1 => random.usize(row / 3 - 9..row / 3 + 9),
            2 => random.usize(2..value * 2),
            _ => random.usize(2..200),
        };
        rows.push([one(), one(), one()]);
    }

    for db in every_kind() {
        let [text_type, blob_type, json_type] = types(&db);
        db.execute(&format!(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, body {text_type}, data {blob_type}, doc {json_type})"
        ));
        // Many small ones between, so that runs begin and end anywhere.
        let mut expected = vec![];
        for (index, lengths) in rows.iter().enumerate() {
            for small in 0..index % 4 * 9 {
                let id = index * 100 + small;
                db.execute_later(&format!("INSERT INTO item VALUES ({id}, 'x', NULL, NULL);"));
                expected.push((id, json!({ "body": "x", "data": null, "doc": null })));
            }
            let [body, data, doc] = *lengths;
            let id = index * 100 + 99;
            db.execute_later(&format!(
                "INSERT INTO item VALUES ({id}, {}, {}, {});",
                text(&db, body),
                blob(&db, data),
                json_text(&db, doc)
            ));
            let stays = stay(lengths, b);
            expected.push((id, shown(*lengths, [stays[0], stays[1], stays[2]])));
        }
        db.execute_now();
        let nulls: usize = rows.iter().map(|lengths| stay(lengths, b).iter().filter(|stays| !**stays).count()).sum();

        for resource in ["", "where = \"body <> 'y'\"\n", "key = [\"id\"]\n", "order = [\"-id\"]\nchunk_rows = 5\n"] {
            let server = serve(&db, &format!("table = \"item\"\n{resource}"));
            let reply = server.get("/list");
            assert!(reply.whole, "{} {resource}", db.name());
            let mut found = reply.results();
            if resource.contains("-id") {
                found.reverse();
            }
            assert_eq!(found.len(), expected.len(), "{} {resource}", db.name());
            for (row, (id, expected)) in found.iter().zip(&expected) {
                assert_eq!(row["id"], *id, "{} {resource}", db.name());
                for member in ["body", "data", "doc"] {
                    let same = row[member] == expected[member];
                    let length = |value: &Value| value.as_str().map(str::len);
                    let is = length(&row[member]);
                    let should = length(&expected[member]);
                    assert!(same, "{} {resource}{member} of {id}: {is:?}, not {should:?}", db.name());
                }
            }
            assert_eq!(counted(&server), nulls as u64, "{} {resource}", db.name());
        }
    }
}

/// Related rows of these lengths, and to which row each belongs.
const RELATED: [(usize, usize); 11] = [
    (1, 100),
    (1, 200),
    (2, 64 * KIB),
    (3, 30 * KIB),
    (3, 30 * KIB),
    (3, 4 * KIB),
    (4, 30 * KIB),
    (4, 30 * KIB),
    (4, 4 * KIB + 1),
    (5, 200 * KIB),
    (6, 5),
];

fn family(db: &Db, key: &str) {
    let [text_type, ..] = types(db);
    let quoted = if key == "INTEGER" { "" } else { "'" };
    db.execute(&format!(
        "CREATE TABLE parent (id {key} PRIMARY KEY, body {text_type});
         CREATE TABLE child (id INTEGER PRIMARY KEY, parent {key} REFERENCES parent (id), note {text_type});
         CREATE TABLE link (id INTEGER PRIMARY KEY, parent {key} REFERENCES parent (id), child INTEGER REFERENCES child (id));"
    ));
    for id in 1..=40 {
        db.execute_later(&format!("INSERT INTO parent VALUES ({quoted}{id:02}{quoted}, 'body');"));
    }

    for (at, (parent, bytes)) in RELATED.iter().enumerate() {
        let id = at + 1;
        let note = text(db, *bytes);
        let parent = format!("{quoted}{parent:02}{quoted}");
        db.execute_later(&format!(
            "INSERT INTO child VALUES ({id}, {parent}, {note}); INSERT INTO link VALUES ({id}, {parent}, {id});"
        ));
    }

    db.execute_now();
}

/// The notes of a row, and how many bytes they have.
fn notes(parent: usize) -> (Value, usize) {
    let of_parent = || RELATED.iter().filter(|(of, _)| *of == parent).map(|(_, bytes)| *bytes);
    (of_parent().map(|bytes| "x".repeat(bytes)).collect(), of_parent().sum())
}

#[test]
fn a_related_list_or_row_that_is_too_large_is_null_and_so_is_the_largest_list_of_a_row() {
    for key in ["INTEGER", "VARCHAR(9)"] {
        for db in every_kind() {
            family(&db, key);
            let server = serve(
                &db,
                "table = \"parent\"\n[resources.list.fields]\nid = \"id\"\nbody = \"body\"\n\
                 notes = { from = \"child\", column = \"note\" }\n\
                 linked = { through = \"link\", table = \"child\", column = \"note\" }\n\
                 objects = { from = \"child\", columns = [\"id\", \"note\"] }",
            );
            let found = server.get("/list").results();
            assert_eq!(found.len(), 40, "{}", db.name());
            let mut left_out = 0;
            for (at, row) in found.iter().enumerate() {
                let place = format!("{} {key} {}", db.name(), at + 1);
                let (list, bytes) = notes(at + 1);
                let id = if key == "INTEGER" { 0 } else { 2 };
                let stays = stay(&[id, "body".len(), bytes, bytes, bytes], lowered());
                let shown = |stays: bool| if stays { list.clone() } else { Value::Null };
                left_out += stays.iter().filter(|stays| !**stays).count();

                assert_eq!(row["body"], "body", "{place}");
                assert!(row["notes"] == shown(stays[2]), "{place}: notes");
                assert!(row["linked"] == shown(stays[3]), "{place}: linked");
                let objects = match row["objects"].as_array() {
                    Some(rows) => rows.iter().map(|row| row["note"].clone()).collect(),
                    None => Value::Null,
                };
                assert!(objects == shown(stays[4]), "{place}: objects");
            }
            assert!(left_out > 8);
            assert_eq!(counted(&server), left_out as u64, "{} {key}", db.name());

            let server = serve(
                &db,
                "table = \"child\"\n[resources.list.fields]\nid = \"id\"\n\
                 parent = { via = \"parent\", columns = [\"id\", \"body\"] }\nown = \"note\"",
            );
            let own: Vec<Option<usize>> =
                server.get("/list").results().iter().map(|row| row["own"].as_str().map(str::len)).collect();
            let expected: Vec<Option<usize>> =
                RELATED.iter().map(|(_, bytes)| Some(*bytes).filter(|bytes| *bytes <= 64 * KIB)).collect();
            assert_eq!(own, expected, "{} {key}", db.name());
        }
    }
}

#[test]
fn one_related_row_is_a_value_like_any_other() {
    for db in every_kind() {
        let [text_type, ..] = types(&db);
        db.execute(&format!(
            "CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(20), life {text_type});
             CREATE TABLE book (id INTEGER PRIMARY KEY, author INTEGER REFERENCES author (id));
             INSERT INTO author VALUES (1, 'A', {}), (2, 'B', {});
             INSERT INTO book VALUES (1, 1), (2, 2), (3, NULL), (4, 2), (5, 1);",
            text(&db, 64 * KIB),
            text(&db, 64 * KIB + 1)
        ));
        let server = serve(
            &db,
            "table = \"book\"\n[resources.list.fields]\nid = \"id\"\n\
             author = { via = \"author\", columns = [\"name\", \"life\"] }\nlife = { via = \"author\", column = \"life\" }",
        );
        let rows = server.get("/list").results();
        let full = Value::from("x".repeat(64 * KIB));
        for (row, author) in rows.iter().zip([1, 2, 0, 2, 1]) {
            let (object, life) = match author {
                1 => (json!({ "name": "A", "life": full }), full.clone()),
                2 => (json!({ "name": "B", "life": null }), Value::Null),
                _ => (Value::Null, Value::Null),
            };
            assert!(row["author"] == object && row["life"] == life, "{} {}", db.name(), row["id"]);
        }
    }
}

#[test]
fn a_list_that_is_to_fail_where_a_value_is_too_large_says_which_and_is_whole_without_one() {
    for db in every_kind() {
        family(&db, "INTEGER");
        let resource = "table = \"child\"\ntoo_large = \"fail\"\nfilters = [\"id\"]\n";
        let server = serve(&db, resource);
        let reply = server.get("/list?id=lt.10");
        assert_eq!(reply.results().len(), 9, "{}", db.name());
        let reply = server.get("/list?id=gte.10");
        assert_eq!(reply.status, 500, "{}", db.name());
        assert_eq!(counted(&server), 0, "{}", db.name());

        let fields = "[resources.list.fields]\nid = \"id\"\nnotes = { from = \"child\", column = \"note\" }\n";
        let server = serve(&db, &format!("table = \"parent\"\ntoo_large = \"fail\"\nfilters = [\"id\"]\n{fields}"));
        assert_eq!(server.get("/list?id=lt.4").results().len(), 3, "{}", db.name());
        assert_eq!(server.get("/list?id=gte.4").status, 500, "{}", db.name());
    }
}

#[test]
fn a_key_that_is_too_large_fails_the_load_and_never_loses_a_row_in_silence() {
    for db in every_kind() {
        let [text_type, blob_type, _] = types(&db);
        db.execute(&format!(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, body {text_type}, data {blob_type});
             INSERT INTO item VALUES (1, 'a', {small}), (2, {long}, {large}), (3, 'b', {small});",
            small = blob(&db, 1),
            long = text(&db, 100 * KIB),
            large = blob(&db, 100 * KIB),
        ));
        for (order, first) in [("body", 200), ("-body", 500), ("data", 200), ("-data", 500)] {
            let server =
                serve(&db, &format!("table = \"item\"\norder = [\"{order}\"]\nchunk_rows = 1\nchunk_bytes = \"1\""));
            let reply = server.get("/list");
            let whole = reply.whole && reply.status == 200;
            assert!(!whole && [first, 500].contains(&reply.status), "{} {order}: {}", db.name(), reply.status);
            assert_eq!(server.get("/list?limit=1").status, first, "{} {order}", db.name());
        }
    }
}

#[test]
fn large_reads_wait_for_room_without_a_connection_and_small_ones_pass_them() {
    for db in every_kind() {
        let [text_type, ..] = types(&db);
        db.execute(&format!(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, body {text_type});
             INSERT INTO item VALUES (1, {long}), (2, {long}), (3, 'small');",
            long = text(&db, 60 * KIB)
        ));
        // Room for one such row.
        let memory = ReadMemory::new(4 * 61 * KIB as u64).waiting(STUCK);
        let mut config = parse(&db.config("table = \"item\"\nfilters = [\"id\"]")).unwrap();
        config.bound_rows(lowered(), &memory);
        let server = Running::of(&config);
        let room = server.block_on(memory.room(1)).unwrap();
        // More than there are connections.
        let waiting: Vec<Client> =
            (0..9).map(|id| Client::get(server.address, &format!("/list?id=in.(1,2,{})", 10 + id))).collect();
        until("all wait", || server.chunkflow.metrics().misses() == 9);
        for _ in 0..5 {
            assert_eq!(server.get("/list?id=gt.2").results().len(), 1, "{}", db.name());
        }
        assert_eq!(server.chunkflow.metrics().streams(), 0, "{}: none has begun", db.name());
        drop(room);
        for mut client in waiting {
            let rows = client.read_reply("GET").results();
            let lengths: Vec<usize> = rows.iter().map(|row| row["body"].as_str().unwrap().len()).collect();
            assert_eq!(lengths, [60 * KIB; 2], "{}", db.name());
        }

        let memory = ReadMemory::new(4 * 61 * KIB as u64).waiting(Duration::from_millis(1));
        config.bound_rows(lowered(), &memory);
        let server = Running::of(&config);
        let room = server.block_on(memory.room(1)).unwrap();
        let refused = server.get("/list");
        assert_eq!((refused.status, refused.header("retry-after").is_empty()), (503, false), "{}", db.name());
        drop(room);
        assert_eq!(server.get("/list").results().len(), 3, "{}", db.name());
    }
}

/// A table of rows at the true bounds, and one of 300 MB.
fn true_sizes(db: &Db) {
    let [text_type, blob_type, _] = types(db);
    if db.name() == "mariadb" {
        db.execute("SET GLOBAL max_allowed_packet = 1073741824");
    }
    db.execute(&format!("CREATE TABLE item (id INTEGER PRIMARY KEY, data {blob_type}, body {text_type});"));
    for (id, data, body) in [
        (1, blob(db, 3), text(db, 1)),
        (2, blob(db, 64 * MIB), text(db, 1)),
        (3, blob(db, 64 * MIB + 1), text(db, 1)),
        (4, blob(db, 3), text(db, 64 * MIB)),
        (5, blob(db, 300_000_000), text(db, 1)),
    ] {
        db.execute(&format!("INSERT INTO item VALUES ({id}, {data}, {body})"));
    }
}

#[test]
fn four_requests_at_once_for_rows_at_the_bounds_and_of_300_mb_stay_within_the_memory_that_is_said() {
    for db in every_kind() {
        true_sizes(&db);
        let folder = tempfile::TempDir::new().unwrap();
        let config = db.config("table = \"item\"\nfilters = [\"id\"]");
        std::fs::write(folder.path().join("chunkflow.toml"), config).unwrap();
        let mut server = Process::serve(&["serve"], folder.path());

        let four: Vec<_> = (0..4)
            .map(|n| {
                let mut client = Client::get(server.address, &format!("/list?id=neq.{}", 100 + n));
                std::thread::spawn(move || client.read_reply("GET"))
            })
            .collect();
        for reader in four {
            let reply = reader.join().unwrap();
            assert!(reply.whole && reply.status == 200, "{}", db.name());
            assert!(reply.body.len() > 64 * MIB * 4 / 3 + 64 * MIB, "{}: what is at the bound is there", db.name());
            let body = std::str::from_utf8(&reply.body).unwrap();
            assert_eq!(body.matches(":null").count(), 2, "{}: of the rows 3 and 5", db.name());
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
        // 512 MiB to read in, and of each stream two chunks, of 64 MiB and of as many bytes in
        // base64.
        assert!(peak * KIB < (512 + 4 * (64 + 86) + 64) * MIB, "{}: {} MiB", db.name(), peak / KIB);

        let log = server.kill();
        let told: Vec<&String> = log.iter().filter(|line| line.contains("64 MiB")).collect();
        assert_eq!(told.len(), 1, "{}: one warning: {told:?}", db.name());
        assert!(told[0].contains("field=\"data\"") && told[0].contains("row=\"id=3\""), "{}: {}", db.name(), told[0]);
        // The server goes on with other tests, and its disk is theirs too.
        db.execute("DROP TABLE item");
    }
}

#[test]
fn the_log_says_which_value_has_failed_a_list_that_is_to_fail() {
    let db = crate::servers::sqlite();
    db.execute(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, data BLOB); INSERT INTO item VALUES (7, zeroblob(300000000));",
    );
    let folder = tempfile::TempDir::new().unwrap();
    let config = db.config("table = \"item\"\ntoo_large = \"fail\"");
    std::fs::write(folder.path().join("chunkflow.toml"), config).unwrap();
    let mut server = Process::serve(&["serve"], folder.path());
    assert_eq!(server.get("/list").status, 500);
    let log = server.kill().join("\n");
    for said in ["a value of `data` is larger than 64 MiB", "300000000 bytes", "id=7", "too_large"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}
