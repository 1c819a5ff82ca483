//! Lists that are all in memory. They are sent with their length, or at least without a look-up for
//! each chunk.

use std::sync::Arc;

use bytes::Bytes;

use super::{Ask, Next, Stream, WHOLE, page::Page, round::Way};
use crate::{
    chunk::{Chunk, Sum},
    cursor::Cursor,
    loader::{Demand, Found, Loader, Place, Provenance},
    metrics::FoundBy,
    survey::{self, Behind},
};

/// What is known of a stream before it begins: where its first chunk would come from, its length,
/// and where its limit ends it.
#[derive(Debug, Default)]
pub(crate) struct Glimpse {
    pub(crate) first: Option<Provenance>,
    pub(crate) length: Option<u64>,
    pub(crate) goes_on: Option<Cursor>,
}

impl Stream {
    /// What the head of the response would say, as far as that is known without a load.
    pub(crate) fn glimpse(loader: &Loader, ask: &Ask) -> Glimpse {
        let list = &ask.list;
        let mut page = ask.limit.map(|limit| Page::new(limit, Demand::default()));
        let mut glimpse = Glimpse::default();
        let mut way = Way::from(ask.after.clone());
        let mut bytes = list.begin().0.len();
        let mut rows = 0;
        let mut next = Some(ask.after.clone()).filter(|_| ask.limit != Some(0));

        while let Some(cursor) = next.take() {
            let peeked = match &mut page {
                Some(page) => page.peek(loader, list, cursor),
                None => loader.peek(&Place::new(Arc::clone(list), cursor, 0)),
            };
            let Some(Found { chunk, provenance, .. }) = peeked else { return glimpse };
            glimpse.first = glimpse.first.or(Some(provenance));
            bytes += list.frames(&chunk, rows > 0).iter().map(Bytes::len).sum::<usize>();
            rows += u64::from(chunk.rows);

            // Where chunks lead back, a GET fails.
            if chunk.next.as_ref().is_some_and(|next| !way.goes_on_to(next)) {
                return glimpse;
            }
            next.clone_from(&chunk.next);

            match &page {
                Some(page) if page.is_full() => break,
                None if bytes > WHOLE => return glimpse,
                _ => {}
            }
        }

        if let (Some(page), Some(cursor)) = (&page, &next)
            && let Some(behind) = page.unsure(list, cursor)
            && loader.peek(&behind).is_some_and(|found| found.chunk.rows == 0)
        {
            next = None;
        }

        let left = page.map_or(0, |page| page.left());
        let rest = next.as_ref().filter(|_| left > 0).map(|next| (next, left));
        glimpse.length = Some((bytes + list.end(rows, Sum::default(), rest).len()) as u64);
        glimpse.goes_on = next;
        glimpse
    }

    /// Lines up the first chunk of a whole list; with it all others, if they are at hand.
    pub(super) fn take_whole(&mut self, first: Found) {
        match self.list.survey().behind(&first.chunk, self.loader.now(), self.demand.known) {
            Behind::All(rest) if self.hold_all(rest.iter()) => self.take_all(&first, &rest),
            Behind::Trail(trail) => {
                self.trail = trail;
                self.take(first);
            }
            Behind::TooLong => {
                let chunk = Arc::clone(&first.chunk);
                self.take(first);
                if let Next::Ready(second) = &self.next {
                    self.note_trail(&chunk, vec![(None, second.clone())]);
                }
            }
            _ => {
                // A list with filters is made anew for each request: nobody would find a note on
                // it.
                let noted = (!self.list.is_filtered()).then(|| Arc::clone(&first.chunk));
                self.take(first);
                self.measure(noted.as_ref());
            }
        }
    }

    /// Lines up a list whose chunks are all at hand and fresh.
    fn take_all(&mut self, first: &Found, rest: &[Arc<Chunk>]) {
        self.frames.reserve(2 * rest.len() + 3);
        self.note(first.provenance);
        self.pass(&first.chunk);
        for chunk in rest {
            self.pass(chunk);
        }
        self.tally.hits += rest.len() as u64;
        self.list.resource().counts().list.found(FoundBy::Near).add(rest.len() as u64);
        self.end(None);
        self.length = Some(self.lined_up() as u64);
    }

