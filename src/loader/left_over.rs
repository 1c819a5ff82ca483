//! Rows that were read beyond a boundary: whole chunks, and the rows that begin the next.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, atomic::Ordering},
};

use super::flight::FlightKey;
use crate::{
    chunk::Chunk,
    cutter::{Cutter, Wanted},
    unpoisoned::Unpoisoned,
};

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
enum Rows {
    /// A whole chunk.
    Whole(Arc<Chunk>, Wanted),
    /// The rows that begin one, in some variants of the list: under the key of each, for the first that comes.
    Begun(Arc<Mutex<Option<Box<Cutter>>>>),
}

impl LeftOver {
    /// The whole chunk that waits under this key, unless it was read before `since`: then it goes on waiting, for a
    /// request that began earlier.
    pub(super) fn take_chunk(&mut self, key: &FlightKey, now: u64, since: u64) -> Option<Arc<Chunk>> {
        let waits = self.new_enough(key, now, since)?;
        let Rows::Whole(chunk, wanted) = &waits.rows else { return None };
        let chunk = Arc::clone(chunk);
        wanted.store(true, Ordering::Relaxed);
        self.remove(key);
        Some(chunk)
    }

    /// The same of the rows that begin a chunk.
    pub(super) fn take_begun(&mut self, key: &FlightKey, now: u64, since: u64) -> Option<Box<Cutter>> {
        let waits = self.new_enough(key, now, since)?;
        let Rows::Begun(cutter) = &waits.rows else { return None };
        // Where it is gone, somebody reads on with it in another variant.
        let begun = cutter.lock().unpoisoned().take();
        self.remove(key);
        begun
    }

    /// What waits under a key, if it was not read before `since`.
    fn new_enough(&mut self, key: &FlightKey, now: u64, since: u64) -> Option<&Waiting> {
        while self.oldest().is_some_and(|oldest| now.saturating_sub(self.waiting[&oldest].read_at) >= AGE) {
            self.remove_oldest();
        }
        self.waiting.get(key).filter(|waiting| waiting.read_at >= since)
    }

    /// Keeps whole chunks of this generation.
    pub(super) fn put(&mut self, generation: u64, chunks: impl Iterator<Item = Arc<Chunk>>, wanted: &Wanted) {
        for chunk in chunks {
            let (key, read_at, bytes) = (chunk.key.clone(), chunk.loaded_at, chunk.weight());
            self.keep((key, generation), read_at, bytes, Rows::Whole(chunk, Arc::clone(wanted)));
        }
    }

    /// Keeps the rows that a cutter has begun a chunk with.
    pub(super) fn put_begun(&mut self, generation: u64, cutter: Box<Cutter>) {
        let begun = cutter.begun();
        let bytes = cutter.weight() / begun.len().max(1);
        let cutter = Arc::new(Mutex::new(Some(cutter)));
        for (key, read_at) in begun {
            self.keep((key, generation), read_at, bytes, Rows::Begun(Arc::clone(&cutter)));
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
