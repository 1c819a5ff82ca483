//! What MySQL's EXPLAIN says about a resource's queries.

use std::sync::Arc;

use mysql_async::{Conn, Row, prelude::Queryable};

use super::{DIALECT, Failure, Pool, catalogue::Extra, params, rows, wire};
use crate::{
    error::{Error, Kind},
    row::Value,
    source::{
        Claim, Complaint,
        sql::{
            advice,
            catalogue::Catalogue,
            keyset::{self, Range},
            plan::{Plan, Relation},
            related::Wanted,
            select,
        },
    },
};

/// Has MySQL prepare the queries, so that errors in them show at the start.
pub(super) async fn prepare(pool: &Arc<Pool>, plan: &Plan) -> Result<(), Vec<Complaint>> {
    let told = |at: &str, error: &Error| vec![Complaint::failed(at, error)];
    let mut lease = pool.lease(Claim::default()).await.map_err(|error| told("table", &error))?;
    let taken = tokio::time::timeout(pool.timeout(), try_queries(&mut lease.connection().conn, plan)).await;
    match taken {
        Ok(Ok(())) => {
            lease.give_back();
            Ok(())
        }
        Ok(Err((at, Failure::Database(error)))) => {
            lease.end();
            let said = match &error {
                mysql_async::Error::Server(error) => error.message.clone(),
                other => other.to_string(),
            };
            let remedy = match at {
                "where" => "write a condition that works as `SELECT … WHERE (…)`, without parameters",
                _ => "see that the columns that are compared are of one type, and that this user may read the tables",
            };
            Err(vec![Complaint::new(at, format!("MySQL does not take the query: {said}"), remedy)])
        }
        Ok(Err((at, failure))) => Err(told(at, &failure.explained(|error| super::explained(error, &[])))),
        Err(_) => Err(told("table", &super::timed_out(pool.timeout()))),
    }
}

async fn try_queries(conn: &mut Conn, plan: &Plan) -> Result<(), (&'static str, Failure)> {
    let at = if plan.condition.is_some() { "where" } else { "table" };
    let key = vec![Value::Integer(0); plan.order.len()];
    for range in [Range::new()].into_iter().chain(keyset::ranges(&DIALECT, &plan.order, &key)) {
        let statement = select::rows(plan, &range, &[]);
        let known = conn.prep(&*statement.text).await.map_err(|error| (at, error.into()))?;
        // A `?` in the operator's condition would take the place of one of our values.
        if usize::from(known.num_params()) != statement.binds.len() {
            return Err((at, Error::new(Kind::Config, "the condition has a parameter, `?`").into()));
        }
    }

    if let Some(alone) = select::condition_alone(plan) {
        conn.prep(alone).await.map_err(|error| (at, error.into()))?;
    }

    let pointed = plan.on_pointed_rows();
    if !pointed.is_empty() {
        let statement = select::rows(plan, &Range::new(), &pointed);
        conn.prep(statement.text).await.map_err(|error| (advice::conditions_at(plan), error.into()))?;
    }

    for relation in &plan.relations {
        conn.prep(of_relation(relation)).await.map_err(|error| ("fields", error.into()))?;
    }

    Ok(())
}

fn of_relation(relation: &Relation) -> String {
    let wanted = Wanted::rows(&DIALECT, relation);
    if relation.whole { wanted.by("BETWEEN ? AND ?") } else { rows::joined(relation, &wanted, 2) }
}

/// What would be slow about the queries.
pub(super) async fn slow(pool: &Arc<Pool>, plan: &Plan, catalogue: &Catalogue, extra: &Extra) -> Vec<Complaint> {
    let mut complaints = advice::of_plan(plan);
    // The optimizer sorts a table with few rows even if an index has the order. So it is asked only
    // if no index has: it may know better about a view, or about a condition that fixes a column's
    // value.
    if !has_index(plan, catalogue, extra) {
        match sorts(pool, plan).await {
            Ok(true) => complaints.push(advice::unindexed_order(plan, std::slice::from_ref(&plan.table))),
            Ok(false) => {}
            Err(error) => complaints.push(Complaint::failed("table", &error)),
        }
    }

    for (index, relation) in plan.relations.iter().enumerate() {
        let (table, column) = match &relation.join {
            Some(join) => (&join.table, &join.on),
            None => (&relation.table, &relation.column),
        };
        let table = catalogue.tables.iter().find(|known| known.sql == *table && !known.is_view);
        if table.is_some_and(|table| !table.indexed.contains(column)) {
            let tables = std::slice::from_ref(advice::looked_up(relation));
            complaints.push(advice::unindexed_relation(plan, index, tables));
        }
    }

    complaints
}

/// Whether an index has the order, in one direction or the other. Every index ends in the columns
/// of the primary key.
fn has_index(plan: &Plan, catalogue: &Catalogue, extra: &Extra) -> bool {
    let key = catalogue.tables.iter().find(|table| table.sql == plan.table).map_or(&[][..], |table| &table.key);
    let wanted: Vec<(&str, bool)> = plan
        .order
        .iter()
        .zip(&plan.order_names)
        .map(|(column, name)| (name.strip_prefix('-').unwrap_or(name), column.descending))
        .collect();
    let as_it_is =
        |(column, (name, _)): (&keyset::KeyColumn, &(&str, bool))| column.sql == DIALECT.column(&plan.table, name);
    plan.order.iter().zip(&wanted).all(as_it_is)
        && extra.indexes.iter().any(|index| {
            let own = index.iter().map(|(name, descending)| (name.as_str(), *descending));
            let behind = key.iter().filter(|name| !index.iter().any(|(own, _)| own == *name));
            let given: Vec<(&str, bool)> = own.chain(behind.map(|name| (name.as_str(), false))).collect();
            let fits = |turned: bool| {
                let same =
                    |(one, other): (&(&str, bool), &(&str, bool))| one.0 == other.0 && one.1 == (other.1 ^ turned);
                given.len() >= wanted.len() && wanted.iter().zip(&given).all(same)
            };
            fits(false) || fits(true)
        })
}

/// Whether the server sorts the rows before it reads them in order.
async fn sorts(pool: &Arc<Pool>, plan: &Plan) -> Result<bool, Error> {
    let mut lease = pool.lease(Claim::default()).await?;
    let statement = select::rows(plan, &Range::new(), &[]);
    let sql = format!("EXPLAIN {}", statement.text);
    let steps = lease.connection().conn.exec::<Row, _, _>(sql, params::of(&statement, &[], 1));
    match tokio::time::timeout(pool.timeout(), steps).await {
        Ok(Ok(steps)) => {
            lease.give_back();
            // The last column of EXPLAIN holds the remarks.
            let special = |row: &Row| wire::text(row, row.len().saturating_sub(1)).unwrap_or_default();
            Ok(steps.iter().any(|row| special(row).contains("filesort")))
        }
        Ok(Err(error)) => {
            lease.end();
            Err(super::explained(error, &[]))
        }
        Err(_) => Err(super::timed_out(pool.timeout())),
    }
}
