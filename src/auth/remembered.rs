//! Answers that are kept for a while, by the digest of all that they depend on.

use std::{
    fmt,
    time::{Duration, Instant},
};

use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::Cache};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub(super) type Digest = [u8; 32];

/// What all answers of one way may take together, in bytes.
const ROOM: u64 = 16 * 1024 * 1024;
/// How many answers there is room for if each is small.
const MOST: usize = 20_000;
/// What an answer takes beside what it points to, in bytes: its digest, the cache's own entry and
/// what is allocated for both.
const AROUND: usize = 512;

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

    /// Keeps an answer that points to so many bytes, for a time that began then.
    pub(super) fn keep(&self, digest: Digest, answer: T, bytes: usize, began: Instant, time: Duration) {
        let until = began + time;
        if Instant::now() < until {
            self.answers.insert(digest, Kept { answer, until, weight: (AROUND + bytes) as u64 });
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

/// The memory that claims take, in bytes: at least what they do, and by far more than their text
/// where that is many small values.
pub(super) fn memory_of(claims: &Map<String, Value>) -> usize {
    // A map has a node for each five entries at worst, with room for eleven (std's B-tree), and about
    // a node of pointers for six of those.
    const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 16;
    const PER_NODE: usize = NODE + NODE / 6 + 32;
    let entries = claims.iter().map(|(name, value)| name.capacity() + behind(value));
    claims.len().div_ceil(5) * PER_NODE + entries.sum::<usize>()
}

/// The memory that a value points to, in bytes.
fn behind(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(values) => values.capacity() * size_of::<Value>() + values.iter().map(behind).sum::<usize>(),
        Value::Object(members) => memory_of(members),
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
    fn claims_weigh_what_they_take_in_memory_and_not_what_their_text_does() {
        let many = |value: &str| format!("{{\"a\":[{}]}}", vec![value; 1000].join(","));
        let names = (0..1000).map(|number| format!("\"{number:05}\":1")).collect::<Vec<_>>().join(",");
        // What an allocator that counts has measured for each, on a machine of 64 bits.
        for (text, taken) in [
            (many("1"), 33_401),
            (many("[]"), 33_401),
            (many("{\"\":0}"), 665_401),
            (many("\"abcdefgh\""), 41_401),
            (format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100)), 13_433),
            (format!("{{{names}}}"), 112_848),
            ("{\"sub\":\"123\",\"org\":7,\"role\":[\"a\",\"b\"],\"exp\":4102444800}".to_owned(), 777),
        ] {
            let weight = memory_of(&serde_json::from_str(&text).unwrap());
            assert!(weight >= taken && weight <= 2 * taken + 1000, "{weight} of {taken}: {}", &text[..20]);
        }
    }

    #[test]
    fn fields_that_join_to_the_same_bytes_have_digests_of_their_own() {
        let one = digest([&b"ab"[..], b"c"]);
        assert_ne!(one, digest([&b"a"[..], b"bc"]));
        assert_ne!(one, digest([&b"abc"[..]]));
        assert_ne!(one, digest([&b"ab"[..], b"c", b""]));
    }
}
