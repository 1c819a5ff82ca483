//! A filter compares as its column's own type: what it finds is what plain SQL finds by the same
//! text.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::schema::{Table, quoted};
use crate::{servers::Db, support::Running};

/// Each way to compare, as a request and as SQL write it.
const OPERATORS: &[(&str, &str)] = &[("eq", "="), ("neq", "<>"), ("gt", ">"), ("lte", "<=")];

/// Holds the filters of every table whose key is one column, `k`, against plain SQL.
pub fn hold(db: &Db, tables: &[Table]) {
    let owners: Vec<&Table> =
        tables.iter().filter(|table| table.columns[0].name == "k" && table.key.len() == 1).collect();
    let resource = |table: &&Table| {
        let name = &table.name;
        format!("[resources.{name}]\ndatabase = \"main\"\ntable = \"{name}\"\nfields = {{ k = \"k\", n = \"n\" }}\n")
    };

    let resources: String = owners.iter().map(resource).collect();
    let server = Running::config(&format!("[databases]\nmain = \"{}\"\n{resources}", db.url()));

    let mut faults = vec![];
    for table in owners {
        let kind = table.columns[0].kind;
        // A short number is compared as the short number that its digits are, as documented; the
        // client's are long.
        if kind.sql == "FLOAT" {
            continue;
        }
        let shown = table.read(db).into_iter().filter_map(|mut row| row.swap_remove(0));
        let texts: Vec<String> = shown.chain(kind.probes.iter().map(|text| (*text).to_owned())).collect();
        for text in &texts {
            for (operator, sign) in OPERATORS {
                faults.extend(fault(
                    db,
                    &server,
                    table,
                    &format!("{operator}.{}", value(text)),
                    &format!("{sign} {}", literal(db, table, text)),
                ));
            }
        }
        let list = |one: &dyn Fn(&String) -> String| texts.iter().map(one).collect::<Vec<_>>().join(",");
        let quoted = list(&|text| value(&format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))));
        let literals = list(&|text| literal(db, table, text));
        faults.extend(fault(db, &server, table, &format!("in.({quoted})"), &format!("IN ({literals})")));
        faults.extend(beyond(db, &server, table));
        let reply = server.get(&format!("/{}?k=in.()", table.name));
        faults.extend((reply.status != 400 && !reply.results().is_empty()).then(|| format!("{}: in.()", table.name)));
    }

    assert!(faults.is_empty(), "{}: {} faults:\n{}", db.name(), faults.len(), faults.join("\n"));
}

fn value(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A text as the literal that it is in SQL. MariaDB compares a number with a text as doubles.
fn literal(db: &Db, table: &Table, text: &str) -> String {
    let sql = table.columns[0].kind.sql;
    let is_number = ["INT", "DECIMAL", "BIT", "DOUBLE", "YEAR"].iter().any(|word| sql.contains(word));
    match db.name() {
        "mariadb" if is_number => text.to_owned(),
        // A moment in UTC, as the session is.
        "mariadb" if sql.starts_with("TIMESTAMP") => format!("'{}'", text.trim_end_matches('Z')),
        "mariadb" => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        _ => format!("'{}'", text.replace('\'', "''")),
    }
}

/// What filters find by whole numbers that a column may not hold, and plain SQL does not.
fn beyond(db: &Db, server: &Running, table: &Table) -> Vec<String> {
    let Some(number) = table.columns[0].kind.as_any_number(db) else { return vec![] };
    let name = quoted(db, &table.name);
    let sql = table.columns[0].kind.sql;
    let numbers = [0_i128, 8, 16, 24, 31, 32, 63, 64, 100].map(|bits| 1 << bits);
    let numbers: Vec<i128> = numbers.into_iter().flat_map(|n| [-n - 1, -n, n - 1, n]).collect();
    let operators = OPERATORS.iter().copied().chain([("gte", ">="), ("lt", "<")]);

    let mut asked: Vec<(String, String)> = vec![];
    for n in &numbers {
        asked.extend(operators.clone().map(|(operator, sign)| (format!("{operator}.{n}"), format!("{sign} {n}"))));
    }

    let all = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    asked.push((format!("in.({all})"), format!("IN ({all})")));

    // All in one question: a client of the database for each would take long.
    let each = asked
        .iter()
        .enumerate()
        .map(|(at, (_, condition))| format!("SELECT {at}, n FROM {name} WHERE {number} {condition}"));
    let found = db.query(&each.collect::<Vec<_>>().join(" UNION ALL ")).unwrap();
    let mut faults = vec![];
    for (at, (filter, _)) in asked.iter().enumerate() {
        let mut right: Vec<&String> = found.iter().filter(|row| row[0] == at.to_string()).map(|row| &row[1]).collect();
        right.sort();
        let reply = server.get(&format!("/{}?k={filter}", table.name));
        let mut rows: Vec<String> = match reply.status {
            200 => reply.results().iter().map(|row| row["n"].to_string()).collect(),
            status => vec![status.to_string()],
        };
        rows.sort();
        let right: Vec<String> = right.into_iter().cloned().collect();
        faults.extend((rows != right).then(|| format!("{name} {sql}: {filter}: {rows:?}, and SQL says {right:?}")));
    }

    faults
}

/// What a filter finds that plain SQL does not, or the other way about.
fn fault(db: &Db, server: &Running, table: &Table, filter: &str, condition: &str) -> Option<String> {
    let reply = server.get(&format!("/{}?k={filter}", table.name));
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    if reply.status == 400 && body.contains("there is no parameter") {
        return None;
    }

    // A type is compared by its own operators, which plain SQL finds only in schemas that are
    // searched.
    let search = if db.name() == "postgres" { "SET search_path = public, ext; " } else { "" };
    let sql = format!(
        "{search}SELECT n FROM {} WHERE {} {condition} ORDER BY k",
        quoted(db, &table.name),
        table.columns[0].kind.compared()
    );

    let told = |said: &str| Some(format!("{} {}: {filter}: {said}", table.name, table.columns[0].kind.sql));
    match (reply.status, db.query(&sql)) {
        (200, Ok(rows)) => {
            let found: Vec<String> = reply.results().iter().map(|row| row["n"].to_string()).collect();
            if found == rows.concat() { None } else { told(&format!("{found:?}, and SQL says {rows:?}")) }
        }
        // A value that is none of the column's type.
        (400, Err(_)) => None,
        (400, Ok(rows)) if rows.is_empty() => None,
        (status, rows) => told(&format!("{status} {body}, and SQL says {rows:?}")),
    }
}
