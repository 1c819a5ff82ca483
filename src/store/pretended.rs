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

/// What is kept under names.
#[derive(Clone, Default)]
pub(crate) struct Names {
    kept: BTreeMap<String, Kept>,
    /// How often something was kept.
    count: u64,
}

/// Bytes under a name.
#[derive(Clone)]
struct Kept {
    bytes: Bytes,
    until: Option<Instant>,
    /// How often something had been kept before.
    at: u64,
}

impl Names {
    fn get(&self, name: &str) -> Option<&Bytes> {
        self.kept.get(name).map(|kept| &kept.bytes)
    }

    /// Keeps bytes under a name, for a time if they end.
    fn keep(&mut self, name: &str, bytes: Bytes, time: Option<Duration>) {
        self.count += 1;
        let until = time.map(|time| Instant::now() + time);
        self.kept.insert(name.to_owned(), Kept { bytes, until, at: self.count });
    }

    /// How many names there are of a kind.
    pub(crate) fn count(&self, of: impl Fn(&str) -> bool) -> usize {
        self.kept.keys().filter(|name| of(name)).count()
    }

    /// Loses the names of which `stays` is false. It is asked in the order in which they came: the
    /// names themselves hold the time, and so are others in each run.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&str) -> bool) {
        let mut names: Vec<(u64, String)> = self.kept.iter().map(|(name, kept)| (kept.at, name.clone())).collect();
        names.sort_unstable();
        for (_, name) in names {
            if !stays(&name) {
                self.kept.remove(&name);
            }
        }
    }

    /// Goes back to a copy, as far as names of a kind go.
    pub(crate) fn go_back(&mut self, copy: &Names, of: impl Fn(&str) -> bool) {
        self.kept.retain(|name, _| !of(name));
        let back = copy.kept.iter().filter(|(name, _)| of(name));
        self.kept.extend(back.map(|(name, kept)| (name.clone(), kept.clone())));
    }
}

/// The machine of the store.
#[derive(Default)]
pub(crate) struct Machine(Mutex<Names>);

impl Machine {
    pub(crate) fn names(&self) -> MutexGuard<'_, Names> {
        let mut names = self.0.lock().unpoisoned();
        let now = Instant::now();
        names.kept.retain(|_, kept| kept.until.is_none_or(|until| until > now));
        names
    }

    fn value(&self, name: &str) -> Option<Bytes> {
        self.names().get(name).cloned()
    }

    /// Keeps bytes under a name if it has these now; `None`: if it has none.
    fn exchange(&self, name: &str, from: Option<&Bytes>, to: Bytes, keep: Option<Duration>) -> bool {
        let mut names = self.names();
        let is_so = names.get(name) == from;
        if is_so {
            names.keep(name, to, keep);
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
            let there = names.get(step.name).cloned().unwrap_or_default();
            if there != step.from {
                let is_kept = |(name, bytes): &(&str, Bytes)| names.get(name) == Some(bytes);
                let kept = step.entry.as_ref().is_some_and(is_kept);
                return if there == step.to { Stepped::Done } else { Stepped::Other { head: there, kept } };
            }

            if let Some((name, bytes)) = step.entry {
                names.keep(name, bytes, Some(step.keep));
            }
            names.keep(step.name, step.to, None);
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
            machine.names().keep(name, bytes, Some(keep));
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
            if names.get(name) == Some(&bytes) {
                names.kept.remove(name);
            }
        }))
    }

    fn copies<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Vec<Result<Vec<Option<Bytes>>>>> {
        Box::pin(join_all(names.iter().map(|name| self.call(|machine| vec![machine.value(name)]))))
    }

    fn raise_copies<'a>(&'a self, name: &'a str, number: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.call(move |machine| {
            let mut names = machine.names();
            let there = names.get(name).map_or(0, |bytes| number_in(bytes));
            names.keep(name, number.max(there).to_string().into(), None);
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
