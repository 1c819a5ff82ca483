//! Commits that a database does not show yet, since it is a standby: what they touch is touched once
//! more as soon as it does.
//!
//! A program may say where in the database's log the commit of a change is. Then nobody has to guess
//! how far the standby lags behind: it is asked. Commits of one database wait in the order in which
//! they were told, and the first is asked about until it shows, for a minute at most.

use std::{
    collections::{BTreeSet, VecDeque},
    slice,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Loader,
    changes::Subject,
    hearing::{Told, touch_of},
    touch::Touch,
};
use crate::{
    change::{Tell, Token},
    chunk::Position,
    error::{Error, Kind, Result},
    source::Database,
    unpoisoned::Unpoisoned,
};

/// A database has this long to say whether it shows commits.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a commit is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The first and the longest pause between two questions.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];
/// How long a teller waits for its commit, and the pause between two looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// How many tells wait for one database; of more, all its lists are touched.
const WAITS: usize = 256;
/// How many commits are asked about at once.
const AT_ONCE: usize = 1_000;
/// How many commits one wait is for; with more it lasts as long as a wait may.
const COMMITS: usize = 65_536;

/// Positions of commits, as a database writes them.
type Positions = BTreeSet<Arc<str>>;

/// The commits that are waited for, by database.
#[derive(Default)]
pub(super) struct Commits(Mutex<Vec<Queue>>);

/// The waits for one database, the oldest first. While there are any, a task asks the database.
struct Queue {
    database: Arc<dyn Database>,
    waits: VecDeque<Wait>,
}

/// A wait until a database shows these commits.
struct Wait {
    /// The position of the first change whose commit this is.
    at: Token,
    until: Instant,
    commits: Arc<Positions>,
    /// What was told with them; `None` if that is too much to remember.
    tell: Option<Arc<Tell>>,
}

/// The databases that do not show all that was told.
pub(super) struct Late {
    databases: Vec<(Arc<dyn Database>, Arc<Positions>)>,
    /// Whether nothing was told of which nobody knows when it will show.
    says_all: bool,
}

impl Late {
    /// Whether all else is shown already.
    pub(super) fn says_all(&self) -> bool {
        self.says_all
    }
}

impl Commits {
    /// Whether no change up to this position is waited for.
    fn are_shown(&self, at: Token) -> bool {
        let queues = self.0.lock().unpoisoned();
        let is_before = |wait: &Wait| wait.at.epoch == at.epoch && wait.at.number <= at.number;
        !queues.iter().flat_map(|queue| &queue.waits).any(is_before)
    }

    /// The positions of the first changes that each database does not show.
    fn unshown(&self) -> Vec<Token> {
        let queues = self.0.lock().unpoisoned();
        queues.iter().filter_map(|queue| Some(queue.waits.front()?.at)).collect()
    }

    /// Adds a wait. Returns whether it is the first for its database.
    fn add(&self, database: &Arc<dyn Database>, wait: Wait) -> bool {
        let mut queues = self.0.lock().unpoisoned();
        let Some(queue) = queues.iter_mut().find(|queue| Arc::ptr_eq(&queue.database, database)) else {
            queues.push(Queue { database: Arc::clone(database), waits: [wait].into() });
            return true;
        };

        let is_full = queue.waits.len() >= WAITS;
        match queue.waits.back_mut() {
            Some(last) if is_full => {
                let commits = Arc::make_mut(&mut last.commits);
                let room = (COMMITS + 1).saturating_sub(commits.len());
                commits.extend(wait.commits.iter().take(room).cloned());
                *last = Wait { at: last.at, commits: Arc::clone(&last.commits), tell: None, ..wait };
            }
            _ => queue.waits.push_back(wait),
        }
        false
    }

