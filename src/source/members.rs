//! Rows that are JSON objects, whose members nobody knows beforehand.

use crate::{
    error::{Error, Kind, Result},
    row::{RowBatch, Value},
    text::{self, Output},
};

impl RowBatch {
    /// Adds a row that is a JSON object already, with all of its members, in a batch of one column
    /// ([`Column::members`](crate::source::Column::members)).
    ///
    /// # Errors
    /// [`Kind::Data`] if it is no JSON object, or one without members; else as
    /// [`push`](RowBatch::push).
    pub fn push_members(&mut self, key: &[Value<'_>], object: &str) -> Result<()> {
        let is_object = object.trim_ascii_start().starts_with('{');
        let mut out = Output::default();
        text::scalar(Value::Json(object.as_bytes()), &mut out);
        // What cannot be embedded would have become a text.
        if !is_object || out.bytes.first() != Some(&b'{') || out.bytes == b"{}" {
            return Err(Error::new(Kind::Data, "a row is no JSON object with at least one member"));
        }
        self.push(key, &[Value::Encoded(&out.bytes, out.flaws)])
    }
}
