//! The definition of a list: everything in the configuration, the catalogue and the session that
//! shapes or orders its rows. Chunks are kept under it, and a read that finds another definition
//! fails.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{
    catalogue::{Catalogue, Table},
    keyset::KeyColumn,
    plan::{FilterColumn, Output, Plan, Relation, Select},
};
use crate::{
    canonical::Canonical,
    error::{Error, Kind},
    row::Shape,
    source::{Complaint, DatabaseOptions, Filter, KnownBy, Operand, RowBounds},
};

/// What a database tells about itself and about a source's session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Told {
    /// The database's own identity, which its standbys share; `None` if it has none that this user
    /// may read.
    pub(in crate::source) own: Option<String>,
    /// Its address, without user and password.
    pub(in crate::source) address: String,
    /// Whether `own` identifies the server, so that standbys have others.
    pub(in crate::source) own_is_the_servers: bool,
    /// The database's name at that address.
    pub(in crate::source) name: String,
    /// The user, as the database sees it.
    pub(in crate::source) user: String,
    /// Other parts of the URL that reach the session.
    pub(in crate::source) session: Vec<String>,
}

/// The identity of a database and its reader, for keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Identity {
    bytes: Vec<u8>,
    /// Of the database alone, without its reader.
    database: [String; 2],
    /// After how long it shows what was told.
    pub(in crate::source) settle: Duration,
    /// The database's name, which its replicas share.
    name: String,
    /// How it is identified.
    pub(in crate::source) known_by: KnownBy,
}

impl Identity {
    /// From the configuration, else from the database.
    pub(in crate::source) fn new(options: &DatabaseOptions, told: &Told) -> Identity {
        let (database, known_by) = match (&options.identity, &told.own) {
            (Some(named), _) => (["named", named], KnownBy::Itself),
            (None, Some(own)) if told.own_is_the_servers => (["own", own], KnownBy::Server),
            (None, Some(own)) => (["own", own], KnownBy::Itself),
            (None, None) => (["address", &told.address], KnownBy::Address),
        };

        let database = database.map(str::to_owned);
        let mut bytes = Canonical::of("identity 1");
        database.iter().for_each(|part| bytes.text(part));
        bytes.flag(options.share);
        if !options.share {
            let user = match &options.role {
                Some(role) => ["role", role],
                None => ["user", &told.user],
            };
            user.into_iter().for_each(|part| bytes.text(part));
            bytes.each(told.session.iter(), |bytes, option| bytes.text(option));
        }

        let name = options.identity.as_ref().unwrap_or(&told.name).clone();
        Identity { bytes: bytes.into_bytes(), database, settle: options.settle, name, known_by }
    }

    /// Identifies the database, for any reader.
    pub(in crate::source) fn database(&self) -> Vec<u8> {
        self.database.join("\n").into_bytes()
    }
}

/// A definition, as bytes that are the same on every server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Definition {
    /// The whole definition.
    pub(in crate::source) bytes: Vec<u8>,
    /// The meaning of a cursor's values: the database's name, the table, and the order of its rows.
    pub(in crate::source) places: Vec<u8>,
}

impl Definition {
    /// A digest that identifies it. It reveals nothing of a condition, which may hold a secret.
    pub(in crate::source) fn digest(&self) -> Vec<u8> {
        Sha256::digest(&self.bytes).to_vec()
    }

    /// The definition of a plan. `behind` are the definitions of the views that it reads.
    pub(in crate::source) fn new(
        plan: &Plan,
        catalogue: &Catalogue,
        identity: &Identity,
        behind: &[String],
    ) -> Definition {
        let mut bytes = Canonical::of("definition 1");
        bytes.bytes(&identity.bytes);
        write_plan(plan, &mut bytes);
        let text = text_of(plan);
        bytes.each(tables(plan, catalogue).into_iter(), |bytes, table| {
            bytes.text(&table.sql);
            let used: Vec<_> =
                table.columns.iter().filter(|column| is_used(plan, &text, table, &column.name)).collect();
            bytes.each(used.into_iter(), |bytes, column| {
                bytes.text(&column.name);
                bytes.text(&column.declared_as);
            });
        });

        bytes.each(behind.iter(), |bytes, view| bytes.text(view));
        Definition { bytes: bytes.into_bytes(), places: places(plan, catalogue, &identity.name) }
    }
}

