//! The metrics. The program that makes a [`Chunkflow`](crate::Chunkflow) passes them in; none are
//! global.
//!
//! A list holds its counters, so that a chunk on its way costs only an addition. `told.rs` names
//! each metric and explains it.

mod counts;
mod exposition;
mod labels;
mod number;
mod problems;
mod told;
mod under_way;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

#[cfg(feature = "server")]
pub(crate) use self::problems::{Problem, Reloaded};
use self::{counts::SHORT, problems::Problems};
pub(crate) use self::{
    counts::{Counts, DatabaseCounts, ListCounts, StoreCounts},
    exposition::Exposition,
    labels::{Call, FoundBy, Refused},
    number::{Counter, Gauge, Histogram},
    under_way::{Fate, UnderWay, Way},
};
pub use self::{exposition::MetricsFormat, labels::Outcome, under_way::Tally};
use crate::{
    error::Error,
    flaw::{Flaw, FlawCount},
    unpoisoned::Unpoisoned,
};

/// Histogram bounds for whole streams, in seconds: a client may take hours.
const STREAMS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// How many lists without a name here are counted each for itself; later ones are counted together.
const GUESTS: usize = 100;

/// The name for those; no resource can have it.
const OTHER_GUESTS: &str = "-/others";

/// The counters of one machine. Cheap to share: each number is an atomic word.
#[derive(Debug)]
pub struct Metrics {
    lists: Mutex<Vec<Arc<ListCounts>>>,
    databases: Mutex<Vec<Arc<DatabaseCounts>>>,
    /// How many lists without a name here have counters.
    guests: AtomicUsize,
    /// Requests that named no list, or were answered before one was looked for.
    pub(crate) no_list: ListCounts,
    pub(crate) store: StoreCounts,
    pub(crate) compressed: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) damaged: Counter,
    pub(crate) unwritten: Counter,
    pub(crate) other_clock: Counter,
    /// Rows that were told to have changed.
    pub(crate) changes: Counter,
    /// Chunks that a change touched, each time one is found.
    pub(crate) touched: Counter,
    /// Questions to databases, which changed rows are behind a place.
    pub(crate) questions: Counter,
    /// Lists of which a change touched every chunk, since nobody knew which.
    pub(crate) touched_whole: Counter,
    pub(crate) replaced_utf8: Counter,
    pub(crate) values_without_form: Counter,
    pub(crate) connections: Gauge,
    pub(crate) streams: Gauge,
    ended: [Counter; Outcome::ALL.len()],
    refused: [Counter; Refused::ALL.len()],
    pub(crate) first_byte: Histogram,
    pub(crate) stream: Histogram,
    /// When the certificate expires, in seconds since 1970; 0 without one.
    pub(crate) certificate: Gauge,
    problems: Problems,
    pub(crate) under_way: UnderWay,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            lists: Mutex::default(),
            databases: Mutex::default(),
            guests: AtomicUsize::new(0),
            no_list: ListCounts::new("", &[]),
            store: StoreCounts::default(),
            compressed: Counter::default(),
            abandoned: Counter::default(),
            damaged: Counter::default(),
            unwritten: Counter::default(),
            other_clock: Counter::default(),
            changes: Counter::default(),
            touched: Counter::default(),
            questions: Counter::default(),
            touched_whole: Counter::default(),
            replaced_utf8: Counter::default(),
            values_without_form: Counter::default(),
            connections: Gauge::default(),
            streams: Gauge::default(),
            ended: Default::default(),
            refused: Default::default(),
            first_byte: Histogram::new(SHORT),
            stream: Histogram::new(STREAMS),
            certificate: Gauge::default(),
            problems: Problems::default(),
            under_way: UnderWay::default(),
        }
    }
}

