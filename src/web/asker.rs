//! Who asks, as loads and the log know them.

use std::time::Instant;

use http::HeaderValue;

use crate::source::Requester;

/// Who asks, and when.
pub(crate) struct Asker {
    /// Whom loads count for.
    pub(crate) requester: Requester,
    /// What the log calls the request, if it has a name there.
    pub(crate) id: Option<HeaderValue>,
    pub(crate) began: Instant,
}
