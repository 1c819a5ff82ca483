//! What a database says of its tables. Identifiers in SQL come from here only.

use super::dialect::Dialect;
use crate::{
    source::{Complaint, Operand, TableInfo, ViewReads},
    suggest,
};

/// The tables and views of a database.
#[derive(Clone, Debug)]
pub(in crate::source) struct Catalogue {
    pub(in crate::source) dialect: &'static Dialect,
    pub(in crate::source) tables: Vec<Table>,
}

/// A table or view.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct Table {
    /// The name, with its schema before it where that is not the usual one.
    pub(in crate::source) name: String,
    /// The same as SQL.
    pub(in crate::source) sql: String,
    /// The same with its schema, where it has one.
    pub(in crate::source) full_name: String,
    /// What the database's own documentation of it says.
    pub(in crate::source) comment: Option<String>,
    pub(in crate::source) is_view: bool,
    /// Whether it is a part of another table.
    pub(in crate::source) is_part: bool,
    /// Whether it may be read whole for a run of rows of another table.
    pub(in crate::source) is_small: bool,
    pub(in crate::source) columns: Vec<TableColumn>,
    /// The columns that identify a row; empty where the database knows of none.
    pub(in crate::source) key: Vec<String>,
    /// Whether the database lets key columns be NULL, and so rows be alike in them.
    pub(in crate::source) key_can_be_null: bool,
    pub(in crate::source) foreign_keys: Vec<ForeignKey>,
    /// The leading column of each index.
    pub(in crate::source) indexed: Vec<String>,
    /// Where the key is one that a maintenance of the database may change: what changes with it (SQLite's schema version).
    pub(in crate::source) unstable_key: Option<i64>,
    /// What it reads, where it is a view.
    pub(in crate::source) reads: Option<ViewReads>,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(in crate::source) struct TableColumn {
    pub(in crate::source) name: String,
    pub(in crate::source) nullable: bool,
    /// What a filter's value must look like; `None` where the database could not compare it as its type says.
    pub(in crate::source) operand: Option<Operand>,
    /// How its value is selected: SQL with one `?` in the column's place.
    pub(in crate::source) read: String,
    /// How its value is selected as part of a key, so that it can be bound again; the same with one `?`.
    pub(in crate::source) read_key: String,
    /// How a value is bound that is compared with it: SQL with one `?`.
    pub(in crate::source) bind: String,
    /// The same for what `read_key` has read, where that is not what a request compares with.
    pub(in crate::source) bind_key: Option<String>,
    /// Why it cannot be part of an order.
    pub(in crate::source) unordered: Option<&'static str>,
    /// The type by which values are compared with it: SQLite's affinity (empty: values as they are), elsewhere a type's name.
    pub(in crate::source) kind: String,
    /// How its texts are compared, as SQL for `COLLATE`, where it must be said.
    pub(in crate::source) collation: Option<String>,
    /// The column made such that it tells apart what the primary key tells apart, where it does not by itself: SQL with one `?`.
    pub(in crate::source) as_in_key: Option<String>,
    /// The column made such that it tells apart all values that differ: SQL with one `?`.
    pub(in crate::source) exact: Option<String>,
    /// Whether its type is one for text.
    pub(in crate::source) text: bool,
    /// Whether its texts are JSON.
    pub(in crate::source) json: bool,
    /// Whether it is part of the table's declaration and not, like SQLite's rowid, beside it.
    pub(in crate::source) declared: bool,
}

impl TableColumn {
    /// A column that is read, compared and bound as it is.
    pub(in crate::source) fn plain(name: String) -> TableColumn {
        let same = || "?".to_owned();
        TableColumn {
            name,
            nullable: true,
            operand: None,
            read: same(),
            read_key: same(),
            bind: same(),
            bind_key: None,
            unordered: None,
            kind: String::new(),
            collation: None,
            as_in_key: None,
            exact: None,
            text: false,
            json: false,
            declared: true,
        }
    }

    /// Whether its type is one for numbers, truth values or moments.
    fn is_number(&self) -> bool {
        let type_name = self.kind.strip_prefix("CAST(? AS ").unwrap_or(&self.kind).to_ascii_lowercase();
        let moments = ["bool", "date", "time", "interval"];
        matches!(self.operand, Some(Operand::Integer | Operand::Number))
            || moments.iter().any(|moment| type_name.starts_with(moment))
    }
}

