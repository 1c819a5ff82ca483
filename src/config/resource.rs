//! `[resources.NAME]`

use std::time::Duration;

use super::{
    access::access,
    read::Section,
    style::{columns, refuse_of_several, style, values},
};
use crate::{
    boundary::Sizes,
    format::Envelope,
    paths,
    resource::{Access, Case, ResourceOptions},
    secret::Secret,
    source::{ColumnSpec, Complaint, FieldSpec, OrderBy, Related, Spec, TableInfo},
    suggest,
};

/// A resource in the configuration.
#[derive(Clone, Debug)]
pub struct ResourceConfig {
    /// Its name, which is also its path.
    pub name: String,
    /// The name of its table's database.
    pub database: String,
    /// What it reads from the table.
    pub spec: Spec,
    /// The other orders that requests may ask for.
    orders: Vec<Vec<OrderBy>>,
    ttl: Duration,
    stale: Duration,
    sizes: Sizes,
    count: bool,
    envelope: Envelope,
    case: Case,
    compress: bool,
    access: Access,
}

impl ResourceConfig {
    pub(super) fn options(&self, secret: Option<Secret>) -> ResourceOptions {
        ResourceOptions {
            fields: None,
            ttl: self.ttl,
            stale: self.stale,
            sizes: self.sizes,
            count: self.count,
            envelope: self.envelope.clone(),
            case: self.case,
            compress: self.compress,
            secret,
            database: self.database.clone(),
            access: self.access.clone(),
        }
    }

    /// Its order, as requests name it; empty if the configuration says none.
    pub(super) fn order(&self) -> String {
        text_of(&self.spec.order)
    }

    /// The other orders that requests may ask for: as they name it, and what it reads then.
    pub(super) fn others(&self) -> impl Iterator<Item = (String, Spec)> {
        self.orders.iter().map(|order| (text_of(order), Spec { order: order.clone(), ..self.spec.clone() }))
    }

    /// The key by which it asks who a request is from, if one does.
    pub(super) fn asks_who_at(&self) -> Option<&'static str> {
        let access = &self.access;
        let keys = [
            ("scope", access.scope_columns().next().is_some()),
            ("rls", access.has_row_security()),
            ("hidden_unless", access.hidden_fields().next().is_some()),
            ("require", access.has_requirements()),
            ("access", access.asks_who()),
        ];
        keys.into_iter().find_map(|(key, asks)| asks.then_some(key))
    }

    /// Makes it a list for those who say who they are.
    pub(super) fn close(&mut self) {
        self.access = std::mem::take(&mut self.access).for_known();
    }

    /// Complaints about columns of the order that rows do not show but cursors do, if there is no
    /// secret.
    pub(super) fn hidden_order(&self, order: &[String], tables: &[TableInfo]) -> Vec<Complaint> {
        let Some(fields) = &self.spec.fields else { return vec![] };
        let is_shown = |name: &str| {
            let shows =
                |column: &ColumnSpec| column.name.eq_ignore_ascii_case(name) && column.style.tells_values_apart();
            fields.iter().any(|(_, field)| matches!(field, FieldSpec::Column(column) if shows(column)))
        };

        // SQLite's rowid is no column, and tells only where the row is stored.
        let table = tables.iter().find(|table| table.name == self.spec.table);
        let is_column = |name: &str| table.is_none_or(|table| table.columns.iter().any(|(column, _)| column == name));

        let names = order.iter().map(|name| name.strip_prefix('-').unwrap_or(name));
        let hidden = names.filter(|name| is_column(name) && !is_shown(name));
        let complaint = |name| {
            Complaint::new(
                "order",
                format!("column `{name}` orders the list and is not among its fields, but cursors hold its values"),
                "set `secret` in [server], which encrypts them (`openssl rand -base64 32` makes one), or add the column to the fields",
            )
        };

        hidden.map(complaint).collect()
    }
}

