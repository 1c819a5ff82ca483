//! Rows that were read beyond a boundary: they begin the next chunk.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::FlightKey;
use crate::{chunk::Chunk, cutter::Cutter};

/// They wait for the next load so many milliseconds, and there may be so many bytes of them.
const AGE: u64 = 10_000;
const BYTES: usize = 32 * 1024 * 1024;

/// Rows that were read beyond a boundary and wait for the load of their chunk; the oldest make room.
#[derive(Default)]
pub(super) struct LeftOver {
    waiting: VecDeque<(FlightKey, u64, Cutter)>,
    bytes: usize,
}

impl LeftOver {
    /// A whole chunk that waits under this key; what waits behind it goes on waiting.
    pub(super) fn take_chunk(&mut self, key: &FlightKey, now: u64, ttl: Duration) -> Option<Arc<Chunk>> {
        let (_, _, cutter) = self.waiting.iter().rfind(|(waiting, ..)| waiting == key)?;
        cutter.done().next()?;
        let mut cutter = self.take(key, now, ttl)?;
        let chunk = cutter.take()?;
        self.put(key.1, cutter);
        Some(chunk)
    }

    /// The rows that wait under this key, unless they are too old.
    pub(super) fn take(&mut self, key: &FlightKey, now: u64, ttl: Duration) -> Option<Cutter> {
        let most = AGE.min(ttl.as_millis() as u64);
        while self.waiting.front().is_some_and(|(_, read_at, _)| now.saturating_sub(*read_at) > AGE) {
            self.remove(0);
        }
        let index = self.waiting.iter().rposition(|(waiting, ..)| waiting == key)?;
        let (_, read_at, cutter) = self.remove(index)?;
        (now.saturating_sub(read_at) < most.max(1)).then_some(cutter)
    }

    /// Keeps the rows that a cutter holds, of this generation.
    pub(super) fn put(&mut self, generation: u64, cutter: Cutter) {
        let Some((key, read_at)) = cutter.next() else { return };
        self.bytes += cutter.weight();
        self.waiting.push_back(((key, generation), read_at, cutter));
        while self.bytes > BYTES && self.waiting.len() > 1 {
            self.remove(0);
        }
    }

    fn remove(&mut self, index: usize) -> Option<(FlightKey, u64, Cutter)> {
        let removed = self.waiting.remove(index)?;
        self.bytes -= removed.2.weight();
        Some(removed)
    }
}
