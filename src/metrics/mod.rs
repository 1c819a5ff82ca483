//! What is counted. The program that makes a [`Chunkflow`](crate::Chunkflow) passes them in; there are no global ones.
//!
//! What a chunk on its way is counted by is found beforehand, with its list: there an addition is all there is to
//! do. [`told`] names each metric and says what it means.

mod exposition;
mod number;
mod problems;
mod told;
mod under_way;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::exposition::MetricsFormat;
use self::problems::Problems;
#[cfg(feature = "server")]
pub(crate) use self::problems::{Problem, Reloaded};
pub(crate) use self::{
    exposition::Exposition,
    number::{Counter, Gauge, Histogram},
    under_way::{Fate, UnderWay, Way},
};
use crate::{
    error::{Error, Kind},
    flaw::{Flaw, FlawCount},
};

/// Bounds of the time to a first byte, and of calls to stores, in seconds.
const SHORT: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds of loads.
const LOADS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bounds of whole streams: a client may take hours.
const STREAMS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// What the machine counts. Cheap to share: each number is an atomic word.
#[derive(Debug)]
pub struct Metrics {
    lists: Mutex<Vec<Arc<ListCounts>>>,
    databases: Mutex<Vec<Arc<DatabaseCounts>>>,
    /// Requests that named no list, or were answered before one was looked for.
    pub(crate) no_list: ListCounts,
    pub(crate) store: StoreCounts,
    pub(crate) compressed: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) damaged: Counter,
    pub(crate) unwritten: Counter,
    pub(crate) other_clock: Counter,
    pub(crate) mended_text: Counter,
    pub(crate) values_without_form: Counter,
    pub(crate) connections: Gauge,
    pub(crate) streams: Gauge,
    ended: [Counter; Outcome::ALL.len()],
    refused: [Counter; Refused::ALL.len()],
    pub(crate) first_byte: Histogram,
    pub(crate) stream: Histogram,
    /// When the certificate expires, in seconds since 1970; 0 where there is none.
    pub(crate) certificate: Gauge,
    problems: Problems,
    pub(crate) under_way: UnderWay,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            lists: Mutex::default(),
            databases: Mutex::default(),
            no_list: ListCounts::new("", &[]),
            store: StoreCounts::default(),
            compressed: Counter::default(),
            abandoned: Counter::default(),
            damaged: Counter::default(),
            unwritten: Counter::default(),
            other_clock: Counter::default(),
            mended_text: Counter::default(),
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

/// How a stream ended, as the log says it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The last byte was handed out.
    Complete,
    /// A failure cut it.
    Cut,
    /// The operator cut it.
    Operator,
    /// It was dropped before its end: the client left.
    #[default]
    Left,
    /// Its client took nothing, or too little, for too long.
    Stalled,
    /// The server ended before it did.
    Shutdown,
}

impl Outcome {
    const ALL: [Outcome; 6] = [
        Outcome::Complete,
        Outcome::Cut,
        Outcome::Operator,
        Outcome::Left,
        Outcome::Stalled,
        Outcome::Shutdown,
    ];

    fn name(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::Cut => "cut",
            Outcome::Operator => "operator",
            Outcome::Left => "left",
            Outcome::Stalled => "stalled",
            Outcome::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a request or a connection was refused for want of room or leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server has these bounds"))]
pub(crate) enum Refused {
    /// `max_connections`
    Connections,
    /// `max_connections_per_address`
    AddressConnections,
    /// `max_streams`
    Streams,
    /// `max_streams_per_address`
    AddressStreams,
    /// `request_rate`
    Rate,
    /// `allowed_hosts`
    Host,
    /// The server is about to stop.
    Stopping,
    /// Too many loads wait for a database, or for the memory of large rows.
    Database,
}

impl Refused {
    const ALL: [Refused; 8] = [
        Refused::Connections,
        Refused::AddressConnections,
        Refused::Streams,
        Refused::AddressStreams,
        Refused::Rate,
        Refused::Host,
        Refused::Stopping,
        Refused::Database,
    ];

    fn name(self) -> &'static str {
        match self {
            Refused::Connections => "connections",
            Refused::AddressConnections => "address_connections",
            Refused::Streams => "streams",
            Refused::AddressStreams => "address_streams",
            Refused::Rate => "rate",
            Refused::Host => "host",
            Refused::Stopping => "stopping",
            Refused::Database => "database",
        }
    }
}

/// How a chunk was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundBy {
    /// In this process's memory.
    Near,
    /// In the store that servers share.
    Far,
    /// In either, past its `ttl`, and sent while it is refreshed.
    Stale,
    /// Nowhere: it was loaded.
    Miss,
    /// Nowhere, and a load of it was under way.
    Joined,
}

impl FoundBy {
    const ALL: [FoundBy; 5] = [FoundBy::Near, FoundBy::Far, FoundBy::Stale, FoundBy::Miss, FoundBy::Joined];

    fn name(self) -> &'static str {
        match self {
            FoundBy::Near => "near",
            FoundBy::Far => "far",
            FoundBy::Stale => "stale",
            FoundBy::Miss => "miss",
            FoundBy::Joined => "joined",
        }
    }
}

/// The classes of statuses.
const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// What is counted of one list.
#[derive(Debug)]
pub(crate) struct ListCounts {
    name: String,
    /// The names of the formats; requests that have none, since they failed before, come last.
    formats: Vec<&'static str>,
    requests: Vec<[Counter; CLASSES.len()]>,
    found: [Counter; FoundBy::ALL.len()],
    pub(crate) sent: Counter,
    pub(crate) loads: Counter,
    pub(crate) reads: Counter,
    pub(crate) rows_read: Counter,
}

