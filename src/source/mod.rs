//! Sources: where rows come from.
//!
//! A source hands out rows after a cursor, in the list's order, into a sink. To add a kind of
//! database, write a file like `closure.rs`, or a folder like `sqlite`, and give it its row in
//! `DATABASES`; what SQL databases share is in `sql`.

mod address;
mod closure;
mod discreet;
mod gate;
mod memory;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod sealed;
mod spec;
#[cfg(feature = "sql")]
#[cfg_attr(
    not(all(feature = "mysql", feature = "postgres", feature = "sqlite")),
    allow(dead_code, reason = "no single database needs all of what they share")
)]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod style;

use std::{fmt, future::Future, ops::RangeInclusive, pin::Pin, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

#[cfg(feature = "server")]
pub(crate) use self::address::{root_file, with_password};
pub(crate) use self::discreet::discreet;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use self::gate::Turn;
#[cfg(feature = "mysql")]
pub use self::mysql::Mysql;
#[cfg(feature = "postgres")]
pub use self::postgres::Postgres;
#[cfg(all(fuzzing, feature = "postgres"))]
pub(crate) use self::postgres::fuzz_postgres_wire;
#[cfg(feature = "sqlite")]
pub use self::sqlite::Sqlite;
pub use self::{
    closure::{Closure, Fetch, closure},
    gate::{GateLimits, PoolState, Requester},
    memory::{ReadMemory, RowBounds},
    spec::{ColumnSpec, Complaint, FieldSpec, OrderBy, Related, Spec, TableInfo},
    style::{Style, ValueType, Values},
};
pub(crate) use self::{
    gate::{Claim, Gate},
    sealed::Sealed,
};
#[cfg(feature = "sql")]
pub(crate) use self::{memory::Room, spec::ViewReads};
pub use crate::{
    cursor::Cursor,
    described::{Described, JsonType},
    flaw::{Flaw, Flaws},
    row::{Column, Field, Part, RowBatch, RowSink, Shape, Value},
};
use crate::{
    error::{Error, Kind as ErrorKind, Result},
    kind::{self, Kind},
    row::Fields,
};

/// A future that can be sent to another thread, boxed so that a trait can return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the rows of one resource come from.
///
/// # Contract
/// - The order of rows is total: no two rows have equal key values, and the order of two rows never
///   changes while their key values do not.
/// - [`rows`](Source::rows) hands out the rows after a cursor, as they stood at one moment.
/// - All of it is safe to call from many tasks at once; how many reads run at once is bounded by
///   the implementation.
pub trait Source: Send + Sync + 'static {
    /// The columns of each row, in the order in which a sink gets their values.
    fn columns(&self) -> &[Column];

    /// The names of the order columns, `-` before a descending one.
    fn order(&self) -> &[String];

    /// The columns that a request may filter by; none by default.
    fn filters(&self) -> &[Filter] {
        &[]
    }

    /// What the values of each column are in JSON, in the order of the columns, as far as that is
    /// known without a read; none by default. For descriptions of the list only.
    fn described(&self) -> &[Described] {
        &[]
    }

    /// Everything about the source that shapes its rows, as bytes: two sources with the same
    /// fingerprint hand out the same rows.
    fn fingerprint(&self) -> Vec<u8>;

    /// What the values of a cursor stand for, as bytes: of two sources with the same, each takes
    /// the other's cursors. That is the database, the table, and the columns of the order with how
    /// they are compared. By default all that shapes the rows, so that any change refuses older
    /// cursors.
    fn places(&self) -> Vec<u8> {
        self.fingerprint()
    }

    /// Whether a cursor that a client brings can be the place of a row: whether its values are of
    /// the types of the order's columns. Where it is not, [`rows`](Source::rows) is never asked for
    /// what is behind it. By default any is.
    fn takes(&self, _place: &Cursor) -> bool {
        true
    }

    /// What is there of it. By default all.
    #[doc(hidden)]
    fn presence(&self) -> Presence {
        Presence { is_away: false, is_known: true }
    }

    /// Hands the rows that `query` asks for to `sink`, in order.
    ///
    /// Dropping the future stops the work in the database too. On an error nobody uses what the
    /// sink took.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`] or [`ErrorKind::Busy`] as the source
    /// fared; [`ErrorKind::Schema`] when what is read is not what the fingerprint says any more;
    /// the sink's own error as it is.
    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>>;

    /// About how many rows a query without a cursor would hand out, for progress bars; `None` when
    /// unknown.
    fn count<'a>(&'a self, _conditions: Arc<[Condition]>) -> BoxFuture<'a, Option<u64>> {
        Box::pin(std::future::ready(None))
    }
}

