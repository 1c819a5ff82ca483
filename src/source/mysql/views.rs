//! What the views of a MySQL or MariaDB database read.
//!
//! Neither database lists the columns that a view reads. But both keep the view's query with every
//! name in backquotes and every `*` written out. So each name in it counts: as a table, and as a
//! column of each table of the query.

use mysql_async::{Conn, Error, Row, prelude::Queryable};

use super::wire::text;
use crate::source::{ViewReads, sql::catalogue::Table};

const VIEWS: &str = "
SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS
WHERE TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";

/// Notes for each view which columns of which tables it may read.
pub(super) async fn note_reads(conn: &mut Conn, tables: &mut [Table]) -> Result<(), Error> {
    for row in conn.query::<Row, _>(VIEWS).await? {
        let (Some(database), Some(name)) = (text(&row, 0), text(&row, 1)) else { continue };
        let full_name = format!("{database}.{name}");
        let definition = text(&row, 2).unwrap_or_default();
        if let Some(place) = tables.iter().position(|table| table.full_name == full_name) {
            tables[place].reads = Some(reads(&definition, &tables[place], tables));
        }
    }
    Ok(())
}

/// These tables, and the views behind the views among them: a change in one of those changes the
/// rows too.
pub(super) fn with_views_behind<'a>(mut used: Vec<&'a Table>, all: &'a [Table]) -> Vec<&'a Table> {
    let mut at = 0;
    while let Some(table) = used.get(at) {
        let names = table.reads.iter().flat_map(|reads| &reads.columns).map(|(name, _)| name);
        let is_read = |view: &&Table| view.is_view && names.clone().any(|name| *name == view.name);
        let is_new = |view: &&Table| !used.iter().any(|one| one.full_name == view.full_name);
        let behind: Vec<&Table> = all.iter().filter(is_read).filter(is_new).collect();
        used.extend(behind);
        at += 1;
    }
    used
}

fn reads(definition: &str, view: &Table, tables: &[Table]) -> ViewReads {
    let of_doubt = |doubt: &str| ViewReads { columns: vec![], doubt: Some(doubt.to_owned()) };
    if definition.is_empty() {
        return of_doubt("this user may not see what it reads: grant SHOW VIEW");
    }

    let Some((names, calls)) = names(definition) else { return of_doubt("what it reads cannot be told") };
    // A table of another database is named with its database.
    let beside = |table: &Table| {
        database(table) == database(view) || names.iter().any(|name| name.eq_ignore_ascii_case(database(table)))
    };

    let called = |table: &&Table| beside(table) && names.iter().any(|name| is_called(table, name));
    let there: Vec<&Table> = tables.iter().filter(called).collect();

    let mut columns: Vec<(String, Option<String>)> =
        there.iter().map(|table| (table.name.clone(), Some(String::new()))).collect();
    for name in &names {
        let has = |table: &Table| table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        columns.extend(there.iter().filter(|table| has(table)).map(|table| (table.name.clone(), Some(name.clone()))));
        // A table or column that this user may not read.
        if !there.iter().any(|table| is_called(table, name)) && !there.iter().any(|table| has(table)) && !has(view) {
            columns.push((name.clone(), Some(name.clone())));
        }
    }

    let doubt = calls.then(|| "it calls functions, which may read more than is seen here".to_owned());
    ViewReads { columns, doubt }
}

/// Whether a table has this name, in any database.
fn is_called(table: &Table, name: &str) -> bool {
    let bare = table.full_name.split_once('.').map_or(&*table.full_name, |(_, bare)| bare);
    bare.eq_ignore_ascii_case(name)
}

fn database(table: &Table) -> &str {
    table.full_name.split_once('.').map_or("", |(database, _)| database)
}

/// The names in a query as the server keeps it, and whether it calls stored functions or functions
/// that read files. `None` if a name or text does not end.
fn names(definition: &str) -> Option<(Vec<String>, bool)> {
    let mut names: Vec<String> = vec![];
    let mut calls = definition.to_ascii_lowercase().contains("load_file(");
    let mut rest = definition;
    while let Some(at) = rest.find(['`', '"', '\'']) {
        let quote = rest[at..].chars().next()?;
        let mut name = String::new();
        let mut chars = rest[at + 1..].char_indices().peekable();
        let end = loop {
            match chars.next()? {
                (_, '\\') if quote == '\'' => {
                    chars.next()?;
                }
                (_, c) if c == quote && chars.peek().is_some_and(|(_, next)| *next == quote) => {
                    chars.next();
                    name.push(quote);
                }
                (end, c) if c == quote => break at + 1 + end + 1,
                (_, c) => name.push(c),
            }
        };
        rest = &rest[end..];
        if quote != '\'' {
            calls |= rest.starts_with('(');
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }

    Some((names, calls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_texts_are_none() {
        let found =
            names("select `a`.`b``c` AS `d` from `x` where `e` = _utf8mb4'it\\'s `no` ''name''' and ucase(`f`)");
        let (found, calls) = found.unwrap();
        assert_eq!(found, ["a", "b`c", "d", "x", "e", "f"]);
        assert!(!calls);
        assert!(names("select `db`.`f`(`a`)").unwrap().1 && names("select load_file('/x')").unwrap().1);
        assert!(names("select `a").is_none() && names("select 'a\\'").is_none());
    }
}
