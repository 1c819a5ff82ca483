//! The style of columns' values: `values`, `as`, `decimals`, `labels` and `base`.

use super::read::{Entry, Section};
use crate::{
    source::{ColumnSpec, Style, ValueType, Values},
    suggest,
};

/// Keys for a single column, not for a relation with several.
const OF_A_COLUMN: [&str; 4] = ["as", "decimals", "labels", "base"];

/// `values = "django"`, or with its settings `values = { framework = "django", use_tz = false }`.
pub(super) fn values(section: &mut Section<'_, '_>) -> Option<Values> {
    if !section.is_table("values") {
        let name = section.string("values")?;
        return named(section, "values", &name);
    }

    let mut table = section.section("values")?;
    let name = table.required("framework", "name one, for instance framework = \"django\"");
    let values = if name.is_empty() { None } else { named(&table, "framework", &name) };
    let has_setting = table.has("use_tz");
    let use_tz = table.boolean("use_tz");
    let values = match values {
        Some(Values::Django { .. }) => Some(Values::Django { use_tz: use_tz.unwrap_or(true) }),
        Some(Values::Database) if has_setting => {
            table.complain(
                "use_tz",
                "`use_tz` is a setting of Django",
                "leave it out, or write framework = \"django\"",
            );
            None
        }
        other => other,
    };

    table.finish();
    values
}

fn named(section: &Section<'_, '_>, key: &str, name: &str) -> Option<Values> {
    let values = Values::named(name);
    if values.is_none() {
        let remedy = suggest::remedy("values", name, Values::NAMES);
        section.complain(key, format!("there are no values as `{}` writes them", section.written(key)), remedy);
    }
    values
}

/// The style of a column's values.
pub(super) fn style(section: &mut Section<'_, '_>) -> Style {
    let holds = holds(section);
    let decimals = section.integer("decimals", 0..=Style::MOST_DECIMALS.into()).map(|decimals| decimals as u8);
    let labels = section.section("labels").map(labels).unwrap_or_default();
    let base = section.filled("base", "write what paths are relative to, for instance base = \"/media/\"");
    if decimals.is_some() && holds.is_some_and(|holds| holds != ValueType::Decimal) {
        let remedy = "leave `decimals` out, or write as = \"decimal\"";
        section.complain("decimals", "`decimals` is of decimal numbers", remedy);
    }
    let others: Vec<&str> = OF_A_COLUMN.into_iter().filter(|key| *key != "base" && section.has(key)).collect();
    if let Some(other) = others.first().filter(|_| section.has("base")) {
        let message = format!("`base` and `{other}` exclude each other");
        section.complain("base", message, "keep `base` for paths of files, or leave it out");
    }
    Style { values: values(section), holds, decimals, labels, base }
}

fn holds(section: &mut Section<'_, '_>) -> Option<ValueType> {
    let name = section.string("as")?;
    let holds = ValueType::named(&name);
    if holds.is_none() {
        let remedy = suggest::remedy("types", &name, &ValueType::names());
        section.complain("as", format!("there is no type `{}`", section.written("as")), remedy);
    }
    holds
}

fn labels(mut section: Section<'_, '_>) -> Vec<(String, String)> {
    if section.keys().is_empty() {
        let remedy = "write labels = { p = \"Published\" }, or take `labels` out";
        section.complain("", "`labels` is empty", remedy);
    }
    let mut labels = vec![];
    for value in section.keys() {
        labels.extend(section.string(&value).map(|label| (value, label)));
    }
    section.finish();
    labels
}

/// `columns = ["id", { column = "price", decimals = 2 }]`
pub(super) fn columns(section: &mut Section<'_, '_>) -> Option<Vec<ColumnSpec>> {
    let mut columns = vec![];
    for entry in section.entries("columns")? {
        columns.push(match entry {
            Entry::Text(name) => name.into(),
            Entry::Table(mut table) => {
                let name = table.required("column", "name the column, for instance column = \"price\"");
                let style = style(&mut table);
                table.finish();
                ColumnSpec { name, style }
            }
        });
    }
    Some(columns)
}

/// Complains about keys for a single column beside several columns.
pub(super) fn refuse_of_several(section: &mut Section<'_, '_>) {
    let wrong: Vec<&str> = OF_A_COLUMN.into_iter().filter(|key| section.has(key)).collect();
    for key in wrong {
        let message = format!("`{key}` is of one column, and this relation has several");
        section.refuse(key, message, "write it with its column: columns = [{ column = \"…\", … }]");
    }
}
