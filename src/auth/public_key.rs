//! The keys that check signatures: what each is for, and nothing else.
//!
//! An RSA key is never used as a secret, a curve never with another curve's algorithm. So a token
//! cannot choose how it is checked.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::pem::{PemObject, SectionKind};
use serde::Deserialize;
use x509_cert::{
    Certificate,
    der::{
        Decode, Encode,
        asn1::{AnyRef, ObjectIdentifier, UintRef},
    },
    spki::SubjectPublicKeyInfoRef,
};

use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const OF_RSA: &[Algorithm] = &[RS256, RS384, RS512, PS256, PS384, PS512];
const OF_RSA_PSS: &[Algorithm] = &[PS256, PS384, PS512];
const OF_P256: &[Algorithm] = &[ES256];
const OF_P384: &[Algorithm] = &[ES384];
const OF_ED25519: &[Algorithm] = &[EdDSA];
/// The algorithms of secrets of so many bytes: one is at least as long as its digest (RFC 7518
/// §3.2).
const OF_SECRETS: &[(usize, &[Algorithm])] = &[(64, &[HS256, HS384, HS512]), (48, &[HS256, HS384]), (32, &[HS256])];

/// The lengths of an RSA modulus that are neither weak nor a burden, in bytes.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// The names of all algorithms, as tokens write them.
pub(crate) const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", RS256),
    ("RS384", RS384),
    ("RS512", RS512),
    ("PS256", PS256),
    ("PS384", PS384),
    ("PS512", PS512),
    ("ES256", ES256),
    ("ES384", ES384),
    ("EdDSA", EdDSA),
    ("HS256", HS256),
    ("HS384", HS384),
    ("HS512", HS512),
];

/// A key that checks signatures.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its name in tokens.
    pub(super) id: Option<String>,
    /// What it is for.
    pub(crate) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

impl Key {
    fn new(algorithms: &[Algorithm], key: DecodingKey) -> Key {
        Key { id: None, algorithms: algorithms.to_vec(), key }
    }

    /// A secret that the server shares with who makes the tokens.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn of_secret(secret: &str) -> Result<Key, &'static str> {
        if secret.contains("-----BEGIN ") {
            return Err("is a key in PEM");
        }

        let fits = OF_SECRETS.iter().find(|(least, _)| secret.len() >= *least);
        let (_, algorithms) = fits.ok_or("is shorter than 32 bytes, and could be guessed")?;
        let key = DecodingKey::from_secret(secret.as_bytes()).map_err(|_| "is empty")?;
        Ok(Key::new(algorithms, key))
    }

    /// The public keys and certificates of a PEM file.
    ///
    /// # Errors
    /// Why one cannot be used, for a message.
    pub(crate) fn of_pem(pem: &[u8]) -> Result<Vec<Key>, String> {
        let mut keys = vec![];
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|_| "is no PEM file")?;
            let spki = match kind {
                SectionKind::PublicKey => der,
                SectionKind::Certificate => {
                    let certificate = Certificate::from_der(&der).map_err(|_| "holds a broken certificate")?;
                    let key = certificate.tbs_certificate.subject_public_key_info.to_der();
                    key.map_err(|_| "holds a broken certificate")?
                }
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                    return Err("holds a private key, which nobody should have but who makes the tokens".to_owned());
                }
                _ => continue,
            };
            keys.push(Key::of_spki(&spki)?);
        }

        if keys.is_empty() { Err("holds no public key in PEM".to_owned()) } else { Ok(keys) }
    }

    /// A public key as X.509 has it (RFC 5280 §4.1.2.7).
    fn of_spki(der: &[u8]) -> Result<Key, String> {
        let broken = || "holds a broken key".to_owned();
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| broken())?;
        let bits = spki.subject_public_key.as_bytes().ok_or_else(broken)?;
        match spki.algorithm.oid {
            kind @ (RSA | RSA_PSS) => {
                let key = AnyRef::from_der(bits)
                    .and_then(|any| any.sequence(|reader| Ok((UintRef::decode(reader)?, UintRef::decode(reader)?))));
                let (n, e) = key.map_err(|_| broken())?;
                let algorithms = if kind == RSA { OF_RSA } else { OF_RSA_PSS };
                of_modulus(n.as_bytes(), e.as_bytes(), algorithms).map_err(|why| format!("holds an RSA key that {why}"))
            }
            EC => match spki.algorithm.parameters.and_then(|curve| curve.decode_as().ok()) {
                Some(P256) => of_point(bits, 32, OF_P256).ok_or_else(broken),
                Some(P384) => of_point(bits, 48, OF_P384).ok_or_else(broken),
                _ => Err("holds a key of another curve than P-256 and P-384".to_owned()),
            },
            ED25519 => of_ed25519(bits).ok_or_else(broken),
            _ => Err("holds a key of another kind than RSA, EC and Ed25519".to_owned()),
        }
    }

    /// A member of a JWKS (RFC 7517 §4); `None` if it is no public key for signatures that are
    /// checked here. A symmetric one is none: what a URL hands out is no secret.
    pub(super) fn of_jwk(json: &str) -> Option<Key> {
        let jwk: Jwk = serde_json::from_str(json).ok()?;
        let is_for_signatures = jwk.r#use.as_ref().is_none_or(|of| of == "sig")
            && jwk.key_ops.as_ref().is_none_or(|of| of.iter().any(|one| one == "verify"));
        if !is_for_signatures {
            return None;
        }

        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let mut key = match (&*jwk.kty, jwk.crv.as_deref()) {
            ("RSA", _) => of_modulus(&bytes(&jwk.n)?, &bytes(&jwk.e)?, OF_RSA).ok()?,
            ("EC", Some("P-256")) => of_point(&point(&bytes(&jwk.x)?, &bytes(&jwk.y)?), 32, OF_P256)?,
            ("EC", Some("P-384")) => of_point(&point(&bytes(&jwk.x)?, &bytes(&jwk.y)?), 48, OF_P384)?,
            ("OKP", Some("Ed25519")) => of_ed25519(&bytes(&jwk.x)?)?,
            _ => return None,
        };

        if let Some(alg) = jwk.alg {
            let alg = Algorithm::from_str(&alg).ok()?;
            key.algorithms.retain(|one| *one == alg);
        }
        key.id = jwk.kid;
        (!key.algorithms.is_empty()).then_some(key)
    }
}

