//! Rows that were read beyond the end of a chunk: whole chunks, and the first rows of the next one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::flight::FlightKey;
use crate::{chunk::Chunk, cutter::Cutter, store::Generation};

/// They are kept for the loads of their chunks: at most this many milliseconds, and at most this
/// many bytes.
const AGE: u64 = 10_000;
const BYTES: usize = 32 * 1024 * 1024;

/// Rows that were read ahead, each chunk under its own key. The oldest make room.
#[derive(Default)]
pub(super) struct ReadAhead {
    waiting: HashMap<FlightKey, Waiting>,
    /// The keys, in the order in which they came.
    order: BTreeMap<u64, FlightKey>,
    came: u64,
    bytes: usize,
}

struct Waiting {
    /// Its key in `order`.
    came: u64,
    /// When its first row was read, in milliseconds since 1970.
    read_at: u64,
    bytes: usize,
    rows: Rows,
}

/// What waits under a key.
enum Rows {
    /// A whole chunk.
    Whole(Arc<Chunk>),
    /// The rows that begin one.
    Begun(Box<Cutter>),
}

impl ReadAhead {
    /// Takes the whole chunk under this key, unless it was read before `since`. Then it stays, for
    /// a request that began earlier.
    pub(super) fn take_chunk(&mut self, key: &FlightKey, now: u64, since: u64) -> Option<Arc<Chunk>> {
        let Rows::Whole(chunk) = &self.new_enough(key, now, since)?.rows else { return None };
        let chunk = Arc::clone(chunk);
        self.remove(key);
        Some(chunk)
    }

    /// Takes the first rows of the chunk under this key, on the same terms.
    pub(super) fn take_begun(&mut self, key: &FlightKey, now: u64, since: u64) -> Option<Box<Cutter>> {
        let Rows::Begun(_) = &self.new_enough(key, now, since)?.rows else { return None };
        match self.remove(key)?.rows {
            Rows::Begun(cutter) => Some(cutter),
            Rows::Whole(_) => None,
        }
    }

    /// What is kept under a key, if it was not read before `since`.
    fn new_enough(&mut self, key: &FlightKey, now: u64, since: u64) -> Option<&Waiting> {
        while self.oldest().is_some_and(|oldest| now.saturating_sub(self.waiting[&oldest].read_at) >= AGE) {
            self.remove_oldest();
        }
        self.waiting.get(key).filter(|waiting| waiting.read_at >= since)
    }

    /// Keeps these chunks, read in this generation.
    pub(super) fn put(&mut self, generation: Option<Generation>, chunks: &[Arc<Chunk>]) {
        for chunk in chunks {
            let key = (chunk.key.clone(), generation);
            self.keep(key, chunk.loaded_at, chunk.weight(), Rows::Whole(Arc::clone(chunk)));
        }
    }

    /// Keeps the first rows of a cutter's next chunk, if there are any.
    pub(super) fn put_begun(&mut self, generation: Option<Generation>, cutter: Box<Cutter>) {
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
