//! Traces: the trace of each request, for its log lines, and the spans of the work for it.
//!
//! Spans are `tracing` spans with the target `chunkflow::trace` and level DEBUG, so a program with
//! its own subscriber gets them too. If nobody collects spans, none are made. Chunks in memory
//! never have one.

mod parent;
#[cfg(not(feature = "otlp"))]
#[path = "alone.rs"]
mod remote;
#[cfg(feature = "otlp")]
mod remote;
mod spans;

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Request};
use tracing::Span;

#[cfg(fuzzing)]
pub(crate) use self::parent::fuzz_traceparent;
#[cfg(feature = "server")]
pub(crate) use self::remote::SENDS;
#[cfg(feature = "sql")]
pub(crate) use self::spans::{current, read, sql};
pub(crate) use self::{
    parent::{Parent, TraceId},
    spans::{Asked, Unanswered, abandoned, chunk, compress, failed, found, get, lease, load, put, streamed, went},
};

/// The target that distinguishes spans from log lines.
pub(crate) const TARGET: &str = "chunkflow::trace";

/// The trace of a request: its client's, or one that begins here.
#[derive(Debug)]
pub(crate) struct Trace {
    parent: Option<Parent>,
    begun: OnceLock<Traced>,
}

/// The work for a request, as a part of its trace; by default without a trace. It is carried along
/// with each chunk, so it is one word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traced(Option<Arc<Part>>);

/// A span and its trace, if that is known.
#[derive(Debug)]
struct Part {
    id: Option<TraceId>,
    span: Span,
}

impl Traced {
    /// The trace's id.
    pub(crate) fn id(&self) -> Option<TraceId> {
        self.0.as_ref()?.id
    }

    /// The span that the work is in.
    pub(crate) fn span(&self) -> &Span {
        static NONE: Span = Span::none();
        self.0.as_ref().map_or(&NONE, |part| &part.span)
    }

    /// The same trace, with the work in another of its spans.
    pub(crate) fn within(&self, span: &Span) -> Traced {
        if span.is_disabled() {
            return self.clone();
        }
        Traced(Some(Arc::new(Part { id: self.id(), span: span.clone() })))
    }
}

impl Trace {
    /// `None` if the request names no trace and nobody collects spans.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Arc<Trace>> {
        let parent = Parent::of(headers);
        let wanted = parent.is_some() || spans::is_wanted();
        wanted.then(|| Arc::new(Trace { parent, begun: OnceLock::new() }))
    }

    /// The trace's id, if known: a trace that begins here gets one with its first span.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server has an access log"))]
    pub(crate) fn id(&self) -> Option<TraceId> {
        let begun = self.begun.get().and_then(Traced::id);
        begun.or(self.parent.map(|parent| parent.trace))
    }

    /// Begins the span of the request, within the client's span or the embedding program's.
    pub(crate) fn begin<B>(&self, request: &Request<B>, asked: &Asked<'_>) -> Traced {
        let begin = || {
            let span = asked.span(request);
            let id = remote::begin(&span, self.parent, request.headers());
            Traced(Some(Arc::new(Part { id: id.or(self.parent.map(|parent| parent.trace)), span })))
        };
        self.begun.get_or_init(begin).clone()
    }
}
