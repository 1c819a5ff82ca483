//! Cuts rows into chunks as a source reads them.
//!
//! Rows beyond a boundary are not thrown away: they begin the next chunk, so that a source may read longer runs of
//! rows than a chunk holds and no row is read twice.

use std::{any::Any, collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{
    boundary::{Boundary, key_hash},
    chunk::{Chunk, ChunkKey},
    cursor::{self, Cursor},
    error::Result,
    format::Output,
    resource::{List, Pen},
    row::{RowSink, Value, repeated_key},
};

/// Rows in one read of a source: fewer cost throughput, more delay the first row and gain nothing.
const RUN: u32 = 500;
const LONGEST_RUN: u32 = RUN << 3;
/// So many bytes are more than a chunk of ordinary rows has.
const LARGE_BODY: usize = 1024 * 1024;

/// The chunks of a list from a cursor on, as far as its rows were read.
pub(crate) struct Cutter {
    list: Arc<List>,
    /// Rows at which a limit cuts the chunk; 0: none.
    cut: u32,
    done: VecDeque<Arc<Chunk>>,
    /// The chunk that is being filled; `None` behind the end of the list, or behind the cut.
    open: Option<Open>,
    /// Canonical key of the last row, or of the place to begin; and that of the row at hand.
    last: Vec<u8>,
    key: Vec<u8>,
    pub(crate) pen: Pen,
    /// Whether a row came behind the cut, and so the list goes on.
    beyond: bool,
    /// When the read under way began, in milliseconds since 1970.
    run_at: u64,
    /// How many reads have begun.
    runs: u32,
    /// Rows taken: for the counters.
    pub(crate) rows: u64,
}

struct Open {
    start: Cursor,
    boundary: Boundary,
    out: Output,
    rows: u32,
    loaded_at: u64,
}

impl Cutter {
    /// Begins at `start`, and ends at `cut` rows unless it is 0.
    pub(crate) fn new(list: Arc<List>, start: Cursor, cut: u32) -> Cutter {
        let open = Open {
            boundary: Boundary::new(list.resource().options().sizes, start.is_start()),
            out: Output::default(),
            rows: 0,
            loaded_at: 0,
            start: start.clone(),
        };
        let last = start.canonical().to_vec();
        Cutter {
            pen: list.pen(),
            list,
            cut,
            done: VecDeque::new(),
            open: Some(open),
            last,
            key: vec![],
            beyond: false,
            run_at: 0,
            runs: 0,
            rows: 0,
        }
    }

    /// The next finished chunk.
    pub(crate) fn take(&mut self) -> Option<Arc<Chunk>> {
        self.done.pop_front()
    }

    /// The finished chunks that wait.
    pub(crate) fn done(&self) -> impl Iterator<Item = &Arc<Chunk>> {
        self.done.iter()
    }

    /// Where to go on reading, and how many rows to ask for; `None` when there is nothing more to read.
    pub(crate) fn wants(&self) -> Option<(Cursor, u32)> {
        let open = self.open.as_ref()?;
        let after = Cursor::from_canonical(Bytes::copy_from_slice(&self.last))?;
        let sizes = self.list.resource().options().sizes;
        let longer = RUN << self.runs.min(3);
        let rows = match (self.cut, open.rows) {
            // One more than the limit, to know whether the list goes on.
            (cut, rows) if cut > 0 => cut - rows + 1,
            (_, 0) if open.start.is_start() => sizes.rows.saturating_mul(2).clamp(10, RUN),
            // A list that is read on and on is read in longer runs: each costs the database a plan and a round trip.
            (_, 0) => longer,
            (_, rows) => {
                let row = (open.out.bytes.len() as u32 / rows).max(1);
                (sizes.bytes / row).max(sizes.rows).clamp(longer, LONGEST_RUN)
            }
        };
        Some((after, rows))
    }

    /// Says that a read of the source begins at `now`: no row of it is older.
    pub(crate) fn begin_run(&mut self, now: u64) {
        self.runs += 1;
        self.run_at = now;
        if let Some(open) = self.open.as_mut().filter(|open| open.rows == 0) {
            open.loaded_at = now;
        }
    }

    /// Says that the read is over, and whether the list ended with it.
    pub(crate) fn end_run(&mut self, ended: bool) {
        if ended && !self.beyond {
            // A boundary at the very last row leaves no rows for a next chunk.
            let nothing_left = self.open.as_ref().is_some_and(|open| open.rows == 0);
            match self.done.back_mut().filter(|_| nothing_left || self.open.is_none()) {
                Some(last) => *last = Arc::new(Chunk { next: None, ..Chunk::clone(last) }),
                None => self.close(None),
            }
            self.open = None;
        }
    }

    /// Whether it has taken no row since it stood at this cursor, and has no chunk to give.
    pub(crate) fn stands_at(&self, cursor: &Cursor) -> bool {
        self.done.is_empty() && self.last == cursor.canonical()[..]
    }

    /// About how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |open| open.out.bytes.capacity());
        open + self.done.iter().map(|chunk| chunk.weight()).sum::<usize>() + 256
    }

    /// The key of the chunk that its last rows begin, and when the first of them was read; `None` when every
    /// row is in a whole one.
    pub(crate) fn begun(&self) -> Option<(ChunkKey, u64)> {
        let open = self.open.as_ref().filter(|open| open.rows > 0)?;
        Some((self.list.chunk_key(&open.start, self.cut), open.loaded_at))
    }

    fn close(&mut self, next: Option<Cursor>) {
        let Some(mut open) = self.open.take() else { return };
        self.done.push_back(Arc::new(Chunk {
            key: self.list.chunk_key(&open.start, self.cut),
            loaded_at: open.loaded_at,
            rows: open.rows,
            body: body_of(&mut open.out.bytes),
            next: next.clone(),
            plain: None,
        }));
        open.out.bytes.clear();
        if let Some(start) = next.filter(|_| self.cut == 0) {
            let boundary = Boundary::new(self.list.resource().options().sizes, false);
            self.open = Some(Open { start, boundary, out: open.out, rows: 0, loaded_at: self.run_at });
        }
    }
}

/// A chunk's body, which holds no more memory than its bytes. The buffer is kept for the next chunk, unless a
/// large row has filled it: that is not copied.
fn body_of(buffer: &mut Vec<u8>) -> Bytes {
    if buffer.len() < LARGE_BODY {
        return Bytes::copy_from_slice(buffer);
    }
    let mut body = std::mem::take(buffer);
    body.shrink_to_fit();
    body.into()
}

impl RowSink for Cutter {
    fn row(&mut self, key: &[Value<'_>], values: &[Value<'_>]) -> Result<()> {
        self.key.clear();
        cursor::encode(key, &mut self.key)?;
        if self.key == self.last {
            return Err(repeated_key());
        }
        std::mem::swap(&mut self.key, &mut self.last);
        let Some(open) = &mut self.open else {
            self.beyond = true;
            return Ok(());
        };
        let list = Arc::clone(&self.list);
        open.out.bytes.extend_from_slice(list.between());
        let from = open.out.bytes.len();
        list.write_row(&self.last, values, &mut self.pen, &mut open.out);
        open.rows += 1;
        self.rows += 1;
        if open.boundary.ends(key_hash(&self.last), open.out.bytes.len() - from) || open.rows == self.cut {
            let next = Cursor::after(key)?;
            self.close(Some(next));
        }
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
