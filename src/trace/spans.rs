//! The spans and their fields, named by OpenTelemetry's conventions where those have a name
//! (<https://opentelemetry.io/docs/specs/semconv/>).
//!
//! Each span names its parent explicitly, since loads do not run in a request's task. Without a
//! span for the request there are none for its work. This module ends a span explicitly, and not by
//! the drop of its last handle: work that it began may go on.

use std::{fmt::Display, net::IpAddr};

use http::Request;
use tracing::{Level, Span, debug_span, field::Empty};

use super::{TARGET, Traced};
use crate::error::Error;

/// Whether anybody collects spans.
pub(super) fn is_wanted() -> bool {
    tracing::span_enabled!(target: TARGET, Level::DEBUG)
}

/// A span that may fail, within another if that exists.
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

/// A request for a list, as far as its path tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) resource: &'a str,
    /// The client's address, if it is known.
    pub(crate) client: Option<IpAddr>,
    /// The scheme and host of its links, if they are known.
    pub(crate) origin: Option<&'a str>,
}

impl Asked<'_> {
    /// The span of the request. It leaves out the query, whose filters may be private.
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

/// The span of a request without a response yet. If there never is one, the client has left.
pub(crate) struct Unanswered(Span);

impl Unanswered {
    pub(crate) fn new(traced: &Traced) -> Unanswered {
        Unanswered(traced.span().clone())
    }

    /// Notes the head of the response. The span of a stream is ended by [`streamed`].
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

/// Notes the outcome of a stream, and ends the span of its request.
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

/// The wait for a chunk that is not in memory.
pub(crate) fn chunk(within: &Span, resource: &str) -> Span {
    span_within!(within, "chunk", chunkflow.resource = resource, chunkflow.found = Empty, chunkflow.rows = Empty)
}

/// A load of a chunk from a shared store or the source, for all requests that wait for it.
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

/// Compressing a chunk, including the wait for the plain chunk.
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

/// A get call to a shared store.
pub(crate) fn get(within: &Span) -> Span {
    span_within!(within, "store.get", otel.kind = "client")
}

/// A put call to a shared store.
pub(crate) fn put(within: &Span) -> Span {
    span_within!(within, "store.put", otel.kind = "client")
}

/// Taking the lease to load a chunk, including the wait for another server that holds it.
pub(crate) fn lease(within: &Span) -> Span {
    span_within!(within, "lease", otel.kind = "client")
}

/// The span of the load that this task runs in, for reads of a source.
#[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only databases have spans of their own"))]
pub(crate) fn current() -> Span {
    if is_wanted() { Span::current() } else { Span::none() }
}

/// One read of a database. The query's text has parameters in place of values.
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

/// Notes whether a read succeeded, and ends its span. The span of its load has the reason of a
/// failure.
#[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only databases have spans of their own"))]
pub(crate) fn read(span: &Span, is_done: bool) {
    if !is_done {
        failed(span, "_OTHER");
    }
    ended(span);
}

/// Notes where a chunk was found, and how many rows it has.
pub(crate) fn found(span: &Span, found: &str, rows: u32) {
    span.record("chunkflow.found", found);
    span.record("chunkflow.rows", rows);
}

/// Notes that a span's work failed, and the kind of the error. The error's message is only in the
/// log.
pub(crate) fn failed(span: &Span, kind: impl Display) {
    if !span.is_disabled() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", kind.to_string().to_ascii_lowercase());
    }
}

/// Notes the outcome of a span's work, and ends the span.
pub(crate) fn went<T>(span: &Span, outcome: Result<&T, &Error>) {
    if let Err(error) = outcome {
        failed(span, format_args!("{:?}", error.kind()));
    }
    ended(span);
}

/// Notes that nobody waits for a span's work any more, and ends the span.
pub(crate) fn abandoned(span: &Span) {
    span.record("chunkflow.found", "abandoned");
    ended(span);
}

/// Ends a span now, though others may still hold it, or work that it began goes on.
fn ended(span: &Span) {
    // A subscriber takes the last exit as the span's end.
    span.in_scope(|| ());
}
