//! Turns cursors into the text that clients hold, and back.
//!
//! A text belongs to one list of one database in one order; any other list refuses it. It is
//! base64url (RFC 4648 §5, no padding) of one of
//!
//! ```text
//! 1  the list's fingerprint (8)  the cursor's canonical form  XXH3-64 of all that (8)
//! 2  synthetic IV (16)           the canonical form, encrypted
//! ```
//!
//! The first form is used without a [`Secret`]: it shows the values, and detects only accidental
//! changes. The second is AES-SIV (RFC 5297) over the list's fingerprint and the canonical form. It
//! is deterministic, since cached bytes contain cursors: the same place has the same text on every
//! server. It hides the values, and whether two lists are at the same place. It does not hide how
//! long the values are, nor whether two texts of one list are the same place.

use std::fmt;

use aes_siv::{KeyInit, Tag, siv::Aes256Siv};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    cursor::{Cursor, MAX_CURSOR},
    error::{Error, Kind, Result},
    secret::{Keys, Secret},
};

const PLAIN: u8 = 1;
const ENCRYPTED: u8 = 2;
/// How many bytes each of the two forms adds to a canonical form.
const AROUND: usize = 1 + 8 + 8;
/// The longest text, in characters.
const LONGEST: usize = (MAX_CURSOR + AROUND) * 4 / 3 + 4;

/// The seal of one list's cursors: turns them into texts, and its own texts back.
#[derive(Clone)]
pub(crate) struct Seal {
    /// The fingerprint of the list.
    list: [u8; 32],
    /// How many columns its order has.
    columns: usize,
    secret: Option<Secret>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("columns", &self.columns).field("secret", &self.secret).finish_non_exhaustive()
    }
}

impl Seal {
    /// The seal of the list with this description, whose order has `columns` columns. Without a
    /// secret, texts are only protected against accidental changes.
    pub(crate) fn new(secret: Option<&Secret>, list: &[u8], columns: usize) -> Seal {
        Seal { list: Sha256::digest(list).into(), columns, secret: secret.cloned() }
    }

    /// The seal of a part of this list, whose texts neither the list nor another part takes.
    pub(crate) fn within(&self, part: &[u8; 32]) -> Seal {
        let list = Sha256::new().chain_update(self.list).chain_update(part).finalize().into();
        Seal { list, ..self.clone() }
    }

    /// The text for clients.
    pub(crate) fn seal(&self, cursor: &Cursor) -> String {
        let mut sealer = self.sealer();
        sealer.seal(cursor.canonical());
        sealer.text
    }

    /// Seals many cursors, one after the other.
    pub(crate) fn sealer(&self) -> Sealer {
        let newest = self.secret.as_ref().and_then(|secret| secret.keys().first());
        Sealer { list: self.list, cipher: newest.map(cipher), bytes: vec![], text: String::new() }
    }

