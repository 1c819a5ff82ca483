//! Any bytes are a `traceparent` or none; what is read is the same once it is written as version 00 and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chunkflow::fuzz::traceparent(bytes));
