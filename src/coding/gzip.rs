//! gzip (RFC 1952): one member whose deflate blocks (RFC 1951) are the pieces. A member for each
//! piece would be simpler, but many clients stop after the first member.

use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};

use super::Codec;
use crate::chunk::Sum;

/// Output a seventh larger than with 6, in half the time.
const LEVEL: u32 = 3;
/// Without a name, a time or a system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block.
const LAST: [u8; 2] = [0x03, 0x00];

thread_local! {
    /// A few hundred KiB of state, kept so that it is not made for each chunk.
    static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

pub(super) struct Gzip;

impl Codec for Gzip {
    fn begin(&self, plain: &[u8]) -> Bytes {
        [&HEAD[..], &self.stored(plain)].concat().into()
    }

    fn piece(&self, plain: &[u8]) -> Bytes {
        DEFLATE.with_borrow_mut(|deflate| {
            deflate.reset();
            let mut out = Vec::with_capacity(plain.len() / 4 + 64);
            loop {
                let rest = &plain[deflate.total_in() as usize..];
                // A full flush ends at a byte, and later data never refers to bytes before it.
                deflate.compress_vec(rest, &mut out, FlushCompress::Full).expect("compressing does not fail");
                if deflate.total_in() as usize == plain.len() && out.len() < out.capacity() {
                    out.shrink_to_fit();
                    return out.into();
                }
                out.reserve(out.capacity());
            }
        })
    }

    fn stored(&self, plain: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(plain.len() + 5);
        for block in plain.chunks(usize::from(u16::MAX)) {
            let length = block.len() as u16;
            out.put_u8(0);
            out.put_u16_le(length);
            out.put_u16_le(!length);
            out.put_slice(block);
        }
        out.freeze()
    }

    fn end(&self, plain: &[u8], sum: &Sum) -> Bytes {
        // The length is modulo 2³².
        [&self.stored(plain)[..], &LAST, &sum.crc.to_le_bytes(), &(sum.bytes as u32).to_le_bytes()].concat().into()
    }
}
