//! Any bytes are the body of a request that tells of changes, or are refused; a key that was read
//! is read again. Any text is a token, which comes back from its own text, or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chunkflow::fuzz::changes(bytes));
