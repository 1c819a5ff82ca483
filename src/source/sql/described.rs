//! The JSON types of columns' values, from the catalogue.
//!
//! Clients are generated from these types, so they must cover each value that a list shows. Where a
//! type allows more (NaN becomes `null`, a date may be the text `infinity`, SQLite keeps any value
//! in most columns), the JSON types do too.

use super::{
    catalogue::{Holds, TableColumn},
    rewrite::Rewrite,
};
use crate::{
    described::{
        Described,
        JsonType::{Array, Boolean, Integer, Null, Number, String},
    },
    source::{Operand, ValueType},
};

/// The JSON type of a column's values, after its rewrite if it has one.
pub(super) fn described(column: &TableColumn, rewrite: Option<&Rewrite>) -> Described {
    let as_it_is = || if column.is_typed { by_type(column) } else { of_any_type(column) };
    let shown = rewrite.map_or_else(as_it_is, |rewrite| rewrite.described(as_it_is()));

    if column.nullable { shown.or(Null) } else { shown }
}

/// If the column's type says what each value is.
fn by_type(column: &TableColumn) -> Described {
    let Some(holds) = column.holds else { return Described::default() };
    if holds.is_array {
        return Described::of(&[Array]);
    }
    by_holds(holds, column.operand)
}

fn by_holds(holds: Holds, operand: Option<Operand>) -> Described {
    match holds.holds {
        // If it is compared with numbers, the database has no type for truth values.
        ValueType::Boolean if operand == Some(Operand::Integer) => Described::of(&[Integer]),
        ValueType::Boolean => Described::of(&[Boolean]),
        ValueType::Integer => Described::of(&[Integer]),
        // NaN and the infinities are no JSON numbers.
        ValueType::Decimal | ValueType::Float => Described::of(&[Number, Null]),
        ValueType::Uuid => Described { format: Some("uuid"), ..Described::of(&[String]) },
        ValueType::Bytes => Described { is_base64: true, ..Described::of(&[String]) },
        // Times get no `format`: PostgreSQL has `infinity`, and MySQL has dates that are none.
        ValueType::Text | ValueType::Date | ValueType::Time | ValueType::DateTime | ValueType::Duration => {
            Described::of(&[String])
        }
        ValueType::Json => Described::default(),
    }
}

/// If any value may be in any column (<https://www.sqlite.org/datatype3.html>).
fn of_any_type(column: &TableColumn) -> Described {
    if column.json { Described::default() } else { Described::of(&[Integer, Number, String, Null]) }
}
