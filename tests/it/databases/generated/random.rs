//! Schemas made up at random, from a few fixed seeds.

use fastrand::Rng;

use super::{
    column, holds,
    kinds::{self, Kind},
    made,
    schema::Table,
    whole,
};
use crate::servers::{Db, mariadb, postgres, sqlite};

/// Names that some language, format or client reads as something else.
const NAMES: &[&str] = &[
    "plain",
    "two words",
    "select",
    "order",
    "limit",
    "after",
    "id",
    "Ünï cödé",
    "日本",
    "it's",
    "a\"b",
    "back\\slash",
    "100%",
    "x:y",
    "q?",
    "$1",
    "{brace}",
    "a.b",
    "semi;--",
    "tick`",
    "#hash",
    "UPPER",
    "upper",
    "Upper",
    "/*c*/",
    "a/b",
    "a&b=c",
    "+plus",
    "tab\there",
];
const SEEDS: std::ops::Range<u64> = 0..5;

/// A name that no other has, as the database compares names.
fn name(rng: &mut Rng, db: &Db, taken: &mut Vec<String>, is_table: bool) -> String {
    loop {
        let name = rng.choice(NAMES).unwrap().to_string();
        let name = if rng.bool() { name } else { format!("{name} {}", taken.len()) };
        let exact = db.name() == "postgres" || (db.name() == "mariadb" && is_table);
        let same = |other: &String| if exact { *other == name } else { other.to_lowercase() == name.to_lowercase() };
        if !taken.iter().any(same) {
            taken.push(name.clone());
            return name;
        }
    }
}

/// A value of a type, or NULL.
pub fn value(rng: &mut Rng, kind: &Kind, nullable: bool) -> String {
    if nullable && rng.u8(..4) == 0 { "NULL".into() } else { (*rng.choice(kind.values).unwrap()).into() }
}

/// Tables with keys of one to three columns, some of them pointing to others; empty ones, a wide
/// one, one with huge rows and a long one.
fn schema(rng: &mut Rng, db: &Db) -> Vec<Table> {
    let all = kinds::of(db);
    let id = whole(db);
    let text = all.iter().find(|kind| kind.sql == "text" || kind.sql.starts_with("TEXT")).unwrap_or(id);
    let mut taken = vec![];
    let mut tables: Vec<Table> = vec![];
    for number in 0..6 {
        let mut columns_taken = vec![];
        let mut columns = vec![];
        let width = [1, 1, 2, 3][rng.usize(..4)];
        for _ in 0..width {
            columns.push(column(name(rng, db, &mut columns_taken, false), rng.choice(all).unwrap()));
        }
        // The long one is told apart by a number.
        let is_long = number == 5;
        if is_long || rng.bool() {
            columns.push(column(name(rng, db, &mut columns_taken, false), id));
        }
        let mut key: Vec<usize> = (0..columns.len()).collect();
        rng.shuffle(&mut key);

        let mut references = vec![];
        let targets: Vec<usize> = (0..tables.len()).filter(|at| tables[*at].key.len() == 1).collect();
        for target in targets {
            if rng.u8(..3) > 0 && references.len() < 2 {
                let kind = tables[target].columns[tables[target].key[0]].kind;
                references.push((columns.len(), target));
                columns.push(column(name(rng, db, &mut columns_taken, false), kind));
            }
        }
        let more = if number == 3 { 120 } else { rng.usize(..3) };
        for _ in 0..more {
            columns.push(column(name(rng, db, &mut columns_taken, false), rng.choice(all).unwrap()));
        }
        if number == 4 {
            columns.push(column(name(rng, db, &mut columns_taken, false), text));
        }

        let count = if is_long { 900 } else { rng.usize(..12) };
        let mut rows: Vec<Vec<String>> = vec![];
        let mut keys: Vec<Vec<String>> = vec![];
        for n in 0..count {
            let mut row: Vec<String> = vec![];
            for (at, one) in columns.iter().enumerate() {
                let to = references.iter().find(|reference| reference.0 == at).map(|reference| &tables[reference.1]);
                row.push(match to {
                    Some(target) if target.rows.is_empty() || rng.u8(..4) == 0 => "NULL".into(),
                    Some(target) => rng.choice(&target.rows).unwrap()[target.key[0]].clone(),
                    None if is_long && std::ptr::eq(one.kind, id) && key.contains(&at) => n.to_string(),
                    None if number == 4 && at == columns.len() - 1 && db.name() != "mariadb" => {
                        format!("'{}'", "x".repeat(70_000))
                    }
                    None => value(rng, one.kind, !key.contains(&at)),
                });
            }
            let mut told_by: Vec<String> = key.iter().map(|at| row[*at].clone()).collect();
            told_by.sort();
            let own: Vec<String> = key.iter().map(|at| row[*at].clone()).collect();
            if !keys.contains(&own) {
                keys.push(own);
                rows.push(row);
            }
        }
        let options = if db.name() == "sqlite" && key.len() > 1 && rng.bool() { " WITHOUT ROWID" } else { "" };
        tables.push(Table { name: name(rng, db, &mut taken, true), columns, key, references, rows, options });
    }

    tables
}

fn hold(db: impl Fn() -> Db) {
    for seed in SEEDS {
        let db = db();
        kinds::prepare(&db);
        let tables = schema(&mut Rng::with_seed(seed), &db);
        made(&db, &tables);
        holds(&db, &tables, &[100, 1001, 7], &format!("{}, seed {seed}", db.name()));
    }
}

#[test]
fn any_schema_of_postgresql_is_served_as_plain_sql_reads_it() {
    hold(postgres);
}

#[test]
fn any_schema_of_mariadb_is_served_as_plain_sql_reads_it() {
    hold(mariadb);
}

#[test]
fn any_schema_of_sqlite_is_served_as_plain_sql_reads_it() {
    hold(sqlite);
}
