//! Flights: loads under way. Each is a "single flight": the first request for a chunk begins its
//! load, and all that come before it is over join it.

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

/// The chunk, and the generation that it is loaded in if that was known when the load began.
pub(super) type FlightKey = (ChunkKey, Option<Generation>);

/// A load under way.
#[derive(Debug)]
pub(super) struct Flight {
    /// When it began, in milliseconds since 1970.
    began: u64,
    /// Every waiting task holds a receiver.
    landed: watch::Sender<Option<Result<Found>>>,
    span: Span,
}

/// All flights.
pub(super) type Flights = HashMap<FlightKey, Arc<Flight>>;

/// Waits for a chunk that is under way; dropping it gives up the wait.
pub(crate) struct Waiter {
    receiver: watch::Receiver<Option<Result<Found>>>,
    /// Set if another request began the load.
    joined: Option<Box<Joined>>,
    span: Span,
}

/// A load that another request began, and what this one asked for.
struct Joined {
    loader: Arc<Loader>,
    place: Place,
    /// When the load began.
    began: u64,
}

impl Joined {
    /// Whether a chunk is new enough for the request that joined. A load may take rows that were
    /// read before it began, if the request that began it is older than they are. A request that
    /// joins takes such rows only within their `ttl`. And it takes none that a change touched which
    /// it must see: the load may have begun before the change was told.
    fn takes(&self, found: &Found) -> bool {
        if !self.loader.shows_changes(&self.place, &found.chunk) {
            return false;
        }
        let read_at = found.chunk.loaded_at;
        let loaded = matches!(found.provenance, Provenance::Loaded | Provenance::Joined);
        !loaded || read_at >= self.began || read_at >= self.place.fresh_since(self.loader.now())
    }
}

impl Waiter {
    /// Whether another request began the load.
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
                // The chunks read ahead are for the request that began the load.
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
    /// The span of a wait for this place; none for a refresh, since nobody waits for that.
    fn chunk_span(&self, refresh: bool) -> Span {
        if refresh { Span::none() } else { trace::chunk(self.around(), self.list.resource().name()) }
    }

    /// The span of the load of this place, inside the span of the wait that began it.
    fn load_span(&self, waits: &Span, refresh: bool) -> Span {
        let within = if waits.is_disabled() { self.around() } else { waits };
        let resource = self.list.resource().name();
        match self.list.coding() {
            Some(coding) => trace::compress(within, resource, coding.name()),
            None => trace::load(within, resource, refresh),
        }
    }
}

/// Records on a span what a load, or a wait for it, gave; then ends the span.
fn trace_outcome(span: &Span, outcome: &Result<Found>) {
    if let Ok(found) = outcome {
        trace::found(span, found.provenance.name(), found.chunk.rows);
    }
    trace::went(span, outcome.as_ref());
}

impl Loader {
    /// Takes a chunk that was read ahead; else joins the chunk's load, or begins it.
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
                if let Some(chunk) = read.filter(|chunk| self.shows_changes(&place, chunk)) {
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

    /// The place with the generation of this moment, as far as that is known. A generation that the
    /// place already has, from the plain chunk, stays.
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
        // The plain chunk that it was made of is as old, and would be stale too.
        let anew = Place { generation: None, plain_chunk: None, ..place.clone() };
        let flights = self.flights.lock().unpoisoned();
        // A refresh that landed since this chunk was found stale has kept its chunk before it left
        // the map.
        if self.peek(&anew).is_some_and(|found| matches!(found.provenance, Provenance::Fresh(_))) {
            return;
        }
        // `board` has given the flight a receiver of its own.
        drop(self.board(flights, &anew, true));
    }

    /// Begins a flight. With an `interest` of its own (a refresh) it goes on though nobody waits,
    /// and skips the store.
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
            // A client's invalid request is no failure of the source. Of a compressed chunk's
            // failure the load of the plain chunk tells already.
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

/// Takes a flight out of the map when it ends, in every case.
struct Landing<'a> {
    loader: &'a Loader,
    key: &'a FlightKey,
    flight: &'a Arc<Flight>,
}

impl Landing<'_> {
    /// Returns when nobody waits for the flight any more; nobody can join it after that.
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
