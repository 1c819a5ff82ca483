//! Reads rows with care: rows with a value that makes the database fail (a shape without GeoJSON, a
//! cast or an expression that raises), and rows so large that they must be measured first.
//!
//! No value fails a row. If a value has failed a run, the run is read again, a few rows at a time.
//! First come the lengths of the values, then the keys, then the columns. The columns are split in
//! halves until those that fail are known; these are read value by value, by the key of each row. A
//! value that the database cannot give in its own form is asked for as text. Either way it has no
//! form here ([`Value::Formless`]): it is counted, and in a key or join column it is an error. A
//! value that is too large is not asked for at all; nor are the largest of a row that is too large
//! ([`RowBounds`](crate::RowBounds)).
//!
//! All queries share one snapshot, so that the pieces are of the same rows. They are many, but only
//! where a query has failed or rows are wide.

use super::{
    catalogue::fill,
    failure::Failure,
    keyset::{self, Range},
    lengths::Lengths,
    plan::{Output, Plan, Relation, Select},
    related::{Lists, measure},
    run::{cut, hand_over},
    select::{self, Statement},
    width::NeedsRoom,
};
use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    row::{RowSink, Slot, Value, ValueBuffer, unreadable_key},
    source::Query,
};

/// A careful read takes at most this many rows. It takes fewer if they have so many values that
/// reading each alone would take too long.
const ROWS: usize = 16;
const VALUES: usize = 512;

/// A database's answer. The inner error is one that a value has caused.
pub(in crate::source) type Answer<T, F> = Result<Result<T, F>, F>;

/// The answer to a query that may have failed. `of` says whether a value has caused an error of the
/// database.
pub(in crate::source) fn answer<T, E>(
    result: Result<T, Failure<E>>,
    of: impl FnOnce(&E) -> bool,
) -> Answer<T, Failure<E>> {
    match result {
        Err(failure) if failure.is_of_a_value(of) => Ok(Err(failure)),
        result => result.map(Ok),
    }
}

/// A query for a snapshot.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Asked<'a> {
    pub(in crate::source) statement: &'a Statement<'a>,
    /// The columns of the statement.
    pub(in crate::source) selects: &'a [Select],
    /// The key values that it compares with.
    pub(in crate::source) after: &'a [Value<'a>],
    /// Rows at most.
    pub(in crate::source) limit: usize,
}

/// A snapshot of a database in which a query may fail without ending it.
pub(in crate::source) trait Snapshot: Send {
    /// Why a query failed.
    type Failure: From<Error> + From<NeedsRoom> + Send;

    /// Adds the rows of an answer to `held`.
    fn ask(
        &mut self,
        asked: Asked<'_>,
        held: &mut ValueBuffer,
    ) -> impl Future<Output = Answer<(), Self::Failure>> + Send;

    /// A related list of some rows; `None` if it is too large for that many. A list that is too
    /// large for even one row is an inner error.
    fn lists(
        &mut self,
        relation: &Relation,
        rows: &ValueBuffer,
    ) -> impl Future<Output = Answer<Option<Lists>, Self::Failure>> + Send;
}

/// How a careful read went.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Done {
    /// Whether the list ends with its rows.
    pub(in crate::source) ended: bool,
    /// Whether the rows ahead are wide too, as far as the read has looked.
    pub(in crate::source) wide_ahead: bool,
}

