//! One read of a SQLite file: a run of rows with their related lists, as they stood at one moment.
//!
//! First come the rows, by one query for each key range; then each related list, by one query for
//! the whole run.

use rusqlite::Connection;

use super::{
    Reader, careful,
    errors::is_error_of_a_value,
    params::bind,
    related,
    session::{Binder, Failure, Session, push},
};
use crate::{
    error::{Error, Kind},
    row::{RowSink, ValueBuffer},
    source::{
        Condition, Query,
        sql::{
            plan::Plan,
            related::Lists,
            run::{Progress, RunReader},
            select::{self, Statement},
        },
    },
};

/// Reads one run into the sink, after `proven` has checked that the file is the expected one.
/// Returns whether the list ends with it.
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
    // The transaction wrote nothing, so COMMIT or ROLLBACK does not matter, but it must end.
    let ended = session.connection.execute_batch("COMMIT");
    let result = result?;
    // Rows were handed on by now, so this error must not make the read be tried again.
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
    let read =
        if reader.wide_ahead.get() { Err(Failure::Wide) } else { read_at_once(session, &reader.plan, query, sink) };
    match read {
        Err(failure) if failure.is_of_a_value(is_error_of_a_value) => {
            let done = careful::read(session, &reader.plan, query, room, sink)?;
            reader.wide_ahead.note(done.wide_ahead);
            Ok(done.ended)
        }
        read => read,
    }
}

/// Reads a run without wide rows and without values that fail a query. Hands rows on only after all
/// are read.
fn read_at_once(session: &mut Session, plan: &Plan, query: &Query, sink: &mut dyn RowSink) -> Result<bool, Failure> {
    session.bound_values(widest_value(plan))?;
    let mut progress = Progress::default();
    let mut run = RunReader::new(plan, query, &mut progress).at_once();
    while let Some((statement, left)) = run.wants() {
        match read_range(&session.connection, plan, &statement, left, &mut run, sink) {
            // The rows before the one whose value failed the query are right; the next read begins
            // behind them.
            Err(failure) if run.has_rows() && failure.is_of_a_value(is_error_of_a_value) => run.stop(),
            read => read?,
        }
    }

    run.end()?;
    let lists = loop {
        match lists(session, plan, &run.rows)? {
            Some(lists) => break lists,
            None => run.shorten()?,
        }
    };

    run.hand_over(lists, sink)?;
    Ok(run.ended())
}

/// The longest value that a run may have, in bytes. A row of at most eight columns is then within
/// `unmeasured`.
fn widest_value(plan: &Plan) -> u64 {
    plan.bounds.unmeasured / plan.selects.len().clamp(1, 8) as u64
}

/// Adds the rows of one key range to a run.
fn read_range(
    connection: &Connection,
    plan: &Plan,
    statement: &Statement<'_>,
    left: usize,
    run: &mut RunReader<'_>,
    sink: &mut dyn RowSink,
) -> Result<(), Failure> {
    let mut prepared = connection.prepare_cached(&statement.text)?;
    bind(&mut Binder::new(&mut prepared), &statement.binds, run.after(), left)?;
    let mut found = prepared.raw_query();
    while let Some(row) = found.next()? {
        let from = run.rows.bytes.len();
        for (index, select) in plan.selects.iter().enumerate() {
            push(&mut run.rows, row.get_ref(index)?, select.json)?;
            if (run.rows.bytes.len() - from) as u64 > plan.bounds.unmeasured {
                return Err(Failure::Wide);
            }
        }
        if !run.added(run.rows.bytes.len() - from, sink)? {
            break;
        }
    }

    Ok(())
}

/// All related lists of a run; `None` if one of them is too large.
fn lists(session: &mut Session, plan: &Plan, rows: &ValueBuffer) -> Result<Option<Vec<Lists>>, Failure> {
    if rows.count() == 0 {
        return Ok(Some(vec![]));
    }
    plan.relations.iter().map(|relation| related::read(session, relation, rows)).collect()
}

/// How many rows meet the conditions.
pub(super) fn count(connection: &Connection, plan: &Plan, conditions: &[Condition]) -> Result<u64, Failure> {
    let Statement { text, binds } = select::count(plan, conditions);
    let mut statement = connection.prepare_cached(&text)?;
    bind(&mut Binder::new(&mut statement), &binds, &[], 0)?;
    let mut rows = statement.raw_query();
    Ok(rows.next()?.map_or(Ok(0), |row| row.get::<_, i64>(0))? as u64)
}
