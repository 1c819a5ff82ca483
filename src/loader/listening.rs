//! Changes that the servers of a shared store tell each other, through its journal.
//!
//! An entry is what was told, and each server looks up by itself what that touches. The changes
//! that are told while an entry is written go into the next one together.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{Loader, STORE_TIMEOUT, count::End};
use crate::{
    change::{Tell, Token, entry},
    error::{Error, Kind, Result},
    resource::Resource,
    store::{Agreement, News},
    unpoisoned::Unpoisoned,
};

/// How often a server looks whether others have told changes, and how long the load of a chunk
/// waits for such a look.
const LOOK: Duration = Duration::from_millis(250);
/// How long a request waits for a change that it names, and the pause between two looks for it.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

/// What a server does with the journal.
#[derive(Default)]
pub(super) struct Listening {
    /// Changes to tell, and whether a task is telling some.
    unsaid: Mutex<Unsaid>,
    /// One look at a time, so that changes are heard in their order.
    looks: tokio::sync::Mutex<Looks>,
    /// When a look last succeeded; at first, when it began to listen.
    heard_at: Mutex<Option<Instant>>,
    /// Whether a look has succeeded.
    hears: AtomicBool,
    /// Whether a task looks again and again.
    listens: AtomicBool,
    /// Has that task look at once.
    wanted: Arc<Notify>,
    /// Wakes those who wait for a look.
    looked: Notify,
    /// How often changes were lost.
    losses: AtomicU64,
}

/// The last looks.
#[derive(Default)]
struct Looks {
    /// When the last look ended, if it failed.
    failed: Option<Instant>,
    /// When the last one that did not fail began.
    began: Option<Instant>,
}

#[derive(Default)]
struct Unsaid {
    tell: Tell,
    tellers: Vec<oneshot::Sender<Result<Token>>>,
    is_told: bool,
}

impl Loader {
    /// Tells changes and purges to every server that shares the store, and hears them here. Returns
    /// their position.
    ///
    /// If dropped, they are told or not, and they may be told again.
    ///
    /// # Errors
    /// When the store does not take them.
    pub(crate) async fn tell(self: &Arc<Loader>, tell: Tell, resources: &[Arc<Resource>]) -> Result<Token> {
        let Some(agreement) = self.store.agreement() else {
            return Ok(self.hear(&[tell], resources, None).await);
        };

        resources.iter().for_each(|resource| self.changes.register(resource));
        let (sender, told) = oneshot::channel();
        {
            let mut unsaid = self.listening.unsaid.lock().unpoisoned();
            unsaid.tell.add(tell);
            unsaid.tellers.push(sender);
            if !std::mem::replace(&mut unsaid.is_told, true) {
                tokio::spawn(say(Arc::clone(self), Arc::clone(agreement)));
            }
        }
        told.await.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the changes were not told")))
    }

    /// The position of the last change that was heard.
    pub(crate) fn position(&self) -> Token {
        self.changes.last()
    }

