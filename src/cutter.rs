//! Cuts rows into chunks as a source reads them.
//!
//! Rows beyond a boundary are kept: they begin the next chunk. So a source may read more rows at
//! once than a chunk holds, and no row is read twice.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{
    boundary::{Boundary, key_hash},
    chunk::{Chunk, ChunkKey, Position, Shown, own_key_hash},
    cursor::{self, Cursor},
    error::Result,
    flaw::FlawCount,
    format::Output,
    list::{List, Pen},
    row::{RowBatch, Value, repeated_key},
};

/// How many rows one read asks the source for. Fewer cost throughput; more delay the first row and
/// gain nothing.
const RUN: u32 = 500;
const LONGEST_RUN: u32 = RUN << 3;
/// More bytes than a chunk of ordinary rows has.
const LARGE_BODY: usize = 1024 * 1024;

/// The chunks of a list from a cursor on, made from the rows read so far.
pub(crate) struct Cutter {
    list: Arc<List>,
    pen: Pen,
    out: Output,
    /// Rows at which a limit cuts the chunk; 0: none.
    cut: u32,
    /// The chunk that is being filled; `None` behind the end of the list, or behind the cut.
    open: Option<Open>,
    done: Vec<Arc<Chunk>>,
    /// The canonical key of the last row, or of the starting place; and that of the current row.
    last: Vec<u8>,
    key: Vec<u8>,
    /// Whether a row came behind the cut, so that the list goes on.
    beyond: bool,
    /// When the read under way began, in milliseconds since 1970, and its position among changes.
    run_at: u64,
    position: Position,
    /// Which values of a row's key identify it for changes; empty: all of them.
    own_key: Vec<usize>,
    /// The canonical form of those.
    own: Vec<u8>,
    /// How many reads have begun.
    runs: u32,
    /// How many rows the first of them asks for; 0 if that is not known.
    about: u32,
}

struct Open {
    start: Cursor,
    boundary: Boundary,
    rows: u32,
    /// Their weight together.
    weight: u64,
    /// When the oldest of its reads began, in milliseconds since 1970, and its position.
    loaded_at: u64,
    position: Position,
    /// The hashes of what was looked up for its rows.
    keys: Vec<u32>,
    keys_are_known: bool,
    /// The last related keys, each at the place that its last bits name: most come again and again.
    recent: [u32; RECENT],
}

/// How many related keys are remembered, so that they are not added twice; a power of two.
const RECENT: usize = 64;

impl Cutter {
    /// Begins at `start`, and ends at `cut` rows unless it is 0.
    pub(crate) fn new(list: Arc<List>, start: Cursor, cut: u32) -> Cutter {
        let sizes = list.resource().options().sizes;
        let last = start.canonical().to_vec();
        let boundary = Boundary::new(sizes, start.is_start());
        let rules = list.resource().source().touch_rules();
        let own_key: Vec<usize> = rules.map_or(vec![], |rules| rules.key.iter().map(|rule| rule.at).collect());
        let is_all = rules.is_some_and(|rules| own_key.iter().copied().eq(0..rules.order.len()));
        let own_key = if is_all { vec![] } else { own_key };
        Cutter {
            pen: list.pen(),
            out: Output::default(),
            list,
            cut,
            open: Some(Open::new(start, boundary, 0, Position::default())),
            done: vec![],
            last,
            key: vec![],
            beyond: false,
            run_at: 0,
            position: Position::default(),
            own_key,
            own: vec![],
            runs: 0,
            about: 0,
        }
    }

    /// Whether there is a complete chunk.
    pub(crate) fn has_made(&self) -> bool {
        !self.done.is_empty()
    }

    /// Takes out all complete chunks, in order.
    pub(crate) fn made(&mut self) -> Vec<Arc<Chunk>> {
        std::mem::take(&mut self.done)
    }

    /// Takes out the flaws that were counted.
    pub(crate) fn flaws(&mut self) -> impl Iterator<Item = FlawCount> + use<> {
        self.pen.flaws.take()
    }

    /// The same, where the chunk had this many rows and those behind it are known: its first read asks
    /// for few more.
    pub(crate) fn of_about(self, rows: u32) -> Cutter {
        Cutter { about: rows.saturating_add(rows / 8 + 8), ..self }
    }

