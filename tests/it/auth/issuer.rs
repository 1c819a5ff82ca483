//! Tokens of an issuer that publishes its keys over TLS.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::tickets::{JSON, WANTED, post};
use crate::support::{Ended, Process, numbered, until};

/// A certificate for localhost.
fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args("req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=localhost".split(' '))
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// A server over TLS that answers with what its files hold, heads and all.
fn issuer(folder: &Path) -> (Ended, u16) {
    let port = crate::servers::free_port();
    let server = Command::new("openssl")
        .args("s_server -quiet -HTTP -cert cert.pem -key key.pem -accept".split(' '))
        .arg(port.to_string())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Ended(server);
    until("the issuer listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (server, port)
}

#[test]
fn a_token_is_checked_with_keys_that_come_over_tls_from_who_has_the_right_certificate() {
    let file = numbered(10);
    let folder = file.folder.path();
    certificate(folder);
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let point = key.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "one", "x": text(&point[1..33]), "y": text(&point[33..])});
    let set = json!({"keys": [jwk]}).to_string();
    fs::write(folder.join("keys"), format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{set}", set.len())).unwrap();

    let head = text(json!({"alg": "ES256", "kid": "one"}).to_string().as_bytes());
    let claims = text(json!({"sub": "anna", "exp": 4_102_444_800_u64}).to_string().as_bytes());
    let signature = key.sign(&SystemRandom::new(), format!("{head}.{claims}").as_bytes()).unwrap();
    let token = format!("Bearer {head}.{claims}.{}", text(signature.as_ref()));

    let (_issuer, port) = issuer(folder);
    for (ca, status) in [("ca = \"cert.pem\"", 200), ("", 503)] {
        let auth = format!("[auth.jwt]\njwks = \"https://localhost:{port}/keys\"\n{ca}\n");
        fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"") + &auth).unwrap();
        let mut server = Process::serve(&["serve", "--log", "info"], folder);
        let reply = post(server.address, &[JSON, ("authorization", &token)], WANTED);
        let log = server.kill().join("\n");
        assert_eq!(reply.status, status, "{ca}: {log}");
        if status == 503 {
            assert!(!reply.header("retry-after").is_empty());
            assert!(log.contains("the keys that check tokens cannot be read"), "{log}");
        }
    }
}
