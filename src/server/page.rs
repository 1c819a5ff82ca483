//! The operator's page: one file, without a build step and without a request to anybody else.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use sha2::{Digest, Sha256};

use crate::web::Body;

const PAGE: &str = include_str!("page/admin.html");

/// The page. What it may run is its own script, by its hash, and what it may ask is this listener.
pub(super) fn admin() -> Response<Body> {
    let (script, style) = (hash("script"), hash("style"));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );

    let mut response = Response::new(Body::from(Bytes::from_static(PAGE.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).expect("ASCII"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    response
}

/// The SHA-256 of what stands in the one element of this name, as a policy names it (CSP 3 §2.3.1).
fn hash(element: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("<{element}>")).expect("the page has one");
    let (text, _) = rest.split_once(&format!("</{element}>")).expect("which ends");
    STANDARD.encode(Sha256::digest(text))
}
