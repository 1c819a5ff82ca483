//! Any bytes on a connection are heads of requests, the same ones however they come in pieces, or are refused;
//! nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chunkflow::fuzz::head(bytes));
