//! Rows of which a value makes the database fail: a shape that has no GeoJSON, a cast or an expression that raises.
//!
//! No value fails a row. A run that such a value has failed is read again, a few rows at a time: first the keys, then the
//! columns, in halves until those are known that fail; and of these each value by itself, by its row's key. A value that the
//! database cannot give in its own form is asked for as text, and is a value without a form ([`Value::Formless`]) either way:
//! counted, and in a key or join column a failure. All of it is one snapshot, so that the pieces are of the same rows. It costs
//! many small queries, but only where a query has failed.

use super::{
    catalogue::fill,
    held::{Held, Slot},
    keyset::{self, Range},
    plan::{Plan, Relation, Select},
    related::Lists,
    run::{cut, hand_over},
    select::{self, Statement},
};
use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    row::{RowSink, Value},
    source::Query,
};

/// So many rows are read with care by one read, fewer where they have so many values that each alone would take too long.
const ROWS: usize = 16;
const VALUES: usize = 512;

/// What a database answered; the inner error is one that a value has caused.
pub(in crate::source) type Answer<T, F> = Result<Result<T, F>, F>;

/// A database within a snapshot, in which a query that a value has failed does no harm.
pub(in crate::source) trait Snapshot: Send {
    /// Why a query failed.
    type Failure: From<Error> + Send;

    /// Adds the rows of a statement to `held`; `selects` are its columns, and `after` are the key values that it compares with.
    fn ask(
        &mut self,
        statement: &Statement<'_>,
        selects: &[Select],
        after: &[Value<'_>],
        limit: usize,
        held: &mut Held,
    ) -> impl Future<Output = Answer<(), Self::Failure>> + Send;

    /// A related list of some rows; `None` where it is too much for so many.
    fn lists(
        &mut self,
        relation: &Relation,
        rows: &Held,
    ) -> impl Future<Output = Answer<Option<Lists>, Self::Failure>> + Send;
}

/// Reads a few rows into the sink; says whether the list ends with them.
pub(in crate::source) async fn read<S: Snapshot>(
    snapshot: &mut S,
    plan: &Plan,
    query: &Query,
    sink: &mut dyn RowSink,
) -> Result<bool, S::Failure> {
    let most = (VALUES / plan.selects.len().max(1)).clamp(1, ROWS);
    let limit = (query.limit as usize).min(most);
    let mut reader = Reader { snapshot, plan, query, rows: limit + usize::from(plan.unproven) };

    let keys = reader.keys().await?;
    let mut rows = reader.values(&keys).await?;
    let mut ended = rows.count() < limit;
    if rows.count() > limit {
        cut(plan, &mut rows, limit)?;
    }

    let lists = loop {
        match reader.lists(&rows).await? {
            Some(lists) => break lists,
            None => {
                cut(plan, &mut rows, 1)?;
                ended = false;
            }
        }
    };
    hand_over(plan, &rows, &lists, sink)?;
    Ok(ended)
}

struct Reader<'a, S> {
    snapshot: &'a mut S,
    plan: &'a Plan,
    query: &'a Query,
    /// How many rows are asked for.
    rows: usize,
}

