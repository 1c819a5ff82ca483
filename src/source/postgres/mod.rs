//! PostgreSQL: connections that each serve one read at a time, in a transaction of its own.
//!
//! Dropping a query does not stop it at the server, and the connection would be busy with it: a read that is given up is
//! cancelled by a request of its own, and its connection is never used again.

mod careful;
mod catalogue;
mod connect;
mod explain;
mod params;
mod rows;
mod tls;
mod views;
mod wire;

use std::{sync::Arc, time::Duration};

use tokio_postgres::error::SqlState;

#[doc(hidden)]
pub use self::wire::fuzz_postgres_wire;
use self::{connect::Connector, rows::Progress};
use super::{
    BoxFuture, Claim, Complaint, Condition, Database, DatabaseOptions, Filter, GateLimits, MadeSource, Query, Run,
    Source, Spec, TableInfo,
    sql::{catalogue::Catalogue, dialect::Dialect, places::Typing, plan::Plan, planner::plan, pool, run::Width},
};
use crate::{
    cursor::Cursor,
    error::{Error, Kind, Result},
    row::{Column, Fields, RowSink},
};

/// How PostgreSQL writes SQL.
pub(super) const DIALECT: Dialect = Dialect {
    quote: '"',
    numbered: true,
    null_is_greatest: true,
    compares_rows: true,
    in_list: Some(" = ANY (?)"),
    collations_must_agree: true,
    join: "JOIN",
    as_text: "(?)::text",
    no_text: "NULL::text",
    no_escape: " ESCAPE ''",
};

type Pool = pool::Pool<Connector>;

/// A PostgreSQL database.
pub struct Postgres {
    pool: Arc<Pool>,
    catalogue: Catalogue,
}

pub(super) fn open(options: &DatabaseOptions) -> BoxFuture<'_, Result<Arc<dyn Database>>> {
    Box::pin(async move {
        let limits = GateLimits { reads: options.pool.max(1), ..GateLimits::default() };
        Ok(Arc::new(Postgres::open(&options.url, limits, options.timeout).await?) as Arc<dyn Database>)
    })
}

impl Postgres {
    /// Connects to `postgres://…`, and reads what tables there are.
    ///
    /// `timeout` is the time limit of one read. Each resource made from it shares the connections and the gate.
    ///
    /// # Errors
    /// [`Kind::Config`] when the URL cannot be read; [`Kind::Unavailable`] when the server does not let us in.
    pub async fn open(url: &str, limits: GateLimits, timeout: Duration) -> Result<Postgres> {
        let pool = Arc::new(Pool::new(Connector::new(url, timeout)?, limits, timeout));
        let mut lease = pool.lease(Claim::default()).await?;
        let read = tokio::time::timeout(timeout, catalogue::read(&lease.connection().client)).await;
        let catalogue = match read {
            Ok(catalogue) => catalogue.map_err(|error| explained(error, None))?,
            Err(_) => return Err(timed_out(timeout)),
        };
        lease.give_back();
        Ok(Postgres { pool, catalogue })
    }

    fn plan(&self, spec: &Spec) -> Result<(Plan, Fields), Vec<Complaint>> {
        plan(spec, &self.catalogue)
    }
}

impl Database for Postgres {
    fn source<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, MadeSource> {
        Box::pin(async move {
            let (plan, fields) = self.plan(spec)?;
            let plan = Arc::new(plan);
            explain::prepare(&self.pool, &plan).await?;
            let fingerprint = format!("postgres {} {plan:?}", self.pool.connector().identity()).into_bytes();
            let source = Table { pool: Arc::clone(&self.pool), plan, fingerprint, width: Width::default() };
            Ok((Arc::new(source) as Arc<dyn Source>, fields))
        })
    }

    fn tables(&self) -> Vec<TableInfo> {
        self.catalogue.tables()
    }

    fn explain<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Vec<Complaint>> {
        Box::pin(async move {
            match self.plan(spec) {
                Ok((plan, _)) => explain::slow(&self.pool, &plan).await,
                Err(_) => vec![],
            }
        })
    }
}

