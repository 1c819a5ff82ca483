//! The forms of the journal in a store.
//!
//! The *head* says how far the journal goes. It is text, `EPOCH.NUMBER.MARK`: the epoch in 16
//! hexadecimal digits, the number of the last entry in decimal ones, and that entry's mark in 16
//! hexadecimal ones. A new epoch begins at the number 0, with a mark of its own.
//!
//! An *entry* has a number that is one more than that of the entry before. Integers are little
//! endian:
//!
//! ```text
//!  0  "ckj1"      magic and version
//!  4  u32         CRC-32 (IEEE) of everything behind it
//!  8  u64         epoch
//! 16  u64         number
//! 24  u64         mark: random, not 0
//! 32  u64         mark of the head before it
//! 40  u32         length of the body
//! 44  u32         length of the tag: 48 where there is a secret, else 0
//! 48  …           body, tag; nothing behind them
//! ```
//!
//! The *tag* is the id of a key (16 bytes), then the HMAC-SHA-256 under that key of all bytes from
//! 8 to the tag. It covers the position, so nobody can put an entry in the place of another of the
//! same journal. Journals of other prefixes have other epochs.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    change::Token,
    secret::{Maker, Secret, TAG},
};

const MAGIC: &[u8; 4] = b"ckj1";
const LENGTH: usize = 48;
/// Numbers are below this, so that programs in other languages can reckon with them.
const NUMBERS: u64 = 1 << 53;

/// How far a journal goes: the position of its last entry. The mark distinguishes that entry from
/// any other under the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head(pub(super) Token);

impl Head {
    /// A new epoch without an entry.
    pub(super) fn beginning() -> Head {
        Head(Token { epoch: fastrand::u64(1..), number: 0, mark: new_mark() })
    }

    /// The head with one more entry.
    pub(super) fn next(self) -> Head {
        Head(Token { number: self.0.number + 1, mark: new_mark(), ..self.0 })
    }

    /// Whether the journal goes as far as this position.
    pub(super) fn includes(&self, at: Token) -> bool {
        self.0.epoch == at.epoch && self.0.number >= at.number
    }

    pub(super) fn text(&self) -> Bytes {
        format!("{}.{:016x}", self.0.place(), self.0.mark).into()
    }

    /// `None` for any other bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<Head> {
        let text = std::str::from_utf8(bytes).ok()?;
        let has_mark = text.split('.').count() == 3;
        let token: Token = text.parse().ok().filter(|_| has_mark)?;
        (token.epoch != 0 && token.number < NUMBERS).then_some(Head(token))
    }
}

/// A mark for a new head. 0 would say that there is none.
pub(super) fn new_mark() -> u64 {
    fastrand::u64(1..)
}

/// An entry of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The head once this entry was written.
    pub(super) head: Head,
    /// The mark of the head before.
    pub(super) before: u64,
    pub(super) body: Bytes,
}

impl Entry {
    /// The stored form, tagged where there is a secret.
    pub(super) fn seal(&self, secret: Option<&Secret>) -> Bytes {
        let tag = if secret.is_some() { TAG } else { 0 };
        let mut out = BytesMut::with_capacity(LENGTH + self.body.len() + tag);
        out.put_slice(MAGIC);
        out.put_u32_le(0);
        out.put_u64_le(self.head.0.epoch);
        out.put_u64_le(self.head.0.number);
        out.put_u64_le(self.head.0.mark);
        out.put_u64_le(self.before);
        out.put_u32_le(self.body.len() as u32);
        out.put_u32_le(tag as u32);
        out.put_slice(&self.body);

        if let Some(secret) = secret {
            let tag = secret.newest().journal.tag(&out[8..]);
            out.put_slice(&tag);
        }

        let sum = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&sum.to_le_bytes());
        out.freeze()
    }

    /// Reads the stored form of the entry at this position. Its mark may be any.
    ///
    /// # Errors
    /// Why it is not that entry: it was cut or altered, it stood elsewhere, or there is a secret
    /// and no server that knows it has written this.
    pub(super) fn open(bytes: &Bytes, at: Token, secret: Option<&Secret>) -> Result<Entry, &'static str> {
        let (head, rest) = bytes.split_at_checked(LENGTH).ok_or("it is cut short")?;
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        if &head[..4] != MAGIC {
            return Err("it is foreign or of another version");
        }

        if crc32fast::hash(&bytes[8..]) != u32_at(4) {
            return Err("it is damaged");
        }

        let tag = u32_at(44) as usize;
        let has_room = rest.len().checked_sub(tag) == Some(u32_at(40) as usize);
        if !has_room || ![0, TAG].contains(&tag) {
            return Err("it has wrong lengths");
        }

        let token = Token { epoch: u64_at(8), number: u64_at(16), mark: u64_at(24) };
        if token.unmarked() != at.unmarked() {
            return Err("it belongs elsewhere");
        }

        let end = bytes.len() - tag;
        if let Some(secret) = secret
            && secret.maker(|keys| &keys.journal, &bytes[8..end], &bytes[end..]) != Maker::Us
        {
            return Err("no server that knows the secret has written it");
        }

        Ok(Entry { head: Head(token), before: u64_at(32), body: bytes.slice(LENGTH..end) })
    }
}