    /// The first wait for a database: until when, and for which commits. `None`, and the database is
    /// forgotten, if there is none.
    fn first(&self, database: &Arc<dyn Database>) -> Option<(Instant, Arc<Positions>)> {
        let mut queues = self.0.lock().unpoisoned();
        let at = queues.iter().position(|queue| Arc::ptr_eq(&queue.database, database))?;
        match queues[at].waits.front() {
            Some(wait) => Some((wait.until, Arc::clone(&wait.commits))),
            None => {
                queues.swap_remove(at);
                None
            }
        }
    }

    /// What was told with the commits of the first wait.
    fn told(&self, database: &Arc<dyn Database>) -> Option<Arc<Tell>> {
        let queues = self.0.lock().unpoisoned();
        let queue = queues.iter().find(|queue| Arc::ptr_eq(&queue.database, database))?;
        queue.waits.front()?.tell.clone()
    }

    /// Ends the first wait for a database.
    fn end_first(&self, database: &Arc<dyn Database>) {
        let mut queues = self.0.lock().unpoisoned();
        if let Some(queue) = queues.iter_mut().find(|queue| Arc::ptr_eq(&queue.database, database)) {
            queue.waits.pop_front();
        }
    }
}

impl Loader {
    /// The databases that do not show the commits yet that were told.
    pub(super) async fn late(&self, told: &Told<'_>, subjects: &[([u8; 16], Subject)]) -> Late {
        let has_commit = told.changes.iter().filter(|told| told.change.at.is_some()).count();
        let mut late = Late { databases: vec![], says_all: false };
        if has_commit == 0 {
            return late;
        }

        let mut wanted: Vec<(Arc<dyn Database>, Positions)> = vec![];
        for (_, subject) in subjects {
            let Some(resource) = subject.resource() else { continue };
            let Some(look_ups) = resource.look_ups() else { continue };
            let is_there = |database: &Arc<[u8]>| subject.database.as_ref() == Some(database);
            let told = told.changes.iter().filter(|told| told.tables.iter().any(|(database, _)| is_there(database)));
            let commits = told.filter_map(|told| told.change.at.clone());
            match wanted.iter_mut().find(|(database, _)| Arc::ptr_eq(database, &look_ups.database)) {
                Some((_, known)) => known.extend(commits),
                None => wanted.push((Arc::clone(&look_ups.database), commits.collect())),
            }
        }

        late.says_all = has_commit == told.changes.len() && told.purges.is_empty();
        for (database, commits) in wanted {
            match is_shown(&database, &commits).await {
                Ok(true) => {}
                Ok(false) => late.databases.push((database, Arc::new(commits))),
                Err(error) => {
                    tracing::warn!(%error, "a database cannot say whether it shows a commit");
                    late.says_all = false;
                }
            }
        }
        late
    }

    /// Has what was told touched once more as soon as these databases show it. `at` is the position of
    /// the last entry.
    pub(super) fn wait_for(self: &Arc<Loader>, late: &Late, at: Token, entries: &[Tell]) {
        if late.databases.is_empty() {
            return;
        }

        let mut tell = Tell::default();
        entries.iter().for_each(|entry| tell.add(entry.clone()));
        let tell = Arc::new(tell);
        let has_commit = |entry: &&Tell| entry.changes.iter().any(|change| change.at.is_some());
        let before = entries.iter().take_while(|entry| !has_commit(entry)).count();
        let behind = entries.len().saturating_sub(before + 1) as u64;
        let at = Token { number: at.number.saturating_sub(behind), ..at };
        for (database, commits) in &late.databases {
            let until = Instant::now() + LONGEST_WAIT;
            let wait = Wait { at, until, commits: Arc::clone(commits), tell: Some(Arc::clone(&tell)) };
            if self.commits.add(database, wait) {
                tokio::spawn(watch(Arc::downgrade(self), Arc::clone(database)));
            }
        }
    }

    /// The same for what this server has told at a position, and could not hear.
    pub(super) async fn wait_for_unheard(self: &Arc<Loader>, tell: &Tell, at: Token) {
        let entries = slice::from_ref(tell);
        let subjects = self.changes.subjects();
        let late = self.late(&Told::all(entries, &subjects), &subjects).await;
        self.wait_for(&late, at, entries);
    }