/// The rows of one resource.
struct Table {
    pool: Arc<Pool>,
    plan: Arc<Plan>,
    fingerprint: Vec<u8>,
    /// About how many bytes a row has, as the last read found; 0 before.
    width: Width,
}

impl Source for Table {
    fn columns(&self) -> &[Column] {
        &self.plan.columns
    }

    fn order(&self) -> &[String] {
        &self.plan.order_names
    }

    fn filters(&self) -> &[Filter] {
        &self.plan.filters
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.fingerprint.clone()
    }

    fn places(&self) -> Vec<u8> {
        self.plan.places(&format!("postgres {}", self.pool.connector().database()))
    }

    fn takes(&self, place: &Cursor) -> bool {
        self.plan.takes(place, Typing::Strict)
    }

    fn rows<'a>(&'a self, query: Query, mut sink: Box<dyn RowSink>) -> BoxFuture<'a, Result<Run>> {
        Box::pin(async move {
            let mut query = self.width.bounded(query);
            let begin = self.pool.connector().begin();
            let mut progress = Progress::default();
            let ended = loop {
                let mut lease = self.pool.lease(query.claim()).await?;
                let reused = lease.reused;
                let read = rows::read(&lease.connection().client, begin, &self.plan, &query, &mut *sink, &mut progress);
                match tokio::time::timeout(self.pool.patience(), read).await {
                    Ok(Ok(ended)) => {
                        lease.give_back();
                        break ended;
                    }
                    // The server ended it while it was idle, as it does when it restarts.
                    Ok(Err(Failure::Postgres(error))) if reused && progress.rows == 0 && is_lost(&error) => {
                        self.pool.forget_idle();
                    }
                    // The rows before the one whose value has failed the query are read by themselves.
                    Ok(Err(Failure::Postgres(error)))
                        if careful::is_of_a_value(&error) && (1..query.limit as usize).contains(&progress.rows) =>
                    {
                        query.limit = progress.rows as u32;
                        progress = Progress::default();
                    }
                    Ok(Err(Failure::Postgres(error))) if careful::is_of_a_value(&error) => {
                        let client = &lease.connection().client;
                        let read = careful::read(client, begin, &self.plan, &query, &mut *sink);
                        match tokio::time::timeout(self.pool.patience(), read).await {
                            Ok(Ok(ended)) => {
                                lease.give_back();
                                break ended;
                            }
                            Ok(Err(failure)) => return Err(failure.explained(Some(&query))),
                            Err(_) => return Err(timed_out(self.pool.timeout())),
                        }
                    }
                    Ok(Err(failure)) => return Err(failure.explained(Some(&query))),
                    Err(_) => return Err(timed_out(self.pool.timeout())),
                }
            };
            if let Some(width) = progress.bytes.checked_div(progress.rows) {
                self.width.note(width);
            }
            Ok(Run { sink, ended })
        })
    }

    fn count<'a>(&'a self, conditions: Arc<[Condition]>) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async move {
            let claim = Claim { filtered: !conditions.is_empty(), ..Claim::default() };
            let mut lease = self.pool.lease(claim).await.ok()?;
            let count = rows::count(&lease.connection().client, self.pool.connector().begin(), &self.plan, &conditions);
            let count = tokio::time::timeout(self.pool.patience(), count).await.ok()?.ok()?;
            lease.give_back();
            count
        })
    }
}

/// Why a read failed.
#[derive(Debug)]
enum Failure {
    Postgres(tokio_postgres::Error),
    Own(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Postgres(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Own(error)
    }
}

impl Failure {
    fn explained(self, query: Option<&Query>) -> Error {
        match self {
            Failure::Postgres(error) => explained(error, query),
            Failure::Own(error) => error,
        }
    }
}

/// Whether a connection was lost, and not a query refused.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    let ended = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::IDLE_SESSION_TIMEOUT];
    error.is_closed() || error.code().is_none_or(|code| ended.contains(code) || code.code().starts_with("08"))
}

