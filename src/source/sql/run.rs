//! A run of rows that was read: where it may be cut, and how it is given to a sink.

use super::{
    held::Held,
    plan::{Output, Plan},
    related::Lists,
    rewrite::rewritten,
};
use crate::{
    cursor::Cursor,
    error::Error,
    row::{RowSink, Value, repeated_key},
};

/// Gives each row, with its related lists, to the sink.
pub(in crate::source) fn hand_over(
    plan: &Plan,
    rows: &Held,
    lists: &[Lists],
    sink: &mut dyn RowSink,
) -> Result<(), Error> {
    let values: Vec<Value<'_>> = rows.slots.iter().map(|slot| rows.value(*slot)).collect();
    let rewritten = rewritten(rows, &plan.rewrites)?;
    let others: Vec<Value<'_>> = rewritten.values().collect();
    let related_rewritten = rewritten_lists(plan, lists)?;
    let related = lists.iter().zip(&related_rewritten).map(|(list, rewritten)| match rewritten {
        Some(rewritten) => rewritten.values().collect(),
        None => list.values(),
    });
    let related: Vec<Vec<Value<'_>>> = related.collect();
    let mut key = Vec::with_capacity(plan.key.len());
    let mut out = Vec::with_capacity(plan.outputs.len());
    for (index, row) in values.chunks_exact(rows.width).enumerate() {
        key.clear();
        key.extend(plan.key.iter().map(|&select| text_as_text(row[select])));
        let other = &others[index * rewritten.width..][..rewritten.width];
        out.clear();
        out.extend(plan.outputs.iter().map(|output| match *output {
            Output::Select(select) => row[select],
            Output::Object { first, .. } if row[first - 1] == Value::Null => Value::Null,
            Output::Object { first, len } => Value::List(&row[first..first + len]),
            Output::Relation(relation) if lists[relation].is_too_large => Value::TooLarge,
            Output::Relation(relation) => Value::List(&related[relation][lists[relation].range(index)]),
            Output::Rewritten(rewrite) => other[rewrite],
            Output::RewrittenObject { key, .. } if row[key] == Value::Null => Value::Null,
            Output::RewrittenObject { first, len, .. } => Value::List(&other[first..first + len]),
        }));
        sink.row(&key, &out)?;
    }
    Ok(())
}

/// The values of the related lists that are not shown as they are.
fn rewritten_lists(plan: &Plan, lists: &[Lists]) -> Result<Vec<Option<Held>>, Error> {
    let lists = lists.iter().zip(&plan.related_rewrites);
    lists.map(|(list, rewrites)| (!rewrites.is_empty()).then(|| list.rewritten(rewrites)).transpose()).collect()
}

/// In a key a JSON text is compared as the text it is.
fn text_as_text(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Json(text) => Value::Text(text),
        value => value,
    }
}

/// Leaves out all rows but the first ones. The first that is left out must have another key than the last that
/// stays, or it would not be found behind it.
pub(in crate::source) fn cut(plan: &Plan, rows: &mut Held, count: usize) -> Result<(), Error> {
    if plan.unproven && count > 0 && count < rows.count() {
        let key = |row: usize| {
            let values = plan.key.iter().map(|select| rows.value(rows.slots[row * rows.width + select]));
            Cursor::after(&values.map(text_as_text).collect::<Vec<_>>())
        };
        if key(count - 1)? == key(count)? {
            return Err(repeated_key());
        }
    }
    rows.truncate(count);
    Ok(())
}
