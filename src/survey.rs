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

/// Of more chunks nothing is noted: what is left of one that is gone takes some memory.
const MOST: usize = 1_000;

/// What is known of one list. Nobody ever waits for it.
#[derive(Debug, Default)]
pub(crate) struct Survey(RwLock<Option<Known>>);

/// What is known of a list with this first chunk, and no other.
#[derive(Debug)]
struct Known {
    first: Weak<Chunk>,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    /// All chunks behind the first; to be served within these milliseconds since 1970.
    AtHand(Vec<Weak<Chunk>>, Range<u64>),
    /// More than is gathered.
    TooLong,
}

/// What is known behind a first chunk.
#[derive(Debug)]
pub(crate) enum Behind {
    /// All chunks up to the end of the list.
    All(Vec<Arc<Chunk>>),
    /// More than is gathered.
    TooLong,
    /// Nothing that still holds.
    Unknown,
}

impl Survey {
    /// Notes what was found behind the first chunk up to the end of the list. All of it is fresh until `fresh_until` at least.
    pub(crate) fn note<'a>(
        &self,
        first: &Arc<Chunk>,
        rest: impl ExactSizeIterator<Item = &'a Arc<Chunk>>,
        now: u64,
        fresh_until: u64,
    ) {
        let times = now..fresh_until.min(now.saturating_add(HOLDS));
        if rest.len() <= MOST && !times.is_empty() {
            self.put(first, Rest::AtHand(rest.map(Arc::downgrade).collect(), times));
        }
    }

    /// Notes that all of it is too much to be gathered.
    pub(crate) fn note_too_long(&self, first: &Arc<Chunk>) {
        self.put(first, Rest::TooLong);
    }

    fn put(&self, first: &Arc<Chunk>, rest: Rest) {
        if let Ok(mut known) = self.0.try_write() {
            *known = Some(Known { first: Arc::downgrade(first), rest });
        }
    }

    /// What is known behind this very chunk.
    pub(crate) fn behind(&self, first: &Arc<Chunk>, now: u64) -> Behind {
        let Ok(known) = self.0.try_read() else { return Behind::Unknown };
        match &*known {
            Some(Known { first: same, .. }) if same.as_ptr() != Arc::as_ptr(first) => Behind::Unknown,
            Some(Known { rest: Rest::TooLong, .. }) => Behind::TooLong,
            Some(Known { rest: Rest::AtHand(rest, times), .. }) if times.contains(&now) => {
                rest.iter().map(Weak::upgrade).collect::<Option<_>>().map_or(Behind::Unknown, Behind::All)
            }
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
        Arc::new(Chunk { key, loaded_at: 0, rows: 1, next: None, body: vec![b'x'].into(), plain: None })
    }

    fn known(survey: &Survey, first: &Arc<Chunk>, now: u64) -> bool {
        matches!(survey.behind(first, now), Behind::All(_))
    }

    #[test]
    fn it_holds_for_a_second_at_most_while_all_is_fresh_and_not_before_it_was_made() {
        let (survey, first, second) = (Survey::default(), chunk(), chunk());
        let known = |now| known(&survey, &first, now);
        assert!(!known(0));
        survey.note(&first, [&second].into_iter(), 5_000, 100_000);
        assert_eq!([4_999, 5_000, 5_999, 6_000].map(known), [false, true, true, false]);
        survey.note(&first, [&second].into_iter(), 5_000, 5_300);
        assert_eq!([5_299, 5_300].map(known), [true, false]);
    }

    #[test]
    fn it_holds_behind_the_very_same_first_chunk_and_while_all_others_live() {
        let (survey, first, second) = (Survey::default(), chunk(), chunk());
        survey.note(&first, [&second].into_iter(), 0, 1_000);
        assert!(!known(&survey, &chunk(), 0), "an equal chunk is not the same");
        assert!(known(&survey, &first, 0));
        drop(second);
        assert!(!known(&survey, &first, 0));
        let many = vec![chunk(); MOST + 1];
        survey.note(&first, many.iter(), 0, 1_000);
        assert!(!known(&survey, &first, 0), "of too many nothing is noted");
        survey.note_too_long(&first);
        assert!(matches!(survey.behind(&first, 1 << 40), Behind::TooLong));
        assert!(matches!(survey.behind(&chunk(), 0), Behind::Unknown));
    }
}
