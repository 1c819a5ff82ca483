//! What the source of a table says of changes.

use super::{
    catalogue::{Catalogue, Table, TableColumn},
    definition::{Identity, tables},
    places::Typing,
    plan::Plan,
};
use crate::source::{
    Operand, ValueType,
    touch::{FilterRule, KeyKind, KeyRule, OrderRule, Texts, TouchRules},
};

/// The rules of a plan. `None` if the table has no key that is part of the order: then every change
/// touches every chunk.
pub(in crate::source) fn rules(
    plan: &Plan,
    declared_key: &[String],
    catalogue: &Catalogue,
    identity: &Identity,
    typing: Typing,
) -> Option<TouchRules> {
    let table = catalogue.tables.iter().find(|table| table.sql == plan.table)?;
    let columns: Vec<&TableColumn> = plan
        .order_names
        .iter()
        .map(|name| table.column(name.trim_start_matches('-'), "").ok())
        .collect::<Option<_>>()?;

    let named = if table.key.is_empty() { declared_key } else { &table.key };
    let key_rule = |name: &String| {
        let at = columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))?;
        Some(KeyRule { column: columns[at].name.clone(), at, kind: key_kind(columns[at], typing) })
    };
    let key: Vec<KeyRule> = named.iter().map(key_rule).collect::<Option<_>>()?;
    if key.is_empty() {
        return None;
    }

    let order = columns.iter().zip(&plan.order).map(|(column, by)| {
        let is_plain = by.sql == plan.dialect.column(&plan.table, &column.name);
        OrderRule {
            column: column.name.clone(),
            texts: if is_plain { texts(column, typing) } else { Texts::Unknown },
            descending: by.descending,
            null_is_greatest: plan.dialect.null_is_greatest,
        }
    });

    let filters = plan.filters.iter().filter_map(|filter| {
        let column = table.column(&filter.column, "").ok()?;
        Some(FilterRule {
            column: column.name.clone(),
            operand: filter.operand,
            texts: texts(column, typing),
            has_exact_texts: column.has_exact_texts,
        })
    });

    let read = tables(plan, catalogue).into_iter();
    let named = catalogue.tables.iter().filter(|other| is_in_condition(plan, other));
    let others = read.chain(named).filter(|other| other.sql != table.sql);
    Some(TouchRules {
        database: identity.database(),
        table: names(table),
        key,
        order: order.collect(),
        filters: filters.collect(),
        others: others.flat_map(names).collect(),
        reads_any: plan.is_view || catalogue.tables.iter().any(|other| other.is_view && reads_view(plan, other)),
    })
}

fn names(table: &Table) -> Vec<String> {
    let mut names = vec![table.name.clone(), table.full_name.clone()];
    // The name without its schema, by which models know it.
    names.extend(table.full_name.rsplit('.').next().map(str::to_owned));
    names.dedup();
    names
}

/// Whether the operator's condition may read this table: its name occurs there as a word.
fn is_in_condition(plan: &Plan, table: &Table) -> bool {
    let Some(condition) = &plan.condition else { return false };
    let name = table.full_name.rsplit('.').next().unwrap_or(&table.name).to_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let condition = condition.to_lowercase();
    condition
        .match_indices(&name)
        .any(|(at, _)| !condition[..at].ends_with(is_word) && !condition[at + name.len()..].starts_with(is_word))
}

/// Whether a plan reads this view.
fn reads_view(plan: &Plan, view: &Table) -> bool {
    plan.relations
        .iter()
        .any(|relation| relation.table == view.sql || relation.join.as_ref().is_some_and(|join| join.table == view.sql))
        || plan.selects.iter().any(|select| select.sql.contains(&format!("FROM {}", view.sql)))
        || is_in_condition(plan, view)
}

fn key_kind(column: &TableColumn, typing: Typing) -> KeyKind {
    let holds = column.holds.filter(|holds| !holds.is_array).map(|holds| holds.holds);
    match (typing, column.operand, holds) {
        _ if column.whole => KeyKind::Integer,
        (Typing::Strict, Some(Operand::Text), Some(ValueType::Uuid)) => KeyKind::Uuid,
        (_, Some(Operand::Text), _) if column.has_exact_texts => KeyKind::Text,
        _ => KeyKind::Other,
    }
}

fn texts(column: &TableColumn, typing: Typing) -> Texts {
    let holds = column.holds.filter(|holds| !holds.is_array).map(|holds| holds.holds);
    match (typing, holds) {
        _ if column.has_ordered_bytes => Texts::Bytes,
        (Typing::Strict, Some(ValueType::Uuid)) => Texts::Bytes,
        (Typing::Strict | Typing::Coerced, Some(ValueType::Date | ValueType::DateTime)) => Texts::Moments,
        _ => Texts::Unknown,
    }
}
