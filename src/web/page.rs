//! A page for a browser: two files put together, without a build step. It loads nothing from other
//! servers.
//!
//! Its policy (Content Security Policy Level 3, W3C) names its script and style by their hashes. So
//! a browser runs nothing else, even if a row or a name holds a script.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use sha2::{Digest, Sha256};

use super::{Body, reply::insert_always};

/// The beginning of all pages: the document's head and their common style. It ends within
/// `<style>`.
const HEAD: &str = include_str!("head.html");

/// A page as it is sent.
pub(crate) struct Page {
    text: Bytes,
    headers: HeaderMap,
}

impl Page {
    /// A page with this behind the common beginning: the rest of its only `<style>`, a title, and a
    /// body with one `<script>`.
    pub(crate) fn new(rest: &str) -> Page {
        let text = whole(rest);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        let opener = HeaderName::from_static("cross-origin-opener-policy");
        headers.insert(opener, HeaderValue::from_static("same-origin"));
        let policy = HeaderValue::try_from(policy(&text)).expect("ASCII");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        insert_always(&mut headers);
        Page { text: text.into(), headers }
    }

    /// The response with this page.
    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.text.clone()));
        *response.headers_mut() = self.headers.clone();
        response
    }
}

/// The whole text of a page.
pub(super) fn whole(rest: &str) -> String {
    [HEAD, rest].concat()
}

/// The policy of a page: it may run its own script, and send requests to its own server.
fn policy(page: &str) -> String {
    let script = hash_of(page, "script");
    let style = hash_of(page, "style");

    format!(
        "default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The hash of the content of a page's only element with this name (§2.3.1).
fn hash_of(page: &str, element: &str) -> String {
    let open = format!("<{element}>");
    let close = format!("</{element}>");
    let text = page.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(text, _)| text);
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_lets_a_page_s_own_script_and_style_run_and_nothing_else() {
        let policy = policy("<style>a</style><script>b</script>");
        // echo -n b | openssl dgst -sha256 -binary | base64
        let script = "script-src 'sha256-PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3PurtWcAJ0='";
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains(script), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
