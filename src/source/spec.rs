//! What a resource asks of a table, before the database was looked at.

use std::fmt;

use serde::Serialize;

use super::style::{Style, Values};

/// The specification of a resource: a table, which of its rows, in which order, and the members of
/// each row.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Spec {
    /// The table or view.
    pub table: String,
    /// Which rows: a condition in the database's SQL, written by the operator.
    pub condition: Option<String>,
    /// The order. The key is added to it, so that it is total.
    pub order: Vec<OrderBy>,
    /// Columns that identify a row, where the database does not know them (views).
    pub key: Vec<String>,
    /// The members of each row, in order; `None`: every column under its own name.
    pub fields: Option<Vec<(String, FieldSpec)>>,
    /// Columns that requests may filter by; `None`: the key and indexed columns that a field shows.
    pub filters: Option<Vec<String>>,
    /// Columns that the server puts conditions on by itself, whether requests may filter by them or
    /// not: of the table, or as `author.organisation_id` of the one row that a field or a column
    /// points to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// Fields that no row shows. Conditions may name a related row by them, as they do by those in
    /// `fields`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unshown: Vec<(String, FieldSpec)>,
    /// The format of values, for columns whose style does not choose one.
    pub values: Values,
    /// Whether a value that is too large ([`RowBounds`](crate::source::RowBounds)) fails the list;
    /// else it becomes NULL.
    pub fails_when_too_large: bool,
    /// Whether policies of the database decide which rows there are: any change of any table may
    /// then change the list.
    pub has_row_security: bool,
    /// Whether the condition holds secrets: errors are then passed on without the database's words.
    pub is_discreet: bool,
}

impl Spec {
    /// All of a table or view.
    pub fn of(table: impl Into<String>) -> Spec {
        Spec { table: table.into(), ..Spec::default() }
    }

    /// The same, changed by `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Spec)) -> Spec {
        change(&mut self);
        self
    }
}

impl fmt::Debug for Spec {
    /// Without the condition, which may hold values from the environment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("table", &self.table)
            .field("order", &self.order)
            .field("key", &self.key)
            .field("fields", &self.fields)
            .field("filters", &self.filters)
            .field("scope", &self.scope)
            .field("unshown", &self.unshown)
            .field("values", &self.values)
            .field("fails_when_too_large", &self.fails_when_too_large)
            .finish_non_exhaustive()
    }
}

/// One column of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderBy {
    /// The column; `through.COLUMN` is one of a join table.
    pub column: String,
    /// Whether larger values come first.
    pub descending: bool,
}

impl OrderBy {
    /// Reads `created` or `-created`.
    pub fn parse(text: &str) -> OrderBy {
        match text.strip_prefix('-') {
            Some(column) => OrderBy { column: column.to_owned(), descending: true },
            None => OrderBy { column: text.to_owned(), descending: false },
        }
    }

    /// The text that [`parse`](OrderBy::parse) reads.
    pub fn text(&self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.column)
    }
}

/// The origin of a row's member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum FieldSpec {
    /// A column of the table.
    Column(ColumnSpec),
    /// An absolute URL with `{column}` in it.
    Link(String),
    /// The row's cursor: with it as `after`, the list goes on behind this row.
    Cursor,
    /// One related row, by a column of this table.
    Via {
        /// The column that points to the related row.
        via: String,
        /// The related row.
        related: Related,
    },
    /// Many related rows, through a join table.
    Through {
        /// The join table.
        through: String,
        /// Its column that points to this table; needed if the foreign keys do not say it.
        on: Option<String>,
        /// Its column that points to the related table; needed if the foreign keys do not say it.
        to: Option<String>,
        /// The related rows.
        related: Related,
    },
    /// Many related rows that point to this table.
    From {
        /// The column of the related table that points here; needed if the foreign keys do not say
        /// it.
        on: Option<String>,
        /// The related rows.
        related: Related,
    },
}

/// A column, and the style of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// The style of its values.
    pub style: Style,
}

