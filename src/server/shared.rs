//! What lasts as long as a listener, and is not replaced by a reload.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64},
};

use tokio::sync::{mpsc, oneshot};

use super::{bounds::Count, status::Operator};
use crate::config::Listen;

/// Requests to read the configuration again; each is told what came of it.
pub(crate) type Reloads = mpsc::Sender<oneshot::Sender<Result<String, String>>>;

/// What lasts as long as the listener.
pub(super) struct Shared {
    pub(super) listens: Listen,
    pub(super) ready: AtomicBool,
    /// Whether the time to drain is over, and what still runs is cut.
    pub(super) cuts: Arc<AtomicBool>,
    pub(super) connections: Arc<Count>,
    pub(super) streams: Arc<Count>,
    /// Request identifiers: a random start, then one more each.
    pub(super) next_id: AtomicU64,
    pub(super) reloads: OnceLock<Reloads>,
    /// What the operator's listener keeps.
    pub(super) operator: Operator,
}

impl Shared {
    pub(super) fn new(listens: Listen) -> Arc<Shared> {
        Arc::new(Shared {
            listens,
            ready: AtomicBool::new(true),
            cuts: Arc::default(),
            connections: Arc::default(),
            streams: Arc::default(),
            next_id: AtomicU64::new(fastrand::u64(..)),
            reloads: OnceLock::new(),
            operator: Operator::default(),
        })
    }
}