    /// Finds out whether the rest of the list is at hand. If so, lines it up; then the body's
    /// length is known. `first` is the first chunk, if the whole list is asked for: what follows it
    /// is then noted.
    pub(super) fn measure(&mut self, first: Option<&Arc<Chunk>>) {
        let rest = match self.rest_at_hand() {
            Rest::All(rest) => rest,
            Rest::TooLong(rest) => {
                first.inspect(|first| self.note_trail(first, rest));
                return;
            }
            Rest::Unknown => return,
        };

        if !self.hold_all(rest.iter().map(|(_, found)| &found.chunk)) {
            return;
        }

        if let Some(first) = first {
            self.note_behind(first, rest.iter().map(|(_, found)| &found.chunk), true);
        }

        for (place, found) in rest {
            if let Some(place) = place {
                self.loader.serves(&place, found.provenance);
            }
            self.note(found.provenance);
            self.pass(&found.chunk);
            if found.chunk.next.is_none() {
                self.end(None);
            }
        }

        self.length = Some(self.lined_up() as u64);
    }

    /// Reserves room in the budget for the chunks behind the first; false if there is too little.
    fn hold_all<'a>(&mut self, rest: impl Iterator<Item = &'a Arc<Chunk>>) -> bool {
        self.held.take(rest.map(|chunk| chunk.body.len()).sum())
    }

    /// Notes the chunks at hand behind the first one. The note holds until the oldest of them is
    /// not fresh any more.
    fn note_behind<'a, R>(&self, first: &'a Arc<Chunk>, rest: R, all: bool)
    where
        R: ExactSizeIterator<Item = &'a Arc<Chunk>> + Clone,
    {
        let oldest = rest.clone().map(|chunk| chunk.loaded_at).min().unwrap_or(u64::MAX);
        let ttl = self.list.resource().options().ttl.as_millis() as u64;
        self.list.survey().note(first, rest, all, self.demand.known, self.loader.now(), oldest.saturating_add(ttl));
    }

    /// Notes a list that is too large to be gathered, as far as it is at hand and fresh, and
    /// follows that note. `rest` is what is known behind the first chunk.
    fn note_trail(&mut self, first: &Arc<Chunk>, rest: Vec<(Option<Place>, Found)>) {
        let fresh = |found: Found| matches!(found.provenance, Provenance::Fresh(_)).then_some(found.chunk);
        let behind = |chunk: &Arc<Chunk>| {
            let place = Place::new(Arc::clone(&self.list), chunk.next.clone()?, 0).asked_by(self.demand.clone());
            self.loader.peek(&place).and_then(fresh)
        };

        let mut trail: Vec<_> = rest.into_iter().map_while(|(_, found)| fresh(found)).take(survey::MOST).collect();
        while trail.len() < survey::MOST
            && let Some(next) = behind(trail.last().unwrap_or(first))
        {
            trail.push(next);
        }

        self.note_behind(first, trail.iter(), false);
        if let Behind::Trail(trail) = self.list.survey().behind(first, self.loader.now(), self.demand.known) {
            // The second chunk is lined up already.
            self.trail = trail.from(1);
        }
    }

    /// The chunks from here to the end of the list, if all are in memory.
    fn rest_at_hand(&self) -> Rest {
        let mut rest = vec![];
        let mut bytes = self.lined_up();
        let mut way = self.way.clone();
        let mut next = match &self.next {
            Next::Ended => return Rest::All(rest),
            Next::Ready(found) => (None, found.clone()),
            Next::Waiting(..) | Next::Failed(..) => return Rest::Unknown,
        };

        loop {
            let chunk = Arc::clone(&next.1.chunk);
            bytes += chunk.body.len();
            rest.push(next);
            if bytes > WHOLE {
                return Rest::TooLong(rest);
            }
            let Some(cursor) = chunk.next.clone() else { return Rest::All(rest) };
            if !way.goes_on_to(&cursor) {
                return Rest::Unknown;
            }
            let place = Place::new(Arc::clone(&self.list), cursor, 0).asked_by(self.demand.clone());
            match self.loader.peek(&place) {
                Some(found) => next = (Some(place), found),
                None => return Rest::Unknown,
            }
        }
    }
}

/// What is in memory of the rest of a list. A chunk comes with its place if it was looked up just
/// now.
enum Rest {
    /// All of it.
    All(Vec<(Option<Place>, Found)>),
    /// Its beginning, which is too large already.
    TooLong(Vec<(Option<Place>, Found)>),
    /// Not all of it.
    Unknown,
}
