//! A connection to a SQLite file, and values on their way in and out of it.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{
    CachedStatement, Connection,
    types::{ToSql, ToSqlOutput, ValueRef},
};

use super::sqlite_related::SmallTable;
use crate::{
    error::{Error, Kind},
    row::Value,
};

/// Why a read failed.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Own(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Own(error)
    }
}

/// A connection and the small related tables it holds.
pub(super) struct Session {
    pub(super) connection: Connection,
    /// Which file it was opened on: a file that was put in its place is another database.
    pub(super) file: Option<(u64, u64)>,
    pub(super) held: HashMap<String, (i64, Option<Arc<SmallTable>>)>,
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

/// A value as it was read, bound as exactly that.
pub(super) struct Bound<'a>(pub(super) Value<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null | Value::List(_) => ValueRef::Null,
            Value::Bool(truth) => ValueRef::Integer(truth.into()),
            Value::Integer(n) => ValueRef::Integer(n),
            Value::Real(n) => ValueRef::Real(n),
            Value::Text(text) | Value::Json(text) => ValueRef::Text(text),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Values copied out of SQLite, row after row: their bytes lie in one buffer.
pub(super) struct Held {
    pub(super) width: usize,
    pub(super) slots: Vec<Slot>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
pub(super) enum Slot {
    Null,
    Integer(i64),
    Real(f64),
    Text(u32, u32),
    Json(u32, u32),
    Blob(u32, u32),
}

impl Held {
    pub(super) fn new(width: usize) -> Held {
        Held { width, slots: vec![], bytes: vec![] }
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len() / self.width
    }

    pub(super) fn push(&mut self, value: ValueRef<'_>, json: bool) -> Result<(), Error> {
        let slot = match value {
            ValueRef::Null => Slot::Null,
            ValueRef::Integer(n) => Slot::Integer(n),
            ValueRef::Real(n) => Slot::Real(n),
            ValueRef::Text(text) => {
                let (from, to) = self.copy(text)?;
                if json { Slot::Json(from, to) } else { Slot::Text(from, to) }
            }
            ValueRef::Blob(bytes) => {
                let (from, to) = self.copy(bytes)?;
                Slot::Blob(from, to)
            }
        };
        self.slots.push(slot);
        Ok(())
    }

    fn copy(&mut self, bytes: &[u8]) -> Result<(u32, u32), Error> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        match (u32::try_from(from), u32::try_from(self.bytes.len())) {
            (Ok(from), Ok(to)) => Ok((from, to)),
            _ => Err(Error::new(Kind::Data, "a run of rows holds more than 4 GiB")
                .remedy("leave out the column with the huge values")),
        }
    }

    pub(super) fn value(&self, slot: Slot) -> Value<'_> {
        let bytes = |from: u32, to: u32| &self.bytes[from as usize..to as usize];
        match slot {
            Slot::Null => Value::Null,
            Slot::Integer(n) => Value::Integer(n),
            Slot::Real(n) => Value::Real(n),
            Slot::Text(from, to) => Value::Text(bytes(from, to)),
            Slot::Json(from, to) => Value::Json(bytes(from, to)),
            Slot::Blob(from, to) => Value::Blob(bytes(from, to)),
        }
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    /// Forgets all rows but the first ones.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.slots.truncate(rows * self.width);
    }

    /// The values of one row.
    pub(super) fn row(&self, index: usize) -> impl Iterator<Item = Value<'_>> {
        self.slots[index * self.width..][..self.width].iter().map(|slot| self.value(*slot))
    }
}
