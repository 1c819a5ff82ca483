//! A chunk: finished bytes of some rows of a list, and where the next rows begin.
//!
//! The stored form, for stores outside this process (integers are little endian):
//!
//! ```text
//!  0  "ckf2"      magic and version
//!  4  u32         CRC-32 (IEEE) of everything behind it
//!  8  u64         loaded at, milliseconds since 1970
//! 16  u32         rows
//! 20  u32         length of the key
//! 24  u32         length of the next chunk's cursor, or ffff_ffff at the end of the list
//! 28  u32         length of the body
//! 32  u32         CRC-32 of what the body decodes to; 0 where it is not coded
//! 36  u32         length of that, or ffff_ffff where the body is not coded
//! 40  …           key, cursor, body; nothing behind them
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    cursor::Cursor,
    error::{Error, Kind, Result},
};

const MAGIC: &[u8; 4] = b"ckf2";
const HEAD: usize = 40;
const END: u32 = u32::MAX;
const PLAIN: u32 = u32::MAX;
/// Where in a key the cursor stands that the chunk starts at.
const PLACE: usize = 48 + 4;

/// What a chunk is stored under: everything that shapes its bytes.
///
/// A digest of the resource (16 bytes), one of the list within it (32), the number of rows at which a limit
/// cuts it (4, little endian; 0: none), and the canonical cursor it starts at. The digests are SHA-256, so that
/// no request can be made to collide with another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkKey(Bytes);

impl ChunkKey {
    /// The key of the chunk of `list` that starts at `cursor` and is cut at `cut` rows (0: not cut).
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
pub struct Chunk {
    /// What it is stored under.
    pub key: ChunkKey,
    /// When its first row was read, in milliseconds since 1970.
    pub loaded_at: u64,
    /// How many rows it holds; 0 only where the list ends.
    pub rows: u32,
    /// Where the next chunk starts; `None` when the list ends here.
    pub next: Option<Cursor>,
    /// The rows, as a format wrote them, each behind what stands between two of them (a body's first row goes
    /// out without that); or a piece of a content coding that decodes to the rows with nothing before the
    /// first.
    pub body: Bytes,
    /// Of what a coded body decodes to; `None` where it is not coded.
    pub plain: Option<Sum>,
}

/// CRC-32 (IEEE) and length of some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The checksum.
    pub crc: u32,
    /// How many bytes.
    pub bytes: u64,
}

impl Sum {
    /// The sum of these bytes.
    pub fn of(bytes: &[u8]) -> Sum {
        Sum { crc: crc32fast::hash(bytes), bytes: bytes.len() as u64 }
    }

    /// Takes in what follows.
    pub fn add(&mut self, next: &Sum) {
        let hasher = |sum: &Sum| crc32fast::Hasher::new_with_initial_len(sum.crc, sum.bytes);
        let mut all = hasher(self);
        all.combine(&hasher(next));
        *self = Sum { crc: all.finalize(), bytes: self.bytes + next.bytes };
    }
}

