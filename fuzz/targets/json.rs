//! Any bytes of a JSON column are embedded as JSON that every client reads, or stand as text; nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| chunkflow::fuzz::json(text));
