//! Reads of the source that are under way: one for all variants of a list whose loads wait for the same rows.
//!
//! A load that comes before the first row joins, and its variant is written too; one that has read as
//! far by itself brings along what it has written. Rows behind the chunk that is loaded are written in the
//! same variants, and wait for their loads ([`LeftOver`](super::left_over::LeftOver)).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Instant,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use tracing::{Instrument, Span};

use super::{Loader, Place, flight::FlightKey};
use crate::{
    chunk::{Chunk, ListKey},
    cutter::{Cutter, Joiner, Joining, Made, Position},
    error::{Error, Kind, Result},
    list::List,
    source::Query,
    unpoisoned::Unpoisoned,
};

/// So many variants are written by one read: each costs memory for a run of rows, and a client can make up hosts.
const VARIANTS: usize = 8;

/// What a read comes to. It goes on while a load waits for it; with the last of them it is dropped, down to the
/// database.
type Outcome = Shared<BoxFuture<'static, Result<Arc<Run>>>>;

/// All of them, by the place in the list, which is the same in every variant.
pub(super) type Readings = HashMap<FlightKey, Vec<Reading>>;

/// A read under way.
pub(super) struct Reading {
    /// How far the chunk was filled when it began.
    position: Position,
    /// When it began, in milliseconds since 1970.
    began: u64,
    passengers: Arc<Passengers>,
    outcome: WeakShared<BoxFuture<'static, Result<Arc<Run>>>>,
    /// That of the load that began it.
    span: Span,
}

/// The chunks that a read has made, by the variant.
struct Run(Vec<(ListKey, Vec<Arc<Chunk>>)>);

impl Run {
    /// The chunks of a list, the one that was asked for first.
    fn chunks_of(&self, list: &List) -> Result<Vec<Arc<Chunk>>> {
        let found = self.0.iter().find(|(key, _)| key == list.key());
        found
            .map(|(_, chunks)| chunks.clone())
            .filter(|chunks| !chunks.is_empty())
            .ok_or_else(|| Error::new(Kind::Internal, "a read has no chunk of a list that waited for it"))
    }
}

/// The variants that a read is for.
#[derive(Default)]
struct Passengers(Mutex<Aboard>);

#[derive(Default)]
struct Aboard {
    /// All that are written.
    variants: Vec<ListKey>,
    /// Those of them for which a load waits.
    awaited: Vec<ListKey>,
    /// Those that have come since it began and are not written yet; `None` behind the first row.
    joined: Option<Vec<Joiner>>,
}

impl Passengers {
    /// Whether the read writes this list anyway, so that a load of it may wait.
    fn have(&self, list: &List) -> bool {
        let mut aboard = self.0.lock().unpoisoned();
        let has = aboard.variants.contains(list.key());
        if has {
            aboard.awaited.push(*list.key());
        }
        has
    }

    /// Takes in what a load of this list comes with; gives it back where the read writes too much already, or its
    /// first row has come.
    fn take(&self, list: &List, joiner: Joiner) -> Result<(), Joiner> {
        let mut aboard = self.0.lock().unpoisoned();
        let keys: Vec<ListKey> = match &joiner {
            Joiner::New(list) => vec![*list.key()],
            Joiner::Begun(cutter) => cutter.lists().map(|list| *list.key()).collect(),
        };
        let is_known = keys.iter().any(|key| aboard.variants.contains(key));
        if is_known || aboard.variants.len() + keys.len() > VARIANTS {
            return Err(joiner);
        }
        let Some(joined) = &mut aboard.joined else { return Err(joiner) };
        joined.push(joiner);
        aboard.variants.extend(keys);
        aboard.awaited.push(*list.key());
        Ok(())
    }

    fn is_awaited(&self, list: &List) -> bool {
        self.0.lock().unpoisoned().awaited.contains(list.key())
    }
}

impl Joining for Passengers {
    fn close(&self) -> Vec<Joiner> {
        self.0.lock().unpoisoned().joined.take().unwrap_or_default()
    }
}

