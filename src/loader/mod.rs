//! Gets chunks: from the store, else from the source, once for all requests that ask at once.
//!
//! A load belongs to the loader, not to the request that began it. A client that leaves does not
//! end a load that others wait for; when the last of them has left, the load stops.

mod changes;
mod clocks;
mod coded;
mod commits;
mod compressors;
mod count;
mod doubt;
mod flight;
mod hearing;
mod later;
mod listening;
mod marks;
mod moved;
mod place;
mod read_ahead;
mod reading;
mod settling;
mod sharing;
mod touch;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::Semaphore, time::error::Elapsed};
use tracing::{Instrument, Span};
use xxhash_rust::xxh3::xxh3_64;

use self::{
    changes::Changes, coded::ALL_AHEAD, commits::Commits, compressors::Compressors, doubt::Absent, flight::Flights,
    listening::Listening, read_ahead::ReadAhead, reading::Reads, settling::Repeats, sharing::WRITES, touch::Verdict,
};
pub(crate) use self::{
    coded::Ahead,
    flight::Waiter,
    hearing::check,
    place::{Demand, Place},
};
use crate::{
    change::Token,
    chunk::Chunk,
    error::{Kind, Result},
    metrics::{Call, FoundBy, Metrics},
    resource::Resource,
    store::{Generation, Store},
    trace,
    unpoisoned::Unpoisoned,
};

/// Tells the time in milliseconds since 1970. Passed in, so that tests can set it.
pub(crate) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The system's clock.
pub(crate) fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// The loader waits this long for a store's answer; then the chunk counts as a miss. A shared store
/// ends each of its calls sooner, and one answer takes at most two calls.
const STORE_TIMEOUT: Duration = Duration::from_millis(1200);

/// After a failed refresh no chunk of the resource is refreshed for this many milliseconds. Its
/// stale chunks serve meanwhile.
const REST: u64 = 2_000;

/// Gets chunks: from the store, else from the source, once for all requests that ask at once.
pub(crate) struct Loader {
    store: Store,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// The key holds the resource's generation too: a request after a purge does not join a load
    /// from before it.
    flights: Mutex<Flights>,
    writes: Arc<Semaphore>,
    /// Whether the log has said that clocks differ.
    clocks_differ: AtomicBool,
    compressors: Arc<Compressors>,
    /// How many chunks may be read ahead, for all streams of compressed lists together.
    all_ahead: Arc<Semaphore>,
    reads: Mutex<Reads>,
    /// How many reads of the source are over.
    reads_over: AtomicU64,
    read_ahead: Mutex<ReadAhead>,
    /// Until when no chunk of a resource is refreshed after a failed refresh, in milliseconds since
    /// 1970.
    resting: Mutex<HashMap<[u8; 16], u64>>,
    changes: Changes,
    listening: Listening,
    repeats: Repeats,
    commits: Commits,
    absent: Absent,
}

/// A chunk and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) provenance: Provenance,
    /// The chunks being read ahead behind this one. Dropping it stops that.
    pub(crate) ahead: Option<Arc<Ahead>>,
}

/// Where a chunk came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// From the store; it stays fresh for this many seconds.
    Fresh(u64),
    /// From the store, this many seconds past its `ttl`. If `due`, it is time to refresh it.
    Stale { past: u64, due: bool },
    /// From the source.
    Loaded,
    /// From a load that another request began.
    Joined,
}

impl Provenance {
    /// Its name in spans.
    fn name(self) -> &'static str {
        match self {
            Provenance::Fresh(_) => "store",
            Provenance::Stale { .. } => "stale",
            Provenance::Loaded => "source",
            Provenance::Joined => "joined",
        }
    }
}

/// The answer to a request for a chunk.
pub(crate) enum Fetch {
    /// The chunk was at hand.
    Ready(Found),
    /// A load of the chunk is under way.
    Waiting(Waiter),
}

impl Fetch {
    pub(crate) async fn wait(self) -> Result<Found> {
        match self {
            Fetch::Ready(found) => Ok(found),
            Fetch::Waiting(waiter) => waiter.wait().await,
        }
    }
}

