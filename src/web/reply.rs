//! Errors as responses: the only place that knows status codes (RFC 9457).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;

use super::Body;
use crate::{
    coding::CODINGS,
    error::{Error, Kind},
    format::{FORMATS, Format},
    kind,
    paths::OwnPath,
};

/// The methods of a list.
pub(super) const ALLOWED: &str = "GET, HEAD, OPTIONS, QUERY";

/// What `QUERY` takes (RFC 10008).
pub(crate) const ACCEPT_QUERY: HeaderName = HeaderName::from_static("accept-query");
pub(crate) const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// `Retry-After` in seconds for a client that found no room, if the error has no better value.
pub(super) const RETRY_AFTER: u64 = 2;

/// What a list depends on that is for those who say who they are, for caches that keep what must
/// not be stored.
const VARY_BY_WHO: &str = "Accept, Accept-Encoding, Authorization, Cookie, X-Api-Key";

/// An error as a response.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: Error,
    /// The methods of the path, if the request had another one.
    allow: Option<&'static str>,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let status = match error.kind() {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Missing => StatusCode::NOT_FOUND,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Unavailable | Kind::Busy | Kind::Refused | Kind::Schema => StatusCode::SERVICE_UNAVAILABLE,
            Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Kind::Config | Kind::Data | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem { status, error, allow: None }
    }
}

pub(super) fn method_not_allowed(method: &Method) -> Problem {
    let error =
        Error::new(Kind::Invalid, format!("a list does not take {method}")).remedy(format!("use one of {ALLOWED}"));
    Problem { status: StatusCode::METHOD_NOT_ALLOWED, error, allow: Some(ALLOWED) }
}

pub(super) fn not_acceptable() -> Problem {
    let types: Vec<&str> = FORMATS.iter().map(|format| format.open.accepts[0]).collect();
    let error = Error::new(Kind::Invalid, "no format that the `Accept` header asks for is here").remedy(format!(
        "accept one of {}, or name it in the path: {}",
        types.join(", "),
        kind::names(FORMATS)
    ));
    Problem { status: StatusCode::NOT_ACCEPTABLE, error, allow: None }
}

/// A list whose members are not known beforehand, in a format that begins with their names.
pub(super) fn without_header(format: Format) -> Problem {
    let message = format!("{} begins with the names of all columns, which this list does not know", format.name());
    let error = Error::new(Kind::Invalid, message).remedy("ask for JSON or NDJSON, or declare the list's columns");
    Problem { status: StatusCode::NOT_ACCEPTABLE, error, allow: None }
}

pub(super) fn no_coding() -> Problem {
    let error = Error::new(Kind::Invalid, "the `Accept-Encoding` header accepts nothing that is here")
        .remedy(format!("accept `identity`, or one of {}", kind::names(CODINGS)));
    Problem { status: StatusCode::NOT_ACCEPTABLE, error, allow: None }
}

/// The response for an error, with the status of its kind.
pub fn problem(error: Error) -> Response<Body> {
    Problem::from(error).response()
}

/// The response for an error with a status of its own.
#[cfg(feature = "server")]
pub(crate) fn refusal(status: StatusCode, error: Error) -> Response<Body> {
    Problem { status, error, allow: None }.response()
}

#[derive(Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

impl Problem {
    /// The response. The error's cause (a driver's message, a file's path) goes to the log only,
    /// not to clients.
    pub(crate) fn response(&self) -> Response<Body> {
        let internal = self.status.is_server_error();
        let (detail, remedy) = match self.error.kind() {
            Kind::Busy | Kind::RateLimited => (self.error.message(), Some("try again after `Retry-After` seconds")),
            Kind::Refused => (self.error.message(), self.error.advice()),
            Kind::Unavailable => ("the source of this list cannot be reached", Some("try again shortly")),
            Kind::Schema => (
                "the table of this list has changed; it is being looked at again",
                Some("try again after `Retry-After` seconds; a cursor from before may be refused then"),
            ),
            Kind::Timeout => (
                "the source of this list took too long",
                Some("try again later, or ask for less with filters on indexed columns"),
            ),
            _ if internal => {
                ("this list cannot be served", Some("tell the operator, with the `X-Request-Id` of this response"))
            }
            _ => (self.error.message(), self.error.advice()),
        };

        let title = self.status.canonical_reason().unwrap_or("Error");
        let details = Details {
            r#type: format!("urn:chunkflow:problem:{}", title.to_ascii_lowercase().replace(' ', "-")),
            title,
            status: self.status.as_u16(),
            detail,
            remedy,
        };

        let mut response = json(self.status, &details);
        // For the server's log.
        response.extensions_mut().insert(self.error.clone());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if [Kind::Unauthorized, Kind::Forbidden].contains(&self.error.kind()) {
            vary_by_who(headers);
        }
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&self.status) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.error.retry_after().unwrap_or(RETRY_AFTER)));
        }

        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }

        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }

        response
    }
}

/// A small JSON response that caches must not store.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    json_text(status, pretty(value).into())
}

/// A value as indented JSON.
pub(super) fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain values can be written");
    text.push(b'\n');
    text
}

/// The same for a text that is JSON already.
pub(crate) fn json_text(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    insert_always(response.headers_mut());
    response
}

/// The response if one of the server's own paths does not take a method.
pub(crate) fn not_taken(own: &OwnPath, method: &Method) -> Response<Body> {
    let error = Error::new(Kind::Invalid, format!("{method} is not for this path"));
    let error = error.remedy(format!("use {}", own.methods.replace(", ", " or ")));
    Problem { status: StatusCode::METHOD_NOT_ALLOWED, error, allow: Some(own.methods) }.response()
}

/// A response without a body. Caches must not store it: a shared cache would end the events of all
/// clients with it.
pub(crate) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    insert_always(response.headers_mut());
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    response
}

/// Says that a response depends on who asks.
pub(super) fn vary_by_who(headers: &mut HeaderMap) {
    headers.insert(header::VARY, HeaderValue::from_static(VARY_BY_WHO));
}

/// Adds the headers of every response.
pub(super) fn insert_always(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_known_is_asked_for_a_token_and_who_may_not_is_not() {
        let unknown = problem(Error::new(Kind::Unauthorized, "say who you are"));
        assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(unknown.headers()[header::WWW_AUTHENTICATE], "Bearer");

        let known = problem(Error::new(Kind::Forbidden, "not yours"));
        assert_eq!(known.status(), StatusCode::FORBIDDEN);
        assert!(!known.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}
