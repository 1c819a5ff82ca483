//! How wide rows are: what a run of them may hold, and what says that they are read with care.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{
    error::{Error, Kind},
    source::Query,
};

/// A run ends early when its rows take so much memory.
pub(in crate::source) const RUN_BYTES: usize = 1024 * 1024;

/// Why a read gives up: a row, or its related rows, is wider than is read without being measured.
/// It is read [carefully](super::careful) then.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Wide;

/// Why a read gives up: it needs room for rows of so many bytes, and has less. It is tried again
/// with as much.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct NeedsRoom(pub(in crate::source) u64);

/// The failure of a list of which something is wider than the database had said.
pub(in crate::source) fn wider_than_it_said() -> Error {
    Error::new(Kind::Data, "a row is larger than the database had said of its values")
        .remedy("leave the field with the large values out")
}

/// Whether the rows ahead are thought to be wide, so that a list is read carefully at once.
#[derive(Debug, Default)]
pub(in crate::source) struct WideAhead(AtomicBool);

impl WideAhead {
    pub(in crate::source) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(in crate::source) fn note(&self, is_wide: bool) {
        // Mostly it is as it was, and nothing is written.
        if self.get() != is_wide {
            self.0.store(is_wide, Ordering::Relaxed);
        }
    }
}

/// About how many bytes a row of a list has, as far as is known: 0 where it is not. Where a driver
/// cannot stop a result in the middle, so few rows are asked for that a run of them is bounded in
/// bytes.
#[derive(Debug, Default)]
pub(in crate::source) struct Width(AtomicUsize);

impl Width {
    pub(in crate::source) fn new(bytes: usize) -> Width {
        Width(AtomicUsize::new(bytes))
    }

    /// The query for no more rows than a run may hold.
    pub(in crate::source) fn bounded(&self, query: Query) -> Query {
        let width = self.0.load(Ordering::Relaxed).max(1);
        let most = (2 * RUN_BYTES / width).clamp(1, u32::MAX as usize) as u32;
        Query { limit: query.limit.min(most), ..query }
    }

    /// Takes note of what a read found.
    pub(in crate::source) fn note(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}
