//! What a source selects: columns as SQL, the order, related lists.

use super::{
    catalogue::{TableColumn, fill},
    dialect::Dialect,
    keyset::KeyColumn,
    places::{KeyType, Typing},
    rewrite::Rewrite,
};
use crate::{
    cursor::Cursor,
    described::Described,
    row::{Column, Value},
    source::{Complaint, Condition, Filter, Operator, RowBounds},
};

/// The alias of a related table in a query; no user's table has this name.
pub(in crate::source) const RELATED: &str = "chunkflow_related";
/// The alias of a join table in a query.
pub(in crate::source) const JOIN: &str = "chunkflow_join";

/// What a source selects.
#[derive(Clone, Debug)]
pub(in crate::source) struct Plan {
    pub(in crate::source) dialect: &'static Dialect,
    /// The table as SQL.
    pub(in crate::source) table: String,
    /// The operator's own condition.
    pub(in crate::source) condition: Option<String>,
    /// What the main query selects.
    pub(in crate::source) selects: Vec<Select>,
    /// The order, ending in the key.
    pub(in crate::source) order: Vec<KeyColumn>,
    /// The selects that hold the order columns.
    pub(in crate::source) key: Vec<usize>,
    /// The select of the table's own key, if that is one column.
    pub(in crate::source) own_key: Option<usize>,
    /// The order, in the syntax of the configuration.
    pub(in crate::source) order_names: Vec<String>,
    /// The type of each order column.
    pub(in crate::source) order_types: Vec<KeyType>,
    /// How many of its columns the configuration names; they come first. The others are the table's
    /// own key.
    pub(in crate::source) order_named: usize,
    /// Selects whose values are rewritten, and how.
    pub(in crate::source) rewrites: Vec<(usize, Rewrite)>,
    /// Notes on the rewrites that rest on a guess of what a column holds.
    pub(in crate::source) guesses: Vec<Complaint>,
    /// Related lists, each read by a query of its own for a whole run of rows.
    pub(in crate::source) relations: Vec<Relation>,
    /// Related rows that columns point to, one for each row.
    pub(in crate::source) ones: Vec<One>,
    /// The index of each of `ones`, then of each of `relations`, among the rules of what changes
    /// touch. It is part of the hashes of their keys.
    pub(in crate::source) rules: Vec<usize>,
    /// The rewrites of each relation's columns, by their indexes; empty if all values are shown as
    /// they are.
    pub(in crate::source) related_rewrites: Vec<Vec<(usize, Rewrite)>>,
    /// How the source's columns are made from selects and relations.
    pub(in crate::source) outputs: Vec<Output>,
    /// The source's columns, one for each output.
    pub(in crate::source) columns: Vec<Column>,
    /// The JSON type of each column.
    pub(in crate::source) described: Vec<Described>,
    /// The columns that conditions may be on: first those that requests may filter by.
    pub(in crate::source) filters: Vec<Filter>,
    /// How many of them requests may filter by.
    pub(in crate::source) open: usize,
    /// The indexes of those that the scope has a condition on.
    pub(in crate::source) scoped: Vec<usize>,
    /// Each filter's column as SQL.
    pub(in crate::source) filter_columns: Vec<FilterColumn>,
    /// Whether only the configuration says that the key identifies rows, so that it must be
    /// checked.
    pub(in crate::source) unproven: bool,
    /// Whether the table is a view, which has no indexes and no NOT NULL of its own.
    pub(in crate::source) is_view: bool,
    /// A value that changes when keys may have changed though the rows did not.
    pub(in crate::source) unstable_key: Option<i64>,
    /// How large a row may be.
    pub(in crate::source) bounds: RowBounds,
    /// Whether a value that is too large fails its list.
    pub(in crate::source) fails_when_too_large: bool,
}

impl Plan {
    /// The columns that requests may filter by.
    pub(in crate::source) fn open_filters(&self) -> &[Filter] {
        &self.filters[..self.open]
    }

    /// The columns that only the server itself puts conditions on.
    pub(in crate::source) fn scope(&self) -> &[Filter] {
        &self.filters[self.open..]
    }

    /// The scope's columns that are the table's own.
    pub(in crate::source) fn own_scope(&self) -> impl Iterator<Item = (&Filter, &FilterColumn)> {
        let scoped = self.scoped.iter().map(|index| (&self.filters[*index], &self.filter_columns[*index]));
        scoped.filter(|(_, column)| column.pointed.is_none())
    }

    /// Conditions on each column of a related row, with which the database can try their SQL.
    pub(in crate::source) fn on_pointed_rows(&self) -> Vec<Condition> {
        let pointed = self.filters.iter().zip(&self.filter_columns).filter(|(_, column)| column.pointed.is_some());
        pointed.map(|(filter, _)| Condition::is(&*filter.column, Operator::IsNotNull, vec![])).collect()
    }

    /// Whether each value of a cursor can be one of its column.
    pub(in crate::source) fn takes(&self, place: &Cursor, typing: Typing) -> bool {
        let columns = self.order.iter().zip(&self.order_types);
        place.values().zip(columns).all(|(value, (column, kind))| match value {
            Value::Null => column.nullable,
            _ => kind.takes(value, typing),
        })
    }

    /// The same plan for rows within these bounds.
    pub(in crate::source) fn within(self, bounds: RowBounds) -> Plan {
        let unmeasured = usize::try_from(bounds.unmeasured).unwrap_or(usize::MAX);
        let relations = self.relations.into_iter().map(|relation| Relation { most: unmeasured, ..relation }).collect();
        Plan { bounds, relations, ..self }
    }
}

