//! One read of MySQL: a run of rows with their related lists, as they stood at one moment.
//!
//! It is one transaction with a consistent snapshot. At its end it says what it saw of the tables'
//! definitions. (Tables without transactions, as in MyISAM and Aria, have no snapshot: changes
//! between two statements are seen.)

use std::{fmt::Write, sync::Arc};

use futures_util::TryStreamExt;
use mysql_async::{BinaryProtocol, Conn, Params, QueryResult, Row, Value as Param, prelude::Queryable};

use super::{
    DIALECT, Failure,
    catalogue::{as_text, compared_by},
    errors::{is_error_of_a_value, is_too_wide},
    params,
    proof::{Proof, Stamp, read_stamp},
    will_pass, wire,
};
use crate::{
    row::{RowSink, Slot, ValueBuffer},
    source::{
        Condition, Query,
        sql::{
            catalogue::fill,
            plan::{Plan, Relation},
            related::{Lists, SmallTable, Wanted, WholeKeys, fits, keys_of, pair},
            run::{Progress, RunReader},
            select,
        },
    },
};

/// One statement compares at most this many keys; each of them is a `SELECT` in it.
const KEYS: usize = 128;
/// A related table with more rows is joined, not read whole.
const SMALL_TABLE: usize = 256;

/// Opens and ends a transaction.
pub(super) const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
pub(super) const COMMIT: &str = "COMMIT";

/// Reads one run into the sink. Returns whether the list ends with it, and what the transaction
/// saw, which the caller must still compare. The latter is `None` if the run ended before a row
/// that is too wide: the connection has been closed, and another must ask.
pub(super) async fn read(
    conn: &mut Conn,
    proof: &Proof,
    plan: &Plan,
    query: &Query,
    sink: &mut dyn RowSink,
    progress: &mut Progress,
) -> Result<(bool, Option<Stamp>), Failure> {
    let mut run = RunReader::new(plan, query, progress);
    conn.query_drop(BEGIN).await?;

    while let Some((statement, left)) = run.wants() {
        let mut found = conn.exec_iter(&*statement.text, params::of(&statement, run.after(), left)).await?;
        if let Some(mut found) = found.stream::<Row>().await? {
            let mut wires = vec![];
            loop {
                let row = match found.try_next().await {
                    Ok(Some(row)) => row,
                    Ok(None) => break,
                    Err(error) if run.passes() && run.has_rows() && is_too_wide(&error) => {
                        run.hand_over(vec![], sink)?;
                        return Ok((false, None));
                    }
                    // The rows before the failure are right; the next read begins behind them.
                    Err(error)
                        if run.passes() && run.has_rows() && (is_error_of_a_value(&error) || will_pass(&error)) =>
                    {
                        run.stop();
                        break;
                    }
                    Err(error) => return Err(error.into()),
                };
                let bytes = wire::push(&row, &plan.selects, &mut wires, &mut run.rows)?;
                if !run.added(bytes, sink)? {
                    break;
                }
            }
        }
        // The rest of the result, which the limit bounds, is read and dropped: no other query can
        // be sent before.
        match found.drop_result().await {
            Err(error) if run.passes() && is_too_wide(&error) => {
                run.hand_over(vec![], sink)?;
                return Ok((false, None));
            }
            dropped => dropped?,
        }
    }

    run.end()?;
    let lists = loop {
        match related(conn, plan, &run.rows).await? {
            Some(lists) => break lists,
            None => run.shorten()?,
        }
    };

    run.progress.related = lists.iter().map(Lists::weight).sum::<usize>() / run.rows.count().max(1);
    run.hand_over(lists, sink)?;
    let saw = read_stamp(conn, &proof.sql).await?;
    conn.query_drop(COMMIT).await?;
    Ok((run.ended(), Some(saw)))
}

/// How many rows meet the conditions.
pub(super) async fn count(conn: &mut Conn, plan: &Plan, conditions: &[Condition]) -> Result<Option<u64>, Failure> {
    let statement = select::count(plan, conditions);
    let row: Option<Row> = conn.exec_first(&*statement.text, params::of(&statement, &[], 0)).await?;
    Ok(row.and_then(|row| wire::whole(&row, 0)).and_then(|count| u64::try_from(count).ok()))
}