/// What is there of a source whose database may be away since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether its database has not answered yet.
    pub is_away: bool,
    /// Whether its columns, order and filters are known: where they are not, no request can be
    /// understood.
    pub is_known: bool,
}

/// What a source is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Query {
    /// Where to begin.
    pub after: Cursor,
    /// How many rows at most; a source may stop earlier to bound its memory.
    pub limit: u32,
    /// What each row must fulfil, beside what the resource itself demands.
    pub conditions: Arc<[Condition]>,
    /// Whom it is for: who began the load, of all that wait for it.
    pub requester: Requester,
}

impl Query {
    /// What it asks a database's gate for.
    pub(crate) fn claim(&self) -> Claim {
        Claim { requester: self.requester, filtered: !self.conditions.is_empty() }
    }
}

/// How a read of a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Whether there is no row behind the last one handed out.
    pub ended: bool,
}

impl Run {
    /// A read behind whose last row there is none, or there may be some.
    pub fn new(ended: bool) -> Run {
        Run { ended }
    }
}

/// The parameters of every list, which no filter can be called.
pub(crate) const PARAMETERS: [&str; 3] = ["limit", "after", "download"];

/// A column that a request may filter by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Filter {
    /// The column's name, in the database and in the request.
    pub column: String,
    /// What its values must look like.
    pub operand: Operand,
    /// The whole numbers that the column can hold, where it is known that it holds nothing else:
    /// what is beyond is never bound.
    pub range: Option<RangeInclusive<i128>>,
}

impl Filter {
    /// A filter on a column of such values.
    pub fn new(column: impl Into<String>, operand: Operand) -> Filter {
        Filter { column: column.into(), operand, range: None }
    }
}

/// What a filter's values must look like; anything else is refused before it reaches the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Operand {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Any text.
    Text,
}

/// What a row must fulfil: `column operator values`. Values are always bound, never spliced into
/// SQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Condition {
    /// The column, one of [`Source::filters`].
    pub column: String,
    /// How to compare.
    pub operator: Operator,
    /// What to compare with: one value; any number for [`Operator::In`]; none for the NULL tests.
    pub values: Vec<String>,
}

/// The operators of filters, as PostgREST spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operator {
    /// `eq`
    Eq,
    /// `neq`
    Neq,
    /// `gt`
    Gt,
    /// `gte`
    Gte,
    /// `lt`
    Lt,
    /// `lte`
    Lte,
    /// `in`, with a list
    In,
    /// `is.null`
    IsNull,
    /// `is.not_null`
    IsNotNull,
    /// `like`, where `*` stands for `%`
    Like,
}

/// The source of a resource, and how its members come from the source's columns; or *everything*
/// that is wrong with what was asked.
pub(crate) type MadeSource = Result<(Arc<dyn Source>, Fields), Vec<Complaint>>;

