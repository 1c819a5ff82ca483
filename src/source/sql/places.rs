//! Checks whether a cursor's values can be those of a row.
//!
//! Without a secret anybody can make up a cursor. A value of a wrong type is an error in one
//! database, and some number or NULL in another, so the list would go on from anywhere. Such a
//! cursor is refused before the database is asked.

use super::catalogue::TableColumn;
use crate::{row::Value, source::Operand};

/// How a database treats a value that is not of the type it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Typing {
    /// As an error; its numbers have NaN and the infinities (PostgreSQL).
    Strict,
    /// It converts the value to the type, or to NULL (MySQL).
    Coerced,
    /// Each value has its own type, and a place in every order (SQLite).
    Dynamic,
}

/// The type of an order column, as far as cursors depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct KeyType {
    kind: String,
    collation: Option<String>,
    operand: Option<Operand>,
}

impl KeyType {
    pub(in crate::source) fn of(column: &TableColumn) -> KeyType {
        KeyType { kind: column.kind.clone(), collation: column.collation.clone(), operand: column.operand }
    }

    /// Whether a value other than NULL can be one of this column.
    pub(in crate::source) fn takes(&self, value: Value<'_>, typing: Typing) -> bool {
        if typing == Typing::Dynamic {
            // SQLite has no NaN: it would become NULL.
            return !matches!(value, Value::Real(n) if n.is_nan());
        }

        let special = typing == Typing::Strict;
        match (self.operand, value) {
            (Some(Operand::Integer), Value::Integer(_) | Value::Bool(_)) => true,
            (Some(Operand::Integer), Value::Decimal(digits)) => is_number(digits, b"-"),
            (Some(Operand::Integer), _) => false,
            (Some(Operand::Number), Value::Integer(_)) => true,
            (Some(Operand::Number), Value::Real(n)) => special || n.is_finite(),
            (Some(Operand::Number), Value::Decimal(digits)) => special || is_number(digits, b"-+.eE"),
            (Some(Operand::Number), _) => false,
            (_, Value::Real(n)) if !n.is_finite() => special,
            (_, Value::Text(text)) if typing == Typing::Coerced => self.casts(text),
            _ => true,
        }
    }

    /// Whether MySQL can cast a text to the column's type without getting NULL, as far as the
    /// characters show.
    fn casts(&self, text: &[u8]) -> bool {
        let of_time = ["CAST(? AS DATE)", "CAST(? AS DATETIME", "CAST(? AS TIME"];
        if of_time.iter().any(|cast| self.kind.starts_with(cast)) {
            return is_number(text, b"-+ :.T");
        }
        if self.kind.starts_with("UNHEX(") {
            return text.len().is_multiple_of(2) && text.iter().all(u8::is_ascii_hexdigit);
        }
        true
    }
}

/// Whether a text has only digits, at least one, and these signs.
fn is_number(text: &[u8], signs: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit) && text.iter().all(|byte| byte.is_ascii_digit() || signs.contains(byte))
}
