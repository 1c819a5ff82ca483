//! Brotli (RFC 7932). The pieces are runs of meta-blocks that end at a byte and refer to nothing
//! before them.

use brotli::enc::BrotliEncoderParams;
use bytes::{BufMut, Bytes, BytesMut};

use super::Codec;
use crate::chunk::Sum;

/// Smaller and faster than 5; lower levels give more bytes than gzip. 0 and 1 cannot be spliced.
const QUALITY: i32 = 6;
/// The binary logarithm of the window, which is longer than a chunk.
const WINDOW: i32 = 18;
/// The window in four bits, then an empty metadata block, so that it ends at a byte.
const HEAD: [u8; 2] = [0x63, 0x00];
/// An empty last meta-block.
const LAST: u8 = 0x03;

pub(super) struct Brotli;

impl Codec for Brotli {
    fn begin(&self, plain: &[u8]) -> Bytes {
        [&HEAD[..], &self.stored(plain)].concat().into()
    }

    fn piece(&self, plain: &[u8]) -> Bytes {
        let options = BrotliEncoderParams {
            quality: QUALITY,
            lgwin: WINDOW,
            size_hint: plain.len(),
            // Without head and end, and without references to what comes before.
            bare_stream: true,
            appendable: true,
            catable: true,
            use_dictionary: false,
            ..BrotliEncoderParams::default()
        };

        let mut out = Vec::with_capacity(plain.len() / 4 + 64);
        brotli::BrotliCompress(&mut &*plain, &mut out, &options).expect("writing to memory does not fail");
        out.shrink_to_fit();
        out.into()
    }

    fn stored(&self, plain: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(plain.len() + 3);
        for block in plain.chunks(1 << 16) {
            // Not the last block; length in four nibbles; uncompressed.
            out.put_uint_le((block.len() as u64 - 1) << 3 | 1 << 19, 3);
            out.put_slice(block);
        }
        out.freeze()
    }

    fn end(&self, plain: &[u8], _: &Sum) -> Bytes {
        [&self.stored(plain)[..], &[LAST]].concat().into()
    }
}
