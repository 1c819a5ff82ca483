//! Rows on their way from a source to formats. They are owned and packed, so that several formats
//! can encode them.

use std::{any::Any, fmt, ops::Range, sync::Arc};

use super::{Slot, Value, ValueBuffer, buffer::too_much};
use crate::error::{Error, Kind, Result};

/// Rows of one source, in order: the key of each, and the values of its columns.
///
/// It owns its values, packed: 12 bytes each, and their texts in one buffer of at most 4 GiB.
///
/// ```
/// use chunkflow::source::{RowBatch, Value};
///
/// let mut batch = RowBatch::new(1, 2);
/// batch.push(&[Value::Integer(7)], &[Value::Integer(7), Value::Text(b"seven")])?;
/// assert_eq!(batch.len(), 1);
/// # Ok::<_, chunkflow::Error>(())
/// ```
#[derive(Clone)]
pub struct RowBatch {
    /// How many of a row's values are its key; they come first.
    key: usize,
    rows: ValueBuffer,
    /// The values of all list values, in the order of the rows.
    items: Vec<Slot>,
    /// Hashes of keys that were looked up for rows besides their own, each behind its row's index;
    /// in the order of the rows. `None` if some are not known.
    keys: Option<Vec<(u32, u32)>>,
    /// Keeps the batch's memory counted until it is dropped.
    counted: Option<Arc<dyn Any + Send + Sync>>,
}

impl RowBatch {
    /// An empty batch, for rows of `key` order columns and `columns` columns.
    pub fn new(key: usize, columns: usize) -> RowBatch {
        RowBatch::of(key, ValueBuffer::new(key + columns), vec![])
    }

    /// The rows of a buffer. The first `key` values of each are its key.
    pub(crate) fn of(key: usize, rows: ValueBuffer, items: Vec<Slot>) -> RowBatch {
        RowBatch { key, rows, items, keys: Some(vec![]), counted: None }
    }

    /// The same rows; the batch holds `counted` until it is dropped.
    pub(crate) fn counted_by(self, counted: Arc<dyn Any + Send + Sync>) -> RowBatch {
        RowBatch { counted: Some(counted), ..self }
    }

    /// The same rows, for which these keys were looked up: their hashes, each behind its row's
    /// index, in the order of the rows. `None` if some are not known.
    pub(crate) fn with_keys(self, keys: Option<Vec<(u32, u32)>>) -> RowBatch {
        RowBatch { keys, ..self }
    }

    /// The hashes of keys that were looked up for the rows from this one on, besides their own, each
    /// behind its row's index; `None` if some are not known.
    pub(crate) fn keys_from(&self, row: usize) -> Option<&[(u32, u32)]> {
        let keys = self.keys.as_ref()?;
        Some(&keys[keys.partition_point(|(of, _)| (*of as usize) < row)..])
    }

    /// Whether something counts its memory.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted.is_some()
    }

    /// Adds a row: the values of the order columns, then those of all columns. A list inside a list
    /// is NULL.
    ///
    /// # Errors
    /// [`Kind::Internal`] if there are more or fewer values than the batch has columns;
    /// [`Kind::Data`] if the batch would hold more than 4 GiB. The batch must not be used after
    /// that.
    pub fn push(&mut self, key: &[Value<'_>], values: &[Value<'_>]) -> Result<()> {
        if key.len() != self.key || key.len() + values.len() != self.rows.width {
            return Err(not_as_many());
        }

        for value in key.iter().chain(values) {
            match value {
                Value::List(values) => {
                    let from = self.items.len();
                    for value in *values {
                        self.rows.add(*value)?;
                        self.items.extend(self.rows.slots.pop());
                    }
                    self.rows.slots.push(list(from, self.items.len())?);
                }
                value => self.rows.add(*value)?,
            }
        }

        Ok(())
    }

    /// Notes the hash of a key that was looked up for the row that was added last.
    ///
    /// # Errors
    /// [`Kind::Internal`] if there is no row.
    pub(crate) fn note_key(&mut self, hash: u32) -> Result<()> {
        let row = self.len().checked_sub(1).and_then(|row| u32::try_from(row).ok());
        let row = row.ok_or_else(|| Error::new(Kind::Internal, "a related row is noted before any row"))?;
        if let Some(keys) = &mut self.keys {
            keys.push((row, hash));
        }
        Ok(())
    }

    /// Checks that its rows have this many order columns and columns.
    ///
    /// # Errors
    /// [`Kind::Internal`] if they have not.
    pub(crate) fn check(&self, key: usize, columns: usize) -> Result<()> {
        if self.key == key && self.rows.width == key + columns { Ok(()) } else { Err(not_as_many()) }
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.count()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let keys = self.keys.as_ref().map_or(0, Vec::len) * size_of::<(u32, u32)>();
        self.rows.weight() + self.items.len() * size_of::<Slot>() + keys
    }

    /// Calls `take` with each row of a range, in order: its key, and the values of its columns.
    ///
    /// # Errors
    /// The error of `take`, after which no further row is given.
    ///
    /// # Panics
    /// If the batch has fewer rows.
    pub fn each(
        &self,
        rows: Range<usize>,
        mut take: impl FnMut(&[Value<'_>], &[Value<'_>]) -> Result<()>,
    ) -> Result<()> {
        let width = self.rows.width;
        let slots = &self.rows.slots[rows.start * width..rows.end * width];

        // Adjacent rows have adjacent lists.
        let bounds =
            slots.iter().filter_map(|slot| if let Slot::List(from, to) = slot { Some((*from, *to)) } else { None });
        let items = bounds.reduce(|all, list| (all.0, list.1)).unwrap_or((0, 0));
        let first = items.0 as usize;
        let items: Vec<Value<'_>> =
            self.items[first..items.1 as usize].iter().map(|slot| self.rows.value(*slot)).collect();

        let mut row = Vec::with_capacity(width);
        for slots in slots.chunks_exact(width) {
            row.clear();
            row.extend(slots.iter().map(|slot| match *slot {
                Slot::List(from, to) => Value::List(&items[from as usize - first..to as usize - first]),
                slot => self.rows.value(slot),
            }));
            let (key, values) = row.split_at(self.key);
            take(key, values)?;
        }

        Ok(())
    }
}

