//! Traces: which trace a request belongs to, for its lines in the log, and the spans of what is
//! done for it.
//!
//! Spans are `tracing`'s, of target `chunkflow::trace` and level DEBUG: a program with a subscriber
//! of its own gets them too. Where nobody wants them none is made, and what is near at hand has
//! none in any case.

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

/// What spans are told apart by from other lines.
pub(crate) const TARGET: &str = "chunkflow::trace";

/// The trace of a request: its client's, or one that begins here.
#[derive(Debug)]
pub(crate) struct Trace {
    parent: Option<Parent>,
    begun: OnceLock<Traced>,
}

/// What is done for a request, as its trace has it; by default it has none. It is carried to each
/// chunk, and so is one word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traced(Option<Arc<Part>>);

/// A span, and the trace that it is part of, as far as that is known.
#[derive(Debug)]
struct Part {
    id: Option<TraceId>,
    span: Span,
}

impl Traced {
    /// Which trace it is.
    pub(crate) fn id(&self) -> Option<TraceId> {
        self.0.as_ref()?.id
    }

    /// The span that things are done within.
    pub(crate) fn span(&self) -> &Span {
        static NONE: Span = Span::none();
        self.0.as_ref().map_or(&NONE, |part| &part.span)
    }

    /// What is done within another span of the trace.
    pub(crate) fn within(&self, span: &Span) -> Traced {
        if span.is_disabled() {
            return self.clone();
        }
        Traced(Some(Arc::new(Part { id: self.id(), span: span.clone() })))
    }
}

impl Trace {
    /// `None` where the request names no trace and nobody wants spans.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Arc<Trace>> {
        let parent = Parent::of(headers);
        let wanted = parent.is_some() || spans::is_wanted();
        wanted.then(|| Arc::new(Trace { parent, begun: OnceLock::new() }))
    }

    /// Which trace it is, as far as is known: one that begins here has its id once its first span
    /// is made.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server has an access log"))]
    pub(crate) fn id(&self) -> Option<TraceId> {
        let begun = self.begun.get().and_then(Traced::id);
        begun.or(self.parent.map(|parent| parent.trace))
    }

    /// Begins the span of the request, within that of its client or of the caller.
    pub(crate) fn begin<B>(&self, request: &Request<B>, asked: &Asked<'_>) -> Traced {
        let begin = || {
            let span = asked.span(request);
            let id = remote::begin(&span, self.parent, request.headers());
            Traced(Some(Arc::new(Part { id: id.or(self.parent.map(|parent| parent.trace)), span })))
        };
        self.begun.get_or_init(begin).clone()
    }
}