/// Reads a few rows into the sink, with room for rows of `room` bytes.
pub(in crate::source) async fn read<S: Snapshot>(
    snapshot: &mut S,
    plan: &Plan,
    query: &Query,
    room: u64,
    sink: &mut dyn RowSink,
) -> Result<Done, S::Failure> {
    let most = (VALUES / plan.selects.len().max(1)).clamp(1, ROWS);
    let limit = (query.limit as usize).min(most);
    let mut reader = Reader { snapshot, plan, query, rows: limit + usize::from(plan.unproven), room };

    let mut lengths = reader.lengths().await?;
    let cut_short = reader.stop_before_long_keys(&lengths)?;
    let mut keys = reader.keys().await?;
    let found = keys.count();
    let ends_here = found < limit && !cut_short;
    if found > limit {
        cut(plan, &mut keys, limit)?;
    }

    let batch = lengths.batch(plan, keys.count());
    cut(plan, &mut keys, batch)?;
    reader.measure_lists(&keys, &mut lengths).await?;
    let batch = lengths.batch(plan, keys.count());
    cut(plan, &mut keys, batch)?;
    let mut rows = keys.count();
    let left_out = lengths.left_out(plan, rows);
    if let Some(&first) = left_out.first().filter(|_| plan.fails_when_too_large) {
        return Err(too_large(plan, first, lengths.of(0)[first], &keys)?.into());
    }

    reader.take_room(lengths.weight(rows, &left_out))?;
    let mut values = reader.values(&keys, &lengths, &left_out).await?;
    let lists = loop {
        match reader.lists(&values, &lengths, &left_out).await? {
            Some(lists) => break lists,
            None => {
                cut(plan, &mut values, 1)?;
                rows = 1;
            }
        }
    };

    hand_over(plan, values, lists, sink)?;
    // The first row that was not read; if there is none, the last row stands for those ahead.
    let next = if rows < found { rows } else { rows.saturating_sub(1) };
    let wide_ahead = found > 0 && lengths.sum(next) > plan.bounds.unmeasured;
    Ok(Done { ended: ends_here && rows == found, wide_ahead })
}

struct Reader<'a, S> {
    snapshot: &'a mut S,
    plan: &'a Plan,
    query: &'a Query,
    /// How many rows to ask for.
    rows: usize,
    /// The bytes of rows that there is room for.
    room: u64,
}

