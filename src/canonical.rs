//! Hand-written bytes for digests.
//!
//! Each part begins with its length, so that different lists of parts never give the same bytes.
//! Nothing depends on how a type prints itself: renaming a field must not empty a fleet's cache.

use sha2::{Digest, Sha256};

/// Parts, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Canonical(Vec<u8>);

impl Canonical {
    /// Begins with the purpose of the bytes and a version.
    pub(crate) fn of(what: &str) -> Canonical {
        let mut bytes = Canonical::default();
        bytes.text(what);
        bytes
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn number(&mut self, number: usize) {
        self.0.extend_from_slice(&(number as u64).to_le_bytes());
    }

    pub(crate) fn flag(&mut self, truth: bool) {
        self.0.push(truth.into());
    }

    /// A value that may be missing; a missing one differs from an empty one.
    pub(crate) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Canonical, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// The number of items, then each.
    pub(crate) fn each<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Canonical, T),
    ) {
        self.number(values.len());
        values.for_each(|value| write(self, value));
    }

    /// The SHA-256 of all bytes.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_these_and_no_two_lists_of_parts_have_the_same() {
        let mut bytes = Canonical::of("a");
        bytes.flag(true);
        bytes.each([Some("bc"), None].into_iter(), |bytes, one| bytes.maybe(one, Canonical::text));
        let golden = b"\x01\0\0\0\0\0\0\0a\x01\x02\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0bc\0";
        assert_eq!(bytes.into_bytes(), golden);

        let made = |parts: &[&str]| {
            let mut bytes = Canonical::default();
            bytes.each(parts.iter(), |bytes, part| bytes.text(part));
            bytes
        };
        assert_ne!(made(&["ab", "c"]), made(&["a", "bc"]));
        assert_ne!(made(&["ab"]), made(&["ab", ""]));
    }
}
