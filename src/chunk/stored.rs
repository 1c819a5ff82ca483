//! The stored form of a chunk, for stores outside this process.
//!
//! Integers are little endian:
//!
//! ```text
//!  0  "ckf3"      magic and version
//!  4  u32         CRC-32 (IEEE) of everything behind it
//!  8  u64         loaded at, milliseconds since 1970
//! 16  u32         rows
//! 20  u32         length of the key
//! 24  u32         length of the next chunk's cursor, or ffff_ffff at the end of the list
//! 28  u32         length of the sections
//! 32  u32         length of the body
//! 36  u32         CRC-32 of what the body decodes to; 0 where it is not coded
//! 40  u32         length of that, or ffff_ffff where the body is not coded
//! 44  u32         length of the tag: 48 where there is a secret, else 0
//! 48  …           key, cursor, sections, body, tag; nothing behind them
//! ```
//!
//! The *sections* are room for what later versions know of a chunk: each is its kind (u16), its
//! length (u32) and that many bytes. Servers skip kinds that they do not know. Of several sections
//! of a kind, the last one counts.
//!
//! - Kind 1 says what of the database the chunk shows: the epoch and number (u64 each) of the last
//!   change that its rows hold, then the hashes (u32 each, ascending) of the keys that were looked
//!   up for it.
//! - Kind 3 stands in its place where the keys are not known: only the epoch and number.
//! - Kind 2 is the mark of that change (u64). Without it the position is that of a store without
//!   marks: where the store has some, the chunk counts as touched. So does one without a position,
//!   once anything was told.
//!
//! The *tag* is the id of a key (16 bytes), then the HMAC-SHA-256 (RFC 2104) under that key of all
//! bytes from 8 to the tag.
//!
//! The version stands in the names of a shared store too ([`FORM`]), so that servers of two
//! versions never overwrite each other's chunks.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Chunk, ChunkKey, FORM, PLACE, Shown, Sum};
use crate::{
    change::Token,
    cursor::Cursor,
    error::{Error, Kind, Result},
    secret::{Maker, Secret, TAG},
};

const MAGIC: &[u8; 4] = &[b'c', b'k', b'f', FORM as u8];
const HEAD: usize = 48;
const END: u32 = u32::MAX;
const PLAIN: u32 = u32::MAX;
/// A section's kind and length.
const SECTION_HEAD: usize = 2 + 4;
/// The kind of the section that says what the chunk shows.
const SHOWN: u16 = 1;
/// The kind of the section with the mark of its position.
const MARK: u16 = 2;
/// The kind of the section with the position of a chunk whose keys are not known.
const POSITION: u16 = 3;