/// Records on a span the answer of a store, or its timeout; then ends the span.
fn trace_call<T>(span: &Span, answered: &Result<Result<T>, Elapsed>) {
    match answered {
        Ok(answer) => trace::went(span, answer.as_ref()),
        Err(_) => trace::failed(span, "timeout"),
    }
}

impl Loader {
    /// A loader over `store`.
    pub(crate) fn new(store: Store, clock: Clock, metrics: Arc<Metrics>) -> Loader {
        let changes = Changes::new(store.agreement().is_none());
        Loader {
            store,
            clock,
            metrics,
            flights: Mutex::default(),
            writes: Arc::new(Semaphore::new(WRITES)),
            clocks_differ: AtomicBool::new(false),
            compressors: Compressors::new(),
            all_ahead: Arc::new(Semaphore::new(ALL_AHEAD)),
            reads: Mutex::default(),
            reads_over: AtomicU64::new(0),
            read_ahead: Mutex::default(),
            resting: Mutex::default(),
            changes,
            listening: Listening::default(),
            repeats: Repeats::default(),
            commits: Commits::default(),
            absent: Absent::new(),
        }
    }

    /// The same, which compresses on the caller's thread.
    #[cfg(test)]
    #[cfg(feature = "memcached")]
    pub(crate) fn without_threads(self) -> Loader {
        Loader { compressors: Compressors::none(), ..self }
    }

    /// The counters of this loader.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What time it is, in milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }

    /// How many reads of the source are over. A request that begins now shares none of them.
    pub(crate) fn moment(&self) -> u64 {
        self.reads_over.load(Ordering::Acquire)
    }

    /// How many changes were heard so far.
    pub(crate) fn heard(&self) -> u64 {
        self.changes.head()
    }

    /// Remembers from now on which changes concern a resource.
    pub(crate) fn attend(self: &Arc<Loader>, resource: &Arc<Resource>) {
        self.changes.register(resource);
        self.listen();
        // What was told before this process began may not be shown yet, and no journal says it.
        if self.is_here() {
            self.repeat_all_when_settled(Some(Token { number: 0, ..self.changes.last() }));
        }
    }

    /// Whether a chunk shows all changes that its request must see.
    fn shows_changes(&self, place: &Place, chunk: &Chunk) -> bool {
        self.changes.verdict(&place.list, chunk, place.demand.known) == Verdict::Shown
    }

    /// Waits until every pending write to a shared store has succeeded or failed.
    pub(crate) async fn written(&self) {
        let _ = self.writes.acquire_many(WRITES as u32).await;
    }

    /// Waits until the store answers.
    ///
    /// # Errors
    /// When it does not.
    #[cfg(feature = "server")]
    pub(crate) async fn meet_store(&self) -> Result<()> {
        crate::store::meet(&self.store).await
    }

    /// Where chunks are kept.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Whether its chunks are in this process only.
    pub(crate) fn is_here(&self) -> bool {
        self.store.agreement().is_none()
    }

    /// The generation of a resource, if the loader knows it.
    pub(crate) fn generation(&self, resource: &[u8; 16]) -> Option<Generation> {
        self.store.chunks().known_generation(resource)
    }

    /// Forgets the chunks of a resource.
    pub(crate) async fn forget(&self, resource: &[u8; 16]) -> Result<()> {
        self.store.chunks().forget(resource).await
    }

    /// Gets a chunk, or joins or begins a load of it. Needs a tokio runtime where the chunk is not
    /// at hand.
    pub(crate) fn fetch(self: &Arc<Loader>, place: &Place) -> Fetch {
        if let Some(found) = self.at_hand(place) {
            return Fetch::Ready(found);
        }

        let flights = self.flights.lock().unpoisoned();
        // Look again under the lock: a load puts its chunk in memory before it leaves the map, and
        // may have done both in between.
        if let Some(found) = self.peek(place) {
            drop(flights);
            self.serves(place, found.provenance);
            return Fetch::Ready(found);
        }

        let fetch = self.board(flights, place, false);
        if let Fetch::Waiting(waiter) = &fetch
            && waiter.has_joined()
        {
            self.found(place, FoundBy::Joined);
        }

        fetch
    }

