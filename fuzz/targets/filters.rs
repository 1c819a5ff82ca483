//! Any condition or tree of conditions is read or refused; it never panics, and what was read is in
//! its one form.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| chunkflow::fuzz::filters(text));
