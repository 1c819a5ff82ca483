//! What a stream found out about a whole list in memory, for later streams, which then need not
//! look up its chunks one by one.
//!
//! It keeps no chunk's bytes alive, so the store's bound on memory holds. And it only holds for one
//! first chunk. That chunk is looked up each time, so that its age is checked, its use counted and
//! a purge noticed as usual.

use std::{
    ops::Range,
    sync::{Arc, RwLock, Weak},
};

use crate::chunk::Chunk;

/// How many milliseconds a survey holds at most. After that the chunks are looked up again, so that
/// the store learns they are wanted.
const HOLDS: u64 = 1_000;

/// How many chunks behind the first are noted at most, since a note of a chunk that is gone takes
/// some memory.
pub(crate) const MOST: usize = 1_000;

/// What is known of one list. Nothing waits for its lock.
#[derive(Debug, Default)]
pub(crate) struct Survey(RwLock<Option<Known>>);

/// What is known of a list while it has this first chunk.
#[derive(Debug)]
struct Known {
    /// The first chunk, then the others in order.
    chunks: Arc<Vec<Weak<Chunk>>>,
    /// Whether these are the whole list, and few enough bytes to be gathered.
    all: bool,
    /// When the chunks behind the first may be served, in milliseconds since 1970.
    times: Range<u64>,
    /// Up to which change they show all that concern them.
    judged: u64,
}

/// What is known behind a first chunk.
#[derive(Debug)]
pub(crate) enum Behind {
    /// All chunks up to the end of the list.
    All(Vec<Arc<Chunk>>),
    /// More bytes than may be gathered; the trail begins at the first chunk.
    Trail(Trail),
    /// More bytes than may be gathered.
    TooLong,
    /// Nothing that still holds.
    Unknown,
}

/// Chunks that were in memory one after the other a moment ago; by default none. It keeps neither
/// the chunks nor the survey alive.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    chunks: Weak<Vec<Weak<Chunk>>>,
    /// The index of the next chunk to pass.
    at: usize,
    times: Range<u64>,
}

impl Trail {
    /// The same trail from the chunk with this index on; 0 is the list's first.
    pub(crate) fn from(self, at: usize) -> Trail {
        Trail { at, ..self }
    }

    /// The chunk behind this one, if it is still in memory and may be served. After `None` the
    /// trail has ended, and does not know where the list goes on.
    pub(crate) fn behind(&mut self, chunk: &Arc<Chunk>, now: impl FnOnce() -> u64) -> Option<Arc<Chunk>> {
        let chunks = self.chunks.upgrade().filter(|_| self.times.contains(&now()));
        let next = chunks.and_then(|chunks| match chunks.get(self.at..self.at + 2)? {
            [this, next] if this.as_ptr() == Arc::as_ptr(chunk) => next.upgrade(),
            _ => None,
        });
        match next {
            Some(_) => self.at += 1,
            None => *self = Trail::default(),
        }
        next
    }
}