    /// Gets a chunk that is fresh, or joins or begins a load of it.
    fn fetch_fresh(self: &Arc<Loader>, place: &Place) -> Fetch {
        match self.peek(place).filter(|found| matches!(found.provenance, Provenance::Fresh(_))) {
            Some(found) => Fetch::Ready(found),
            None => self.board(self.flights.lock().unpoisoned(), place, true),
        }
    }

    /// Counts a load and keeps its chunk at hand.
    fn loaded(&self, place: &Place, chunk: Arc<Chunk>) -> Found {
        place.list.resource().counts().list.loads.inc();
        self.keep_at_hand(place, &chunk);
        Found { chunk, provenance: Provenance::Loaded, ahead: None }
    }

    /// A chunk in memory that may still be served; a stale one is refreshed behind the scenes.
    fn at_hand(self: &Arc<Loader>, place: &Place) -> Option<Found> {
        let found = self.peek(place)?;
        self.serves(place, found.provenance);
        Some(found)
    }

    /// Counts a chunk that [`peek`](Loader::peek) found and the caller serves; begins its refresh
    /// if that is due.
    pub(crate) fn serves(self: &Arc<Loader>, place: &Place, provenance: Provenance) {
        self.count(place, provenance, true);
        if let Provenance::Stale { due: true, .. } = provenance {
            self.refresh(place);
        }
    }

    /// Counts a chunk that was found in memory (`near`) or in a shared store.
    fn count(&self, place: &Place, provenance: Provenance, near: bool) {
        let by = match provenance {
            Provenance::Stale { .. } => FoundBy::Stale,
            _ if near => FoundBy::Near,
            _ => FoundBy::Far,
        };
        self.found(place, by);
    }

    fn found(&self, place: &Place, by: FoundBy) {
        place.list.resource().counts().list.found(by).inc();
    }

    /// A chunk in memory that may still be served. Counts nothing and begins no load.
    pub(crate) fn peek(&self, place: &Place) -> Option<Found> {
        let chunk = self.store.near()?.at_hand(&place.key)?;
        self.freshness(place, chunk)
    }

    /// Keeps a chunk in memory, unless its resource was purged since its place was asked for.
    fn keep_at_hand(&self, place: &Place, chunk: &Arc<Chunk>) {
        if let Some(near) = self.store.near() {
            near.keep_at_hand(chunk, place.generation);
        }
    }

    /// A chunk's age in milliseconds; `None` when it is too old to be served.
    fn age(&self, place: &Place, chunk: &Chunk) -> Option<u64> {
        let options = place.list.resource().options();
        let now = (self.clock)();
        let ttl = options.ttl.as_millis() as u64;
        let stale = options.stale.as_millis() as u64;
        let age = now.saturating_sub(chunk.loaded_at);
        // A load time in the future comes from a wrong clock: see `clocks`.
        if chunk.loaded_at > now.saturating_add(ttl) || age >= ttl.saturating_add(stale) {
            return None;
        }

        // Once the table's columns have changed, stale chunks of it are not served.
        if age >= ttl && place.list.resource().is_outdated() {
            return None;
        }

        Some(age)
    }

    /// The chunk, and whether it is fresh or stale; `None` when it is too old to be served, or may
    /// not show a change.
    fn freshness(&self, place: &Place, chunk: Arc<Chunk>) -> Option<Found> {
        let age = self.age(place, &chunk)?;

        // A place that is known to have changed is not served, not even stale.
        match self.changes.verdict(&place.list, &chunk, place.demand.known) {
            Verdict::Shown => {}
            Verdict::InDoubt => return None,
            Verdict::Touched => {
                self.metrics.touched.inc();
                return None;
            }
        }

        let options = place.list.resource().options();
        let ttl = options.ttl.as_millis() as u64;
        let stale = options.stale.as_millis() as u64;
        let provenance = if age < ttl {
            Provenance::Fresh((ttl - age) / 1000)
        } else {
            // Each chunk of a list has a time of its own for its refresh, up to a tenth of the
            // `ttl` later. So they are not all refreshed at once.
            let jitter = (ttl / 10).min(stale).saturating_mul(xxh3_64(&place.key.as_bytes()[16..]) >> 48) >> 16;
            Provenance::Stale { past: (age - ttl) / 1000, due: age >= ttl + jitter }
        };

        Some(Found { chunk, provenance, ahead: None })
    }

