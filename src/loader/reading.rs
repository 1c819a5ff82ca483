//! Reads of the source. One read serves all loads that want the rows behind the same place of a
//! list, in every variant.
//!
//! A read belongs to no single load. It is a task, and ends, down to the database, when the last
//! load that wants its rows has ended. Its rows are kept for a moment, for requests for other
//! variants that began before the read was over. Each load encodes the rows for itself.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::{sync::watch, task::AbortHandle};
use tracing::{Instrument, Span};

use super::{Loader, Place};
use crate::{
    chunk::{Chunk, ListKey, Position},
    cursor::Cursor,
    cutter::Cutter,
    error::{Error, Kind, Result},
    row::{RowBatch, RowSink},
    source::Query,
    store::Generation,
    unpoisoned::Unpoisoned,
};

/// Rows that were read are kept for other variants: for at most `AGE` milliseconds, and at most
/// `BYTES` of all lists. Of a list the last read is kept; while several variants of it are read, the
/// last `READS`, since one of them is ahead of the others.
const AGE: u64 = 10_000;
const READS: usize = 8;
const BYTES: usize = 16 * 1024 * 1024;
/// A load encodes this many rows before it yields to another task.
const TURN: usize = 256;

/// A list, the same for all its variants, in one generation.
type ReadKey = (ListKey, Option<Generation>);

/// All reads that loads may share.
#[derive(Default)]
pub(super) struct Reads {
    lists: HashMap<ReadKey, Vec<Shared>>,
    /// Reads that are over, in the order in which they ended, with their bytes.
    over: VecDeque<(ReadKey, Arc<Read>, usize)>,
    bytes: usize,
}

/// A read, as loads find it.
struct Shared {
    read: Arc<Read>,
    /// Shared by the loads that wait for it; gone when the last of them is.
    interest: Weak<Interest>,
}

/// A read of the rows behind a place.
struct Read {
    after: Cursor,
    /// At most this many rows.
    limit: u32,
    /// When it began, in milliseconds since 1970: none of its rows was read earlier.
    began: u64,
    /// Its rows hold all changes that were told up to here.
    position: Position,
    /// The variant of the load that began it, and whether loads of another have joined.
    variant: ListKey,
    is_shared: AtomicBool,
    rows: watch::Receiver<Rows>,
}

/// What a read has read.
#[derive(Default)]
struct Rows {
    batches: Vec<Arc<RowBatch>>,
    /// The span of the load that began it, until it is over: what holds a span keeps it open.
    span: Option<Span>,
    over: Option<Over>,
}

/// How a read ended.
struct Over {
    /// How many reads were over with it.
    at: u64,
    /// Whether the list ends with its rows.
    ended: Result<bool>,
}

/// Ends a read when the last load drops this.
struct Interest {
    loader: Arc<Loader>,
    key: ReadKey,
    read: Arc<Read>,
    task: AbortHandle,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.task.abort();
        let mut reads = self.loader.reads.lock().unpoisoned();
        if self.read.rows.borrow().over.is_none() {
            reads.remove(&self.key, &self.read);
        }
    }
}

impl Reads {
    /// A read of the rows that a load wants, if there is one.
    fn find(&self, key: &ReadKey, wanted: &Wanted<'_>) -> Option<Reader> {
        let Wanted { variant, after, limit, asked, least } = *wanted;
        let fits = |shared: &&Shared| {
            let read = &shared.read;
            read.after == *after && read.limit >= limit && read.position.number >= least
        };
        let reader = |shared: &Shared| {
            let read = &shared.read;
            let joined = |interest| {
                read.is_shared.fetch_or(read.variant != *variant, Ordering::Relaxed);
                Reader::new(Arc::clone(read), interest)
            };

            if let Some(over) = &read.rows.borrow().over {
                return (asked < over.at).then(|| joined(None));
            }
            // Without an `Interest` the read has ended too. Nor may one be dropped here: its drop
            // takes the lock again.
            shared.interest.upgrade().map(|interest| joined(Some(interest)))
        };
        self.lists.get(key)?.iter().filter(fits).find_map(reader)
    }

