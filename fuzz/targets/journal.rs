//! Any bytes are refused as an entry of the journal and as its head, or come back from their form.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chunkflow::fuzz::journal(bytes));
