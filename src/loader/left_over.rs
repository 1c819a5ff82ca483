//! Rows that were read beyond a boundary: they begin the next chunk.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::FlightKey;
use crate::{
    chunk::{Chunk, ChunkKey},
    cutter::Cutter,
};

/// They wait for the next load so many milliseconds, and there may be so many bytes of them.
const AGE: u64 = 10_000;
const BYTES: usize = 32 * 1024 * 1024;

/// Rows that were read beyond a boundary and wait for the loads of their chunks; the oldest make room.
#[derive(Default)]
pub(super) struct LeftOver {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

/// What a cutter holds: whole chunks, and behind them the rows that begin another.
struct Waiting {
    generation: u64,
    /// When the first of its rows was read.
    read_at: u64,
    /// The key of the chunk that has only begun.
    begun: Option<ChunkKey>,
    cutter: Cutter,
}

impl Waiting {
    fn holds(&self, (key, generation): &FlightKey) -> bool {
        let whole = || self.cutter.done().any(|chunk| chunk.key == *key);
        self.generation == *generation && (self.begun.as_ref() == Some(key) || whole())
    }
}

impl LeftOver {
    /// A whole chunk that waits under this key; what waits behind it goes on waiting.
    pub(super) fn take_chunk(&mut self, key: &FlightKey, now: u64, ttl: Duration) -> Option<Arc<Chunk>> {
        let index = self.find(key, now, ttl)?;
        let waiting = &mut self.waiting[index];
        if waiting.begun.as_ref() == Some(&key.0) {
            return None;
        }
        self.bytes -= waiting.cutter.weight();
        waiting.cutter.skip_to(&key.0);
        let chunk = waiting.cutter.take();
        self.bytes += waiting.cutter.weight();
        if waiting.cutter.done().next().is_none() && waiting.begun.is_none() {
            self.remove(index);
        }
        chunk
    }

    /// The rows that wait under this key, unless they are too old.
    pub(super) fn take(&mut self, key: &FlightKey, now: u64, ttl: Duration) -> Option<Cutter> {
        let index = self.find(key, now, ttl)?;
        let mut cutter = self.remove(index)?.cutter;
        cutter.skip_to(&key.0);
        Some(cutter)
    }

    /// Keeps the rows that a cutter holds, of this generation.
    pub(super) fn put(&mut self, generation: u64, cutter: Cutter) {
        let Some(read_at) = cutter.read_at() else { return };
        self.bytes += cutter.weight();
        self.waiting.push_back(Waiting { generation, read_at, begun: cutter.begun(), cutter });
        while self.bytes > BYTES && self.waiting.len() > 1 {
            self.remove(0);
        }
    }

    /// Where the chunk with this key waits, if it is not too old. It need not be the first there: those before it may have been at hand.
    fn find(&mut self, key: &FlightKey, now: u64, ttl: Duration) -> Option<usize> {
        while self.waiting.front().is_some_and(|waiting| now.saturating_sub(waiting.read_at) > AGE) {
            self.remove(0);
        }
        let index = self.waiting.iter().rposition(|waiting| waiting.holds(key))?;
        let most = AGE.min(ttl.as_millis() as u64).max(1);
        if now.saturating_sub(self.waiting[index].read_at) < most {
            return Some(index);
        }
        self.remove(index);
        None
    }

    fn remove(&mut self, index: usize) -> Option<Waiting> {
        let removed = self.waiting.remove(index)?;
        self.bytes -= removed.cutter.weight();
        Some(removed)
    }
}