    /// Keeps the rows of a read that is over, in place of the list's oldest, within the bounds.
    fn keep(&mut self, key: ReadKey, read: Arc<Read>, bytes: usize) {
        let of_list = self.over.iter().filter(|(other, ..)| *other == key);
        let is_shared = |read: &Arc<Read>| read.is_shared.load(Ordering::Relaxed);
        let most = if of_list.clone().any(|(_, read, _)| is_shared(read)) { READS } else { 1 };
        let beyond = (of_list.count() + 1).saturating_sub(most);
        for _ in 0..beyond {
            let oldest = self.over.iter().position(|(other, ..)| *other == key);
            let Some(oldest) = oldest.and_then(|at| self.over.remove(at)) else { break };
            self.forget(&oldest);
        }

        self.over.push_back((key, read, bytes));
        self.bytes += bytes;
        while self.bytes > BYTES
            && let Some(over) = self.over.pop_front()
        {
            self.forget(&over);
        }
    }

    /// Forgets the reads that are older than `AGE`.
    fn forget_old(&mut self, now: u64) {
        while self.over.front().is_some_and(|(_, read, _)| now.saturating_sub(read.began) >= AGE)
            && let Some(over) = self.over.pop_front()
        {
            self.forget(&over);
        }
    }

    fn forget(&mut self, (key, read, bytes): &(ReadKey, Arc<Read>, usize)) {
        self.bytes -= bytes;
        self.remove(key, read);
    }

    fn remove(&mut self, key: &ReadKey, read: &Arc<Read>) {
        let Some(of_list) = self.lists.get_mut(key) else { return };
        of_list.retain(|shared| !Arc::ptr_eq(&shared.read, read));
        if of_list.is_empty() {
            self.lists.remove(key);
        }
    }
}

/// The read that a load wants: of at least `limit` rows behind `after`, which was still under way
/// at the moment `asked`, when the request for this variant began, and holds at least `least`
/// changes.
struct Wanted<'a> {
    variant: &'a ListKey,
    after: &'a Cursor,
    limit: u32,
    asked: u64,
    least: u64,
}

/// Takes the rows of a read as they come.
struct Reader {
    read: Arc<Read>,
    rows: watch::Receiver<Rows>,
    /// How many batches it has taken.
    taken: usize,
    _interest: Option<Arc<Interest>>,
}

impl Reader {
    fn new(read: Arc<Read>, interest: Option<Arc<Interest>>) -> Reader {
        Reader { rows: read.rows.clone(), read, taken: 0, _interest: interest }
    }

    /// The next rows, or at the end whether the list ends with them.
    async fn next(&mut self) -> Result<Next> {
        loop {
            {
                let rows = self.rows.borrow_and_update();
                if let Some(batch) = rows.batches.get(self.taken) {
                    self.taken += 1;
                    return Ok(Next::Rows(Arc::clone(batch)));
                }
                if let Some(over) = &rows.over {
                    return over.ended.clone().map(Next::Over);
                }
            }
            let changed = self.rows.changed().await;
            changed.map_err(|_| Error::new(Kind::Internal, "a read of the source ended without a word"))?;
        }
    }
}

enum Next {
    Rows(Arc<RowBatch>),
    /// Whether the list ends here.
    Over(bool),
}

/// Where a source puts the rows that loads wait for.
struct Shares(watch::Sender<Rows>);

impl RowSink for Shares {
    fn take(&mut self, batch: RowBatch) -> Result<()> {
        if !batch.is_empty() {
            self.0.send_modify(|rows| rows.batches.push(Arc::new(batch)));
        }
        Ok(())
    }
}

