//! The entry points of the targets in `fuzz/`: parsers, each with what must hold for any input.
//! Only in builds with `--cfg fuzzing`.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::{cursor::Cursor, seal::Seal, secret::Secret};

/// The seals of lists with zero to three columns, with and without a secret.
static SEALS: LazyLock<Vec<Seal>> = LazyLock::new(|| {
    let secret = Secret::new(&["the secret of the fuzz target, of no server"]).expect("it is long enough");
    let seals = |columns| [None, Some(&secret)].map(|secret| Seal::new(secret, b"list", columns));
    (0..4).flat_map(seals).collect()
});

/// Any text is refused as a cursor or comes back unchanged, with and without a secret. Any bytes
/// are a canonical form or are refused.
pub fn cursor(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        for seal in SEALS.iter() {
            if let Ok(cursor) = seal.unseal(text) {
                assert_eq!(seal.seal(&cursor).as_str(), text);
            }
        }
    }

    let Some(cursor) = Cursor::from_canonical(Bytes::copy_from_slice(data)) else { return };
    let values: Vec<_> = cursor.values().collect();
    assert_eq!(Cursor::after(&values).expect("its own values"), cursor);

    if let Some([plain, encrypted]) = SEALS.chunks(2).nth(values.len()) {
        let texts = [plain.seal(&cursor), encrypted.seal(&cursor)];
        assert_eq!(plain.unseal(&texts[0]).expect("its own text"), cursor);
        assert_eq!(encrypted.unseal(&texts[1]).expect("its own text"), cursor);
        assert!(plain.unseal(&texts[1]).is_err() && encrypted.unseal(&texts[0]).is_err());
    }
}

/// Any bytes are the body of a request that tells of changes, or are refused; so is any text as a
/// token.
#[cfg(feature = "server")]
pub fn changes(bytes: &[u8]) {
    crate::change::json::fuzz_changes(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        crate::change::fuzz_token(text);
    }
}

/// Any query string is read as filters or refused.
pub fn filters(text: &str) {
    crate::web::fuzz_filter(text);
}

/// Any bytes are a `Forwarded` field or none.
#[cfg(feature = "server")]
pub fn forwarded(bytes: &[u8]) {
    crate::server::fuzz_forwarded(bytes);
}

/// Any bytes on a connection parse as the same requests' heads, no matter how they are split.
#[cfg(feature = "server")]
pub fn head(bytes: &[u8]) {
    crate::server::fuzz_head(bytes);
}

/// Any bytes of a JSON column are embedded as JSON that every client can read, or become a string.
pub fn json(text: &[u8]) {
    crate::text::fuzz_json(text);
}

/// Any bytes are refused as an entry of the journal and as its head, or come back from their form.
#[cfg(any(feature = "redis", feature = "memcached"))]
pub fn journal(bytes: &[u8]) {
    crate::store::fuzz_journal(bytes);
}

/// Any bytes of a PostgreSQL value of the type with this number are a value or an error.
#[cfg(feature = "postgres")]
pub fn postgres_wire(oid: u32, raw: &[u8]) {
    crate::source::fuzz_postgres_wire(oid, raw);
}

/// No bytes are a token, a key or a ticket of somebody.
#[cfg(feature = "server")]
pub fn tokens(bytes: &[u8]) {
    crate::auth::fuzz_tokens(bytes);
}

/// Any bytes are a `traceparent` or none.
pub fn traceparent(bytes: &[u8]) {
    crate::trace::fuzz_traceparent(bytes);
}
