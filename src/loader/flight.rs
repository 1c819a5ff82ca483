//! Flights: loads under way, which whoever comes meanwhile joins.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, MutexGuard},
};

use tokio::sync::watch;
use tracing::{Instrument, Span, field::display};

use super::{Fetch, Found, Loader, Place, Provenance, REST};
use crate::{
    chunk::ChunkKey,
    error::{Error, Kind, Result},
    metrics::FoundBy,
    store::Generation,
    trace,
    unpoisoned::Unpoisoned,
};

/// The chunk, and the generation that it is loaded in, as far as that was known when its load
/// began.
pub(super) type FlightKey = (ChunkKey, Option<Generation>);

/// A load under way.
#[derive(Debug)]
pub(super) struct Flight {
    /// When it began, in milliseconds since 1970.
    began: u64,
    /// Who waits for it holds a receiver.
    landed: watch::Sender<Option<Result<Found>>>,
    span: Span,
}

/// All of them.
pub(super) type Flights = HashMap<FlightKey, Arc<Flight>>;

/// Waits for a chunk that is under way; dropping it gives up the wait.
pub(crate) struct Waiter {
    receiver: watch::Receiver<Option<Result<Found>>>,
    /// Where somebody else was first.
    joined: Option<Box<Joined>>,
    span: Span,
}

/// A load that somebody else began, and what it was joined for.
struct Joined {
    loader: Arc<Loader>,
    place: Place,
    /// When the load began.
    began: u64,
}

impl Joined {
    /// Whether a chunk is new enough for the request that joined. A load may take rows that were
    /// read before it began, for a request that is older than they are; a request that joins takes
    /// such rows only within their `ttl`.
    fn takes(&self, found: &Found) -> bool {
        let read_at = found.chunk.loaded_at;
        let loaded = matches!(found.provenance, Provenance::Loaded | Provenance::Joined);
        !loaded || read_at >= self.began || read_at >= self.place.fresh_since(self.loader.now())
    }
}

impl Waiter {
    /// Whether somebody else was first.
    pub(super) fn has_joined(&self) -> bool {
        self.joined.is_some()
    }

    pub(crate) async fn wait(self) -> Result<Found> {
        let span = self.span.clone();
        let waited = self.wait_out().await;
        trace_outcome(&span, &waited);
        waited
    }

    async fn wait_out(mut self) -> Result<Found> {
        loop {
            let landed = self.receiver.wait_for(Option::is_some).await;
            let outcome = landed.map_err(|_| Error::new(Kind::Internal, "a load ended without a word"))?.clone();
            let found = outcome.expect("waited until it is there")?;

            let Some(joined) = &self.joined else { return Ok(found) };
            if joined.takes(&found) {
                let provenance =
                    if found.provenance == Provenance::Loaded { Provenance::Joined } else { found.provenance };
                // What is read behind it is for the request that began the load.
                return Ok(Found { provenance, ahead: None, ..found });
            }
            match joined.loader.fetch(&joined.place) {
                Fetch::Ready(found) => return Ok(found),
                Fetch::Waiting(next) => self = next,
            }
        }
    }
}

impl Place {
    /// The span of a wait for it; nobody waits for a refresh.
    fn chunk_span(&self, refresh: bool) -> Span {
        if refresh { Span::none() } else { trace::chunk(self.around(), self.list.resource().name()) }
    }

    /// The span of its load, within that of the wait for which it is begun.
    fn load_span(&self, waits: &Span, refresh: bool) -> Span {
        let within = if waits.is_disabled() { self.around() } else { waits };
        let resource = self.list.resource().name();
        match self.list.coding() {
            Some(coding) => trace::compress(within, resource, coding.name()),
            None => trace::load(within, resource, refresh),
        }
    }
}

/// Tells a span what came of a load or of the wait for it, and ends it.
fn trace_outcome(span: &Span, outcome: &Result<Found>) {
    if let Ok(found) = outcome {
        trace::found(span, found.provenance.name(), found.chunk.rows);
    }
    trace::went(span, outcome.as_ref());
}

