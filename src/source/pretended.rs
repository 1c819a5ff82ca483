//! A pretended database, for tests: four small tables in memory, every commit of which is kept.
//!
//! A read takes as long as the test wants, and sees the tables as they were at one moment of it.
//! Where the pretended database is a standby, that moment lies up to `lag` back.

mod rows;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

pub(crate) use self::rows::place;
use self::rows::{Rows, Table};
use super::{BoxFuture, Complaint, Database, KnownBy, MadeSource, PoolState, Sealed, Spec, TableInfo};
use crate::{
    error::{Error, Kind, Result},
    unpoisoned::Unpoisoned,
};

/// Called before and after each step of a read. The read waits for it, and fails with its error.
pub(crate) type Pause = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A row of the table `item`, which points to a row of `author`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) rank: i64,
    pub(crate) group: i64,
    pub(crate) author: i64,
    pub(crate) version: i64,
}

/// All tables at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) items: BTreeMap<i64, Item>,
    /// The versions of authors.
    pub(crate) authors: BTreeMap<i64, i64>,
    /// The join table `item_tag`: an item and a tag.
    pub(crate) tags: BTreeSet<(i64, i64)>,
}

impl Tables {
    /// The tags of an item.
    pub(crate) fn tags_of(&self, item: i64) -> BTreeSet<i64> {
        self.tags.range((item, i64::MIN)..=(item, i64::MAX)).map(|(_, tag)| *tag).collect()
    }
}

/// The states of the tables, which several servers read.
#[derive(Default)]
pub(crate) struct Commits {
    states: Mutex<VecDeque<(Instant, Arc<Tables>)>>,
    count: AtomicU64,
    reads: AtomicUsize,
}

/// How many states are kept: more than are committed within any lag.
const KEPT: usize = 256;

impl Commits {
    /// Changes the tables, in one transaction. Returns its number.
    pub(crate) fn commit(&self, change: impl FnOnce(&mut Tables)) -> u64 {
        let mut states = self.states.lock().unpoisoned();
        let mut tables = states.back().map(|(_, tables)| Tables::clone(tables)).unwrap_or_default();
        change(&mut tables);
        states.push_back((Instant::now(), Arc::new(tables)));
        if states.len() > KEPT {
            states.pop_front();
        }
        self.count.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether the transaction with this number was committed at least this long ago.
    fn is_older(&self, number: u64, ago: Duration) -> bool {
        let states = self.states.lock().unpoisoned();
        let Some(behind) = self.count.load(Ordering::Relaxed).checked_sub(number) else { return false };
        let state = states.iter().rev().nth(behind as usize);
        state.is_none_or(|(at, _)| *at + ago <= Instant::now())
    }

    /// The tables as they are.
    pub(crate) fn last(&self) -> Arc<Tables> {
        self.seen(Duration::ZERO)
    }

    /// The tables as they were this long ago.
    fn seen(&self, ago: Duration) -> Arc<Tables> {
        let states = self.states.lock().unpoisoned();
        let then = Instant::now() - ago;
        let at = states.partition_point(|(at, _)| *at <= then);
        states.get(at.saturating_sub(1)).map(|(_, tables)| Arc::clone(tables)).unwrap_or_default()
    }

    /// How many reads of a list's rows have begun.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

/// The database, as one server sees it.
#[derive(Clone)]
pub(crate) struct Pretended {
    pub(crate) commits: Arc<Commits>,
    pub(crate) pause: Pause,
    /// A read sees the tables as they were up to this long before: it reads from a standby.
    pub(crate) lag: Duration,
    /// Whether reads stop at random before they have as many rows as they may have.
    pub(crate) stops_early: bool,
    /// Whether only the lists themselves know where a changed row belongs, as those of closures.
    pub(crate) asks_later: bool,
}

impl Pretended {
    /// The tables at the moment at which a read sees them.
    fn snapshot(&self) -> Arc<Tables> {
        let lag = self.lag.as_millis() as u64;
        self.commits.seen(Duration::from_millis(if lag == 0 { 0 } else { fastrand::u64(0..lag) }))
    }

    fn count_read(&self) {
        self.commits.reads.fetch_add(1, Ordering::Relaxed);
    }
}

impl Sealed for Pretended {}

impl Database for Pretended {
    fn source<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, MadeSource> {
        let made = Table::named(&spec.table)
            .map(|table| Rows::made(self.clone(), table, spec))
            .ok_or_else(|| vec![Complaint::new("table", "there is no such table", "name another one")]);
        Box::pin(std::future::ready(made))
    }

    fn look_again(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn pool(&self) -> PoolState {
        PoolState::default()
    }

    fn known_by(&self) -> KnownBy {
        KnownBy::Itself
    }

    fn tables(&self) -> Vec<TableInfo> {
        vec![]
    }

    fn check_commit(&self, commit: &str) -> Result<()> {
        commit.parse::<u64>().map(drop).map_err(|_| Error::new(Kind::Invalid, "a commit is a number here"))
    }

    fn shows<'a>(&'a self, commits: &'a [&'a str]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            (self.pause)().await?;
            let is_seen = |commit: &&str| commit.parse().is_ok_and(|number| self.commits.is_older(number, self.lag));
            Ok(commits.iter().all(is_seen))
        })
    }

    fn explain<'a>(&'a self, _: &'a Spec) -> BoxFuture<'a, Vec<Complaint>> {
        Box::pin(std::future::ready(vec![]))
    }
}
