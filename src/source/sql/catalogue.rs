//! A database's tables, as its catalogue describes them. All identifiers in SQL come from here.

use std::{collections::HashMap, ops::RangeInclusive};

use super::dialect::Dialect;
use crate::{
    source::{Complaint, Operand, TableInfo, ValueType, ViewReads},
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
    /// The name; with the schema before it, if that is not the default one.
    pub(in crate::source) name: String,
    /// The name as SQL.
    pub(in crate::source) sql: String,
    /// The name with its schema, if it has one.
    pub(in crate::source) full_name: String,
    /// The schema; empty where there are none.
    pub(in crate::source) schema: String,
    /// Whether it is in another database than the connection's, so that only its full name finds
    /// it.
    pub(in crate::source) elsewhere: bool,
    /// Its comment in the database.
    pub(in crate::source) comment: Option<String>,
    pub(in crate::source) is_view: bool,
    /// Whether it is a partition or another part of a table.
    pub(in crate::source) is_part: bool,
    /// Whether it may be read whole for a run of rows of another table.
    pub(in crate::source) is_small: bool,
    pub(in crate::source) columns: Vec<TableColumn>,
    /// The columns that identify a row; empty if the database knows none.
    pub(in crate::source) key: Vec<String>,
    /// Whether the database lets key columns be NULL, so that several rows may share a key.
    pub(in crate::source) key_can_be_null: bool,
    pub(in crate::source) foreign_keys: Vec<ForeignKey>,
    /// The first column of each index.
    pub(in crate::source) indexed: Vec<String>,
    /// If the database's maintenance may change the key: a value that changes with it (SQLite's
    /// schema version).
    pub(in crate::source) unstable_key: Option<i64>,
    /// For a view: what it reads, or why that is not known.
    pub(in crate::source) reads: Option<ViewReads>,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(in crate::source) struct TableColumn {
    pub(in crate::source) name: String,
    pub(in crate::source) nullable: bool,
    /// The syntax of a filter's value; `None` if the database could not compare it by the column's
    /// type.
    pub(in crate::source) operand: Option<Operand>,
    /// How to select its value: SQL with one `?` in the column's place.
    pub(in crate::source) read: String,
    /// How to select its value as part of a key, so that it can be bound again: SQL with one `?`.
    pub(in crate::source) read_key: String,
    /// How to bind a value that is compared with it: SQL with one `?`.
    pub(in crate::source) bind: String,
    /// The same for a value of `read_key`, if that differs from what a request compares with.
    pub(in crate::source) bind_key: Option<String>,
    /// Why it cannot be part of an order, if it cannot.
    pub(in crate::source) unordered: Option<&'static str>,
    /// The type by which values are compared with it. In SQLite the affinity (empty: values stay as
    /// they are). Elsewhere SQL with one `?` that makes a `read_key` value one of the column's
    /// type, without a length or precision that could cut it.
    pub(in crate::source) kind: String,
    /// The template for [`comparison`], if plain signs would not find the type's operators.
    pub(in crate::source) operator: Option<String>,
    /// The range of whole numbers that it can hold, if it can hold nothing else.
    pub(in crate::source) range: Option<RangeInclusive<i128>>,
    /// Whether its values are whole numbers that compare as such with those of every other column
    /// for which this is set.
    pub(in crate::source) whole: bool,
    /// The collation of its texts, as SQL for `COLLATE`, if it must be given.
    pub(in crate::source) collation: Option<String>,
    /// An expression of the column that differs wherever the primary key differs, if the column
    /// itself does not: SQL with one `?`.
    pub(in crate::source) as_in_key: Option<String>,
    /// An expression of the column that differs for any two different values: SQL with one `?`.
    pub(in crate::source) exact: Option<String>,
    /// Whether its type is one of texts.
    pub(in crate::source) text: bool,
    /// Whether two of its texts are equal only if their bytes are.
    pub(in crate::source) has_exact_texts: bool,
    /// Whether its texts are ordered as their bytes, as they are read for a key.
    pub(in crate::source) has_ordered_bytes: bool,
    /// Whether its texts are JSON.
    pub(in crate::source) json: bool,
    /// Whether each of its values is of its type: SQLite keeps any value in most columns.
    pub(in crate::source) is_typed: bool,
    /// What its values are, if its type says so.
    pub(in crate::source) holds: Option<Holds>,
    /// A value's length in bytes as it is read: SQL with one `?`. Empty if its type has no large
    /// values.
    pub(in crate::source) length: &'static str,
    /// Its type and collation in the catalogue, with all that shapes or orders its values: a text
    /// that changes when they do.
    pub(in crate::source) declared_as: String,
    /// Whether the table declares it; SQLite's rowid is not declared.
    pub(in crate::source) declared: bool,
}

impl TableColumn {
    /// A column that is read, compared and bound unchanged.
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
            operator: None,
            range: None,
            whole: false,
            collation: None,
            as_in_key: None,
            exact: None,
            text: false,
            has_exact_texts: false,
            has_ordered_bytes: false,
            json: false,
            is_typed: true,
            holds: None,
            length: "",
            declared_as: String::new(),
            declared: true,
        }
    }

    /// A value's length in bytes as it is read for a key; empty if its type has no large values.
    pub(in crate::source) fn key_length(&self, dialect: &Dialect) -> &'static str {
        // If it is read in another form for a key, that form is text.
        if self.length.is_empty() || self.read == self.read_key { self.length } else { dialect.length }
    }

    /// Whether its type is one of numbers, truth values or times.
    fn is_number(&self) -> bool {
        let type_name = self.kind.strip_prefix("CAST(? AS ").unwrap_or(&self.kind).to_ascii_lowercase();
        let moments = ["bool", "date", "time", "interval"];
        matches!(self.operand, Some(Operand::Integer | Operand::Number))
            || moments.iter().any(|moment| type_name.starts_with(moment))
    }
}

