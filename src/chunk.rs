//! A chunk: finished bytes of some rows of a list, and where the next rows begin.

mod shown;
mod stored;

use bytes::{BufMut, Bytes, BytesMut};

pub(crate) use self::shown::{Position, Shown, own_key_hash, related_key_hash};
use crate::cursor::Cursor;

/// The version of the stored form.
pub(crate) const FORM: char = '3';

/// The offset in a key of the cursor that the chunk starts at.
const PLACE: usize = 48 + 4;

/// What a chunk is stored under: everything that shapes its bytes.
///
/// A digest of the resource (16 bytes), one of the list within it (32), the number of rows at which
/// a limit cuts it (4, little endian; 0: none), and the canonical cursor it starts at. The digests
/// are SHA-256, so that no request can be made to collide with another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkKey(Bytes);

impl ChunkKey {
    /// The key of the chunk of `list` that starts at `cursor` and is cut at `cut` rows (0: not
    /// cut).
    pub fn new(list: &ListKey, cursor: &Cursor, cut: u32) -> ChunkKey {
        let mut bytes = BytesMut::with_capacity(list.0.len() + 4 + cursor.canonical().len());
        bytes.put_slice(&list.0);
        bytes.put_u32_le(cut);
        bytes.put_slice(cursor.canonical());
        ChunkKey(bytes.freeze())
    }

    /// The key as bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The digest of the resource that the chunk belongs to.
    pub fn resource(&self) -> [u8; 16] {
        self.0[..16].try_into().expect("a key begins with sixteen bytes")
    }

    /// The place that the chunk starts at; `None` if the key is no chunk's of a list.
    pub(crate) fn start(&self) -> Option<Cursor> {
        Cursor::from_canonical(self.0.slice(PLACE.min(self.0.len())..))
    }

    /// Whether the chunk belongs to the resource with this digest.
    pub fn is_of(&self, resource: &[u8; 16]) -> bool {
        self.0.starts_with(resource)
    }
}

/// What the chunks of one list have in common: digests of its resource and of the list within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListKey(pub [u8; 48]);

impl ListKey {
    pub(crate) fn new(resource: &[u8; 16], list: &[u8; 32]) -> ListKey {
        let mut key = [0; 48];
        key[..16].copy_from_slice(resource);
        key[16..].copy_from_slice(list);
        ListKey(key)
    }

    /// The digest of the list within its resource.
    pub(crate) fn list(&self) -> [u8; 32] {
        self.0[16..].try_into().expect("a list's digest has thirty-two bytes")
    }
}

/// Finished bytes of some rows of a list, and where the next rows begin. Never changed once made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// What it is stored under.
    pub key: ChunkKey,
    /// When the oldest of its rows was read, in milliseconds since 1970.
    pub loaded_at: u64,
    /// How many rows it holds; 0 only where the list ends.
    pub rows: u32,
    /// Where the next chunk starts; `None` when the list ends here.
    pub next: Option<Cursor>,
    /// The rows, as a format wrote them. Each row begins with what separates two rows; a body's
    /// first row is sent without that. Or, for a coded chunk, a piece of a content coding: it
    /// decodes to the rows, with no separator before the first.
    pub body: Bytes,
    /// The checksum of what a coded body decodes to; `None` if it is not coded.
    pub(crate) plain: Option<Sum>,
    /// What of the database it shows.
    pub(crate) shown: Shown,
}

/// The CRC-32 (IEEE) and the length of some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// The checksum.
    pub(crate) crc: u32,
    /// How many bytes.
    pub(crate) bytes: u64,
}

impl Sum {
    /// The sum of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Sum {
        Sum { crc: crc32fast::hash(bytes), bytes: bytes.len() as u64 }
    }

    /// Appends the sum of the bytes that follow.
    pub(crate) fn add(&mut self, next: &Sum) {
        let hasher = |sum: &Sum| crc32fast::Hasher::new_with_initial_len(sum.crc, sum.bytes);
        let mut all = hasher(self);
        all.combine(&hasher(next));
        *self = Sum { crc: all.finalize(), bytes: self.bytes + next.bytes };
    }
}

impl Chunk {
    /// `rows` rows as a format wrote them, the first read at `loaded_at`. The list goes on at
    /// `next`.
    pub fn new(key: ChunkKey, loaded_at: u64, rows: u32, next: Option<Cursor>, body: Bytes) -> Chunk {
        Chunk { key, loaded_at, rows, next, body, plain: None, shown: Shown::default() }
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let next = self.next.as_ref().map_or(0, |next| next.canonical().len());
        std::mem::size_of::<Chunk>() + self.key.0.len() + next + self.body.len() + self.shown.weight() + 64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_add_up(one: Vec<u8>, other: Vec<u8>) {
            let mut sum = Sum::of(&one);
            sum.add(&Sum::of(&other));
            prop_assert_eq!(sum, Sum::of(&[one, other].concat()));
        }
    }
}