/// A load's part in a read.
enum Part {
    /// Somebody has read the chunk with others before it.
    Done(Arc<Chunk>),
    /// The read is for it.
    Leads(Outcome),
    /// The read was under way, since then.
    Joins(Outcome, u64),
}

impl Loader {
    /// From the source: rows are read in runs until the chunk is whole. With it come the chunks that are to be
    /// written to a shared store, itself the first; none where that was done.
    pub(super) async fn load(
        self: &Arc<Loader>,
        place: &Place,
        generation: u64,
    ) -> Result<(Arc<Chunk>, Vec<Arc<Chunk>>)> {
        let mut may_join = true;
        loop {
            let (outcome, began) = match self.part(place, generation, may_join)? {
                Part::Done(chunk) => return Ok((chunk, vec![])),
                Part::Leads(outcome) => (outcome, None),
                Part::Joins(outcome, began) => (outcome, Some(began)),
            };
            let chunks = outcome.await?.chunks_of(&place.list)?;
            let chunk = Arc::clone(&chunks[0]);
            // Who joins takes rows that were read before the read began only within their `ttl`.
            let is_new = |since: u64| chunk.loaded_at >= since.min(place.fresh_since(self.now()));
            if began.is_none_or(is_new) {
                return Ok((chunk, chunks));
            }
            may_join = false;
        }
    }

    /// What is to be waited for: under one lock, so that no read ends unseen between two looks.
    fn part(self: &Arc<Loader>, place: &Place, generation: u64, may_join: bool) -> Result<Part> {
        let key = (place.list.place_key(&place.cursor, place.cut), generation);
        let own = (place.key.clone(), generation);
        let now = self.now();
        let since = place.fresh_since(now);
        // Dropped behind the lock: the last to drop an outcome takes the lock for itself.
        let mut spare = vec![];
        let mut readings = self.readings.lock().unpoisoned();

        if let Some(chunk) = self.left_over.lock().unpoisoned().take_chunk(&own, now, since) {
            return Ok(Part::Done(chunk));
        }
        let here = readings.entry(key.clone()).or_default();
        if may_join {
            for reading in here.iter().filter(|reading| reading.passengers.have(&place.list)) {
                if let Some(outcome) = reading.outcome.upgrade() {
                    place.around().follows_from(&reading.span);
                    return Ok(Part::Joins(outcome, reading.began));
                }
            }
        }

        let mut joiner = match self.left_over.lock().unpoisoned().take_begun(&own, now, since) {
            Some(mut cutter) => {
                cutter.resume(&place.list);
                Joiner::Begun(cutter)
            }
            None => Joiner::New(Arc::clone(&place.list)),
        };
        let position = match &joiner {
            Joiner::New(_) => Position::at(&place.cursor),
            Joiner::Begun(cutter) => cutter.position(),
        };
        if may_join {
            for reading in here.iter().filter(|reading| reading.position == position) {
                let Some(outcome) = reading.outcome.upgrade() else { continue };
                match reading.passengers.take(&place.list, joiner) {
                    Ok(()) => {
                        place.around().follows_from(&reading.span);
                        return Ok(Part::Joins(outcome, reading.began));
                    }
                    Err(back) => {
                        joiner = back;
                        spare.push(outcome);
                    }
                }
            }
        }

        let mut cutter = match joiner {
            Joiner::New(list) => Box::new(Cutter::new(list, place.cursor.clone(), place.cut)),
            Joiner::Begun(cutter) => cutter,
        };
        let passengers = Arc::new(Passengers(Mutex::new(Aboard {
            variants: cutter.lists().map(|list| *list.key()).collect(),
            awaited: vec![*place.list.key()],
            joined: Some(vec![]),
        })));
        cutter.let_join(Arc::clone(&passengers) as Arc<dyn Joining>);

        let read = read(Arc::clone(self), place.clone(), key.clone(), Arc::clone(&passengers), cutter);
        // Any of the loads that wait for it has it go on.
        let outcome = read.instrument(place.around().clone()).boxed().shared();
        let weak = outcome.downgrade().ok_or_else(|| Error::new(Kind::Internal, "a read ended before it began"))?;
        here.push(Reading { position, began: now, passengers, outcome: weak, span: place.around().clone() });
        Ok(Part::Leads(outcome))
    }
}