/// A column that conditions are on: a request's, or the scope's.
#[derive(Clone, Debug)]
pub(in crate::source) struct FilterColumn {
    /// The column as SQL: quoted and qualified.
    pub(in crate::source) sql: String,
    /// How to bind a value that is compared with it: SQL with one `?`.
    pub(in crate::source) bind: String,
    /// The template for a comparison, if plain signs would not find the type's operators.
    pub(in crate::source) operator: Option<String>,
    /// Whether an index begins with it, if it is one of the table's own.
    pub(in crate::source) is_indexed: bool,
    /// The row that it is of, if that is a related one.
    pub(in crate::source) pointed: Option<PointedRow>,
}

/// The related row whose column a condition is on.
#[derive(Clone, Debug)]
pub(in crate::source) struct PointedRow {
    /// The related table, as SQL.
    pub(in crate::source) table: String,
    /// The column there.
    pub(in crate::source) column: String,
    /// The column that is pointed to, if each of its values points to one row at most.
    pub(in crate::source) to: Option<String>,
    /// The resource's own column that points there, and whether an index begins with it.
    pub(in crate::source) via: String,
    pub(in crate::source) is_indexed: bool,
    /// What stands before a comparison, which is then inside a query for that row; a parenthesis
    /// ends it. `None` if the column's SQL is a query already.
    pub(in crate::source) exists: Option<String>,
}

/// An expression of the main query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source) struct Select {
    pub(in crate::source) sql: String,
    /// The same without the conversion to a form that is read here.
    pub(in crate::source) bare: String,
    pub(in crate::source) json: bool,
    /// The value's length in bytes, as SQL; empty if its type has no large values.
    pub(in crate::source) length: String,
}

impl Select {
    /// A select of a column, which is SQL already, by a template with one `?`.
    pub(in crate::source) fn new(template: &str, column: String, json: bool) -> Select {
        Select { sql: fill(template, &column), bare: column, json, length: String::new() }
    }

    /// The same, with a template for the value's length; no length if it is empty.
    pub(in crate::source) fn measured(self, template: &str) -> Select {
        Select { length: template.replace('?', &self.sql), ..self }
    }

    /// The same, inside a query of its own.
    pub(in crate::source) fn within(&self, query: impl Fn(&str) -> String) -> Select {
        let length = if self.length.is_empty() { String::new() } else { query(&self.length) };
        Select { sql: query(&self.sql), bare: query(&self.bare), json: self.json, length }
    }
}

impl Relation {
    /// The columns that are shown.
    pub(in crate::source) fn shown(&self) -> &[Select] {
        &self.columns[..self.columns.len() - self.hidden]
    }
}

/// How to make a column of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Output {
    /// The value of a select.
    Select(usize),
    /// An object of `len` selects from `first` on. NULL if the select before them, the related
    /// row's key, is NULL.
    Object { first: usize, len: usize },
    /// A related list.
    Relation(usize),
    /// A rewritten value of a select.
    Rewritten(usize),
    /// An object of `len` rewrites from `first` on. NULL if the select `key`, the related row's
    /// key, is NULL.
    RewrittenObject { key: usize, first: usize, len: usize },
}

/// A related list: which rows belong to a row, and what to read of them.
#[derive(Clone, Debug)]
pub(in crate::source) struct Relation {
    /// The select whose value the related rows point to, and its column, whose type and collation
    /// the comparison uses.
    pub(in crate::source) parent: usize,
    pub(in crate::source) parent_column: TableColumn,
    /// The column that points to it; of the join table, if there is one.
    pub(in crate::source) pointing_column: TableColumn,
    /// Whether all compared columns are declared as whole numbers, so that values can be compared
    /// outside SQL.
    pub(in crate::source) whole: bool,
    /// The join table, if there is one.
    pub(in crate::source) join: Option<Join>,
    /// The related table, as SQL.
    pub(in crate::source) table: String,
    /// The related table's column that the join table points to, or that points to the parent.
    pub(in crate::source) column: String,
    /// The columns to read, over the related table's alias, and their names.
    pub(in crate::source) columns: Vec<Select>,
    pub(in crate::source) names: Vec<String>,
    /// How many of the last columns are the related row's key, and not shown; 0 if the related
    /// table has no key.
    pub(in crate::source) hidden: usize,
    /// The order, as SQL over the aliases.
    pub(in crate::source) order: Vec<KeyColumn>,
    /// Whether the related table may be read whole.
    pub(in crate::source) small: bool,
    /// Whether the order uses only the related table's columns.
    pub(in crate::source) own_order: bool,
    /// How many bytes the list of one row may take, unless it was measured.
    pub(in crate::source) most: usize,
    /// Whether it reads one row of sums for each list.
    pub(in crate::source) is_sum: bool,
}

/// The one related row that a column points to.
#[derive(Clone, Debug)]
pub(in crate::source) struct One {
    /// The related table, as SQL.
    pub(in crate::source) table: String,
    /// The related table's column that is pointed to.
    pub(in crate::source) to: String,
    /// The column that points there.
    pub(in crate::source) via: String,
    /// The select of its value, in the form of a key.
    pub(in crate::source) select: usize,
    /// The output that shows the related row.
    pub(in crate::source) output: usize,
}

/// A join table.
#[derive(Clone, Debug)]
pub(in crate::source) struct Join {
    /// The name as SQL.
    pub(in crate::source) table: String,
    /// Its column that points to the parent.
    pub(in crate::source) on: String,
    /// Its column that points to the related table.
    pub(in crate::source) to: String,
    /// Follows a comparison of `to` with the related table's column: a collation, if the two
    /// columns have different ones.
    pub(in crate::source) collate: String,
}
