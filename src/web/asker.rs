//! Who asks, as loads and the log know them.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderValue, Request};

use crate::{
    source::Requester,
    trace::{Asked, Trace, Traced},
};

/// Who asks, and when.
pub(crate) struct Asker {
    /// Whom loads count for.
    pub(crate) requester: Requester,
    /// What the log calls the request, if it has a name there.
    pub(crate) id: Option<HeaderValue>,
    pub(crate) began: Instant,
    /// The client's address, if that is known.
    pub(crate) client: Option<IpAddr>,
    /// The trace of the request, if it has one.
    pub(crate) trace: Option<Arc<Trace>>,
}

impl Asker {
    /// Begins the trace of a request for a list, if it has one.
    pub(super) fn traced<B>(&self, request: &Request<B>, resource: &str, origin: Option<&str>) -> Traced {
        let asked = Asked { resource, client: self.client, origin };
        self.trace.as_ref().map(|trace| trace.begin(request, &asked)).unwrap_or_default()
    }
}