/// The tables that a plan reads: those whose names occur in its SQL.
pub(in crate::source) fn tables<'a>(plan: &Plan, catalogue: &'a Catalogue) -> Vec<&'a Table> {
    let text = text_of(plan);
    catalogue.tables.iter().filter(|table| text.contains(&table.sql)).collect()
}

/// Whether a plan uses a column: its quoted name occurs in the SQL, or its name in the operator's
/// condition, quoted or not.
fn is_used(plan: &Plan, text: &str, table: &Table, name: &str) -> bool {
    let in_condition = |condition: &String| condition.to_lowercase().contains(&name.to_lowercase());
    text.contains(&plan.dialect.quote(name))
        || (table.sql == plan.table && plan.condition.as_ref().is_some_and(in_condition))
}

/// The error of a list whose table has changed.
pub(in crate::source) fn changed() -> Error {
    Error::new(Kind::Schema, "the table has changed since it was looked at").retry_in(1)
}

/// The same, if no list can be made of the table as it is now.
pub(in crate::source) fn not_made(complaints: Vec<Complaint>) -> Error {
    let told: Vec<String> = complaints.iter().map(|one| format!("{} ({})", one.message, one.remedy)).collect();
    changed().caused_by(told.join("; "))
}

/// All names of a plan, as in its SQL.
fn text_of(plan: &Plan) -> String {
    let quote = |name: &str| plan.dialect.quote(name);
    let mut all = vec![plan.table.clone()];
    all.extend(plan.selects.iter().map(|select| select.sql.clone()));
    all.extend(plan.order.iter().map(|column| column.sql.clone()));
    for column in &plan.filter_columns {
        all.push(column.sql.clone());
        all.extend(column.pointed.iter().filter_map(|row| row.exists.clone()));
    }
    for relation in &plan.relations {
        all.extend([relation.table.clone(), quote(&relation.column), quote(&relation.parent_column.name)]);
        all.extend(relation.shown().iter().map(|select| select.sql.clone()));
        all.extend(relation.order.iter().map(|column| column.sql.clone()));
        all.extend(relation.join.iter().flat_map(|join| [join.table.clone(), quote(&join.on), quote(&join.to)]));
    }
    all.join("\n")
}

/// The meaning of a cursor's values: rows of this table, by columns of these types and collations.
/// Changes to other columns of the list leave clients' cursors valid.
fn places(plan: &Plan, catalogue: &Catalogue, database: &str) -> Vec<u8> {
    let table = catalogue.tables.iter().find(|table| table.sql == plan.table);
    let declared = |name: &str| {
        let column = table?.columns.iter().find(|column| column.name == name.trim_start_matches('-'));
        column.map(|column| &*column.declared_as)
    };

    let mut bytes = Canonical::of("places 1");
    bytes.text(database);
    bytes.text(&plan.table);
    bytes.each(plan.order_names.iter(), |bytes, name| {
        bytes.text(name);
        bytes.maybe(declared(name), Canonical::text);
    });

    bytes.each(plan.order.iter(), write_key);
    bytes.each(plan.key.iter(), |bytes, select| bytes.text(&plan.selects[*select].sql));
    bytes.maybe(plan.unstable_key, |bytes, version| bytes.text(&version.to_string()));
    bytes.into_bytes()
}

