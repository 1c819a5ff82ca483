//! MySQL and MariaDB: connections that each serve one read at a time, in a transaction of its own.
//!
//! Dropping a query does not stop it at the server, and the connection would stay busy. So a read
//! that is given up is stopped over another connection, and its own connection is never used again.

mod careful;
mod catalogue;
mod commits;
mod connect;
mod errors;
mod explain;
mod params;
mod proof;
mod rows;
mod views;
mod wire;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mysql_async::{DriverError, Row, prelude::Queryable};

use self::{
    catalogue::{Extra, Extras},
    connect::{Connector, ServerFacts, Session, has_no_tls, tls_failed},
    errors::{is_error_of_a_value, is_too_wide},
    proof::{Proof, Stamp},
};
use super::{
    BoxFuture, Claim, Complaint, Condition, Database, DatabaseOptions, GateLimits, KnownBy, MadeSource, PoolState,
    Query, Room, Sealed, Spec, TableInfo,
    sql::{
        careful::Done,
        catalogue::Catalogue,
        definition::{Definition, Identity, Told, tables},
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
    row::{Fields, RowSink},
};

/// MySQL's dialect of SQL.
pub(super) const DIALECT: Dialect = Dialect {
    quote: '`',
    numbered: false,
    null_is_greatest: false,
    // MySQL does not use an index range for a comparison of rows.
    compares_rows: false,
    in_list: None,
    collations_must_agree: false,
    queries_lose_collations: false,
    joins_exists: false,
    join: "JOIN",
    as_text: "CAST(? AS CHAR)",
    length: "LENGTH(?)",
    sum: "CAST(SUM(?) AS SIGNED)",
    no_text: "CAST(NULL AS CHAR)",
    // MySQL cannot turn the escape character off, so patterns double their backslashes.
    ilike: ["LOWER(", ") LIKE LOWER(", ")"],
    no_escape: "",
};

type Pool = pool::Pool<Connector>;

/// How often a source or a look is made before it gives up, while tables change meanwhile.
const TRIES: usize = 5;

/// A MySQL or MariaDB database.
pub struct Mysql(Arc<Server>);

/// What the sources of one database share.
struct Server {
    pool: Arc<Pool>,
    options: DatabaseOptions,
    looked: Looked<Look>,
}

/// One look at a database.
struct Look {
    catalogue: Catalogue,
    extras: Extras,
    server: ServerFacts,
    told: Told,
    /// The column definitions of each table, by the table's name.
    columns: HashMap<String, Stamp>,
}

pub(super) fn open(options: &DatabaseOptions) -> BoxFuture<'_, Result<Arc<dyn Database>>> {
    Box::pin(async move { Ok(Arc::new(Mysql::open(options).await?) as Arc<dyn Database>) })
}

impl Mysql {
    /// Connects to `mysql://…`, and reads the list of tables.
    ///
    /// All resources made from it share the connections and the gate.
    ///
    /// # Errors
    /// [`Kind::Config`] when the URL cannot be read; [`Kind::Unavailable`] when the server refuses
    /// the connection or does not answer.
    pub async fn open(options: &DatabaseOptions) -> Result<Mysql> {
        let limits = GateLimits { reads: options.pool.max(1), ..GateLimits::default() };
        let connector = Connector::new(&options.url, options.timeout, options.role.as_deref())?;
        let connector = connector.bounded(options.bounds.unmeasured);
        let pool = Arc::new(Pool::new(connector, limits, options.timeout));
        let began = Instant::now();
        let seen = look(&pool).await?;
        Ok(Mysql(Arc::new(Server { pool, options: options.clone(), looked: Looked::new(seen, began) })))
    }
}