/// Reads any bytes as an entry and as a head, for the fuzz target: each is refused, or comes back
/// from its own form.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_journal(data: &[u8]) {
    let at = Token { epoch: 7, number: 8, mark: 0 };
    let check = |bytes: Bytes| {
        if let Ok(entry) = Entry::open(&bytes, at, None) {
            assert_eq!(Entry::open(&entry.seal(None), at, None), Ok(entry));
        }
    };

    check(Bytes::copy_from_slice(data));
    // With a right beginning, so that the fuzzer gets behind the checksum.
    let position = [&7u64.to_le_bytes()[..], &8u64.to_le_bytes(), data].concat();
    let sum = crc32fast::hash(&position).to_le_bytes();
    check([&MAGIC[..], &sum, &position].concat().into());

    if let Some(head) = Head::read(data) {
        assert_eq!(Head::read(&head.text()), Some(head));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(epoch: u64, number: u64, body: Vec<u8>) -> Entry {
        let head = Head(Token { epoch, number, mark: 0x0102_0304_0506_0708 });
        Entry { head, before: 9, body: body.into() }
    }

    fn secret(texts: &[&str]) -> Secret {
        let long = |text: &&str| format!("{text}, a secret of thirty-two bytes or more");
        Secret::new(&texts.iter().map(long).collect::<Vec<_>>()).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_forms_are_these() {
        let entry = entry(0x3f60_c1a2_9b7e_4d08, 17, b"body".to_vec());
        assert_eq!(&entry.head.text()[..], b"3f60c1a29b7e4d08.17.0102030405060708");
        assert_eq!(
            hex(&entry.seal(None)),
            "636b6a3143285aac084d7e9ba2c1603f11000000000000000807060504030201\
             09000000000000000400000000000000626f6479"
        );
        // Made by another program, from the words at the top and those of `secret.rs`.
        assert_eq!(
            hex(&entry.seal(Some(&secret(&["a"])))),
            "636b6a3177fa633c084d7e9ba2c1603f11000000000000000807060504030201\
             09000000000000000400000030000000626f6479\
             df38dd487a7eeda2758a0da6c24126fc\
             2eef766971019243680b410df01e7a2c74e84fbe15b559baa92b5035fdb70208"
        );
    }

    #[test]
    fn a_head_that_is_no_such_text_is_none() {
        assert!(Head::read(b"3f60c1a29b7e4d08.17.0102030405060708").is_some());
        for wrong in [
            "",
            "17",
            "3f60c1a29b7e4d08.17",
            "0000000000000000.17.0102030405060708",
            "3f60c1a29b7e4d08.17.+102030405060708",
            "3f60c1a29b7e4d08.17.01020304050607",
            "3f60c1a29b7e4d08.9007199254740992.0102030405060708",
            "3f60c1a29b7e4d08.18446744073709551616.0102030405060708",
        ] {
            assert_eq!(Head::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn with_a_secret_only_what_a_server_wrote_that_knows_it_is_an_entry() {
        let entry = entry(5, 6, b"body".to_vec());
        let open = |bytes: &Bytes, texts: &[&str]| Entry::open(bytes, entry.head.0, Some(&secret(texts)));
        let sealed = entry.seal(Some(&secret(&["a"])));
        assert_eq!(open(&sealed, &["a"]).as_ref(), Ok(&entry));
        assert_eq!(open(&sealed, &["b", "a"]).as_ref(), Ok(&entry), "a secret is replaced step by step");
        assert_eq!(Entry::open(&sealed, entry.head.0, None).as_ref(), Ok(&entry), "and taken away");
        open(&sealed, &["b"]).unwrap_err();
        open(&entry.seal(None), &["a"]).unwrap_err();

        for at in 8..sealed.len() {
            let mut forged = sealed.to_vec();
            forged[at] ^= 1;
            let sum = crc32fast::hash(&forged[8..]);
            forged[4..8].copy_from_slice(&sum.to_le_bytes());
            open(&forged.into(), &["a"]).expect_err("what is not what was sealed");
        }
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_and_any_change_of_it_is_refused(
            epoch: u64, number: u64, body: Vec<u8>, at: prop::sample::Index, bit in 0u8..8,
            cut: prop::sample::Index, tagged: bool,
        ) {
            let entry = entry(epoch, number, body);
            let token = entry.head.0;
            let sealed = entry.seal(tagged.then(|| secret(&["a"])).as_ref());
            prop_assert_eq!(Entry::open(&sealed, token, None), Ok(entry));

            let mut altered = sealed.to_vec();
            altered[at.index(sealed.len())] ^= 1u8 << bit;
            prop_assert!(Entry::open(&altered.into(), token, None).is_err());
            prop_assert!(Entry::open(&sealed.slice(..cut.index(sealed.len())), token, None).is_err());
        }

        #[test]
        fn an_entry_is_refused_in_any_other_place(number: u64, epoch: u64, other: u64) {
            prop_assume!(number != other);
            let sealed = entry(epoch, number, vec![]).seal(None);
            let elsewhere = Token { epoch, number: other, mark: 0 };
            prop_assert!(Entry::open(&sealed, elsewhere, None).is_err());
        }

        #[test]
        fn any_bytes_are_refused_or_come_back_without_a_panic(
            bytes: Vec<u8>, text in "[0-9a-f]{16}\\.[0-9]{1,3}\\.[0-9a-f]{16}",
        ) {
            fuzz_journal(&bytes);
            fuzz_journal(text.as_bytes());
        }
    }
}
