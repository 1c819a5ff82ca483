//! Answers that are kept for a while, by the digest of all that they depend on.

use std::{
    fmt,
    time::{Duration, Instant},
};

use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub(super) type Digest = [u8; 32];

/// What all answers of one way may take together, in bytes.
const ROOM: u64 = 16 * 1024 * 1024;
/// How many answers there is room for if each is small.
const MOST: usize = 20_000;
/// What an answer takes beside its own bytes.
const AROUND: u64 = 512;

/// Answers, bounded in bytes. Those that are asked for least leave first.
pub(super) struct Remembered<T> {
    answers: Cache<Digest, Kept<T>, ByBytes>,
}

#[derive(Clone)]
struct Kept<T> {
    answer: T,
    until: Instant,
    weight: u64,
}

#[derive(Clone)]
struct ByBytes;

impl<T> Weighter<Digest, Kept<T>> for ByBytes {
    fn weight(&self, _: &Digest, kept: &Kept<T>) -> u64 {
        kept.weight
    }
}

impl<T: Clone> Remembered<T> {
    pub(super) fn new() -> Remembered<T> {
        // A shard holds at least a few of the largest answers.
        let options = OptionsBuilder::new()
            .weight_capacity(ROOM)
            .estimated_items_capacity(MOST)
            .shards(8)
            .build()
            .expect("both capacities are given");
        let answers = Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), Default::default());
        Remembered { answers }
    }

    /// The answer for this digest, if it is kept and not too old.
    pub(super) fn get(&self, digest: &Digest) -> Option<T> {
        let kept = self.answers.get(digest)?;
        (Instant::now() < kept.until).then_some(kept.answer)
    }

    /// Keeps an answer of so many bytes for a time that began then.
    pub(super) fn keep(&self, digest: Digest, answer: T, bytes: usize, began: Instant, time: Duration) {
        let until = began + time;
        if Instant::now() < until {
            self.answers.insert(digest, Kept { answer, until, weight: AROUND + bytes as u64 });
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }
}

impl<T> fmt::Debug for Remembered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

/// The digest of several fields, which no others have.
pub(super) fn digest<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_is_kept_for_its_time_from_when_it_was_begun() {
        let answers = Remembered::new();
        let now = Instant::now();
        answers.keep([1; 32], "kept", 4, now, MINUTE);
        answers.keep([2; 32], "too old", 4, now, Duration::ZERO);
        answers.keep([3; 32], "just gone", 4, now.checked_sub(MINUTE).unwrap(), MINUTE);
        assert_eq!([1, 2, 3].map(|key| answers.get(&[key; 32])), [Some("kept"), None, None]);
    }

    #[test]
    fn many_large_answers_take_no_more_than_their_room() {
        let answers = Remembered::new();
        let large = 64 * 1024;
        for number in 0..2_000_u64 {
            answers.keep(digest([&number.to_be_bytes()[..]]), number, large, Instant::now(), MINUTE);
        }
        assert!(answers.answers.weight() <= ROOM);
        assert!(answers.answers.len() > 100, "{}", answers.answers.len());
    }

    #[test]
    fn fields_that_join_to_the_same_bytes_have_digests_of_their_own() {
        let one = digest([&b"ab"[..], b"c"]);
        assert_ne!(one, digest([&b"a"[..], b"bc"]));
        assert_ne!(one, digest([&b"abc"[..]]));
        assert_ne!(one, digest([&b"ab"[..], b"c", b""]));
    }
}
