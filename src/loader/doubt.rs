//! Chunks of which only the database knows whether a changed row belongs there: texts compare by a
//! collation, or a condition cannot be tested here.
//!
//! A load asks before it reads a chunk again. What is asked is which of the rows in doubt a list has
//! behind a place. A chunk holds those behind its start that are not behind its end. So the answer
//! is the database's own, for the order and the conditions alike.
//!
//! A change puts every chunk of a list in doubt. So a load that asks does so for the chunks behind
//! its own too, as far as they are in memory: they are a series of places in order, in which halving
//! finds each row by few questions. A list of 400 chunks costs about ten, and all its other chunks
//! are then known to show the change.
//!
//! The rows are asked for as they are when the question is asked, which is after their change was
//! told. If one has moved again since, that change will be told too, and judged by itself.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::{
    Loader, Place,
    touch::{Row, Verdict},
};
use crate::{
    chunk::{Chunk, ListKey},
    cursor::Cursor,
    error::{Error, Kind, Result},
    resource::KEYS_AT_ONCE,
    source::TouchRules,
};

/// The time for all questions about one chunk and those behind it. If the database has not answered
/// by then, every chunk in doubt counts as touched.
const PATIENCE: Duration = Duration::from_secs(2);
/// At most this many questions are asked for the sake of the chunks behind, and at most this many of
/// those are looked at.
const QUESTIONS: usize = 64;
const BEHIND: usize = 1_024;

/// For how many lists it is remembered that they have none of some rows.
const LISTS: usize = 1_024;
/// At most of this many.
const FEW: usize = 64;

/// Which lists have none of the rows that were asked about, at any place.
///
/// So of a list that was not in memory, one question clears every chunk of a stream, as it comes.
pub(super) struct Absent(Cache<ListKey, Arc<Answer>>);

/// Rows that a list did not have, when all changes up to this number were known.
struct Answer {
    known: u64,
    rows: HashSet<Cursor>,
}

impl Absent {
    pub(super) fn new() -> Absent {
        Absent(Cache::new(LISTS))
    }

    fn note(&self, place: &Place, known: u64, doubts: &Doubts) {
        if doubts.len() > FEW {
            return;
        }
        let rows = doubts.keys().cloned().collect();
        self.0.insert(*place.list.key(), Arc::new(Answer { known, rows }));
    }

    /// Whether the list is known to have none of the rows that a chunk is in doubt about.
    fn has_all(&self, place: &Place, known: u64, link: &Link) -> bool {
        let answer = self.0.get(place.list.key()).filter(|answer| answer.known >= known);
        answer.is_some_and(|answer| link.doubts.is_subset(&answer.rows))
    }
}

/// Keys of rows in doubt, each with the texts by which the database finds it.
type Doubts = HashMap<Cursor, Arc<[Vec<String>]>>;

/// A chunk among those that are asked about together.
struct Link {
    chunk: Arc<Chunk>,
    verdict: Verdict,
    /// The keys of the rows that are in doubt.
    doubts: HashSet<Cursor>,
}

/// What is asked for one chunk, and those behind it.
struct Inquiry<'a> {
    loader: &'a Loader,
    place: &'a Place,
    /// The chunks are judged up to this change.
    known: u64,
    rules: &'a TouchRules,
    doubts: Doubts,
    until: Instant,
    /// How many more questions may be asked.
    left: usize,
}

impl Loader {
    /// Whether a chunk shows every change that its request must see, where the database had to be
    /// asked for that. If it does not say, a chunk in doubt counts as touched.
    pub(super) async fn is_cleared(&self, place: &Place, chunk: &Arc<Chunk>) -> bool {
        // Changes that are heard from now on are not asked about.
        let known = place.demand.known.min(self.changes.head());
        let mut doubts = Doubts::new();
        let first = self.link(place, known, Arc::clone(chunk), &mut doubts);
        if first.verdict != Verdict::InDoubt {
            return first.verdict == Verdict::Shown;
        }

        if self.absent.has_all(place, known, &first) {
            first.chunk.shown.note_judged(known);
            return true;
        }

        let resource = place.list.resource();
        match self.inquire(place, known, first, doubts).await {
            Ok(is_cleared) => {
                if !is_cleared {
                    self.metrics.touched.inc();
                }
                is_cleared
            }
            // The load that follows will say that the database is away.
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Busy) => false,
            Err(error) => {
                let name = resource.name();
                tracing::warn!(resource = name, %error, "where a changed row belongs is not known: the whole list is read again");
                self.changes.give_up(&resource.digest(), known);
                self.metrics.touched_whole.inc();
                false
            }
        }
    }

    /// A chunk with its doubts, which are added to `all`.
    fn link(&self, place: &Place, known: u64, chunk: Arc<Chunk>, all: &mut Doubts) -> Link {
        let mut rows: Vec<Arc<Row>> = vec![];
        let mut doubtful = |row: &Arc<Row>| rows.push(Arc::clone(row));
        let mut verdict = self.changes.verdict_with(&place.list, &chunk, known, &mut doubtful);
        if verdict != Verdict::InDoubt {
            rows.clear();
        }

        let rules = place.list.resource().source().touch_rules();
        let mut doubts = HashSet::new();
        for row in rows {
            let keys = rules.map_or(vec![], |rules| row.keys(rules));
            if keys.is_empty() {
                verdict = Verdict::Touched;
            }
            for key in keys {
                all.entry(key.clone()).or_insert_with(|| Arc::clone(&row.told));
                doubts.insert(key);
            }
        }

        Link { chunk, verdict, doubts }
    }

    /// Asks about the first chunk, and then about those behind it.
    async fn inquire(&self, place: &Place, known: u64, first: Link, mut doubts: Doubts) -> Result<bool> {
        let rules = place.list.resource().source().touch_rules();
        let rules = rules.ok_or_else(|| Error::new(Kind::Internal, "a list without rules is in doubt"))?;
        let behind = self.behind(place, known, &first.chunk, &mut doubts);
        let until = Instant::now() + PATIENCE;
        let mut inquiry = Inquiry { loader: self, place, known, rules, doubts, until, left: QUESTIONS };

        let rows = inquiry.ask(&place.cursor, None).await?;
        if rows.is_empty() && place.cursor.is_start() {
            self.absent.note(place, known, &inquiry.doubts);
        }
        let beyond = match &first.chunk.next {
            Some(next) => inquiry.ask(next, Some(&rows)).await?,
            None => HashSet::new(),
        };
        let is_cleared = inquiry.settle(&first, &without(&rows, &beyond));
        inquiry.search(behind, beyond).await;
        Ok(is_cleared)
    }

    /// The chunks behind this one that are in memory, up to the last that is in doubt.
    fn behind(&self, place: &Place, known: u64, chunk: &Chunk, doubts: &mut Doubts) -> Vec<Link> {
        let mut links: Vec<Link> = vec![];
        let mut next = chunk.next.clone();
        let Some(near) = self.store.near() else { return links };
        while let Some(cursor) = next.take()
            && links.len() < BEHIND
            && let Some(chunk) = near.at_hand(&place.list.chunk_key(&cursor, 0))
        {
            next.clone_from(&chunk.next);
            links.push(self.link(place, known, chunk, doubts));
        }

        let last = links.iter().rposition(|link| link.verdict == Verdict::InDoubt);
        links.truncate(last.map_or(0, |last| last + 1));
        links
    }
}