impl Survey {
    /// Notes the chunks found behind the first one: `all` of the list, or more than may be
    /// gathered. They show all changes up to `judged`, and are fresh at least until `fresh_until`.
    pub(crate) fn note<'a>(
        &self,
        first: &'a Arc<Chunk>,
        rest: impl ExactSizeIterator<Item = &'a Arc<Chunk>>,
        all: bool,
        judged: u64,
        now: u64,
        fresh_until: u64,
    ) {
        let times = now..fresh_until.min(now.saturating_add(HOLDS));
        if rest.len() > MOST || times.is_empty() {
            return;
        }
        let chunks = Arc::new(std::iter::once(first).chain(rest).map(Arc::downgrade).collect());
        let before = self.0.try_write().map(|mut known| known.replace(Known { chunks, all, times, judged }));
        // Dropped after the lock is released.
        drop(before);
    }

    /// What is known behind this chunk, for a request that must see the changes up to `heard`.
    pub(crate) fn behind(&self, first: &Arc<Chunk>, now: u64, heard: u64) -> Behind {
        let Ok(known) = self.0.try_read() else { return Behind::Unknown };
        let Some(Known { chunks, all, times, judged }) = &*known else { return Behind::Unknown };
        let holds = times.contains(&now) && *judged >= heard;
        match chunks.split_first() {
            Some((same, rest)) if same.as_ptr() == Arc::as_ptr(first) => match (all, holds) {
                (true, true) => {
                    rest.iter().map(Weak::upgrade).collect::<Option<_>>().map_or(Behind::Unknown, Behind::All)
                }
                (true, false) => Behind::Unknown,
                (false, true) => Behind::Trail(Trail { chunks: Arc::downgrade(chunks), at: 0, times: times.clone() }),
                (false, false) => Behind::TooLong,
            },
            _ => Behind::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chunk::{ChunkKey, ListKey},
        cursor::Cursor,
    };

    fn chunk() -> Arc<Chunk> {
        let key = ChunkKey::new(&ListKey([1; 48]), &Cursor::start(), 0);
        Arc::new(Chunk::new(key, 0, 1, None, vec![b'x'].into()))
    }

    fn known(survey: &Survey, first: &Arc<Chunk>, now: u64) -> bool {
        matches!(survey.behind(first, now, 0), Behind::All(_))
    }

    fn trail(survey: &Survey, first: &Arc<Chunk>) -> Trail {
        match survey.behind(first, 0, 0) {
            Behind::Trail(trail) => trail,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_holds_for_a_second_at_most_while_all_is_fresh_and_not_before_it_was_made() {
        let survey = Survey::default();
        let first = chunk();
        let second = chunk();
        let known = |now| known(&survey, &first, now);
        assert!(!known(0));
        survey.note(&first, [&second].into_iter(), true, 0, 5_000, 100_000);
        assert_eq!([4_999, 5_000, 5_999, 6_000].map(known), [false, true, true, false]);
        survey.note(&first, [&second].into_iter(), true, 0, 5_000, 5_300);
        assert_eq!([5_299, 5_300].map(known), [true, false]);
    }

    #[test]
    fn it_holds_behind_the_very_same_first_chunk_and_while_all_others_live() {
        let survey = Survey::default();
        let first = chunk();
        let second = chunk();
        survey.note(&first, [&second].into_iter(), true, 0, 0, 1_000);
        assert!(!known(&survey, &chunk(), 0), "an equal chunk is not the same");
        assert!(known(&survey, &first, 0));
        drop(second);
        assert!(!known(&survey, &first, 0));
        let many = vec![chunk(); MOST + 1];
        survey.note(&first, many.iter(), true, 0, 0, 1_000);
        assert!(!known(&survey, &first, 0), "of too many nothing is noted");
    }

    #[test]
    fn that_a_list_is_too_long_is_known_behind_the_same_first_chunk_for_good() {
        let survey = Survey::default();
        let first = chunk();
        survey.note(&first, [].into_iter(), false, 0, 0, 1_000);
        assert!(matches!(survey.behind(&first, 1 << 40, 0), Behind::TooLong));
        assert!(matches!(survey.behind(&chunk(), 0, 0), Behind::Unknown));
    }

    #[test]
    fn a_trail_ends_before_the_first_chunk_that_is_gone_and_when_its_time_is_over() {
        let survey = Survey::default();
        let first = chunk();
        let rest = [chunk(), chunk(), chunk()];
        survey.note(&first, rest.iter(), false, 0, 0, 1_000);
        let [mut whole, mut late, mut torn] = std::array::from_fn(|_| trail(&survey, &first));
        let mut at = Arc::clone(&first);
        for chunk in &rest {
            at = whole.behind(&at, || 999).unwrap();
            assert!(Arc::ptr_eq(&at, chunk));
        }

        assert!(whole.behind(&at, || 999).is_none());
        let second = late.behind(&first, || 999).unwrap();
        assert!(late.behind(&second, || 1_000).is_none());
        assert!(late.behind(&second, || 999).is_none(), "a clock that is set back does not bring it back");
        let [second, third, _fourth] = rest;
        drop((third, at));
        assert!(Arc::ptr_eq(&torn.behind(&first, || 0).unwrap(), &second));
        assert!(torn.behind(&second, || 0).is_none());
    }

    #[test]
    fn a_trail_is_left_by_whoever_is_at_another_chunk_than_it_is() {
        let survey = Survey::default();
        let first = chunk();
        let rest = [chunk(), chunk(), chunk()];
        survey.note(&first, rest.iter(), false, 0, 0, 1_000);
        assert!(Arc::ptr_eq(&trail(&survey, &first).from(1).behind(&rest[0], || 0).unwrap(), &rest[1]));
        let mut left = trail(&survey, &first).from(1);
        assert!(left.behind(&chunk(), || 0).is_none(), "an equal chunk is not the same");
        assert!(left.behind(&rest[0], || 0).is_none());
    }

    #[test]
    fn a_trail_keeps_neither_chunks_nor_what_is_known_of_the_list() {
        let survey = Survey::default();
        let first = chunk();
        let second = chunk();
        survey.note(&first, [&second].into_iter(), false, 0, 0, 1_000);
        let mut old = trail(&survey, &first);
        assert_eq!(Arc::strong_count(&second), 1);
        survey.note(&first, [&second].into_iter(), false, 0, 0, 1_000);
        assert!(old.behind(&first, || 0).is_none() && trail(&survey, &first).behind(&first, || 0).is_some());
    }
}
