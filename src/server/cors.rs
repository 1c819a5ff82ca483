//! The CORS protocol (Fetch standard, §3.3): which pages of other origins may read a response.
//!
//! A browser shows a page of another origin only those responses that name its origin. Before a
//! request that no form could make, the browser asks with `OPTIONS`, the *preflight*. That carries
//! no credentials, and is answered before any check of the request.

use http::{
    HeaderMap, HeaderValue, Method, Request, Response,
    header::{self, HeaderName},
};

use crate::{
    config::Cors,
    paths::TICKET,
    web::{Body, no_content},
};

/// Header fields that a page may send besides those that every page may send.
const HEADERS: &str = "Authorization, Cache-Control, Last-Event-ID, X-Api-Key, X-Request-Id, traceparent, tracestate";
/// Header fields that a page may read besides those that every page may read.
const EXPOSED: &str = "Cache-Status, Content-Encoding, Content-Length, Link, Retry-After, Server-Timing, X-Request-Id";
/// The methods that lists take.
const METHODS: &str = "GET, HEAD, QUERY";
/// The header fields and the method of a request for a ticket.
const TICKET_HEADERS: &str = "Authorization, Content-Type, X-Api-Key, X-Request-Id, traceparent, tracestate";
const TICKET_METHODS: &str = "POST";
/// For how many seconds a browser may remember the answer; Chromium allows no more.
const MAX_AGE: &str = "7200";
/// The fields that the answer to a preflight depends on, besides the origin.
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

    /// The origin to name in the response; `None` if the asking page may not read it.
    fn reader(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let Some(origins) = &self.origins else { return Some(HeaderValue::from_static("*")) };
        // No browser sends two of them.
        let mut named = request.get_all(header::ORIGIN).iter();
        let origin = named.next().filter(|_| named.next().is_none())?;
        origins.contains(origin).then(|| origin.clone())
    }

    /// The response to a preflight, to be [marked](CrossOrigin::mark) like every other; `None` if
    /// the request is no preflight.
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
            let is_for_ticket = request.uri().path() == TICKET;
            let methods = if is_for_ticket { TICKET_METHODS } else { METHODS };
            let fields = if is_for_ticket { TICKET_HEADERS } else { HEADERS };
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(fields));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
            // A page of the Internet asks a server in its reader's own network.
            if asked.get(PRIVATE_NETWORK).is_some_and(|asked| asked == "true") {
                headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
            }
        }
        Some(response)
    }

    /// Adds to a response which page may read it.
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
