//! The journal: numbered entries that the servers which share a store tell each other.
//!
//! Each prefix has one. Its names are `PREFIXj:{PREFIX}` for the *head*, which says how far it
//! goes, and `PREFIXj:{PREFIX}:EPOCH.NUMBER` for each entry (their forms are in `form.rs`). The
//! braces keep all of them on one machine. Entries expire after [`JOURNAL_KEEP`], the head never.
//!
//! **Writing.** A server makes the entry for the next number, with that number in it, and asks the
//! store to keep it and to move the head, if the head is still the one that the server knows.
//! Otherwise another server was first, and it tries the next number. So only one server writes under
//! a number, and each entry is there before the head says so. A write that is repeated because the
//! connection broke finds its own entry, and does not write a second one.
//!
//! **Reading.** A server asks for the head; if it has not moved, that is all. Else it asks for the
//! entries in between, some at a time. A server that begins reads backwards from the head instead,
//! up to the first entry that is gone or does not fit.
//!
//! **Loss.** An entry that is missing, damaged, or not by a server that knows the secret is a hole.
//! A head that is gone or no head is replaced by one of a new epoch, by the first server that writes
//! or reads. So two losses between two looks of a server do not look like none. Readers see each of
//! these as [`News::entries`] being `None`.
//!
//! **Going back.** A replica that is promoted may show an earlier state than a server has seen
//! (`known.rs`). The first server that notices writes the missing entries again, byte by byte, and
//! nothing is lost. If it does not have all of them, or if others have written in their place, it
//! begins a new epoch, which is a loss. An entry that no server knows any more is missed by nobody.
//!
//! The journal has no copies ([`Remote::copies`]): two copies with numbers of their own could not
//! be put into one order. While its machine is away, telling and reading fail, also in a Memcached
//! of several nodes, where chunks would move to the next node: of two servers, one might not see
//! that the node is down, and would not hear what the other tells.
//!
//! A writer to the store who does not know the secret can cause losses, and can also put the head
//! back, and so hide entries until a server that has seen or told them looks again.

mod form;
mod known;

