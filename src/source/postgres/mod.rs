//! PostgreSQL: connections that each serve one read at a time, in a transaction of its own.
//!
//! Dropping a query does not stop it at the server, and the connection would stay busy. So a read
//! that is given up is cancelled by a request of its own, and its connection is never used again.

mod careful;
mod catalogue;
mod commits;
mod connect;
mod errors;
mod explain;
mod framing;
mod look;
mod params;
mod proof;
mod rows;
mod tls;
mod views;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_postgres::error::SqlState;

#[doc(hidden)]
#[cfg(fuzzing)]
pub(crate) use self::wire::fuzz_postgres_wire;
use self::{
    connect::{Connection, Connector},
    errors::is_error_of_a_value,
    explain::Prepared,
    look::Look,
    proof::{Ground, Proof, Stamp},
};
use super::{
    BoxFuture, Claim, Complaint, Condition, Database, DatabaseOptions, GateLimits, KnownBy, MadeSource, PoolState,
    Query, Room, RowBounds, Sealed, Spec, TableInfo, TouchRules,
    sql::{
        careful::Done,
        definition::{Definition, Identity, tables},
        dialect::Dialect,
        driver::{Driver, Made},
        failure::{self, Signs},
        looked::Looked,
        places::Typing,
        plan::Plan,
        planner::plan,
        pool::{self, Lease},
        run::Progress,
        table::Table,
        touch,
    },
};
use crate::{
    error::{Error, Kind, Result},
    row::RowSink,
};

/// PostgreSQL's dialect of SQL.
pub(super) const DIALECT: Dialect = Dialect {
    quote: '"',
    numbered: true,
    null_is_greatest: true,
    compares_rows: true,
    in_list: Some(" = ANY (?)"),
    collations_must_agree: true,
    queries_lose_collations: false,
    joins_exists: true,
    join: "JOIN",
    as_text: "(?)::text",
    length: "octet_length(?)::int8",
    sum: "sum(?)::int8",
    no_text: "NULL::text",
    ilike: ["", " ILIKE ", ""],
    no_escape: " ESCAPE ''",
};

type Pool = pool::Pool<Connector>;

/// How often a source is made before it gives up, while its tables change meanwhile.
const TRIES: usize = 5;

/// A PostgreSQL database.
pub struct Postgres(Arc<Server>);

/// What the sources of one database share.
struct Server {
    pool: Arc<Pool>,
    options: DatabaseOptions,
    looked: Looked<Look>,
}

pub(super) fn open(options: &DatabaseOptions) -> BoxFuture<'_, Result<Arc<dyn Database>>> {
    Box::pin(async move { Ok(Arc::new(Postgres::open(options).await?) as Arc<dyn Database>) })
}

impl Postgres {
    /// Connects to `postgres://…`, and reads the list of tables.
    ///
    /// All resources made from it share the connections and the gate.
    ///
    /// # Errors
    /// [`Kind::Config`] when the URL cannot be read; [`Kind::Unavailable`] when the server refuses
    /// the connection or does not answer.
    pub async fn open(options: &DatabaseOptions) -> Result<Postgres> {
        let limits = GateLimits { reads: options.pool.max(1), ..GateLimits::default() };
        let connector = Connector::new(&options.url, options.timeout, options.role.as_deref())?;
        let pool = Arc::new(Pool::new(connector, limits, options.timeout));
        let began = Instant::now();
        let seen = look(&pool).await?;
        Ok(Postgres(Arc::new(Server { pool, options: options.clone(), looked: Looked::new(seen, began) })))
    }
}

async fn look(pool: &Arc<Pool>) -> Result<Look> {
    let mut lease = pool.lease(Claim::default()).await?;
    let begin = pool.connector().begin();
    let told = pool.connector().told();
    let seen = tokio::time::timeout(pool.timeout(), look::look(&lease.connection().client, begin, told)).await;
    let seen = seen.map_err(|_| timed_out(pool.timeout()))?;
    let seen = seen.map_err(|error| explained(error, None))?;
    lease.give_back();
    Ok(seen)
}

impl Server {
    async fn look_after(&self, noticed: Instant) -> Result<Arc<Look>, Vec<Complaint>> {
        let seen = self.looked.after(noticed, async || look(&self.pool).await).await;
        seen.map_err(|error| vec![Complaint::failed("table", &error)])
    }
}

/// Whether reads that begin now see these commits.
async fn shows(pool: &Arc<Pool>, commits: &[&str]) -> Result<bool> {
    let questions = commits::Questions::of(commits)?;
    let mut lease = pool.lease(Claim::default()).await?;
    let shown = tokio::time::timeout(pool.timeout(), questions.ask(&lease.connection().client)).await;
    let shown = shown.map_err(|_| timed_out(pool.timeout()))?.map_err(|error| explained(error, None))?;
    lease.give_back();
    Ok(shown)
}

