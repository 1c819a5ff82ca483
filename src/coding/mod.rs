//! Content codings: how a body is compressed, chunk by chunk.
//!
//! Each chunk is compressed once, alone, into a *piece* that may follow any other. A body is a few
//! bytes, pieces with a few bytes between them, and a few bytes at the end. These are spliced into
//! one stream of the coding, which every decoder reads to its end. To add a coding, write a file
//! like `gzip.rs` and add its row to [`CODINGS`].

mod brotli;
mod gzip;

use std::fmt;

use bytes::Bytes;

use crate::{chunk::Sum, kind::Kind};

/// How bodies of a coding are spliced from pieces.
///
/// # Contract
/// `begin`, any number of pieces in any order, and `end` are one complete body. It decodes to the
/// bytes that the pieces were made from. A body that is cut anywhere does not decode as complete.
pub(crate) trait Codec: Send + Sync + 'static {
    /// The beginning of a body, which also holds these bytes.
    fn begin(&self, plain: &[u8]) -> Bytes;

    /// A piece that holds a chunk's body.
    fn piece(&self, plain: &[u8]) -> Bytes;

    /// A piece that holds a few bytes uncompressed, at no cost.
    fn stored(&self, plain: &[u8]) -> Bytes;

    /// A piece with the last bytes, and the end of a body. `sum` is the checksum of all that the
    /// body decodes to.
    fn end(&self, plain: &[u8], sum: &Sum) -> Bytes;
}

/// A content coding (RFC 9110 §8.4.1) of this build, as the index of its row in [`CODINGS`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Coding(u8);

impl Coding {
    /// All codings.
    pub(crate) fn all() -> impl ExactSizeIterator<Item = Coding> {
        (0..CODINGS.len() as u8).map(Coding)
    }

    /// The coding with this name.
    #[cfg(feature = "server")]
    pub(crate) fn named(name: &str) -> Option<Coding> {
        Coding::all().find(|coding| coding.name() == name)
    }

    /// Its name in HTTP: `gzip`.
    pub(crate) fn name(self) -> &'static str {
        CODINGS[self.index()].name
    }

    /// Makes its bodies.
    pub(crate) fn codec(self) -> &'static dyn Codec {
        CODINGS[self.index()].open
    }

    /// Its row in [`CODINGS`].
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }
}

impl fmt::Debug for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The codings of this build, by their names in HTTP. Of two with equal weight the first is used.
pub(crate) const CODINGS: &[Kind<&dyn Codec>] = &[
    Kind { name: "gzip", example: "Accept-Encoding: gzip", open: &gzip::Gzip },
    Kind { name: "br", example: "Accept-Encoding: br", open: &brotli::Brotli },
];

/// The coding that an `Accept-Encoding` header asks for (RFC 9110 §12.5.3); `Ok(None)` for no
/// compression, an error if nothing is acceptable.
pub(crate) fn negotiate(accept: &str) -> Result<Option<Coding>, ()> {
    let wishes: Vec<(&str, u16)> = accept.split(',').filter_map(wish).collect();
    if wishes.is_empty() {
        return Ok(None);
    }

    let weight = |name: &str| {
        let named = |wished: &str| wishes.iter().find(|(wish, _)| wish.eq_ignore_ascii_case(wished)).map(|wish| wish.1);
        // `x-gzip` is the same as `gzip` (RFC 9110 §8.4.1.3).
        let old = |wish: &str| matches!(wish.split_at_checked(2), Some(("x-" | "X-", bare)) if bare.eq_ignore_ascii_case(name));
        let old = || wishes.iter().find(|(wish, _)| old(wish)).map(|wish| wish.1);
        named(name).or_else(old).or_else(|| named("*"))
    };

    let weighed = Coding::all().map(|coding| (coding, weight(coding.name()).unwrap_or(0)));
    let (best, most) = weighed.min_by_key(|&(coding, weight)| (u16::MAX - weight, coding)).ok_or(())?;
    // `identity` is acceptable unless it is excluded.
    match weight("identity") {
        identity if most > 0 && identity.unwrap_or(0) <= most => Ok(Some(best)),
        Some(0) => Err(()),
        _ => Ok(None),
    }
}

/// A coding and its weight in thousandths.
fn wish(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = weight.map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0)).clamp(0.0, 1.0);
    Some((name, (weight * 1000.0) as u16))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accept_encoding_chooses_the_coding_with_the_highest_weight() {
        let chosen = |accept| negotiate(accept).map(|coding| coding.map_or("identity", Coding::name));
        for (accept, expected) in [
            ("", "identity"),
            ("gzip", "gzip"),
            ("x-gzip", "gzip"),
            ("gzip, deflate, br, zstd", "gzip"),
            ("br, gzip;q=0.9", "br"),
            ("GZIP;Q=0.1", "gzip"),
            ("*", "gzip"),
            ("gzip;q=0, *", "br"),
            ("deflate", "identity"),
            ("gzip;q=0", "identity"),
            ("identity;q=1, gzip;q=0.5", "identity"),
            ("identity;q=0.5, gzip;q=0.5", "gzip"),
            ("identity;q=0, br", "br"),
            ("gzip;q=nonsense", "identity"),
        ] {
            assert_eq!(chosen(accept), Ok(expected), "{accept}");
        }

        assert_eq!(chosen("identity;q=0"), Err(()));
        assert_eq!(chosen("*;q=0"), Err(()));
    }

    /// The body of these pieces, with `,` between them.
    fn spliced(coding: &dyn Codec, begin: &[u8], chunks: &[Vec<u8>], end: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let plain = [begin, &chunks.join(&b','), end].concat();
        let mut body = coding.begin(begin).to_vec();
        for (index, chunk) in chunks.iter().enumerate() {
            if index > 0 {
                body.extend(coding.stored(b","));
            }
            body.extend(coding.piece(chunk));
        }
        body.extend(coding.end(end, &Sum::of(&plain)));
        (body, plain)
    }

    fn decoded(name: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut plain = vec![];
        match name {
            "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut plain)?,
            _ => ::brotli::Decompressor::new(body, 4096).read_to_end(&mut plain)?,
        };
        Ok(plain)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn spliced_pieces_are_one_body_and_a_cut_one_never_decodes_as_whole(
            begin in prop::collection::vec(any::<u8>(), 0..40),
            chunks in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..3000),
                    "([a-d]{1,9}\n){0,4000}".prop_map(String::into_bytes),
                ],
                0..6,
            ),
            end in prop::collection::vec(any::<u8>(), 0..40),
            cut in any::<prop::sample::Index>(),
        ) {
            for coding in CODINGS {
                let (body, plain) = spliced(coding.open, &begin, &chunks, &end);
                prop_assert_eq!(decoded(coding.name, &body).unwrap(), plain, "{}", coding.name);
                let cut = &body[..cut.index(body.len())];
                prop_assert!(decoded(coding.name, cut).is_err(), "{} cut at {}", coding.name, cut.len());
            }
        }
    }

    #[test]
    fn what_is_stored_may_be_long() {
        for coding in CODINGS {
            let long: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
            let (body, plain) = spliced(coding.open, &long, &[], &long);
            assert_eq!(decoded(coding.name, &body).unwrap(), plain);
        }
    }
}