impl<S: Snapshot> Reader<'_, S> {
    /// The rows, with these selects.
    async fn ask(&mut self, selects: &[Select]) -> Answer<ValueBuffer, S::Failure> {
        let after: Vec<Value<'_>> = self.query.after.values().collect();
        let mut held = ValueBuffer::new(selects.len());
        for range in keyset::ranges(self.plan.dialect, &self.plan.order, &after) {
            let left = self.rows - held.count();
            if left == 0 {
                break;
            }
            let statement = select::columns(self.plan, selects, &range, &self.query.conditions);
            let asked = Asked { statement: &statement, selects, after: &after, limit: left };
            if let Err(failure) = self.snapshot.ask(asked, &mut held).await? {
                return Ok(Err(failure));
            }
        }
        Ok(Ok(held))
    }

    /// The rows, with some columns of the plan.
    async fn columns(&mut self, columns: &[usize]) -> Answer<ValueBuffer, S::Failure> {
        let selects: Vec<Select> = columns.iter().map(|column| self.plan.selects[*column].clone()).collect();
        self.ask(&selects).await
    }

    /// The lengths of the values; related lists are measured later.
    async fn lengths(&mut self) -> Result<Lengths, S::Failure> {
        let selects = &self.plan.selects;
        let mut lengths = Lengths::new(self.plan, self.rows);
        let mut parts = vec![(0..selects.len()).filter(|at| !selects[*at].length.is_empty()).collect::<Vec<usize>>()];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let asked: Vec<Select> = part.iter().map(|at| length_of(&selects[*at])).collect();
            match self.ask(&asked).await? {
                Ok(found) => {
                    for row in 0..found.count() {
                        for (value, at) in found.row(row).zip(&part) {
                            lengths.note(row, *at, whole(value));
                        }
                    }
                }
                Err(_) if part.len() == 1 => lengths.unknown[part[0]] = true,
                Err(_) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([first.to_vec(), second.to_vec()]);
                }
            }
        }

        Ok(lengths)
    }

    /// Measures the related lists of some rows.
    async fn measure_lists(&mut self, rows: &ValueBuffer, lengths: &mut Lengths) -> Result<(), S::Failure> {
        for (at, relation) in self.plan.relations.iter().enumerate().filter(|_| rows.count() > 0) {
            let place = self.plan.selects.len() + at;
            match self.snapshot.lists(&measure(self.plan.dialect, relation), rows).await? {
                Ok(Some(lists)) => {
                    for row in 0..rows.count() {
                        let Some(mut sums) = lists.sums(row) else { continue };
                        let bytes = sums.next().unwrap_or(0);
                        let rows = sums.next().unwrap_or(0);
                        lengths.note_list(row, place, bytes, rows * relation.columns.len() as u64);
                    }
                }
                _ => lengths.unknown[place] = true,
            }
        }

        Ok(())
    }

    /// The columns that are always read: without their values rows would be lost.
    fn needed(&self) -> Vec<usize> {
        let mut needed = self.plan.key.clone();
        needed.extend(self.plan.relations.iter().map(|relation| relation.parent));
        needed.sort_unstable();
        needed.dedup();
        needed
    }

    /// Asks for no row whose key is too long to be read, nor for those behind it. Returns whether
    /// there is one.
    fn stop_before_long_keys(&mut self, lengths: &Lengths) -> Result<bool, Error> {
        let needed = self.needed();
        let is_long = |row: &usize| needed.iter().any(|at| lengths.of(*row)[*at] > self.plan.bounds.unmeasured);
        match (0..self.rows).find(is_long) {
            None => Ok(false),
            Some(0) => Err(unreadable_key()),
            Some(row) => {
                self.rows = row;
                Ok(true)
            }
        }
    }

    /// The rows with their key values, and NULL for all others. A key value that fails this query
    /// fails the load.
    async fn keys(&mut self) -> Result<ValueBuffer, S::Failure> {
        let needed = self.needed();
        let found = self.columns(&needed).await??;
        let mut keys = ValueBuffer::new(self.plan.selects.len());
        for row in 0..found.count() {
            let of_row = &found.slots[row * found.width..][..found.width];
            for column in 0..keys.width {
                let slot = needed.iter().position(|one| *one == column).map_or(Slot::Null, |at| of_row[at]);
                keys.copy(&found, slot)?;
            }
        }
        Ok(keys)
    }

    /// Gives up if there is no room for this many bytes.
    fn take_room(&self, bytes: u64) -> Result<(), NeedsRoom> {
        match bytes {
            // Half of it, since a driver that takes that much must also take the protocol's bytes
            // around it.
            _ if bytes <= (self.plan.bounds.unmeasured / 2).max(self.room) => Ok(()),
            bytes => Err(NeedsRoom(bytes)),
        }
    }

    /// All values of the rows with these keys, except those of the first row that are left out.
    async fn values(
        &mut self,
        keys: &ValueBuffer,
        lengths: &Lengths,
        left_out: &[usize],
    ) -> Result<ValueBuffer, S::Failure> {
        self.rows = keys.count();
        let needed = self.needed();
        let mut columns = vec![];
        let mut unknown = vec![];
        let mut all = vec![];
        for column in 0..self.plan.selects.len() {
            columns.push(match () {
                () if needed.contains(&column) => Some(keys.column(column)?),
                () if left_out.contains(&column) => Some(ValueBuffer::of(Slot::TooLarge)),
                () => None,
            });
            match columns[column] {
                Some(_) => {}
                None if lengths.unknown[column] => unknown.push(column),
                None => all.push(column),
            }
        }

        let mut parts = vec![all];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.columns(&part).await? {
                Ok(found) if found.count() == keys.count() => {
                    for (at, column) in part.iter().enumerate() {
                        columns[*column] = Some(found.column(at)?);
                    }
                }
                Ok(_) => return Err(changed().into()),
                Err(_) if part.len() == 1 => unknown.push(part[0]),
                Err(_) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([first.to_vec(), second.to_vec()]);
                }
            }
        }

        for column in unknown {
            columns[column] = Some(self.one_by_one(column, keys).await?);
        }

        let mut rows = ValueBuffer::new(columns.len());
        for row in 0..keys.count() {
            for column in columns.iter().flatten() {
                rows.copy(column, column.slots[row])?;
            }
        }

        Ok(rows)
    }

    /// The values of a column, at least one of which makes the database fail.
    async fn one_by_one(&mut self, column: usize, keys: &ValueBuffer) -> Result<ValueBuffer, S::Failure> {
        let select = self.plan.selects[column].clone();
        let text = as_text(self.plan, &select);
        let mut values = ValueBuffer::new(1);
        for row in 0..keys.count() {
            let key = key_of(self.plan, keys, row)?;
            let range = keyset::exactly(&self.plan.order, &key);
            let found = match self.one(&select, &range, &key).await? {
                Ok(found) => found,
                Err(_) => match self.one(&text, &range, &key).await? {
                    Ok(mut found) => {
                        found.mark_formless(0);
                        found
                    }
                    Err(_) => ValueBuffer::of(Slot::Unreadable),
                },
            };
            if matches!(found.slots.first(), Some(Slot::TooLarge)) && self.plan.fails_when_too_large {
                return Err(too_large(self.plan, column, self.plan.bounds.value, keys)?.into());
            }
            values.copy(&found, found.slots.first().copied().unwrap_or(Slot::Unreadable))?;
        }

        Ok(values)
    }

    /// One value of one row, unless it is too large.
    async fn one(&mut self, select: &Select, range: &Range, key: &Cursor) -> Answer<ValueBuffer, S::Failure> {
        if !select.length.is_empty() {
            match self.one_unmeasured(&length_of(select), range, key).await? {
                Ok(length) => match length.slots.first().map_or(0, |slot| whole(length.value(*slot))) {
                    length if length > self.plan.bounds.value => return Ok(Ok(ValueBuffer::of(Slot::TooLarge))),
                    length => self.take_room(length)?,
                },
                Err(failure) => return Ok(Err(failure)),
            }
        }
        self.one_unmeasured(select, range, key).await
    }

    async fn one_unmeasured(
        &mut self,
        select: &Select,
        range: &Range,
        key: &Cursor,
    ) -> Answer<ValueBuffer, S::Failure> {
        let key: Vec<Value<'_>> = key.values().collect();
        let selects = std::slice::from_ref(select);
        let statement = select::columns(self.plan, selects, range, &[]);
        let mut held = ValueBuffer::new(1);
        let asked = Asked { statement: &statement, selects, after: &key, limit: 1 };
        Ok(self.snapshot.ask(asked, &mut held).await?.map(|()| held))
    }

    /// All related lists; `None` if there must be fewer rows for them.
    async fn lists(
        &mut self,
        rows: &ValueBuffer,
        lengths: &Lengths,
        left_out: &[usize],
    ) -> Result<Option<Vec<Lists>>, S::Failure> {
        let mut lists = vec![];
        for (at, relation) in self.plan.relations.iter().enumerate().filter(|_| rows.count() > 0) {
            let place = self.plan.selects.len() + at;
            if left_out.contains(&place) {
                lists.push(Lists::too_large());
                continue;
            }
            let most = if lengths.unknown[place] { self.plan.bounds.value as usize } else { usize::MAX };
            // Without the small table read as a whole, since another row's value in it could fail.
            let relation = Relation { small: false, most, ..relation.clone() };
            match self.snapshot.lists(&relation, rows).await? {
                Ok(Some(list)) => lists.push(list),
                Ok(None) => return Ok(None),
                Err(_) if rows.count() > 1 => return Ok(None),
                Err(_) => lists.push(self.careful_list(relation, place, rows).await?),
            }
        }

        Ok(Some(lists))
    }

    /// The related list of one row, with at least one value that makes the database fail. All
    /// values of such a column become text, or are not read, so that the list depends on this row
    /// alone.
    async fn careful_list(
        &mut self,
        mut relation: Relation,
        place: usize,
        row: &ValueBuffer,
    ) -> Result<Lists, S::Failure> {
        let nothing = Select { sql: self.plan.dialect.no_text.to_owned(), ..Select::default() };
        let mut formless = vec![];
        for column in 0..relation.columns.len() {
            for select in [None, Some(as_text(self.plan, &relation.columns[column])), Some(nothing.clone())] {
                if let Some(select) = select {
                    relation.columns[column] = select;
                    formless.push(column);
                }
                let alone = Relation { columns: vec![relation.columns[column].clone()], ..relation.clone() };
                if self.snapshot.lists(&alone, row).await?.is_ok() {
                    break;
                }
            }
        }

        // A list that could not be measured before is too large if it turns out to be.
        let sums = self.snapshot.lists(&measure(self.plan.dialect, &relation), row).await?;
        let bytes = sums.ok().flatten().and_then(|lists| lists.sums(0)?.next()).unwrap_or(0);
        if bytes > self.plan.bounds.value {
            if self.plan.fails_when_too_large {
                return Err(too_large(self.plan, place, bytes, row)?.into());
            }
            return Ok(Lists::too_large());
        }

        self.take_room(bytes)?;
        relation.most = usize::MAX;
        let list = self.snapshot.lists(&relation, row).await??;
        let mut list = list.ok_or_else(changed)?;
        for column in formless {
            list.mark_formless(column, relation.columns[column] == nothing);
        }

        Ok(list)
    }
}