fn write_plan(plan: &Plan, bytes: &mut Canonical) {
    bytes.text(&plan.table);
    bytes.maybe(plan.condition.as_deref(), Canonical::text);
    bytes.each(plan.selects.iter(), write_select);
    bytes.each(plan.order.iter(), write_key);
    bytes.each(plan.key.iter(), |bytes, select| bytes.number(*select));
    bytes.each(plan.order_names.iter(), |bytes, name| bytes.text(name));
    bytes.each(plan.relations.iter(), write_relation);
    bytes.each(plan.outputs.iter(), |bytes, output| {
        let parts = match *output {
            Output::Select(select) => [0, select, 0],
            Output::Object { first, len } => [1, first, len],
            Output::Relation(relation) if plan.related_rewrites[relation].is_empty() => [2, relation, 0],
            Output::Rewritten(rewrite) => [3, rewrite, 0],
            Output::RewrittenObject { first, len, .. } => [4, first, len],
            Output::Relation(relation) => [5, relation, 0],
        };
        parts.into_iter().for_each(|part| bytes.number(part));
    });

    // Nothing is written for none, not even a count: the outputs show it already.
    for rewrites in [&plan.rewrites].into_iter().chain(&plan.related_rewrites).filter(|some| !some.is_empty()) {
        bytes.each(rewrites.iter(), |bytes, (of, rewrite)| {
            bytes.number(*of);
            rewrite.write_to(bytes);
        });
    }

    bytes.each(plan.columns.iter(), |bytes, column| {
        bytes.text(&column.name);
        write_shape(&column.shape, bytes);
    });

    let (open, scope) = plan.filter_columns.split_at(plan.open);
    bytes.each(plan.open_filters().iter(), write_filter);
    bytes.each(open.iter(), write_filter_column);

    bytes.flag(plan.unproven);
    bytes.flag(plan.is_view);
    bytes.maybe(plan.unstable_key, |bytes, version| bytes.text(&version.to_string()));
    // Written only if unusual, so that usual lists keep the keys from before these settings
    // existed.
    if plan.fails_when_too_large || plan.bounds != RowBounds::default() {
        bytes.flag(plan.fails_when_too_large);
        bytes.number(plan.bounds.value as usize);
        bytes.number(plan.bounds.row as usize);
    }

    // The same holds here.
    if !scope.is_empty() {
        bytes.text("scope");
        bytes.each(plan.scope().iter(), write_filter);
        bytes.each(scope.iter(), write_filter_column);
    }
}

fn write_filter(bytes: &mut Canonical, filter: &Filter) {
    bytes.text(&filter.column);
    bytes.text(match filter.operand {
        Operand::Integer => "integer",
        Operand::Number => "number",
        Operand::Text => "text",
    });
}

fn write_filter_column(bytes: &mut Canonical, column: &FilterColumn) {
    bytes.text(&column.sql);
    bytes.text(&column.bind);
    bytes.maybe(column.operator.as_deref(), Canonical::text);
    // Nothing is written for a column of the table itself.
    if let Some(row) = &column.pointed {
        bytes.maybe(row.exists.as_deref(), Canonical::text);
    }
}

fn write_select(bytes: &mut Canonical, select: &Select) {
    bytes.text(&select.sql);
    bytes.flag(select.json);
}

fn write_key(bytes: &mut Canonical, column: &KeyColumn) {
    bytes.text(&column.sql);
    bytes.text(&column.bind);
    bytes.maybe(column.operator.as_deref(), Canonical::text);
    bytes.flag(column.descending);
    bytes.flag(column.nullable);
}

/// Without what only concerns the reading: whether a table is small does not shape its rows.
fn write_relation(bytes: &mut Canonical, relation: &Relation) {
    bytes.number(relation.parent);
    for column in [&relation.parent_column, &relation.pointing_column] {
        bytes.text(&column.name);
        bytes.text(&column.kind);
        bytes.maybe(column.collation.as_deref(), Canonical::text);
    }
    bytes.maybe(relation.join.as_ref(), |bytes, join| {
        [&join.table, &join.on, &join.to, &join.collate].into_iter().for_each(|name| bytes.text(name));
    });
    bytes.text(&relation.table);
    bytes.text(&relation.column);
    bytes.each(relation.shown().iter(), write_select);
    bytes.each(relation.names.iter(), |bytes, name| bytes.text(name));
    bytes.each(relation.order.iter(), write_key);
}

/// How values are put together.
fn write_shape(shape: &Shape, bytes: &mut Canonical) {
    let (name, members) = shape.parts();
    bytes.text(name);
    bytes.each(members.iter(), |bytes, member| bytes.text(member));
}