impl Inquiry<'_> {
    /// The places of the rows in doubt that the list has behind a place; `of`: only of these.
    async fn ask(&mut self, behind: &Cursor, of: Option<&HashSet<Cursor>>) -> Result<HashSet<Cursor>> {
        if of.is_some_and(HashSet::is_empty) {
            return Ok(HashSet::new());
        }

        let keys = of.map(|rows| rows.iter().filter_map(|row| self.rules.key_at(row)).collect::<HashSet<_>>());
        let wanted = self.doubts.iter().filter(|(key, _)| keys.as_ref().is_none_or(|keys| keys.contains(key)));
        let told: HashSet<&[String]> = wanted.flat_map(|(_, told)| told.iter()).map(|told| &**told).collect();
        let told: Vec<&[String]> = told.into_iter().collect();
        if told.len() > KEYS_AT_ONCE {
            return Err(Error::new(Kind::Data, "too many rows have changed to ask where each belongs"));
        }

        let resource = self.place.list.resource();
        let unable = || Error::new(Kind::Internal, "nothing was made to ask where its rows belong");
        let look_ups = resource.look_ups().ok_or_else(unable)?;
        let conditions = self.place.list.conditions();
        self.left = self.left.saturating_sub(1);
        self.loader.metrics.questions.inc();

        let asked = look_ups.behind.rows(behind, conditions, &told, self.place.demand.requester);
        let answer = tokio::time::timeout_at(self.until, asked).await;
        let rows = answer.map_err(|_| Error::new(Kind::Timeout, "the database has not answered in time"))??;
        let is_in_doubt = |row: &Cursor| self.rules.key_at(row).is_some_and(|key| self.doubts.contains_key(&key));
        let is_wanted = |row: &Cursor| of.map_or_else(|| is_in_doubt(row), |of| of.contains(row));
        Ok(rows.into_iter().filter(is_wanted).collect())
    }

    /// Notes of a chunk that it shows all changes, if none of the rows within it was in doubt.
    fn settle(&self, link: &Link, within: &HashSet<Cursor>) -> bool {
        let is_within = |row: &Cursor| self.rules.key_at(row).is_none_or(|key| link.doubts.contains(&key));
        let is_cleared = link.verdict == Verdict::InDoubt && !within.iter().any(is_within);
        if is_cleared {
            link.chunk.shown.note_judged(self.known);
        }
        is_cleared
    }

    /// Settles the chunks of a series. `rows` are those in doubt that are behind its beginning.
    async fn search(&mut self, links: Vec<Link>, rows: HashSet<Cursor>) {
        let Some(last) = links.last() else { return };
        let beyond = match &last.chunk.next {
            Some(next) => self.ask(next, Some(&rows)).await,
            None => Ok(HashSet::new()),
        };
        let Ok(beyond) = beyond else { return };

        let mut parts = vec![(&links[..], without(&rows, &beyond))];
        while let Some((part, rows)) = parts.pop() {
            if rows.is_empty() || part.len() == 1 {
                for link in part {
                    self.settle(link, &rows);
                }
                continue;
            }
            // What is left stays in doubt, until somebody asks for it.
            if self.left == 0 {
                return;
            }

            let (one, other) = part.split_at(part.len() / 2);
            let Some(middle) = one.last().and_then(|link| link.chunk.next.as_ref()) else { return };
            let Ok(beyond) = self.ask(middle, Some(&rows)).await else { return };
            parts.push((other, beyond.clone()));
            parts.push((one, without(&rows, &beyond)));
        }
    }
}

/// The rows that are not among the others.
fn without(rows: &HashSet<Cursor>, others: &HashSet<Cursor>) -> HashSet<Cursor> {
    rows.difference(others).cloned().collect()
}