/// The members of a key in a JWKS that are looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn of_modulus(n: &[u8], e: &[u8], algorithms: &[Algorithm]) -> Result<Key, &'static str> {
    let n = &n[n.iter().take_while(|byte| **byte == 0).count()..];
    if n.len() < *MODULUS.start() {
        return Err("is shorter than 2048 bits");
    }
    if n.len() > *MODULUS.end() || e.is_empty() || e.len() > 8 {
        return Err("is far too long");
    }
    Ok(Key::new(algorithms, DecodingKey::from_rsa_raw_components(n, e)))
}

/// A point that is not compressed, with coordinates of so many bytes.
fn of_point(point: &[u8], size: usize, algorithms: &[Algorithm]) -> Option<Key> {
    let is_one = point.len() == 1 + 2 * size && point[0] == 4;
    is_one.then(|| Key::new(algorithms, DecodingKey::from_ec_der(point)))
}

fn point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

fn of_ed25519(bits: &[u8]) -> Option<Key> {
    (bits.len() == 32).then(|| Key::new(OF_ED25519, DecodingKey::from_ed_der(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_for_the_algorithms_whose_digest_is_no_longer() {
        let of = |length: usize| Key::of_secret(&"s".repeat(length)).map(|key| key.algorithms);
        assert!(of(0).is_err() && of(31).is_err());
        assert_eq!(of(32).unwrap(), [HS256]);
        assert_eq!(of(63).unwrap(), [HS256, HS384]);
        assert_eq!(of(64).unwrap(), [HS256, HS384, HS512]);
    }

    #[test]
    fn a_public_key_is_no_secret() {
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", "A".repeat(64));
        assert_eq!(Key::of_secret(&pem).unwrap_err(), "is a key in PEM");
    }

    #[test]
    fn of_a_set_only_public_keys_for_signatures_are_taken() {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let n = b64(&[0xff; 256]);
        let c = b64(&[1; 32]);
        let long = b64(&[1; 48]);
        let taken = |json: &str| Key::of_jwk(json).map(|key| key.algorithms);

        assert_eq!(taken(&format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#)).unwrap(), OF_RSA);
        assert_eq!(
            taken(&format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS256","use":"sig"}}"#)).unwrap(),
            [RS256]
        );
        assert_eq!(taken(&format!(r#"{{"kty":"EC","crv":"P-256","x":"{c}","y":"{c}","x5t":1}}"#)).unwrap(), [ES256]);
        assert_eq!(taken(&format!(r#"{{"kty":"EC","crv":"P-384","x":"{long}","y":"{long}"}}"#)).unwrap(), [ES384]);
        assert_eq!(taken(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{c}"}}"#)).unwrap(), [EdDSA]);

        let short = b64(&[0xff; 128]);
        for other in [
            format!(r#"{{"kty":"oct","k":"{c}"}}"#),
            format!(r#"{{"kty":"RSA","n":"{short}","e":"AQAB"}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","use":"enc"}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","key_ops":["encrypt"]}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"HS256"}}"#),
            format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"none"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{c}","y":"{c}","alg":"ES384"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{c}","y":"{c}"}}"#),
            format!(r#"{{"kty":"EC","crv":"secp256k1","x":"{c}","y":"{c}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{c}"}}"#),
            r#"{"kty":"RSA","n":"!","e":"AQAB"}"#.to_owned(),
            r#"{"kty":7}"#.to_owned(),
            "[]".to_owned(),
        ] {
            assert_eq!(taken(&other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_public_key_in_a_file_is_told() {
        for (pem, why) in [
            ("", "holds no public key in PEM"),
            ("ssh-ed25519 AAAA", "holds no public key in PEM"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a private key"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "broken key"),
            ("-----BEGIN PUBLIC KEY-----\n%%\n-----END PUBLIC KEY-----\n", "no PEM"),
        ] {
            let told = Key::of_pem(pem.as_bytes()).unwrap_err();
            assert!(told.contains(why), "{pem}: {told}");
        }
    }
}
