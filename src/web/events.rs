//! Errors for `EventSource`.
//!
//! `EventSource` comes back after a stream ends, but gives up for good at any status but 200
//! (WHATWG HTML §9.2.3). So an error that will pass is answered with an empty stream that says when
//! to come back.

use std::future::Future;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use super::{
    Body,
    reply::RETRY_AFTER,
    respond::{accepted, last_event},
};
use crate::format::Layout;

/// The statuses of errors that will pass.
const PASSES: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Whether the request comes from `EventSource`, or looks like it.
pub(crate) fn are_asked_for<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET && wants_events(request.headers())
}

fn wants_events(headers: &HeaderMap) -> bool {
    last_event(headers).is_some() || accepted(headers).is_ok_and(|format| format.spec().layout == Layout::Events)
}

/// Answers a request; if it is one of `EventSource`, in its terms.
pub(super) fn answering<B, F>(
    request: &Request<B>,
    answer: F,
) -> impl Future<Output = Response<Body>> + Send + use<B, F>
where
    F: Future<Output = Response<Body>> + Send,
{
    let for_events = are_asked_for(request);
    async move {
        let response = answer.await;
        if for_events { come_back(response) } else { response }
    }
}

/// The response in `EventSource`'s terms.
pub(crate) fn come_back(response: Response<Body>) -> Response<Body> {
    let status = response.status();
    if !PASSES.contains(&status) {
        return response;
    }
    let (mut head, _) = response.into_parts();
    head.status = StatusCode::OK;
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    let after = head.headers.remove(header::RETRY_AFTER);
    let seconds = after.and_then(|after| after.to_str().ok()?.parse::<u64>().ok()).unwrap_or(RETRY_AFTER);

    let text = format!("retry: {}\n: {status}\n\n", seconds.saturating_mul(1000));
    Response::from_parts(head, Body::from(bytes::Bytes::from(text)))
}
