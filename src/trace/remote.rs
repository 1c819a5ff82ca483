//! Spans within the trace of a request's client, for builds with OpenTelemetry.

use std::str::FromStr;

use http::HeaderMap;
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId as OtelTraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{Parent, TraceId, parent};

/// Whether this build can send spans.
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server sends them itself"))]
pub(crate) const SENDS: bool = true;

/// Puts a request's new span into its client's trace and starts it, unless it is within a span of
/// the embedding program. Returns the trace's id.
pub(super) fn begin(span: &Span, parent: Option<Parent>, headers: &HeaderMap) -> Option<TraceId> {
    if span.is_disabled() {
        return None;
    }

    if let Some(Parent { trace, span: id, flags }) = parent
        && Span::current().is_disabled()
    {
        let trace = OtelTraceId::from_bytes(trace.0);
        let id = SpanId::from_bytes(id);
        // A malformed one is dropped.
        let state = TraceState::from_str(&parent::state(headers)).unwrap_or_default();
        let remote = SpanContext::new(trace, id, TraceFlags::new(flags), true, state);
        // This fails without an OpenTelemetry layer, and then nothing is lost.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote));
    }

    let id = span.context().span().span_context().trace_id();
    (id != OtelTraceId::INVALID).then(|| TraceId(id.to_bytes()))
}