impl ListCounts {
    fn new(name: &str, formats: &[&'static str]) -> ListCounts {
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

/// The kinds of failure of a load, one behind the other for all others.
const FAILURES: [(Kind, &str); 6] = [
    (Kind::Unavailable, "unavailable"),
    (Kind::Timeout, "timeout"),
    (Kind::Busy, "busy"),
    (Kind::Schema, "schema"),
    (Kind::Data, "data"),
    (Kind::Internal, "other"),
];

/// What is counted of one database.
#[derive(Debug)]
pub(crate) struct DatabaseCounts {
    name: String,
    pub(crate) loads: Histogram,
    failures: [Counter; FAILURES.len()],
}

impl DatabaseCounts {
    fn new(name: &str) -> DatabaseCounts {
        DatabaseCounts { name: name.to_owned(), loads: Histogram::new(LOADS), failures: Default::default() }
    }

    /// Counts a load that failed.
    fn failed(&self, kind: Kind) {
        let known = FAILURES.iter().position(|(one, _)| *one == kind);
        self.failures[known.unwrap_or(FAILURES.len() - 1)].inc();
    }
}

/// The calls to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    Put,
    Lease,
}

impl Call {
    const ALL: [Call; 3] = [Call::Get, Call::Put, Call::Lease];

    fn name(self) -> &'static str {
        match self {
            Call::Get => "get",
            Call::Put => "put",
            Call::Lease => "lease",
        }
    }
}

/// What is counted of the calls to a store.
#[derive(Debug)]
pub(crate) struct StoreCounts([(Histogram, Counter); Call::ALL.len()]);

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

/// Where a resource is counted: its list and its database.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) list: Arc<ListCounts>,
    pub(crate) database: Arc<DatabaseCounts>,
}

impl Default for Counts {
    /// Nowhere that is told of.
    fn default() -> Counts {
        Counts { list: Arc::new(ListCounts::new("", &[])), database: Arc::new(DatabaseCounts::new("")) }
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Where a list is counted, in these formats; the same as before for a name that was there.
    pub(crate) fn list(&self, name: &str, formats: &[&'static str]) -> Arc<ListCounts> {
        let mut lists = unpoisoned(&self.lists);
        if let Some(known) = lists.iter().find(|list| list.name == name) {
            return Arc::clone(known);
        }
        lists.push(Arc::new(ListCounts::new(name, formats)));
        Arc::clone(&lists[lists.len() - 1])
    }

    /// Where a database is counted; the same as before for a name that was there.
    pub(crate) fn database(&self, name: &str) -> Arc<DatabaseCounts> {
        let mut databases = unpoisoned(&self.databases);
        if let Some(known) = databases.iter().find(|database| database.name == name) {
            return Arc::clone(known);
        }
        databases.push(Arc::new(DatabaseCounts::new(name)));
        Arc::clone(&databases[databases.len() - 1])
    }

    /// Counts values that stand otherwise than they were.
    pub(crate) fn note_flaw(&self, count: &FlawCount) {
        let counter = match count.flaw {
            Flaw::NotUtf8 => &self.mended_text,
            _ => &self.values_without_form,
        };
        counter.add(count.values);
    }

    /// Counts the end of a stream.
    pub(crate) fn ended(&self, how: Outcome) {
        self.ended[how as usize].inc();
    }

    /// Counts what was refused.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server has these bounds"))]
    pub(crate) fn refused(&self, why: Refused) {
        self.refused[why as usize].inc();
    }

    /// Counts a load of a list that failed, and keeps why.
    pub(crate) fn load_failed(&self, list: &str, counts: &Counts, error: &Error) {
        counts.database.failed(error.kind());
        self.problems.note(list, &counts.database.name, error);
    }

    fn sum(&self, of: impl Fn(&ListCounts) -> u64) -> u64 {
        unpoisoned(&self.lists).iter().map(|list| of(list)).sum()
    }

    /// Bytes that were handed to clients, of all lists.
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

    /// Chunks that were asked for and not found, also where another request loaded them.
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
        let databases = unpoisoned(&self.databases);
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

    /// Stored chunks that were cut, altered or foreign, and so were treated as missing.
    pub fn damaged(&self) -> u64 {
        self.damaged.get()
    }

    /// Store calls that failed.
    pub fn store_errors(&self) -> u64 {
        self.store.0.iter().map(|(_, failed)| failed.get()).sum()
    }

    /// Chunks that were not written to a shared store, for want of room for what is on its way to it.
    pub fn unwritten(&self) -> u64 {
        self.unwritten.get()
    }

    /// Chunks in a shared store that were of no use, since by this server's clock they were loaded in the future.
    pub fn other_clock(&self) -> u64 {
        self.other_clock.get()
    }

    /// Values of text that were not UTF-8 and got U+FFFD.
    pub fn mended_text(&self) -> u64 {
        self.mended_text.get()
    }

    /// Values that have no form here, and stand as text or NULL.
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

    /// Streams cut since their client took nothing, or too little, for too long.
    pub fn stalled(&self) -> u64 {
        self.ended[Outcome::Stalled as usize].get()
    }

    /// Streams cut by the end of the server.
    pub fn shutdown(&self) -> u64 {
        self.ended[Outcome::Shutdown as usize].get()
    }
}