impl Metrics {
    /// The counters of a list with these formats; a name that is known keeps its counters.
    pub(crate) fn list(&self, name: &str, formats: &[&'static str]) -> Arc<ListCounts> {
        let mut lists = self.lists.lock().unpoisoned();
        if let Some(known) = lists.iter().find(|list| list.name == name) {
            return Arc::clone(known);
        }
        lists.push(Arc::new(ListCounts::new(name, formats)));
        Arc::clone(&lists[lists.len() - 1])
    }

    /// The counters of a list without a name here, and of its database. The program that makes such
    /// lists chooses both names, so their number is bounded here.
    pub(crate) fn guest(
        &self,
        name: &str,
        database: &str,
        formats: &[&'static str],
    ) -> (Arc<ListCounts>, Arc<DatabaseCounts>) {
        let is_known = self.lists.lock().unpoisoned().iter().any(|list| list.name == name);
        let has_name = is_known || self.guests.fetch_add(1, Ordering::Relaxed) < GUESTS;
        let list = self.list(if has_name { name } else { OTHER_GUESTS }, formats);

        let is_known = self.databases.lock().unpoisoned().iter().any(|known| known.name == database);
        (list, self.database(if is_known { database } else { "" }))
    }

    /// The counters of a database; a name that is known keeps its counters.
    pub(crate) fn database(&self, name: &str) -> Arc<DatabaseCounts> {
        let mut databases = self.databases.lock().unpoisoned();
        if let Some(known) = databases.iter().find(|database| database.name == name) {
            return Arc::clone(known);
        }
        databases.push(Arc::new(DatabaseCounts::new(name)));
        Arc::clone(&databases[databases.len() - 1])
    }

    /// Counts values that are written otherwise than the database has them.
    pub(crate) fn note_flaw(&self, count: &FlawCount) {
        let counter = match count.flaw {
            Flaw::NotUtf8 => &self.replaced_utf8,
            _ => &self.values_without_form,
        };
        counter.add(count.values);
    }

    /// Counts the end of a stream.
    pub(crate) fn ended(&self, how: Outcome) {
        self.ended[how as usize].inc();
    }

    /// Counts a refusal.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server has these bounds"))]
    pub(crate) fn refused(&self, why: Refused) {
        self.refused[why as usize].inc();
    }

    /// Counts a failed load of a list, and keeps its error.
    pub(crate) fn load_failed(&self, list: &str, counts: &Counts, error: &Error) {
        counts.database.failed(error.kind());
        self.problems.note(list, &counts.database.name, error);
    }

    fn sum(&self, of: impl Fn(&ListCounts) -> u64) -> u64 {
        self.lists.lock().unpoisoned().iter().map(|list| of(list)).sum()
    }

    /// How many bytes were sent to clients, for all lists.
    #[cfg(feature = "server")]
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sum(|list| list.sent.get())
    }

    fn found(&self, by: FoundBy) -> u64 {
        self.sum(|list| list.found(by).get())
    }
}

/// Sums over all lists, since the start.
impl Metrics {
    /// Chunks that were found fresh, in memory or in a shared store.
    pub fn hits(&self) -> u64 {
        self.found(FoundBy::Near) + self.found(FoundBy::Far)
    }

    /// Chunks that were found stale and sent while they were refreshed.
    pub fn stale(&self) -> u64 {
        self.found(FoundBy::Stale)
    }

    /// Chunks that were asked for and not found, including those that another request loaded.
    pub fn misses(&self) -> u64 {
        self.found(FoundBy::Miss) + self.joined()
    }

    /// Requests for a missing chunk that joined a load already under way.
    pub fn joined(&self) -> u64 {
        self.found(FoundBy::Joined)
    }

    /// Chunks loaded from a source.
    pub fn loads(&self) -> u64 {
        self.sum(|list| list.loads.get())
    }

    /// Chunks compressed: each once for each encoding that is asked for.
    pub fn compressed(&self) -> u64 {
        self.compressed.get()
    }

    /// Loads that failed.
    pub fn failures(&self) -> u64 {
        let databases = self.databases.lock().unpoisoned();
        databases.iter().flat_map(|database| &database.failures).map(Counter::get).sum()
    }

    /// Loads given up because nobody waited any more.
    pub fn abandoned(&self) -> u64 {
        self.abandoned.get()
    }

    /// Reads of a source: one for each run of rows.
    pub fn reads(&self) -> u64 {
        self.sum(|list| list.reads.get())
    }

    /// Rows read from sources.
    pub fn rows_read(&self) -> u64 {
        self.sum(|list| list.rows_read.get())
    }

    /// Stored chunks that were cut, altered or another list's, and so treated as missing.
    pub fn damaged(&self) -> u64 {
        self.damaged.get()
    }

    /// Store calls that failed.
    pub fn store_errors(&self) -> u64 {
        self.store.0.iter().map(|(_, failed)| failed.get()).sum()
    }

    /// Chunks not written to a shared store, because too much was on its way to it already.
    pub fn unwritten(&self) -> u64 {
        self.unwritten.get()
    }

    /// Chunks in a shared store that could not be used, because their load is in the future by this
    /// server's clock.
    pub fn other_clock(&self) -> u64 {
        self.other_clock.get()
    }

    /// Texts that were not UTF-8 and got U+FFFD.
    pub fn replaced_utf8(&self) -> u64 {
        self.replaced_utf8.get()
    }

    /// Values without a form here, written as text or NULL.
    pub fn values_without_form(&self) -> u64 {
        self.values_without_form.get()
    }

    /// Streams under way.
    pub fn streams(&self) -> u64 {
        self.streams.get().try_into().unwrap_or_default()
    }

    /// Streams that ended whole.
    pub fn complete(&self) -> u64 {
        self.ended[Outcome::Complete as usize].get()
    }

    /// Streams cut by a failure.
    pub fn cut(&self) -> u64 {
        self.ended[Outcome::Cut as usize].get()
    }

    /// Streams cut by the operator.
    pub fn cut_by_operator(&self) -> u64 {
        self.ended[Outcome::Operator as usize].get()
    }

    /// Streams whose client left.
    pub fn left(&self) -> u64 {
        self.ended[Outcome::Left as usize].get()
    }

    /// Streams cut because their client took nothing, or too little, for too long.
    pub fn stalled(&self) -> u64 {
        self.ended[Outcome::Stalled as usize].get()
    }

    /// Streams cut by the server's shutdown.
    pub fn shutdown(&self) -> u64 {
        self.ended[Outcome::Shutdown as usize].get()
    }
}
