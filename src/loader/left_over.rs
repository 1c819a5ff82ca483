//! Rows that were read beyond a boundary: whole chunks, and the rows that begin the next.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::flight::FlightKey;
use crate::{chunk::Chunk, cutter::Cutter};

/// They wait for the loads of their chunks so many milliseconds, and there may be so many bytes of them.
const AGE: u64 = 10_000;
const BYTES: usize = 32 * 1024 * 1024;

/// What was read and waits, each chunk under its own key; the oldest make room.
#[derive(Default)]
pub(super) struct LeftOver {
    waiting: HashMap<FlightKey, Waiting>,
    /// The keys, in the order in which they came.
    order: BTreeMap<u64, FlightKey>,
    came: u64,
    bytes: usize,
}

struct Waiting {
    /// Its place in the order.
    came: u64,
    /// When its first row was read, in milliseconds since 1970.
    read_at: u64,
    bytes: usize,
    rows: Rows,
}

/// What waits under a key.
pub(super) enum Rows {
    /// A whole chunk.
    Whole(Arc<Chunk>),
    /// The rows that begin one.
    Begun(Box<Cutter>),
}

impl LeftOver {
    /// The whole chunk that waits under this key, unless it was read before `since`.
    pub(super) fn take_chunk(&mut self, key: &FlightKey, now: u64, since: u64) -> Option<Arc<Chunk>> {
        let Rows::Whole(_) = self.waiting.get(key)?.rows else { return None };
        match self.take(key, now, since)? {
            Rows::Whole(chunk) => Some(chunk),
            Rows::Begun(_) => None,
        }
    }

    /// What waits under this key, unless it was read before `since`: then it goes on waiting, for a request
    /// that began earlier.
    pub(super) fn take(&mut self, key: &FlightKey, now: u64, since: u64) -> Option<Rows> {
        while self.oldest().is_some_and(|oldest| now.saturating_sub(self.waiting[&oldest].read_at) >= AGE) {
            self.remove_oldest();
        }
        if self.waiting.get(key)?.read_at < since {
            return None;
        }
        self.remove(key).map(|waiting| waiting.rows)
    }

    /// Keeps what a cutter holds, of this generation.
    pub(super) fn put(&mut self, generation: u64, mut cutter: Box<Cutter>) {
        while let Some(chunk) = cutter.take() {
            let (key, read_at, bytes) = (chunk.key.clone(), chunk.loaded_at, chunk.weight());
            self.keep((key, generation), read_at, bytes, Rows::Whole(chunk));
        }
        if let Some((key, read_at)) = cutter.begun() {
            self.keep((key, generation), read_at, cutter.weight(), Rows::Begun(cutter));
        }
    }

    fn keep(&mut self, key: FlightKey, read_at: u64, bytes: usize, rows: Rows) {
        self.remove(&key);
        self.came += 1;
        self.bytes += bytes;
        self.order.insert(self.came, key.clone());
        self.waiting.insert(key, Waiting { came: self.came, read_at, bytes, rows });
        while self.bytes > BYTES && self.waiting.len() > 1 {
            self.remove_oldest();
        }
    }

    fn oldest(&self) -> Option<FlightKey> {
        self.order.first_key_value().map(|(_, key)| key.clone())
    }

    fn remove_oldest(&mut self) {
        if let Some(oldest) = self.oldest() {
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &FlightKey) -> Option<Waiting> {
        let removed = self.waiting.remove(key)?;
        self.order.remove(&removed.came);
        self.bytes -= removed.bytes;
        Some(removed)
    }
}