impl fmt::Debug for RowBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowBatch").field("rows", &self.len()).finish_non_exhaustive()
    }
}

fn not_as_many() -> Error {
    Error::new(Kind::Internal, "a source gave a row that has not as many values as columns")
}

/// A list of the items from `from` up to but not including `to`.
///
/// # Errors
/// As [`ValueBuffer::close`].
pub(crate) fn list(from: usize, to: usize) -> Result<Slot> {
    match (u32::try_from(from), u32::try_from(to)) {
        (Ok(from), Ok(to)) => Ok(Slot::List(from, to)),
        _ => Err(too_much()),
    }
}

/// Takes a source's rows, in order, as the source reads them.
pub trait RowSink: Send {
    /// Takes the next rows.
    ///
    /// # Errors
    /// When they cannot be part of a right list; the source stops and returns the error.
    fn take(&mut self, batch: RowBatch) -> Result<()>;
}

impl RowSink for Vec<RowBatch> {
    fn take(&mut self, batch: RowBatch) -> Result<()> {
        self.push(batch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flaw::Flaws;

    /// Single values of every kind.
    fn single() -> impl Strategy<Value = Value<'static>> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Integer),
            (-1e9..1e9).prop_map(Value::Real),
            Just(Value::Decimal(b"12.50")),
            Just(Value::Text(b"a text")),
            Just(Value::Text(b"")),
            Just(Value::Blob(b"\x00\xff")),
            Just(Value::Json(b"[1]")),
            Just(Value::Encoded(b"{}", Flaws::NONE)),
            Just(Value::Formless(None)),
            Just(Value::Formless(Some(b"curve"))),
            Just(Value::TooLarge),
        ]
    }

    type Row = (Value<'static>, Value<'static>, Vec<Value<'static>>, Vec<Value<'static>>);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let list = || prop::collection::vec(single(), 0..4);
        prop::collection::vec((single(), single(), list(), list()), 0..30)
    }

    proptest! {
        #[test]
        fn a_batch_gives_back_the_rows_that_it_was_given_from_any_place_on(
            rows in rows(), from in 0..30_usize, to in 0..30_usize
        ) {
            let mut batch = RowBatch::new(1, 3);
            for (key, value, one, other) in &rows {
                batch.push(&[*key], &[*value, Value::List(one), Value::List(other)]).unwrap();
            }

            prop_assert_eq!(batch.len(), rows.len());

            let from = from.min(rows.len());
            let to = to.min(rows.len());
            let mut at = from.min(to);
            batch
                .each(from.min(to)..to, |key, values| {
                    let (expected, value, one, other) = &rows[at];
                    assert_eq!(key, [*expected]);
                    assert_eq!(values, [*value, Value::List(one), Value::List(other)]);
                    at += 1;
                    Ok(())
                })
                .unwrap();
            prop_assert_eq!(at, to);
        }
    }

    #[test]
    fn a_row_with_too_many_or_too_few_values_is_refused() {
        let mut batch = RowBatch::new(1, 1);
        assert!(batch.push(&[Value::Null], &[]).is_err());
        assert!(batch.push(&[], &[Value::Null, Value::Null]).is_err());
        assert!(batch.push(&[Value::Null], &[Value::Null, Value::Null]).is_err());
        assert!(batch.is_empty());
    }
}
