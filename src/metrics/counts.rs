//! The counters of a list, of a database and of a store.

use std::{sync::Arc, time::Duration};

use super::{
    labels::{CLASSES, Call, FAILURES, FoundBy},
    number::{Counter, Histogram},
};
use crate::{error::Kind, flaw::Told};

/// Histogram bounds for the time to the first byte and for calls to stores, in seconds.
pub(super) const SHORT: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Histogram bounds for loads, in seconds.
pub(super) const LOADS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The counters of one list.
#[derive(Debug)]
pub(crate) struct ListCounts {
    pub(super) name: String,
    /// The names of the formats. Behind them, requests without a format, which failed before it was
    /// known.
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

    /// Counts a response in the format with this index.
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

    /// How many requests for it were answered.
    #[cfg(feature = "server")]
    pub(crate) fn requests(&self) -> u64 {
        self.requests.iter().flatten().map(Counter::get).sum()
    }

    /// The counter for chunks found in this way.
    pub(crate) fn found(&self, by: FoundBy) -> &Counter {
        &self.found[by as usize]
    }
}

/// The counters of one database.
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

/// The counters of the calls to a store.
#[derive(Debug)]
pub(crate) struct StoreCounts(pub(super) [(Histogram, Counter); Call::ALL.len()]);

impl Default for StoreCounts {
    fn default() -> StoreCounts {
        StoreCounts(Call::ALL.map(|_| (Histogram::new(SHORT), Counter::default())))
    }
}

impl StoreCounts {
    /// The durations of its get calls.
    #[cfg(feature = "server")]
    pub(crate) fn gets(&self) -> &Histogram {
        &self.0[Call::Get as usize].0
    }

    /// Counts a call that has ended or timed out.
    pub(crate) fn took(&self, call: Call, took: Duration) {
        self.0[call as usize].0.observe(took);
    }

    /// Counts a call that failed.
    pub(crate) fn failed(&self, call: Call) {
        self.0[call as usize].1.inc();
    }
}

/// The counters of a resource: those of its list and of its database. Also which of its fields it
/// has warned about.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) list: Arc<ListCounts>,
    pub(crate) database: Arc<DatabaseCounts>,
    pub(crate) told: Arc<Told>,
}

impl Counts {
    /// The counters of a resource with this many fields, none warned about yet.
    pub(crate) fn new(list: Arc<ListCounts>, database: Arc<DatabaseCounts>, fields: usize) -> Counts {
        Counts { list, database, told: Arc::new(Told::new(fields)) }
    }
}

impl Default for Counts {
    /// Counters that are not exposed.
    fn default() -> Counts {
        Counts::new(Arc::new(ListCounts::new("", &[])), Arc::new(DatabaseCounts::new("")), 0)
    }
}