async fn look(pool: &Arc<Pool>) -> Result<Look> {
    let mut lease = pool.lease(Claim::default()).await?;
    let server = lease.connection().server.clone();
    let mut told = pool.connector().told();
    let conn = &mut lease.connection().conn;
    let read = async {
        let who = format!("SELECT CONCAT_WS(' ', {}), CONCAT_WS(' ', {})", server.own_identity(), server.user());
        let who: Option<Row> = conn.query_first(who).await?;
        let kind = if server.is_mariadb { "mariadb" } else { "mysql" };
        told.own = who.as_ref().and_then(|row| wire::text(row, 0)).map(|own| format!("{kind} {own}"));
        told.own_is_the_servers = true;
        told.user = who.as_ref().and_then(|row| wire::text(row, 1)).unwrap_or_default();
        let mut columns = proof::all_columns(conn).await?;
        let mut tries = 0;
        let (catalogue, extras) = loop {
            let read = catalogue::read(conn, &server).await?;
            let before = std::mem::replace(&mut columns, proof::all_columns(conn).await?);
            tries += 1;
            // Columns that are the same before and after the look did not change in between. Other
            // changes are found by each source for itself.
            if columns == before || tries == TRIES {
                break read;
            }
        };
        Ok::<_, mysql_async::Error>(Look { catalogue, extras, server, told, columns })
    };

    match tokio::time::timeout(pool.timeout(), read).await {
        Ok(Ok(look)) => {
            lease.give_back();
            Ok(look)
        }
        Ok(Err(error)) => {
            lease.end();
            Err(explained(error, &[]))
        }
        Err(_) => Err(timed_out(pool.timeout())),
    }
}

impl Look {
    fn plan(&self, spec: &Spec) -> Result<(Plan, Fields, &Extra), Vec<Complaint>> {
        static NONE: Extra = Extra { row_length: 0, indexes: vec![] };
        let (plan, fields) = plan(spec, &self.catalogue)?;
        let extra = self.extras.get(&plan.table).unwrap_or(&NONE);
        Ok((plan, fields, extra))
    }
}

impl Server {
    async fn look_after(&self, noticed: Instant) -> Result<Arc<Look>, Vec<Complaint>> {
        let seen = self.looked.after(noticed, async || look(&self.pool).await).await;
        seen.map_err(|error| vec![Complaint::failed("table", &error)])
    }

    /// Makes a connection that takes the widest row.
    async fn for_wide_rows(&self) -> Result<Session> {
        let bounds = &self.options.bounds;
        // Besides a row's values, their lengths are sent.
        self.pool.connector().connection_for(bounds.row + bounds.unmeasured).await
    }

    /// What a transaction that reads no rows sees of the definitions.
    async fn read_stamp(&self, sql: &str) -> Result<Stamp> {
        let mut lease = self.pool.lease(Claim::default()).await?;
        let saw = proof::read_stamp(&mut lease.connection().conn, sql);
        let saw = tokio::time::timeout(self.pool.timeout(), saw).await.map_err(|_| timed_out(self.pool.timeout()))?;
        let saw = saw.map_err(|error| explained(error, &[]))?;
        lease.give_back();
        Ok(saw)
    }
}

/// Whether reads that begin now see these commits.
async fn shows(pool: &Arc<Pool>, commits: &[&str]) -> Result<bool> {
    let mut lease = pool.lease(Claim::default()).await?;
    let is_mariadb = lease.connection().server.is_mariadb;
    commits.iter().try_for_each(|commit| commits::check(commit, is_mariadb))?;
    let shown = commits::are_shown(&mut lease.connection().conn, commits, is_mariadb);
    let shown = tokio::time::timeout(pool.timeout(), shown).await.map_err(|_| timed_out(pool.timeout()))?;
    let shown = shown.map_err(|error| explained(error, &[]))?;
    lease.give_back();
    Ok(shown)
}

impl Sealed for Mysql {}

impl Database for Mysql {
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
        commits::check(commit, self.0.looked.last().server.is_mariadb)
    }

    fn shows<'a>(&'a self, commits: &'a [&'a str]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(shows(&self.0.pool, commits))
    }

    fn explain<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Vec<Complaint>> {
        Box::pin(async move {
            let look = self.0.looked.last();
            match look.plan(spec) {
                Ok((plan, _, extra)) => explain::slow(&self.0.pool, &plan, &look.catalogue, extra).await,
                Err(_) => vec![],
            }
        })
    }
}

impl Driver for Server {
    type Connect = Connector;
    type Error = mysql_async::Error;
    type Proof = Proof;
    type Stamp = Stamp;

    const TYPING: Typing = Typing::Coerced;

    fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn options(&self) -> &DatabaseOptions {
        &self.options
    }

