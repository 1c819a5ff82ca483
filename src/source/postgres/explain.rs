//! What PostgreSQL's EXPLAIN says about a resource's queries.

use std::sync::Arc;

use tokio_postgres::{Client, error::SqlState, types::Type};

use super::{
    DIALECT, Failure, Pool, catalogue,
    look::Look,
    params::Param,
    proof::{Ground, Proof},
    rows,
};
use crate::{
    row::{Value, ValueBuffer},
    source::{
        Claim, Complaint,
        sql::{
            advice,
            keyset::{self, Range},
            plan::{JOIN, Plan, RELATED, Relation, Select},
            related::Wanted,
            select,
        },
    },
};

/// What was found about a source while PostgreSQL parsed its queries.
pub(super) struct Prepared {
    pub(super) proof: Proof,
    /// The definitions of the views behind its own.
    pub(super) behind: Vec<String>,
}

/// Has PostgreSQL parse the queries, so that errors in them show at the start. `None` if the tables
/// have changed since they were seen.
pub(super) async fn prepare(
    pool: &Arc<Pool>,
    plan: &Plan,
    ground: Ground,
    look: &Look,
) -> Result<Option<Prepared>, Vec<Complaint>> {
    let mut lease = pool.lease(Claim::default()).await.map_err(|error| vec![Complaint::failed("table", &error)])?;
    let prepared =
        tokio::time::timeout(pool.timeout(), try_queries(&lease.connection().client, plan, ground, look)).await;
    match prepared {
        Ok(Ok(Some(prepared))) => {
            lease.give_back();
            Ok(Some(prepared))
        }
        Ok(Ok(None)) => Ok(None),
        Ok(Err((at, Failure::Database(error)))) => {
            let told = match error.as_db_error() {
                Some(error) => error.message().to_owned(),
                None => error.to_string(),
            };
            let remedy = match &*at {
                "where" => "write a condition that works as `SELECT … WHERE (…)`, without parameters",
                _ => "see that the columns that are compared are of one type, and that this user may read the tables",
            };
            Err(vec![Complaint::new(at, format!("PostgreSQL does not take the query: {told}"), remedy)])
        }
        Ok(Err((at, failure))) => {
            Err(vec![Complaint::failed(at, &failure.explained(|error| super::explained(error, None)))])
        }
        Err(_) => Err(vec![Complaint::new("table", super::timed_out(pool.timeout()).to_string(), "see its log")]),
    }
}

async fn try_queries(
    client: &Client,
    plan: &Plan,
    ground: Ground,
    look: &Look,
) -> Result<Option<Prepared>, (String, Failure)> {
    let of_table = |failure| ("table".to_owned(), failure);
    match ground.enter(client, look).await {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(Failure::Database(error)) if is_gone(&error) => return Ok(None),
        Err(failure) => return Err(of_table(failure)),
    }

    let at = if plan.condition.is_some() { "where" } else { "table" };
    let statement = select::rows(plan, &Range::new(), &[]);
    // The limit is the only parameter: one in the operator's condition is an error.
    explain(client, &statement.text, Param::of(&statement, &[], 1))
        .await
        .map_err(|failure| (at.to_owned(), failure))?;
    if let Some(alone) = select::condition_alone(plan) {
        explain(client, &alone, vec![]).await.map_err(|failure| (at.to_owned(), failure))?;
    }

    let pointed = plan.on_pointed_rows();
    if !pointed.is_empty() {
        let statement = select::rows(plan, &Range::new(), &pointed);
        let planned = explain(client, &statement.text, Param::of(&statement, &[], 1)).await;
        planned.map_err(|failure| (advice::conditions_at(plan).to_owned(), failure))?;
    }

    for (index, relation) in plan.relations.iter().enumerate() {
        let planned = plan_of_relation(client, relation).await;
        planned.map_err(|failure| (advice::relation_key(plan, index), failure))?;
    }

    let behind = ground.behind(client).await.map_err(of_table)?;
    let proof = ground.leave(client).await.map_err(of_table)?;
    Ok(Some(Prepared { proof, behind }))
}

/// Whether the error says that a name does not exist any more.
fn is_gone(error: &tokio_postgres::Error) -> bool {
    let gone = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::INVALID_SCHEMA_NAME];
    error.code().is_some_and(|code| gone.contains(code))
}

/// What would be slow about the queries.
pub(super) async fn slow(pool: &Arc<Pool>, plan: &Plan) -> Vec<Complaint> {
    let mut complaints = advice::of_plan(plan);
    let found = async {
        let mut lease = pool.lease(Claim::default()).await?;
        let found =
            tokio::time::timeout(pool.timeout(), look(&lease.connection().client, pool.connector().begin(), plan))
                .await;
        match found {
            Ok(Ok(found)) => {
                lease.give_back();
                Ok(found)
            }
            Ok(Err(failure)) => Err(failure.explained(|error| super::explained(error, None))),
            Err(_) => Err(super::timed_out(pool.timeout())),
        }
    };

    match found.await {
        Ok(found) => complaints.extend(found),
        Err(error) => complaints.push(Complaint::failed("table", &error)),
    }

    complaints
}