    /// Where to go on reading, and how many rows to ask for; `None` if there is nothing more to
    /// read.
    pub(crate) fn wants(&self) -> Option<(Cursor, u32)> {
        let open = self.open.as_ref()?;
        let after = Cursor::from_canonical(Bytes::copy_from_slice(&self.last))?;
        let sizes = self.list.resource().options().sizes;
        // A first read of about one chunk is not counted.
        let longer = RUN << self.runs.saturating_sub(u32::from(self.about > 0)).min(3);
        let rows = match (self.cut, open.rows) {
            // One more than the limit, to learn whether the list goes on.
            (cut, rows) if cut > 0 => cut - rows + 1,
            (_, 0) if self.runs == 0 && self.about > 0 => self.about.min(LONGEST_RUN),
            (_, 0) if open.start.is_start() => sizes.rows.saturating_mul(2).clamp(10, RUN),
            // A list that is read on gets longer reads, since each read costs the database a plan
            // and a round trip.
            (_, 0) => longer,
            (_, rows) => {
                let row = u32::try_from(open.weight / u64::from(rows)).unwrap_or(u32::MAX).max(1);
                (sizes.bytes / row).max(sizes.rows).clamp(longer, LONGEST_RUN)
            }
        };

        Some((after, rows))
    }

    /// Notes that the next rows are of a read that began at `now`, at this position. It may be older
    /// than the read of rows that came before it, since reads are kept: the chunk is as old as the
    /// oldest of its reads.
    pub(crate) fn begin_run(&mut self, now: u64, position: Position) {
        self.runs += 1;
        self.run_at = now;
        self.position = position;
        let Some(open) = &mut self.open else { return };
        if open.rows == 0 || now < open.loaded_at {
            open.loaded_at = now;
        }
        if open.rows == 0 || position.number < open.position.number {
            open.position = position;
        }
    }

    /// Takes some rows of a batch.
    ///
    /// # Errors
    /// When the rows are not those of a correct list.
    pub(crate) fn take(&mut self, batch: &RowBatch, rows: Range<usize>) -> Result<()> {
        let mut at = rows.start;
        let mut left = batch.keys_from(at);
        batch.each(rows, |key, values| {
            let own = left.map(|keys| {
                let count = keys.iter().take_while(|(row, _)| *row as usize == at).count();
                let (own, behind) = keys.split_at(count);
                left = Some(behind);
                own.iter().map(|(_, hash)| *hash)
            });
            self.row(key, values, own)?;
            at += 1;
            Ok(())
        })
    }