impl<S: Snapshot> Reader<'_, S> {
    /// The rows of some columns of the plan.
    async fn columns(&mut self, columns: &[usize]) -> Answer<Held, S::Failure> {
        let after: Vec<Value<'_>> = self.query.after.values().collect();
        let selects: Vec<Select> = columns.iter().map(|column| self.plan.selects[*column].clone()).collect();
        let mut held = Held::new(selects.len());
        for range in keyset::ranges(self.plan.dialect, &self.plan.order, &after) {
            let left = self.rows - held.count();
            if left == 0 {
                break;
            }
            let statement = select::columns(self.plan, &selects, &range, &self.query.conditions);
            if let Err(failure) = self.snapshot.ask(&statement, &selects, &after, left, &mut held).await? {
                return Ok(Err(failure));
            }
        }
        Ok(Ok(held))
    }

    /// The keys of the rows. Without them nothing can be read: a value of a key that fails them fails the load.
    async fn keys(&mut self) -> Result<Held, S::Failure> {
        let key = self.plan.key.clone();
        self.columns(&key).await?
    }

    /// All values of the rows with these keys.
    async fn values(&mut self, keys: &Held) -> Result<Held, S::Failure> {
        let mut columns: Vec<Option<Held>> = self.plan.selects.iter().map(|_| None).collect();
        let all: Vec<usize> = (0..columns.len()).filter(|column| !self.plan.key.contains(column)).collect();
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
                Err(_) if part.len() == 1 => columns[part[0]] = Some(self.one_by_one(part[0], keys).await?),
                Err(_) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([first.to_vec(), second.to_vec()]);
                }
            }
        }
        for (at, column) in self.plan.key.iter().enumerate() {
            columns[*column] = Some(keys.column(at)?);
        }

        let mut rows = Held::new(columns.len());
        for row in 0..keys.count() {
            for column in columns.iter().flatten() {
                rows.copy(column, column.slots[row])?;
            }
        }
        Ok(rows)
    }

    /// The values of a column of which at least one makes the database fail.
    async fn one_by_one(&mut self, column: usize, keys: &Held) -> Result<Held, S::Failure> {
        let select = self.plan.selects[column].clone();
        let text = as_text(self.plan, &select);
        let mut values = Held::new(1);
        for row in 0..keys.count() {
            let key: Vec<Value<'_>> = keys.row(row).collect();
            let key = Cursor::after(&key).map_err(S::Failure::from)?;
            let range = keyset::exactly(&self.plan.order, &key);
            match self.one(&select, &range, &key).await? {
                Ok(found) => values.copy(&found, found.slots.first().copied().unwrap_or(Slot::Unreadable))?,
                Err(_) => match self.one(&text, &range, &key).await? {
                    Ok(mut found) => {
                        found.mark_formless(0);
                        values.copy(&found, found.slots.first().copied().unwrap_or(Slot::Unreadable))?;
                    }
                    Err(_) => values.slots.push(Slot::Unreadable),
                },
            }
        }
        Ok(values)
    }

    /// One value of one row.
    async fn one(&mut self, select: &Select, range: &Range, key: &Cursor) -> Answer<Held, S::Failure> {
        let key: Vec<Value<'_>> = key.values().collect();
        let selects = std::slice::from_ref(select);
        let statement = select::columns(self.plan, selects, range, &[]);
        let mut held = Held::new(1);
        Ok(self.snapshot.ask(&statement, selects, &key, 1, &mut held).await?.map(|()| held))
    }

    /// All related lists; `None` where the rows must be fewer for them.
    async fn lists(&mut self, rows: &Held) -> Result<Option<Vec<Lists>>, S::Failure> {
        let mut lists = vec![];
        if rows.count() == 0 {
            return Ok(Some(lists));
        }
        for relation in &self.plan.relations {
            match self.snapshot.lists(relation, rows).await? {
                Ok(Some(list)) => lists.push(list),
                Ok(None) => return Ok(None),
                Err(_) if rows.count() > 1 => return Ok(None),
                Err(_) => lists.push(self.careful_list(relation, rows).await?),
            }
        }
        Ok(Some(lists))
    }

    /// The related list of one row, of which at least one value makes the database fail: in that list all values of its column
    /// stand as text, or are not read, so that what stands there depends on this row alone.
    async fn careful_list(&mut self, relation: &Relation, row: &Held) -> Result<Lists, S::Failure> {
        // Not by the whole of a small table, in which the value may be another row's.
        let mut relation = Relation { small: false, ..relation.clone() };
        if let Ok(Some(list)) = self.snapshot.lists(&relation, row).await? {
            return Ok(list);
        }

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

        let list = self.snapshot.lists(&relation, row).await??;
        let mut list = list.ok_or_else(changed)?;
        for column in formless {
            list.mark_formless(column, relation.columns[column] == nothing);
        }
        Ok(list)
    }
}

/// A column as the database's own text of it.
fn as_text(plan: &Plan, select: &Select) -> Select {
    Select { sql: fill(plan.dialect.as_text, &select.bare), bare: select.bare.clone(), json: false }
}

/// The snapshot was none: a table without transactions.
fn changed() -> Error {
    Error::new(Kind::Unavailable, "rows changed while they were read one by one").remedy("try again")
}
