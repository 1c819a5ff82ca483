//! Complaints about what is slow or doubtful in a resource, with remedies, in the same words for
//! every database.

use super::{
    keyset::KeyColumn,
    plan::{FilterColumn, Output, Plan, Relation},
};
use crate::source::Complaint;

/// Complaints that the plan alone shows: a doubtful order, and guesses about its columns.
pub(in crate::source) fn of_plan(plan: &Plan) -> Vec<Complaint> {
    nullable_order(plan).chain(unindexed_pointed(plan)).chain(plan.guesses.iter().cloned()).collect()
}

/// The configuration's key for conditions on related rows.
pub(in crate::source) fn conditions_at(plan: &Plan) -> &'static str {
    let is_open = |column: &FilterColumn| column.pointed.is_some();
    if plan.filter_columns[..plan.open].iter().any(is_open) { "filters" } else { "scope" }
}

/// Columns of related rows that conditions are on, where no index finds the rows that point there.
fn unindexed_pointed(plan: &Plan) -> impl Iterator<Item = Complaint> {
    let columns = plan.filters.iter().zip(&plan.filter_columns).enumerate();
    columns.filter_map(|(index, (filter, column))| {
        let row = column.pointed.as_ref().filter(|row| !row.is_indexed)?;
        let name = &filter.column;
        let at = if index < plan.open { "filters".to_owned() } else { format!("scope.{name}") };
        let tables = std::slice::from_ref(&plan.table);
        Some(Complaint::new(
            at,
            format!("no index begins with `{}`: a condition on `{name}` may look through all of the table", row.via),
            indexes(plan, tables, &row.via, &plan.dialect.quote(&row.via)),
        ))
    })
}

/// Columns of the order that can be NULL, without those of the table's own key.
fn nullable_order(plan: &Plan) -> impl Iterator<Item = Complaint> {
    let (first, last) =
        if plan.dialect.null_is_greatest { ("descending", "ascending") } else { ("ascending", "descending") };
    let doubtful = |column: &KeyColumn| column.nullable && !plan.is_view;
    let named = plan.order.iter().zip(&plan.order_names).take(plan.order_named);
    named.filter(move |(column, _)| doubtful(column)).map(move |(_, name)| {
        Complaint::new(
            "order",
            format!("column `{}` of the order can be NULL", name.trim_start_matches('-')),
            format!("rows with NULL come first when {first} and last when {last}; declare it NOT NULL if it never is"),
        )
    })
}

/// An order that no index has; `tables` are those that need one.
pub(in crate::source) fn unindexed_order(plan: &Plan, tables: &[String]) -> Complaint {
    let columns: Vec<String> = plan
        .order
        .iter()
        .map(|column| {
            let name = column.sql.strip_prefix(&format!("{}.", plan.table)).unwrap_or(&column.sql);
            format!("{name}{}", if column.descending { " DESC" } else { "" })
        })
        .collect();
    let message =
        format!("no index gives the order {}: every chunk sorts the whole table", plan.order_names.join(", "));
    let remedy = if plan.is_view {
        "order by what an index of the tables behind the view gives, or make a table of it".to_owned()
    } else {
        indexes(plan, tables, "order", &columns.join(", "))
    };

    Complaint::new("order", message, remedy)
}

/// A related list whose rows are found by a scan of each of these tables.
pub(in crate::source) fn unindexed_relation(plan: &Plan, relation: usize, tables: &[String]) -> Complaint {
    let at = relation_key(plan, relation);
    let relation = &plan.relations[relation];
    let quote = |name: &str| plan.dialect.quote(name);
    let (on, columns) = match &relation.join {
        Some(join) => (&join.on, format!("{}, {}", quote(&join.on), quote(&join.to))),
        None => (&relation.column, quote(&relation.column)),
    };
    Complaint::new(
        at,
        format!("no index finds the related rows: every chunk looks through all of {}", tables.join(", ")),
        indexes(plan, tables, on, &columns),
    )
}

/// The table in which a relation's rows are looked up.
pub(in crate::source) fn looked_up(relation: &Relation) -> &String {
    relation.join.as_ref().map_or(&relation.table, |join| &join.table)
}

/// The configuration's key for a relation.
pub(in crate::source) fn relation_key(plan: &Plan, relation: usize) -> String {
    let column = plan.outputs.iter().position(|output| *output == Output::Relation(relation));
    column.map_or("fields".to_owned(), |column| format!("fields.{}", plan.columns[column].name))
}

/// SQL that creates an index on each of these tables; their names are SQL already.
fn indexes(plan: &Plan, tables: &[String], what: &str, columns: &str) -> String {
    let index = |table: &String| format!("CREATE INDEX {} ON {table} ({columns})", index_name(plan, table, what));
    tables.iter().map(index).collect::<Vec<_>>().join("; ")
}

/// The name of an index on a table whose name is SQL already.
fn index_name(plan: &Plan, table: &str, what: &str) -> String {
    let quote = plan.dialect.quote;
    let bare = table.trim_end_matches(quote);
    let bare = bare.rsplit_once(quote).map_or(bare, |(_, name)| name);
    plan.dialect.quote(&format!("{bare}_{what}"))
}