    /// How long ago the journal was last read; `None` if there is none, or it was never read.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.listening.heard_at.lock().unpoisoned().map(|at| at.elapsed())
    }

    /// Begins to listen to the journal, if the store has one and nobody listens yet.
    pub(super) fn listen(self: &Arc<Loader>) {
        if self.is_here() || self.listening.listens.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.listening.listens.swap(true, Ordering::Relaxed)
        {
            *self.listening.heard_at.lock().unpoisoned() = Some(Instant::now());
            runtime.spawn(listen(Arc::downgrade(self), Arc::clone(&self.listening.wanted)));
        }
    }

    /// Waits for the first look at the journal: without it the stored chunks cannot be judged. Goes
    /// on without it if the store does not answer.
    pub(crate) async fn first_look(self: &Arc<Loader>) {
        if self.is_here() || self.listening.hears.load(Ordering::Relaxed) {
            return;
        }
        self.listen();
        let _ = tokio::time::timeout(STORE_TIMEOUT, self.look()).await;
    }

    /// Waits until all changes up to this position are heard.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] if they are not heard within a second.
    pub(crate) async fn reach(self: &Arc<Loader>, at: Token) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.changes.has(at) == Some(true) && self.shows(at) {
                return Ok(());
            }

            let looked = tokio::time::timeout_at(until, self.look()).await;
            if matches!(looked, Ok(Ok(()))) && self.is_past(at) && self.shows(at) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(self.unreached(at).retry_in(1));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether, after a look, all that is served shows the changes up to this position.
    fn is_past(&self, at: Token) -> bool {
        // Changes of an epoch that is over were lost, and with them all that was read before.
        if self.changes.last().epoch != at.epoch {
            return true;
        }
        // The store, as it is now, had counted on from there before this server began to listen, or
        // half a million changes ago. So if it has ever lost this one, that was earlier still, and
        // what is served was read later.
        self.changes.has(at).unwrap_or(true)
    }

    /// Why a position is not reached.
    fn unreached(&self, at: Token) -> Error {
        if self.changes.has_other(at) {
            let error = Error::new(Kind::Unavailable, "the store has lost the change of `at_least`");
            return error.remedy("tell the change again, and ask with the new token");
        }
        let error = Error::new(Kind::Unavailable, "the change of `at_least` is not known here yet");
        error.remedy("ask again, or without `at_least`")
    }

    /// Waits until what another server had heard when it read a chunk is heard here too, where that
    /// is more than was heard here. Until then nobody knows whether the chunk is right.
    ///
    /// The task that listens looks: a client that leaves does not end its look.
    pub(super) async fn catch_up(self: &Arc<Loader>, since: Token) {
        let until = Instant::now() + LOOK;
        // A look that is under way may have begun before the change was told.
        for _ in 0..2 {
            let looked = self.listening.looked.notified();
            // While the journal is away, not every request waits for it.
            let is_heard_from = self.silence().is_some_and(|silence| silence < PATIENCE);
            if !self.changes.is_ahead(since) || !is_heard_from {
                return;
            }

            self.listen();
            self.listening.wanted.notify_one();
            if tokio::time::timeout_at(until, looked).await.is_err() {
                return;
            }
        }
    }

    /// Hears what was told since the last look.
    async fn look(self: &Arc<Loader>) -> Result<()> {
        let Some(agreement) = self.store.agreement() else { return Ok(()) };
        let asked = Instant::now();
        let mut looks = self.listening.looks.lock().await;
        // Another has looked meanwhile.
        if looks.began.is_some_and(|began| began > asked) {
            return Ok(());
        }
        let hears = self.listening.hears.load(Ordering::Relaxed);
        // While the store is away, not every request waits for it.
        if !hears && looks.failed.is_some_and(|at| at.elapsed() < LOOK) {
            return Err(silent());
        }

        let began = Instant::now();
        let looked = if hears { self.look_on(agreement).await } else { self.look_first(agreement).await };
        looks.failed = looked.is_err().then(Instant::now);
        if looked.is_ok() {
            looks.began = Some(began);
            *self.listening.heard_at.lock().unpoisoned() = Some(Instant::now());
        }
        self.listening.looked.notify_waiters();
        looked
    }

    /// Begins where the entries that can still be read begin: so chunks that were read behind there
    /// are judged by what was told since, and by nothing else.
    async fn look_first(self: &Arc<Loader>, agreement: &Arc<dyn Agreement>) -> Result<()> {
        let News { head, entries, marks } = in_time(agreement.recent()).await?;
        let entries = entries.unwrap_or_default();
        let number = head.number.saturating_sub(entries.len() as u64);
        let mark = if entries.is_empty() { head.mark } else { marks.first().copied().unwrap_or_default() };
        self.changes.begin(Token { number, mark, ..head });
        if entries.is_empty() && number > 0 {
            self.repeat_all_when_settled(Some(head));
        }

        self.hear_entries(&entries, End { at: head, marks: &marks }).await;
        self.listening.hears.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn look_on(self: &Arc<Loader>, agreement: &Arc<dyn Agreement>) -> Result<()> {
        let news = news(agreement, Some(self.changes.last())).await?;
        match news.entries {
            Some(entries) => self.hear_entries(&entries, End { at: news.head, marks: &news.marks }).await,
            None => {
                tracing::warn!("changes of other servers were lost: what was read before is read again");
                self.lose(news.head);
            }
        }
        Ok(())
    }

    fn losses(&self) -> u64 {
        self.listening.losses.load(Ordering::Relaxed)
    }

    /// Counts everything that was read before as touched, since changes up to `told` are not known.
    fn lose(self: &Arc<Loader>, told: Token) {
        self.listening.losses.fetch_add(1, Ordering::Relaxed);
        self.changes.lose(told);
        self.repeat_all_when_settled(Some(told));
    }

    /// Hears entries of the journal, the last of which is at this end.
    async fn hear_entries(self: &Arc<Loader>, entries: &[bytes::Bytes], end: End<'_>) {
        if entries.is_empty() {
            return;
        }
        let entries: Result<Vec<Tell>> = entries.iter().map(|bytes| entry::read(bytes)).collect();
        match entries {
            Ok(entries) => {
                self.hear(&entries, &[], Some(end)).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the journal holds no changes: what was read before is read again");
                self.lose(end.at);
            }
        }
    }
}

