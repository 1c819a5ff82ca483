//! Properties: a selection is the projection of the whole list.

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Map, Value};

use super::{MEMBERS, fill, serve};
use crate::{servers::every_kind, support::Running};

/// These members of a row, in this order.
fn projected(row: &Value, members: &[&str]) -> Map<String, Value> {
    members.iter().map(|member| ((*member).to_owned(), row[*member].clone())).collect()
}

/// The bytes of these rows. The members of related rows are in alphabetical order, as serde has
/// them.
fn json(rows: &[Map<String, Value>], members: &[&str]) -> String {
    let row = |row: &Map<String, Value>| {
        let members = members.iter().map(|member| format!("\"{member}\":{}", row[*member]));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    rows.iter().map(row).collect::<Vec<_>>().join(",")
}

/// The records of a CSV list, each by its members.
fn records(server: &Running, target: &str) -> Vec<Vec<(String, String)>> {
    let body = server.get(target).body;
    let mut reader = csv::Reader::from_reader(&body[..]);
    let header = reader.headers().unwrap().clone();
    let record = |record: csv::StringRecord| {
        header.iter().zip(record.iter()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    reader.records().map(|one| record(one.unwrap())).collect()
}

#[test]
fn any_selection_is_the_projection_of_the_whole_list_cold_and_warm_in_every_format() {
    let databases: Vec<_> = every_kind();
    databases.iter().for_each(fill);
    let servers: Vec<_> = databases.iter().map(|db| serve(db, "")).collect();

    let members = prop::sample::subsequence(MEMBERS.to_vec(), 1..=MEMBERS.len()).prop_shuffle();
    let queries = prop::sample::select(vec!["", "&limit=30", "&id=gt.250", "&price=lt.40&limit=25"]);
    let mut runner = TestRunner::new(ProptestConfig { cases: 24, ..ProptestConfig::default() });
    runner
        .run(&(members, queries), |(members, query)| {
            for server in &servers {
                let target = |format: &str| format!("/list.{format}?select={}{query}", members.join(","));
                let whole = |format: &str| format!("/list.{format}?{}", query.trim_start_matches('&'));
                let rows: Vec<_> =
                    server.get(&whole("json")).results().iter().map(|row| projected(row, &members)).collect();

                for round in ["cold", "warm"] {
                    let body = String::from_utf8(server.get(&target("json")).body).unwrap();
                    let expected = format!("{{\"results\":[{}]}}", json(&rows, &members));
                    prop_assert!(body == expected, "JSON, {round}");

                    let lines = String::from_utf8(server.get(&target("ndjson")).body).unwrap();
                    let expected = rows.iter().map(|row| json(std::slice::from_ref(row), &members) + "\n");
                    prop_assert!(lines == expected.collect::<String>(), "NDJSON, {round}");
                }

                let found = records(server, &target("csv"));
                let expected: Vec<Vec<(String, String)>> = records(server, &whole("csv"))
                    .into_iter()
                    .map(|record| {
                        let field = |member: &&str| record.iter().find(|(name, _)| name == member).unwrap().clone();
                        members.iter().map(field).collect()
                    })
                    .collect();
                prop_assert!(found == expected, "CSV");
            }
            Ok(())
        })
        .unwrap();
}
