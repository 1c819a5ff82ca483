//! JSON Web Tokens (RFC 7519), signed by a key that the configuration names.
//!
//! The key decides how a token is checked, and never the token (RFC 8725 §3.1). A token that was
//! right is remembered by its digest, so that the next request with it costs no signature.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, decode, errors::ErrorKind};
use serde_json::{Map, Value};

use super::{
    ask::Endpoint,
    expiry,
    jwks::{Jwks, Set},
    public_key::Key,
    refusal::Refusal,
    remembered::{Remembered, digest, memory_of},
};
use crate::identity::Identity;

/// A longer token is refused, in bytes.
const LONGEST: usize = 12 * 1024;
/// How long a token that was right counts as right without another look.
const KEEP: Duration = Duration::from_secs(60);

/// What a client is told where no key is for its token.
const NO_KEY: &str = "no key here checks the token's signature";
/// What a client is told of a claim of another type.
const ODD_CLAIM: &str = "a claim of the token is not as it should be";

/// `[auth.jwt]`
#[derive(Clone, Debug)]
pub(crate) struct JwtConfig {
    pub(crate) keys: JwtKeys,
    /// Whose tokens are taken; empty: anybody's who has the key.
    pub(crate) issuers: Vec<String>,
    /// For whom they may be; empty: for nobody in particular.
    pub(crate) audiences: Vec<String>,
    pub(crate) leeway: Duration,
    /// Empty: what each key is for.
    pub(crate) algorithms: Vec<Algorithm>,
    /// Whether a token must say when it ends.
    pub(crate) requires_exp: bool,
}