    /// Whether the databases show all changes up to this position whose commits were told, and those
    /// of which nobody knows here.
    pub(super) fn shows(&self, at: Token) -> bool {
        self.commits.are_shown(at) && self.is_settled(at)
    }

    /// The position of a read that begins now. For servers that find in the store what it reads, it is
    /// before the first change that it may not see: their own databases may show that already.
    pub(super) fn position_of_a_read(&self) -> Position {
        let mut position = self.changes.position();
        for first in self.commits.unshown() {
            let before = Token { number: first.number.saturating_sub(1), ..first };
            // One of an epoch that is over is trusted by nobody.
            if before.epoch != position.token.epoch || before.number < position.token.number {
                position.token = before;
            }
        }
        if !self.is_settled(position.token) {
            position.token.number = 0;
        }
        position
    }

    /// Waits until the databases show all changes up to this position whose commits were told.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if they do not within two seconds.
    pub(crate) async fn until_shown(&self, at: Token) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !self.shows(at) {
            if Instant::now() >= until {
                let message = "the change is told, but the database that is read does not show its commit yet";
                let error = Error::new(Kind::Unavailable, message).retry_in(1);
                return Err(error.remedy("see whether its replication lags; lists show the change as soon as it does"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Touches once more what was told, or everything, in the lists of a database.
    async fn touch_again(&self, database: &Arc<dyn Database>, tell: Option<&Tell>) {
        let all = self.changes.subjects();
        let is_of = |subject: &Subject| {
            let resource = subject.resource();
            let look_ups = resource.as_ref().and_then(|resource| resource.look_ups());
            look_ups.is_some_and(|look_ups| Arc::ptr_eq(&look_ups.database, database))
        };
        let of = all.iter().filter(|(_, subject)| is_of(subject));
        let touched: Vec<_> = match tell {
            None => of.map(|(digest, _)| (*digest, Touch::All)).collect(),
            Some(tell) => {
                let told = Told::all(slice::from_ref(tell), &all);
                let touched = of.map(async |(digest, subject)| Some((*digest, touch_of(subject, &told).await?)));
                futures_util::future::join_all(touched).await.into_iter().flatten().collect()
            }
        };
        self.changes.repeat(touched);
    }
}

/// Whether a database shows all of these commits. One that does not answer does not.
///
/// # Errors
/// If it cannot be asked that.
async fn is_shown(database: &Arc<dyn Database>, commits: &Positions) -> Result<bool> {
    if commits.len() > COMMITS {
        return Ok(false);
    }

    let commits: Vec<&str> = commits.iter().map(|commit| &**commit).collect();
    for some in commits.chunks(AT_ONCE) {
        match tokio::time::timeout(ANSWER, database.shows(some)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) | Err(_) => return Ok(false),
            Ok(Err(error)) => match error.kind() {
                Kind::Unavailable | Kind::Busy | Kind::Timeout => return Ok(false),
                _ => return Err(error),
            },
        }
    }
    Ok(true)
}

/// Asks a database about the commits that are waited for, until there are none any more.
async fn watch(loader: Weak<Loader>, database: Arc<dyn Database>) {
    let mut pause = PAUSES[0];
    loop {
        let Some(loader) = loader.upgrade() else { return };
        let Some((until, commits)) = loader.commits.first(&database) else { return };
        let is_late = Instant::now() >= until;
        if is_late {
            tracing::warn!("a database does not show a commit a minute after it was told: its lists may lack it");
        }

        if is_late || is_shown(&database, &commits).await.unwrap_or(true) {
            let tell = loader.commits.told(&database);
            loader.touch_again(&database, tell.as_deref()).await;
            loader.commits.end_first(&database);
            pause = PAUSES[0];
            continue;
        }

        drop(loader);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES[1]);
    }
}
