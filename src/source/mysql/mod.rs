//! MySQL and MariaDB: connections that each serve one read at a time, in a transaction of its own.
//!
//! Dropping a query does not stop it at the server, and the connection would be busy with it: a read that is given up is
//! stopped from another connection, and its own is never used again.

mod careful;
mod catalogue;
mod connect;
mod explain;
mod params;
mod rows;
mod views;
mod wire;

use std::{sync::Arc, time::Duration};

use mysql_async::DriverError;

use self::{
    catalogue::{Extra, Extras},
    connect::{Connector, has_no_tls, tls_failed},
    rows::Progress,
};
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

/// How MySQL writes SQL.
pub(super) const DIALECT: Dialect = Dialect {
    quote: '`',
    numbered: false,
    null_is_greatest: false,
    // Its index ranges are not of rows.
    compares_rows: false,
    in_list: None,
    collations_must_agree: false,
    join: "JOIN",
    as_text: "CAST(? AS CHAR)",
    no_text: "CAST(NULL AS CHAR)",
    // It has no way to say so; patterns double their backslashes.
    no_escape: "",
};

type Pool = pool::Pool<Connector>;

/// A MySQL or MariaDB database.
pub struct Mysql {
    pool: Arc<Pool>,
    catalogue: Catalogue,
    extras: Extras,
}

pub(super) fn open(options: &DatabaseOptions) -> BoxFuture<'_, Result<Arc<dyn Database>>> {
    Box::pin(async move {
        let limits = GateLimits { reads: options.pool.max(1), ..GateLimits::default() };
        Ok(Arc::new(Mysql::open(&options.url, limits, options.timeout).await?) as Arc<dyn Database>)
    })
}

impl Mysql {
    /// Connects to `mysql://…`, and reads what tables there are.
    ///
    /// `timeout` is the time limit of one read. Each resource made from it shares the connections and the gate.
    ///
    /// # Errors
    /// [`Kind::Config`] when the URL cannot be read; [`Kind::Unavailable`] when the server does not let us in.
    pub async fn open(url: &str, limits: GateLimits, timeout: Duration) -> Result<Mysql> {
        let pool = Arc::new(Pool::new(Connector::new(url, timeout)?, limits, timeout));
        let mut lease = pool.lease(Claim::default()).await?;
        let server = lease.connection().server.clone();
        let read = tokio::time::timeout(timeout, catalogue::read(&mut lease.connection().conn, &server)).await;
        let (catalogue, extras) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                lease.end();
                return Err(explained(error, &[]));
            }
            Err(_) => return Err(timed_out(timeout)),
        };
        lease.give_back();
        Ok(Mysql { pool, catalogue, extras })
    }

    fn plan(&self, spec: &Spec) -> Result<(Plan, Fields, &Extra), Vec<Complaint>> {
        static NONE: Extra = Extra { row_length: 0, indexes: vec![] };
        let (plan, fields) = plan(spec, &self.catalogue)?;
        let extra = self.extras.get(&plan.table).unwrap_or(&NONE);
        Ok((plan, fields, extra))
    }
}

impl Database for Mysql {
    fn source<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, MadeSource> {
        Box::pin(async move {
            let (plan, fields, extra) = self.plan(spec)?;
            let (plan, width) = (Arc::new(plan), Width::new(extra.row_length));
            explain::prepare(&self.pool, &plan).await?;
            let fingerprint = format!("mysql {} {plan:?}", self.pool.connector().identity()).into_bytes();
            let source = Table { pool: Arc::clone(&self.pool), plan, fingerprint, width };
            Ok((Arc::new(source) as Arc<dyn Source>, fields))
        })
    }

    fn tables(&self) -> Vec<TableInfo> {
        self.catalogue.tables()
    }

