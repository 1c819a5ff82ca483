//! A run of rows as it is read: which ranges it is read from, where it ends, and how it is given to
//! a sink.
//!
//! The drivers feed it: each asks what [`RunReader::wants`], adds the rows that come, reads the
//! related lists of those that are to be handed on, and hands them on.

use super::{
    keyset::{self, Range},
    plan::{Output, Plan},
    related::Lists,
    rewrite::rewritten,
    select::{self, Statement},
    width::RUN_BYTES,
};
use std::sync::Arc;

use crate::{
    cursor::Cursor,
    error::Error,
    row::{Form, RowBatch, RowSink, Slot, Value, ValueBuffer, list, repeated_key},
    source::{Query, Room},
};

/// Rows that nothing else is needed for are handed on in batches of so many, while the database
/// sends the next.
const BATCH: usize = 64;

/// How an attempt went, as far as it came.
#[derive(Debug, Default)]
pub(in crate::source) struct Progress {
    /// Rows that came, and their bytes.
    pub(in crate::source) rows: usize,
    pub(in crate::source) bytes: usize,
    /// Rows that the sink has taken, of those that came.
    pub(in crate::source) handed: usize,
    /// About how many bytes of related rows belong to a row.
    pub(in crate::source) related: usize,
}

impl Progress {
    /// About how many bytes a row has, with those of its related rows; `None` where none came.
    pub(in crate::source) fn width(&self) -> Option<usize> {
        // Of related rows twice as much may be held.
        self.bytes.checked_div(self.rows).map(|width| width + self.related / 2)
    }
}

/// One run of rows, as far as it has come.
pub(in crate::source) struct RunReader<'a> {
    plan: &'a Plan,
    query: &'a Query,
    after: Vec<Value<'a>>,
    ranges: std::vec::IntoIter<Range>,
    /// Rows that are not handed on yet: a driver adds the values of each.
    pub(in crate::source) rows: ValueBuffer,
    pub(in crate::source) progress: &'a mut Progress,
    /// Whether rows are handed on as they come.
    passes: bool,
    /// Whether the run goes as far as its limit and the list let it.
    is_whole: bool,
    ended: bool,
}

impl<'a> RunReader<'a> {
    pub(in crate::source) fn new(plan: &'a Plan, query: &'a Query, progress: &'a mut Progress) -> RunReader<'a> {
        let after: Vec<Value<'a>> = query.after.values().collect();
        RunReader {
            ranges: keyset::ranges(plan.dialect, &plan.order, &after).into_iter(),
            rows: ValueBuffer::new(plan.selects.len()),
            passes: plan.relations.is_empty() && !plan.unproven,
            is_whole: true,
            ended: false,
            plan,
            query,
            after,
            progress,
        }
    }

    /// The same, where no row is handed on before all of them are read.
    pub(in crate::source) fn at_once(self) -> RunReader<'a> {
        RunReader { passes: false, ..self }
    }

    /// Whether rows are handed on as they come, and no related lists are read.
    pub(in crate::source) fn passes(&self) -> bool {
        self.passes
    }

    /// The key values that statements compare with.
    pub(in crate::source) fn after(&self) -> &[Value<'a>] {
        &self.after
    }

    /// Rows at most: one more where nobody has proven the key, since the first row that is not
    /// handed on must not have the key of the last that is.
    fn most(&self) -> usize {
        self.query.limit as usize + usize::from(self.plan.unproven)
    }

    /// The statement to ask next, and how many rows at most.
    pub(in crate::source) fn wants(&mut self) -> Option<(Statement<'a>, usize)> {
        let left = self.most() - self.progress.rows;
        if !self.is_whole || left == 0 {
            return None;
        }
        let range = self.ranges.next()?;
        Some((select::rows(self.plan, &range, &self.query.conditions), left))
    }

    /// Whether the statement that was given last is the last one.
    pub(in crate::source) fn is_at_last_range(&self) -> bool {
        self.ranges.as_slice().is_empty()
    }

    /// Takes note of a row whose values were added, of so many bytes as they came. False where the
    /// run is long enough: the rows behind it are not to be read.
    pub(in crate::source) fn added(&mut self, bytes: usize, sink: &mut dyn RowSink) -> Result<bool, Error> {
        self.progress.rows += 1;
        self.progress.bytes += bytes;
        if self.passes && self.rows.count() == BATCH {
            self.progress.handed += BATCH;
            self.hand_over(vec![], sink)?;
        }

        let held = if self.passes { self.progress.bytes / 4 } else { self.rows.weight() };
        let rows = self.progress.rows;
        let is_enough = held > RUN_BYTES && (rows > 1 || !self.plan.unproven) && rows < self.most();
        self.is_whole &= !is_enough;
        Ok(!is_enough)
    }

    /// Whether there are rows to hand on where the next one fails its query.
    pub(in crate::source) fn has_rows(&self) -> bool {
        self.progress.rows > usize::from(self.plan.unproven)
    }

    /// Ends the run behind the rows that came: the next one begins there.
    pub(in crate::source) fn stop(&mut self) {
        self.is_whole = false;
        // Of a row that was begun.
        self.rows.truncate(self.rows.count());
    }

    /// Says that no more rows come; what is left of them then is to be handed on.
    pub(in crate::source) fn end(&mut self) -> Result<(), Error> {
        let limit = self.query.limit as usize;
        self.ended = self.is_whole && self.progress.rows < limit;
        if self.plan.unproven && (self.progress.rows > limit || !self.is_whole) {
            self.ended = false;
            let rows = self.rows.count() - 1;
            cut(self.plan, &mut self.rows, rows)?;
        }
        Ok(())
    }