impl Chunk {
    /// The stored form. With a secret, it is tagged: only a server with the secret can have made
    /// it.
    pub fn seal(&self, secret: Option<&Secret>) -> Bytes {
        let next = self.next.as_ref().map_or(&[][..], |next| next.canonical());
        let keys = secret.map(Secret::newest);
        let tag = if keys.is_some() { TAG } else { 0 };

        let sections = sections_of(&self.shown);
        let length = HEAD + self.key.0.len() + next.len() + sections.len() + self.body.len() + tag;

        let mut out = BytesMut::with_capacity(length);
        out.put_slice(MAGIC);
        out.put_u32_le(0);
        out.put_u64_le(self.loaded_at);
        out.put_u32_le(self.rows);
        out.put_u32_le(self.key.0.len() as u32);
        out.put_u32_le(if self.next.is_some() { next.len() as u32 } else { END });
        out.put_u32_le(sections.len() as u32);
        out.put_u32_le(self.body.len() as u32);
        out.put_u32_le(self.plain.map_or(0, |plain| plain.crc));
        out.put_u32_le(self.plain.map_or(PLAIN, |plain| plain.bytes as u32));
        out.put_u32_le(tag as u32);
        out.put_slice(&self.key.0);
        out.put_slice(next);
        out.put_slice(&sections);
        out.put_slice(&self.body);

        if let Some(keys) = keys {
            let tag = keys.chunks.tag(&out[8..]);
            out.put_slice(&tag);
        }

        let sum = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&sum.to_le_bytes());
        out.freeze()
    }

    /// Reads a stored form. `None` if there is a secret and none of its keys made the tag, for
    /// instance while servers are being given a new secret. The body is a slice of `bytes`, not a
    /// copy.
    ///
    /// # Errors
    /// [`Kind::Data`] when it was cut, altered, is of another version, or is not the chunk of
    /// `key`: a miss, never a row.
    pub fn open(bytes: &Bytes, key: &ChunkKey, secret: Option<&Secret>) -> Result<Option<Chunk>> {
        let (head, _) = bytes.split_at_checked(HEAD).ok_or_else(|| damaged("is cut short"))?;
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if &head[..4] != MAGIC {
            return Err(damaged("is foreign or of another version"));
        }

        if crc32fast::hash(&bytes[8..]) != u32_at(4) {
            return Err(damaged("is damaged"));
        }

        let ends_list = u32_at(24) == END;
        let lengths = [u32_at(20), if ends_list { 0 } else { u32_at(24) }, u32_at(28), u32_at(32), u32_at(44)];
        let mut ends = [HEAD; 6];
        for (at, length) in lengths.into_iter().enumerate() {
            ends[at + 1] = ends[at].checked_add(length as usize).ok_or_else(|| damaged("has wrong lengths"))?;
        }

        let [_, key_end, next_end, sections_end, body_end, end] = ends;
        if end != bytes.len() || ![0, TAG].contains(&(end - body_end)) {
            return Err(damaged("has wrong lengths"));
        }

        if bytes[HEAD..key_end] != key.0[..] {
            return Err(damaged("belongs to another key"));
        }

        let shown = shown_in(&bytes[next_end..sections_end])?;
        if let Some(secret) = secret {
            match secret.maker(|keys| &keys.chunks, &bytes[8..body_end], &bytes[body_end..]) {
                Maker::Us => {}
                Maker::Stranger => return Ok(None),
                Maker::Forger => return Err(damaged("was not written by a server that knows the secret")),
            }
        }

        let next = if ends_list {
            None
        } else {
            let cursor = Cursor::from_canonical(bytes.slice(key_end..next_end));
            Some(cursor.filter(|cursor| !cursor.is_start()).ok_or_else(|| damaged("has no right next place"))?)
        };

        let rows = u32_at(16);
        let leads_nowhere = |next: &Cursor| rows == 0 || next.canonical()[..] == key.0[PLACE..];
        if next.as_ref().is_some_and(leads_nowhere) {
            return Err(damaged("leads to where it is"));
        }

        Ok(Some(Chunk {
            key: key.clone(),
            loaded_at: u64::from_le_bytes(head[8..16].try_into().expect("eight bytes")),
            rows,
            next,
            body: bytes.slice(sections_end..body_end),
            plain: (u32_at(40) != PLAIN).then(|| Sum { crc: u32_at(36), bytes: u32_at(40).into() }),
            shown,
        }))
    }
}

fn damaged(why: &str) -> Error {
    Error::new(Kind::Data, format!("a stored chunk {why}"))
}

/// The sections of what a chunk shows.
fn sections_of(shown: &Shown) -> Bytes {
    let Token { epoch, number, mark } = shown.since;
    let form = shown.form();
    let length = form.as_ref().map_or(2 * size_of::<u64>(), Bytes::len);
    let mut out = BytesMut::with_capacity(2 * SECTION_HEAD + length + size_of::<u64>());
    match form {
        Some(form) => put_section(&mut out, SHOWN, &form),
        None if shown.since == Token::default() => {}
        None => put_section(&mut out, POSITION, &[epoch.to_le_bytes(), number.to_le_bytes()].concat()),
    }
    if !out.is_empty() && mark != 0 {
        put_section(&mut out, MARK, &mark.to_le_bytes());
    }
    out.freeze()
}

