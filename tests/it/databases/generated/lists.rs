//! What `init` prints, and whether a server's lists are what plain SQL says of them.

use std::{collections::BTreeMap, net::SocketAddr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::schema::{Shown, Table, quoted};
use crate::{
    client::{Reply, ask},
    servers::Db,
    support::binary,
};

/// A resource of a configuration.
pub struct Resource {
    pub name: String,
    pub table: String,
    /// Its members; none where they are the table's columns.
    pub fields: Vec<(String, Field)>,
}

/// A member of a row.
pub enum Field {
    Column(String),
    /// `via`, `through` or `from`, and what else is said.
    Related(BTreeMap<String, String>, Vec<String>),
}

/// What `chunkflow init` prints, with the relations that it prints but does not take, and in small
/// chunks.
pub fn init(db: &Db) -> String {
    let folder = tempfile::TempDir::new().unwrap();
    let output = binary(&["init", &db.url()], folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();

    let mut text = String::new();
    for line in printed.lines() {
        let many = line.split_once("    # rows that point here can be very many");
        let taken = many.and_then(|(field, _)| field.strip_prefix("# "));
        text += taken.unwrap_or(line);
        text.push('\n');
        if line.starts_with("table = ") {
            text += "chunk_rows = 2\nchunk_bytes = \"1B\"\n";
        }
    }

    text
}

/// The resources of a configuration.
pub fn resources(text: &str) -> Vec<Resource> {
    let parsed = DeTable::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}")).into_inner();
    let string = |value: &DeValue<'_>| value.as_str().unwrap_or_default().to_owned();
    let all = parsed.get("resources").unwrap().get_ref().as_table().unwrap();

    let mut found = vec![];
    for (name, resource) in all {
        let resource = resource.get_ref().as_table().unwrap();
        let mut fields = vec![];
        for (name, field) in resource.get("fields").and_then(|all| all.get_ref().as_table()).into_iter().flatten() {
            let field = match field.get_ref().as_table() {
                None => Field::Column(string(field.get_ref())),
                Some(parts) => {
                    let mut said = BTreeMap::new();
                    let mut columns = vec![];
                    for (part, value) in parts {
                        match value.get_ref().as_array().filter(|_| part.get_ref() == "columns") {
                            Some(names) => columns = names.iter().map(|name| string(name.get_ref())).collect(),
                            None => drop(said.insert(part.get_ref().to_string(), string(value.get_ref()))),
                        }
                    }
                    Field::Related(said, columns)
                }
            };
            fields.push((name.get_ref().to_string(), field));
        }
        let table = string(resource.get("table").unwrap().get_ref());
        found.push(Resource { name: name.get_ref().to_string(), table, fields });
    }

    found
}

/// A row as plain SQL says it is.
pub type Expected = Vec<(String, Member)>;

/// A member of it.
pub enum Member {
    Value(Shown),
    /// One related row, or none.
    One(Option<Vec<(String, Shown)>>),
    Many(Vec<Vec<(String, Shown)>>),
}

/// The rows of a resource, by plain SQL.
pub fn expected(db: &Db, all: &[Table], resource: &Resource) -> Vec<Expected> {
    let named = |name: &str| all.iter().find(|table| table.name == name).unwrap_or_else(|| panic!("{name}"));
    let table = named(&resource.table);
    let rows = table.read(db);
    let mut out: Vec<Expected> = rows.iter().map(|_| vec![]).collect();

    if resource.fields.is_empty() {
        for (row, out) in rows.iter().zip(&mut out) {
            let cells = table.columns.iter().zip(row);
            out.extend(cells.map(|(column, shown)| (column.name.clone(), Member::Value(shown.clone()))));
        }
    }

    for (name, field) in &resource.fields {
        let (said, columns) = match field {
            Field::Column(column) => {
                let at = table.column(column).unwrap();
                let members = rows.iter().map(|row| Member::Value(row[at].clone()));
                out.iter_mut().zip(members).for_each(|(out, member)| out.push((name.clone(), member)));
                continue;
            }
            Field::Related(said, columns) => (said, columns),
        };
        let (joins, target) = joins(db, all, table, said);
        let places: Vec<usize> = columns.iter().map(|column| target.column(column).unwrap()).collect();
        let lists = table.related(db, &joins, target, &places, rows.len());
        let with_names = |row: Vec<Shown>| columns.iter().cloned().zip(row).collect();
        for (list, out) in lists.into_iter().zip(&mut out) {
            let mut list: Vec<Vec<(String, Shown)>> = list.into_iter().map(with_names).collect();
            let member = if said.contains_key("via") {
                Member::One(if list.is_empty() { None } else { Some(list.remove(0)) })
            } else {
                Member::Many(list)
            };
            out.push((name.clone(), member));
        }
    }

    out
}

/// A relation as joins, and the related table.
fn joins<'a>(db: &Db, all: &'a [Table], table: &Table, said: &BTreeMap<String, String>) -> (String, &'a Table) {
    let named = |name: &str| all.iter().find(|table| table.name == name).unwrap_or_else(|| panic!("{name}"));
    let of = |table: &Table, column: usize| quoted(db, &table.columns[column].name);
    let key = |table: &Table| of(table, table.key[0]);
    // The column of a table that points to another, or the one that is said.
    let pointing = |holder: &Table, to: &str, said: Option<&String>| match said {
        Some(column) => quoted(db, column),
        None => {
            let points = |reference: &&(usize, usize)| all[reference.1].name == to;
            let found: Vec<_> = holder.references.iter().filter(points).collect();
            assert_eq!(found.len(), 1, "{} to {to}", holder.name);
            of(holder, found[0].0)
        }
    };

    if let Some(via) = said.get("via") {
        let at = table.column(via).unwrap();
        let target = match said.get("table") {
            Some(name) => named(name),
            None => &all[table.references.iter().find(|reference| reference.0 == at).unwrap().1],
        };
        return (format!("JOIN {} r ON r.{} = o.{}", quoted(db, &target.name), key(target), of(table, at)), target);
    }

    if let Some(from) = said.get("from") {
        let target = named(from);
        let on = pointing(target, &table.name, said.get("on"));
        return (format!("JOIN {} r ON r.{on} = o.{}", quoted(db, &target.name), key(table)), target);
    }

    let join = named(&said["through"]);
    let target = named(&said["table"]);
    let on = pointing(join, &table.name, said.get("on"));
    let to = pointing(join, &target.name, said.get("to"));
    let joins = format!(
        "JOIN {} j ON j.{on} = o.{} JOIN {} r ON r.{} = j.{to}",
        quoted(db, &join.name),
        key(table),
        quoted(db, &target.name),
        key(target)
    );

    (joins, target)
}

