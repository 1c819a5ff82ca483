//! Which requests the operator's listener accepts.

use std::io;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use sha2::{Digest, Sha256, digest::Output};

use super::admin::is_for_page;
use crate::{
    config::{AdminConfig, Listen},
    error::{Error, Kind},
    paths::{self, Action, OPERATOR},
    web::{Body, refusal},
};

/// A browser's statement of where a request comes from (<https://www.w3.org/TR/fetch-metadata/>).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Guards the operator's listener.
///
/// Without a token only this machine can connect. But a browser on it may show a foreign page, so
/// requests from other sites are refused. So are all host names but this machine's own, since a
/// foreign page may let its own name resolve to this address (DNS rebinding).
pub(super) struct Guard {
    /// Empty: no request needs a token.
    keys: Vec<Key>,
}

/// A token, and what it opens.
struct Key {
    digest: Output<Sha256>,
    opens: Opens,
}

enum Opens {
    Everything,
    /// The paths of these actions.
    Actions(Vec<Action>),
}

impl Guard {
    /// For the address that the socket is bound to, which may differ from the configuration's by
    /// now.
    ///
    /// # Errors
    /// When a token is needed and there is none, or one is empty.
    pub(super) fn new(admin: &AdminConfig, bound: &Listen) -> io::Result<Guard> {
        let AdminConfig { token, tokens, .. } = admin;
        let wrong = |message: String| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        if token.is_none() && tokens.is_empty() && bound.is_beyond_here() {
            return wrong(format!(
                "the admin listener is bound to {bound}, beyond loopback, until a restart: set `token` in [admin], or restart"
            ));
        }

        let mut values = token.iter().chain(tokens.iter().map(|token| &token.token));
        if values.any(|value| value.trim().is_empty()) {
            return wrong("the token of [admin] is empty: give it a value".to_owned());
        }

        let whole = token.iter().map(|token| Key { digest: Sha256::digest(token), opens: Opens::Everything });
        let parts = tokens
            .iter()
            .map(|token| Key { digest: Sha256::digest(&token.token), opens: Opens::Actions(token.may.clone()) });
        Ok(Guard { keys: whole.chain(parts).collect() })
    }

    /// The hosts that requests may name; `None`: loopback names and the listener's own address.
    pub(super) fn hosts(&self) -> Option<Vec<String>> {
        // A foreign page does not have the token, so with one every name is allowed.
        (!self.keys.is_empty()).then(|| vec!["*".to_owned()])
    }

    /// The response to a host that is not allowed.
    pub(super) fn refused_host(&self, error: Error) -> Response<Body> {
        let remedy = "ask for localhost or 127.0.0.1, or set `token` in [admin]";
        refusal(StatusCode::BAD_REQUEST, error.remedy(remedy))
    }

    /// Checks a request to `origin` (scheme and host). A request for the page itself needs no
    /// token.
    ///
    /// # Errors
    /// The response to a request that is refused.
    pub(super) fn check<B>(&self, request: &Request<B>, origin: &str) -> Result<(), Box<Response<Body>>> {
        if !is_from_here(request, origin) {
            let error = Error::new(Kind::Invalid, "pages of other sites are not answered here");
            let error = error.remedy("open this address itself, or ask with curl or `chunkflow`");
            return Err(Box::new(refusal(StatusCode::FORBIDDEN, error)));
        }

        if self.keys.is_empty() || is_for_page(request) {
            return Ok(());
        }

        let Some(key) = self.key_of(request) else {
            let error = Error::new(Kind::Invalid, "the token is missing or wrong");
            let error = error.remedy("send `Authorization: Bearer TOKEN`");
            let mut refused = refusal(StatusCode::UNAUTHORIZED, error);
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Err(Box::new(refused));
        };

        if !key.opens.has(request.uri().path()) {
            let error = Error::new(Kind::Invalid, "this token is not for this path");
            let error = error.remedy("send `token` of [admin], or one of its `tokens` that `may` do this");
            return Err(Box::new(refusal(StatusCode::FORBIDDEN, error)));
        }

        Ok(())
    }

    /// The key whose token the request carries. Digests are compared, and all of them, so that the
    /// time taken does not tell how much of a token was right, or whose.
    fn key_of<B>(&self, request: &Request<B>) -> Option<&Key> {
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok()?.split_once(' '));
        let (_, given) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))?;
        let given = Sha256::digest(given.trim());
        self.keys.iter().fold(None, |found, key| if key.digest == given { found.or(Some(key)) } else { found })
    }
}

impl Opens {
    fn has(&self, path: &str) -> bool {
        match self {
            Opens::Everything => true,
            Opens::Actions(may) => paths::find(OPERATOR, path).is_some_and(|(own, _)| own.is_opened_by(may)),
        }
    }
}

/// Whether no page of another site caused the request. A page may send simple requests without
/// asking the server (CORS), and so could purge or reload. Browsers state the origin of each
/// request; other programs state none.
fn is_from_here<B>(request: &Request<B>, origin: &str) -> bool {
    let host = |origin: &str| {
        let (scheme, host) = origin.split_once("://")?;
        // Behind a proxy the page may have been loaded by https.
        ["http", "https"].contains(&scheme).then(|| host.to_ascii_lowercase())
    };
    let own = host(origin);
    let is_own = |value: &HeaderValue| value.to_str().is_ok_and(|said| own.is_some() && host(said) == own);
    let is_same = |value: &HeaderValue| ["same-origin", "none"].iter().any(|site| value == site);

    let headers = request.headers();
    headers.get_all(header::ORIGIN).iter().all(is_own) && headers.get_all(SEC_FETCH_SITE).iter().all(is_same)
}