    /// What a text depends on besides its cursor: two seals with the same fingerprint make the same
    /// texts. It reveals nothing about a secret.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.list);
        if let Some(newest) = self.secret.as_ref().and_then(|secret| secret.keys().first()) {
            hash.update(newest.id);
        }
        hash.finalize().into()
    }

    /// Whether both make the same texts.
    pub(crate) fn is_as(&self, other: &Seal) -> bool {
        self.columns == other.columns && self.fingerprint() == other.fingerprint()
    }

    /// The place of a text.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if the text was altered or cut, was made with an unknown secret (or with
    /// none, though there is one), or belongs to another list or order.
    pub(crate) fn unseal(&self, text: &str) -> Result<Cursor> {
        if text.len() > LONGEST {
            return Err(refused("is too long"));
        }

        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refused("is not base64url"))?;
        if bytes.len() < AROUND {
            return Err(refused("is too short"));
        }

        let canonical = match (bytes[0], &self.secret) {
            (PLAIN, None) => self.checked(&bytes)?,
            (ENCRYPTED, Some(secret)) => self.decrypted(secret, &bytes)?,
            (PLAIN, Some(_)) => return Err(refused("was made before cursors were encrypted here")),
            (ENCRYPTED, None) => return Err(refused("is encrypted, and there is no secret here to read it with")),
            _ => return Err(refused("is of another version")),
        };

        let cursor = Cursor::from_canonical(canonical).ok_or_else(|| refused("holds no place"))?;
        match cursor.values().count() {
            0 => Ok(cursor),
            n if n == self.columns => Ok(cursor),
            _ => Err(refused("has another number of columns")),
        }
    }

    /// The canonical form from a text that is not encrypted.
    fn checked(&self, bytes: &[u8]) -> Result<Bytes> {
        let (sealed, sum) = bytes.split_at(bytes.len() - 8);
        if xxh3_64(sealed).to_be_bytes() != sum {
            return Err(refused("was altered"));
        }
        if sealed[1..9] != self.list[..8] {
            return Err(refused("belongs to another list or order"));
        }
        Ok(Bytes::copy_from_slice(&sealed[9..]))
    }

    /// The canonical form from a text that one of the secret's keys encrypted for this list.
    fn decrypted(&self, secret: &Secret, bytes: &[u8]) -> Result<Bytes> {
        let (tag, sealed) = bytes[1..].split_at(16);
        let tag = Tag::try_from(tag).expect("sixteen bytes");

        for keys in secret.keys() {
            let mut canonical = sealed.to_vec();
            let opened = cipher(keys).decrypt_inout_detached([self.list], canonical.as_mut_slice().into(), &tag);
            if opened.is_ok() {
                return Ok(canonical.into());
            }
        }
        Err(refused("was altered, belongs to another list or order, or was made with a secret that is not known here"))
    }
}

fn refused(why: &str) -> Error {
    Error::new(Kind::Invalid, format!("the cursor {why}"))
        .remedy("pass `after` exactly as it was handed out by the same list, or leave it out to start anew")
}

fn cipher(keys: &Keys) -> Box<Aes256Siv> {
    Box::new(Aes256Siv::new(&keys.cursors.into()))
}

/// Seals the cursors of one list one after the other, reusing memory and cipher.
pub(crate) struct Sealer {
    list: [u8; 32],
    cipher: Option<Box<Aes256Siv>>,
    bytes: Vec<u8>,
    text: String,
}

