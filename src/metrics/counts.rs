//! What is counted of a list, of a database and of a store.

use std::{sync::Arc, time::Duration};

use super::{
    labels::{CLASSES, Call, FAILURES, FoundBy},
    number::{Counter, Histogram},
};
use crate::{error::Kind, flaw::Told};

/// Bounds of the time to a first byte, and of calls to stores, in seconds.
pub(super) const SHORT: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds of loads.
pub(super) const LOADS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// What is counted of one list.
#[derive(Debug)]
pub(crate) struct ListCounts {
    pub(super) name: String,
    /// The names of the formats; requests that have none, since they failed before, come last.
    pub(super) formats: Vec<&'static str>,
    pub(super) requests: Vec<[Counter; CLASSES.len()]>,
    found: [Counter; FoundBy::ALL.len()],
    pub(crate) sent: Counter,
    pub(crate) loads: Counter,
    pub(crate) reads: Counter,
    pub(crate) rows_read: Counter,
}

impl ListCounts {
    pub(super) fn new(name: &str, formats: &[&'static str]) -> ListCounts {
        let formats: Vec<_> = formats.iter().copied().chain([""]).collect();
        ListCounts {
            name: name.to_owned(),
            requests: formats.iter().map(|_| Default::default()).collect(),
            formats,
            found: Default::default(),
            sent: Counter::default(),
            loads: Counter::default(),
            reads: Counter::default(),
            rows_read: Counter::default(),
        }
    }

    /// Counts an answer in the format with this index.
    pub(crate) fn answered(&self, format: Option<usize>, status: u16) {
        let last = self.formats.len() - 1;
        let class = match status {
            500.. => 2,
            400.. => 1,
            _ => 0,
        };
        self.requests[format.map_or(last, |format| format.min(last))][class].inc();
    }

    /// Its name.
    #[cfg(feature = "server")]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Requests for it that were answered.
    #[cfg(feature = "server")]
    pub(crate) fn requests(&self) -> u64 {
        self.requests.iter().flatten().map(Counter::get).sum()
    }

    /// The counter of chunks that were found so.
    pub(crate) fn found(&self, by: FoundBy) -> &Counter {
        &self.found[by as usize]
    }
}

/// What is counted of one database.
#[derive(Debug)]
pub(crate) struct DatabaseCounts {
    pub(super) name: String,
    pub(crate) loads: Histogram,
    pub(super) failures: [Counter; FAILURES.len()],
}

impl DatabaseCounts {
    pub(super) fn new(name: &str) -> DatabaseCounts {
        DatabaseCounts { name: name.to_owned(), loads: Histogram::new(LOADS), failures: Default::default() }
    }

    /// Counts a load that failed.
    pub(super) fn failed(&self, kind: Kind) {
        let known = FAILURES.iter().position(|(one, _)| *one == kind);
        self.failures[known.unwrap_or(FAILURES.len() - 1)].inc();
    }
}

/// What is counted of the calls to a store.
#[derive(Debug)]
pub(crate) struct StoreCounts(pub(super) [(Histogram, Counter); Call::ALL.len()]);

impl Default for StoreCounts {
    fn default() -> StoreCounts {
        StoreCounts(Call::ALL.map(|_| (Histogram::new(SHORT), Counter::default())))
    }
}

impl StoreCounts {
    /// How long looks into it took.
    #[cfg(feature = "server")]
    pub(crate) fn gets(&self) -> &Histogram {
        &self.0[Call::Get as usize].0
    }

    /// Counts a call that came back, or was waited for too long.
    pub(crate) fn took(&self, call: Call, took: Duration) {
        self.0[call as usize].0.observe(took);
    }

    /// Counts a call that failed.
    pub(crate) fn failed(&self, call: Call) {
        self.0[call as usize].1.inc();
    }
}

/// Where a resource is counted: its list and its database; and of which of its fields it was
/// warned.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) list: Arc<ListCounts>,
    pub(crate) database: Arc<DatabaseCounts>,
    pub(crate) told: Arc<Told>,
}

impl Counts {
    /// Those of a resource with so many fields, of none of which it was warned.
    pub(crate) fn new(list: Arc<ListCounts>, database: Arc<DatabaseCounts>, fields: usize) -> Counts {
        Counts { list, database, told: Arc::new(Told::new(fields)) }
    }
}

impl Default for Counts {
    /// Nowhere that is told of.
    fn default() -> Counts {
        Counts::new(Arc::new(ListCounts::new("", &[])), Arc::new(DatabaseCounts::new("")), 0)
    }
}
