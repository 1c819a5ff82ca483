//! API keys: long random texts that clients send. The server knows their digests only.

use std::{
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
    time::SystemTime,
};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::{random, refusal::Refusal};
use crate::identity::Identity;

/// The beginning of each key that is made here, by which programs that look for secrets in the
/// wrong place know it.
const PREFIX: &str = "cfk_";
/// How many random bytes a key has.
const RANDOM: usize = 32;
/// The largest number of keys.
pub(crate) const MOST: usize = 10_000;

/// The keys of one file.
#[derive(Clone, Default)]
pub(crate) struct ApiKeys {
    /// By digest, at places that std's random state decides, so that nobody can fill one place.
    keys: Arc<HashMap<KeyDigest, Arc<Identity>>>,
}

/// SHA-256 of a key. Two are compared in a time that does not tell how much of them is the same.
struct KeyDigest([u8; 32]);

impl PartialEq for KeyDigest {
    fn eq(&self, other: &KeyDigest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for ApiKeys {
    /// Without the digests.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.values()).finish()
    }
}

/// A key, as far as the server knows it.
#[derive(Clone)]
pub(crate) struct ApiKey {
    /// SHA-256 of the key.
    pub(crate) digest: [u8; 32],
    pub(crate) identity: Arc<Identity>,
}

impl ApiKey {
    /// The key of this name. Its claim `sub` is the name, unless the claims say it.
    pub(crate) fn new(
        name: &str,
        digest: [u8; 32],
        mut claims: Map<String, Value>,
        expires: Option<SystemTime>,
    ) -> ApiKey {
        claims.entry("sub").or_insert_with(|| name.into());
        let identity = Identity::new(claims);
        let identity = match expires {
            Some(expires) => identity.until(expires),
            None => identity,
        };
        ApiKey { digest, identity: Arc::new(identity) }
    }
}

impl fmt::Debug for ApiKey {
    /// Without the digest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl ApiKeys {
    pub(crate) fn new(keys: Vec<ApiKey>) -> ApiKeys {
        let keys = keys.into_iter().map(|key| (KeyDigest(key.digest), key.identity));
        ApiKeys { keys: Arc::new(keys.collect()) }
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// When it is nobody's, or has expired.
    pub(super) fn identity(&self, key: &[u8]) -> Result<Arc<Identity>, Refusal> {
        let Some(identity) = self.keys.get(&KeyDigest(digest_of(key))) else {
            return Err(Refusal::wrong("the key is wrong"));
        };
        if !identity.is_current(SystemTime::now()) {
            return Err(Refusal::wrong("the key has expired"));
        }
        Ok(Arc::clone(identity))
    }
}

/// A new key.
pub(crate) fn made() -> String {
    PREFIX.to_owned() + &random::text(RANDOM)
}

/// What the server knows of a key.
pub(crate) fn digest_of(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn keys(shown: &[(&str, &str, Option<SystemTime>)]) -> ApiKeys {
        let key = |(name, text, expires): &(&str, &str, _)| {
            ApiKey::new(name, digest_of(text.as_bytes()), Map::new(), *expires)
        };
        ApiKeys::new(shown.iter().map(key).collect())
    }

    #[test]
    fn a_key_is_its_owners_and_no_other_text_is() {
        let keys = keys(&[("a", "key a", None), ("b", "key b", None), ("c", "key c", None)]);
        for name in ["a", "b", "c"] {
            let identity = keys.identity(format!("key {name}").as_bytes()).unwrap();
            assert_eq!(identity.claim("sub").unwrap(), name);
        }
        for wrong in ["", "key", "key a ", "KEY A", "key aa", "\0"] {
            assert!(keys.identity(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        // Who has read the file has no key.
        assert!(keys.identity(&digest_of(b"key a")).is_err());
        assert!(ApiKeys::default().identity(b"").is_err());
    }

    #[test]
    fn a_key_ends_at_its_moment() {
        let now = SystemTime::now();
        let minute = Duration::from_secs(60);
        let keys = keys(&[("old", "old", Some(now - minute)), ("new", "new", Some(now + minute))]);
        assert!(keys.identity(b"old").is_err());
        assert_eq!(keys.identity(b"new").unwrap().expiry(), Some(now + minute));
    }

    #[test]
    fn keys_are_long_random_and_never_the_same() {
        let [one, other] = [made(), made()];
        assert_ne!(one, other);
        // 256 bits in base64url.
        assert!([&one, &other].iter().all(|key| key.starts_with("cfk_") && key.len() == 4 + 43), "{one} {other}");
        assert!(!format!("{:?}", keys(&[("a", "x", None)])).contains("digest"));
    }

    #[test]
    fn each_of_many_keys_is_its_owners() {
        let names: Vec<String> = (0..100).map(|number| format!("k{number}")).collect();
        let shown: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str(), None)).collect();
        let keys = keys(&shown);
        for name in &names {
            assert_eq!(keys.identity(name.as_bytes()).unwrap().claim("sub").unwrap(), name.as_str());
        }
    }
}