    fn row(
        &mut self,
        key: &[Value<'_>],
        values: &[Value<'_>],
        looked_up: Option<impl Iterator<Item = u32>>,
    ) -> Result<()> {
        self.key.clear();
        cursor::encode(key, &mut self.key)?;
        if self.key == self.last {
            return Err(repeated_key());
        }

        std::mem::swap(&mut self.key, &mut self.last);

        let Some(open) = &mut self.open else {
            self.beyond = true;
            return Ok(());
        };

        self.out.bytes.extend_from_slice(self.list.between());
        let written = self.list.write_row(&self.last, values, &mut self.pen, &mut self.out);
        let weight = written.unwrap_or_else(|| self.list.resource().scales().weigh(&self.last, values));
        open.rows += 1;
        open.weight += weight as u64;
        let hash = key_hash(&self.last);
        if self.own_key.is_empty() {
            // The same hash as `own_key_hash`, made once.
            open.keys.push(hash as u32);
        } else {
            self.own.clear();
            for at in &self.own_key {
                cursor::encode(&key[*at..*at + 1], &mut self.own)?;
            }
            open.keys.push(own_key_hash(&self.own));
        }
        match looked_up {
            Some(keys) => {
                for key in keys {
                    let recent = &mut open.recent[key as usize % RECENT];
                    if *recent != key {
                        *recent = key;
                        open.keys.push(key);
                    }
                }
            }
            None => open.keys_are_known = false,
        }

        if open.boundary.ends(hash, weight) || open.rows == self.cut {
            let next = Cursor::after(key)?;
            self.close(Some(next));
        }

        Ok(())
    }

    /// Notes that the read is over, and whether the list ended with it.
    pub(crate) fn end_run(&mut self, ended: bool) {
        if !ended || self.beyond {
            return;
        }

        // After a boundary at the very last row there is no next chunk.
        let nothing_left = self.open.as_ref().is_none_or(|open| open.rows == 0);
        match self.done.last_mut().filter(|_| nothing_left) {
            Some(last) => *last = Arc::new(Chunk { next: None, ..Chunk::clone(last) }),
            None => self.close(None),
        }
        self.open = None;
    }

    /// Whether it stands at this cursor, has taken no row since, and has no chunk to give.
    pub(crate) fn stands_at(&self, cursor: &Cursor) -> bool {
        !self.has_made() && self.last == cursor.canonical()[..]
    }

    /// Roughly how many bytes it holds, without complete chunks.
    pub(crate) fn weight(&self) -> usize {
        self.out.bytes.capacity() + 256
    }

    /// The key of the chunk that the last rows begin, and when its first row was read. `None` if
    /// every row is in a complete chunk.
    pub(crate) fn begun(&self) -> Option<(ChunkKey, u64)> {
        let open = self.open.as_ref().filter(|open| open.rows > 0)?;
        Some((self.list.chunk_key(&open.start, self.cut), open.loaded_at))
    }

    /// The position of the oldest read of these rows; of the last read, if there are none.
    pub(crate) fn position(&self) -> Position {
        self.open.as_ref().map_or(self.position, |open| open.position)
    }

    fn close(&mut self, next: Option<Cursor>) {
        let Some(open) = self.open.take() else { return };
        self.list.finish_chunk(&mut self.pen, &mut self.out);
        self.done.push(Arc::new(Chunk {
            key: self.list.chunk_key(&open.start, self.cut),
            loaded_at: open.loaded_at,
            rows: open.rows,
            body: body_of(&mut self.out.bytes),
            next: next.clone(),
            plain: None,
            shown: Shown::new(open.position, open.keys_are_known.then_some(open.keys)),
        }));
        self.out.bytes.clear();

        if let Some(start) = next.filter(|_| self.cut == 0) {
            let boundary = Boundary::new(self.list.resource().options().sizes, false);
            self.open = Some(Open::new(start, boundary, self.run_at, self.position));
        }
    }
}

impl Open {
    fn new(start: Cursor, boundary: Boundary, loaded_at: u64, position: Position) -> Open {
        // No key is at home where it stands.
        let recent = std::array::from_fn(|at| !(at as u32));
        Open { start, boundary, rows: 0, weight: 0, loaded_at, position, keys: vec![], keys_are_known: true, recent }
    }
}

/// A chunk's body, without unused memory. The buffer is kept for the next chunk; if a large row has
/// filled it, it becomes the body and is not copied.
fn body_of(buffer: &mut Vec<u8>) -> Bytes {
    if buffer.len() < LARGE_BODY {
        return Bytes::copy_from_slice(buffer);
    }
    let mut body = std::mem::take(buffer);
    body.shrink_to_fit();
    body.into()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        boundary::Sizes,
        chunk::Sum,
        format::{Format, binary},
        resource::{Resource, ResourceOptions},
        row::{Field, Part},
        secret::Secret,
        source::{Fetch, closure},
    };

    /// A list of texts, numbers and JSON, each row with a link and its cursor.
    fn resource(sizes: Sizes, secret: Option<Secret>) -> Arc<Resource> {
        let none = |_: Fetch<u64>| async { Ok::<Vec<u64>, Infallible>(vec![]) };
        let fields = vec![
            ("text".to_owned(), Field::Column(0)),
            ("number".to_owned(), Field::Column(1)),
            ("json".to_owned(), Field::Column(2)),
            ("url".to_owned(), Field::Link(vec![Part::Literal("/rows/".to_owned()), Part::Column(0)])),
            ("cursor".to_owned(), Field::Cursor),
        ];
        let options = ResourceOptions { fields: Some(fields), sizes, secret, ..ResourceOptions::default() };
        let source = closure(&["text", "number", "json"], |row: &u64| *row, none);
        Arc::new(Resource::new("list", Arc::new(source), options).unwrap())
    }

    /// The places of a list, and the lengths of its chunks' bodies.
    fn cut(list: List, rows: &[(Vec<u8>, f64)]) -> (Vec<(Cursor, u32)>, Vec<usize>) {
        let mut cutter = Cutter::new(Arc::new(list), Cursor::start(), 0);
        cutter.begin_run(1, Position::default());
        for (number, (text, real)) in rows.iter().enumerate() {
            cutter
                .row(
                    &[Value::Integer(number as i64)],
                    &[Value::Text(text), Value::Real(*real), Value::Json(text)],
                    Some(std::iter::empty()),
                )
                .unwrap();
        }
        cutter.end_run(true);

        let chunks = cutter.made();
        let place = |chunk: &Arc<Chunk>| (chunk.next.clone().unwrap_or(Cursor::start()), chunk.rows);
        (chunks.iter().map(place).collect(), chunks.iter().map(|chunk| chunk.body.len()).collect())
    }

    fn rows(longest: usize, count: Range<usize>) -> impl Strategy<Value = Vec<(Vec<u8>, f64)>> {
        prop::collection::vec((prop::collection::vec(any::<u8>(), 0..longest), any::<f64>()), count)
    }

    #[test]
    fn the_hash_of_a_row_s_own_key_begins_with_that_of_its_place_where_both_are_one() {
        assert_eq!(own_key_hash(b"key"), key_hash(b"key") as u32);
    }

    #[test]
    fn a_chunk_is_as_old_as_the_oldest_of_its_reads() {
        let resource = resource(Sizes { rows: 1_000, bytes: 64 * 1024 }, None);
        let list = Arc::new(List::new(resource, Format::JSON, vec![], ""));
        let mut cutter = Cutter::new(list, Cursor::start(), 0);
        let position = |number| Position { number, ..Position::default() };
        for (id, at) in [(1, 20), (2, 10), (3, 30)] {
            cutter.begin_run(at, position(at));
            cutter.row(&[Value::Integer(id)], &[Value::Null; 3], Some(std::iter::empty())).unwrap();
        }
        cutter.end_run(true);
        let chunk = &cutter.made()[0];
        assert_eq!((chunk.rows, chunk.loaded_at, chunk.shown.judged()), (3, 10, 10));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

        #[test]
        fn a_list_has_the_same_places_in_every_format_for_every_host_and_secret(rows in rows(90, 0..500)) {
            let sizes = Sizes { rows: 5, bytes: 2_000 };
            let secret = Secret::new(&["a secret of thirty-two bytes or more"]).unwrap();
            let mut all = vec![];
            for resource in [resource(sizes, None), resource(sizes, Some(secret))] {
                for format in Format::all() {
                    for base in ["http://a", "https://a-rather-long-name-of-a-host.example.com:8443"] {
                        all.push(cut(List::new(Arc::clone(&resource), format, vec![], base), &rows).0);
                    }
                }
            }
            all.dedup();
            prop_assert_eq!(all.len(), 1);
        }

        #[test]
        fn a_format_of_batches_reads_back_as_the_same_rows_however_they_are_cut(
            rows in rows(90, 0..200), rows_of_a_chunk in 1_u32..40
        ) {
            let sizes = Sizes { rows: rows_of_a_chunk, bytes: 2_000 };
            let list = Arc::new(List::new(resource(sizes, None), Format::named("bin").unwrap(), vec![], "http://a"));
            let mut cutter = Cutter::new(Arc::clone(&list), Cursor::start(), 0);
            cutter.begin_run(1, Position::default());
            for (number, (text, real)) in rows.iter().enumerate() {
                let values = [Value::Text(text), Value::Real(*real), Value::Json(text)];
                cutter.row(&[Value::Integer(number as i64)], &values, Some(std::iter::empty())).unwrap();
            }

            cutter.end_run(true);

            let mut body = list.begin().0.to_vec();
            for (index, chunk) in cutter.made().iter().enumerate() {
                list.frames(chunk, index > 0).iter().for_each(|frame| body.extend_from_slice(frame));
            }

            body.extend_from_slice(&list.end(rows.len() as u64, Sum::default(), None));

            let read = binary::read(&body, 5).unwrap();
            prop_assert_eq!(read.len(), rows.len());
            for (values, (text, real)) in read.iter().zip(&rows) {
                let mut out = Output::default();
                crate::text::scalar(Value::Text(text), &mut out);
                prop_assert_eq!(values[0].as_bytes(), out.bytes);
                prop_assert_eq!(values[1].parse::<f64>().ok(), Some(*real).filter(|real| real.is_finite()));
            }
        }

        #[test]
        fn a_chunk_of_any_values_is_within_384_kib_of_json_and_a_row(rows in rows(30_000, 0..60)) {
            let (_, lengths) = cut(List::new(resource(Sizes::default(), None), Format::JSON, vec![], ""), &rows);
            // Bytes that are no text are six times as long when escaped in JSON.
            let row = 2 * 6 * 30_000 + 200;
            prop_assert!(lengths.iter().all(|length| *length <= 384 * 1024 + row), "{lengths:?}");
        }
    }
}
