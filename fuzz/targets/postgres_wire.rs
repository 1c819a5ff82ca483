//! What a PostgreSQL server sends as a value of any type is a value or a failure; it never panics, and takes no
//! more memory than it should.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|sent: (u16, &[u8])| chunkflow::fuzz::postgres_wire(sent.0.into(), sent.1));
