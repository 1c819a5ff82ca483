//! One read of a SQLite file: a run of rows with their related lists, as they stood at one moment.
//!
//! The rows come first, by one query for each key range; then each related list by one query for the whole run.

use std::rc::Rc;

use rusqlite::{Connection, types::Value as Owned};

use super::{
    Condition, Operand, Operator, Query,
    keyset::{self, quote},
    plan::{Output, Plan},
    sqlite_related::{self, Lists},
    sqlite_session::{Binder, Bound, Failure, Held, Session},
};
use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    row::{RowSink, Value, repeated_key},
};

/// A run ends early when its rows take so much memory.
const RUN_BYTES: usize = 1024 * 1024;

/// Reads one run into the sink; says whether the list ends with it.
pub(super) fn read(session: &mut Session, plan: &Plan, query: &Query, sink: &mut dyn RowSink) -> Result<bool, Failure> {
    session.connection.execute_batch("BEGIN")?;
    let result = read_in_transaction(session, plan, query, sink);
    // Nothing was written, so how the transaction ends makes no difference; that it ends does.
    let ended = session.connection.execute_batch("COMMIT");
    let result = result?;
    ended?;
    Ok(result)
}

fn read_in_transaction(
    session: &mut Session,
    plan: &Plan,
    query: &Query,
    sink: &mut dyn RowSink,
) -> Result<bool, Failure> {
    if let Some(known) = plan.unstable_key {
        let version: i64 =
            session.connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))?;
        if version != known {
            return Err(Error::new(
                Kind::Unavailable,
                "the schema changed, and with it the rowids that tell rows apart may have",
            )
            .remedy("restart, so that nothing of before is mixed in; a primary key of the table's own would not change")
            .into());
        }
    }
    let (mut rows, mut ended) = main_rows(&session.connection, plan, query)?;
    if rows.count() == 0 {
        return Ok(ended);
    }
    let lists = loop {
        match related(session, plan, &rows)? {
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

/// All related lists of a run; `None` when one of them is too much.
fn related(session: &mut Session, plan: &Plan, rows: &Held) -> Result<Option<Vec<Lists>>, Failure> {
    plan.relations.iter().map(|relation| sqlite_related::read(session, relation, rows)).collect()
}

/// Gives each row, with its related lists, to the sink.
fn hand_over(plan: &Plan, rows: &Held, lists: &[Lists], sink: &mut dyn RowSink) -> Result<(), Error> {
    let values: Vec<Value<'_>> = rows.slots.iter().map(|slot| rows.value(*slot)).collect();
    let related: Vec<Vec<Value<'_>>> = lists.iter().map(Lists::values).collect();
    let mut key = Vec::with_capacity(plan.key.len());
    let mut out = Vec::with_capacity(plan.outputs.len());
    for (index, row) in values.chunks_exact(rows.width).enumerate() {
        key.clear();
        key.extend(plan.key.iter().map(|&select| text_as_text(row[select])));
        out.clear();
        out.extend(plan.outputs.iter().map(|output| match *output {
            Output::Select(select) => row[select],
            Output::Object { first, .. } if row[first - 1] == Value::Null => Value::Null,
            Output::Object { first, len } => Value::List(&row[first..first + len]),
            Output::Relation(relation) => Value::List(&related[relation][lists[relation].range(index)]),
        }));
        sink.row(&key, &out)?;
    }
    Ok(())
}

/// In a key a JSON text is compared as the text it is.
fn text_as_text(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Json(text) => Value::Text(text),
        value => value,
    }
}

/// The rows themselves, and whether the list ends with them.
fn main_rows(connection: &Connection, plan: &Plan, query: &Query) -> Result<(Held, bool), Failure> {
    let after: Vec<Value<'_>> = query.after.values().collect();
    let mut rows = Held::new(plan.selects.len());
    let limit = query.limit as usize;
    for range in keyset::ranges(&plan.order, &after) {
        // One more row of a key that nobody has proven: the first that is not handed out must not have the last one's key.
        let left = limit + usize::from(plan.unproven) - rows.count();
        if left == 0 {
            break;
        }
        let mut statement = connection.prepare_cached(&main_sql(plan, &range.condition, &query.conditions))?;
        let mut binder = Binder::new(&mut statement);
        for &index in &range.binds {
            binder.bind(Bound(after[index]))?;
        }
        bind_conditions(&mut binder, plan, &query.conditions)?;
        binder.bind(left as i64)?;
        let mut found = statement.raw_query();
        while let Some(row) = found.next()? {
            for (index, select) in plan.selects.iter().enumerate() {
                rows.push(row.get_ref(index)?, select.json)?;
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

/// Leaves out all rows but the first ones. The first that is left out must have another key than the last that stays, or
/// it would not be found behind it.
fn cut(plan: &Plan, rows: &mut Held, count: usize) -> Result<(), Error> {
    if plan.unproven && count > 0 && count < rows.count() {
        let key = |row: usize| {
            let values = plan.key.iter().map(|select| rows.value(rows.slots[row * rows.width + select]));
            Cursor::after(&values.map(text_as_text).collect::<Vec<_>>())
        };
        if key(count - 1)? == key(count)? {
            return Err(repeated_key());
        }
    }
    rows.truncate(count);
    Ok(())
}

/// The main query for one key range.
pub(super) fn main_sql(plan: &Plan, range: &str, conditions: &[Condition]) -> String {
    let selects: Vec<&str> = plan.selects.iter().map(|select| &*select.sql).collect();
    let mut sql = format!("SELECT {} FROM {}", selects.join(", "), plan.table);
    push_conditions(&mut sql, plan, range, conditions);
    sql.push_str(" ORDER BY ");
    sql.push_str(&keyset::order_by(&plan.order));
    sql.push_str(" LIMIT ?");
    sql
}

/// How many rows fulfil the conditions.
pub(super) fn count(connection: &Connection, plan: &Plan, conditions: &[Condition]) -> Result<u64, Failure> {
    let mut sql = format!("SELECT count(*) FROM {}", plan.table);
    push_conditions(&mut sql, plan, "", conditions);
    let mut statement = connection.prepare_cached(&sql)?;
    bind_conditions(&mut Binder::new(&mut statement), plan, conditions)?;
    let mut rows = statement.raw_query();
    Ok(rows.next()?.map_or(Ok(0), |row| row.get::<_, i64>(0))? as u64)
}

fn push_conditions(sql: &mut String, plan: &Plan, range: &str, conditions: &[Condition]) {
    let mut all = vec![];
    if let Some(condition) = &plan.condition {
        // On lines of its own, so that a comment at its end hides nothing.
        all.push(format!("(\n{condition}\n)"));
    }
    if !range.is_empty() {
        all.push(range.to_owned());
    }
    for condition in conditions {
        let column = format!("{}.{}", plan.table, quote(&condition.column));
        all.push(match condition.operator {
            Operator::Eq => format!("{column} = ?"),
            Operator::Neq => format!("{column} <> ?"),
            Operator::Gt => format!("{column} > ?"),
            Operator::Gte => format!("{column} >= ?"),
            Operator::Lt => format!("{column} < ?"),
            Operator::Lte => format!("{column} <= ?"),
            // One text for lists of every length, or the cache of statements would hold one for each.
            Operator::In => format!("{column} IN rarray(?)"),
            Operator::IsNull => format!("{column} IS NULL"),
            Operator::IsNotNull => format!("{column} IS NOT NULL"),
            Operator::Like => format!("{column} LIKE ?"),
        });
    }
    if !all.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&all.join(" AND "));
    }
}

fn bind_conditions(binder: &mut Binder<'_, '_>, plan: &Plan, conditions: &[Condition]) -> rusqlite::Result<()> {
    for condition in conditions {
        let filter = plan.filters.iter().find(|filter| filter.column == condition.column);
        let value =
            |text: &String| match (filter.map(|filter| filter.operand), text.parse::<i64>(), text.parse::<f64>()) {
                (Some(Operand::Integer | Operand::Number), Ok(number), _) => Owned::Integer(number),
                (Some(Operand::Integer | Operand::Number), _, Ok(number)) => Owned::Real(number),
                _ => Owned::Text(text.clone()),
            };
        match condition.operator {
            Operator::In => binder.bind(Rc::new(condition.values.iter().map(value).collect::<Vec<_>>()))?,
            Operator::Like => condition.values.iter().try_for_each(|text| binder.bind(text.replace('*', "%")))?,
            _ => condition.values.iter().try_for_each(|text| binder.bind(value(text)))?,
        }
    }
    Ok(())
}
