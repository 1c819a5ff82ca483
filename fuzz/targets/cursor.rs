//! Any text is refused as a cursor or comes back as it went, with a secret and without; any bytes are
//! a canonical form or are not.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use chunkflow::{Cursor, Seal, Secret};
use libfuzzer_sys::fuzz_target;

/// Of lists of one to three columns: without a secret, with one.
static SEALS: LazyLock<Vec<Seal>> = LazyLock::new(|| {
    let secret = Secret::new(&["the secret of the fuzz target, of no server"]).expect("it is long enough");
    let seals = |columns| [None, Some(&secret)].map(|secret| Seal::new(secret, b"list", columns));
    (0..4).flat_map(seals).collect()
});

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        for seal in SEALS.iter() {
            if let Ok(cursor) = seal.unseal(text) {
                assert_eq!(seal.seal(&cursor).as_str(), text);
            }
        }
    }

    if let Some(cursor) = Cursor::from_canonical(Bytes::copy_from_slice(data)) {
        let values: Vec<_> = cursor.values().collect();
        assert_eq!(Cursor::after(&values).expect("its own values"), cursor);

        if let Some(pair) = SEALS.chunks(2).nth(values.len()) {
            let [plain, encrypted] = pair else { unreachable!("two of each") };
            let texts = [plain.seal(&cursor), encrypted.seal(&cursor)];
            assert_eq!(plain.unseal(&texts[0]).expect("its own text"), cursor);
            assert_eq!(encrypted.unseal(&texts[1]).expect("its own text"), cursor);
            assert!(plain.unseal(&texts[1]).is_err() && encrypted.unseal(&texts[0]).is_err());
        }
    }
});
