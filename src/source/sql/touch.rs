//! What the source of a table says of changes.

use super::{
    catalogue::{Catalogue, Table, TableColumn},
    definition::Identity,
    places::Typing,
    plan::{Plan, PointedRow},
};
use crate::source::{
    Filter, Operand, ValueType,
    touch::{
        FilterRule, KeyKind, KeyRule, OrderRule, PointedRule, PointingRule, RelatedRule, RelatedTable, Texts, ToldRule,
        TouchRules,
    },
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
        // The database tells apart what the column calls equal: a told key may find several rows.
        if columns[at].as_in_key.is_some() {
            return None;
        }
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

    let own = plan.filters.iter().zip(&plan.filter_columns).filter(|(_, column)| column.pointed.is_none());
    let filters = own.filter_map(|(filter, _)| filter_rule(filter, table.column(&filter.column, "").ok()?, typing));

    let mut others: Vec<String> = vec![];
    let named = catalogue.tables.iter().filter(|other| other.sql != table.sql && is_in_condition(plan, other));
    others.extend(named.flat_map(names));
    // A condition that reads the table itself: a change of one row may let others in.
    let has_query = plan.condition.as_ref().is_some_and(|condition| condition.to_lowercase().contains("select"));
    if has_query && is_in_condition(plan, table) {
        others.extend(names(table));
    }

    let pointed = plan.filters.iter().zip(&plan.filter_columns).filter_map(|(filter, column)| {
        let row = column.pointed.as_ref()?;
        let table = catalogue.tables.iter().find(|other| other.sql == row.table).unwrap_or(table);
        let told = told_rule(filter, row, table, typing);
        Some(PointedRule { column: filter.column.clone(), names: names(table), told })
    });

    let related = related(plan, table, catalogue, typing, &mut others);
    Some(TouchRules {
        database: identity.database().into(),
        settle: identity.settle,
        table: names(table),
        key,
        order: order.collect(),
        filters: filters.collect(),
        pointed: pointed.collect(),
        related,
        others,
        reads_any: plan.is_view || catalogue.tables.iter().any(|other| other.is_view && reads_view(plan, other)),
        asks_later: false,
    })
}

/// The rule of a column that conditions are on; `None` if the database compares it with other values
/// than the request has.
fn filter_rule(filter: &Filter, column: &TableColumn, typing: Typing) -> Option<FilterRule> {
    let rule = FilterRule {
        column: filter.column.clone(),
        operand: filter.operand,
        texts: texts(column, typing),
        has_exact_texts: column.has_exact_texts,
    };
    (!rewrites_numbers(column, typing)).then_some(rule)
}

/// The rule of told values of a related row's column. `None` unless rows point there by its key: by
/// another column they may point to several rows, or to another than before.
fn told_rule(filter: &Filter, row: &PointedRow, table: &Table, typing: Typing) -> Option<ToldRule> {
    let to = row.to.as_ref()?;
    if table.key.len() != 1 || table.key[0] != *to {
        return None;
    }
    let column = table.column(&row.column, "").ok()?;
    let filter = filter_rule(filter, column, typing)?;
    Some(ToldRule { name: column.name.clone(), key: to.clone(), kind: key_kind(column, typing), filter })
}

/// The rules of the relations, in the order in which their keys are hashed. The names of tables
/// that cannot be followed are added to `others`.
fn related(
    plan: &Plan,
    own: &Table,
    catalogue: &Catalogue,
    typing: Typing,
    others: &mut Vec<String>,
) -> Vec<RelatedRule> {
    let by_sql = |sql: &str| catalogue.tables.iter().find(|table| table.sql == sql);
    let mut rules = vec![];
    for one in &plan.ones {
        let table = by_sql(&one.table).unwrap_or(own);
        let to = known_kind(table, &one.to, typing);
        let via = known_kind(own, &one.via, typing);
        let is_followed = table.key.len() == 1 && table.key[0] == one.to && to.is_some() && to == via;
        if !is_followed {
            others.extend(names(table));
        }
        rules.push(RelatedRule { table: related_table(table, typing), pointing: None });
    }

    for relation in &plan.relations {
        let table = by_sql(&relation.table).unwrap_or(own);
        let join = relation.join.as_ref().map(|join| by_sql(&join.table).unwrap_or(own));
        let kind = key_kind(&relation.parent_column, typing);
        let is_followed = relation.hidden > 0
            && kind != KeyKind::Other
            && kind == key_kind(&relation.pointing_column, typing)
            && related_table(table, typing).key.iter().all(|(_, kind)| *kind != KeyKind::Other);
        if !is_followed {
            others.extend(names(table));
            others.extend(join.into_iter().flat_map(names));
        }
        let pointing = PointingRule {
            join: join.map(|join| related_table(join, typing)),
            column: relation.pointing_column.name.clone(),
            kind,
        };
        rules.push(RelatedRule { table: related_table(table, typing), pointing: Some(pointing) });
    }

    rules
}

/// How told texts of a column become values, if that is known here.
fn known_kind(table: &Table, column: &str, typing: Typing) -> Option<KeyKind> {
    let column = table.column(column, "").ok()?;
    Some(key_kind(column, typing)).filter(|kind| *kind != KeyKind::Other)
}

fn related_table(table: &Table, typing: Typing) -> RelatedTable {
    let kind = |name: &String| table.column(name, "").map_or(KeyKind::Other, |column| key_kind(column, typing));
    RelatedTable {
        names: names(table),
        name: table.sql.clone(),
        key: table.key.iter().map(|name| (name.clone(), kind(name))).collect(),
    }
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
        || plan.filter_columns.iter().any(|column| column.pointed.as_ref().is_some_and(|row| row.table == view.sql))
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

/// Whether the database compares a column with another number than the request has: MySQL reads a
/// year of two digits as one of this century or the last, and rounds to what its decimals have room
/// for beside the column's whole digits.
fn rewrites_numbers(column: &TableColumn, typing: Typing) -> bool {
    let decimals = || column.bind.strip_prefix("CAST(? AS DECIMAL(65,")?.trim_end_matches(')').parse::<u8>().ok();
    match (typing, column.operand) {
        (Typing::Coerced, Some(Operand::Integer)) => !column.whole,
        (Typing::Coerced, Some(Operand::Number)) => decimals().is_some_and(|decimals| decimals < 15),
        _ => false,
    }
}

fn texts(column: &TableColumn, typing: Typing) -> Texts {
    let holds = column.holds.filter(|holds| !holds.is_array).map(|holds| holds.holds);
    match (typing, holds) {
        _ if column.has_ordered_bytes => Texts::Bytes,
        (Typing::Strict, Some(ValueType::Uuid)) => Texts::Uuids,
        (Typing::Strict | Typing::Coerced, Some(ValueType::Date | ValueType::DateTime)) => Texts::Moments,
        _ => Texts::Unknown,
    }
}
