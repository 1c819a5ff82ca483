//! Rows as they pass from a source to a format: packed values, never a tree.

#[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only databases fill a batch by themselves"))]
mod batch;
#[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only databases fill a buffer by themselves"))]
mod buffer;
mod object;

use serde::{Deserialize, Serialize};

#[cfg(feature = "sql")]
pub(crate) use self::batch::list;
pub use self::batch::{RowBatch, RowSink};
#[cfg(feature = "sql")]
pub(crate) use self::buffer::Form;
pub(crate) use self::{
    buffer::{Slot, ValueBuffer},
    object::unwritable,
};
use crate::{
    error::{Error, Kind},
    flaw::Flaws,
};

/// One value of a row, borrowed from the driver's memory.
///
/// Values are typed one by one, not by column: SQLite types each value by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// SQL's NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number, exact.
    Integer(i64),
    /// A double. Formats write NaN and the infinities as NULL.
    Real(f64),
    /// A number as its decimal digits, exact at any size. Formats write NaN and the infinities as
    /// NULL.
    Decimal(&'a [u8]),
    /// Text, as the database holds it. It should be UTF-8, but need not be.
    Text(&'a [u8]),
    /// Bytes that are not text.
    Blob(&'a [u8]),
    /// A JSON text from the database. Formats embed it if it is valid, else write it as text.
    Json(&'a [u8]),
    /// JSON that the source has written, valid and on one line, with the flaws of values in it.
    /// Formats embed it as it is.
    Encoded(&'a [u8], Flaws),
    /// A value that this crate has no type for: the driver's bytes do not tell it, or the database
    /// cannot make JSON of it. It holds the database's own text, if there is one.
    ///
    /// Formats write the text or NULL, and report it
    /// ([`Flaw::NoForm`](crate::source::Flaw::NoForm)). In a key it is an error, since a NULL there
    /// would lose rows.
    Formless(Option<&'a [u8]>),
    /// A value that was not read, because it or its row is larger than a row may be
    /// ([`RowBounds`](crate::source::RowBounds)). Formats write NULL and report it
    /// ([`Flaw::TooLarge`](crate::source::Flaw::TooLarge)). In a key it is an error.
    TooLarge,
    /// The values of a column whose [`Shape`] is not [`Shape::Scalar`], one after the other.
    List(&'a [Value<'a>]),
}

/// How to read the values of a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Shape {
    /// One value.
    Scalar,
    /// A [`Value::List`] of single values.
    List,
    /// A [`Value::List`] with one value for each name; or [`Value::Null`].
    Object(Vec<String>),
    /// A [`Value::List`] of several objects: value `i` belongs to name `i % names.len()`.
    Objects(Vec<String>),
    /// A [`Value::Json`] object, whose members are members of the row itself. Formats that need to
    /// know the names beforehand, as CSV does, cannot write it.
    Members,
}

impl Shape {
    /// Its name and the names of its members, as they stand in canonical forms.
    pub(crate) fn parts(&self) -> (&'static str, &[String]) {
        match self {
            Shape::Scalar => ("scalar", &[]),
            Shape::List => ("list", &[]),
            Shape::Object(members) => ("object", members),
            Shape::Objects(members) => ("objects", members),
            Shape::Members => ("members", &[]),
        }
    }
}

/// A column of a source, or a member of a format's rows: its name and the shape of its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The name in the output.
    pub name: String,
    /// How to read its values.
    pub shape: Shape,
}

impl Column {
    /// A column of single values.
    pub fn scalar(name: impl Into<String>) -> Column {
        Column { name: name.into(), shape: Shape::Scalar }
    }

    /// The only column of rows that are JSON objects, whose members are not known beforehand.
    pub fn members() -> Column {
        Column { name: "*".into(), shape: Shape::Members }
    }
}

/// One member of a resource's rows, and its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Field {
    /// The source's column with this index, unchanged.
    Column(usize),
    /// An absolute URL: the request's scheme and host, then these parts.
    Link(Vec<Part>),
    /// The row's sealed cursor: with it as `after`, the list goes on behind this row.
    Cursor,
}

/// The members of a resource's rows, by name, in order.
pub(crate) type Fields = Vec<(String, Field)>;

/// A part of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Part {
    /// Literal text.
    Literal(String),
    /// The value of the source's column with this index, percent-encoded.
    Column(usize),
}

/// The error of a list in which two rows have the same key: a cut between them would lose one.
pub(crate) fn repeated_key() -> Error {
    Error::new(Kind::Data, "two rows have the same key, so that the list cannot be cut without losing one")
        .remedy("name columns that tell the rows apart with `key`")
}

/// The error of a list with an unreadable value in its key, or in the column of a join.
pub(crate) fn unreadable_key() -> Error {
    Error::new(Kind::Data, "a column of the order or of a join holds a value that cannot be read")
        .remedy("order or join by another column, or by a view that casts it: without its value rows would be lost")
}