/// Reads until a chunk is whole, and lays aside what nobody waits for yet.
async fn read(
    loader: Arc<Loader>,
    place: Place,
    key: FlightKey,
    passengers: Arc<Passengers>,
    cutter: Box<Cutter>,
) -> Result<Arc<Run>> {
    let generation = key.1;
    let leaves = Leaves { loader: &loader, key: &key, passengers: &passengers };
    let began = Instant::now();
    let cutter = loader.read_chunk(&place, cutter).await;
    place.list.resource().counts().database.loads.observe(began.elapsed());
    let mut cutter = cutter?;

    // Under the lock, so that a load that looks finds the read or what it has laid aside.
    let mut readings = loader.readings.lock().unpoisoned();
    leaves.leave(&mut readings);
    let mut run = vec![];
    let mut unawaited = vec![];
    let mut left_over = loader.left_over.lock().unpoisoned();
    for Made { list, chunks, wanted } in cutter.made() {
        let is_awaited = passengers.is_awaited(&list);
        left_over.put(generation, chunks.iter().skip(usize::from(is_awaited)).cloned(), &wanted);
        if is_awaited {
            wanted.store(true, Ordering::Relaxed);
            run.push((*list.key(), chunks));
        } else {
            unawaited.extend(chunks);
        }
    }
    if place.cut == 0 {
        left_over.put_begun(generation, cutter);
    }
    drop(left_over);
    drop(readings);

    // The load that the read is for has those written too that no load waits for.
    if let Some((_, chunks)) = run.iter_mut().find(|(key, _)| key == place.list.key()) {
        chunks.extend(unawaited);
    }
    Ok(Arc::new(Run(run)))
}

impl Loader {
    /// Reads runs of rows until the first chunk is whole.
    async fn read_chunk(&self, place: &Place, mut cutter: Box<Cutter>) -> Result<Box<Cutter>> {
        let list = &place.list;
        let counts = list.resource().counts();
        while !cutter.has_made() {
            let (after, limit) =
                cutter.wants().ok_or_else(|| Error::new(Kind::Internal, "a list ended without a chunk"))?;
            let query = Query {
                after: after.clone(),
                limit,
                conditions: Arc::clone(list.conditions()),
                requester: place.demand.requester,
            };
            cutter.begin_run(self.now());
            let run = list.resource().source().rows(query, cutter).await?;
            counts.list.reads.inc();
            cutter = run
                .sink
                .into_any()
                .downcast()
                .map_err(|_| Error::new(Kind::Internal, "a source gave back another sink"))?;
            counts.list.rows_read.add(std::mem::take(&mut cutter.rows));
            for flaw in cutter.flaws() {
                self.metrics.note_flaw(&flaw);
                list.resource().warn_of(&flaw, place.request(), place.trace());
            }
            cutter.end_run(run.ended);
            if !run.ended && cutter.stands_at(&after) {
                return Err(Error::new(Kind::Data, "a source handed out no row and did not end"));
            }
        }
        Ok(cutter)
    }
}

/// Takes a read out of those under way when it ends: done, failed or given up.
struct Leaves<'a> {
    loader: &'a Loader,
    key: &'a FlightKey,
    passengers: &'a Arc<Passengers>,
}

impl Leaves<'_> {
    fn leave(&self, readings: &mut Readings) {
        if let Some(there) = readings.get_mut(self.key) {
            there.retain(|reading| !Arc::ptr_eq(&reading.passengers, self.passengers));
            if there.is_empty() {
                readings.remove(self.key);
            }
        }
    }
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.leave(&mut self.loader.readings.lock().unpoisoned());
    }
}
