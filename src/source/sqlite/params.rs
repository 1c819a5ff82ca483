//! Values for a statement's parameters.

use std::rc::Rc;

use rusqlite::types::Value as Owned;

use super::session::{Binder, Bound};
use crate::{
    row::Value,
    source::{Operand, sql::select::Bind},
};

pub(super) fn bind(
    binder: &mut Binder<'_, '_>,
    binds: &[Bind<'_>],
    after: &[Value<'_>],
    limit: usize,
) -> rusqlite::Result<()> {
    for bind in binds {
        match bind {
            Bind::Key(index) => binder.bind(Bound(after[*index]))?,
            Bind::Value(text, operand) => binder.bind(filter_value(text, *operand))?,
            Bind::List(values, operand) => {
                binder.bind(Rc::new(values.iter().map(|text| filter_value(text, *operand)).collect::<Vec<_>>()))?;
            }
            Bind::Pattern(pattern) => binder.bind(pattern)?,
            Bind::Limit => binder.bind(limit as i64)?,
        }
    }
    Ok(())
}

fn filter_value(text: &str, operand: Operand) -> Owned {
    match (operand, text.parse::<i64>(), text.parse::<f64>()) {
        (Operand::Integer | Operand::Number, Ok(number), _) => Owned::Integer(number),
        (Operand::Integer | Operand::Number, _, Ok(number)) => Owned::Real(number),
        _ => Owned::Text(text.to_owned()),
    }
}