impl Loader {
    /// Gets a chunk that was read with others before it, or joins or begins its load.
    pub(super) fn board(
        self: &Arc<Loader>,
        mut flights: MutexGuard<'_, Flights>,
        place: &Place,
        refresh: bool,
    ) -> Fetch {
        let place = self.decided(place);
        match flights.entry((place.key.clone(), place.generation)) {
            Entry::Occupied(flight) => {
                let flight = &**flight.get();
                let span = place.chunk_span(refresh);
                span.follows_from(&flight.span);
                let joined = Joined { loader: Arc::clone(self), place, began: flight.began };
                Fetch::Waiting(Waiter { receiver: flight.landed.subscribe(), joined: Some(Box::new(joined)), span })
            }
            Entry::Vacant(vacant) => {
                let now = (self.clock)();
                let read = self.read_ahead.lock().unpoisoned().take_chunk(vacant.key(), now, place.fresh_since(now));
                if let Some(chunk) = read {
                    if !refresh {
                        self.found(&place, FoundBy::Miss);
                    }
                    return Fetch::Ready(self.loaded(&place, chunk));
                }
                let waits = place.chunk_span(refresh);
                let span = place.load_span(&waits, refresh);
                let flight = Arc::new(Flight { began: now, landed: watch::Sender::new(None), span });
                let receiver = flight.landed.subscribe();
                let key = vacant.key().clone();
                vacant.insert(Arc::clone(&flight));
                self.depart(place, key, flight, refresh.then(|| receiver.clone()));
                Fetch::Waiting(Waiter { receiver, joined: None, span: waits })
            }
        }
    }

    /// The place in the generation of this moment, as far as it is known, unless it was decided
    /// with what it is made of.
    fn decided(&self, place: &Place) -> Place {
        let generation = place.generation.or_else(|| self.generation(&place.key.resource()));
        Place { generation, ..place.clone() }
    }

    /// Begins a load of a stale chunk, unless one is under way.
    pub(super) fn refresh(self: &Arc<Loader>, place: &Place) {
        let resource = place.list.resource().digest();
        if self.resting.lock().unpoisoned().get(&resource).is_some_and(|until| (self.clock)() < *until) {
            return;
        }
        // What it was made of is as old as it is.
        let anew = Place { generation: None, plain_chunk: None, ..place.clone() };
        // The flight has an interest of its own.
        drop(self.board(self.flights.lock().unpoisoned(), &anew, true));
    }

    /// Begins a flight. With an `interest` of its own (a refresh) it goes on though nobody waits,
    /// and asks the source at once.
    fn depart(
        self: &Arc<Loader>,
        place: Place,
        key: FlightKey,
        flight: Arc<Flight>,
        interest: Option<watch::Receiver<Option<Result<Found>>>>,
    ) {
        let loader = Arc::clone(self);
        let place = place.within(&flight.span);
        tokio::spawn(async move {
            let refresh = interest.is_some();
            let landing = Landing { loader: &loader, key: &key, flight: &flight };
            let outcome = tokio::select! {
                biased;
                outcome = loader.obtain(&place, refresh).instrument(flight.span.clone()) => outcome,
                () = landing.unwanted() => {
                    loader.metrics.abandoned.inc();
                    trace::abandoned(&flight.span);
                    return;
                }
            };
            trace_outcome(&flight.span, &outcome);
            if outcome.as_ref().is_err_and(|error| error.kind() == Kind::Schema) {
                place.list.resource().note_outdated();
            }
            // What a client asks for in vain is no failure of the source's, and one is enough to
            // tell of.
            let told = |error: &&Error| error.kind() == Kind::Invalid || place.list.plain().is_some();
            if let Some(error) = outcome.as_ref().err().filter(|error| !told(error)) {
                let resource = place.list.resource();
                loader.metrics.load_failed(resource.name(), resource.counts(), error);
                if refresh {
                    let now = loader.now();
                    let mut resting = loader.resting.lock().unpoisoned();
                    resting.retain(|_, until| now < *until);
                    resting.insert(resource.digest(), now + REST);
                }
                let id = place.request();
                let trace_id = place.trace().map(display);
                tracing::warn!(id, trace_id, resource = resource.name(), %error, refresh, "a load failed");
            }
            let stale = matches!(&outcome, Ok(Found { provenance: Provenance::Stale { due: true, .. }, .. }));
            drop(landing);
            flight.landed.send_replace(Some(outcome));
            drop(interest);
            if stale {
                loader.refresh(&place);
            }
        });
    }
}

/// Takes a flight out of the map, however it ends.
struct Landing<'a> {
    loader: &'a Loader,
    key: &'a FlightKey,
    flight: &'a Arc<Flight>,
}

impl Landing<'_> {
    /// Ends when nobody waits for the flight any more; nobody can join it after that.
    async fn unwanted(&self) {
        loop {
            self.flight.landed.closed().await;
            let mut flights = self.loader.flights.lock().unpoisoned();
            if self.flight.landed.receiver_count() == 0 {
                flights.remove(self.key);
                return;
            }
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut flights = self.loader.flights.lock().unpoisoned();
        if flights.get(self.key).is_some_and(|flight| Arc::ptr_eq(flight, self.flight)) {
            flights.remove(self.key);
        }
    }
}
