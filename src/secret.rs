//! The operator's secret, and the keys made from it.
//!
//! Each use has its own key, made by HKDF with SHA-256 (RFC 5869), so that no key reveals anything
//! about another.

use std::{fmt, sync::Arc};

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::{Error, Kind, Result};

/// The least number of bytes of a secret.
const SHORTEST: usize = 32;
/// The largest number of texts. Each one costs a try for every cursor that none of them made.
const MOST: usize = 8;

/// Distinguishes these keys from those that other programs make from the same text, and one use
/// from another. It must never change: the cursors that clients hold would be refused, and a
/// fleet's chunks with cursors would get new names.
const SALT: &[u8] = b"chunkflow secret 1";
const CURSORS: &[u8] = b"cursors";
const ID_OF_CURSORS: &[u8] = b"id of cursors";
const CHUNKS: &[u8] = b"chunks";
const ID_OF_CHUNKS: &[u8] = b"id of chunks";
const JOURNAL: &[u8] = b"journal";
const ID_OF_JOURNAL: &[u8] = b"id of journal";
const TICKETS: &[u8] = b"tickets";

/// The length of a tag: the id of a key, then an HMAC-SHA-256 (RFC 2104) under that key.
pub(crate) const TAG: usize = ID + 32;
const ID: usize = 16;

/// A secret that only the servers of one deployment know. It encrypts cursors
/// ([`ResourceOptions::secret`](crate::ResourceOptions::secret)) and authenticates chunks in a
/// shared store ([`StoreOptions::secret`](crate::store::StoreOptions::secret)).
///
/// It is made from one or more texts. The first one encrypts; cursors that any of them encrypted
/// are accepted. So a secret can be replaced without a client noticing. Servers with the same
/// secret accept each other's cursors. The texts themselves are not kept, and `Debug` shows nothing
/// of them.
///
/// ```
/// use chunkflow::Secret;
///
/// let old = "nTgYgtKk2OFbU8UJ0uYkzWcCq1hX4bJmE7dZr5sA3vQ=";
/// let new = "Q0mRk8s1x7Yw4ZtV2bN6cP9eLhJ3fGdU5aKoIiTqSxE=";
/// let rotated = Secret::new(&[new, old])?;
/// assert_eq!(format!("{rotated:?}"), "Secret(..)");
/// assert!(Secret::new(&["short"]).is_err());
/// # Ok::<(), chunkflow::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[Keys]>);

/// The keys made from one text.
#[derive(PartialEq, Eq)]
pub(crate) struct Keys {
    /// For AES-256-SIV: one half authenticates, the other encrypts.
    pub(crate) cursors: [u8; 64],
    /// Identifies that key and reveals nothing about it.
    pub(crate) id: [u8; 16],
    /// Tags chunks in a shared store.
    pub(crate) chunks: TagKey,
    /// Tags entries of the journal in a shared store.
    pub(crate) journal: TagKey,
    /// For the AES-256-SIV of tickets.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server makes tickets"))]
    pub(crate) tickets: [u8; 64],
}

/// A key that shows that a server with the secret has written some bytes.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct TagKey {
    key: [u8; 32],
    /// Identifies the key and reveals nothing about it.
    id: [u8; ID],
}

/// Who made a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// A server with this secret.
    Us,
    /// A server with another secret, or none: the tag has the id of none of our keys.
    Stranger,
    /// Somebody who has the id of our key, but not the key.
    Forger,
}