/// All related lists of a run; `None` if one of them is too large.
async fn related(conn: &mut Conn, plan: &Plan, rows: &ValueBuffer) -> Result<Option<Vec<Lists>>, Failure> {
    let mut lists = Vec::with_capacity(plan.relations.len());
    if rows.count() == 0 {
        return Ok(Some(lists));
    }
    for relation in &plan.relations {
        match list(conn, relation, rows).await? {
            Some(list) => lists.push(list),
            None => return Ok(None),
        }
    }
    Ok(Some(lists))
}

pub(super) async fn list(conn: &mut Conn, relation: &Relation, rows: &ValueBuffer) -> Result<Option<Lists>, Failure> {
    let Some(keys) = WholeKeys::new(relation, rows)? else { return by_places(conn, relation, rows).await };
    let (condition, params) = match keys.are_close() {
        true => ("BETWEEN ? AND ?".to_owned(), vec![Param::Int(keys.ends().0), Param::Int(keys.ends().1)]),
        false => {
            // The number of parameters is rounded up to a power of two, since each number of them
            // needs a prepared statement of its own. Repeating the last key changes nothing.
            let mut params: Vec<Param> = keys.all().map(Param::Int).collect();
            params.resize(params.len().next_power_of_two(), Param::Int(keys.ends().1));
            (format!("IN (?{})", ", ?".repeat(params.len() - 1)), params)
        }
    };

    if relation.small
        && relation.own_order
        && relation.whole
        && let Some(wanted) = Wanted::ids(&DIALECT, relation)
        && let Some(table) = small_table(conn, relation).await?
    {
        let ids = conn.exec_iter(wanted.by(&condition), params::positional(params)).await?;
        return named(relation, &keys, &table, ids, rows.count()).await;
    }

    let wanted = Wanted::rows(&DIALECT, relation);
    let mut related = Related::new(relation, rows.count());
    let found = conn.exec_iter(wanted.by(&condition), params::positional(params)).await?;
    Ok(related.collect(found, keys.finder()).await?.then(|| related.lists()))
}

/// Finds related rows by a join with the keys, since only SQL can tell which keys are equal.
async fn by_places(conn: &mut Conn, relation: &Relation, rows: &ValueBuffer) -> Result<Option<Lists>, Failure> {
    let known: Vec<(usize, Slot)> = keys_of(relation, rows)?.filter(|(_, slot)| !matches!(slot, Slot::Null)).collect();
    let wanted = Wanted::rows(&DIALECT, relation);
    let mut related = Related::new(relation, rows.count());
    for some in known.chunks(KEYS) {
        let mut params: Vec<Param> = some.iter().map(|(_, slot)| params::value(rows.value(*slot))).collect();
        // Again a power of two; NULL equals nothing.
        params.resize(params.len().next_power_of_two(), Param::NULL);
        let sql = joined(relation, &wanted, params.len());
        let found = conn.exec_iter(sql, params::positional(params)).await?;
        let row = |place: i64| some.get(usize::try_from(place - 1).ok()?).map(|(row, _)| *row as u64);
        if !related.collect(found, row).await? {
            return Ok(None);
        }
    }

    Ok(Some(related.lists()))
}

/// A query for the related rows of keys that only SQL can compare. Each row comes with the number
/// of its key.
pub(super) fn joined(relation: &Relation, wanted: &Wanted, keys: usize) -> String {
    let Wanted { source, on, columns, .. } = wanted;
    // A key has the parent column's type, character set and collation. A collation that is named
    // wins, even where the column's own would give way to that of the other column. In that case
    // the key is cast to the other's.
    let parent = &relation.parent_column;
    let mut key = fill(&parent.kind, "?");
    if let (Some(own), Some(other)) = (&parent.collation, &relation.pointing_column.collation) {
        let collation = compared_by(own, other);
        if collation != own {
            key = as_text(&key, collation);
        }
    }

    let mut table = format!("SELECT 1 AS place, {key} AS chunkflow_key");
    for place in 2..=keys {
        // Not `VALUES`, in which MariaDB (10.11) loses bound values.
        // Writing to memory cannot fail.
        let _ = write!(table, " UNION ALL SELECT {place}, {key}");
    }

    format!(
        "SELECT chunkflow_keys.place, {columns} FROM ({table}) AS chunkflow_keys JOIN ({source}) \
         ON {on} = chunkflow_keys.chunkflow_key{}",
        wanted.end("chunkflow_keys.place")
    )
}

