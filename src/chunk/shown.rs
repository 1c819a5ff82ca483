//! What of the database a chunk shows, so that a change can be judged: whether it touches the
//! chunk.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::change::Token;

/// What of the database a chunk shows, and which changes its rows hold.
///
/// It has a 32-bit hash of each key that was looked up for the chunk, whether a row was found under
/// it or not. Two keys with one hash cost a load in vain, never a wrong row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// Its rows hold all changes that were told up to here, when its first row was read.
    pub(crate) since: Token,
    /// The hashes, in any order, and perhaps several times; `None` if they are not known. Then
    /// every change touches the chunk.
    keys: Option<Arc<[u32]>>,
    judged: Judged,
}

/// Up to which change, by this process's count, none has touched the chunk. 0: not judged yet.
#[derive(Debug, Default)]
struct Judged(AtomicU64);

impl Clone for Judged {
    fn clone(&self) -> Judged {
        Judged(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl PartialEq for Shown {
    /// Whether both say the same. How far they were judged is no part of that.
    fn eq(&self, other: &Shown) -> bool {
        self.since == other.since && self.sorted() == other.sorted()
    }
}

impl Eq for Shown {}

/// A position among the changes, when a read began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// By the store's count.
    pub(crate) token: Token,
    /// By this process's count.
    pub(crate) number: u64,
}

impl Shown {
    /// The keys with these hashes, of rows that were read at this position; `None` if the keys are
    /// not known.
    ///
    /// They are not sorted here: most chunks are never judged, and a cold list of related rows
    /// would take a tenth longer.
    pub(crate) fn new(position: Position, keys: Option<Vec<u32>>) -> Shown {
        Shown { since: position.token, keys: keys.map(Arc::from), judged: Judged(AtomicU64::new(position.number)) }
    }

    fn sorted(&self) -> Option<Vec<u32>> {
        let mut keys = self.keys.as_ref()?.to_vec();
        keys.sort_unstable();
        keys.dedup();
        Some(keys)
    }

    /// Whether one of these keys is among them; any is where its own are not known. Of the keys,
    /// which are sorted hashes with a number, those `count` of which the number does.
    pub(crate) fn has_any(&self, told: &[(u32, u32)], count: impl Fn(u32) -> bool) -> bool {
        let Some(keys) = &self.keys else { return told.iter().any(|(_, number)| count(*number)) };
        match told {
            [(hash, number)] => count(*number) && keys.contains(hash),
            told => keys
                .iter()
                .any(|key| told.binary_search_by_key(key, |(hash, _)| *hash).is_ok_and(|at| count(told[at].1))),
        }
    }

    /// Up to which change, by this process's count, none has touched the chunk.
    pub(crate) fn judged(&self) -> u64 {
        self.judged.0.load(Ordering::Relaxed)
    }

    /// Notes that none has touched it up to this one.
    pub(crate) fn note_judged(&self, number: u64) {
        self.judged.0.fetch_max(number, Ordering::Relaxed);
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        self.keys.as_ref().map_or(0, |keys| keys.len() * size_of::<u32>())
    }

    /// Its form in a store: epoch and number of the position, then the hashes, little endian and
    /// ascending. `None` if the keys are not known. The mark of the position stands elsewhere,
    /// since servers that know of no marks read this form.
    pub(super) fn form(&self) -> Option<Bytes> {
        let keys = self.sorted()?;
        let mut out = BytesMut::with_capacity(HEAD + keys.len() * size_of::<u32>());
        out.put_u64_le(self.since.epoch);
        out.put_u64_le(self.since.number);
        keys.iter().for_each(|key| out.put_u32_le(*key));
        Some(out.freeze())
    }

    /// What a chunk shows of which only the position is known, without its mark.
    pub(super) fn without_keys(epoch: u64, number: u64) -> Shown {
        Shown { since: Token { epoch, number, mark: 0 }, ..Shown::default() }
    }

    /// Reads that form; `None` if it is not one.
    pub(super) fn read(bytes: &[u8]) -> Option<Shown> {
        let (head, keys) = bytes.split_at_checked(HEAD)?;
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let (keys, rest) = keys.as_chunks::<4>();
        let keys: Arc<[u32]> = keys.iter().map(|key| u32::from_le_bytes(*key)).collect();
        let is_sorted = keys.windows(2).all(|pair| pair[0] < pair[1]);

        (is_sorted && rest.is_empty()).then(|| Shown {
            since: Token { epoch: number(0), number: number(8), mark: 0 },
            keys: Some(keys),
            judged: Judged::default(),
        })
    }
}

/// The bytes of a position.
const HEAD: usize = 16;

/// The hash of a row's own key, from the canonical form of its values. It is part of the stored
/// form.
pub(crate) fn own_key_hash(canonical: &[u8]) -> u32 {
    xxh3_64(canonical) as u32
}

/// The same of a related row's key; `relation` is the index of the relation in the rules of the
/// source.
pub(crate) fn related_key_hash(relation: usize, canonical: &[u8]) -> u32 {
    xxh3_64_with_seed(canonical, 1 + relation as u64) as u32
}