pub(super) fn read_all(mut section: Section<'_, '_>) -> Vec<ResourceConfig> {
    let mut resources = vec![];
    for name in section.keys() {
        resources.extend(section.section(&name).map(|section| read(name, section)));
    }
    section.finish();
    resources
}

fn read(name: String, mut section: Section<'_, '_>) -> ResourceConfig {
    let usual = ResourceOptions::default();
    let order = section.strings("order").unwrap_or_default();
    if paths::are_taken_by(&name) {
        section.complain("", format!("`/{name}` is the server's own"), "give the resource another name");
    }

    let access = access(&mut section);
    let orders = orders(&mut section);
    let count = section.boolean("count").unwrap_or(usual.count);
    let envelope = envelope(&mut section, count);
    let resource = ResourceConfig {
        orders,
        database: section.required("database", "name one of [databases], for instance database = \"main\""),
        spec: Spec {
            table: section.required("table", "name the table or view, for instance table = \"tricks_trick\""),
            condition: section.filled("where", "write a condition, or take `where` out to serve every row"),
            order: order.iter().map(|text| OrderBy::parse(text)).collect(),
            key: section.strings("key").unwrap_or_default(),
            fields: section.section("fields").map(fields),
            filters: section.strings("filters"),
            values: values(&mut section).unwrap_or_default(),
            fails_when_too_large: fails_when_too_large(&mut section),
            is_discreet: section.is_filled("where"),
            has_row_security: section.has("rls"),
            scope: access.scope_columns().map(str::to_owned).collect(),
            ..Spec::default()
        },
        ttl: section.duration("ttl").unwrap_or(usual.ttl),
        stale: section.duration("stale").unwrap_or(usual.stale),
        sizes: Sizes {
            rows: section.integer("chunk_rows", 1..=100_000).map_or(usual.sizes.rows, |rows| rows as u32),
            bytes: section
                .size_up_to("chunk_bytes", 1 << 20, "1MiB")
                .map_or(usual.sizes.bytes, |bytes| bytes.max(1) as u32),
        },
        count,
        envelope,
        case: case(&mut section),
        compress: section.boolean("compress").unwrap_or(usual.compress),
        access,
        name,
    };

    section.finish();
    resource
}

/// An order, as requests name it.
fn text_of(order: &[OrderBy]) -> String {
    order.iter().map(OrderBy::text).collect::<Vec<_>>().join(",")
}

/// The other orders, each a text of columns between commas.
fn orders(section: &mut Section<'_, '_>) -> Vec<Vec<OrderBy>> {
    let texts = section.strings("orders").unwrap_or_default();
    let mut orders: Vec<Vec<OrderBy>> = vec![];
    for text in &texts {
        let order: Vec<OrderBy> = text.split(',').map(|column| OrderBy::parse(column.trim())).collect();
        let wrong = match () {
            () if order.iter().any(|by| by.column.is_empty()) => "has an empty name",
            () if orders.contains(&order) => "stands twice",
            () => {
                orders.push(order);
                continue;
            }
        };
        section.complain(
            "orders",
            format!("the order `{text}` {wrong}"),
            "write orders = [\"-created\", \"title,-id\"]",
        );
    }
    orders
}

/// `envelope = "data"`; `envelope = false` or `"none"` for an array.
fn envelope(section: &mut Section<'_, '_>, count: bool) -> Envelope {
    let name = match section.is_boolean("envelope") {
        true if section.boolean("envelope") == Some(true) => {
            section.complain("envelope", "`envelope` is a name or false", "write envelope = \"results\"");
            return Envelope::default();
        }
        true => "none".to_owned(),
        false => match section.string("envelope") {
            Some(name) => name,
            None => return Envelope::default(),
        },
    };

    if name.is_empty() {
        let remedy = "name the member that holds the rows, or write envelope = false for an array";
        section.complain("envelope", "`envelope` is empty", remedy);
    }
    let envelope = if name == "none" { Envelope::None } else { Envelope::Member(name) };
    if count && !envelope.can_count() {
        let message = "the envelope of a counted list has no place for the number of its rows";
        section.complain("envelope", message, "take `count` out, or name another envelope");
        return Envelope::default();
    }
    envelope
}

