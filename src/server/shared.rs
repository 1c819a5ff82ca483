//! What lives as long as a listener, and survives a reload.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    bounds::{Count, Known},
    status::Operator,
};
use crate::{auth::TicketKeys, config::Listen};

/// Requests for a reload; each gets the outcome.
pub(crate) type Reloads = mpsc::Sender<oneshot::Sender<Result<String, String>>>;

/// What lives as long as the listener.
pub(super) struct Shared {
    pub(super) listens: Listen,
    pub(super) ready: AtomicBool,
    /// Whether the time to drain is over, and running streams are cut.
    pub(super) cuts: Arc<AtomicBool>,
    pub(super) connections: Arc<Count>,
    pub(super) streams: Arc<Count>,
    /// Streams of each identity.
    pub(super) known_streams: Arc<Count<Known>>,
    /// Tickets that are being made.
    pub(super) tickets: Arc<Count>,
    /// The keys of tickets, if the configuration has no secret.
    pub(super) ticket_keys: TicketKeys,
    /// Bodies of requests for lists.
    pub(super) forms: Arc<Count>,
    /// Ids for requests: a random start, then counted up.
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
            known_streams: Arc::default(),
            tickets: Arc::default(),
            ticket_keys: TicketKeys::random(),
            forms: Arc::default(),
            next_id: AtomicU64::new(fastrand::u64(..)),
            reloads: OnceLock::new(),
            operator: Operator::default(),
        })
    }
}
