//! Properties of lists over random tables: every row once and in order, with any cuts.

use std::collections::BTreeSet;

use chunkflow::{
    Chunkflow, Format, Memory, Resource, ResourceOptions, Sizes, Sqlite,
    source::{GateLimits, OrderBy, Spec},
};
use http_body_util::BodyExt;
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};

use chunkflow::source::Database as _;

use crate::support::File;

/// A cell of an order column: what SQLite can hold, with many equal ones.
fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (-3i64..3).prop_map(|n| n.to_string()),
        1 => Just("NULL".to_owned()),
        1 => prop::sample::select(vec!["'a'", "'A'", "'b'", "''", "'é'", "'10'", "'9'"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["1.5", "-2.0", "9e999", "-9e999", "9223372036854775807", "9223372036854775808"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["x''", "x'00'", "x'ff'"]).prop_map(str::to_owned),
    ]
}

fn read(file: &File, spec: Spec, sizes: Sizes, format: Format) -> Result<Vec<u8>, String> {
    let database =
        Sqlite::open(&format!("sqlite:{}", file.path.display()), GateLimits::default(), Duration::from_secs(60))
            .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = runtime.block_on(database.source(&spec));
    let (source, fields) = made.map_err(|complaints| format!("{complaints:?}"))?;
    let options = ResourceOptions::default().with(|options| {
        options.fields = Some(fields);
        options.sizes = sizes;
    });

    let chunkflow =
        Chunkflow::new(Arc::new(Memory::new(16 << 20))).with(Resource::new("list", source, options).unwrap());
    runtime.block_on(async {
        let body = chunkflow
            .body(&chunkflow.resources()[0], format, "http://localhost")
            .await
            .map_err(|error| error.to_string())?;
        Ok(body.collect().await.map_err(|error| error.to_string())?.to_bytes().to_vec())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_gives_every_row_once_and_as_sql_sorts_them(
        rows in prop::collection::vec([cell(), cell(), cell()], 0..120),
        first in prop::sample::select(vec!["", "INTEGER", "TEXT", "REAL", "NUMERIC", "TEXT COLLATE NOCASE"]),
        order in prop::sample::subsequence(vec!["a", "b", "c"], 0..=3).prop_shuffle(),
        descending in prop::array::uniform3(any::<bool>()),
        key in prop::sample::select(vec!["id INTEGER PRIMARY KEY", "id TEXT PRIMARY KEY", "id INT NOT NULL PRIMARY KEY", "id INT"]),
        per_chunk in 1u32..9,
        index: bool,
    ) {
        let columns: Vec<String> = ["a", "b", "c"].iter().zip([first, "INTEGER", ""]).map(|(name, kind)| format!("{name} {kind}")).collect();
        let mut sql = format!("CREATE TABLE item ({key}, {});", columns.join(", "));
        for (id, row) in rows.iter().enumerate() {
            sql += &format!("INSERT INTO item VALUES ({}, {});", id * 2, row.join(", "));
        }

        let order: Vec<OrderBy> = order.iter().zip(descending).map(|(name, descending)| OrderBy { column: (*name).into(), descending }).collect();
        let terms: Vec<String> = order.iter().map(|by| format!("{}{}", by.column, if by.descending { " DESC" } else { "" })).collect();
        if index && !terms.is_empty() {
            sql += &format!("CREATE INDEX i ON item ({});", terms.join(", "));
        }

        let file = File::with(&sql);
        let id = chunkflow::source::FieldSpec::Column("id".into());
        let spec = Spec::default().with(|spec| {
            spec.table = "item".into();
            spec.order = order;
            spec.fields = Some(vec![("id".into(), id)]);
        });
        let body = read(&file, spec, Sizes { rows: per_chunk, bytes: 1 }, Format::named("ndjson").unwrap()).unwrap();
        let found: Vec<i64> = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
            let row: serde_json::Value = serde_json::from_slice(line).unwrap();
            row["id"].as_i64().or_else(|| row["id"].as_str()?.parse().ok()).unwrap()
        }).collect();
        // SQLite's own answer, with the same tie-breaker: the key, or the rowid if the key can be
        // NULL.
        let tie = if key.contains("TEXT") { "id, rowid" } else if key == "id INT" { "rowid" } else { "id" };
        let terms: Vec<&str> = terms.iter().map(|term| &**term).chain([tie]).collect();
        let connection = file.open();
        let mut statement = connection.prepare(&format!("SELECT CAST(id AS INT) FROM item ORDER BY {}", terms.join(", "))).unwrap();
        let expected: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn chunking_is_invisible_in_every_format(
        rows in prop::collection::vec("\\PC{0,40}|(?s).{0,10}", 0..200), chunk_rows in 1u32..60, chunk_bytes in 1u32..4_000, format in prop::sample::select(Format::all().collect::<Vec<_>>()),
    ) {
        let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY, text TEXT, part TEXT)");
        let connection = file.open();
        connection.execute_batch("BEGIN").unwrap();
        for text in &rows {
            connection.execute("INSERT INTO item (text, part) VALUES (?1, ?1)", [text]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        let spec = || Spec::of("item");
        let cut = read(&file, spec(), Sizes { rows: chunk_rows, bytes: chunk_bytes }, format).unwrap();
        let whole = read(&file, spec(), Sizes { rows: 100_000, bytes: 1 << 22 }, format).unwrap();
        prop_assert_eq!(String::from_utf8(cut).unwrap(), String::from_utf8(whole).unwrap());
    }
}

#[test]
fn an_edit_of_a_long_list_renames_few_of_its_chunks() {
    let file = crate::support::numbered(60_000);
    let bodies = |file: &File| -> (Vec<u8>, BTreeSet<Vec<u8>>) {
        let database =
            Sqlite::open(&format!("sqlite:{}", file.path.display()), GateLimits::default(), Duration::from_secs(60))
                .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let spec = Spec::of("item");
        let (source, fields) = runtime.block_on(database.source(&spec)).unwrap();
        let options = ResourceOptions::default().with(|options| {
            options.fields = Some(fields);
            options.sizes = Sizes { rows: 50, bytes: 1 };
        });
        let chunkflow =
            Chunkflow::new(Arc::new(Memory::new(64 << 20))).with(Resource::new("list", source, options).unwrap());
        runtime.block_on(async {
            let mut body = chunkflow.body(&chunkflow.resources()[0], Format::JSON, "").await.unwrap();
            let mut all = vec![];
            let mut chunks = BTreeSet::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.unwrap().into_data().unwrap().to_vec();
                all.extend_from_slice(&frame);
                chunks.insert(frame);
            }
            (all, chunks)
        })
    };

    let (_, before) = bodies(&file);
    assert!(before.len() > 900, "{}", before.len());
    for edit in [
        "DELETE FROM item WHERE id = 31111",
        "INSERT INTO item VALUES (31111, 'back again')",
        "UPDATE item SET id = 70000 WHERE id = 5",
        "UPDATE item SET name = 'longer ' || name WHERE id = 20000",
    ] {
        file.open().execute_batch(edit).unwrap();
        let (_, after) = bodies(&file);
        let changed = after.difference(&before).count();
        assert!(changed <= 24, "{edit}: {changed} of {} chunks changed", after.len());
    }
}
