//! What a resource asks of a table, before anyone has looked at the database.

use std::fmt;

use serde::Serialize;

use super::style::{Style, Values};

/// A resource as it is written down: a table, which of its rows, in which order, and the members of
/// each row.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Spec {
    /// The table or view.
    pub table: String,
    /// Which rows: a condition in the database's SQL, as the operator wrote it.
    pub condition: Option<String>,
    /// The order; the key is added as the tie-breaker.
    pub order: Vec<OrderBy>,
    /// Columns that identify a row, where the database does not say (views).
    pub key: Vec<String>,
    /// The members of each row, in order; `None`: every column under its own name.
    pub fields: Option<Vec<(String, FieldSpec)>>,
    /// Columns that requests may filter by; `None`: the key and indexed columns that a field shows.
    pub filters: Option<Vec<String>>,
    /// In whose form values are written, where a column's own style does not say it.
    pub values: Values,
    /// Whether a value that is too large ([`RowBounds`](crate::source::RowBounds)) fails the list;
    /// else it stands as NULL.
    pub fails_when_too_large: bool,
    /// Whether the condition holds what no message may say: failures are told without the
    /// database's own words.
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
    /// Without the condition, which may hold what was filled in from the environment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("table", &self.table)
            .field("order", &self.order)
            .field("key", &self.key)
            .field("fields", &self.fields)
            .field("filters", &self.filters)
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

/// Where a member of a row comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum FieldSpec {
    /// A column of the table.
    Column(ColumnSpec),
    /// An absolute URL with `{column}` in it.
    Link(String),
    /// The row's cursor: what `after` takes to go on behind it.
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
        /// Its column that points to this table, where its foreign keys do not say.
        on: Option<String>,
        /// Its column that points to the related table, where its foreign keys do not say.
        to: Option<String>,
        /// The related rows.
        related: Related,
    },
    /// Many related rows that point to this table.
    From {
        /// The column of the related table that points here, where its foreign keys do not say.
        on: Option<String>,
        /// The related rows.
        related: Related,
    },
}

/// A column, and how its values are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// How its values are written.
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

/// What to take from related rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Related {
    /// The related table; may be left out where a foreign key names it.
    pub table: Option<String>,
    /// Its columns.
    pub columns: Vec<ColumnSpec>,
    /// Whether each row is an object of `columns`, and not the bare value of the one column.
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
    /// Whether nothing is wrong or slow, and what is shown rests on a guess.
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

    /// Leaves out what the database itself says, which may repeat the query or a part of it. It
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

    /// A complaint that a database failed when it was asked about the key `at`.
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

/// What a database says of a table or view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name, as [`Spec::table`] takes it.
    pub name: String,
    /// The same with its schema, where it has one; [`Spec::table`] takes this too.
    pub full_name: String,
    /// The schema; empty where there are none.
    pub schema: String,
    /// What the database's own documentation of it says.
    pub comment: Option<String>,
    /// Its columns, and whether each holds text.
    pub columns: Vec<(String, bool)>,
    /// The columns that identify a row; empty where the database knows of none.
    pub key: Vec<String>,
    /// Its references of one column: column, table, and column there.
    pub references: Vec<(String, String, String)>,
    /// Whether it is a view.
    pub is_view: bool,
    /// Whether it is a part of another table.
    pub is_part: bool,
    /// Those of its columns that hold numbers, truth values or moments.
    pub numbers: Vec<String>,
    /// What it reads, where it is a view and the database says so.
    pub reads: Option<ViewReads>,
}

impl TableInfo {
    /// Whether a column holds numbers, truth values or moments, by its type.
    pub fn is_number(&self, column: &str) -> bool {
        self.numbers.iter().any(|number| number == column)
    }
}

/// What a view reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewReads {
    /// Tables and views, each with a column of it; an empty one where only its rows count, and
    /// `None` for all of them.
    pub columns: Vec<(String, Option<String>)>,
    /// Why it may read more than that.
    pub doubt: Option<String>,
}