    fn explain<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Vec<Complaint>> {
        Box::pin(async move {
            match self.plan(spec) {
                Ok((plan, _, extra)) => explain::slow(&self.pool, &plan, &self.catalogue, extra).await,
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
    /// About how many bytes a row has, as the last read found, or the server says; 0 where that is not known.
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
        self.plan.places(&format!("mysql {}", self.pool.connector().database()))
    }

    fn takes(&self, place: &Cursor) -> bool {
        self.plan.takes(place, Typing::Coerced)
    }

    fn rows<'a>(&'a self, query: Query, mut sink: Box<dyn RowSink>) -> BoxFuture<'a, Result<Run>> {
        Box::pin(async move {
            let mut query = self.width.bounded(query);
            query.conditions = params::checked(&self.plan, &query.conditions)?;
            let mut progress = Progress::default();
            let ended = loop {
                let mut lease = self.pool.lease(query.claim()).await?;
                let reused = lease.reused;
                let read = rows::read(&mut lease.connection().conn, &self.plan, &query, &mut *sink, &mut progress);
                match tokio::time::timeout(self.pool.patience(), read).await {
                    Ok(Ok(ended)) => {
                        lease.give_back();
                        break ended;
                    }
                    // The server ended it while it was idle, as it does when it restarts.
                    Ok(Err(Failure::Mysql(error))) if reused && progress.rows == 0 && is_lost(&error) => {
                        lease.end();
                        self.pool.forget_idle();
                    }
                    // The rows before the one whose value has failed the query are read by themselves.
                    Ok(Err(Failure::Mysql(error)))
                        if careful::is_of_a_value(&error) && (1..query.limit as usize).contains(&progress.rows) =>
                    {
                        lease.end();
                        query.limit = progress.rows as u32;
                        progress = Progress::default();
                    }
                    Ok(Err(Failure::Mysql(error))) if careful::is_of_a_value(&error) => {
                        let read = careful::read(&mut lease.connection().conn, &self.plan, &query, &mut *sink);
                        match tokio::time::timeout(self.pool.patience(), read).await {
                            Ok(Ok(ended)) => {
                                lease.give_back();
                                break ended;
                            }
                            Ok(Err(failure)) => {
                                lease.end();
                                return Err(failure.explained(&query.conditions));
                            }
                            Err(_) => return Err(timed_out(self.pool.timeout())),
                        }
                    }
                    Ok(Err(Failure::Mysql(error))) => {
                        lease.end();
                        return Err(explained(error, &query.conditions));
                    }
                    // It still sends rows.
                    Ok(Err(Failure::Own(error))) => return Err(error),
                    Err(_) => return Err(timed_out(self.pool.timeout())),
                }
            };
            if let Some(width) = progress.bytes.checked_div(progress.rows) {
                // What is too much would have to be read to its end before anything else. Of related rows twice as much may be held.
                self.width.note(width + progress.related / 2);
            }
            Ok(Run { sink, ended })
        })
    }

    fn count<'a>(&'a self, conditions: Arc<[Condition]>) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async move {
            let conditions = params::checked(&self.plan, &conditions).ok()?;
            let claim = Claim { filtered: !conditions.is_empty(), ..Claim::default() };
            let mut lease = self.pool.lease(claim).await.ok()?;
            let count = rows::count(&mut lease.connection().conn, &self.plan, &conditions);
            let count = tokio::time::timeout(self.pool.patience(), count).await.ok()?.ok()?;
            lease.give_back();
            count
        })
    }
}

/// Why a read failed.
#[derive(Debug)]
enum Failure {
    Mysql(mysql_async::Error),
    Own(Error),
}

impl From<mysql_async::Error> for Failure {
    fn from(error: mysql_async::Error) -> Failure {
        Failure::Mysql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Own(error)
    }
}

impl Failure {
    fn explained(self, conditions: &[Condition]) -> Error {
        match self {
            Failure::Mysql(error) => explained(error, conditions),
            Failure::Own(error) => error,
        }
    }
}

/// Whether a connection was lost, and not a query refused.
fn is_lost(error: &mysql_async::Error) -> bool {
    match error {
        // The server shuts down; the connection was killed; it was idle for too long.
        mysql_async::Error::Server(error) => matches!(error.code, 1053 | 1077 | 1079 | 1927 | 4031),
        error => error.is_fatal(),
    }
}

/// What a failure of MySQL's means to the caller (<https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>).
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
        // Collations that do not go together, values out of their type's range.
        1267 | 1271 | 1292 | 1366 | 1525 | 1690 if !conditions.is_empty() => {
            // What MySQL says may quote a value of a row, of a column that is not shown: it is for the log.
            return Error::new(Kind::Invalid, "a filter's value does not fit its column")
                .remedy("write it as MySQL writes a value of the column's type")
                .caused_by(error);
        }
        1064 => Error::new(Kind::Internal, "MySQL does not take the text of a query")
            .remedy("this is a fault of the program: report it with what the log says"),
        1054 | 1146 | 1356 => {
            Error::new(Kind::Unavailable, "MySQL does not take the query; the table may have changed")
                .remedy("restart, so that the table is looked at again")
        }
        _ => Error::new(Kind::Unavailable, "MySQL could not answer").remedy("see its log"),
    };
    made.caused_by(error)
}

fn timed_out(timeout: Duration) -> Error {
    Error::new(Kind::Timeout, format!("MySQL took longer than {timeout:?}"))
        .remedy("see what is slow with `chunkflow check`, or raise `timeout` in [databases]")
}