impl Sealer {
    /// The text of the cursor with this canonical form.
    pub(crate) fn seal(&mut self, canonical: &[u8]) -> &str {
        self.bytes.clear();
        self.text.clear();

        match &mut self.cipher {
            None => {
                self.bytes.push(PLAIN);
                self.bytes.extend_from_slice(&self.list[..8]);
                self.bytes.extend_from_slice(canonical);
                let sum = xxh3_64(&self.bytes);
                self.bytes.extend_from_slice(&sum.to_be_bytes());
            }
            Some(cipher) => {
                self.bytes.push(ENCRYPTED);
                self.bytes.extend_from_slice(&[0; 16]);
                self.bytes.extend_from_slice(canonical);
                let (head, sealed) = self.bytes.split_at_mut(17);
                let tag = cipher.encrypt_inout_detached([self.list], sealed.into());
                head[1..].copy_from_slice(&tag.expect("one header is within AES-SIV's bound"));
            }
        }

        URL_SAFE_NO_PAD.encode_string(&self.bytes, &mut self.text);
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::Value;

    const TEXT: &str = "the secret of a test, of no server";
    const OTHER: &str = "another secret of a test, as long";

    fn secret(texts: &[&str]) -> Secret {
        Secret::new(texts).unwrap()
    }

    /// One list's seals: without a secret, with one, and with that one replaced.
    fn seals(columns: usize) -> [Seal; 3] {
        let one = secret(&[TEXT]);
        let two = secret(&[OTHER, TEXT]);
        [None, Some(&one), Some(&two)].map(|secret| Seal::new(secret, b"list", columns))
    }

    fn key(n: i64) -> Cursor {
        Cursor::after(&[Value::Integer(n)]).unwrap()
    }

    proptest! {
        #[test]
        fn a_sealed_cursor_comes_back_as_it_went(n: i64, bits: u64, text: Vec<u8>, null: bool) {
            let real = f64::from_bits(bits);
            let mut key = vec![Value::Integer(n), Value::Text(&text), Value::Blob(&text), Value::Bool(null)];
            if !real.is_nan() { key.push(Value::Real(real)); }
            if null { key.push(Value::Null); }
            let cursor = Cursor::after(&key).unwrap();
            for seal in seals(key.len()) {
                prop_assert_eq!(&seal.unseal(&seal.seal(&cursor)).unwrap(), &cursor);
                prop_assert_eq!(seal.seal(&cursor), seal.seal(&cursor), "the same place has the same text");
            }
        }

        #[test]
        fn a_cursor_with_one_changed_character_is_refused(n: i64, at in 0usize..40, with in "[A-Za-z0-9_-]") {
            for seal in seals(1) {
                let text = seal.seal(&key(n));
                let at = at % text.len();
                let altered = format!("{}{with}{}", &text[..at], &text[at + 1..]);
                if altered != text {
                    prop_assert!(seal.unseal(&altered).is_err());
                }
                prop_assert!(seal.unseal(&text[..at]).is_err(), "cut");
            }
        }

        #[test]
        fn any_text_as_a_cursor_is_refused_without_a_panic(text: String, bytes: Vec<u8>, form in 1u8..3) {
            let made = URL_SAFE_NO_PAD.encode([&[form][..], &bytes].concat());
            for seal in seals(1) {
                prop_assert!(seal.unseal(&text).is_err());
                prop_assert!(seal.unseal(&made).is_err());
            }
        }

        #[test]
        fn nothing_of_a_value_stands_in_an_encrypted_cursor(value in "[a-z]{12,40}") {
            let cursor = Cursor::after(&[Value::Text(value.as_bytes())]).unwrap();
            let [plain, encrypted, _] = seals(1).map(|seal| URL_SAFE_NO_PAD.decode(seal.seal(&cursor)).unwrap());
            let shows = |bytes: &[u8]| value.as_bytes().windows(4).any(|part| bytes.windows(4).any(|at| at == part));
            prop_assert!(shows(&plain) && !shows(&encrypted));
        }
    }

    #[test]
    fn the_texts_of_cursors_are_the_same_in_every_version() {
        let cursor = Cursor::after(&[Value::Text(b"2026-11-24"), Value::Integer(7)]).unwrap();
        let [plain, encrypted, rotated] = seals(2).map(|seal| seal.seal(&cursor));
        assert_eq!(plain, "AaMwOVzApTrRAwAAAAoyMDI2LTExLTI0AQAAAAAAAAAHwXbFCnLnKJA");
        assert_eq!(encrypted, "AjEVjsfDSCKYiI3NNshDsjvLz3MR6KQ9aBa3E-iXGtxcRzNdXRGl0xk");
        assert_eq!(rotated, "AvTwfLNMp4_cytq0QSru9YQxCZdbpz2sUywdoC8V73DXDYUG0V06jD8");
    }

    #[test]
    fn a_cursor_is_good_where_the_secret_that_made_it_is_known_and_nowhere_else() {
        let [none, old, rotated] = seals(1);
        let new = Seal::new(Some(&secret(&[OTHER])), b"list", 1);
        let takes = |seal: &Seal, made_by: &Seal| seal.unseal(&made_by.seal(&key(1))).is_ok();
        assert!(takes(&rotated, &old) && takes(&rotated, &new) && takes(&new, &rotated));
        for (seal, made_by) in [(&old, &new), (&new, &old), (&old, &rotated), (&none, &old), (&old, &none)] {
            assert!(!takes(seal, made_by), "{seal:?} takes what {made_by:?} made");
        }
        assert_eq!(new.fingerprint(), rotated.fingerprint(), "what the new one makes is the same before and after");
        assert_ne!(old.fingerprint(), rotated.fingerprint());
    }

    #[test]
    fn a_cursor_of_another_list_or_width_is_refused() {
        for secret in [None, Some(&secret(&[TEXT]))] {
            let text = Seal::new(secret, b"list", 1).seal(&key(1));
            for (list, columns) in [("lists", 1), ("", 1), ("list", 2), ("list", 0)] {
                let error = Seal::new(secret, list.as_bytes(), columns).unseal(&text).unwrap_err();
                assert_eq!(error.kind(), Kind::Invalid);
                assert!(error.advice().is_some());
            }
        }
    }
}
