//! Which pages of other origins may read an answer: the CORS protocol (Fetch standard, §3.3).
//!
//! A browser lets a page of another origin read an answer that names its origin. Before a request
//! that no form could make it asks with `OPTIONS`, the *preflight*, which carries no credentials and
//! is answered before anything is judged.

use http::{
    HeaderMap, HeaderValue, Method, Request, Response,
    header::{self, HeaderName},
};

use crate::{
    config::Cors,
    web::{Body, no_content},
};

/// What a page may send beside what every page may.
const HEADERS: &str = "Authorization, Cache-Control, Last-Event-ID, X-Api-Key, X-Request-Id, traceparent, tracestate";
/// What a page may read beside what every page may.
const EXPOSED: &str = "Cache-Status, Content-Encoding, Content-Length, Link, Retry-After, Server-Timing, X-Request-Id";
/// The methods that lists take.
const METHODS: &str = "GET, HEAD";
/// A browser need not ask again for so many seconds; Chromium takes no more.
const MAX_AGE: &str = "7200";
/// What the answer to a preflight depends on, beside the origin.
const ASKED: &str = "Access-Control-Request-Method, Access-Control-Request-Headers";

const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Answers for pages of other origins.
pub(super) struct CrossOrigin {
    /// `None`: every origin.
    origins: Option<Vec<HeaderValue>>,
    credentials: bool,
}

impl CrossOrigin {
    pub(super) fn new(cors: &Cors) -> CrossOrigin {
        let is_any = cors.origins.iter().any(|origin| origin == "*");
        let origins = cors.origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        CrossOrigin { origins: (!is_any).then_some(origins), credentials: cors.credentials && !is_any }
    }

    /// Who may read, as an answer names it; `None` where the page that asks may not.
    fn reader(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let Some(origins) = &self.origins else { return Some(HeaderValue::from_static("*")) };
        // Two of them are of no browser.
        let mut named = request.get_all(header::ORIGIN).iter();
        let origin = named.next().filter(|_| named.next().is_none())?;
        origins.contains(origin).then(|| origin.clone())
    }

    /// The answer to a preflight, which is [marked](CrossOrigin::mark) as all are; `None` where the
    /// request is none.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let asked = request.headers();
        let is_one = request.method() == Method::OPTIONS
            && asked.contains_key(header::ORIGIN)
            && asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_one {
            return None;
        }

        let mut response = no_content();
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static(ASKED));
        if self.reader(asked).is_some() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
            // A page of the Internet asks a server of the network that its reader is in.
            if asked.get(PRIVATE_NETWORK).is_some_and(|asked| asked == "true") {
                headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
            }
        }
        Some(response)
    }

    /// Says in an answer which page may read it.
    pub(super) fn mark(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        if let Some(reader) = self.reader(request) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, reader);
            if self.credentials {
                answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }

        if self.origins.is_some() {
            let before = answer.get(header::VARY).and_then(|vary| vary.to_str().ok());
            let vary = before.map_or_else(|| "Origin".to_owned(), |vary| format!("{vary}, Origin"));
            answer.extend(HeaderValue::try_from(vary).ok().map(|vary| (header::VARY, vary)));
        }
    }
}
