//! The place of a resource in the machine, where another takes over once its table has changed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Mutex;

use super::recent::Recent;
use crate::resource::Resource;

/// A resource that could not be made again is tried so much later.
const PAUSE: Duration = Duration::from_secs(1);
/// A request waits for so long until it is made again.
const PATIENCE: Duration = Duration::from_secs(2);

/// A resource of the moment.
#[derive(Debug)]
pub(super) struct Slot {
    name: String,
    now: ArcSwap<Resource>,
    /// When making it again failed; held by the one that makes it.
    failed: Mutex<Option<Instant>>,
}

impl Slot {
    pub(super) fn new(resource: Resource) -> Arc<Slot> {
        let name = resource.name().to_owned();
        Arc::new(Slot { name, now: ArcSwap::from_pointee(resource), failed: Mutex::default() })
    }

    /// The resource's name, which stays.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The resource, for the time of a request's beginning.
    pub(super) fn now(&self) -> Guard<Arc<Resource>> {
        self.now.load()
    }

    /// Waits until the resource is made again, for a moment at most. It goes on being made though nobody waits.
    pub(super) async fn renewed(self: &Arc<Slot>, recent: &Arc<Recent>) {
        let (slot, recent) = (Arc::clone(self), Arc::clone(recent));
        let renewing = tokio::spawn(async move { slot.renew(&recent).await });
        let _ = tokio::time::timeout(PATIENCE, renewing).await;
    }

    async fn renew(&self, recent: &Recent) {
        let mut failed = self.failed.lock().await;
        let outdated = self.now.load_full();
        let rests = failed.is_some_and(|failed| failed.elapsed() < PAUSE);
        let Some(remake) = outdated.remake().filter(|_| outdated.is_outdated() && !rests) else { return };

        match remake().await {
            Ok(resource) => {
                self.now.store(Arc::new(resource));
                *failed = None;
                recent.forget(&outdated);
                tracing::info!(resource = self.name, "the table has changed, and the list with it");
            }
            Err(error) => {
                *failed = Some(Instant::now());
                tracing::warn!(resource = self.name, %error, "the table has changed, and the list cannot be made again");
            }
        }
    }
}