impl Loader {
    /// Loads a chunk from the source. Beside it come the chunks to write to a shared store, this
    /// one first; none if they were written already.
    pub(super) async fn load(self: &Arc<Loader>, place: &Place) -> Result<(Arc<Chunk>, Vec<Arc<Chunk>>)> {
        // Where a touched chunk is there, rows that were read before the change are no use.
        let there = self.store.near().and_then(|near| near.at_hand(&place.key));
        let touched = there.filter(|chunk| !self.shows_changes(place, chunk));
        let about = touched.as_ref().map_or(0, |chunk| self.rows_of_one(place, chunk));
        let loaded = self.load_once(place, touched.is_some(), about).await?;
        if touched.is_some() || self.shows_changes(place, &loaded.0) {
            return Ok(loaded);
        }
        // Its rows were read for an earlier request, and a change has touched them since.
        self.load_once(place, true, 0).await
    }

    /// How many rows a touched chunk has, if the one behind it need not be read too; else 0.
    fn rows_of_one(&self, place: &Place, touched: &Chunk) -> u32 {
        let behind = |next: &Cursor| self.store.near()?.at_hand(&place.list.chunk_key(next, 0));
        let is_alone = match &touched.next {
            Some(next) => behind(next).is_some_and(|chunk| self.shows_changes(place, &chunk)),
            None => true,
        };
        if is_alone { touched.rows } else { 0 }
    }

    /// Reads rows, in runs, until the chunk is whole. With `anew` it takes no rows that were read
    /// before the request's changes were told. `about` is how many rows the chunk probably has, if
    /// only they are wanted; else 0.
    async fn load_once(
        self: &Arc<Loader>,
        place: &Place,
        anew: bool,
        about: u32,
    ) -> Result<(Arc<Chunk>, Vec<Arc<Chunk>>)> {
        let key = (place.key.clone(), place.generation);
        let now = self.now();
        let since = place.fresh_since(now);
        // Taken out first: no load waits for the lock while a chunk is judged.
        let whole = self.read_ahead.lock().unpoisoned().take_chunk(&key, now, since);
        if let Some(chunk) = whole.filter(|chunk| !anew || self.shows_changes(place, chunk)) {
            return Ok((chunk, vec![]));
        }

        let begun = self.read_ahead.lock().unpoisoned().take_begun(&key, now, since);
        let begun = begun.filter(|cutter| !anew || cutter.position().number >= self.least(place));

        let cutter = || {
            let cutter = Cutter::new(Arc::clone(&place.list), place.cursor.clone(), place.cut);
            Box::new(if about > 0 { cutter.of_about(about) } else { cutter })
        };
        let mut cutter = begun.unwrap_or_else(cutter);

        while !cutter.has_made() {
            self.read_run(place, &mut cutter, anew).await?;
        }

        let chunks = cutter.made();

        let mut read_ahead = self.read_ahead.lock().unpoisoned();
        read_ahead.put(place.generation, &chunks[1..]);
        if place.cut == 0 {
            read_ahead.put_begun(place.generation, cutter);
        }

        Ok((Arc::clone(&chunks[0]), chunks))
    }

    /// Gives a cutter the next run of rows.
    async fn read_run(self: &Arc<Loader>, place: &Place, cutter: &mut Cutter, anew: bool) -> Result<()> {
        let (after, limit) =
            cutter.wants().ok_or_else(|| Error::new(Kind::Internal, "a list ended without a chunk"))?;
        let mut reader = self.reader(place, &after, limit, anew);
        cutter.begin_run(reader.read.began, reader.read.position);
        let ended = loop {
            match reader.next().await? {
                Next::Over(ended) => break ended,
                Next::Rows(batch) => {
                    for from in (0..batch.len()).step_by(TURN) {
                        cutter.take(&batch, from..(from + TURN).min(batch.len()))?;
                        tokio::task::yield_now().await;
                    }
                }
            }
        };

        for flaw in cutter.flaws() {
            self.metrics.note_flaw(&flaw);
            place.list.resource().warn_of(&flaw, place.request(), place.trace());
        }

        cutter.end_run(ended);
        if !ended && cutter.stands_at(&after) {
            return Err(Error::new(Kind::Data, "a source handed out no row and did not end"));
        }

        Ok(())
    }