/// `case = "camel"`
fn case(section: &mut Section<'_, '_>) -> Case {
    let Some(name) = section.string("case") else { return Case::default() };
    Case::named(&name).unwrap_or_else(|| {
        let message = format!("there is no case `{}`", section.written("case"));
        section.complain("case", message, suggest::remedy("cases", &name, Case::NAMES));
        Case::default()
    })
}

/// Whether a value that is too large fails the list.
fn fails_when_too_large(section: &mut Section<'_, '_>) -> bool {
    match section.string("too_large").as_deref() {
        None | Some("null") => false,
        Some("fail") => true,
        Some(_) => {
            let message = format!("there is no too_large `{}`", section.written("too_large"));
            section.complain("too_large", message, "write \"null\" or \"fail\"");
            false
        }
    }
}

fn fields(mut section: Section<'_, '_>) -> Vec<(String, FieldSpec)> {
    let mut fields = vec![];
    if section.keys().is_empty() {
        section.complain("", "`fields` is empty", "name fields, or take `fields` out to show every column");
    }
    for name in section.keys() {
        let field = if section.is_table(&name) {
            section.section(&name).and_then(|table| field(&name, table))
        } else {
            section.string(&name).map(|column| FieldSpec::Column(column.into()))
        };
        fields.extend(field.map(|field| (name, field)));
    }
    section.finish();
    fields
}

fn field(name: &str, mut section: Section<'_, '_>) -> Option<FieldSpec> {
    let kinds = ["link", "cursor", "via", "through", "from"];
    let named: Vec<&str> = kinds.into_iter().filter(|kind| section.has(kind)).collect();
    let field = match named[..] {
        [] if section.has("column") => {
            FieldSpec::Column(ColumnSpec { name: section.string("column")?, style: style(&mut section) })
        }
        ["link"] => FieldSpec::Link(section.string("link")?),
        ["cursor"] if section.boolean("cursor") == Some(true) => FieldSpec::Cursor,
        ["via"] => FieldSpec::Via { via: section.string("via")?, related: related(&mut section, None, false) },
        ["through"] => FieldSpec::Through {
            through: section.string("through")?,
            on: section.string("on"),
            to: section.string("to"),
            related: related(&mut section, None, true),
        },
        ["from"] => {
            let table = section.string("from")?;
            FieldSpec::From { on: section.string("on"), related: related(&mut section, Some(table), true) }
        }
        _ => {
            let remedy = "write { link = \"/path/{column}/\" }, { cursor = true }, { column = \"column\", … }, { via = \"column\", … }, { through = \"join table\", … } or { from = \"table\", … }";
            section.complain("", format!("field `{name}` must be of one kind"), remedy);
            return None;
        }
    };

    section.finish();
    Some(field)
}

/// The columns of a relation; `table` is set if another key has named the table already.
fn related(section: &mut Section<'_, '_>, table: Option<String>, list: bool) -> Related {
    let table = match table {
        Some(table) => Some(table),
        None => section.string("table"),
    };

    let one = section.string("column");
    let several = columns(section);
    if one.is_some() && several.is_some() {
        section.complain(
            "columns",
            "`column` and `columns` exclude each other",
            "keep `column` for bare values, or `columns` for objects",
        );
    }

    let object = several.is_some();
    let columns = match several {
        Some(mut columns) => {
            refuse_of_several(section);
            let around = values(section);
            columns.iter_mut().for_each(|column| column.style.values = column.style.values.or(around));
            columns
        }
        None => {
            let style = style(section);
            one.map(|name| ColumnSpec { name, style }).into_iter().collect()
        }
    };

    let order = if list { section.strings("order").unwrap_or_default() } else { vec![] };
    Related { table, object, columns, order: order.iter().map(|text| OrderBy::parse(text)).collect() }
}