type Found<'a> = QueryResult<'a, 'static, BinaryProtocol>;

/// Related rows while they are read.
struct Related<'a> {
    relation: &'a Relation,
    /// How many rows the run has.
    count: usize,
    held: ValueBuffer,
    pairs: Vec<u64>,
}

impl<'a> Related<'a> {
    fn new(relation: &'a Relation, count: usize) -> Related<'a> {
        Related { relation, count, held: ValueBuffer::new(relation.columns.len()), pairs: vec![] }
    }

    fn lists(self) -> Lists {
        Lists::new(Arc::new(self.held), self.pairs, self.count)
    }

    /// Takes all rows of a result, whose first column tells which row of the run each belongs to.
    /// False if they are too large.
    async fn collect(
        &mut self,
        mut result: Found<'_>,
        mut find: impl FnMut(i64) -> Option<u64>,
    ) -> Result<bool, Failure> {
        let mut wires = vec![];
        let mut fit = Ok(true);
        if let Some(mut found) = result.stream::<Row>().await? {
            while let Some(row) = found.try_next().await? {
                let Some(parent) = wire::whole(&row, 0).and_then(&mut find) else { continue };
                self.pairs.push(pair(parent, self.held.count()));
                wire::push(&row, &self.relation.columns, &mut wires, &mut self.held)?;
                let bytes = self.pairs.len() * size_of::<u64>() + self.held.weight();
                fit = fits(self.relation, bytes, self.count);
                if !matches!(fit, Ok(true)) {
                    break;
                }
            }
        }

        result.drop_result().await?;
        Ok(fit?)
    }
}

/// Related rows as ids of a small table, while they are read.
async fn named(
    relation: &Relation,
    keys: &WholeKeys,
    table: &SmallTable,
    mut result: Found<'_>,
    count: usize,
) -> Result<Option<Lists>, Failure> {
    let mut find = keys.finder();
    let mut pairs = vec![];
    let each = table.row_weight();
    let mut fit = Ok(true);
    if let Some(mut ids) = result.stream::<Row>().await? {
        while let Some(row) = ids.try_next().await? {
            let parent = wire::whole(&row, 0).and_then(&mut find);
            let (Some(parent), Some(id)) = (parent, wire::whole(&row, 1)) else { continue };
            pairs.extend(table.place(id).map(|place| pair(parent, place)));
            fit = fits(relation, pairs.len() * each, count);
            if !matches!(fit, Ok(true)) {
                break;
            }
        }
    }

    result.drop_result().await?;
    Ok(fit?.then(|| Lists::new(Arc::clone(&table.rows), pairs, count)))
}

/// A small table in this transaction's snapshot; `None` if it is not small any more.
async fn small_table(conn: &mut Conn, relation: &Relation) -> Result<Option<SmallTable>, Failure> {
    let sql = Wanted::all(&DIALECT, relation, SMALL_TABLE + 1);
    let mut held = ValueBuffer::new(relation.columns.len());
    let mut wires = vec![];
    let mut ids = vec![];
    let mut fit = true;
    let mut result = conn.exec_iter(sql, Params::Empty).await?;
    if let Some(mut found) = result.stream::<Row>().await? {
        while let Some(row) = found.try_next().await? {
            ids.push(wire::whole(&row, 0));
            wire::push(&row, &relation.columns, &mut wires, &mut held)?;
            fit = fits(relation, held.weight(), held.count().max(2))?;
            if !fit {
                break;
            }
        }
    }

    result.drop_result().await?;
    Ok((fit && held.count() <= SMALL_TABLE).then(|| SmallTable::new(held, &ids)).flatten())
}
