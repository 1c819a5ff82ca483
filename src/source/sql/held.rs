//! Values copied out of a driver, row after row: their bytes lie in one buffer.

use crate::{
    error::{Error, Kind},
    flaw::Flaws,
    row::Value,
};

/// Rows of `width` values each.
#[derive(Clone, Debug)]
pub(in crate::source) struct Held {
    pub(in crate::source) width: usize,
    pub(in crate::source) slots: Vec<Slot>,
    pub(in crate::source) bytes: Vec<u8>,
}

/// A value; texts are ranges of the buffer.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) enum Slot {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Bytes(Form, u32, u32),
    /// A value that cannot be read.
    Unreadable,
    /// A value that is not read, since it or its row is too large.
    TooLarge,
}

/// What bytes of the buffer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Form {
    Text,
    Json,
    Blob,
    Decimal,
    Encoded(Flaws),
    /// The database's own text of a value that has no form here.
    Formless,
}

impl Held {
    pub(in crate::source) fn new(width: usize) -> Held {
        Held { width, slots: vec![], bytes: vec![] }
    }

    /// One value, which has no bytes.
    pub(in crate::source) fn of(slot: Slot) -> Held {
        Held { slots: vec![slot], ..Held::new(1) }
    }

    pub(in crate::source) fn count(&self) -> usize {
        self.slots.len() / self.width
    }

    /// Adds the next value.
    pub(in crate::source) fn push(&mut self, form: Form, bytes: &[u8]) -> Result<(), Error> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.close(form, from)
    }

    /// Adds as the next value what was written to the buffer since it was `from` bytes long.
    pub(in crate::source) fn close(&mut self, form: Form, from: usize) -> Result<(), Error> {
        match (u32::try_from(from), u32::try_from(self.bytes.len())) {
            (Ok(from), Ok(to)) => {
                self.slots.push(Slot::Bytes(form, from, to));
                Ok(())
            }
            _ => Err(Error::new(Kind::Data, "a run of rows holds more than 4 GiB")
                .remedy("leave out the column with the huge values")),
        }
    }

    pub(in crate::source) fn value(&self, slot: Slot) -> Value<'_> {
        match slot {
            Slot::Null => Value::Null,
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

    /// Adds a value of other rows.
    ///
    /// # Errors
    /// As [`close`](Held::close).
    pub(in crate::source) fn copy(&mut self, other: &Held, slot: Slot) -> Result<(), Error> {
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
    /// As [`close`](Held::close).
    pub(in crate::source) fn column(&self, column: usize) -> Result<Held, Error> {
        let mut held = Held::new(1);
        for slot in self.slots.iter().skip(column).step_by(self.width) {
            held.copy(self, *slot)?;
        }
        Ok(held)
    }

    /// Says of a column that its texts are the database's own, of values that have no form here.
    pub(in crate::source) fn mark_formless(&mut self, column: usize) {
        for slot in self.slots.iter_mut().skip(column).step_by(self.width) {
            if let Slot::Bytes(form, ..) = slot {
                *form = Form::Formless;
            }
        }
    }

    /// Says of a column that its values cannot be read.
    pub(in crate::source) fn mark_unreadable(&mut self, column: usize) {
        let width = self.width;
        self.slots.iter_mut().skip(column).step_by(width).for_each(|slot| *slot = Slot::Unreadable);
    }

    /// About how many bytes of memory it takes.
    pub(in crate::source) fn weight(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    /// Forgets all rows but the first ones.
    pub(in crate::source) fn truncate(&mut self, rows: usize) {
        self.slots.truncate(rows * self.width);
    }

    /// Forgets all rows, and keeps the memory.
    pub(in crate::source) fn clear(&mut self) {
        self.slots.clear();
        self.bytes.clear();
    }

    /// All values, row after row.
    pub(in crate::source) fn values(&self) -> impl Iterator<Item = Value<'_>> {
        self.slots.iter().map(|slot| self.value(*slot))
    }

    /// The values of one row.
    pub(in crate::source) fn row(&self, index: usize) -> impl Iterator<Item = Value<'_>> {
        self.slots[index * self.width..][..self.width].iter().map(|slot| self.value(*slot))
    }
}