/// Puts SQL into the place that a template has for it.
pub(in crate::source) fn fill(template: &str, sql: &str) -> String {
    let (before, after) = template.split_once('?').unwrap_or((template, ""));
    format!("{before}{sql}{after}")
}

/// A reference from `column` to `to` of `table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct ForeignKey {
    pub(in crate::source) column: String,
    pub(in crate::source) table: String,
    pub(in crate::source) to: String,
}

impl Catalogue {
    /// What there is, for those who look for lists to make.
    pub(in crate::source) fn tables(&self) -> Vec<TableInfo> {
        let info = |table: &Table| TableInfo {
            name: table.name.clone(),
            comment: table.comment.clone(),
            columns: table.declared().map(|column| (column.name.clone(), column.text)).collect(),
            key: table.key.clone(),
            references: table
                .foreign_keys
                .iter()
                .map(|key| (key.column.clone(), key.table.clone(), key.to.clone()))
                .collect(),
            is_view: table.is_view,
            is_part: table.is_part,
            numbers: table.declared().filter(|column| column.is_number()).map(|column| column.name.clone()).collect(),
            reads: table.reads.clone(),
        };
        self.tables.iter().map(info).collect()
    }

    /// The table with this name.
    pub(in crate::source) fn table(&self, name: &str, at: &str) -> Result<&Table, Complaint> {
        let full = |table: &&Table| table.full_name == name;
        let found = by_name(&self.tables, name, |table| &table.name).or_else(|| self.tables.iter().find(full));
        found.ok_or_else(|| {
            let names: Vec<&str> = self.tables.iter().map(|table| &*table.name).collect();
            Complaint::new(at, format!("no table or view `{name}`"), suggest::remedy("tables", name, &names))
        })
    }
}

impl Table {
    /// The column with this name.
    pub(in crate::source) fn column(&self, name: &str, at: &str) -> Result<&TableColumn, Complaint> {
        by_name(&self.columns, name, |column| &column.name).ok_or_else(|| {
            let names: Vec<&str> = self.declared().map(|column| &*column.name).collect();
            Complaint::new(
                at,
                format!("table `{}` has no column `{name}`", self.name),
                self.meant(name).unwrap_or_else(|| suggest::remedy("columns", name, &names)),
            )
        })
    }

    /// How a column of this table is written here that stands as SQL, or another place, would have it: `id DESC`, `item.id`,
    /// `through.id`, `"id"`.
    fn meant(&self, name: &str) -> Option<String> {
        let (words, descending) = match name.trim().rsplit_once(char::is_whitespace) {
            Some((words, way)) if way.eq_ignore_ascii_case("desc") => (words, true),
            Some((words, way)) if way.eq_ignore_ascii_case("asc") => (words, false),
            _ => (name, false),
        };
        let place = words.rsplit_once('.');
        let bare = place.map_or(words, |(_, column)| column).trim().trim_matches(['"', '`']);
        let column = by_name(&self.columns, bare, |column| &column.name).filter(|column| column.name != name)?;

        let way = if descending { "-" } else { "" };
        let written = format!("write \"{way}{}\"", column.name);
        match place {
            Some(("through", _)) => Some(format!(
                "{written}: `through.` names a column of the join table, in the `order` of a related list"
            )),
            _ => Some(written),
        }
    }

    /// Whether a column is declared as a whole number.
    pub(in crate::source) fn is_whole(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name && column.operand == Some(Operand::Integer))
    }

    /// The columns of the table's declaration.
    pub(in crate::source) fn declared(&self) -> impl Iterator<Item = &TableColumn> {
        self.columns.iter().filter(|column| column.declared)
    }

    /// The one column that identifies a row, where there is one.
    pub(in crate::source) fn single_key(&self, at: &str) -> Result<&str, Complaint> {
        match &self.key[..] {
            [column] => Ok(column),
            [] => Err(Complaint::new(
                at,
                format!("table `{}` has no primary key", self.name),
                "give it one, or leave the relation out",
            )),
            _ => Err(Complaint::new(
                at,
                format!("the key of table `{}` has several columns", self.name),
                "relations need a key of one column",
            )),
        }
    }
}

/// By the exact name, else by the one name that differs in case only, as SQL compares unquoted names.
fn by_name<'a, T>(all: &'a [T], name: &str, of: impl Fn(&T) -> &String) -> Option<&'a T> {
    all.iter().find(|one| of(one) == name).or_else(|| {
        let mut alike = all.iter().filter(|one| of(one).eq_ignore_ascii_case(name));
        alike.next().filter(|_| alike.next().is_none())
    })
}