impl From<&str> for ColumnSpec {
    /// The column as the database has it.
    fn from(name: &str) -> ColumnSpec {
        name.to_owned().into()
    }
}

impl From<String> for ColumnSpec {
    /// The column as the database has it.
    fn from(name: String) -> ColumnSpec {
        ColumnSpec { name, style: Style::default() }
    }
}

/// Which table and columns related rows are taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Related {
    /// The related table; may be left out where a foreign key names it.
    pub table: Option<String>,
    /// Its columns.
    pub columns: Vec<ColumnSpec>,
    /// Whether each row becomes an object of `columns`; else it is the value of its only column.
    pub object: bool,
    /// The order of related rows; the related table's key when empty.
    pub order: Vec<OrderBy>,
}

impl Related {
    /// The same, changed by `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Related)) -> Related {
        change(&mut self);
        self
    }
}

/// Something wrong or slow about a resource, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The key of the resource that it is about, `order` or `fields.url`.
    pub at: String,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Whether this is only a note: nothing is wrong or slow, but something is guessed.
    pub is_note: bool,
}

impl Complaint {
    /// A complaint about the key `at`.
    pub fn new(at: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Complaint {
        Complaint { at: at.into(), message: message.into(), remedy: remedy.into(), is_note: false }
    }

    /// A note about the key `at`: nothing is wrong, but the operator may know better.
    pub fn note(at: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Complaint {
        Complaint { is_note: true, ..Complaint::new(at, message, remedy) }
    }

    /// Leaves out the database's own message, which may repeat a part of the query. That message
    /// stands behind a colon; names of tables and columns stand before it, in backquotes.
    pub(crate) fn withhold(&mut self) {
        let quoted = self.message.starts_with("SQLite ")
            || self.message.starts_with("PostgreSQL ")
            || self.message.starts_with("MySQL ")
            || self.message.starts_with("the database ");
        if let Some((ours, _)) = self.message.split_once(": ").filter(|_| quoted) {
            self.message =
                format!("{ours} (why is not shown, since `where` has a ${{NAME}} whose value might be in it)");
        }
    }

    /// A complaint that the database failed when asked about the key `at`.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn failed(at: impl Into<String>, error: &crate::Error) -> Complaint {
        use crate::Kind;
        let usual = match error.kind() {
            Kind::Timeout => {
                "let an index or a table of its own answer it sooner, or give the database a longer `timeout`"
            }
            Kind::Unavailable => "see that the database runs and lets this user in",
            _ => "see that this user may read the table, and the database's log",
        };
        Complaint::new(at, error.told(), error.advice().unwrap_or(usual))
    }
}

/// What a database knows about a table or view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name, as [`Spec::table`] takes it.
    pub name: String,
    /// The same with its schema, where it has one; [`Spec::table`] takes this too.
    pub full_name: String,
    /// The schema; empty where there are none.
    pub schema: String,
    /// Its comment in the database.
    pub comment: Option<String>,
    /// Its columns, and whether each holds text.
    pub columns: Vec<(String, bool)>,
    /// The columns that identify a row; empty if the database knows none.
    pub key: Vec<String>,
    /// Its foreign keys of one column: the column, the table and the column there.
    pub references: Vec<(String, String, String)>,
    /// Whether it is a view.
    pub is_view: bool,
    /// Whether it is a partition or another part of a table.
    pub is_part: bool,
    /// Its columns with numbers, truth values or times.
    pub numbers: Vec<String>,
    /// What it reads, if it is a view and the database tells.
    pub reads: Option<ViewReads>,
}

impl TableInfo {
    /// Whether a column holds numbers, truth values or times, by its type.
    pub fn is_number(&self, column: &str) -> bool {
        self.numbers.iter().any(|number| number == column)
    }
}

/// What a view reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewReads {
    /// Tables and views, each with a column that is read: an empty name where only the rows count,
    /// `None` for all columns.
    pub columns: Vec<(String, Option<String>)>,
    /// Why it may read more than that.
    pub doubt: Option<String>,
}