async fn look(client: &Client, begin: &str, plan: &Plan) -> Result<Vec<Complaint>, Failure> {
    let mut complaints = vec![];
    client.batch_execute(begin).await?;
    // With few rows PostgreSQL scans and sorts a table even if it has a fitting index. What matters
    // is what it could do.
    client
        .batch_execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
        .await?;
    let first = select::rows(plan, &Range::new(), &[]);
    let mut steps = explain(client, &first.text, Param::of(&first, &[], 1)).await?;
    // Only the key: another column may hold a value that the database cannot convert.
    let selects: Vec<Select> = plan.key.iter().map(|select| plan.selects[*select].clone()).collect();
    let keys = select::columns(plan, &selects, &Range::new(), &[]);
    let mut key = ValueBuffer::new(selects.len());
    let mut wires = vec![];
    for row in client.query_typed(&keys.text, &[(&1i64, Type::INT8)]).await? {
        rows::push(&row, &mut wires, &mut key)?;
    }

    if key.count() > 0 {
        let after: Vec<Value<'_>> = key.row(0).collect();
        for range in keyset::ranges(&DIALECT, &plan.order, &after) {
            let next = select::rows(plan, &range, &[]);
            steps.extend(explain(client, &next.text, Param::of(&next, &after, 1)).await?);
        }
    }

    // An incremental sort only sorts among rows with equal leading values.
    if steps.iter().any(|step| step.kind == "Sort") {
        let tables = to_index(client, &plan.table, &steps).await?;
        complaints.push(advice::unindexed_order(plan, &tables));
    }

    for (index, relation) in plan.relations.iter().enumerate() {
        let alias = if relation.join.is_some() { JOIN } else { RELATED };
        let steps = plan_of_relation(client, relation).await?;
        if steps.iter().any(|step| step.looks_through(alias)) {
            let tables = to_index(client, advice::looked_up(relation), &steps).await?;
            complaints.push(advice::unindexed_relation(plan, index, &tables));
        }
    }

    client.batch_execute("COMMIT").await?;
    Ok(complaints)
}

/// A table and the tables that inherit from it, each with indexes of its own. A partition has the
/// indexes of its table.
const FAMILY: &str = "
WITH RECURSIVE family (id) AS (
    SELECT to_regclass($1)::oid
    UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = id JOIN pg_class ON oid = inhparent WHERE relkind <> 'p'
)
SELECT nspname::text, relname::text FROM family JOIN pg_class c ON c.oid = id JOIN pg_namespace n ON n.oid = relnamespace
ORDER BY c.oid";

/// The tables that need an index for a slow plan: for a table with heirs, those that the plan
/// scans.
async fn to_index(client: &Client, table: &str, steps: &[Step]) -> Result<Vec<String>, Failure> {
    let found = client.query_typed(FAMILY, &[(&table, Type::TEXT)]).await?;
    let family: Vec<String> = found.iter().map(|row| catalogue::sql_name(row.get(0), row.get(1))).collect();
    let scanned = |one: &&String| steps.iter().any(|step| step.kind == SEQ_SCAN && step.table == **one);
    let without: Vec<String> = family.iter().filter(scanned).cloned().collect();
    Ok(if without.is_empty() { vec![table.to_owned()] } else { without })
}

const SEQ_SCAN: &str = "Seq Scan";

/// A node of a plan.
struct Step {
    kind: String,
    alias: String,
    /// The table that it reads, as SQL.
    table: String,
}

impl Step {
    /// Whether it scans a table, or an heir or partition of it, whose alias has a number.
    fn looks_through(&self, alias: &str) -> bool {
        let is_number = |rest: &str| rest.strip_prefix('_').is_some_and(|number| number.parse::<u32>().is_ok());
        let is_named = self.alias.strip_prefix(alias).is_some_and(|rest| rest.is_empty() || is_number(rest));
        self.kind == SEQ_SCAN && is_named
    }
}

async fn plan_of_relation(client: &Client, relation: &Relation) -> Result<Vec<Step>, Failure> {
    let wanted = Wanted { order: String::new(), ..Wanted::rows(&DIALECT, relation) };
    if relation.whole {
        let ends = [0, 0].map(|key| (Param::value(Value::Integer(key)), Type::UNKNOWN));
        explain(client, &wanted.by(rows::BETWEEN), ends.into()).await
    } else {
        let none = Param::array(std::iter::empty());
        explain(client, &rows::joined(relation, &wanted), vec![(none, Type::UNKNOWN)]).await
    }
}

async fn explain(client: &Client, sql: &str, params: Vec<(Param, Type)>) -> Result<Vec<Step>, Failure> {
    let mut steps = vec![];
    let params: Vec<(&(dyn tokio_postgres::types::ToSql + Sync), Type)> =
        params.iter().map(|(param, kind)| (param as _, kind.clone())).collect();
    for row in client.query_typed(&format!("EXPLAIN (VERBOSE, FORMAT JSON) {sql}"), &params).await? {
        let mut held = ValueBuffer::new(1);
        rows::push(&row, &mut vec![], &mut held)?;
        if let Value::Json(text) | Value::Text(text) = held.value(held.slots[0])
            && let Ok(plan) = serde_json::from_slice::<serde_json::Value>(text)
        {
            walk(&plan, &mut steps);
        }
    }
    Ok(steps)
}

fn walk(node: &serde_json::Value, steps: &mut Vec<Step>) {
    match node {
        serde_json::Value::Array(all) => all.iter().for_each(|node| walk(node, steps)),
        serde_json::Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
            if members.contains_key("Node Type") {
                let table = catalogue::sql_name(&text("Schema"), &text("Relation Name"));
                steps.push(Step { kind: text("Node Type"), alias: text("Alias"), table });
            }
            ["Plan", "Plans"].iter().filter_map(|name| members.get(*name)).for_each(|node| walk(node, steps));
        }
        _ => {}
    }
}
