//! Which values of a cursor can be a row's.
//!
//! Without a secret anybody can make up a cursor. A value of another type would be an error in one
//! database, some number or NULL in another, and the list behind it some list or none: it is
//! refused before any database is asked.

use super::catalogue::TableColumn;
use crate::{row::Value, source::Operand};

/// What a database makes of a value that is not of the type of what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Typing {
    /// It refuses it, and its numbers have NaN and the infinities (PostgreSQL).
    Strict,
    /// It makes a value of the type of it, or NULL (MySQL).
    Coerced,
    /// Each value has a type of its own, and a place in every order (SQLite).
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

    /// Whether a value that is not NULL can be one of the column.
    pub(in crate::source) fn takes(&self, value: Value<'_>, typing: Typing) -> bool {
        if typing == Typing::Dynamic {
            // There is no NaN in SQLite: it would be NULL.
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

    /// Whether MySQL's cast of a text to the column's type is no NULL, as far as its signs tell.
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

/// Whether a text is of digits, one at least, and of these signs.
fn is_number(text: &[u8], signs: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit) && text.iter().all(|byte| byte.is_ascii_digit() || signs.contains(byte))
}