impl Chunk {
    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let next = self.next.as_ref().map_or(0, |next| next.canonical().len());
        std::mem::size_of::<Chunk>() + self.key.0.len() + next + self.body.len() + 64
    }

    /// The stored form.
    pub fn seal(&self) -> Bytes {
        let next = self.next.as_ref().map_or(&[][..], |next| next.canonical());
        let mut out = BytesMut::with_capacity(HEAD + self.key.0.len() + next.len() + self.body.len());
        out.put_slice(MAGIC);
        out.put_u32_le(0);
        out.put_u64_le(self.loaded_at);
        out.put_u32_le(self.rows);
        out.put_u32_le(self.key.0.len() as u32);
        out.put_u32_le(if self.next.is_some() { next.len() as u32 } else { END });
        out.put_u32_le(self.body.len() as u32);
        out.put_u32_le(self.plain.map_or(0, |plain| plain.crc));
        out.put_u32_le(self.plain.map_or(PLAIN, |plain| plain.bytes as u32));
        out.put_slice(&self.key.0);
        out.put_slice(next);
        out.put_slice(&self.body);
        let sum = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&sum.to_le_bytes());
        out.freeze()
    }

    /// Reads a stored form back. The body is a slice of `bytes`, not a copy.
    ///
    /// # Errors
    /// [`Kind::Data`] when it was cut, altered, is of another version, or is not the chunk of `key`: a miss,
    /// never a row.
    pub fn open(bytes: &Bytes, key: &ChunkKey) -> Result<Chunk> {
        let damaged = |why: &str| Error::new(Kind::Data, format!("a stored chunk {why}"));
        let (head, _) = bytes.split_at_checked(HEAD).ok_or_else(|| damaged("is cut short"))?;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if &head[..4] != MAGIC {
            return Err(damaged("is foreign or of another version"));
        }
        if crc32fast::hash(&bytes[8..]) != u32_at(4) {
            return Err(damaged("is damaged"));
        }
        let (key_len, next_len, body_len) = (u32_at(20) as usize, u32_at(24), u32_at(28) as usize);
        let next_bytes = if next_len == END { 0 } else { next_len as usize };
        let whole =
            HEAD.checked_add(key_len).and_then(|n| n.checked_add(next_bytes)).and_then(|n| n.checked_add(body_len));
        if whole != Some(bytes.len()) {
            return Err(damaged("has wrong lengths"));
        }
        let body_at = HEAD + key_len + next_bytes;
        if bytes[HEAD..HEAD + key_len] != key.0[..] {
            return Err(damaged("belongs to another key"));
        }
        let next = match next_len {
            END => None,
            _ => {
                let cursor = Cursor::from_canonical(bytes.slice(HEAD + key_len..body_at));
                Some(cursor.filter(|cursor| !cursor.is_start()).ok_or_else(|| damaged("has no right next place"))?)
            }
        };
        let rows = u32_at(16);
        let leads_nowhere = |next: &Cursor| rows == 0 || next.canonical()[..] == key.0[PLACE..];
        if next.as_ref().is_some_and(leads_nowhere) {
            return Err(damaged("leads to where it is"));
        }
        Ok(Chunk {
            key: key.clone(),
            loaded_at: u64::from_le_bytes(head[8..16].try_into().expect("eight bytes")),
            rows,
            next,
            body: bytes.slice(body_at..),
            plain: (u32_at(36) != PLAIN).then(|| Sum { crc: u32_at(32), bytes: u32_at(36).into() }),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::Value;

    fn chunk(n: i64, end: bool, body: Vec<u8>) -> Chunk {
        let key = ChunkKey::new(&ListKey([7; 48]), &Cursor::after(&[Value::Integer(n)]).unwrap(), 0);
        let next = (!end).then(|| Cursor::after(&[Value::Integer(n), Value::Text(b"x")]).unwrap());
        let plain = (n % 2 == 0).then(|| Sum::of(&n.to_le_bytes()));
        Chunk { key, loaded_at: n as u64, rows: 3, next, body: body.into(), plain }
    }

    proptest! {
        #[test]
        fn sums_add_up(one: Vec<u8>, other: Vec<u8>) {
            let mut sum = Sum::of(&one);
            sum.add(&Sum::of(&other));
            prop_assert_eq!(sum, Sum::of(&[one, other].concat()));
        }

        #[test]
        fn the_stored_form_comes_back_and_any_change_of_it_is_refused(
            n: i64, end: bool, body: Vec<u8>, at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index,
        ) {
            let chunk = chunk(n, end, body);
            let stored = chunk.seal();
            prop_assert_eq!(&Chunk::open(&stored, &chunk.key).unwrap(), &chunk);
            let mut altered = stored.to_vec();
            altered[at.index(stored.len())] ^= 1u8 << bit;
            prop_assert!(Chunk::open(&altered.into(), &chunk.key).is_err());
            prop_assert!(Chunk::open(&stored.slice(..cut.index(stored.len())), &chunk.key).is_err());
        }

        #[test]
        fn another_key_is_refused(n: i64, m: i64) {
            prop_assume!(n != m);
            let (one, other) = (chunk(n, true, vec![]), chunk(m, true, vec![]));
            prop_assert!(Chunk::open(&one.seal(), &other.key).is_err());
        }

        #[test]
        fn a_chunk_that_leads_to_where_it_is_is_refused(n: i64, body: Vec<u8>) {
            let sound = chunk(n, false, body);
            let itself = Some(Cursor::after(&[Value::Integer(n)]).unwrap());
            for wrong in [Chunk { next: itself, ..sound.clone() }, Chunk { rows: 0, ..sound.clone() }] {
                prop_assert!(Chunk::open(&wrong.seal(), &sound.key).is_err(), "{wrong:?}");
            }
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            let key = chunk(1, true, vec![]).key;
            let mut sealed = MAGIC.to_vec();
            sealed.extend(crc32fast::hash(&bytes).to_le_bytes());
            sealed.extend(&bytes);
            prop_assert!(Chunk::open(&bytes.into(), &key).is_err());
            prop_assert!(Chunk::open(&sealed.into(), &key).is_err());
        }
    }
}
