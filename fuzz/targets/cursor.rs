//! Any text is refused as a cursor or comes back as it went, with a secret and without; any bytes are
//! a canonical form or are not.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| chunkflow::fuzz::cursor(data));
