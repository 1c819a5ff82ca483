//! A run of rows that was read: where it may be cut, and how it is given to a sink.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{
    held::Held,
    plan::{Output, Plan},
    related::Lists,
    rewrite::rewritten,
};
use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    row::{RowSink, Value, repeated_key},
    source::Query,
};

/// A run ends early when its rows take so much memory.
pub(in crate::source) const RUN_BYTES: usize = 1024 * 1024;

/// Why a read gives up: a row, or its related rows, is wider than is read without being measured. It is read
/// [carefully](super::careful) then.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Wide;

/// Why a read gives up: it needs room for rows of so many bytes, and has less. It is tried again with as much.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct NeedsRoom(pub(in crate::source) u64);

/// The failure of a list of which something is wider than the database had said.
pub(in crate::source) fn wider_than_it_said() -> Error {
    Error::new(Kind::Data, "a row is larger than the database had said of its values")
        .remedy("leave the field with the large values out")
}

/// Whether the rows ahead are thought to be wide, so that a list is read carefully at once.
#[derive(Debug, Default)]
pub(in crate::source) struct WideAhead(AtomicBool);

impl WideAhead {
    pub(in crate::source) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(in crate::source) fn note(&self, is_wide: bool) {
        // Mostly it is as it was, and nothing is written.
        if self.get() != is_wide {
            self.0.store(is_wide, Ordering::Relaxed);
        }
    }
}

/// About how many bytes a row of a list has, as far as is known: 0 where it is not. Where a driver cannot stop
/// a result in the middle, so few rows are asked for that a run of them is bounded in bytes.
#[derive(Debug, Default)]
pub(in crate::source) struct Width(AtomicUsize);

impl Width {
    pub(in crate::source) fn new(bytes: usize) -> Width {
        Width(AtomicUsize::new(bytes))
    }

    /// The query for no more rows than a run may hold.
    pub(in crate::source) fn bounded(&self, query: Query) -> Query {
        let width = self.0.load(Ordering::Relaxed).max(1);
        let most = (2 * RUN_BYTES / width).clamp(1, u32::MAX as usize) as u32;
        Query { limit: query.limit.min(most), ..query }
    }

    /// Takes note of what a read found.
    pub(in crate::source) fn note(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

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
