//! Commits that a database does not show yet, since it is a standby: what they touch is touched
//! once more as soon as it does.
//!
//! A program may say where in the database's log the commit of a change is. Then nobody has to
//! guess how far the standby lags behind: it is asked. What was heard together is waited for
//! together, for a minute at most, and holds back nothing else.

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
    change::{Change, Tell, Token},
    chunk::Position,
    error::{Error, Kind, Result},
    resource::LookUps,
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

/// A position in no epoch: no server trusts what it finds in the store at it.
const TRUSTED_BY_NOBODY: Token = Token { epoch: u64::MAX, number: 0, mark: 0 };

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
#[derive(Clone)]
struct Wait {
    /// The position of the first change whose commit this is, without its mark.
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

    /// Whether one of these commits is waited for.
    fn has_any(&self, commits: &Positions) -> bool {
        let queues = self.0.lock().unpoisoned();
        queues.iter().flat_map(|queue| &queue.waits).any(|wait| !wait.commits.is_disjoint(commits))
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

    /// The waits for a database. Without any, the database is forgotten.
    fn waits(&self, database: &Arc<dyn Database>) -> Vec<Wait> {
        let mut queues = self.0.lock().unpoisoned();
        let Some(at) = queues.iter().position(|queue| Arc::ptr_eq(&queue.database, database)) else { return vec![] };
        if queues[at].waits.is_empty() {
            queues.swap_remove(at);
            return vec![];
        }
        queues[at].waits.iter().cloned().collect()
    }

    /// Ends a wait for a database, unless commits were added to it.
    fn end(&self, database: &Arc<dyn Database>, ended: &Wait) {
        let mut queues = self.0.lock().unpoisoned();
        if let Some(queue) = queues.iter_mut().find(|queue| Arc::ptr_eq(&queue.database, database)) {
            queue.waits.retain(|wait| !Arc::ptr_eq(&wait.commits, &ended.commits));
        }
    }

    /// Ends all waits for a database.
    fn end_all(&self, database: &Arc<dyn Database>) {
        self.0.lock().unpoisoned().retain(|queue| !Arc::ptr_eq(&queue.database, database));
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
            let Some(database) = resource.look_ups().and_then(LookUps::database) else { continue };
            let is_there = |database: &Arc<[u8]>| subject.database.as_ref() == Some(database);
            let told = told.changes.iter().filter(|told| told.tables.iter().any(|(database, _)| is_there(database)));
            let commits = told.filter_map(|told| told.change.at.clone());
            match wanted.iter_mut().find(|(known, _)| Arc::ptr_eq(known, database)) {
                Some((_, known)) => known.extend(commits),
                None => wanted.push((Arc::clone(database), commits.collect())),
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

    /// Has what was told touched once more as soon as these databases show it. `at` is the position
    /// of the last entry.
    pub(super) fn wait_for(self: &Arc<Loader>, late: &Late, at: Token, entries: &[Tell]) {
        if late.databases.is_empty() {
            return;
        }

        let tell = Arc::new(Tell::all(entries));
        let has_commit = |entry: &&Tell| entry.changes.iter().any(|change| change.at.is_some());
        let before = entries.iter().take_while(|entry| !has_commit(entry)).count();
        let behind = entries.len().saturating_sub(before + 1) as u64;
        let at = Token { number: at.number.saturating_sub(behind), ..at.unmarked() };
        for (database, commits) in &late.databases {
            let until = Instant::now() + LONGEST_WAIT;
            let wait = Wait { at, until, commits: Arc::clone(commits), tell: Some(Arc::clone(&tell)) };
            if self.commits.add(database, wait) {
                tokio::spawn(watch(Watch { loader: Arc::downgrade(self), database: Arc::clone(database) }));
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

    /// Whether the databases show all changes up to this position whose commits were told, and
    /// those of which nobody knows here.
    pub(super) fn shows(&self, at: Token) -> bool {
        self.commits.are_shown(at) && self.is_settled(at)
    }

    /// The position of a read that begins now. For servers that find in the store what it reads, it
    /// is before the first change that it may not see: their own databases may show that already.
    pub(super) fn position_of_a_read(&self) -> Position {
        let mut position = self.changes.position();
        let unshown = self.commits.unshown();
        // What was lost, or told in an epoch that is over, has no place in this one.
        if !self.is_settled(position.token) || unshown.iter().any(|first| first.epoch != position.token.epoch) {
            position.token = TRUSTED_BY_NOBODY;
            return position;
        }

        let before = unshown.iter().map(|first| first.number.saturating_sub(1)).min();
        if let Some(number) = before.filter(|number| *number < position.token.number) {
            position.token = self.changes.earlier(position.token, number).unwrap_or(TRUSTED_BY_NOBODY);
        }
        position
    }

    /// Waits until the databases show the commits of these changes, which were told.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if they do not within two seconds.
    pub(crate) async fn until_shown(&self, changes: &[Change]) -> Result<()> {
        let commits: Positions = changes.iter().filter_map(|change| change.at.clone()).collect();
        let until = Instant::now() + PATIENCE;
        while self.commits.has_any(&commits) {
            if Instant::now() >= until {
                let message = "the change is told, but the database that is read does not show its commit yet";
                let error = Error::new(Kind::Unavailable, message).retry_in(1);
                return Err(error.remedy("see whether its replication lags; lists show the change as soon as it does"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The lists that are read from a database.
    fn subjects_of(&self, database: &Arc<dyn Database>) -> Vec<([u8; 16], Subject)> {
        let is_of = |subject: &Subject| {
            let resource = subject.resource();
            let look_ups = resource.as_ref().and_then(|resource| resource.look_ups());
            look_ups.and_then(LookUps::database).is_some_and(|one| Arc::ptr_eq(one, database))
        };
        self.changes.subjects().into_iter().filter(|(_, subject)| is_of(subject)).collect()
    }

    /// Whether a wait is over: the database shows its commits, or is not waited for any longer.
    async fn is_over(&self, database: &Arc<dyn Database>, wait: &Wait) -> bool {
        if Instant::now() >= wait.until {
            tracing::warn!("a database does not show a commit a minute after it was told: its lists may lack it");
            return true;
        }

        is_shown(database, &wait.commits).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a database cannot say whether it shows a commit");
            true
        })
    }

    /// Touches once more what was told, or everything, in the lists of a database.
    async fn touch_again(&self, database: &Arc<dyn Database>, tell: Option<&Tell>) {
        let of = self.subjects_of(database);
        let touched: Vec<_> = match tell {
            None => of.iter().map(|(digest, _)| (*digest, Touch::All)).collect(),
            Some(tell) => {
                let told = Told::all(slice::from_ref(tell), &self.changes.subjects());
                let touched = of.iter().map(async |(digest, subject)| Some((*digest, touch_of(subject, &told).await?)));
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

/// What a task watches. If it ends by a panic, the database is waited for no more, and its lists
/// are read again.
struct Watch {
    loader: Weak<Loader>,
    database: Arc<dyn Database>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(loader) = self.loader.upgrade()
        {
            loader.commits.end_all(&self.database);
            let all = loader.subjects_of(&self.database).into_iter();
            loader.changes.repeat(all.map(|(digest, _)| (digest, Touch::All)).collect());
        }
    }
}

/// Asks a database about the commits that are waited for, until there are none any more.
async fn watch(watch: Watch) {
    let database = &watch.database;
    let mut pause = PAUSES[0];
    loop {
        let Some(loader) = watch.loader.upgrade() else { return };
        let waits = loader.commits.waits(database);
        // The database was forgotten under the lock: the next wait begins a task of its own.
        if waits.is_empty() {
            return;
        }

        let mut has_ended = false;
        for wait in &waits {
            if loader.is_over(database, wait).await {
                loader.touch_again(database, wait.tell.as_deref()).await;
                loader.commits.end(database, wait);
                has_ended = true;
            }
        }

        drop(loader);
        pause = if has_ended { PAUSES[0] } else { (pause * 2).min(PAUSES[1]) };
        tokio::time::sleep(pause).await;
    }
}