/// A select of the value's length, in place of the value.
fn length_of(select: &Select) -> Select {
    Select { sql: select.length.clone(), ..Select::default() }
}

/// A length; 0 for NULL.
fn whole(value: Value<'_>) -> u64 {
    match value {
        Value::Integer(n) => u64::try_from(n).unwrap_or(0),
        _ => 0,
    }
}

/// The key of a row.
fn key_of(plan: &Plan, keys: &ValueBuffer, row: usize) -> Result<Cursor, Error> {
    let values = plan.key.iter().map(|select| keys.value(keys.slots[row * keys.width + select]));
    Cursor::after(&values.collect::<Vec<_>>())
}

/// A column as the database's own text.
fn as_text(plan: &Plan, select: &Select) -> Select {
    let text = fill(plan.dialect.as_text, &select.bare);
    Select { sql: text, bare: select.bare.clone(), ..Select::default() }.measured(plan.dialect.length)
}

/// The error of a list that must fail for a value that is too large, at this index among a row's
/// values. The row is the first of `keys`; its key goes to the log only.
fn too_large(plan: &Plan, place: usize, bytes: u64, keys: &ValueBuffer) -> Result<Error, Error> {
    let shows = |output: &Output| match *output {
        Output::Select(select) => select == place,
        Output::Object { first, len } => (first..first + len).contains(&place),
        Output::Relation(relation) => plan.selects.len() + relation == place,
        Output::Rewritten(rewrite) => plan.rewrites[rewrite].0 == place,
        Output::RewrittenObject { first, len, .. } => {
            plan.rewrites[first..first + len].iter().any(|(of, _)| *of == place)
        }
    };

    let shown = plan.outputs.iter().position(shows);
    let name = shown.map_or("a column", |output| &*plan.columns[output].name);
    let message = if bytes > plan.bounds.value {
        format!("a value of `{name}` is larger than {}", mebibytes(plan.bounds.value))
    } else {
        format!("a row is larger than {}, most of it its `{name}`", mebibytes(plan.bounds.row))
    };

    let row = key_of(plan, keys, 0)?.told(&plan.order_names);
    Ok(Error::new(Kind::Data, message)
        .caused_by(format!("{bytes} bytes in the row {row}"))
        .remedy("leave the field out, or let such values be null with too_large = \"null\""))
}

fn mebibytes(bytes: u64) -> String {
    match bytes % (1024 * 1024) {
        0 => format!("{} MiB", bytes / (1024 * 1024)),
        _ => format!("{bytes} bytes"),
    }
}

/// The error if the snapshot was none, as for a table without transactions.
fn changed() -> Error {
    Error::new(Kind::Unavailable, "rows changed while they were read one by one").remedy("try again")
}