    /// The position of a read that holds all changes which the request must see, at least.
    fn least(&self, place: &Place) -> u64 {
        place.demand.known.min(self.changes.head())
    }

    /// A reader of the rows behind `after`: of a read that another load began, else of a new one.
    /// With `anew` only of a read that holds all changes which the request must see.
    fn reader(self: &Arc<Loader>, place: &Place, after: &Cursor, limit: u32, anew: bool) -> Reader {
        let key = (*place.list.places(), place.generation);
        let now = self.now();
        let mut reads = self.reads.lock().unpoisoned();
        reads.forget_old(now);
        let variant = *place.list.key();
        let least = if anew { self.least(place) } else { 0 };
        let wanted = Wanted { variant: &variant, after, limit, asked: place.demand.moment, least };
        if let Some(reader) = reads.find(&key, &wanted) {
            drop(reads);
            let span = reader.rows.borrow().span.clone();
            span.iter().for_each(|span| {
                place.around().follows_from(span);
            });
            return reader;
        }

        let span = place.around().clone();
        let (sender, rows) = watch::channel(Rows { span: Some(span.clone()), ..Rows::default() });
        let read = Arc::new(Read {
            after: after.clone(),
            limit,
            began: now,
            position: self.position_of_a_read(),
            variant,
            is_shared: AtomicBool::new(false),
            rows,
        });
        let query = Query {
            after: after.clone(),
            limit,
            conditions: Arc::clone(place.list.conditions()),
            is_filtered: place.list.is_filtered(),
            session: place.list.session().cloned(),
            requester: place.demand.requester,
        };

        let work = read_source(Arc::clone(self), place.clone(), key, Arc::clone(&read), query, sender);
        let task = tokio::spawn(work.instrument(span)).abort_handle();
        let interest = Arc::new(Interest { loader: Arc::clone(self), key, read: Arc::clone(&read), task });
        let shared = Shared { read: Arc::clone(&read), interest: Arc::downgrade(&interest) };
        reads.lists.entry(key).or_default().push(shared);
        Reader::new(read, Some(interest))
    }
}

