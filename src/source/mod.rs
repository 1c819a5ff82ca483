//! Sources: where rows come from.
//!
//! A source hands out rows after a cursor, in the list's order, into a sink. To add a kind of
//! database, write a file like `closure.rs`, or a folder like `sqlite`, and add its row to
//! `DATABASES`. The parts that SQL databases share are in `sql`.

mod address;
mod closure;
mod condition;
mod discreet;
mod gate;
mod members;
mod memory;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(test)]
#[cfg(feature = "memcached")]
pub(crate) mod pretended;
mod sealed;
mod session;
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
mod tables;
#[cfg_attr(not(feature = "sql"), allow(dead_code, reason = "only a table has rules"))]
mod touch;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

#[cfg(feature = "server")]
pub(crate) use self::address::{root_file, with_password};
#[cfg(any(fuzzing, test))]
pub(crate) use self::condition::TREES;
pub(crate) use self::condition::{Reader, is_parameter};
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
    condition::{Comparison, Condition, Filter, Operand, Operator},
    gate::{GateLimits, PoolState, Requester},
    memory::{ReadMemory, RowBounds},
    session::Session,
    spec::{ColumnSpec, Complaint, FieldSpec, OrderBy, Related, Spec, TableInfo},
    style::{Style, ValueType, Values},
    tables::Tables,
    touch::TouchRules,
};
pub(crate) use self::{
    gate::{Claim, Gate},
    sealed::Sealed,
};
#[cfg(feature = "sql")]
pub(crate) use self::{memory::Room, spec::ViewReads};
pub(crate) use self::{
    tables::candidates,
    touch::{KeyKind, PointedRule, PointingRule, Told, told_key},
};
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
/// - All methods are safe to call from many tasks at once. The implementation bounds how many reads
///   run at once.
pub trait Source: Send + Sync + 'static {
    /// The columns of each row, in the order in which a sink gets their values.
    fn columns(&self) -> &[Column];

    /// The names of the order columns, `-` before a descending one.
    fn order(&self) -> &[String];

    /// The columns that a request may filter by; none by default.
    fn filters(&self) -> &[Filter] {
        &[]
    }

    /// The columns that the server itself may put conditions on, while no request may filter by
    /// them; none by default.
    fn scope(&self) -> &[Filter] {
        &[]
    }

    /// The JSON type of each column's values, in the order of the columns, as far as that is known
    /// without a read; none by default. Only descriptions of the list use it.
    fn described(&self) -> &[Described] {
        &[]
    }

    /// All that shapes the source's rows, as bytes: two sources with the same fingerprint hand out
    /// the same rows.
    fn fingerprint(&self) -> Vec<u8>;

    /// The meaning of a cursor's values, as bytes: two sources with the same bytes take each
    /// other's cursors. These are the database, the table, and the order's columns with their
    /// collations. By default the whole fingerprint, so that any change refuses older cursors.
    fn places(&self) -> Vec<u8> {
        self.fingerprint()
    }

    /// Whether a client's cursor can be the place of a row: its values must be of the types of the
    /// order's columns. If it cannot, [`rows`](Source::rows) is not called with it. By default any
    /// cursor can.
    fn takes(&self, _place: &Cursor) -> bool {
        true
    }

    /// What it says of changes; `None` if it knows nothing. Then every change that concerns it
    /// touches each of its chunks.
    #[doc(hidden)]
    fn touch_rules(&self) -> Option<&TouchRules> {
        None
    }

    /// A source of the same rows in the same order with these columns only, which reads nothing
    /// that they do not need. `None`, the default: reading less would cost as much.
    #[doc(hidden)]
    fn narrowed(&self, _columns: &[usize]) -> Option<Arc<dyn Source>> {
        None
    }

    /// Whether it reads with the role and settings of a [`Session`]; by default it cannot.
    #[doc(hidden)]
    fn takes_sessions(&self) -> bool {
        false
    }

    /// Whether the source's database and columns are there. By default both are.
    #[doc(hidden)]
    fn presence(&self) -> Presence {
        Presence { is_away: false, is_known: true }
    }

    /// Hands the rows that `query` asks for to `sink`, in order.
    ///
    /// Dropping the future stops the work in the database too. After an error nobody uses the rows
    /// that the sink took.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`] or [`ErrorKind::Busy`] for the state of
    /// the database; [`ErrorKind::Schema`] when the tables have changed and no longer match the
    /// fingerprint; an error of the sink unchanged.
    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>>;

    /// Roughly how many rows a query without a cursor would hand out, for progress bars; `None`
    /// when unknown.
    fn count<'a>(&'a self, _conditions: Arc<[Condition]>) -> BoxFuture<'a, Option<u64>> {
        Box::pin(std::future::ready(None))
    }
}