    fn system(connection: &Session) -> &'static str {
        if connection.server.is_mariadb { "mariadb" } else { "mysql" }
    }

    async fn made(&self, spec: &Spec, noticed: Option<Instant>) -> Result<Made<Proof>, Vec<Complaint>> {
        let mut look = match noticed {
            Some(noticed) => self.look_after(noticed).await?,
            None => self.looked.last(),
        };

        for _ in 0..TRIES {
            let began = Instant::now();
            let (plan, fields, extra) = look.plan(spec)?;
            let plan = plan.within(self.options.bounds);
            let used = views::with_views_behind(tables(&plan, &look.catalogue), &look.catalogue.tables);
            let sql = proof::saw(&used, &look.server, &look.told, &self.options);
            let stamp = self.read_stamp(&sql).await.map_err(|error| vec![Complaint::failed("table", &error)])?;
            let same = used.iter().all(|table| {
                let mut columns = look.columns.get(&table.full_name).into_iter().flatten();
                columns.all(|column| stamp.contains(column))
            });
            let known: usize = used.iter().filter_map(|table| look.columns.get(&table.full_name)).map(Vec::len).sum();
            let views = used.iter().filter(|table| table.is_view).count();
            // Besides one line for each column there is one for the user, and one for each view.
            if same && stamp.len() == known + views + 1 {
                explain::prepare(&self.pool, &plan).await?;
                let behind: Vec<String> = if views > 0 { stamp[..].to_vec() } else { vec![] };
                let identity = Identity::new(&self.options, &look.told);
                let definition = Definition::new(&plan, &look.catalogue, &identity, &behind);
                let touch = touch::rules(&plan, &spec.key, &look.catalogue, &identity, Self::TYPING);
                let row_length = extra.row_length;
                return Ok(Made { plan, fields, definition, touch, proof: Proof { sql, stamp }, row_length });
            }
            look = self.look_after(began).await?;
        }

        Err(vec![Complaint::new("table", "the tables change again and again", "try again when they have settled")])
    }

    fn stamp(proof: &Proof) -> &Stamp {
        &proof.stamp
    }

    fn bindable(plan: &Plan, conditions: &Arc<[Condition]>) -> Result<Arc<[Condition]>> {
        params::checked(plan, conditions)
    }

    /// A large row is read over a connection of its own, which takes long packets and is not used
    /// again.
    async fn lease(&self, query: &Query, room: Option<&Room>) -> Result<Lease<Connector>> {
        match room {
            Some(_) => self.pool.lease_made(query.claim(), self.for_wide_rows()).await,
            None => self.pool.lease(query.claim()).await,
        }
    }

    fn give_back(lease: Lease<Connector>, room: Option<&Room>) {
        match room {
            Some(_) => lease.end(),
            None => lease.give_back(),
        }
    }

    async fn attempt(
        &self,
        session: &mut Session,
        plan: &Plan,
        proof: &Proof,
        query: &Query,
        sink: &mut dyn RowSink,
        progress: &mut Progress,
    ) -> Result<(bool, Option<Stamp>), Failure> {
        rows::read(&mut session.conn, proof, plan, query, sink, progress).await
    }

    async fn attempt_with_care(
        &self,
        session: &mut Session,
        plan: &Plan,
        proof: &Proof,
        query: &Query,
        room: u64,
        sink: &mut dyn RowSink,
    ) -> Result<(Done, Stamp), Failure> {
        careful::read(&mut session.conn, proof, plan, query, room, sink).await
    }

    async fn saw(&self, proof: &Proof) -> Result<Stamp> {
        self.read_stamp(&proof.sql).await
    }

    async fn count(
        &self,
        session: &mut Session,
        plan: &Plan,
        conditions: &[Condition],
    ) -> Result<Option<u64>, Failure> {
        rows::count(&mut session.conn, plan, conditions).await
    }

    fn signs(error: &mysql_async::Error) -> Signs {
        if is_too_wide(error) {
            return Signs { over: true, wide: true, ..Signs::default() };
        }

        Signs {
            lost: is_lost(error),
            over: true,
            changed: is_the_schemas(error),
            doubtful: may_be_the_schemas(error),
            passing: will_pass(error),
            of_a_value: is_error_of_a_value(error),
            ..Signs::default()
        }
    }

    fn explained(error: mysql_async::Error, query: &Query) -> Error {
        explained(error, &query.conditions)
    }

    fn timed_out(timeout: Duration) -> Error {
        timed_out(timeout)
    }
}

/// Why a read failed.
type Failure = failure::Failure<mysql_async::Error>;

impl From<mysql_async::Error> for Failure {
    fn from(error: mysql_async::Error) -> Failure {
        Failure::Database(error)
    }
}

