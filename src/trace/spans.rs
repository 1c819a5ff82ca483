//! The spans, each with its fields: by the conventions of OpenTelemetry where those have a name for
//! what is told (<https://opentelemetry.io/docs/specs/semconv/>).
//!
//! Each names what it is within, since loads belong to no task of a request's; what a request has
//! no span for has none either. A span ends when this module says so, not when the last handle of
//! it is gone: what it began may go on.

use std::{fmt::Display, net::IpAddr};

use http::Request;
use tracing::{Level, Span, debug_span, field::Empty};

use super::{TARGET, Traced};
use crate::error::Error;

/// Whether anybody wants spans.
pub(super) fn is_wanted() -> bool {
    tracing::span_enabled!(target: TARGET, Level::DEBUG)
}

/// A span within another, if there is one, that may fail.
macro_rules! span_within {
    ($within:expr, $name:literal, $($fields:tt)*) => {
        if $within.is_disabled() {
            Span::none()
        } else {
            debug_span!(
                target: TARGET, parent: $within, $name, otel.status_code = Empty, "error.type" = Empty, $($fields)*
            )
        }
    };
}

/// What a request for a list asks, as far as its path says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) resource: &'a str,
    /// Who asks, if that is known.
    pub(crate) client: Option<IpAddr>,
    /// The scheme and host that its links begin with, if they are known.
    pub(crate) origin: Option<&'a str>,
}

impl Asked<'_> {
    /// The span of the request. Its query stays out: what it filters by is nobody else's affair.
    pub(super) fn span<B>(&self, request: &Request<B>) -> Span {
        let Asked { resource, client, origin } = self;
        let is_secure = origin.is_some_and(|origin| origin.starts_with("https:"));
        debug_span!(
            target: TARGET,
            "request",
            otel.name = %format_args!("{} /{resource}", request.method()),
            otel.kind = "server",
            otel.status_code = Empty,
            "error.type" = Empty,
            http.request.method = %request.method(),
            http.route = %format_args!("/{resource}"),
            http.response.status_code = Empty,
            url.scheme = if is_secure { "https" } else { "http" },
            url.path = request.uri().path(),
            client.address = client.map(display),
            chunkflow.format = Empty,
            chunkflow.rows = Empty,
            chunkflow.bytes = Empty,
            chunkflow.outcome = Empty,
        )
    }
}

/// The span of a request for which there is no answer yet: where there never is one, its client has
/// left.
pub(crate) struct Unanswered(Span);

impl Unanswered {
    pub(crate) fn new(traced: &Traced) -> Unanswered {
        Unanswered(traced.span().clone())
    }

    /// Notes the head of the answer. A stream ends the span itself, by [`streamed`].
    pub(crate) fn answered(mut self, status: u16, format: Option<&str>, is_stream: bool) {
        let span = std::mem::replace(&mut self.0, Span::none());
        if span.is_disabled() {
            return;
        }
        span.record("http.response.status_code", status);
        span.record("chunkflow.format", format);
        if status >= 500 {
            failed(&span, status);
        }
        if !is_stream {
            ended(&span);
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.0.is_disabled() {
            self.0.record("chunkflow.outcome", "left");
            ended(&self.0);
        }
    }
}

/// Notes what a stream did, and ends the span of its request.
pub(crate) fn streamed(span: &Span, rows: u64, bytes: u64, outcome: &str, is_cut: bool) {
    if span.is_disabled() {
        return;
    }
    span.record("chunkflow.rows", rows);
    span.record("chunkflow.bytes", bytes);
    span.record("chunkflow.outcome", outcome);
    if is_cut {
        failed(span, outcome);
    }
    ended(span);
}

/// A chunk that is not near at hand, for as long as it is waited for.
pub(crate) fn chunk(within: &Span, resource: &str) -> Span {
    span_within!(within, "chunk", chunkflow.resource = resource, chunkflow.found = Empty, chunkflow.rows = Empty)
}

/// A load of a chunk, from a shared store or the source: one for all that wait for it.
pub(crate) fn load(within: &Span, resource: &str, is_refresh: bool) -> Span {
    span_within!(
        within,
        "load",
        chunkflow.resource = resource,
        chunkflow.refresh = is_refresh,
        chunkflow.found = Empty,
        chunkflow.rows = Empty
    )
}

/// A chunk that is compressed, the wait for the plain one included.
pub(crate) fn compress(within: &Span, resource: &str, coding: &str) -> Span {
    span_within!(
        within,
        "compress",
        chunkflow.resource = resource,
        chunkflow.coding = coding,
        chunkflow.found = Empty,
        chunkflow.rows = Empty
    )
}

/// A chunk that a shared store is asked for.
pub(crate) fn get(within: &Span) -> Span {
    span_within!(within, "store.get", otel.kind = "client")
}

/// A chunk that is written to a shared store.
pub(crate) fn put(within: &Span) -> Span {
    span_within!(within, "store.put", otel.kind = "client")
}

/// The right to load a chunk among all servers, and the wait for another that has it.
pub(crate) fn lease(within: &Span) -> Span {
    span_within!(within, "lease", otel.kind = "client")
}

/// The load that this task is in, for those that read for it.
#[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only databases have spans of their own"))]
pub(crate) fn current() -> Span {
    if is_wanted() { Span::current() } else { Span::none() }
}

/// One read of a database. Its text has parameters in place of values.
#[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only databases have spans of their own"))]
pub(crate) fn sql(
    within: &Span,
    system: &str,
    table: impl FnOnce() -> String,
    text: impl FnOnce() -> Option<String>,
) -> Span {
    if within.is_disabled() {
        return Span::none();
    }
    let table = table();
    span_within!(
        within,
        "sql",
        otel.name = %format_args!("SELECT {table}"),
        otel.kind = "client",
        db.system.name = system,
        db.operation.name = "SELECT",
        db.collection.name = table,
        db.query.text = text()
    )
}

/// Notes how a read went, and ends its span. Why it failed its load says.
#[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only databases have spans of their own"))]
pub(crate) fn read(span: &Span, is_done: bool) {
    if !is_done {
        failed(span, "_OTHER");
    }
    ended(span);
}

/// Notes where a chunk was found, and its rows.
pub(crate) fn found(span: &Span, found: &str, rows: u32) {
    span.record("chunkflow.found", found);
    span.record("chunkflow.rows", rows);
}

/// Notes that what a span stands for failed, and how. What an error says stays out: the log has it.
pub(crate) fn failed(span: &Span, kind: impl Display) {
    if !span.is_disabled() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", kind.to_string().to_ascii_lowercase());
    }
}

/// Notes how something went, and ends it.
pub(crate) fn went<T>(span: &Span, outcome: Result<&T, &Error>) {
    if let Err(error) = outcome {
        failed(span, format_args!("{:?}", error.kind()));
    }
    ended(span);
}

/// Notes that nobody waited for something any more, and ends it.
pub(crate) fn abandoned(span: &Span) {
    span.record("chunkflow.found", "abandoned");
    ended(span);
}

/// Ends what a span stands for now, though others may still hold it, or what it began goes on.
fn ended(span: &Span) {
    // That it was left is what tells its end.
    span.in_scope(|| ());
}