/// What a failure of PostgreSQL's means to the caller (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn explained(error: tokio_postgres::Error, query: Option<&Query>) -> Error {
    let Some(database) = error.as_db_error() else {
        return unreached(chain(&error));
    };
    let code = database.code().code();
    let (filtered, placed) =
        query.map_or((false, false), |query| (!query.conditions.is_empty(), !query.after.is_start()));
    let made = match (&code[..2], code) {
        // Some types call a value's text wrong by the same code, and then no place in the query's.
        ("42", "42601") if database.position().is_some() => {
            Error::new(Kind::Internal, "PostgreSQL does not take the text of a query")
                .remedy("this is a fault of the program: report it with what the log says")
        }
        // A value that a request brought along is not of the column's type; a division by zero is the operator's own.
        ("22", code) if code != "22012" && filtered => {
            // What PostgreSQL says may quote a value of a row, of a column that is not shown: it is for the log.
            return Error::new(Kind::Invalid, "a filter's value does not fit its column")
                .remedy("write it as PostgreSQL writes a value of the column's type")
                .caused_by(database.to_string());
        }
        ("22", code) if code != "22012" && placed => {
            return Error::new(Kind::Invalid, "the cursor holds no place of this list")
                .remedy("pass `after` exactly as it was handed out by the same list, or leave it out to start anew");
        }
        ("42", _) if filtered => {
            return Error::new(Kind::Invalid, "a filter cannot be used so")
                .remedy("use another operator on this column")
                .caused_by(database.to_string());
        }
        ("57", "57014") => Error::new(Kind::Timeout, "PostgreSQL stopped the read at its time limit")
            .remedy("see what is slow with `chunkflow check`, or raise `timeout` in [databases]"),
        ("53", _) => Error::new(Kind::Busy, "PostgreSQL has no room for more")
            .remedy("give this database a smaller `pool`, or the server more connections"),
        ("28", _) => Error::new(Kind::Unavailable, "PostgreSQL does not let this user in")
            .remedy("see the user and password in the database's URL, and pg_hba.conf"),
        ("3D", _) => Error::new(Kind::Unavailable, "PostgreSQL has no such database").remedy("see the database's URL"),
        ("42", "42501") => Error::new(Kind::Unavailable, "PostgreSQL does not let this user read the table")
            .remedy("GRANT SELECT ON the table TO the user"),
        ("42", _) => Error::new(Kind::Unavailable, "PostgreSQL does not take the query; the table may have changed")
            .remedy("restart, so that the table is looked at again"),
        _ => Error::new(Kind::Unavailable, "PostgreSQL could not answer").remedy("see its log"),
    };
    made.caused_by(database.to_string())
}

/// What to do where nothing of PostgreSQL's own was heard; the driver has no kinds for these.
fn unreached(why: String) -> Error {
    let known: [(&str, &str, &str); 5] = [
        (
            "password missing",
            "PostgreSQL asks for a password, and the database's URL has none",
            "write postgres://USER:PASSWORD@HOST/DATABASE, or set PGPASSWORD in the environment",
        ),
        (
            "UnknownIssuer",
            "PostgreSQL's certificate is signed by an authority that is not known here",
            "name the authority's certificate with sslrootcert=FILE in the database's URL",
        ),
        (
            "not valid for name",
            "PostgreSQL's certificate is for another name",
            "write the name that it is for, or sslmode=verify-ca to check the authority alone",
        ),
        (
            "does not support TLS",
            "PostgreSQL has no TLS",
            "give the server a certificate, or write sslmode=prefer in the database's URL",
        ),
        (
            "failed to lookup",
            "PostgreSQL's host has no address",
            "see the host in the database's URL; an `@` in the password is written %40",
        ),
    ];
    let found = known.iter().find(|(sign, ..)| why.contains(sign));
    let (message, remedy) = found.map_or(
        ("PostgreSQL cannot be reached", "see that it runs at the address in [databases], and lets this host in"),
        |(_, message, remedy)| (*message, *remedy),
    );
    Error::new(Kind::Unavailable, message).remedy(remedy).caused_by(why)
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

fn timed_out(timeout: Duration) -> Error {
    Error::new(Kind::Timeout, format!("PostgreSQL took longer than {timeout:?}"))
        .remedy("see what is slow with `chunkflow check`, or raise `timeout` in [databases]")
}