/// The path of a resource.
pub fn path(name: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    format!("/{}", utf8_percent_encode(name, RESERVED))
}

/// Asks for a list in every format and by pages, twice each, and holds what comes against what
/// plain SQL says.
pub fn check(address: SocketAddr, resource: &str, expected: &[Expected], limits: &[usize]) {
    let path = path(resource);
    for round in ["cold", "warm"] {
        let told = format!("{path} {round}");
        let rows = ask(address, "GET", &path, &[]).results();
        same_rows(&rows, expected, &told);

        let reply = ask(address, "GET", &format!("{path}.ndjson"), &[]);
        assert!(reply.whole && reply.status == 200, "{told}");
        same_rows(&lines(&reply), expected, &format!("{told} ndjson"));

        same_csv(&ask(address, "GET", &format!("{path}.csv"), &[]), expected, &format!("{told} csv"));
        for limit in limits {
            let rows = pages(address, &path, *limit, &told);
            same_rows(&rows, expected, &format!("{told} limit={limit}"));
        }
    }
}

/// The rows of NDJSON.
pub fn lines(reply: &Reply) -> Vec<Value> {
    let lines = std::str::from_utf8(&reply.body).unwrap().lines();
    lines.filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All rows of a list, by pages.
pub fn pages(address: SocketAddr, path: &str, limit: usize, told: &str) -> Vec<Value> {
    let mut next = format!("{path}?limit={limit}");
    let mut rows = vec![];
    loop {
        let reply = ask(address, "GET", &next, &[]);
        assert_eq!(reply.status, 200, "{told} {next}: {}", String::from_utf8_lossy(&reply.body));
        let page = reply.results();
        assert!(page.len() <= limit, "{told} {next}");
        rows.extend(page);
        match reply.next(path) {
            Some(link) => next = link,
            None => return rows,
        }
    }
}

fn same_rows(rows: &[Value], expected: &[Expected], told: &str) {
    for (row, expected) in rows.iter().zip(expected) {
        let members = row.as_object().unwrap();
        assert_eq!(members.len(), expected.len(), "{told}: {row}");
        for (name, member) in expected {
            let value = &members[name];
            assert!(same_member(value, member), "{told}: {name} is {value}, and SQL says {}", said(member));
        }
    }
    assert_eq!(rows.len(), expected.len(), "{told}: how many rows");
}

/// Whether a row is what plain SQL says.
pub fn same_row(row: &Value, expected: &Expected) -> bool {
    let Some(members) = row.as_object() else { return false };
    let same = |(name, member): &(String, Member)| members.get(name).is_some_and(|value| same_member(value, member));
    members.len() == expected.len() && expected.iter().all(same)
}

fn same_member(value: &Value, member: &Member) -> bool {
    match member {
        Member::Value(shown) => same(value, shown),
        Member::One(None) => value.is_null(),
        Member::One(Some(related)) => same_object(value, related),
        Member::Many(list) => value.as_array().is_some_and(|values| {
            values.len() == list.len() && values.iter().zip(list).all(|(value, row)| same_object(value, row))
        }),
    }
}

fn same_object(value: &Value, related: &[(String, Shown)]) -> bool {
    let member = |(name, shown): &(String, Shown)| value.get(name).is_some_and(|value| same(value, shown));
    value.as_object().is_some_and(|members| members.len() == related.len()) && related.iter().all(member)
}

/// Whether a value of JSON is the text that SQL gives.
fn same(value: &Value, shown: &Shown) -> bool {
    let Some(shown) = shown else { return value.is_null() };
    match value {
        Value::Null => false,
        Value::String(text) => text == shown || serde_json::from_str::<Value>(shown).is_ok_and(|shown| shown == *value),
        Value::Number(number) => {
            let number = number.to_string();
            let shown = shown.as_str();
            // Digits that a double does not hold are held against CSV.
            number == shown
                || number.parse::<f64>().unwrap().to_bits() == shown.parse::<f64>().unwrap_or(f64::NAN).to_bits()
        }
        Value::Bool(truth) => truth.to_string() == *shown || *shown == if *truth { "1" } else { "0" },
        value => serde_json::from_str::<Value>(shown).is_ok_and(|shown| shown == *value),
    }
}

fn said(member: &Member) -> String {
    match member {
        Member::Value(shown) => format!("{shown:?}"),
        Member::One(related) => format!("{related:?}"),
        Member::Many(list) => format!("{list:?}"),
    }
}

pub fn same_csv(reply: &Reply, expected: &[Expected], told: &str) {
    assert!(reply.whole && reply.status == 200, "{told}: {}", String::from_utf8_lossy(&reply.body));
    let mut reader = csv::Reader::from_reader(&reply.body[..]);
    if let Some(first) = expected.first() {
        let names: Vec<&str> = first.iter().map(|(name, _)| &**name).collect();
        assert_eq!(reader.headers().unwrap(), names, "{told}");
    }

    let records: Vec<csv::StringRecord> = reader.records().map(|record| record.unwrap()).collect();
    assert_eq!(records.len(), expected.len(), "{told}: how many records");
    for (record, expected) in records.iter().zip(expected) {
        for (cell, (name, member)) in record.iter().zip(expected) {
            let right = match member {
                Member::Value(shown) => {
                    let shown = shown.as_deref().unwrap_or_default();
                    let number = || cell.parse::<f64>().ok().zip(shown.parse::<f64>().ok());
                    // A double says that it is one.
                    let is_double = cell.ends_with(".0") || shown.contains('e');
                    let exponent = is_double && number().is_some_and(|(cell, shown)| cell == shown);
                    let json =
                        || serde_json::from_str::<Value>(cell).ok().zip(serde_json::from_str::<Value>(shown).ok());
                    cell == shown || exponent || json().is_some_and(|(cell, shown)| !cell.is_number() && cell == shown)
                }
                // As JSON text, which is what JSON itself was held against.
                Member::One(None) => cell.is_empty() || cell == "null",
                Member::One(Some(_)) => cell.starts_with('{'),
                Member::Many(_) => cell.starts_with('['),
            };
            assert!(right, "{told}: {name} is {cell:?}, and SQL says {}", said(member));
        }
    }
}
