//! Random bytes that nobody can guess.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::crypto::aws_lc_rs;

/// Fills a buffer, from the generator that TLS uses.
pub(super) fn fill(bytes: &mut [u8]) {
    let random = aws_lc_rs::default_provider().secure_random;
    random.fill(bytes).expect("the system has random bytes, or TLS would not work either");
}

/// So many random bytes as text.
pub(super) fn text(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    fill(&mut random);
    URL_SAFE_NO_PAD.encode(random)
}
