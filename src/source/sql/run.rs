//! One run of rows while it is read: its key ranges, where it ends, and how its rows reach the
//! sink.
//!
//! The drivers use it. Each driver runs the statements of [`RunReader::wants`] and adds the rows
//! that come. Then it reads the related lists of the rows that are left, and hands these on.

use super::{
    keyset::{self, Range},
    plan::{Output, Plan},
    related::{Lists, json_as_text},
    rewrite::rewritten,
    select::{self, Statement},
    width::RUN_BYTES,
};
use std::sync::Arc;

use crate::{
    chunk::{own_key_hash, related_key_hash},
    cursor::{self, Cursor},
    error::Error,
    row::{RowBatch, RowSink, Slot, Value, ValueBuffer, list, repeated_key},
    source::{Query, Room},
};

/// Rows that need nothing else are handed on in batches of this many, while the database sends
/// more. In batches of 64 a list of 100,000 rows from PostgreSQL came at 0.92 of this speed, on one
/// core.
const BATCH: usize = 256;

/// How far an attempt has come.
#[derive(Debug, Default)]
pub(in crate::source) struct Progress {
    /// How many rows came, and their bytes.
    pub(in crate::source) rows: usize,
    pub(in crate::source) bytes: usize,
    /// How many of these rows the sink has taken.
    pub(in crate::source) handed: usize,
    /// Roughly how many bytes of related rows each row has.
    pub(in crate::source) related: usize,
}

impl Progress {
    /// Roughly how many bytes a row has, with its related rows; `None` if no row came.
    pub(in crate::source) fn width(&self) -> Option<usize> {
        // Half, since twice as many bytes of related rows may be held.
        self.bytes.checked_div(self.rows).map(|width| width + self.related / 2)
    }
}

/// One run of rows while it is read.
pub(in crate::source) struct RunReader<'a> {
    plan: &'a Plan,
    query: &'a Query,
    after: Vec<Value<'a>>,
    ranges: std::vec::IntoIter<Range>,
    /// Rows not yet handed on; a driver adds the values of each row here.
    pub(in crate::source) rows: ValueBuffer,
    pub(in crate::source) progress: &'a mut Progress,
    /// Whether rows are handed on as they come.
    passes: bool,
    /// Whether only the limit or the end of the list ends the run.
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

    /// The same, but hands rows on only after all are read.
    pub(in crate::source) fn at_once(self) -> RunReader<'a> {
        RunReader { passes: false, ..self }
    }

    /// Whether rows are handed on as they come, since they have no related lists.
    pub(in crate::source) fn passes(&self) -> bool {
        self.passes
    }

    /// The key values that statements compare with.
    pub(in crate::source) fn after(&self) -> &[Value<'a>] {
        &self.after
    }

    /// At most this many rows. If the key is unproven, one more than the limit, to check that the
    /// first row left out has another key than the last row handed on.
    fn most(&self) -> usize {
        self.query.limit as usize + usize::from(self.plan.unproven)
    }

    /// The next statement, and the most rows to read from it.
    pub(in crate::source) fn wants(&mut self) -> Option<(Statement<'a>, usize)> {
        let left = self.most() - self.progress.rows;
        if !self.is_whole || left == 0 {
            return None;
        }
        let range = self.ranges.next()?;
        Some((select::rows(self.plan, &range, &self.query.conditions), left))
    }

    /// Whether the last statement that was given is the run's last.
    pub(in crate::source) fn is_at_last_range(&self) -> bool {
        self.ranges.as_slice().is_empty()
    }

    /// Counts a row whose values were added and which came as `bytes` bytes. False if the run is
    /// long enough: no further row may be added.
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

    /// Whether there are rows to hand on if the next row fails its query.
    pub(in crate::source) fn has_rows(&self) -> bool {
        self.progress.rows > usize::from(self.plan.unproven)
    }

    /// Ends the run behind the rows that came; the next run begins there.
    pub(in crate::source) fn stop(&mut self) {
        self.is_whole = false;
        // Drops the values of an unfinished row.
        self.rows.truncate(self.rows.count());
    }

    /// Called after the last row; the rows that are left are then to be handed on.
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

    /// Drops three quarters of the rows, since their related lists are too large. The next run
    /// begins with these rows.
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

/// A sink whose batches hold their room until they are dropped.
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

/// Hands rows with their related lists to a sink.
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