fn put_section(out: &mut BytesMut, kind: u16, section: &[u8]) {
    out.put_u16_le(kind);
    out.put_u32_le(section.len() as u32);
    out.put_slice(section);
}

/// What a chunk shows, from its sections; those of unknown kinds are passed over.
fn shown_in(mut bytes: &[u8]) -> Result<Shown> {
    let wrong = || damaged("has a wrong section");
    let mut shown = None;
    let mut mark = 0;
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at_checked(SECTION_HEAD).ok_or_else(|| damaged("has a section cut short"))?;
        let kind = u16::from_le_bytes([head[0], head[1]]);
        let length = u32::from_le_bytes(head[2..].try_into().expect("four bytes"));
        let (section, rest) =
            rest.split_at_checked(length as usize).ok_or_else(|| damaged("has a section cut short"))?;
        match kind {
            SHOWN => shown = Some(Shown::read(section).ok_or_else(wrong)?),
            POSITION => {
                let (numbers, rest) = section.as_chunks::<8>();
                let [epoch, number] = numbers else { return Err(wrong()) };
                if !rest.is_empty() {
                    return Err(wrong());
                }
                shown = Some(Shown::without_keys(u64::from_le_bytes(*epoch), u64::from_le_bytes(*number)));
            }
            MARK => mark = u64::from_le_bytes(section.try_into().map_err(|_| wrong())?),
            _ => {}
        }
        bytes = rest;
    }

    // A mark alone is that of no position.
    let Some(mut shown) = shown else { return Ok(Shown::default()) };
    shown.since.mark = mark;
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        chunk::{ListKey, Position},
        row::Value,
    };

    fn chunk(n: i64, end: bool, body: Vec<u8>) -> Chunk {
        let key = ChunkKey::new(&ListKey([7; 48]), &Cursor::after(&[Value::Integer(n)]).unwrap(), 0);
        let next = (!end).then(|| Cursor::after(&[Value::Integer(n), Value::Text(b"x")]).unwrap());
        let plain = (n % 2 == 0).then(|| Sum::of(&n.to_le_bytes()));
        let mark = if n % 2 == 0 { 0 } else { 0x0102_0304_0506_0708 };
        let position = Position { token: Token { epoch: 7, number: n as u64, mark }, number: 0 };
        let keys = (n % 3 > 0).then(|| vec![9, n as u32, 3]);
        let shown = if n % 3 == 1 { Shown::default() } else { Shown::new(position, keys) };
        Chunk { key, loaded_at: n as u64, rows: 3, next, body: body.into(), plain, shown }
    }

    fn secret(texts: &[&str]) -> Secret {
        let long = |text: &&str| format!("{text}, a secret of thirty-two bytes or more");
        Secret::new(&texts.iter().map(long).collect::<Vec<_>>()).unwrap()
    }

    fn open(bytes: &Bytes, key: &ChunkKey) -> Result<Chunk> {
        Chunk::open(bytes, key, None).map(|chunk| chunk.expect("without a secret none is passed over"))
    }

    /// The same bytes with a right checksum.
    fn summed(mut bytes: Vec<u8>) -> Bytes {
        let sum = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes.into()
    }

    #[test]
    fn the_form_is_this_one() {
        let stored = chunk(1, true, b"body".to_vec()).seal(None);
        let key_length = stored.len() - HEAD - 4;
        let number = |at: usize| u32::from_le_bytes(stored[at..at + 4].try_into().unwrap());
        assert_eq!(&stored[..4], b"ckf3");
        assert_eq!(stored[8..16], 1u64.to_le_bytes());
        let numbers = [16, 20, 24, 28, 32, 36, 40, 44].map(number);
        assert_eq!(numbers, [3, key_length as u32, END, 0, 4, 0, PLAIN, 0]);
        assert_eq!(&stored[stored.len() - 4..], b"body");
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let sound = chunk(1, false, b"body".to_vec());
        let stored = sound.seal(None);
        let section = [&7u16.to_le_bytes()[..], &3u32.to_le_bytes(), b"new"].concat();
        let with = |section: &[u8]| {
            let at = stored.len() - 4;
            let mut bytes = [&stored[..at], section, &stored[at..]].concat();
            bytes[28..32].copy_from_slice(&(section.len() as u32).to_le_bytes());
            summed(bytes)
        };
        assert_eq!(open(&with(&section), &sound.key).unwrap(), sound);
        assert_eq!(open(&with(&section.repeat(3)), &sound.key).unwrap(), sound);
        for cut in 1..section.len() {
            open(&with(&section[..cut]), &sound.key).unwrap_err();
        }
    }

    #[test]
    fn what_a_chunk_shows_is_a_section_of_this_form_and_the_mark_of_its_position_one_behind_it() {
        let sound = chunk(5, true, b"body".to_vec());
        let stored = sound.seal(None);
        let (section, marked) = stored[stored.len() - 4 - 48..stored.len() - 4].split_at(34);
        let expected = [
            &1u16.to_le_bytes()[..],
            &28u32.to_le_bytes(),
            &7u64.to_le_bytes(),
            &5u64.to_le_bytes(),
            &[3, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0],
        ];
        assert_eq!(section, expected.concat());
        for wrong in [&section[..33], &[section, &[0]].concat()] {
            assert!(shown_in(wrong).is_err());
        }
        let unsorted = [&section[..22], &section[26..30], &section[22..26], &section[30..]].concat();
        assert!(shown_in(&unsorted).is_err());

        let expected = [&2u16.to_le_bytes()[..], &8u32.to_le_bytes(), &[8, 7, 6, 5, 4, 3, 2, 1]];
        assert_eq!(marked, expected.concat());
        for together in [[section, marked].concat(), [marked, section].concat()] {
            assert_eq!(shown_in(&together).unwrap(), sound.shown);
        }
        let short = [&2u16.to_le_bytes()[..], &7u32.to_le_bytes(), &[8, 7, 6, 5, 4, 3, 2]].concat();
        assert!(shown_in(&[section, &short].concat()).is_err());
    }

    #[test]
    fn a_chunk_whose_keys_are_not_known_has_a_section_with_its_position_and_one_with_the_mark() {
        let sound = chunk(3, true, b"body".to_vec());
        assert_eq!(sound.shown.form(), None);
        let sections = sections_of(&sound.shown);
        let (position, mark) = sections.split_at(22);
        let expected = [&3u16.to_le_bytes()[..], &16u32.to_le_bytes(), &7u64.to_le_bytes(), &3u64.to_le_bytes()];
        assert_eq!(position, expected.concat());
        assert_eq!(mark, [&2u16.to_le_bytes()[..], &8u32.to_le_bytes(), &[8, 7, 6, 5, 4, 3, 2, 1]].concat());
        assert_eq!(open(&sound.seal(None), &sound.key).unwrap().shown.since, sound.shown.since);

        let with_length =
            |length: u32| [&3u16.to_le_bytes()[..], &length.to_le_bytes(), &[7; 24][..length as usize]].concat();
        assert!(shown_in(&with_length(16)).is_ok());
        for wrong in [0, 8, 15, 17, 24] {
            assert!(shown_in(&with_length(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_that_knows_of_no_marks_and_one_that_does_read_each_other_s_chunks() {
        let ours = chunk(5, true, b"body".to_vec());
        let sections = sections_of(&ours.shown);
        // Without the section that an older server passes over, as it would write it.
        let theirs = shown_in(&sections[..34]).unwrap();
        assert_eq!(theirs.since, ours.shown.since.unmarked());
        assert_eq!(sections_of(&theirs), sections[..34]);

        // A mark without a position is none.
        assert_eq!(shown_in(&sections[34..]).unwrap(), Shown::default());
    }

    #[test]
    fn an_entry_of_the_form_before_is_refused() {
        // The form of version 0.2.0, with the right key, cursor and body.
        let key = chunk(1, true, vec![]).key;
        let mut old = b"ckf2".to_vec();
        old.extend([0; 4]);
        old.extend(1u64.to_le_bytes());
        for number in [3, key.0.len() as u32, END, 4, 0, PLAIN] {
            old.extend(number.to_le_bytes());
        }
        old.extend(&key.0[..]);
        old.extend(b"body");
        assert_eq!(open(&summed(old), &key).unwrap_err().kind(), Kind::Data);
    }

    #[test]
    fn with_a_secret_only_what_a_server_wrote_that_knows_it_is_read() {
        let chunk = chunk(1, false, b"body".to_vec());
        let read = |bytes: &Bytes, texts: &[&str]| Chunk::open(bytes, &chunk.key, Some(&secret(texts)));
        let stored = chunk.seal(Some(&secret(&["a"])));
        assert_eq!(read(&stored, &["a"]).unwrap(), Some(chunk.clone()));
        assert_eq!(read(&stored, &["b", "a"]).unwrap(), Some(chunk.clone()), "a secret is replaced step by step");
        assert_eq!(open(&stored, &chunk.key).unwrap(), chunk, "and taken away");

        // While servers get a first or a new secret, they load chunks themselves and log nothing.
        assert_eq!(read(&stored, &["b"]).unwrap(), None);
        assert_eq!(read(&chunk.seal(None), &["a"]).unwrap(), None);

        for at in 8..stored.len() - TAG {
            let mut forged = stored.to_vec();
            forged[at] ^= 1;
            read(&summed(forged), &["a"]).expect_err("what is not what was sealed");
        }
    }

    proptest! {
        #[test]
        fn the_stored_form_comes_back_and_any_change_of_it_is_refused(
            n: i64, end: bool, body: Vec<u8>, at: prop::sample::Index, bit in 0u8..8,
            cut: prop::sample::Index, sealed: bool,
        ) {
            let chunk = chunk(n, end, body);
            let stored = chunk.seal(sealed.then(|| secret(&["a"])).as_ref());
            prop_assert_eq!(&open(&stored, &chunk.key).unwrap(), &chunk);
            let mut altered = stored.to_vec();
            altered[at.index(stored.len())] ^= 1u8 << bit;
            prop_assert!(open(&altered.into(), &chunk.key).is_err());
            prop_assert!(open(&stored.slice(..cut.index(stored.len())), &chunk.key).is_err());
        }

        #[test]
        fn another_key_is_refused(n: i64, m: i64) {
            prop_assume!(n != m);
            let one = chunk(n, true, vec![]);
            let other = chunk(m, true, vec![]);
            prop_assert!(open(&one.seal(None), &other.key).is_err());
        }

        #[test]
        fn a_chunk_that_leads_to_where_it_is_is_refused(n: i64, body: Vec<u8>) {
            let sound = chunk(n, false, body);
            let itself = Some(Cursor::after(&[Value::Integer(n)]).unwrap());
            for wrong in [Chunk { next: itself, ..sound.clone() }, Chunk { rows: 0, ..sound.clone() }] {
                prop_assert!(open(&wrong.seal(None), &sound.key).is_err(), "{wrong:?}");
            }
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            let key = chunk(1, true, vec![]).key;
            let mut sealed = MAGIC.to_vec();
            sealed.extend(crc32fast::hash(&bytes).to_le_bytes());
            sealed.extend(&bytes);
            prop_assert!(open(&bytes.into(), &key).is_err());
            prop_assert!(open(&sealed.into(), &key).is_err());
        }
    }
}
