//! Any text is refused as a cursor or comes back as it went; any bytes are a canonical form or are not.
#![no_main]

use bytes::Bytes;
use chunkflow::Cursor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        for columns in 0..4 {
            if let Ok(cursor) = Cursor::unseal(text, 7, columns) {
                assert_eq!(cursor.seal(7).as_str(), text);
            }
        }
    }
    if let Some(cursor) = Cursor::from_canonical(Bytes::copy_from_slice(data)) {
        let values: Vec<_> = cursor.values().collect();
        assert_eq!(Cursor::after(&values).expect("its own values"), cursor);
        assert_eq!(Cursor::unseal(&cursor.seal(1), 1, values.len()).expect("its own text"), cursor);
    }
});
