//! Lists of schemas that are made up: whatever the types of keys and the ways that rows are
//! related, zero configuration and what `init` prints give exactly what plain SQL gives, whole and
//! by pages, cold and warm.

mod audience;
mod changes;
mod filters;
mod kinds;
mod lists;
mod mixed;
mod random;
mod schema;

pub use self::lists::{Resource, path, resources};
use self::{
    kinds::Kind,
    lists::{check, expected, init},
    schema::{Column, Table},
};
use crate::{
    servers::{Db, mariadb, postgres, sqlite},
    support::{Process, Running},
};

/// Serves a database by what `init` prints of it, and as it is found, and holds every list against
/// plain SQL.
fn holds(db: &Db, tables: &[Table], limits: &[usize], told: &str) {
    let text = init(db);
    let configured = resources(&text);
    let mut faults = vec![];
    for table in tables {
        let served = configured.iter().any(|resource| resource.table == table.name);
        faults.extend((!served).then(|| format!("`{}` is not served: {}", table.name, why_not(&text, &table.name))));
    }

    let server = Running::config(&text);
    for resource in &configured {
        faults.extend(fault(|| check(server.address, &resource.name, &expected(db, tables, resource), limits)));
    }

    drop(server);

    let folder = tempfile::TempDir::new().unwrap();
    let server = Process::serve(&["serve", &db.url()], folder.path());
    for resource in configured {
        let bare = Resource { fields: vec![], ..resource };
        faults.extend(fault(|| check(server.address, &bare.name, &expected(db, tables, &bare), &limits[..1])));
    }

    assert!(faults.is_empty(), "{told}: {} faults:\n{}", faults.len(), faults.join("\n"));
}

/// What a check that panics says.
fn fault(check: impl FnOnce()) -> Option<String> {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

fn why_not(text: &str, table: &str) -> String {
    let of_table = |line: &&str| line.contains("is left out") && line.contains(table);
    text.lines().find(of_table).unwrap_or("init does not name it").to_owned()
}

fn column(name: impl Into<String>, kind: &'static Kind) -> Column {
    Column { name: name.into(), kind }
}

/// The type of plain numbers.
fn whole(db: &Db) -> &'static Kind {
    let name = if db.name() == "postgres" { "int" } else { "INT" };
    kinds::of(db).iter().find(|kind| kind.sql.starts_with(name) && !kind.sql.contains('[')).unwrap()
}

/// For each type: a table whose key it is, one that points there, and one that joins it with
/// numbers.
fn every_type(db: &Db) -> Vec<Table> {
    let id = whole(db);
    let numbered = |n: usize| n.to_string();
    let mut tables = vec![Table {
        name: "number".into(),
        columns: vec![column("id", id)],
        key: vec![0],
        references: vec![],
        rows: (0..4).map(|n| vec![numbered(n)]).collect(),
        options: "",
    }];
    for (at, kind) in kinds::of(db).iter().enumerate() {
        let owner = tables.len();
        tables.push(Table {
            name: format!("owner_{at}"),
            columns: vec![column("k", kind), column("n", id)],
            key: vec![0],
            references: vec![],
            rows: kind.values.iter().enumerate().map(|(n, value)| vec![(*value).into(), numbered(n)]).collect(),
            options: "",
        });
        // Every value but the first, twice; and NULL.
        let pointing = kind.values[1..].iter().chain(kind.values[1..].iter().rev()).chain(["NULL"].iter());
        tables.push(Table {
            name: format!("held_{at}"),
            columns: vec![column("id", id), column("k", kind)],
            key: vec![0],
            references: vec![(1, owner)],
            rows: pointing.enumerate().map(|(n, value)| vec![numbered(n), (*value).into()]).collect(),
            options: "",
        });
        let pairs = kind.values.iter().enumerate().flat_map(|(n, value)| (0..n % 4).map(move |m| (value, m)));
        tables.push(Table {
            name: format!("joined_{at}"),
            columns: vec![column("k", kind), column("number", id)],
            key: vec![0, 1],
            references: vec![(0, owner), (1, 0)],
            rows: pairs.map(|(value, m)| vec![(*value).into(), numbered(m)]).collect(),
            options: "",
        });
    }

    tables
}

fn made(db: &Db, tables: &[Table]) {
    let ddl: String = tables.iter().map(|table| table.ddl(db, tables)).collect();
    match db.name() {
        "mariadb" => db.execute(&format!("SET sql_mode = 'STRICT_ALL_TABLES';\n{ddl}")),
        _ => db.execute(&ddl),
    }
}

fn types_hold(db: &Db) {
    kinds::prepare(db);
    let tables = every_type(db);
    made(db, &tables);
    holds(db, &tables, &[1, 3], db.name());
    filters::hold(db, &tables);
}

#[test]
fn rows_of_postgresql_are_found_by_keys_of_every_type_as_plain_sql_finds_them() {
    types_hold(&postgres());
}

#[test]
fn rows_of_mariadb_are_found_by_keys_of_every_type_as_plain_sql_finds_them() {
    types_hold(&mariadb());
}

#[test]
fn rows_of_sqlite_are_found_by_keys_of_every_type_as_plain_sql_finds_them() {
    types_hold(&sqlite());
}