impl Sealed for Postgres {}

impl Database for Postgres {
    fn source<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, MadeSource> {
        Box::pin(Table::made(&self.0, spec))
    }

    fn look_again(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.0.looked.after(Instant::now(), async || look(&self.0.pool).await).await?;
            Ok(())
        })
    }

    fn pool(&self) -> PoolState {
        self.0.pool.state()
    }

    fn known_by(&self) -> KnownBy {
        Identity::new(&self.0.options, &self.0.looked.last().told).known_by
    }

    fn tables(&self) -> Vec<TableInfo> {
        self.0.looked.last().catalogue.tables()
    }

    fn check_commit(&self, commit: &str) -> Result<()> {
        commits::check(commit)
    }

    fn shows<'a>(&'a self, commits: &'a [&'a str]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(shows(&self.0.pool, commits))
    }

    fn explain<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Vec<Complaint>> {
        Box::pin(async move {
            match plan(spec, &self.0.looked.last().catalogue) {
                Ok((plan, _)) => explain::slow(&self.0.pool, &plan).await,
                Err(_) => vec![],
            }
        })
    }
}

/// How many bytes a message may have.
fn widest(bounds: &RowBounds, with_care: bool) -> u64 {
    // Besides a row's values their lengths are sent, and binary JSON has one byte more.
    if with_care { bounds.row + bounds.unmeasured } else { bounds.unmeasured }
}

impl Driver for Server {
    type Connect = Connector;
    type Error = tokio_postgres::Error;
    type Proof = Proof;
    type Stamp = Stamp;

    const TYPING: Typing = Typing::Strict;
    const TAKES_SESSIONS: bool = true;

    fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn options(&self) -> &DatabaseOptions {
        &self.options
    }

    fn system(_: &Connection) -> &'static str {
        "postgresql"
    }

    async fn made(&self, spec: &Spec, noticed: Option<Instant>) -> Result<Made<Proof>, Vec<Complaint>> {
        let mut look = match noticed {
            Some(noticed) => self.look_after(noticed).await?,
            None => self.looked.last(),
        };

        for _ in 0..TRIES {
            let began = Instant::now();
            let (plan, fields) = plan(spec, &look.catalogue)?;
            let plan = plan.within(self.options.bounds);
            let used = tables(&plan, &look.catalogue);
            let ground = Ground::new(&look, &used, self.pool.connector().begin(), &self.options);
            if let Some(Prepared { proof, behind }) = explain::prepare(&self.pool, &plan, ground, &look).await? {
                let identity = Identity::new(&self.options, &look.told);
                let definition = Definition::new(&plan, &look.catalogue, &identity, &behind);
                let touch = touch::rules(&plan, &spec.key, &look.catalogue, &identity, Self::TYPING);
                let touch =
                    touch.map(|rules| TouchRules { reads_any: rules.reads_any || spec.has_row_security, ..rules });
                return Ok(Made { plan, fields, definition, touch, proof, row_length: 0 });
            }
            look = self.look_after(began).await?;
        }

        Err(vec![Complaint::new("table", "the tables change again and again", "try again when they have settled")])
    }

    fn stamp(proof: &Proof) -> &Stamp {
        &proof.stamp
    }

    fn bindable(_: &Plan, conditions: &Arc<[Condition]>) -> Result<Arc<[Condition]>> {
        Ok(Arc::clone(conditions))
    }

    async fn lease(&self, query: &Query, _: Option<&Room>) -> Result<Lease<Connector>> {
        self.pool.lease(query.claim()).await
    }

    fn give_back(lease: Lease<Connector>, _: Option<&Room>) {
        lease.give_back();
    }

    async fn attempt(
        &self,
        connection: &mut Connection,
        plan: &Plan,
        proof: &Proof,
        query: &Query,
        sink: &mut dyn RowSink,
        progress: &mut Progress,
    ) -> Result<(bool, Option<Stamp>), Failure> {
        let Connection { client, bound, .. } = connection;
        bound.set(widest(&plan.bounds, false));
        let read = rows::read(client, proof, plan, query, bound, sink, progress).await;
        read.map_err(|failure| if bound.is_exceeded() { Failure::Wide } else { failure })
    }

    async fn attempt_with_care(
        &self,
        connection: &mut Connection,
        plan: &Plan,
        proof: &Proof,
        query: &Query,
        room: u64,
        sink: &mut dyn RowSink,
    ) -> Result<(Done, Stamp), Failure> {
        let Connection { client, bound, .. } = connection;
        bound.set(widest(&plan.bounds, true));
        let read = careful::read(client, proof, plan, query, room, sink).await;
        read.map_err(|failure| if bound.is_exceeded() { Failure::Wide } else { failure })
    }

    async fn saw(&self, proof: &Proof) -> Result<Stamp> {
        let mut lease = self.pool.lease(Claim::default()).await?;
        let seen = async {
            let client = &lease.connection().client;
            client.batch_execute(&proof.begin(None)).await?;
            proof::read_stamp(client, &proof.end(None)).await
        };
        let seen = tokio::time::timeout(self.pool.timeout(), seen).await;
        let seen = seen.map_err(|_| timed_out(self.pool.timeout()))?;
        let seen = seen.map_err(|failure| failure.explained(|error| explained(error, None)))?;
        lease.give_back();
        Ok(seen)
    }

    async fn count(
        &self,
        connection: &mut Connection,
        plan: &Plan,
        conditions: &[Condition],
    ) -> Result<Option<u64>, Failure> {
        rows::count(&connection.client, self.pool.connector().begin(), plan, conditions).await
    }

    fn signs(error: &tokio_postgres::Error) -> Signs {
        Signs {
            lost: is_lost(error),
            doubtful: may_be_the_schemas(error),
            passing: will_pass(error),
            of_a_value: is_error_of_a_value(error),
            ..Signs::default()
        }
    }

    fn explained(error: tokio_postgres::Error, query: &Query) -> Error {
        explained(error, Some(query))
    }

    fn timed_out(timeout: Duration) -> Error {
        timed_out(timeout)
    }
}