/// What is known of a source whose database may have been away since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether its database has not answered yet.
    pub is_away: bool,
    /// Whether its columns, order and filters are known; without them no request can be understood.
    pub is_known: bool,
}

/// What a source is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Query {
    /// The cursor behind which to begin.
    pub after: Cursor,
    /// At most this many rows; a source may stop earlier to bound its memory.
    pub limit: u32,
    /// Conditions that each row must meet, besides those of the resource itself.
    pub conditions: Arc<[Condition]>,
    /// Whether some of them are a request's own, so that hardly anybody else asks for the rows.
    pub is_filtered: bool,
    /// The role and settings to read with; `None`: the source's own.
    pub session: Option<Arc<Session>>,
    /// The requester whose turn at the database it takes: the one that began the load.
    pub requester: Requester,
}

impl Query {
    /// What it tells a database's gate.
    pub(crate) fn claim(&self) -> Claim {
        Claim { requester: self.requester, filtered: self.is_filtered }
    }
}

/// How a read of a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Whether the list ends behind the last row handed out.
    pub ended: bool,
}

impl Run {
    /// A read whose list ends behind its last row (`ended`), or may go on.
    pub fn new(ended: bool) -> Run {
        Run { ended }
    }
}

/// The parameters of every list; no filter can have one of these names.
pub(crate) const PARAMETERS: [&str; 6] = ["limit", "after", "select", "order", "download", "at_least"];

/// A resource's source and fields; or *everything* that is wrong with the specification.
pub(crate) type MadeSource = Result<(Arc<dyn Source>, Fields), Vec<Complaint>>;

/// An open database. It knows its tables; [`Resource::of`](crate::Resource::of) makes resources
/// over them. Only this crate can implement it.
pub trait Database: Sealed + Send + Sync + 'static {
    /// Makes the source of a resource, and maps the source's columns to the resource's members.
    ///
    /// # Errors
    /// *Everything* that is wrong with the specification.
    fn source<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, MadeSource>;

    /// Looks at the tables again. Sources made from now on see the tables as they are. Calls at the
    /// same moment share one look.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`] or [`ErrorKind::Busy`] for the state of
    /// the database.
    fn look_again(&self) -> BoxFuture<'_, Result<()>>;

    /// The state of its connections.
    fn pool(&self) -> PoolState;

    /// How the keys of chunks identify it.
    #[doc(hidden)]
    fn known_by(&self) -> KnownBy;

    /// The tables and views that can be read.
    fn tables(&self) -> Vec<TableInfo>;

    /// Checks that a text is the position of a commit, as the database writes it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is none, or if the database has no such positions.
    fn check_commit(&self, commit: &str) -> Result<()>;

    /// Whether reads that begin now see all of these commits.
    ///
    /// # Errors
    /// As of [`Database::check_commit`], and [`ErrorKind::Unavailable`], [`ErrorKind::Timeout`] or
    /// [`ErrorKind::Busy`] for the state of the database.
    fn shows<'a>(&'a self, commits: &'a [&'a str]) -> BoxFuture<'a, Result<bool>>;

    /// What would be slow about a resource that this database can serve, and what is guessed of it,
    /// each with its remedy.
    fn explain<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Vec<Complaint>>;
}

/// How a database is identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// By a given name, or by an identity of its own, which its standbys share.
    Itself,
    /// By the identity of its server, which its standbys do not share.
    Server,
    /// By its address alone, which may be another database's tomorrow.
    Address,
}

/// How to open a database, and how much work to give it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseOptions {
    /// Its URL. It may hold a password: never show it.
    pub url: String,
    /// At most this many connections, and so reads at once.
    pub pool: usize,
    /// The time limit of one read.
    pub timeout: Duration,
    /// A name for the database, in place of its own identity. With the same name, chunks stay valid
    /// when the data moves to another database.
    pub identity: Option<String>,
    /// The role to read with, in place of the URL's user.
    pub role: Option<String>,
    /// Whether rows depend on neither user nor session, so that all users share chunks.
    pub share: bool,
    /// After this long it shows every change that was told; zero: at once. For a standby, which
    /// may lag behind the server that is written to: what a told change touches is then read once
    /// more.
    pub settle: Duration,
    /// How large its rows may be.
    pub bounds: RowBounds,
    /// The memory for reads of large rows, shared with all databases that were given the same.
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
            settle: Duration::ZERO,
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
            .field("settle", &self.settle)
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
/// [`ErrorKind::Config`] when this build has no such kind; the database's own error when it cannot
/// be opened.
pub async fn open_database(options: &DatabaseOptions) -> Result<Arc<dyn Database>> {
    let url = address::read(&options.url)?;
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let Some(kind) = kind::find(DATABASES, scheme) else {
        return Err(Error::new(ErrorKind::Config, kind::unknown("database", &url)));
    };
    let options = DatabaseOptions { url, ..options.clone() };
    (kind.open)(&options).await
}
