//! One read of a SQLite file: a run of rows with their related lists, as they stood at one moment.
//!
//! The rows come first, by one query for each key range; then each related list by one query for the whole run.

use rusqlite::Connection;

use super::{
    Reader, careful,
    failure::is_of_a_value,
    params::bind,
    related,
    session::{Binder, Failure, Session, push},
};
use crate::{
    error::{Error, Kind},
    row::{RowSink, Value},
    source::{
        Condition, Query,
        sql::{
            held::Held,
            keyset,
            plan::Plan,
            related::Lists,
            run::{cut, hand_over},
            select::{self, Statement},
            width::RUN_BYTES,
        },
    },
};

/// Reads one run into the sink, once `proven` has said that the file is what it is thought to be; says whether
/// the list ends with it.
pub(super) fn read(
    session: &mut Session,
    reader: &Reader,
    query: &Query,
    room: u64,
    sink: &mut dyn RowSink,
    proven: impl FnOnce(&mut Session) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    session.connection.execute_batch("BEGIN")?;
    let result = proven(session).and_then(|()| read_in_transaction(session, reader, query, room, sink));
    // Nothing was written, so how the transaction ends makes no difference; that it ends does.
    let ended = session.connection.execute_batch("COMMIT");
    let result = result?;
    // Rows were handed on by then, so that it is no failure after which a read is tried again.
    ended.map_err(|error| Error::new(Kind::Unavailable, "SQLite did not end a transaction").caused_by(error))?;
    Ok(result)
}

fn read_in_transaction(
    session: &mut Session,
    reader: &Reader,
    query: &Query,
    room: u64,
    sink: &mut dyn RowSink,
) -> Result<bool, Failure> {
    let read = match reader.wide_ahead.get() {
        true => Err(Failure::Wide),
        false => read_at_once(session, &reader.plan, query, sink),
    };
    match read {
        Err(failure) if is_of_a_value(&failure) => {
            let done = careful::read(session, &reader.plan, query, room, sink)?;
            reader.wide_ahead.note(done.wide_ahead);
            Ok(done.ended)
        }
        read => read,
    }
}

/// Reads a run whose rows are neither wide nor have a value that fails a query. Nothing is handed on before all
/// of it is read.
fn read_at_once(session: &mut Session, plan: &Plan, query: &Query, sink: &mut dyn RowSink) -> Result<bool, Failure> {
    session.bound_values(widest_value(plan))?;
    let (mut rows, mut ended) = main_rows(&session.connection, plan, query)?;
    if rows.count() == 0 {
        return Ok(ended);
    }
    let lists = loop {
        match lists(session, plan, &rows)? {
            Some(lists) => break lists,
            None => {
                // The rows left out are the first of the next run.
                let fewer = (rows.count() / 4).max(1);
                cut(plan, &mut rows, fewer)?;
                ended = false;
            }
        }
    };
    hand_over(plan, &rows, &lists, sink)?;
    Ok(ended)
}

/// The longest value that a run may have, such that a row of such values is no wider than a row may be, or
/// eight times that.
fn widest_value(plan: &Plan) -> u64 {
    plan.bounds.unmeasured / plan.selects.len().clamp(1, 8) as u64
}

/// All related lists of a run; `None` when one of them is too much.
fn lists(session: &mut Session, plan: &Plan, rows: &Held) -> Result<Option<Vec<Lists>>, Failure> {
    plan.relations.iter().map(|relation| related::read(session, relation, rows)).collect()
}

/// The rows themselves, and whether the list ends with them.
fn main_rows(connection: &Connection, plan: &Plan, query: &Query) -> Result<(Held, bool), Failure> {
    let after: Vec<Value<'_>> = query.after.values().collect();
    let mut rows = Held::new(plan.selects.len());
    let limit = query.limit as usize;
    for range in keyset::ranges(plan.dialect, &plan.order, &after) {
        // One more row of a key that nobody has proven: the first that is not handed out must not have the last
        // one's key.
        let left = limit + usize::from(plan.unproven) - rows.count();
        if left == 0 {
            break;
        }
        let Statement { text, binds } = select::rows(plan, &range, &query.conditions);
        let mut statement = connection.prepare_cached(&text)?;
        bind(&mut Binder::new(&mut statement), &binds, &after, left)?;
        let mut found = statement.raw_query();
        loop {
            let row = match found.next() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                // The rows before the one whose value has failed the query are right; the next read begins there.
                Err(error) => return before(error.into(), plan, rows),
            };
            let from = rows.bytes.len();
            for (index, select) in plan.selects.iter().enumerate() {
                push(&mut rows, row.get_ref(index)?, select.json)?;
                if (rows.bytes.len() - from) as u64 > plan.bounds.unmeasured {
                    rows.slots.truncate(rows.slots.len() - 1 - index);
                    return before(Failure::Wide, plan, rows);
                }
            }
            if rows.weight() > RUN_BYTES && (rows.count() > 1 || !plan.unproven) {
                let whole = rows.count() - usize::from(plan.unproven);
                cut(plan, &mut rows, whole)?;
                return Ok((rows, false));
            }
        }
    }
    if rows.count() > limit {
        cut(plan, &mut rows, limit)?;
        return Ok((rows, false));
    }
    let ended = rows.count() < limit;
    Ok((rows, ended))
}

/// The rows before one that has failed the query, which are right; the next read begins there.
fn before(failure: Failure, plan: &Plan, mut rows: Held) -> Result<(Held, bool), Failure> {
    let whole = rows.count().saturating_sub(usize::from(plan.unproven));
    if whole == 0 || !is_of_a_value(&failure) {
        return Err(failure);
    }
    cut(plan, &mut rows, whole)?;
    Ok((rows, false))
}

/// How many rows fulfil the conditions.
pub(super) fn count(connection: &Connection, plan: &Plan, conditions: &[Condition]) -> Result<u64, Failure> {
    let Statement { text, binds } = select::count(plan, conditions);
    let mut statement = connection.prepare_cached(&text)?;
    bind(&mut Binder::new(&mut statement), &binds, &[], 0)?;
    let mut rows = statement.raw_query();
    Ok(rows.next()?.map_or(Ok(0), |row| row.get::<_, i64>(0))? as u64)
}