/// The rows in the source's columns.
fn batch(plan: &Plan, mut rows: ValueBuffer, lists: Vec<Lists>) -> Result<RowBatch, Error> {
    let rewritten = rewritten(&rows, &plan.rewrites)?;
    let mut out = ValueBuffer::new(plan.key.len() + plan.outputs.len());
    out.slots.reserve(rows.count() * out.width);
    out.bytes = std::mem::take(&mut rows.bytes);
    let others = moved_to(&mut out, &rewritten.bytes, rewritten.slots.iter().copied())?;
    let mut related = vec![];
    for ((list, relation), rewrites) in lists.iter().zip(&plan.relations).zip(&plan.related_rewrites) {
        related.push(if list.is_too_large {
            vec![]
        } else if rewrites.is_empty() {
            moved_to(&mut out, list.bytes(), list.slots(relation.shown().len()))?
        } else {
            let rewritten = list.rewritten(rewrites)?;
            moved_to(&mut out, &rewritten.bytes, rewritten.slots.iter().copied())?
        });
    }

    let mut keys = Keys::new(plan, &lists);
    let mut items = vec![];
    for (index, row) in rows.slots.chunks_exact(rows.width).enumerate() {
        let other = &others[index * rewritten.width..][..rewritten.width];
        keys.add_row(plan, index, row, &lists, &out);
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
                Output::Relation(relation) => {
                    Ok(&related[relation][lists[relation].range(index, plan.relations[relation].shown().len())])
                }
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

    let keys = keys.are_known.then_some(keys.hashes);
    Ok(RowBatch::of(plan.key.len(), out, items).with_keys(keys))
}

/// The keys that were looked up for rows, besides their own.
struct Keys {
    /// The row's index and the hash of each.
    hashes: Vec<(u32, u32)>,
    are_known: bool,
    /// For each relation the hashes of its related rows' keys.
    related: Vec<Vec<u32>>,
    canonical: Vec<u8>,
}

impl Keys {
    fn new(plan: &Plan, lists: &[Lists]) -> Keys {
        let mut are_known = true;
        let related = lists.iter().zip(&plan.relations).enumerate().map(|(at, (list, relation))| {
            let is_whole = !list.is_too_large && relation.hidden > 0;
            let hash = |canonical: &[u8]| related_key_hash(plan.rules[plan.ones.len() + at], canonical);
            let hashes = is_whole.then(|| list.hashes(relation.shown().len(), hash)).flatten();
            are_known &= hashes.is_some();
            hashes.unwrap_or_default()
        });
        let related = related.collect();
        Keys { hashes: vec![], are_known, related, canonical: vec![] }
    }

    /// Adds the keys of a row's related rows, and where they would be.
    fn add_row(&mut self, plan: &Plan, index: usize, row: &[Slot], lists: &[Lists], values: &ValueBuffer) {
        if !self.are_known {
            return;
        }
        for (one, rule) in plan.ones.iter().zip(&plan.rules) {
            if !matches!(row[one.select], Slot::Null) {
                self.add(index, row[one.select], values, |canonical| related_key_hash(*rule, canonical));
            }
        }
        for ((list, relation), hashes) in lists.iter().zip(&plan.relations).zip(&self.related) {
            self.hashes.extend(list.places(index).map(|place| (index as u32, hashes[place])));
            // The row's own key is hashed with the row.
            if plan.own_key != Some(relation.parent) {
                let Some(hash) = hash_of(row[relation.parent], values, &mut self.canonical, own_key_hash) else {
                    self.are_known = false;
                    return;
                };
                self.hashes.push((index as u32, hash));
            }
        }
    }

    fn add(&mut self, row: usize, key: Slot, values: &ValueBuffer, hash: impl Fn(&[u8]) -> u32) {
        match hash_of(key, values, &mut self.canonical, hash) {
            Some(hash) => self.hashes.push((row as u32, hash)),
            None => self.are_known = false,
        }
    }
}

/// The hash of a value; `None` if it cannot be read, so that nobody knows which changes concern it.
fn hash_of(key: Slot, values: &ValueBuffer, canonical: &mut Vec<u8>, hash: impl Fn(&[u8]) -> u32) -> Option<u32> {
    canonical.clear();
    cursor::encode(&[values.value(json_as_text(key))], canonical).ok()?;
    Some(hash(canonical))
}

/// Appends bytes to a buffer. Returns their values' slots, moved to where the bytes are.
fn moved_to(out: &mut ValueBuffer, bytes: &[u8], slots: impl Iterator<Item = Slot>) -> Result<Vec<Slot>, Error> {
    let by = out.append(bytes)?;
    Ok(slots.map(|slot| slot.moved(by)).collect())
}

/// Drops all rows but the first `count`. The first dropped row must have another key than the last
/// one that stays; otherwise the next run would not find it.
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
