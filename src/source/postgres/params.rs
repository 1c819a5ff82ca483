//! Values on their way to PostgreSQL. They are sent as text; the server infers their type from what
//! they are compared with.
//!
//! So a key of any type, such as a numeric of any size or a timestamp, goes back as exactly the
//! value that was read.

use std::fmt::Write;

use tokio_postgres::types::{Format, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use crate::{
    row::Value,
    source::sql::select::{Bind, Statement},
};

/// A parameter, as the input function of its type reads it.
#[derive(Debug)]
pub(super) struct Param(Vec<u8>);

impl ToSql for Param {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

impl Param {
    /// A single value; NULL is never compared with.
    pub(super) fn value(value: Value<'_>) -> Param {
        Param(match value {
            Value::Null | Value::List(_) | Value::Formless(_) | Value::TooLarge => vec![],
            Value::Bool(truth) => if truth { "t" } else { "f" }.into(),
            Value::Integer(n) => itoa::Buffer::new().format(n).into(),
            Value::Real(n) => zmij::Buffer::new().format(n).into(),
            Value::Text(text) | Value::Json(text) | Value::Encoded(text, _) | Value::Decimal(text) => text.into(),
            Value::Blob(bytes) => {
                let mut text = String::from("\\x");
                for byte in bytes {
                    // Writing to memory cannot fail.
                    let _ = write!(text, "{byte:02x}");
                }
                text.into()
            }
        })
    }

    /// An array of texts or of whole numbers.
    pub(super) fn array(values: impl Iterator<Item = Param>) -> Param {
        let mut text = vec![b'{'];
        for (index, value) in values.enumerate() {
            if index > 0 {
                text.push(b',');
            }
            // Within quotes only quotes and backslashes are special, and NULL is a text.
            text.push(b'"');
            for &byte in &value.0 {
                if matches!(byte, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(byte);
            }
            text.push(b'"');
        }

        text.push(b'}');
        Param(text)
    }

    /// The parameters of a statement for the rows behind a key.
    pub(super) fn of(statement: &Statement<'_>, after: &[Value<'_>], limit: usize) -> Vec<(Param, Type)> {
        let param = |bind: &Bind<'_>| match bind {
            Bind::Key(index) => Param::value(after[*index]),
            Bind::Value(text, _) => Param((*text).into()),
            Bind::List(values, _) => Param::array(values.iter().map(|text| Param(text.as_bytes().into()))),
            Bind::Pattern(pattern) => Param(pattern.as_bytes().into()),
            Bind::Limit => Param::value(Value::Integer(limit as i64)),
        };
        statement.binds.iter().map(|bind| (param(bind), Type::UNKNOWN)).collect()
    }
}
