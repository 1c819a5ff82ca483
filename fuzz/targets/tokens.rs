//! No bytes are a token, a key or a ticket of somebody, wherever they stand in a request; nothing
//! panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chunkflow::fuzz::tokens(bytes));
