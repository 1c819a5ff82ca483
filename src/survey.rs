//! What somebody found out about a whole list in memory, for whoever asks next: its chunks need not be looked up one by one.
//!
//! It keeps no chunk's bytes, so that a store's bound on memory holds. And it is only as good as the list's first chunk, which is looked up each time and
//! so is judged, counted and purged as ever.

use std::{
    ops::Range,
    sync::{Arc, RwLock, Weak},
};

use crate::chunk::Chunk;

/// It holds for so many milliseconds at most; then the chunks are looked up again, and the store learns that they are wanted.
const HOLDS: u64 = 1_000;

/// Of so many chunks something is noted at most: what is left of one that is gone takes some memory.
pub(crate) const MOST: usize = 1_000;

/// What is known of one list. Nobody ever waits for it.
#[derive(Debug, Default)]
pub(crate) struct Survey(RwLock<Option<Known>>);

/// What is known of a list with this first chunk, and no other.
#[derive(Debug)]
struct Known {
    first: Weak<Chunk>,
    /// The chunks behind it, one behind the other.
    rest: Arc<Vec<Weak<Chunk>>>,
    /// Whether they are the whole list, and not too much to be gathered.
    all: bool,
    /// When they may be served, in milliseconds since 1970.
    times: Range<u64>,
}

/// What is known behind a first chunk.
#[derive(Debug)]
pub(crate) enum Behind {
    /// All chunks up to the end of the list.
    All(Vec<Arc<Chunk>>),
    /// More than is gathered: chunks to be served one by one, and then others.
    Some(Trail),
    /// Nothing that still holds.
    Unknown,
}

/// Chunks that were in memory one behind the other a moment ago. It keeps none of them, nor what is known of the list.
#[derive(Debug)]
pub(crate) struct Trail {
    chunks: Weak<Vec<Weak<Chunk>>>,
    taken: usize,
    times: Range<u64>,
}

impl Trail {
    /// The next chunk, while it is in memory and may be served; after `None` the rest is to be looked up.
    pub(crate) fn next(&mut self, now: u64) -> Option<Arc<Chunk>> {
        let chunks = self.chunks.upgrade().filter(|_| self.times.contains(&now))?;
        let chunk = chunks.get(self.taken)?.upgrade()?;
        self.taken += 1;
        Some(chunk)
    }
}

impl Survey {
    /// Notes what was found behind the first chunk: `all` of the list, or more than is gathered. All of it is fresh until `fresh_until` at least.
    pub(crate) fn note<'a>(
        &self,
        first: &Arc<Chunk>,
        rest: impl ExactSizeIterator<Item = &'a Arc<Chunk>>,
        all: bool,
        now: u64,
        fresh_until: u64,
    ) {
        let times = now..fresh_until.min(now.saturating_add(HOLDS));
        if rest.len() > MOST || times.is_empty() {
            return;
        }
        if let Ok(mut known) = self.0.try_write() {
            let rest = Arc::new(rest.map(Arc::downgrade).collect());
            *known = Some(Known { first: Arc::downgrade(first), rest, all, times });
        }
    }

    /// What is known behind this very chunk.
    pub(crate) fn behind(&self, first: &Arc<Chunk>, now: u64) -> Behind {
        let Ok(known) = self.0.try_read() else { return Behind::Unknown };
        let same = |known: &&Known| known.first.as_ptr() == Arc::as_ptr(first) && known.times.contains(&now);
        match known.as_ref().filter(same) {
            Some(Known { rest, all: true, .. }) => {
                rest.iter().map(Weak::upgrade).collect::<Option<_>>().map_or(Behind::Unknown, Behind::All)
            }
            Some(Known { rest, times, .. }) => {
                Behind::Some(Trail { chunks: Arc::downgrade(rest), taken: 0, times: times.clone() })
            }
            None => Behind::Unknown,
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
        Arc::new(Chunk { key, loaded_at: 0, rows: 1, next: None, body: vec![b'x'].into(), plain: None })
    }

    fn known(survey: &Survey, first: &Arc<Chunk>, now: u64) -> bool {
        matches!(survey.behind(first, now), Behind::All(_))
    }

    fn trail(survey: &Survey, first: &Arc<Chunk>, now: u64) -> Trail {
        match survey.behind(first, now) {
            Behind::Some(trail) => trail,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_holds_for_a_second_at_most_while_all_is_fresh_and_not_before_it_was_made() {
        let (survey, first, second) = (Survey::default(), chunk(), chunk());
        let known = |now| known(&survey, &first, now);
        assert!(!known(0));
        survey.note(&first, [&second].into_iter(), true, 5_000, 100_000);
        assert_eq!([4_999, 5_000, 5_999, 6_000].map(known), [false, true, true, false]);
        survey.note(&first, [&second].into_iter(), true, 5_000, 5_300);
        assert_eq!([5_299, 5_300].map(known), [true, false]);
    }

    #[test]
    fn it_holds_behind_the_very_same_first_chunk_and_while_all_others_live() {
        let (survey, first, second) = (Survey::default(), chunk(), chunk());
        survey.note(&first, [&second].into_iter(), true, 0, 1_000);
        assert!(!known(&survey, &chunk(), 0), "an equal chunk is not the same");
        assert!(known(&survey, &first, 0));
        drop(second);
        assert!(!known(&survey, &first, 0));
        let many = vec![chunk(); MOST + 1];
        survey.note(&first, many.iter(), true, 0, 1_000);
        assert!(!known(&survey, &first, 0), "of too many nothing is noted");
    }

    #[test]
    fn a_trail_ends_before_the_first_chunk_that_is_gone_and_when_its_time_is_over() {
        let (survey, first, rest) = (Survey::default(), chunk(), [chunk(), chunk(), chunk()]);
        survey.note(&first, rest.iter(), false, 0, 1_000);
        let (mut whole, mut late, mut torn) =
            (trail(&survey, &first, 0), trail(&survey, &first, 0), trail(&survey, &first, 0));
        for chunk in &rest {
            assert!(Arc::ptr_eq(&whole.next(999).unwrap(), chunk));
        }
        assert!(whole.next(999).is_none());
        assert!(late.next(999).is_some() && late.next(1_000).is_none());
        let [second, third, _fourth] = rest;
        drop(third);
        assert!(Arc::ptr_eq(&torn.next(0).unwrap(), &second) && torn.next(0).is_none() && torn.next(0).is_none());
    }

    #[test]
    fn a_trail_keeps_neither_chunks_nor_what_is_known_of_the_list() {
        let (survey, first, second) = (Survey::default(), chunk(), chunk());
        survey.note(&first, [&second].into_iter(), false, 0, 1_000);
        let mut old = trail(&survey, &first, 0);
        assert_eq!(Arc::strong_count(&second), 1);
        survey.note(&first, [&second].into_iter(), false, 0, 1_000);
        assert!(old.next(0).is_none() && trail(&survey, &first, 0).next(0).is_some());
    }
}
