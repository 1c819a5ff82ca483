//! What the views of a SQLite file read, as SQLite reports it while it prepares them
//! (<https://www.sqlite.org/c3ref/set_authorizer.html>).

use std::sync::{Arc, Mutex};

use rusqlite::{
    Connection, Error, Result,
    hooks::{AuthAction, AuthContext, Authorization},
};

use crate::{
    source::{ViewReads, sql::catalogue::Table},
    unpoisoned::Unpoisoned,
};

/// Columns of tables, reported one by one.
type Found = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Notes for each view which columns of which tables it reads, also through other views.
pub(super) fn note_reads(connection: &mut Connection, tables: &mut [Table]) -> Result<()> {
    for view in tables.iter_mut().filter(|table| table.is_view) {
        let found = Found::default();
        let notes = Arc::clone(&found);
        let note = move |context: AuthContext<'_>| {
            if let AuthAction::Read { table_name, column_name } = context.action {
                let read = (table_name.to_owned(), Some(column_name.to_owned()));
                notes.lock().unpoisoned().push(read);
            }
            Authorization::Allow
        };
        connection.authorizer(Some(note))?;
        let prepared = connection.prepare(&format!("SELECT * FROM {}", view.sql)).map(drop);
        connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;

        let mut columns = std::mem::take(&mut *found.lock().unpoisoned());
        columns.sort();
        columns.dedup();
        let system = columns.iter().any(|(table, _)| table.starts_with("sqlite_"));
        let doubt = match prepared {
            Err(error) => Some(refused(&error)),
            Ok(()) => system.then(|| "it reads tables of the system".to_owned()),
        };
        columns.retain(|(table, _)| *table != view.name);
        view.reads = Some(ViewReads { columns, doubt });
    }

    Ok(())
}

/// Why something cannot be read.
pub(super) fn refused(error: &Error) -> String {
    format!("SQLite does not take it: {error}")
}
