//! Any bytes are refused as a stored chunk, or are that of a chunk which comes back from its stored form.
#![no_main]

use bytes::Bytes;
use chunkflow::{source::Cursor, store::{Chunk, ChunkKey, ListKey}};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = ChunkKey::new(&ListKey([0; 48]), &Cursor::start(), 0);
    let check = |bytes: Bytes| {
        if let Ok(Some(chunk)) = Chunk::open(&bytes, &key, None) {
            let again = chunk.seal(None);
            assert_eq!(Chunk::open(&again, &key, None).unwrap(), Some(chunk));
        }
    };
    check(Bytes::copy_from_slice(data));
    // With a right head, so that the fuzzer gets behind the checksum.
    let mut sealed = b"ckf3\0\0\0\0".to_vec();
    sealed.extend_from_slice(data);
    let sum = crc32(&sealed[8..]);
    sealed[4..8].copy_from_slice(&sum.to_le_bytes());
    check(sealed.into());
});

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}
