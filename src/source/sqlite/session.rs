//! A connection to a SQLite file, and the values that go in and out of it.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{
    CachedStatement, Connection,
    limits::Limit,
    types::{ToSql, ToSqlOutput, ValueRef},
};

use super::look::FileId;
use crate::{
    error::Error,
    row::{Form, Slot, Value, ValueBuffer},
    source::sql::{failure, related::SmallTable},
};

/// Why a read failed.
pub(super) type Failure = failure::Failure<rusqlite::Error>;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Database(error)
    }
}

/// A connection and the small related tables that it keeps.
pub(super) struct Session {
    pub(super) connection: Connection,
    /// The file that it was opened on; a file put in its place is another database.
    pub(super) file: FileId,
    pub(super) held: HashMap<String, (i64, Option<Arc<SmallTable>>)>,
}

impl Session {
    /// From now on a statement fails if it meets a text or blob of more bytes, before it is read.
    pub(super) fn bound_values(&self, bytes: u64) -> Result<(), Failure> {
        let most = i32::try_from(bytes).unwrap_or(i32::MAX);
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, most)?;
        Ok(())
    }

    /// From now on statements take values as long as SQLite can have.
    pub(super) fn unbound_values(&self) -> Result<(), Failure> {
        self.bound_values(u64::MAX)
    }
}

/// Binds a statement's parameters one after the other.
pub(super) struct Binder<'a, 'c> {
    statement: &'a mut CachedStatement<'c>,
    next: usize,
}

impl<'a, 'c> Binder<'a, 'c> {
    pub(super) fn new(statement: &'a mut CachedStatement<'c>) -> Binder<'a, 'c> {
        Binder { statement, next: 1 }
    }

    pub(super) fn bind(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }
}

/// A value that was read; bound as exactly that value.
pub(super) struct Bound<'a>(pub(super) Value<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null | Value::List(_) | Value::Formless(_) | Value::TooLarge => ValueRef::Null,
            Value::Bool(truth) => ValueRef::Integer(truth.into()),
            Value::Integer(n) => ValueRef::Integer(n),
            Value::Real(n) => ValueRef::Real(n),
            Value::Text(text) | Value::Json(text) | Value::Encoded(text, _) | Value::Decimal(text) => {
                ValueRef::Text(text)
            }
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Copies a value out of SQLite.
pub(super) fn push(held: &mut ValueBuffer, value: ValueRef<'_>, json: bool) -> Result<(), Error> {
    match value {
        ValueRef::Null => held.slots.push(Slot::Null),
        ValueRef::Integer(n) => held.slots.push(Slot::Integer(n)),
        ValueRef::Real(n) => held.slots.push(Slot::Real(n)),
        ValueRef::Text(text) => return held.push(if json { Form::Json } else { Form::Text }, text),
        ValueRef::Blob(bytes) => return held.push(Form::Blob, bytes),
    }
    Ok(())
}
