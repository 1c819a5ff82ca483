//! A slot for a resource. When the resource's table changes, the slot gets a new resource.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use tokio::{sync::watch, task::AbortHandle};

use super::recent::Recent;
use crate::{
    error::Result,
    resource::{Remake, Resource},
    unpoisoned::Unpoisoned,
};

/// The shortest time between two tries to make a resource again, after the first failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for that.
const PATIENCE: Duration = Duration::from_secs(2);

/// A name with its current resource.
#[derive(Debug)]
pub(super) struct Slot {
    name: String,
    /// The order by which requests ask for it, as the configuration writes it; empty if it says
    /// none.
    order: String,
    /// The same list in other orders.
    others: Vec<Arc<Slot>>,
    now: ArcSwap<Resource>,
    /// Whether it serves more than one request, so that its lists are kept for the next one.
    pub(super) lasts: bool,
    renewal: Mutex<Renewal>,
}

/// The state of making the resource again.
#[derive(Debug, Default)]
struct Renewal {
    /// When it last failed.
    failed: Option<Instant>,
    /// The task that makes it.
    task: Option<Task>,
}

/// A task that is aborted when this is dropped.
#[derive(Debug)]
struct Task {
    handle: AbortHandle,
    /// Closed when the task has ended.
    ends: watch::Receiver<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Slot {
    pub(super) fn new(resource: Resource, order: String, others: Vec<Arc<Slot>>) -> Arc<Slot> {
        Slot::of(Arc::new(resource), order, others, true)
    }

    /// A slot for one request, with a resource that has no name here.
    pub(super) fn for_one_request(resource: &Arc<Resource>) -> Arc<Slot> {
        Slot::of(Arc::clone(resource), String::new(), vec![], false)
    }

    fn of(resource: Arc<Resource>, order: String, others: Vec<Arc<Slot>>, lasts: bool) -> Arc<Slot> {
        let name = resource.name().to_owned();
        Arc::new(Slot { name, order, others, now: ArcSwap::new(resource), lasts, renewal: Mutex::default() })
    }

    /// The slots of all its orders, its own first.
    pub(super) fn in_all_orders(self: &Arc<Slot>) -> impl Iterator<Item = &Arc<Slot>> {
        std::iter::once(self).chain(&self.others)
    }

    /// Whether it is in this order: as the configuration writes it, or with all columns of the key.
    pub(super) fn is_in_order(&self, order: &str) -> bool {
        !order.is_empty() && (self.order == order || self.whole_order() == order)
    }

    /// The columns of its order that its name has.
    pub(super) fn named_columns(&self) -> Vec<String> {
        let named = if self.order.is_empty() { usize::MAX } else { self.order.split(',').count() };
        let now = self.now.load();
        let columns = now.source().order().iter().take(named);
        columns.map(|column| column.strip_prefix('-').unwrap_or(column).to_owned()).collect()
    }

    /// Its order, as requests ask for it.
    pub(super) fn order(&self) -> String {
        if self.order.is_empty() { self.whole_order() } else { self.order.clone() }
    }

    fn whole_order(&self) -> String {
        self.now.load().source().order().join(",")
    }

    /// The resource's name, which never changes.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The current resource, for a short use.
    pub(super) fn now(&self) -> Guard<Arc<Resource>> {
        self.now.load()
    }

    /// Waits a short time at most until the resource is made again. The task that makes it goes on
    /// when nobody waits, as long as the slot exists.
    pub(super) async fn renewed(self: &Arc<Slot>, recent: &Arc<Recent>) {
        let Some(mut ends) = self.renew(recent) else { return };
        // Nothing is ever sent; the channel closes.
        let _ = tokio::time::timeout(PATIENCE, ends.changed()).await;
    }

    /// Joins or begins the task that makes the resource again; `None` if there is nothing to do
    /// now.
    fn renew(self: &Arc<Slot>, recent: &Arc<Recent>) -> Option<watch::Receiver<()>> {
        let mut renewal = self.renewal();
        if let Some(task) = renewal.task.as_ref().filter(|task| !task.handle.is_finished()) {
            return Some(task.ends.clone());
        }

        let outdated = self.now.load_full();
        let rests = renewal.failed.is_some_and(|failed| failed.elapsed() < PAUSE);
        let remake = Remake::clone(outdated.remake().filter(|_| outdated.is_outdated() && !rests)?);

        let (ended, ends) = watch::channel(());
        // A weak reference, so that the task does not keep its own slot alive.
        let slot = Arc::downgrade(self);
        let recent = Arc::clone(recent);
        let task = tokio::spawn(async move {
            let made = remake().await;
            if let Some(slot) = slot.upgrade() {
                slot.take(made, &outdated, &recent);
            }
            drop(ended);
        });

        renewal.task = Some(Task { handle: task.abort_handle(), ends: ends.clone() });
        Some(ends)
    }

    /// Replaces the outdated resource with the new one.
    fn take(&self, made: Result<Resource>, outdated: &Arc<Resource>, recent: &Recent) {
        let mut renewal = self.renewal();
        match made {
            Ok(resource) => {
                resource.count_as(outdated);
                let is_same = resource.digest() == outdated.digest();
                self.now.store(Arc::new(resource));
                renewal.failed = None;
                recent.forget(outdated);
                if is_same {
                    tracing::info!(resource = self.name, "the list is read again: its table is what it was")
                } else {
                    tracing::info!(resource = self.name, "the table has changed, and the list with it")
                }
            }
            Err(error) => {
                renewal.failed = Some(Instant::now());
                tracing::warn!(resource = self.name, %error, "the table has changed, and the list cannot be made again");
            }
        }
    }

    fn renewal(&self) -> MutexGuard<'_, Renewal> {
        self.renewal.lock().unpoisoned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::sync::oneshot;

    use super::*;
    use crate::{Fetch, ResourceOptions, closure};

    /// An outdated resource, which `remake` makes again.
    fn outdated(remake: Remake) -> Resource {
        let nothing = |_: Fetch<u32>| async { Ok::<_, std::io::Error>(Vec::<BTreeMap<&str, u32>>::new()) };
        let source = closure(&["id"], |row: &BTreeMap<&str, u32>| row["id"], nothing);
        let resource = Resource::new("list", Arc::new(source), ResourceOptions::default()).unwrap();
        let resource = resource.made_again_by(remake);
        resource.note_outdated();
        resource
    }

    #[tokio::test]
    async fn making_a_resource_again_ends_with_its_slot_and_not_with_the_request_that_began_it() {
        let begun = Arc::new(Mutex::new(vec![]));
        let ended = Arc::new(Mutex::new(vec![]));
        let starts = Arc::clone(&begun);
        let ends = Arc::clone(&ended);
        let remake: Remake = Arc::new(move || {
            let (alive, gone) = oneshot::channel::<()>();
            starts.lock().unwrap().push(());
            ends.lock().unwrap().push(gone);
            Box::pin(async move {
                let _alive = alive;
                std::future::pending().await
            })
        });

        let slot = Slot::new(outdated(remake), String::new(), vec![]);
        let recent = Arc::default();

        let first = tokio::time::timeout(Duration::from_millis(20), slot.renewed(&recent)).await;
        assert!(first.is_err(), "it waits");
        let second = tokio::time::timeout(Duration::from_millis(20), slot.renewed(&recent)).await;
        assert!(second.is_err(), "it waits for the same");
        assert_eq!(begun.lock().unwrap().len(), 1);

        let mut gone = ended.lock().unwrap().pop().unwrap();
        assert!(gone.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty), "it goes on");
        drop(slot);
        let gone = tokio::time::timeout(Duration::from_secs(10), gone).await;
        assert!(gone.is_ok_and(|gone| gone.is_err()), "it has ended");
    }
}