/// What the journal says, within the time that a store has.
async fn news(agreement: &Arc<dyn Agreement>, since: Option<Token>) -> Result<News> {
    in_time(agreement.news(since)).await
}

/// The answer of the store, within the time that it has.
async fn in_time<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(STORE_TIMEOUT, asked).await.map_err(|_| silent())?
}

/// The error of a store that does not answer.
fn silent() -> Error {
    Error::new(Kind::Unavailable, "the store does not answer").remedy("see that the store runs, and tell again")
}

/// Has the next tell begin a task, even if this one ends by a panic.
struct Saying<'a>(&'a Loader);

impl Drop for Saying<'_> {
    fn drop(&mut self) {
        let mut unsaid = self.0.listening.unsaid.lock().unpoisoned();
        // Those that wait see their channel closed.
        *unsaid = Unsaid::default();
    }
}

/// Tells all changes that are to be told, then those that have come meanwhile.
async fn say(loader: Arc<Loader>, agreement: Arc<dyn Agreement>) {
    let saying = Saying(&loader);
    loop {
        let Unsaid { tell, tellers, .. } = {
            let mut unsaid = loader.listening.unsaid.lock().unpoisoned();
            if unsaid.tellers.is_empty() {
                unsaid.is_told = false;
                // Under the lock: the next tell begins a task of its own.
                std::mem::forget(saying);
                return;
            }
            let next = Unsaid { is_told: true, ..Unsaid::default() };
            std::mem::replace(&mut *unsaid, next)
        };

        let losses = loader.losses();
        let told = said(&agreement, &tell).await;
        if let Ok(at) = told {
            if loader.look().await.is_err() || loader.changes.has(at) != Some(true) {
                // They were told, but this server cannot hear them: it serves nothing that was read
                // before.
                loader.lose(loader.changes.last());
            }
            // A standby may show them only later all the same.
            if loader.losses() > losses {
                loader.wait_for_unheard(&tell, at).await;
            }
        }
        for teller in tellers {
            let _ = teller.send(told.clone());
        }
    }
}

/// Writes changes and purges to the journal. Returns the position of the last.
async fn said(agreement: &Arc<dyn Agreement>, tell: &Tell) -> Result<Token> {
    let mut last = None;
    for entry in entry::write(tell) {
        let told = tokio::time::timeout(STORE_TIMEOUT, agreement.tell(entry)).await;
        last = Some(told.map_err(|_| silent())??);
    }
    match last {
        Some(last) => Ok(last),
        None => Ok(news(agreement, None).await?.head),
    }
}

/// Looks at the journal again and again, and when that is wanted, until the loader is dropped.
async fn listen(loader: Weak<Loader>, wanted: Arc<Notify>) {
    loop {
        let Some(loader) = loader.upgrade() else { return };
        // Without a limit of its own: the calls of the store and the look-ups have theirs, and a
        // look that is given up would begin anew each time.
        if let Err(error) = loader.look().await {
            tracing::debug!(%error, "what other servers have told is not known");
        }
        drop(loader);
        let _ = tokio::time::timeout(LOOK, wanted.notified()).await;
    }
}

#[cfg(test)]
#[cfg(feature = "memcached")]
mod tests;