    /// Leaves out three quarters of the rows, whose related lists are too much: they are the first
    /// of the next run.
    pub(in crate::source) fn shorten(&mut self) -> Result<(), Error> {
        self.ended = false;
        let rows = (self.rows.count() / 4).max(1);
        cut(self.plan, &mut self.rows, rows)
    }

    /// Whether the list ends with the rows that are handed on.
    pub(in crate::source) fn ended(&self) -> bool {
        self.ended
    }

    /// Hands on the rows that are left, with their related lists.
    pub(in crate::source) fn hand_over(&mut self, lists: Vec<Lists>, sink: &mut dyn RowSink) -> Result<(), Error> {
        let rows = std::mem::replace(&mut self.rows, ValueBuffer::new(self.plan.selects.len()));
        hand_over(self.plan, rows, lists, sink)
    }
}

/// A sink whose rows take up room for as long as they are there.
pub(in crate::source) struct InRoom<'a> {
    pub(in crate::source) sink: &'a mut dyn RowSink,
    pub(in crate::source) room: &'a Option<Arc<Room>>,
}

impl RowSink for InRoom<'_> {
    fn take(&mut self, batch: RowBatch) -> Result<(), Error> {
        self.sink.take(match self.room {
            Some(room) => batch.counted_by(Arc::clone(room) as _),
            None => batch,
        })
    }
}

/// Gives rows with their related lists to a sink.
pub(in crate::source) fn hand_over(
    plan: &Plan,
    rows: ValueBuffer,
    lists: Vec<Lists>,
    sink: &mut dyn RowSink,
) -> Result<(), Error> {
    if rows.count() == 0 {
        return Ok(());
    }
    sink.take(batch(plan, rows, lists)?)
}

/// The rows as the source's columns have them.
fn batch(plan: &Plan, mut rows: ValueBuffer, lists: Vec<Lists>) -> Result<RowBatch, Error> {
    let rewritten = rewritten(&rows, &plan.rewrites)?;
    let mut out = ValueBuffer::new(plan.key.len() + plan.outputs.len());
    out.slots.reserve(rows.count() * out.width);
    out.bytes = std::mem::take(&mut rows.bytes);
    let others = moved_to(&mut out, &rewritten.bytes, rewritten.slots.iter().copied())?;
    let mut related = vec![];
    for (list, rewrites) in lists.iter().zip(&plan.related_rewrites) {
        related.push(if rewrites.is_empty() {
            moved_to(&mut out, list.bytes(), list.slots())?
        } else {
            let rewritten = list.rewritten(rewrites)?;
            moved_to(&mut out, &rewritten.bytes, rewritten.slots.iter().copied())?
        });
    }

    let mut items = vec![];
    for (index, row) in rows.slots.chunks_exact(rows.width).enumerate() {
        let other = &others[index * rewritten.width..][..rewritten.width];
        out.slots.extend(plan.key.iter().map(|&select| json_as_text(row[select])));
        for output in &plan.outputs {
            let values = match *output {
                Output::Select(select) => Err(row[select]),
                Output::Rewritten(rewrite) => Err(other[rewrite]),
                Output::Object { first, .. } if matches!(row[first - 1], Slot::Null) => Err(Slot::Null),
                Output::Object { first, len } => Ok(&row[first..first + len]),
                Output::RewrittenObject { key, .. } if matches!(row[key], Slot::Null) => Err(Slot::Null),
                Output::RewrittenObject { first, len, .. } => Ok(&other[first..first + len]),
                Output::Relation(relation) if lists[relation].is_too_large => Err(Slot::TooLarge),
                Output::Relation(relation) => Ok(&related[relation][lists[relation].range(index)]),
            };
            out.slots.push(match values {
                Err(single) => single,
                Ok(values) => {
                    items.extend_from_slice(values);
                    list(items.len() - values.len(), items.len())?
                }
            });
        }
    }

    Ok(RowBatch::of(plan.key.len(), out, items))
}

/// Adds bytes to a buffer; gives the values that they are of, as they stand there.
fn moved_to(out: &mut ValueBuffer, bytes: &[u8], slots: impl Iterator<Item = Slot>) -> Result<Vec<Slot>, Error> {
    let by = out.append(bytes)?;
    Ok(slots.map(|slot| slot.moved(by)).collect())
}

/// In a key a JSON text is compared as the text it is.
fn json_as_text(slot: Slot) -> Slot {
    match slot {
        Slot::Bytes(Form::Json, from, to) => Slot::Bytes(Form::Text, from, to),
        slot => slot,
    }
}

/// Leaves out all rows but the first ones. The first that is left out must have another key than
/// the last that stays, or it would not be found behind it.
pub(in crate::source) fn cut(plan: &Plan, rows: &mut ValueBuffer, count: usize) -> Result<(), Error> {
    if plan.unproven && count > 0 && count < rows.count() {
        let key = |row: usize| {
            let slots = plan.key.iter().map(|select| json_as_text(rows.slots[row * rows.width + select]));
            Cursor::after(&slots.map(|slot| rows.value(slot)).collect::<Vec<_>>())
        };
        if key(count - 1)? == key(count)? {
            return Err(repeated_key());
        }
    }
    rows.truncate(count);
    Ok(())
}
