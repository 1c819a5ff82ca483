//! The client behind a request, as loads and the log know it.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderValue, Request};

use crate::{
    identity::Identity,
    source::Requester,
    trace::{Asked, Trace, Traced},
};

/// A longer id of a request is not logged, in bytes.
const LONGEST_ID: usize = 128;

/// The client behind a request, and when the request came.
pub(crate) struct Asker {
    /// The requester whom loads count for.
    pub(crate) requester: Requester,
    /// The request's id in the log, if it has one.
    pub(crate) id: Option<HeaderValue>,
    pub(crate) began: Instant,
    /// The client's address, if it is known.
    pub(crate) client: Option<IpAddr>,
    /// The trace of the request, if it has one.
    pub(crate) trace: Option<Arc<Trace>>,
    /// Who it is; `None`: nobody said.
    pub(crate) identity: Option<Arc<Identity>>,
}

impl Asker {
    /// The client, as far as the request itself tells.
    pub(super) fn of<B>(request: &Request<B>) -> Asker {
        Asker {
            requester: request.extensions().get().copied().unwrap_or_default(),
            id: request.headers().get("x-request-id").filter(|id| id.len() <= LONGEST_ID).cloned(),
            began: Instant::now(),
            client: None,
            trace: Trace::of(request.headers()),
            identity: request.extensions().get().cloned().map(Arc::new),
        }
    }

    /// Begins the trace of a request for a list, if it has one.
    pub(super) fn traced<B>(&self, request: &Request<B>, resource: &str, origin: Option<&str>) -> Traced {
        let asked = Asked { resource, client: self.client, origin };
        self.trace.as_ref().map(|trace| trace.begin(request, &asked)).unwrap_or_default()
    }
}
