//! Values copied out of a driver, row after row, with their bytes in one buffer.

use super::Value;
use crate::{
    error::{Error, Kind},
    flaw::Flaws,
};

/// Rows of `width` single values each.
#[derive(Clone, Debug)]
pub(crate) struct ValueBuffer {
    pub(crate) width: usize,
    pub(crate) slots: Vec<Slot>,
    pub(crate) bytes: Vec<u8>,
}

/// A value; texts are ranges of the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Bytes(Form, u32, u32),
    /// A value that cannot be read.
    Unreadable,
    /// A value that was not read, because it or its row is too large.
    TooLarge,
    /// A range of the items of a [`RowBatch`](super::RowBatch); the end is not included.
    List(u32, u32),
}

/// The type of a value whose bytes are in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Blob,
    Decimal,
    Encoded(Flaws),
    /// The database's own text of a value that this crate has no type for.
    Formless,
}

impl Slot {
    /// The same value, with its bytes moved by this much.
    pub(crate) fn moved(self, by: u32) -> Slot {
        match self {
            Slot::Bytes(form, from, to) => Slot::Bytes(form, from + by, to + by),
            slot => slot,
        }
    }
}

/// The error of a run with more bytes than a [`Slot`] can address.
pub(super) fn too_much() -> Error {
    Error::new(Kind::Data, "a run of rows holds more than 4 GiB").remedy("leave out the column with the huge values")
}

impl ValueBuffer {
    pub(crate) fn new(width: usize) -> ValueBuffer {
        ValueBuffer { width, slots: vec![], bytes: vec![] }
    }

    /// One value without bytes.
    pub(crate) fn of(slot: Slot) -> ValueBuffer {
        ValueBuffer { slots: vec![slot], ..ValueBuffer::new(1) }
    }

    pub(crate) fn count(&self) -> usize {
        self.slots.len() / self.width
    }

    /// Adds the next value.
    pub(crate) fn push(&mut self, form: Form, bytes: &[u8]) -> Result<(), Error> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.close(form, from)
    }

    /// Adds a value: its bytes are those written to the buffer since it was `from` bytes long.
    pub(crate) fn close(&mut self, form: Form, from: usize) -> Result<(), Error> {
        match (u32::try_from(from), u32::try_from(self.bytes.len())) {
            (Ok(from), Ok(to)) => {
                self.slots.push(Slot::Bytes(form, from, to));
                Ok(())
            }
            _ => Err(too_much()),
        }
    }

    /// Adds a single value; a list becomes NULL.
    ///
    /// # Errors
    /// As [`close`](ValueBuffer::close).
    pub(crate) fn add(&mut self, value: Value<'_>) -> Result<(), Error> {
        let slot = match value {
            Value::Null | Value::List(_) => Slot::Null,
            Value::Bool(truth) => Slot::Bool(truth),
            Value::Integer(n) => Slot::Integer(n),
            Value::Real(n) => Slot::Real(n),
            Value::Formless(None) => Slot::Unreadable,
            Value::TooLarge => Slot::TooLarge,
            Value::Decimal(digits) => return self.push(Form::Decimal, digits),
            Value::Text(text) => return self.push(Form::Text, text),
            Value::Blob(bytes) => return self.push(Form::Blob, bytes),
            Value::Json(json) => return self.push(Form::Json, json),
            Value::Encoded(json, flaws) => return self.push(Form::Encoded(flaws), json),
            Value::Formless(Some(text)) => return self.push(Form::Formless, text),
        };

        self.slots.push(slot);
        Ok(())
    }

    /// Appends bytes to the buffer. Returns by how much [`Slot`]s of these bytes are to be moved.
    ///
    /// # Errors
    /// As [`close`](ValueBuffer::close).
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<u32, Error> {
        let from = u32::try_from(self.bytes.len()).ok();
        self.bytes.extend_from_slice(bytes);
        from.filter(|_| u32::try_from(self.bytes.len()).is_ok()).ok_or_else(too_much)
    }

    pub(crate) fn value(&self, slot: Slot) -> Value<'_> {
        match slot {
            // A single value holds no list.
            Slot::Null | Slot::List(..) => Value::Null,
            Slot::Bool(truth) => Value::Bool(truth),
            Slot::Integer(n) => Value::Integer(n),
            Slot::Real(n) => Value::Real(n),
            Slot::Unreadable => Value::Formless(None),
            Slot::TooLarge => Value::TooLarge,
            Slot::Bytes(form, from, to) => {
                let bytes = &self.bytes[from as usize..to as usize];
                match form {
                    Form::Text => Value::Text(bytes),
                    Form::Json => Value::Json(bytes),
                    Form::Blob => Value::Blob(bytes),
                    Form::Decimal => Value::Decimal(bytes),
                    Form::Encoded(flaws) => Value::Encoded(bytes, flaws),
                    Form::Formless => Value::Formless(Some(bytes)),
                }
            }
        }
    }

    /// Adds a value of another buffer.
    ///
    /// # Errors
    /// As [`close`](ValueBuffer::close).
    pub(crate) fn copy(&mut self, other: &ValueBuffer, slot: Slot) -> Result<(), Error> {
        match slot {
            Slot::Bytes(form, from, to) => self.push(form, &other.bytes[from as usize..to as usize]),
            slot => {
                self.slots.push(slot);
                Ok(())
            }
        }
    }

    /// One column of the rows.
    ///
    /// # Errors
    /// As [`close`](ValueBuffer::close).
    pub(crate) fn column(&self, column: usize) -> Result<ValueBuffer, Error> {
        let mut held = ValueBuffer::new(1);
        for slot in self.slots.iter().skip(column).step_by(self.width) {
            held.copy(self, *slot)?;
        }
        Ok(held)
    }

    /// Marks the texts of a column as the database's own, of values that this crate has no type
    /// for.
    pub(crate) fn mark_formless(&mut self, column: usize) {
        for slot in self.slots.iter_mut().skip(column).step_by(self.width) {
            if let Slot::Bytes(form, ..) = slot {
                *form = Form::Formless;
            }
        }
    }

    /// Marks all values of a column as unreadable.
    pub(crate) fn mark_unreadable(&mut self, column: usize) {
        let width = self.width;
        self.slots.iter_mut().skip(column).step_by(width).for_each(|slot| *slot = Slot::Unreadable);
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    /// Drops all rows but the first `rows`.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.slots.truncate(rows * self.width);
    }

    /// Drops all rows, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.bytes.clear();
    }

    /// The values of one row.
    pub(crate) fn row(&self, index: usize) -> impl Iterator<Item = Value<'_>> {
        self.slots[index * self.width..][..self.width].iter().map(|slot| self.value(*slot))
    }
}