/// Where the keys come from.
#[derive(Clone, Debug)]
pub(crate) enum JwtKeys {
    Given(Vec<Key>),
    /// A JWKS at this address.
    At(Endpoint),
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Jwt {
    config: JwtConfig,
    keys: Keys,
    remembered: Remembered<Arc<Identity>>,
}

#[derive(Debug)]
enum Keys {
    Given(Arc<Set>),
    At(Arc<Jwks>),
}

/// Why a token is refused.
struct Wrong {
    refusal: Refusal,
    /// Whether another key might take it.
    is_of_key: bool,
}

/// What a token says of its signature.
struct Head {
    algorithm: Algorithm,
    key: Option<String>,
}

impl Jwt {
    /// `before`: what was there until a reload. Keys that came from the same address are kept, since
    /// it may be away; tokens are not.
    pub(super) fn new(config: &JwtConfig, before: Option<&Jwt>) -> Jwt {
        let keys = match &config.keys {
            JwtKeys::Given(keys) => Keys::Given(Arc::new(Set::new(keys.clone()))),
            JwtKeys::At(endpoint) => {
                let kept = before.and_then(|before| match &before.keys {
                    Keys::At(jwks) if jwks.is_at(endpoint) => Some(Arc::clone(jwks)),
                    _ => None,
                });
                Keys::At(kept.unwrap_or_else(|| Arc::new(Jwks::new(endpoint.clone()))))
            }
        };
        Jwt { config: config.clone(), keys, remembered: Remembered::new() }
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// When it is wrong; when it cannot be told, since there are no keys yet.
    pub(super) async fn identity(&self, token: &str) -> Result<Arc<Identity>, Refusal> {
        if token.len() > LONGEST {
            return Err(Refusal::wrong("the token is too long"));
        }

        let began = Instant::now();
        // Of a token that one set has checked, another set may not have the key.
        let epoch = self.epoch().to_be_bytes();
        let digest = digest([&epoch[..], token.as_bytes()]);
        let remembered = self.remembered.get(&digest);
        if let Some(identity) = remembered.filter(|identity| identity.is_current(SystemTime::now())) {
            return Ok(identity);
        }

        let head = Head::of(token)?;
        let set = match &self.keys {
            Keys::Given(set) => Arc::clone(set),
            Keys::At(jwks) => jwks.set(head.key.as_deref()).await?,
        };

        let mut checked = self.checked(token, &head, &set);
        if let (Err(wrong), Keys::At(jwks)) = (&checked, &self.keys)
            // One that names its key has had the set read if the key was not there.
            && wrong.is_of_key && head.key.is_none()
            && let Some(set) = jwks.set_after(&set).await
        {
            checked = self.checked(token, &head, &set);
        }
        let identity = Arc::new(checked.map_err(|wrong| wrong.refusal)?);

        let kept = Arc::clone(&identity);
        self.remembered.keep(digest, kept, memory_of(identity.claims()), began, KEEP);
        Ok(identity)
    }

    #[cfg(test)]
    pub(super) fn jwks(&self) -> &Jwks {
        match &self.keys {
            Keys::At(jwks) => jwks,
            Keys::Given(_) => panic!("these keys come from the configuration"),
        }
    }

    /// Changes with the keys.
    fn epoch(&self) -> u64 {
        match &self.keys {
            Keys::Given(_) => 0,
            Keys::At(jwks) => jwks.epoch(),
        }
    }

    fn checked(&self, token: &str, head: &Head, set: &Set) -> Result<Identity, Wrong> {
        let algorithm = head.algorithm;
        let of_key = |refusal| Wrong { refusal, is_of_key: true };
        let of_token = |refusal| Wrong { refusal, is_of_key: false };
        if !self.config.algorithms.is_empty() && !self.config.algorithms.contains(&algorithm) {
            return Err(of_token(Refusal::wrong(NO_KEY)));
        }

        let keys = set.fitting(head.key.as_deref(), algorithm).map_err(of_key)?;
        if keys.is_empty() {
            return Err(of_key(Refusal::wrong(NO_KEY)));
        }

        let validation = self.validation(algorithm);
        for key in keys {
            match decode::<Map<String, Value>>(token, &key.key, &validation) {
                Ok(decoded) => return self.identity_of(decoded.claims).map_err(of_token),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                // With a right signature, no other key says more.
                Err(error) => return Err(of_token(Refusal::wrong(told(error.kind())))),
            }
        }
        Err(of_key(Refusal::wrong(told(&ErrorKind::InvalidSignature))))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        let mut demanded = vec![];
        validation.leeway = self.config.leeway.as_secs();
        validation.validate_nbf = true;
        if self.config.requires_exp {
            demanded.push("exp");
        }

        if !self.config.issuers.is_empty() {
            validation.set_issuer(&self.config.issuers);
            demanded.push("iss");
        }

        if !self.config.audiences.is_empty() {
            validation.set_audience(&self.config.audiences);
            demanded.push("aud");
        }

        validation.set_required_spec_claims(&demanded);
        validation
    }

    fn identity_of(&self, claims: Map<String, Value>) -> Result<Identity, Refusal> {
        // A list of issuers is none (RFC 7519 §4.1.1).
        if !self.config.issuers.is_empty() && !claims.get("iss").is_some_and(Value::is_string) {
            return Err(Refusal::wrong("the token is another issuer's"));
        }

        let end = expiry::of(&claims).map_err(|expiry::NoMoment| Refusal::wrong(ODD_CLAIM))?;
        let identity = Identity::new(claims);
        Ok(match end {
            Some(end) => identity.until(end + self.config.leeway),
            None => identity,
        })
    }
}

impl Head {
    /// # Errors
    /// When the token is none, when it names no algorithm that is checked here, or says that
    /// something must be understood that is not.
    fn of(token: &str) -> Result<Head, Refusal> {
        let encoded = token.split('.').next().unwrap_or_default();
        let decoded = URL_SAFE_NO_PAD.decode(encoded).ok();
        let fields = decoded.and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok());
        let fields = fields.ok_or_else(|| Refusal::wrong("the token is no JWT"))?;

        // Nothing of it is understood here, and none of it may be passed over (RFC 7515 §4.1.11).
        if fields.contains_key("crit") {
            return Err(Refusal::wrong("the token has a critical field that is not understood here"));
        }

        let named = fields.get("alg").and_then(Value::as_str).and_then(|name| name.parse().ok());
        let algorithm = named.ok_or_else(|| Refusal::wrong("the token's algorithm is not taken here"))?;
        let key = match fields.get("kid") {
            None => None,
            Some(Value::String(key)) => Some(key.clone()),
            Some(_) => return Err(Refusal::wrong("the name of the token's key is no text")),
        };
        Ok(Head { algorithm, key })
    }
}

/// What is wrong with a token. Nothing of the token is repeated.
fn told(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidIssuer => "the token is another issuer's",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::MissingRequiredClaim(name) => match &**name {
            "exp" => "the token does not say when it ends",
            "aud" => "the token does not say for whom it is",
            _ => "the token does not say whose it is",
        },
        ErrorKind::InvalidClaimFormat(_) => ODD_CLAIM,
        _ => "the token is no JWT",
    }
}

#[cfg(test)]
mod tests;