use std::{
    ops::RangeInclusive,
    slice,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

#[cfg(fuzzing)]
pub(crate) use self::form::fuzz_journal;
use self::{
    form::{Entry, Head, new_mark},
    known::{Kept, Known, Then},
};
use super::{
    News,
    remote::{PATIENCE, Remote, Step, Stepped},
};
use crate::{
    change::Token,
    error::{Error, Kind, Result},
    secret::Secret,
    unpoisoned::Unpoisoned,
};

/// How long an entry is kept. A server that has not looked for so long has missed some.
const JOURNAL_KEEP: Duration = Duration::from_secs(600);
/// The longest body of an entry, in bytes.
const LONGEST: usize = 64 * 1024;
/// The most entries that are read at once, and the most bytes. Beyond it, all of them are lost.
const MOST: u64 = 10_000;
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// How many entries are asked for in one call: no more than a connection can hold on its way.
const AT_ONCE: u64 = 64;
/// For how long a server that begins asks for older and older entries.
const BACK: Duration = Duration::from_millis(300);

const WENT_BACK: &str = "the journal in the store went back to an earlier state";

/// A journal in a store.
pub(super) struct Journal {
    remote: Arc<dyn Remote>,
    name: String,
    secret: Option<Secret>,
    known: Mutex<Known>,
}

/// From where entries are read.
#[derive(Clone, Copy)]
enum Since {
    /// From the head: none.
    Head,
    /// From behind this position.
    Position(Token),
    /// From as far back as can be read.
    Oldest,
}

/// What stands between a position and the head.
enum Between {
    /// All of it.
    Entries(Entries),
    Lost,
    /// The store went back, and has gone on from there.
    Another,
}

/// The entries between a position and the head, oldest first.
#[derive(Default)]
struct Entries {
    /// The mark of that position, then those of the entries.
    marks: Vec<u64>,
    bodies: Vec<Bytes>,
    /// The same entries, to be put back if the store loses them.
    kept: Vec<Kept>,
    bytes: usize,
}

impl Journal {
    pub(super) fn new(remote: Arc<dyn Remote>, prefix: &str, secret: Option<Secret>) -> Journal {
        Journal { remote, name: format!("{prefix}j:{{{prefix}}}"), secret, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unpoisoned()
    }

    fn name_of(&self, at: Token) -> String {
        format!("{}:{}", self.name, at.place())
    }

    /// Appends an entry. See [`Agreement::tell`](super::Agreement::tell).
    pub(super) async fn tell(&self, body: Bytes) -> Result<Token> {
        if body.len() > LONGEST {
            let message = format!("an entry of {} bytes is too long for the journal", body.len());
            return Err(Error::new(Kind::Invalid, message).remedy("tell it in several of at most 64 KiB"));
        }

        let deadline = Instant::now() + PATIENCE;
        // Usually nobody else has told anything since the last look.
        let mut then = self.known().now();
        let mut from = then.last.map_or(Bytes::new(), |last| last.text());
        while Instant::now() < deadline {
            let (there, before) = self.base(from, &then).await?;
            let head = before.next();
            let name = self.name_of(head.0);
            let entry = Entry { head, before: before.0.mark, body: body.clone() };
            let entry = Kept::new(&entry, entry.seal(self.secret.as_ref()));

            then = self.known().now();
            from = there;
            match self.step(from.clone(), head, Some((&name, entry.sealed.clone()))).await? {
                Stepped::Done => return Ok(self.told(entry)),
                Stepped::Other { head: there, kept } => {
                    if kept && Head::read(&there).is_some_and(|there| there.includes(head.0)) {
                        return Ok(self.told(entry));
                    }
                    from = there;
                }
                Stepped::Taken(theirs) => from = self.help(from, head.0, &theirs).await?,
            }
        }

        Err(Error::new(Kind::Busy, "the journal in the store is written by others all the time"))
    }

    /// What stands in the store in place of the head, and the head to go on from: the same, or that
    /// of a new epoch.
    async fn base(&self, there: Bytes, then: &Then) -> Result<(Bytes, Head)> {
        if let Some(head) = read(&there, then) {
            return Ok((there, head));
        }
        Ok(match self.put_back(&there).await? {
            Some(head) => (head.text(), head),
            None => (there, Head::beginning()),
        })
    }

    /// Moves the head to an entry whose server has not done that yet, and may never do it. Returns
    /// the head.
    async fn help(&self, from: Bytes, at: Token, theirs: &Bytes) -> Result<Bytes> {
        // What is no entry becomes a hole.
        let entry = Entry::open(theirs, at, self.secret.as_ref());
        let head = entry.map_or_else(|_| Head(Token { mark: new_mark(), ..at }), |entry| entry.head);
        match self.step(from.clone(), head, None).await? {
            Stepped::Done => Ok(head.text()),
            Stepped::Other { head, .. } => Ok(head),
            Stepped::Taken(_) => Ok(from),
        }
    }

    /// The entries behind a position. See [`Agreement::news`](super::Agreement::news).
    pub(super) async fn news(&self, since: Option<Token>) -> Result<News> {
        self.read(since.map_or(Since::Head, Since::Position)).await
    }

    /// The last entries. See [`Agreement::recent`](super::Agreement::recent).
    pub(super) async fn recent(&self) -> Result<News> {
        self.read(Since::Oldest).await
    }

    async fn read(&self, since: Since) -> Result<News> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let then = self.known().now();
            let there =
                self.remote.read_together(slice::from_ref(&self.name)).await?.pop().flatten().unwrap_or_default();

            if let Some(head) = read(&there, &then) {
                let between = match since {
                    Since::Head => self.between(head.0, head).await?,
                    Since::Position(since) => self.between(since, head).await?,
                    Since::Oldest => self.before(head).await?,
                };
                let (entries, marks) = match between {
                    Between::Entries(entries) => (Some(entries.bodies), entries.marks),
                    Between::Lost => (None, vec![]),
                    Between::Another => {
                        tracing::warn!("{WENT_BACK}, and begins anew");
                        self.begin(there).await?;
                        continue;
                    }
                };
                return Ok(News { head: self.noted(head), entries, marks });
            }

            if self.put_back(&there).await?.is_none() {
                self.begin(there).await?;
            }
        }

        Err(Error::new(Kind::Busy, "the journal in the store begins anew all the time"))
    }

    /// Begins a new epoch, unless the head is another by now.
    async fn begin(&self, from: Bytes) -> Result<()> {
        self.step(from, Head::beginning(), None).await.map(drop)
    }

    /// Writes again what the store has lost behind this head, if this server knows all of it.
    /// Returns the head then; `None` if it cannot be put back.
    async fn put_back(&self, there: &[u8]) -> Result<Option<Head>> {
        let Some(mut head) = Head::read(there) else { return Ok(None) };
        let Some(lost) = self.known().lost_behind(&head) else {
            tracing::warn!("{WENT_BACK}, and begins anew");
            return Ok(None);
        };

        let count = lost.len();
        for entry in lost {
            let name = self.name_of(entry.head.0);
            match self.step(head.text(), entry.head, Some((&name, entry.sealed))).await? {
                // Another server may put it back too.
                Stepped::Done | Stepped::Other { kept: true, .. } => head = entry.head,
                Stepped::Other { .. } | Stepped::Taken(_) => return Ok(None),
            }
        }

        tracing::warn!(entries = count, "{WENT_BACK}: what it lost is there again");
        Ok(Some(head))
    }

    async fn step(&self, from: Bytes, to: Head, entry: Option<(&str, Bytes)>) -> Result<Stepped> {
        let step = Step { name: &self.name, from, to: to.text(), entry, keep: JOURNAL_KEEP };
        self.remote.step(step).await
    }

    /// Notes an entry that this server has told.
    fn told(&self, entry: Kept) -> Token {
        let token = self.noted(entry.head);
        self.known().keep(entry);
        token
    }

    fn noted(&self, head: Head) -> Token {
        self.known().note(head);
        head.0
    }

    /// The entries behind `since` up to the head. Without a mark, `since` is any position with its
    /// number.
    async fn between(&self, since: Token, head: Head) -> Result<Between> {
        let Some(count) = head.0.number.checked_sub(since.number) else { return Ok(Between::Lost) };
        if since.epoch != head.0.epoch || count > MOST {
            return Ok(Between::Lost);
        }

        let mut entries = Entries::default();
        let mut next = since.number + 1;
        while next <= head.0.number {
            let end = head.0.number.min(next + AT_ONCE - 1);
            for (at, stored) in self.stored(head, next..=end).await? {
                let Some((entry, stored)) = self.opened(at, stored) else { return Ok(Between::Lost) };
                if self.known().denies(&entry) {
                    return Ok(Between::Another);
                }
                if !entries.add(entry, stored) {
                    return Ok(Between::Lost);
                }
            }

            next = end + 1;
        }

        // Between the head and itself there is no entry that says which mark is before it.
        let first = *entries.marks.first().unwrap_or(&head.0.mark);
        if first != since.mark && since.mark != 0 {
            return Ok(Between::Lost);
        }
        if entries.bodies.is_empty() {
            entries.marks.push(head.0.mark);
        }
        if entries.bodies.len() as u64 != count || entries.marks.last() != Some(&head.0.mark) {
            return Ok(Between::Lost);
        }

        Ok(self.noted_between(entries, head))
    }

    /// The last entries up to the head, as many as can be read one behind the other.
    async fn before(&self, head: Head) -> Result<Between> {
        let until = Instant::now() + BACK;
        let mut entries = Entries { marks: vec![head.0.mark], ..Entries::default() };
        let mut last = head.0.number;
        'back: while last > 0 && Instant::now() < until {
            let first = last.saturating_sub(AT_ONCE - 1).max(1);
            for (at, stored) in self.stored(head, first..=last).await?.into_iter().rev() {
                let Some((entry, stored)) = self.opened(at, stored) else { break 'back };
                if self.known().denies(&entry) {
                    return Ok(Between::Another);
                }
                if !entries.add_before(entry, stored) {
                    break 'back;
                }
            }
            last = first - 1;
        }

        entries.marks.reverse();
        entries.bodies.reverse();
        entries.kept.reverse();
        Ok(self.noted_between(entries, head))
    }

    /// What the store has under these numbers of the head's epoch.
    async fn stored(&self, head: Head, numbers: RangeInclusive<u64>) -> Result<Vec<(Token, Option<Bytes>)>> {
        let places: Vec<Token> = numbers.map(|number| Token { number, ..head.0 }).collect();
        let names: Vec<String> = places.iter().map(|at| self.name_of(*at)).collect();
        let found = self.remote.read_together(&names).await?;
        Ok(places.into_iter().zip(found).collect())
    }

    /// The entry that is stored at a position, with its stored form; `None` if it is gone or is no
    /// such entry.
    fn opened(&self, at: Token, stored: Option<Bytes>) -> Option<(Entry, Bytes)> {
        let stored = stored?;
        match Entry::open(&stored, at, self.secret.as_ref()) {
            Ok(entry) => Some((entry, stored)),
            Err(why) => {
                tracing::warn!(position = %at.place(), why, "an entry of the journal in the store is lost");
                None
            }
        }
    }

    /// Notes the head and the entries before it.
    fn noted_between(&self, mut entries: Entries, head: Head) -> Between {
        let mut known = self.known();
        known.note(head);
        entries.kept.drain(..).for_each(|entry| known.keep(entry));
        drop(known);
        Between::Entries(entries)
    }
}

