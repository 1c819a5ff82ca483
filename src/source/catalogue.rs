//! What a database says of its tables. Identifiers in SQL come from here only.

use super::{Complaint, Operand};
use crate::suggest;

/// The tables and views of a database.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    pub(super) tables: Vec<Table>,
}

/// A table or view.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<TableColumn>,
    /// The columns that identify a row, none of which can be NULL; empty where the database knows of none.
    pub(super) key: Vec<String>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    /// The leading column of each index.
    pub(super) indexed: Vec<String>,
    /// Where the key is one that a maintenance of the database may change: what changes with it (SQLite's schema version).
    pub(super) unstable_key: Option<i64>,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(super) struct TableColumn {
    pub(super) name: String,
    pub(super) nullable: bool,
    /// What a filter's value must look like; `None` where the database could not compare it as its type says.
    pub(super) operand: Option<Operand>,
    /// The type to which the database converts what is compared with it (SQLite's affinity); empty: it does not.
    pub(super) affinity: &'static str,
    /// How its texts are compared.
    pub(super) collation: String,
    /// How they are compared where the primary key tells rows apart, if that is another way.
    pub(super) key_collation: Option<String>,
    /// Whether its texts are JSON.
    pub(super) json: bool,
    /// Whether it is part of the table's declaration and not, like SQLite's rowid, beside it.
    pub(super) declared: bool,
}

/// A reference from `column` to `to` of `table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignKey {
    pub(super) column: String,
    pub(super) table: String,
    pub(super) to: String,
}

impl Catalogue {
    /// The table with this name.
    pub(super) fn table(&self, name: &str, at: &str) -> Result<&Table, Complaint> {
        let found = by_name(&self.tables, name, |table| &table.name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.tables.iter().map(|table| &*table.name).collect();
            Complaint::new(at, format!("no table or view `{name}`"), suggest::remedy("tables", name, &names))
        })
    }
}

impl Table {
    /// The column with this name.
    pub(super) fn column(&self, name: &str, at: &str) -> Result<&TableColumn, Complaint> {
        by_name(&self.columns, name, |column| &column.name).ok_or_else(|| {
            let names: Vec<&str> = self.declared().map(|column| &*column.name).collect();
            Complaint::new(
                at,
                format!("table `{}` has no column `{name}`", self.name),
                suggest::remedy("columns", name, &names),
            )
        })
    }

    /// Whether a column is declared as a whole number.
    pub(super) fn is_whole(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name && column.operand == Some(Operand::Integer))
    }

    /// The columns of the table's declaration.
    pub(super) fn declared(&self) -> impl Iterator<Item = &TableColumn> {
        self.columns.iter().filter(|column| column.declared)
    }

    /// The one column that identifies a row, where there is one.
    pub(super) fn single_key(&self, at: &str) -> Result<&str, Complaint> {
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
