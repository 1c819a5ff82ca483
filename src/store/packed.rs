//! Packs values by LZ4 for a shared store, if that makes them smaller.
//!
//! A packed value is `ckl1`, the length of the unpacked value (u32, little endian), and one LZ4
//! block. Any other value is stored as it was written, so that servers with and without packing
//! read each other's chunks.

use std::time::Duration;

use bytes::Bytes;

use super::{
    FarState,
    remote::{Remote, Step, Stepped, Taken},
};
use crate::{
    error::{Error, Kind, Result},
    source::BoxFuture,
};

const MAGIC: &[u8; 4] = b"ckl1";
const HEAD: usize = 8;
/// The largest unpacked value, in bytes; one that claims more is refused.
const LARGEST: usize = 64 * 1024 * 1024;

/// A [`Remote`] whose values are packed.
pub(super) struct Packed<R>(pub(super) R);

fn pack(bytes: Bytes) -> Bytes {
    let mut packed = vec![0; HEAD + lz4_flex::block::get_maximum_output_size(bytes.len())];
    packed[..4].copy_from_slice(MAGIC);
    packed[4..HEAD].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    match lz4_flex::block::compress_into(&bytes, &mut packed[HEAD..]) {
        // A value that LZ4 makes less than an eighth smaller stays as it is.
        Ok(length) if HEAD + length < bytes.len() - bytes.len() / 8 => Bytes::copy_from_slice(&packed[..HEAD + length]),
        _ => bytes,
    }
}

fn unpack(bytes: Bytes) -> Result<Bytes> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else { return Ok(bytes) };
    let damaged = || Error::new(Kind::Data, "a stored value does not unpack");
    let (length, block) = rest.split_at_checked(4).ok_or_else(damaged)?;
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    if length > LARGEST.min(block.len().saturating_mul(256)) {
        return Err(damaged());
    }
    let plain = lz4_flex::block::decompress(block, length).map_err(|_| damaged())?;
    if plain.len() == length { Ok(plain.into()) } else { Err(damaged()) }
}

#[deny(clippy::missing_trait_methods)]
impl<R: Remote> Remote for Packed<R> {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move { self.0.get(name).await?.map(unpack).transpose() })
    }

    fn set<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.0.set(name, pack(bytes), keep).await })
    }

    fn take<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration, other: &'a str) -> BoxFuture<'a, Result<Taken>> {
        Box::pin(async move {
            let Taken { ours, there } = self.0.take(name, bytes, keep, other).await?;
            // The lease is taken either way: a value that cannot be unpacked is no chunk, and the
            // load will replace it.
            Ok(Taken { ours, there: there.map(|there| unpack(there.clone()).unwrap_or(there)) })
        })
    }

    fn give_back<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        self.0.give_back(name, bytes)
    }

    fn copies<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Vec<Result<Vec<Option<Bytes>>>>> {
        self.0.copies(names)
    }

    fn raise_copies<'a>(&'a self, name: &'a str, number: u64) -> BoxFuture<'a, Result<()>> {
        self.0.raise_copies(name, number)
    }

    // Entries of the journal are small.
    fn read_together<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        self.0.read_together(names)
    }

    fn step<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<Stepped>> {
        self.0.step(step)
    }

    fn largest(&self) -> usize {
        self.0.largest()
    }

    fn state(&self) -> FarState {
        self.0.state()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            bytes in prop_oneof![any::<Vec<u8>>(), "([a-d]{1,9}\n){0,4000}".prop_map(String::into_bytes)],
        ) {
            let bytes = Bytes::from([b"ckf2", &bytes[..]].concat());
            let packed = pack(bytes.clone());
            prop_assert!(packed.len() <= bytes.len());
            prop_assert_eq!(unpack(packed).unwrap(), bytes);
        }

        #[test]
        fn any_bytes_unpack_to_something_or_are_refused(bytes: Vec<u8>) {
            let _ = unpack(bytes.clone().into());
            let _ = unpack([&MAGIC[..], &bytes].concat().into());
        }

        #[test]
        fn what_says_that_it_is_huge_is_refused(block: Vec<u8>, more in 0..1000u32) {
            let length = (u32::MAX - more).to_le_bytes();
            prop_assert!(unpack([&MAGIC[..], &length, &block].concat().into()).is_err());
        }
    }

    #[test]
    fn rows_become_a_fraction() {
        let rows: String = (0..1000).map(|n| format!("{{\"id\":{n},\"name\":\"some name\"}},")).collect();
        assert!(pack(rows.clone().into()).len() * 3 < rows.len());
    }
}