impl Entries {
    /// Adds the next entry. Returns whether it follows the last one, and there is room for it.
    fn add(&mut self, entry: Entry, stored: Bytes) -> bool {
        if self.bodies.is_empty() {
            self.marks.push(entry.before);
        }
        let follows = self.marks.last() == Some(&entry.before);
        self.bytes += entry.body.len();

        self.marks.push(entry.head.0.mark);
        self.kept.push(Kept::new(&entry, stored));
        self.bodies.push(entry.body);
        follows && self.bytes <= MOST_BYTES
    }

    /// Adds the entry before the last one that was added, if the mark of that one says so and there
    /// is room for it. Returns whether it was added.
    fn add_before(&mut self, entry: Entry, stored: Bytes) -> bool {
        let bytes = self.bytes + entry.body.len();
        let follows = self.marks.last() == Some(&entry.head.0.mark);
        let has_room = bytes <= MOST_BYTES && (self.bodies.len() as u64) < MOST;
        if !follows || !has_room {
            return false;
        }

        self.bytes = bytes;
        self.marks.push(entry.before);
        self.kept.push(Kept::new(&entry, stored));
        self.bodies.push(entry.body);
        true
    }
}

/// The head in these bytes; `None` if there is none, or none to go on from.
fn read(bytes: &[u8], then: &Then) -> Option<Head> {
    Head::read(bytes).filter(|head| !then.goes_back_to(head))
}

#[cfg(test)]
mod tests;