/// Why a read failed.
type Failure = failure::Failure<tokio_postgres::Error>;

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Database(error)
    }
}

/// Whether a changed table may be the cause, and not only the request.
fn may_be_the_schemas(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| ["22", "3F", "42", "0A"].contains(&&code.code()[..2]))
}

/// Whether the server says that the same read may be tried again: a standby's replay was in its
/// way, or there was a deadlock.
fn will_pass(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::TRANSACTION_ROLLBACK];
    error.code().is_some_and(|code| codes.contains(code))
}

/// Whether the connection was lost, as opposed to a refused query.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    let ended = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::IDLE_SESSION_TIMEOUT];
    error.is_closed() || error.code().is_none_or(|code| ended.contains(code) || code.code().starts_with("08"))
}

/// The error for the caller, from PostgreSQL's
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn explained(error: tokio_postgres::Error, query: Option<&Query>) -> Error {
    let Some(database) = error.as_db_error() else {
        return unreached(chain(&error));
    };

    let code = database.code().code();
    let filtered = query.is_some_and(|query| !query.conditions.is_empty());
    let placed = query.is_some_and(|query| !query.after.is_start());
    let has_session = query.is_some_and(|query| query.session.is_some());
    let made = match (&code[..2], code) {
        // Some types use this code for a wrong value too, but then without a position in the query.
        ("42", "42601") if database.position().is_some() => {
            Error::new(Kind::Internal, "PostgreSQL does not take the text of a query")
                .remedy("this is a fault of the program: report it with what the log says")
        }
        // Policies compare a claim with something of another type. Any value of the request would be
        // in a condition or a place.
        ("22", code) if code != "22012" && has_session && !filtered => {
            return Error::new(Kind::Forbidden, "a claim is not what the policies of this list take")
                .caused_by(database.to_string());
        }
        // A request's value is not of the column's type. A division by zero is in the operator's
        // own SQL.
        ("22", code) if code != "22012" && filtered => {
            // PostgreSQL's message may quote a value of a row, from a column that is not shown. So
            // it goes to the log only.
            return Error::new(Kind::Invalid, "a filter's value does not fit its column")
                .remedy("write it as PostgreSQL writes a value of the column's type")
                .caused_by(database.to_string());
        }
        ("22", code) if code != "22012" && placed => {
            return Error::new(Kind::Invalid, "the cursor holds no place of this list")
                .remedy("pass `after` exactly as it was handed out by the same list, or leave it out to start anew");
        }
        ("42" | "0A", code) if filtered && code != "42501" => {
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
        ("42", _) => Error::new(Kind::Unavailable, "PostgreSQL does not take the query")
            .remedy("see what `chunkflow check` says of this list"),
        _ => Error::new(Kind::Unavailable, "PostgreSQL could not answer").remedy("see its log"),
    };

    made.caused_by(database.to_string())
}

/// The error when no answer of PostgreSQL came, with a remedy; the driver has no kinds for these.
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

/// An error with all its causes.
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