/// What the values of a column are, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Holds {
    pub(in crate::source) holds: ValueType,
    /// Whether they are arrays of these values.
    pub(in crate::source) is_array: bool,
    /// How many decimals numbers should have, if the type says it and the values do not show it.
    pub(in crate::source) decimals: Option<u8>,
    /// Whether decimal numbers are kept as doubles.
    pub(in crate::source) as_doubles: bool,
    /// Whether times have an offset, if the type says it.
    pub(in crate::source) has_offset: Option<bool>,
    /// What else frameworks keep in columns of this type.
    pub(in crate::source) perhaps: Option<ValueType>,
}

impl Holds {
    pub(in crate::source) fn new(holds: ValueType) -> Holds {
        Holds { holds, is_array: false, decimals: None, as_doubles: false, has_offset: None, perhaps: None }
    }
}

/// Puts SQL into a template's place for it.
pub(in crate::source) fn fill(template: &str, sql: &str) -> String {
    let (before, after) = template.split_once('?').unwrap_or((template, ""));
    format!("{before}{sql}{after}")
}

/// A comparison, `=` or `>`, as SQL. `operator` is a template with one `?` for the sign, for types
/// whose operators the plain sign would not find.
pub(in crate::source) fn comparison(operator: Option<&str>, sign: &str) -> String {
    operator.map_or_else(|| sign.to_owned(), |operator| fill(operator, sign))
}

/// A reference from `column` to the column `to` of `table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct ForeignKey {
    pub(in crate::source) column: String,
    pub(in crate::source) table: String,
    pub(in crate::source) to: String,
}

impl Catalogue {
    /// The tables of the connection's own database, to make lists of.
    pub(in crate::source) fn tables(&self) -> Vec<TableInfo> {
        let info = |table: &Table| TableInfo {
            name: table.name.clone(),
            full_name: table.full_name.clone(),
            schema: table.schema.clone(),
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

        self.tables.iter().filter(|table| !table.elsewhere).map(info).collect()
    }

    /// The table of this name, for a resource over `near`: one in the same schema comes first.
    pub(in crate::source) fn related(&self, name: &str, near: &Table, at: &str) -> Result<&Table, Complaint> {
        let beside = format!("{}.{name}", near.schema);
        let own = |table: &&Table| table.schema == near.schema && table.full_name == beside;

        match self.tables.iter().find(own).filter(|_| !near.schema.is_empty()) {
            Some(table) => Ok(table),
            None => self.table(name, at),
        }
    }

    /// The table with this name.
    pub(in crate::source) fn table(&self, name: &str, at: &str) -> Result<&Table, Complaint> {
        let full = |table: &&Table| table.full_name == name;
        let found = by_name(&self.tables, name, |table| &table.name).or_else(|| self.tables.iter().find(full));
        // Also by its name as SQL, if other names are ambiguous because of dots in them.
        found.or_else(|| self.tables.iter().find(|table| table.sql == name)).ok_or_else(|| {
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

    /// The right spelling of a column that was written as SQL or for another place: `id DESC`,
    /// `item.id`, `through.id`, `"id"`.
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

    /// Whether a column's values are whole numbers, and compare as such.
    pub(in crate::source) fn is_whole(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name && column.whole)
    }

    /// The columns that the table declares.
    pub(in crate::source) fn declared(&self) -> impl Iterator<Item = &TableColumn> {
        self.columns.iter().filter(|column| column.declared)
    }

    /// The declared columns that identify a row; without any, SQLite's rowid.
    pub(in crate::source) fn declared_key(&self) -> Vec<&str> {
        let declared = |name: &&str| self.declared().any(|column| column.name == *name);
        let all = || self.key.iter().map(String::as_str);
        let found: Vec<&str> = all().filter(declared).collect();
        if found.is_empty() { all().collect() } else { found }
    }

    /// The one column that identifies a row, if there is just one.
    pub(in crate::source) fn single_key(&self, at: &str) -> Result<&str, Complaint> {
        match self.declared_key()[..] {
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

/// Names tables by their SQL names if their plain names are equal because of dots: `a.b` may be a
/// table, or the table `b` of the schema `a`. Must be called before anything refers to them by
/// name.
pub(in crate::source) fn tell_apart(tables: &mut [Table]) {
    let mut count: HashMap<String, usize> = HashMap::new();
    for table in &*tables {
        *count.entry(table.name.clone()).or_default() += 1;
    }

    for table in tables {
        if count.get(&table.name).is_some_and(|&count| count > 1) {
            table.name.clone_from(&table.sql);
        }
    }
}

/// Finds by the exact name, else by the only name that differs in case alone, as SQL compares
/// unquoted names.
fn by_name<'a, T>(all: &'a [T], name: &str, of: impl Fn(&T) -> &String) -> Option<&'a T> {
    all.iter().find(|one| of(one) == name).or_else(|| {
        let mut alike = all.iter().filter(|one| of(one).eq_ignore_ascii_case(name));
        alike.next().filter(|_| alike.next().is_none())
    })
}
