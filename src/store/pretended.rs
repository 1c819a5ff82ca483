//! A pretended store that servers share, for tests: names in the memory of this process.
//!
//! Each call takes as long as the test wants, before and after it has its effect, and may fail at
//! both moments. The whole store can be put back to an earlier state, as by a failover.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    FarState, Store, StoreOptions,
    remote::{Remote, Step, Stepped, Taken, number_in},
    share,
};
use crate::{error::Result, source::BoxFuture, unpoisoned::Unpoisoned};

/// Called before and after each effect of a call. The call waits for it, and fails with its error.
pub(crate) type Pause = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// What is kept: bytes, until a moment if they end.
pub(crate) type Names = BTreeMap<String, (Bytes, Option<Instant>)>;

/// The machine of the store.
#[derive(Default)]
pub(crate) struct Machine(Mutex<Names>);

impl Machine {
    pub(crate) fn names(&self) -> MutexGuard<'_, Names> {
        let mut names = self.0.lock().unpoisoned();
        let now = Instant::now();
        names.retain(|_, (_, until)| until.is_none_or(|until| until > now));
        names
    }

    fn value(&self, name: &str) -> Option<Bytes> {
        self.names().get(name).map(|(bytes, _)| bytes.clone())
    }

    /// Keeps bytes under a name if it has these now; `None`: if it has none.
    fn exchange(&self, name: &str, from: Option<&Bytes>, to: Bytes, keep: Option<Duration>) -> bool {
        let mut names = self.names();
        let is_so = names.get(name).map(|(bytes, _)| bytes) == from;
        if is_so {
            names.insert(name.to_owned(), (to, keep.map(|keep| Instant::now() + keep)));
        }
        is_so
    }
}

/// The store as one server sees it. `is_stepwise`: a journal moves in several calls, as in
/// Memcached, and not in one, as in Redis. `near`: bytes of memory in front of it; 0: none.
pub(crate) fn open(machine: &Arc<Machine>, pause: Pause, is_stepwise: bool, near: u64) -> Store {
    let remote = Calls { machine: Arc::clone(machine), pause, is_stepwise };
    share(remote, &StoreOptions::new("pretended:").with(|options| options.near = near))
}

struct Calls {
    machine: Arc<Machine>,
    pause: Pause,
    is_stepwise: bool,
}

impl Calls {
    /// One call to the machine.
    async fn call<T>(&self, effect: impl FnOnce(&Machine) -> T) -> Result<T> {
        (self.pause)().await?;
        let outcome = effect(&self.machine);
        (self.pause)().await?;
        Ok(outcome)
    }

    async fn step_at_once(&self, step: Step<'_>) -> Result<Stepped> {
        let taken = |machine: &Machine| {
            let mut names = machine.names();
            let there = names.get(step.name).map(|(bytes, _)| bytes.clone()).unwrap_or_default();
            if there != step.from {
                let is_kept = |(name, bytes): &(&str, Bytes)| names.get(*name).is_some_and(|(there, _)| there == bytes);
                let kept = step.entry.as_ref().is_some_and(is_kept);
                return if there == step.to { Stepped::Done } else { Stepped::Other { head: there, kept } };
            }

            if let Some((name, bytes)) = step.entry {
                names.insert(name.to_owned(), (bytes, Some(Instant::now() + step.keep)));
            }
            names.insert(step.name.to_owned(), (step.to, None));
            Stepped::Done
        };
        self.call(taken).await
    }

    async fn step_by_step(&self, step: Step<'_>) -> Result<Stepped> {
        let head = self.call(|machine| machine.value(step.name)).await?;
        let there = head.clone().unwrap_or_default();
        if there != step.from {
            return Ok(Stepped::Other { head: there, kept: false });
        }

        if let Some((name, bytes)) = &step.entry {
            let added = self.call(|machine| machine.exchange(name, None, bytes.clone(), Some(step.keep))).await?;
            if !added {
                match self.call(|machine| machine.value(name)).await? {
                    Some(ours) if ours == *bytes => {}
                    Some(theirs) => return Ok(Stepped::Taken(theirs)),
                    None => return Ok(Stepped::Other { head: there, kept: false }),
                }
            }
        }

        if self.call(|machine| machine.exchange(step.name, head.as_ref(), step.to.clone(), None)).await? {
            return Ok(Stepped::Done);
        }
        let head = self.call(|machine| machine.value(step.name)).await?.unwrap_or_default();
        if head == step.to {
            return Ok(Stepped::Done);
        }
        let kept = match &step.entry {
            Some((name, bytes)) => self.call(|machine| machine.value(name)).await?.as_ref() == Some(bytes),
            None => false,
        };
        Ok(Stepped::Other { head, kept })
    }
}

impl Remote for Calls {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.call(|machine| machine.value(name)))
    }

    fn set<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.call(move |machine| {
            machine.names().insert(name.to_owned(), (bytes, Some(Instant::now() + keep)));
        }))
    }

    fn take<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration, other: &'a str) -> BoxFuture<'a, Result<Taken>> {
        Box::pin(self.call(move |machine| {
            let ours = machine.exchange(name, None, bytes, Some(keep));
            Taken { ours, there: machine.value(other) }
        }))
    }

    fn give_back<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.call(move |machine| {
            let mut names = machine.names();
            if names.get(name).is_some_and(|(there, _)| *there == bytes) {
                names.remove(name);
            }
        }))
    }

    fn copies<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Vec<Result<Vec<Option<Bytes>>>>> {
        Box::pin(join_all(names.iter().map(|name| self.call(|machine| vec![machine.value(name)]))))
    }

    fn raise_copies<'a>(&'a self, name: &'a str, number: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.call(move |machine| {
            let mut names = machine.names();
            let there = names.get(name).map_or(0, |(bytes, _)| number_in(bytes));
            names.insert(name.to_owned(), (number.max(there).to_string().into(), None));
        }))
    }

    fn read_together<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        Box::pin(self.call(|machine| names.iter().map(|name| machine.value(name)).collect()))
    }

    fn step<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<Stepped>> {
        Box::pin(
            async move { if self.is_stepwise { self.step_by_step(step).await } else { self.step_at_once(step).await } },
        )
    }

    fn largest(&self) -> usize {
        1 << 20
    }

    fn state(&self) -> FarState {
        FarState::default()
    }
}
