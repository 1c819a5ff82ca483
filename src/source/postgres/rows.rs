//! One read of PostgreSQL: a run of rows with their related lists, as they stood at one moment.
//!
//! It is one transaction, `REPEATABLE READ READ ONLY`, with settings of its own and unnamed
//! statements only, so that a pooler may give each transaction another connection. Requests that
//! need no answer of an earlier one are sent without waiting: a list without relations takes one
//! round trip, one with relations two.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use futures_util::{TryStreamExt, future};
use tokio_postgres::{
    Client, Row, RowStream,
    types::{FromSql, Type},
};

use super::{
    DIALECT, Failure,
    errors::is_error_of_a_value,
    framing::MessageBound,
    params::Param,
    proof::{Proof, Stamp, read_stamp, stamp_of},
    will_pass,
    wire::Wire,
};
use crate::{
    error::{Error, Kind},
    row::{RowSink, Slot, Value, ValueBuffer},
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

/// A related table with more rows is joined, not read whole.
const SMALL_TABLE: usize = 256;

/// By the first and the last key of a run. Both are int8; the column they are compared with may
/// have another size.
pub(super) const BETWEEN: &str = "BETWEEN $1::int8 AND $2::int8";

/// Reads one run into the sink. Returns whether the list ends with it, and what the transaction
/// saw, which the caller must still compare. The latter is `None` if the run ended before a row
/// that is too wide: the connection has been closed, and another must ask.
pub(super) async fn read(
    client: &Client,
    proof: &Proof,
    plan: &Plan,
    query: &Query,
    bound: &MessageBound,
    sink: &mut dyn RowSink,
    progress: &mut Progress,
) -> Result<(bool, Option<Stamp>), Failure> {
    let mut run = RunReader::new(plan, query, progress);
    let begin = proof.begin(query.session.as_deref());
    let mut begun = Some(client.batch_execute(&begin));
    let end = proof.end(query.session.as_deref());
    let mut commit = pin!(future::maybe_done(client.simple_query(&end)));
    let mut committing = false;
    // Whether an error has ended the transaction after rows that are right.
    let mut failed = false;

    while let Some((statement, left)) = run.wants() {
        let found = client.query_typed_raw(&statement.text, Param::of(&statement, run.after(), left));
        let found = match begun.take() {
            Some(begun) => {
                let (begun, found) = future::join(begun, found).await;
                begun?;
                found?
            }
            None => found.await?,
        };
        if run.passes() && run.is_at_last_range() {
            send(commit.as_mut()).await;
            committing = true;
        }

        let mut found = pin!(found);
        let mut wires = vec![];
        loop {
            let row = match found.try_next().await {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(_) if run.passes() && run.has_rows() && bound.is_exceeded() => {
                    run.hand_over(vec![], sink)?;
                    return Ok((false, None));
                }
                // The rows before the failure are right; the next read begins behind them.
                Err(error) if run.passes() && run.has_rows() && (is_error_of_a_value(&error) || will_pass(&error)) => {
                    run.stop();
                    failed = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            push(&row, &mut wires, &mut run.rows)?;
            if !run.added(row.raw_size_bytes(), sink)? {
                break;
            }
        }
    }

    run.end()?;
    let lists = loop {
        match related(client, plan, &run.rows).await? {
            Some(lists) => break lists,
            None => run.shorten()?,
        }
    };

    if failed {
        // A new transaction proves the read: what is the same after it was the same before.
        run.hand_over(lists, sink)?;
        client.batch_execute("ROLLBACK").await?;
        client.batch_execute(&begin).await?;
        return Ok((false, Some(read_stamp(client, &end).await?)));
    }

    if !committing {
        send(commit.as_mut()).await;
    }

    run.hand_over(lists, sink)?;
    commit.as_mut().await;
    match commit.take_output().transpose() {
        // The message that was too long came after the rows that were handed on.
        Err(_) if run.passes() && bound.is_exceeded() => Ok((false, None)),
        said => Ok((run.ended(), Some(stamp_of(said?.unwrap_or_default())?))),
    }
}

/// Sends a request without waiting for its answer.
async fn send(mut request: Pin<&mut impl Future<Output = ()>>) {
    std::future::poll_fn(|context| {
        // The first poll sends it.
        let _ = request.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}

/// How many rows meet the conditions.
pub(super) async fn count(
    client: &Client,
    begin: &str,
    plan: &Plan,
    conditions: &[Condition],
) -> Result<Option<u64>, Failure> {
    let statement = select::count(plan, conditions);
    let (begun, found) = future::join(
        client.batch_execute(begin),
        client.query_typed_raw(&statement.text, Param::of(&statement, &[], 0)),
    )
    .await;
    begun?;
    let rows: Vec<Row> = found?.try_collect().await?;
    client.batch_execute("COMMIT").await?;
    Ok(rows.first().and_then(|row| integer(row, 0)).and_then(|count| u64::try_from(count).ok()))
}

/// A value's bytes, as they came.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Raw<'a>, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Raw<'a>, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Adds the values of a row. At the first row it also finds out their `wires`.
pub(super) fn push(row: &Row, wires: &mut Vec<Wire>, held: &mut ValueBuffer) -> Result<(), Failure> {
    let unread = row.columns().len() - held.width;
    if wires.is_empty() {
        for column in &row.columns()[unread..] {
            wires.push(Wire::of(column.type_()).ok_or_else(|| {
                Error::new(Kind::Data, format!("PostgreSQL sent a value of the type {}", column.type_().name()))
                    .remedy("leave the column out, or make it another type in a view")
            })?);
        }
    }
    for (index, wire) in wires.iter().enumerate() {
        wire.read(row.try_get::<_, Raw<'_>>(unread + index)?.0, held)?;
    }
    Ok(())
}

/// A whole number.
fn integer(row: &Row, index: usize) -> Option<i64> {
    match row.try_get::<_, Raw<'_>>(index).ok()?.0? {
        &[a, b] => Some(i16::from_be_bytes([a, b]).into()),
        &[a, b, c, d] => Some(i32::from_be_bytes([a, b, c, d]).into()),
        raw => Some(i64::from_be_bytes(raw.try_into().ok()?)),
    }
}

/// All related lists of a run, asked for at once; `None` if one of them is too large.
async fn related(client: &Client, plan: &Plan, rows: &ValueBuffer) -> Result<Option<Vec<Lists>>, Failure> {
    if rows.count() == 0 {
        return Ok(Some(vec![]));
    }
    let lists = future::try_join_all(plan.relations.iter().map(|relation| list(client, relation, rows))).await?;
    Ok(lists.into_iter().collect())
}

/// How the related rows of a run are found.
enum Parents {
    /// By their keys in a `WHERE`; the rows come back with the keys, as whole numbers.
    Keys(WholeKeys),
    /// By a join with the keys, since only SQL can tell which are equal. Holds the rows of the run
    /// that have a key.
    Places(Vec<u64>),
}

pub(super) async fn list(client: &Client, relation: &Relation, rows: &ValueBuffer) -> Result<Option<Lists>, Failure> {
    let (parents, condition, params) = match WholeKeys::new(relation, rows)? {
        Some(keys) if keys.are_close() => {
            let (first, last) = keys.ends();
            let params = [first, last].map(|key| Param::value(Value::Integer(key))).into();
            (Parents::Keys(keys), BETWEEN, params)
        }
        Some(keys) => {
            let params = vec![Param::array(keys.all().map(|key| Param::value(Value::Integer(key))))];
            (Parents::Keys(keys), "= ANY ($1::int8[])", params)
        }
        None => {
            let known = keys_of(relation, rows)?.filter(|(_, slot)| !matches!(slot, Slot::Null));
            let params = vec![Param::array(known.clone().map(|(_, slot)| Param::value(rows.value(slot))))];
            (Parents::Places(known.map(|(row, _)| row as u64).collect()), "", params)
        }
    };

    let params: Vec<Param> = params;
    let params = || params.iter().map(|param| (param, Type::UNKNOWN));
    if relation.small
        && relation.own_order
        && relation.whole
        && let (Parents::Keys(keys), Some(wanted)) = (&parents, Wanted::ids(&DIALECT, relation))
    {
        let ids = wanted.by(condition);
        let table = Wanted::all(&DIALECT, relation, SMALL_TABLE + 1);
        let ids = client.query_typed_raw(&ids, params());
        let (table, ids) = future::join(small_table(client, relation, &table), ids).await;
        // In the order of the requests: after one that fails, all others fail.
        let table = table?;
        let ids = ids?;
        match table {
            Some(table) => return named(relation, keys, &table, ids, rows.count()).await,
            // The table has grown. These ids are not read; the next answer comes after them.
            None => drop(ids),
        }
    }

    let wanted = Wanted::rows(&DIALECT, relation);
    let sql = match &parents {
        Parents::Keys(_) => wanted.by(condition),
        Parents::Places(_) => joined(relation, &wanted),
    };

    let found = client.query_typed_raw(&sql, params()).await?;
    collect(relation, &parents, found, rows.count()).await
}

/// A query for the related rows of keys that only SQL can compare. Each row comes with the number
/// of its key. The keys are sent as texts, since an array of arrays would be one array, and each is
/// cast to the parent column's type.
pub(super) fn joined(relation: &Relation, wanted: &Wanted) -> String {
    let Wanted { source, on, columns, .. } = wanted;
    let column = &relation.parent_column;
    let collation = column.collation.as_ref().map_or(String::new(), |collation| format!(" COLLATE {collation}"));
    let key = fill(&column.kind, "chunkflow_keys.key");
    format!(
        "SELECT chunkflow_keys.place, {columns} \
         FROM unnest($1::text[]) WITH ORDINALITY AS chunkflow_keys (key, place), {source} \
         WHERE {on} = {key}{collation}{}",
        wanted.end("chunkflow_keys.place")
    )
}

/// Collects related rows.
async fn collect(
    relation: &Relation,
    parents: &Parents,
    found: RowStream,
    count: usize,
) -> Result<Option<Lists>, Failure> {
    let mut held = ValueBuffer::new(relation.columns.len());
    let mut wires = vec![];
    let mut pairs = vec![];
    let mut find: Box<dyn FnMut(i64) -> Option<u64> + Send> = match parents {
        Parents::Keys(keys) => Box::new(keys.finder()),
        Parents::Places(rows) => Box::new(|place| rows.get(usize::try_from(place - 1).ok()?).copied()),
    };

    let mut found = pin!(found);
    while let Some(row) = found.try_next().await? {
        let Some(parent) = integer(&row, 0).and_then(&mut find) else { continue };
        pairs.push(pair(parent, held.count()));
        push(&row, &mut wires, &mut held)?;
        if !fits(relation, pairs.len() * size_of::<u64>() + held.weight(), count)? {
            return Ok(None);
        }
    }

    Ok(Some(Lists::new(Arc::new(held), pairs, count)))
}

/// Collects related rows as ids of a small table.
async fn named(
    relation: &Relation,
    keys: &WholeKeys,
    table: &SmallTable,
    ids: RowStream,
    count: usize,
) -> Result<Option<Lists>, Failure> {
    let mut find = keys.finder();
    let mut pairs = vec![];
    let each = table.row_weight();
    let mut ids = pin!(ids);
    while let Some(row) = ids.try_next().await? {
        let (Some(parent), Some(id)) = (integer(&row, 0).and_then(&mut find), integer(&row, 1)) else { continue };
        pairs.extend(table.place(id).map(|place| pair(parent, place)));
        if !fits(relation, pairs.len() * each, count)? {
            return Ok(None);
        }
    }
    Ok(Some(Lists::new(Arc::clone(&table.rows), pairs, count)))
}

/// A small table in this transaction's snapshot; `None` if it is not small any more.
async fn small_table(client: &Client, relation: &Relation, sql: &str) -> Result<Option<SmallTable>, Failure> {
    let mut held = ValueBuffer::new(relation.columns.len());
    let mut wires = vec![];
    let mut ids = vec![];
    let none: [(Param, Type); 0] = [];
    let mut found = pin!(client.query_typed_raw(sql, none).await?);
    while let Some(row) = found.try_next().await? {
        ids.push(integer(&row, 0));
        push(&row, &mut wires, &mut held)?;
        if !fits(relation, held.weight(), held.count().max(2))? {
            return Ok(None);
        }
    }
    Ok((held.count() <= SMALL_TABLE).then(|| SmallTable::new(held, &ids)).flatten())
}
