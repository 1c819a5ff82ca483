//! Any bytes are a `Forwarded` field or none; what is read is the same once it is written as the RFC says and
//! read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chunkflow::fuzz::forwarded(bytes));