/// Reads the source, for all loads that want its rows.
async fn read_source(
    loader: Arc<Loader>,
    place: Place,
    key: ReadKey,
    read: Arc<Read>,
    query: Query,
    sender: watch::Sender<Rows>,
) {
    let resource = place.list.resource();
    let counts = resource.counts();
    let mut sink = Shares(sender);
    // Let the tasks of other connections parse requests that came in the same moment, so that they
    // join. Without it three formats of 2,000 rows, asked for together of a server on one core,
    // read up to twice the rows.
    tokio::task::yield_now().await;
    let began = Instant::now();
    let run = resource.source().rows(query, &mut sink).await;
    counts.database.loads.observe(began.elapsed());

    let Shares(sender) = sink;
    let (rows, bytes, is_counted) = {
        let batches = &sender.borrow().batches;
        let sum = |of: fn(&RowBatch) -> usize| batches.iter().map(|batch| of(batch)).sum::<usize>();
        (sum(RowBatch::len), sum(RowBatch::weight), batches.iter().any(|batch| batch.is_counted()))
    };

    if run.is_ok() {
        counts.list.reads.inc();
        counts.list.rows_read.add(rows as u64);
    }

    // Under the lock, so that a load finds the read either under way or over.
    let mut reads = loader.reads.lock().unpoisoned();
    // Large rows count against the memory that other reads may wait for, so they are not kept.
    if run.is_ok() && !is_counted {
        reads.keep(key, read, bytes);
    } else {
        reads.remove(&key, &read);
    }

    let at = loader.reads_over.fetch_add(1, Ordering::AcqRel) + 1;
    let over = Over { at, ended: run.map(|run| run.ended) };
    sender.send_modify(|rows| {
        rows.span = None;
        rows.over = Some(over);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Value;

    fn read(after: i64) -> Arc<Read> {
        let rows = Rows { over: Some(Over { at: 1, ended: Ok(true) }), ..Rows::default() };
        let after = Cursor::after(&[Value::Integer(after)]).unwrap();
        let rows = watch::channel(rows).1;
        let variant = ListKey([9; 48]);
        let position = Position::default();
        Arc::new(Read { after, limit: 9, began: 1, position, variant, is_shared: AtomicBool::new(false), rows })
    }

    fn keep(reads: &mut Reads, list: u8, after: i64, bytes: usize) {
        let key = (ListKey([list; 48]), None);
        let read = read(after);
        let shared = Shared { read: Arc::clone(&read), interest: Weak::new() };
        reads.lists.entry(key).or_default().push(shared);
        reads.keep(key, read, bytes);
    }

    fn has(reads: &Reads, list: u8, after: i64) -> bool {
        let after = Cursor::after(&[Value::Integer(after)]).unwrap();
        let wanted = Wanted { variant: &ListKey([9; 48]), after: &after, limit: 9, asked: 0, least: 0 };
        reads.find(&(ListKey([list; 48]), None), &wanted).is_some()
    }

    /// Has a load of another variant join.
    fn join(reads: &Reads, list: u8, after: i64) {
        let after = Cursor::after(&[Value::Integer(after)]).unwrap();
        let wanted = Wanted { variant: &ListKey([8; 48]), after: &after, limit: 9, asked: 0, least: 0 };
        assert!(reads.find(&(ListKey([list; 48]), None), &wanted).is_some());
    }

    #[test]
    fn while_several_variants_of_a_list_are_read_its_last_eight_reads_are_kept() {
        let mut reads = Reads::default();
        for after in 0..5 {
            keep(&mut reads, 1, after, 1_000);
        }
        assert_eq!(reads.over.len(), 1);

        join(&reads, 1, 4);
        for after in 5..30 {
            keep(&mut reads, 1, after, 1_000);
            keep(&mut reads, 2, after, 1_000);
            assert!(reads.over.len() <= READS + 1, "the other list has one");
            assert!((after.saturating_sub(6).max(4)..=after).all(|after| has(&reads, 1, after)), "{after}");
            if after % 5 == 0 {
                join(&reads, 1, after);
            }
        }

        for after in 30..60 {
            keep(&mut reads, 1, after, 1_000);
        }
        assert_eq!(reads.over.iter().filter(|(key, ..)| key.0 == ListKey([1; 48])).count(), 1, "it is one again");
        assert_eq!(reads.bytes, 2_000);
    }

    #[test]
    fn of_each_list_the_last_read_is_kept_for_ten_seconds_and_sixteen_mebibytes_of_all() {
        let mut reads = Reads::default();
        for after in 0..5 {
            keep(&mut reads, 1, after, 1_000);
        }

        assert_eq!([2, 3, 4].map(|after| has(&reads, 1, after)), [false, false, true]);
        assert_eq!((reads.bytes, reads.lists.len(), reads.over.len()), (1_000, 1, 1));

        for list in 2..100 {
            keep(&mut reads, list, 0, 1 << 20);
            assert!(reads.bytes <= BYTES);
        }

        assert_eq!((reads.lists.len(), reads.over.len()), (16, 16));

        keep(&mut reads, 100, 0, BYTES + 1);
        assert_eq!(
            (reads.bytes, reads.lists.len()),
            (0, 0),
            "one that is too large is not kept, nor are those before it"
        );

        keep(&mut reads, 1, 0, 1);
        reads.forget_old(AGE);
        assert!(has(&reads, 1, 0));
        reads.forget_old(AGE + 1);
        assert_eq!((reads.bytes, reads.lists.len(), reads.over.len()), (0, 0, 0));
    }
}
