//! How wide rows are: the bytes that a run may hold, and when rows are read with care.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{
    error::{Error, Kind},
    source::Query,
};

/// A run ends early when its rows take this many bytes.
pub(in crate::source) const RUN_BYTES: usize = 1024 * 1024;

/// A read gives up: a row, or its related rows, is wider than a read without measuring may be. It
/// is then read [carefully](super::careful).
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Wide;

/// A read gives up: it needs room for rows of this many bytes and has less. It is tried again with
/// that room.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct NeedsRoom(pub(in crate::source) u64);

/// The error of a list with a value longer than the database had said.
pub(in crate::source) fn wider_than_it_said() -> Error {
    Error::new(Kind::Data, "a row is larger than the database had said of its values")
        .remedy("leave the field with the large values out")
}

/// Whether the rows ahead are probably wide, so that the list is read carefully at once.
#[derive(Debug, Default)]
pub(in crate::source) struct WideAhead(AtomicBool);

impl WideAhead {
    pub(in crate::source) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(in crate::source) fn note(&self, is_wide: bool) {
        // Mostly nothing changes, and nothing is written.
        if self.get() != is_wide {
            self.0.store(is_wide, Ordering::Relaxed);
        }
    }
}

/// Roughly how many bytes a row of a list has; 0 if unknown. If a driver cannot stop a result in
/// the middle, this bounds how many rows are asked for, so that a run stays bounded in bytes.
#[derive(Debug, Default)]
pub(in crate::source) struct Width(AtomicUsize);

impl Clone for Width {
    fn clone(&self) -> Width {
        Width::new(self.0.load(Ordering::Relaxed))
    }
}

impl Width {
    pub(in crate::source) fn new(bytes: usize) -> Width {
        Width(AtomicUsize::new(bytes))
    }

    /// The query with at most as many rows as a run may hold.
    pub(in crate::source) fn bounded(&self, query: Query) -> Query {
        let width = self.0.load(Ordering::Relaxed).max(1);
        let most = (2 * RUN_BYTES / width).clamp(1, u32::MAX as usize) as u32;
        Query { limit: query.limit.min(most), ..query }
    }

    /// Notes the width that a read found.
    pub(in crate::source) fn note(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}
