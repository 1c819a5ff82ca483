//! Any query string is read or refused; it never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| chunkflow::fuzz::filters(text));