    async fn obtain(self: &Arc<Loader>, place: &Place, refresh: bool) -> Result<Found> {
        let place = &self.in_its_generation(place).await;
        match place.list.coding() {
            Some(coding) => self.coded(place, coding, refresh).await,
            None => self.find(place, refresh).await,
        }
    }

    /// The place with its generation. Where it is not known, the store is asked; if the store does
    /// not answer, this place is fetched without it.
    async fn in_its_generation(&self, place: &Place) -> Place {
        let mut place = place.clone();
        if place.generation.is_none() {
            let resource = place.key.resource();
            let asked = self.store.chunks().generation(&resource, place.keep());
            match tokio::time::timeout(STORE_TIMEOUT, asked).await {
                Ok(Ok(generation)) => place.generation = Some(generation),
                Ok(Err(_)) | Err(_) => self.metrics.store.failed(Call::Get),
            }
        }
        place
    }

    /// From the store, else from the source.
    async fn find(self: &Arc<Loader>, place: &Place, refresh: bool) -> Result<Found> {
        let ask = !refresh && !place.list.is_cold();
        if ask && let Some(found) = self.stored(place).await {
            return Ok(self.counted(place, found));
        }

        let lease = match (self.store.agreement(), place.generation) {
            (Some(agreement), Some(generation)) => {
                let lease = self.lease(place, agreement, generation, refresh);
                match lease.instrument(trace::lease(place.around())).await {
                    Ok(lease) => lease,
                    Err(found) => return Ok(self.counted(place, found)),
                }
            }
            _ => None,
        };

        // No lease was given, for instance for want of memory; the store may still have the chunk.
        if lease.is_none()
            && !ask
            && !refresh
            && let Some(found) = self.stored(place).await
        {
            return Ok(self.counted(place, found));
        }

        if !refresh {
            self.found(place, FoundBy::Miss);
        }

        // Where one chunk is missing, the next mostly is too. The request for its lease also says
        // whether the store has it, so the store need not be asked before.
        place.list.note_cold(lease.is_some());
        let (chunk, run) = self.load(place).await?;
        self.write(place, run, lease).await;
        Ok(self.loaded(place, chunk))
    }

    /// Counts a chunk that was found in the store.
    fn counted(&self, place: &Place, found: Found) -> Found {
        self.count(place, found.provenance, self.is_here());
        found
    }

    /// The stored chunk, if there is one that may be served. A failure of the store is a miss.
    async fn stored(self: &Arc<Loader>, place: &Place) -> Option<Found> {
        let asked = self.store.chunks().get(&place.key, place.generation?);
        let began = Instant::now();
        let span = if self.is_here() { Span::none() } else { trace::get(place.around()) };
        let answered = tokio::time::timeout(STORE_TIMEOUT, asked).instrument(span.clone()).await;
        self.metrics.store.took(Call::Get, began.elapsed());
        trace_call(&span, &answered);
        match answered {
            Ok(answer) => self.accept(place, answer).await,
            Err(_) => {
                self.metrics.store.failed(Call::Get);
                None
            }
        }
    }

    /// The chunk that a store answered with, if it may be served; the database is asked where a
    /// changed row may belong there. Damage and failures are counted.
    async fn accept(self: &Arc<Loader>, place: &Place, answer: Result<Option<Arc<Chunk>>>) -> Option<Found> {
        let chunk = match answer {
            Ok(chunk) => chunk?,
            Err(error) if error.kind() == Kind::Data => {
                self.metrics.damaged.inc();
                tracing::warn!(%error, "a stored chunk was refused");
                return None;
            }
            Err(_) => {
                self.metrics.store.failed(Call::Get);
                return None;
            }
        };

        if chunk.key != place.key {
            self.metrics.damaged.inc();
            return None;
        }

        if self.age(place, &chunk).is_some() {
            self.catch_up(chunk.shown.since).await;
        }
        let mut found = self.freshness(place, Arc::clone(&chunk));
        if found.is_none() && self.age(place, &chunk).is_some() && self.is_cleared(place, &chunk).await {
            found = self.freshness(place, Arc::clone(&chunk));
        }
        if found.is_none() {
            self.compare_clocks(place, &chunk);
        }

        found
    }
}