impl Secret {
    /// The secret from these texts, the newest first.
    ///
    /// # Errors
    /// [`Kind::Config`] if there is no text, if there are more than eight, or if one has fewer than
    /// 32 bytes.
    pub fn new(texts: &[impl AsRef<str>]) -> Result<Secret> {
        let refused = |why: &str| {
            Error::new(Kind::Config, format!("the secret {why}"))
                .remedy("let `openssl rand -base64 32` make one, and give it to every server")
        };

        if texts.is_empty() {
            return Err(refused("has no text"));
        }

        if texts.len() > MOST {
            return Err(refused("has more than eight texts; those of cursors that nobody holds any more can go"));
        }

        if texts.iter().any(|text| text.as_ref().trim().is_empty()) {
            return Err(refused("is empty"));
        }

        if texts.iter().any(|text| text.as_ref().len() < SHORTEST) {
            return Err(refused("is shorter than 32 bytes, and could be guessed"));
        }

        Ok(Secret(texts.iter().map(|text| Keys::of(text.as_ref())).collect()))
    }

    /// The keys, the newest first.
    pub(crate) fn keys(&self) -> &[Keys] {
        &self.0
    }

    /// The keys of the newest text.
    pub(crate) fn newest(&self) -> &Keys {
        &self.0[0]
    }

    /// Who made the tag of these bytes, by our keys for this use.
    pub(crate) fn maker(&self, key: fn(&Keys) -> &TagKey, bytes: &[u8], tag: &[u8]) -> Maker {
        let Some((id, code)) = tag.split_at_checked(ID) else { return Maker::Stranger };
        let Some(key) = self.0.iter().map(key).find(|key| key.id == id) else { return Maker::Stranger };

        match key.mac(bytes).verify_slice(code) {
            Ok(()) => Maker::Us,
            Err(_) => Maker::Forger,
        }
    }
}

impl TagKey {
    /// The tag of these bytes.
    pub(crate) fn tag(&self, bytes: &[u8]) -> [u8; TAG] {
        let mut tag = [0; TAG];
        tag[..ID].copy_from_slice(&self.id);
        tag[ID..].copy_from_slice(&self.mac(bytes).finalize().into_bytes());
        tag
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(bytes);
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Keys {
    fn of(text: &str) -> Keys {
        let hkdf = Hkdf::<Sha256>::new(Some(SALT), text.as_bytes());
        let mut keys = Keys {
            cursors: [0; 64],
            id: [0; 16],
            chunks: TagKey::default(),
            journal: TagKey::default(),
            tickets: [0; 64],
        };
        let expand = |use_of: &[u8], key: &mut [u8]| hkdf.expand(use_of, key).expect("HKDF gives up to 8,160 bytes");

        expand(CURSORS, &mut keys.cursors);
        expand(ID_OF_CURSORS, &mut keys.id);
        expand(CHUNKS, &mut keys.chunks.key);
        expand(ID_OF_CHUNKS, &mut keys.chunks.id);
        expand(JOURNAL, &mut keys.journal.key);
        expand(ID_OF_JOURNAL, &mut keys.journal.id);
        expand(TICKETS, &mut keys.tickets);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "the secret of a test, of no server";

    #[test]
    fn the_keys_of_a_text_are_the_same_in_every_version() {
        let secret = Secret::new(&[TEXT]).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&secret.keys()[0].id), "44d6db47429737c9d1f11bce0d6ca953");
        assert_eq!(
            hex(&secret.keys()[0].cursors),
            "79f89736e6eaf0aa056d83e8fddf07c9a8b99301fb4ae5030d47454851b3428c3b643293505a25f84b71aedb0522d7e9b20665b6efcbfaa6525e43702711de63"
        );
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_refused_with_the_remedy_and_without_the_text() {
        let short = "y".repeat(31);
        let many = vec![TEXT; 9];
        let refused: [&[&str]; 6] = [&[], &[""], &["   "], &[&short], &[TEXT, &short], &many];
        for texts in refused {
            let error = Secret::new(texts).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            let told = format!("{error} {error:?}");
            assert!(told.contains("openssl rand") || error.advice().unwrap().contains("openssl rand"), "{told}");
            assert!(!told.contains(TEXT) && !told.contains("yyy"), "{told}");
        }
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        assert_eq!(format!("{:?}", Secret::new(&[TEXT, "another text of thirty-two bytes!"]).unwrap()), "Secret(..)");
    }
}
