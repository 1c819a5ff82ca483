//! Complaints about what is slow or doubtful in a resource, with remedies, in the same words for
//! every database.

use super::{
    keyset::KeyColumn,
    plan::{FilterColumn, Output, Plan, Relation},
};
use crate::source::Complaint;

/// Complaints that the plan alone shows: a doubtful order, and guesses about its columns.
pub(in crate::source) fn of_plan(plan: &Plan) -> Vec<Complaint> {
    let conditions = unindexed_pointed(plan).chain(unindexed_scope(plan));
    nullable_order(plan).chain(conditions).chain(plan.guesses.iter().cloned()).collect()
}

/// The configuration's key for conditions on related rows.
pub(in crate::source) fn conditions_at(plan: &Plan) -> &'static str {
    let is_open = |column: &FilterColumn| column.pointed.is_some();
    if plan.filter_columns[..plan.open].iter().any(is_open) { "filters" } else { "scope" }
}

/// Columns of related rows that conditions are on, where an index could find the rows that point
/// there and there is none.
fn unindexed_pointed(plan: &Plan) -> impl Iterator<Item = Complaint> {
    let columns = plan.filters.iter().zip(&plan.filter_columns).enumerate();
    columns.filter_map(|(index, (filter, column))| {
        let row = column.pointed.as_ref().filter(|row| row.exists.is_some() && !row.is_indexed)?;
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

/// A scope on columns of the table, none of which begins an index.
fn unindexed_scope(plan: &Plan) -> Option<Complaint> {
    let (first, _) = plan.own_scope().next()?;
    if plan.own_scope().any(|(_, column)| column.is_indexed) {
        return None;
    }

    let name = &first.column;
    Some(Complaint::new(
        "scope",
        format!(
            "no index begins with the scope's column `{name}`: each chunk looks through the rows of all others too"
        ),
        indexes(plan, std::slice::from_ref(&plan.table), "scope", &scope_columns(plan).join(", ")),
    ))
}

/// A scope of which an index finds the rows, but not in the list's order.
pub(in crate::source) fn unsorted_scope(plan: &Plan) -> Complaint {
    let message = "no index has the scope's columns and then the order: each chunk sorts all rows of the scope";
    let columns = scope_columns(plan).join(", ");
    Complaint::new("scope", message, indexes(plan, std::slice::from_ref(&plan.table), "scope", &columns))
}

/// The columns of an index that has the scope's rows in the list's order, as SQL.
fn scope_columns(plan: &Plan) -> Vec<String> {
    let mut columns: Vec<String> = plan.own_scope().map(|(_, column)| bare(plan, &column.sql).to_owned()).collect();
    for column in ordered(plan) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// A column of the table as SQL, without the table's name.
fn bare<'a>(plan: &Plan, sql: &'a str) -> &'a str {
    sql.strip_prefix(&format!("{}.", plan.table)).unwrap_or(sql)
}

/// The columns of the order, as an index has them.
fn ordered(plan: &Plan) -> Vec<String> {
    let column =
        |column: &KeyColumn| format!("{}{}", bare(plan, &column.sql), if column.descending { " DESC" } else { "" });
    plan.order.iter().map(column).collect()
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
    let columns = ordered(plan);
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