/// Whether a changed table may be the cause, and not only the request.
fn may_be_the_schemas(error: &mysql_async::Error) -> bool {
    let codes = [1049, 1054, 1064, 1146, 1267, 1271, 1292, 1356, 1366, 1525, 1690];
    matches!(error, mysql_async::Error::Server(error) if codes.contains(&error.code))
}

/// Whether the error says that a table has changed since the transaction began.
fn is_the_schemas(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(error) if error.code == 1412)
}

/// Whether the server says that the same read may be tried again: a row changed under it, it waited
/// too long for a lock, or there was a deadlock.
fn will_pass(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(error) if matches!(error.code, 1020 | 1205 | 1213))
}

/// Whether the connection was lost, as opposed to a refused query.
fn is_lost(error: &mysql_async::Error) -> bool {
    match error {
        // The server shuts down, the connection was killed, or it was idle for too long.
        mysql_async::Error::Server(error) => matches!(error.code, 1053 | 1077 | 1079 | 1927 | 4031),
        error => error.is_fatal(),
    }
}

/// The error for the caller, from MySQL's
/// (<https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>).
fn explained(error: mysql_async::Error, conditions: &[Condition]) -> Error {
    let server = match &error {
        mysql_async::Error::Server(server) => server,
        error if has_no_tls(error) => {
            return Error::new(Kind::Unavailable, "MySQL has no TLS")
                .remedy("give the server a certificate, or write ssl-mode=preferred in the database's URL");
        }
        other if tls_failed(other) => {
            return Error::new(Kind::Unavailable, "MySQL's certificate is not trusted")
                .remedy("name its authority's with ssl-ca=… in the database's URL, or see ssl-mode")
                .caused_by(error);
        }
        mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { .. }) => {
            return Error::new(Kind::Unavailable, "MySQL asks for a way to log in that is not known here")
                .remedy("let the user log in with caching_sha2_password or mysql_native_password")
                .caused_by(error);
        }
        _ => {
            return Error::new(Kind::Unavailable, "MySQL cannot be reached")
                .remedy("see that it runs at the address in [databases], and lets this host in")
                .caused_by(error);
        }
    };

    let made = match server.code {
        1969 | 3024 => Error::new(Kind::Timeout, "MySQL stopped the read at its time limit")
            .remedy("see what is slow with `chunkflow check`, or raise `timeout` in [databases]"),
        1045 if server.message.contains("using password: NO") => {
            Error::new(Kind::Unavailable, "MySQL asks for a password, and the database's URL has none")
                .remedy("write mysql://USER:PASSWORD@HOST/DATABASE, or set MYSQL_PWD in the environment")
        }
        1040 | 1041 | 1203 | 1226 => Error::new(Kind::Busy, "MySQL has no room for more")
            .remedy("give this database a smaller `pool`, or the server more connections"),
        1044 | 1045 | 1129 | 1130 | 1251 | 1698 | 3118 | 3159 => {
            Error::new(Kind::Unavailable, "MySQL does not let this user in")
                .remedy("see the user and password in the database's URL, and from where the user may come")
        }
        1049 => Error::new(Kind::Unavailable, "MySQL has no such database").remedy("see the database's URL"),
        1142 | 1143 => Error::new(Kind::Unavailable, "MySQL does not let this user read the table")
            .remedy("GRANT SELECT ON the table TO the user"),
        // Collations that cannot be compared, or values out of their type's range.
        1267 | 1271 | 1292 | 1366 | 1525 | 1690 if !conditions.is_empty() => {
            // MySQL's message may quote a value of a row, from a column that is not shown. So it
            // goes to the log only.
            return Error::new(Kind::Invalid, "a filter's value does not fit its column")
                .remedy("write it as MySQL writes a value of the column's type")
                .caused_by(error);
        }
        1064 => Error::new(Kind::Internal, "MySQL does not take the text of a query")
            .remedy("this is a fault of the program: report it with what the log says"),
        1054 | 1146 | 1356 => Error::new(Kind::Unavailable, "MySQL does not take the query")
            .remedy("see what `chunkflow check` says of this list"),
        _ => Error::new(Kind::Unavailable, "MySQL could not answer").remedy("see its log"),
    };

    made.caused_by(error)
}

fn timed_out(timeout: Duration) -> Error {
    Error::new(Kind::Timeout, format!("MySQL took longer than {timeout:?}"))
        .remedy("see what is slow with `chunkflow check`, or raise `timeout` in [databases]")
}
