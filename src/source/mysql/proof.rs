//! Each read proves that the tables, the database and the user are those that its source was made
//! from.
//!
//! From its first use of a table on, a transaction keeps the table's definition
//! (<https://dev.mysql.com/doc/refman/8.4/en/metadata-locking.html>). So the definition that it
//! sees after the rows is the one that the rows were read with.

use std::collections::HashMap;

use mysql_async::{Conn, Row, prelude::Queryable};

use super::{connect::ServerFacts, wire::text};
use crate::source::{
    DatabaseOptions,
    sql::{catalogue::Table, definition::Told, dialect::Dialect},
};

/// What a read saw, row by row.
pub(super) type Stamp = Vec<String>;

/// The query for what a read saw, and the expected answer.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) sql: String,
    pub(super) stamp: Stamp,
}

/// The SQL for what a transaction sees of these tables. It names each column with its type, so that
/// it shows any change, no matter what caused it.
pub(super) fn saw(tables: &[&Table], server: &ServerFacts, told: &Told, options: &DatabaseOptions) -> String {
    let mut who = vec![];
    if options.identity.is_none() && told.own.is_some() {
        who.push(server.own_identity());
    }

    if !options.share && options.role.is_none() {
        who.push(server.user());
    }

    if who.is_empty() {
        who.push("'-'");
    }

    let mut says = vec![format!("SELECT CONCAT_WS(' ', {})", who.join(", "))];
    for table in tables {
        let name = table.full_name.get(table.schema.len() + 1..).unwrap_or_default();
        let place = format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", literal(&table.schema), literal(name));
        says.push(format!("SELECT {COLUMN} FROM information_schema.COLUMNS WHERE {place}"));
        if table.is_view {
            says.push(format!(
                "SELECT CONCAT_WS(' ', {}, VIEW_DEFINITION) FROM information_schema.VIEWS WHERE {place}",
                literal(&table.full_name)
            ));
        }
    }

    says.join(" UNION ALL ")
}

/// A column and its type, as one line.
const COLUMN: &str = "CONCAT_WS(' ', TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION, COLUMN_NAME, COLUMN_TYPE, \
    COALESCE(CHARACTER_SET_NAME, '-'), COALESCE(COLLATION_NAME, '-'), IS_NULLABLE)";

/// The columns of all tables, as a transaction sees them, by the tables' names.
pub(super) async fn all_columns(conn: &mut Conn) -> Result<HashMap<String, Stamp>, mysql_async::Error> {
    let sql = format!(
        "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME), {COLUMN} FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')"
    );
    let mut columns: HashMap<String, Stamp> = HashMap::new();
    for row in conn.query::<Row, _>(sql).await? {
        let table = text(&row, 0).unwrap_or_default();
        let column = text(&row, 1).unwrap_or_default();
        columns.entry(table).or_default().push(column);
    }
    Ok(columns)
}

/// Reads what a transaction sees.
pub(super) async fn read_stamp(conn: &mut Conn, sql: &str) -> Result<Stamp, mysql_async::Error> {
    let mut seen: Stamp = conn.query::<Row, _>(sql).await?.iter().map(|row| text(row, 0).unwrap_or_default()).collect();
    seen.sort();
    Ok(seen)
}

/// Any text as an SQL literal.
fn literal(text: &str) -> String {
    let dialect = Dialect { quote: '\'', ..super::DIALECT };
    dialect.quote(&text.replace('\\', "\\\\"))
}
