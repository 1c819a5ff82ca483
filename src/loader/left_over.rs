//! Rows that were read beyond a boundary: they begin the next chunk.

use std::{collections::VecDeque, time::Duration};

use super::FlightKey;
use crate::{chunk::ChunkKey, cutter::Cutter};

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
    /// Whether a whole chunk waits under this key.
    pub(super) fn has_chunk(&self, key: &ChunkKey, generation: u64) -> bool {
        let of = |waiting: &FlightKey| waiting.0 == *key && waiting.1 == generation;
        self.waiting.iter().any(|(waiting, _, cutter)| of(waiting) && cutter.done().next().is_some())
    }

    pub(super) fn take(&mut self, key: &ChunkKey, generation: u64, now: u64, ttl: Duration) -> Option<Cutter> {
        let most = AGE.min(ttl.as_millis() as u64);
        while self.waiting.front().is_some_and(|(_, read_at, _)| now.saturating_sub(*read_at) > AGE) {
            self.remove(0);
        }
        let index = self.waiting.iter().rposition(|(waiting, ..)| waiting.0 == *key && waiting.1 == generation)?;
        let (_, read_at, cutter) = self.remove(index)?;
        (now.saturating_sub(read_at) < most.max(1)).then_some(cutter)
    }

    pub(super) fn put(&mut self, key: FlightKey, read_at: u64, cutter: Cutter) {
        self.bytes += cutter.weight();
        self.waiting.push_back((key, read_at, cutter));
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