/// A database that is open: it knows its tables, and resources over them are made by
/// [`Resource::of`](crate::Resource::of). Only this crate has kinds of it.
pub trait Database: Sealed + Send + Sync + 'static {
    /// Makes the source of a resource, and says how its members come from the source's columns.
    ///
    /// # Errors
    /// *Everything* that is wrong with the specification.
    fn source<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, MadeSource>;

    /// Looks at the tables again, so that the sources it makes from now on are of what is there.
    /// However many ask at once, it looks once.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`] or [`ErrorKind::Busy`] as the database
    /// fares.
    fn look_again(&self) -> BoxFuture<'_, Result<()>>;

    /// How its connections fare.
    fn pool(&self) -> PoolState;

    /// What it is known by in the keys of chunks.
    #[doc(hidden)]
    fn known_by(&self) -> KnownBy;

    /// The tables and views that can be read.
    fn tables(&self) -> Vec<TableInfo>;

    /// What would be slow about a resource that this database can serve, and what is guessed of it,
    /// each with its remedy.
    fn explain<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Vec<Complaint>>;
}

/// What a database is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// A name that was given, or an identity of its own, which its standbys have too.
    Itself,
    /// The identity of its server: each standby has another.
    Server,
    /// Its address alone, which may be another database's tomorrow.
    Address,
}

/// How a database is opened and how hard it may be worked.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseOptions {
    /// Where it is. May hold a password: never to be shown.
    pub url: String,
    /// Connections at most, and so reads at once.
    pub pool: usize,
    /// Time limit of one read.
    pub timeout: Duration,
    /// Which database it is, in place of what it says itself: chunks outlast a move to another one
    /// of the same name.
    pub identity: Option<String>,
    /// The role that reads, in place of the user of the URL.
    pub role: Option<String>,
    /// Whether rows depend on neither user nor session, so that chunks are shared among all of
    /// them.
    pub share: bool,
    /// How large its rows may be.
    pub bounds: RowBounds,
    /// The memory that reads of large rows may take, shared with all databases that have the same.
    pub memory: ReadMemory,
}

impl DatabaseOptions {
    /// The database at `url`, with four connections and ten seconds for a read.
    pub fn new(url: impl Into<String>) -> DatabaseOptions {
        DatabaseOptions {
            url: url.into(),
            pool: 4,
            timeout: Duration::from_secs(10),
            identity: None,
            role: None,
            share: false,
            bounds: RowBounds::default(),
            memory: ReadMemory::default(),
        }
    }
}

impl fmt::Debug for DatabaseOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseOptions")
            .field("pool", &self.pool)
            .field("timeout", &self.timeout)
            .field("identity", &self.identity)
            .field("role", &self.role)
            .field("share", &self.share)
            .field("bounds", &self.bounds)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

type OpenDatabase = fn(&DatabaseOptions) -> BoxFuture<'_, Result<Arc<dyn Database>>>;

/// The kinds of database of this build, by URL scheme.
pub(crate) const DATABASES: &[Kind<OpenDatabase>] = &[
    #[cfg(feature = "sqlite")]
    Kind { name: "sqlite", example: "sqlite:tricks.sqlite", open: sqlite::open },
    #[cfg(feature = "postgres")]
    Kind { name: "postgres", example: "postgres://user:password@localhost/app", open: postgres::open },
    #[cfg(feature = "postgres")]
    Kind { name: "postgresql", example: "postgresql://user:password@localhost/app", open: postgres::open },
    #[cfg(feature = "mysql")]
    Kind { name: "mysql", example: "mysql://user:password@localhost/app", open: mysql::open },
    #[cfg(feature = "mysql")]
    Kind { name: "mariadb", example: "mariadb://user:password@localhost/app", open: mysql::open },
];

/// Opens the database of a URL.
///
/// # Errors
/// [`ErrorKind::Config`] when this build has no such kind; what the kind says when it cannot be
/// opened.
pub async fn open_database(options: &DatabaseOptions) -> Result<Arc<dyn Database>> {
    let url = address::read(&options.url)?;
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let Some(kind) = kind::find(DATABASES, scheme) else {
        return Err(Error::new(ErrorKind::Config, kind::unknown("database", &url)));
    };
    let options = DatabaseOptions { url, ..options.clone() };
    (kind.open)(&options).await
}
