//! Places that chunks are fetched for, and by whom.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use tracing::Span;

use super::Found;
use crate::{
    chunk::ChunkKey,
    cursor::Cursor,
    list::List,
    source::Requester,
    store::Generation,
    trace::{TraceId, Traced},
};

/// The request that a place is fetched for.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// The request's id in the log, if it has one.
    pub(crate) id: Option<HeaderValue>,
    pub(crate) requester: Requester,
    pub(crate) traced: Traced,
    /// When the request began, in milliseconds since 1970. Rows that were read since then are fresh
    /// enough for it.
    pub(crate) began: u64,
    /// When it began, by the loader's count of reads that are over.
    pub(crate) moment: u64,
    /// The changes that it must see: all that were heard before it began.
    pub(crate) known: u64,
    /// Whether its loads wait for room to write their chunks to a shared store. Without room,
    /// others leave them unwritten.
    pub(crate) waits_for_room: bool,
}

impl Default for Demand {
    /// No request: it takes rows that were read before only within their `ttl`, and must see every
    /// change.
    fn default() -> Demand {
        Demand {
            id: None,
            requester: Requester::default(),
            traced: Traced::default(),
            began: u64::MAX,
            moment: u64::MAX,
            known: u64::MAX,
            waits_for_room: false,
        }
    }
}

/// One chunk of a list: where it starts, and where a limit cuts it (0: nowhere).
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(super) list: Arc<List>,
    pub(super) cursor: Cursor,
    pub(super) cut: u32,
    pub(super) key: ChunkKey,
    pub(super) demand: Demand,
    /// Whether the chunks behind it are wanted too.
    pub(super) reads_on: bool,
    /// The generation that it is fetched in, decided by the fetch. `None` before that, and where
    /// the store has not said it.
    pub(super) generation: Option<Generation>,
    /// For a compressed place: the plain chunk to compress, if that is here already.
    pub(super) plain_chunk: Option<Found>,
    /// The load that it is fetched for, if any.
    pub(super) within: Traced,
}

impl Place {
    pub(crate) fn new(list: Arc<List>, cursor: Cursor, cut: u32) -> Place {
        let key = list.chunk_key(&cursor, cut);
        let within = Traced::default();
        let demand = Demand::default();
        Place { list, cursor, cut, key, demand, reads_on: false, generation: None, plain_chunk: None, within }
    }

    /// The same place, where it is fetched for this request.
    pub(crate) fn asked_by(self, demand: Demand) -> Place {
        Place { demand, ..self }
    }

    /// The same place, where the chunks behind it may be wanted too.
    pub(crate) fn reading_on(self) -> Place {
        Place { reads_on: true, ..self }
    }

    /// The same place, fetched as a part of the load of this span.
    pub(super) fn within(self, span: &Span) -> Place {
        Place { within: self.demand.traced.within(span), ..self }
    }

    /// The span to put its own spans in: the load's, else the request's.
    pub(super) fn around(&self) -> &Span {
        if self.within.span().is_disabled() { self.demand.traced.span() } else { self.within.span() }
    }

    /// The same place, cut after this many rows.
    pub(crate) fn cut_at(&self, rows: u32) -> Place {
        Place::new(Arc::clone(&self.list), self.cursor.clone(), rows).asked_by(self.demand.clone())
    }

    /// Whether a limit cuts it.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut > 0
    }

    /// The id in the log of the request that it is fetched for.
    pub(super) fn request(&self) -> Option<&str> {
        self.demand.id.as_ref()?.to_str().ok()
    }

    /// The trace of that request.
    pub(super) fn trace(&self) -> Option<TraceId> {
        self.demand.traced.id()
    }

    /// The earliest time at which its rows may have been read: the request's beginning, or one
    /// `ttl` ago, if that is earlier. In milliseconds since 1970.
    pub(super) fn fresh_since(&self, now: u64) -> u64 {
        let ttl = self.list.resource().options().ttl.as_millis() as u64;
        self.demand.began.min(now.saturating_sub(ttl).saturating_add(1))
    }

    /// The same place in the plain list, in the same generation.
    pub(super) fn plain(&self) -> Place {
        let list = Arc::clone(self.list.plain().unwrap_or(&self.list));
        let plain = Place::new(list, self.cursor.clone(), self.cut).asked_by(self.demand.clone());
        Place { within: self.within.clone(), generation: self.generation, ..plain }
    }

    /// For how long the store keeps its chunks.
    pub(super) fn keep(&self) -> Duration {
        let options = self.list.resource().options();
        options.ttl.saturating_add(options.stale)
    }
}
