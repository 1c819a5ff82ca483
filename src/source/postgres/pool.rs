//! Connections that wait for work, and the gate that bounds how many there are.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::Client;

use super::connect::{Connection, Connector};
use crate::{
    error::Result,
    source::{Gate, GateLimits},
};

/// How much longer than its time limit a read is waited for before it is cancelled from here.
const GRACE: Duration = Duration::from_secs(1);
/// How long a read that is given up may go on to its end.
const MOMENT: Duration = Duration::from_millis(50);

pub(super) struct Pool {
    connector: Connector,
    timeout: Duration,
    begin: String,
    gate: Gate,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn new(connector: Connector, limits: GateLimits, timeout: Duration) -> Pool {
        // Settings of the transaction, not of the session: behind a pooler the next transaction may be another client's.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL TimeZone = 'UTC'; \
             SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres'",
            timeout.as_millis().clamp(1, i32::MAX as u128)
        );
        Pool { connector, timeout, begin, gate: Gate::new(limits), idle: Mutex::default() }
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// The time limit of a read.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long a read is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.timeout + GRACE
    }

    /// What opens a transaction.
    pub(super) fn begin(&self) -> &str {
        &self.begin
    }

    /// Waits for a turn, and takes an idle connection or makes one.
    pub(super) async fn lease(self: &Arc<Pool>) -> Result<Lease> {
        let turn = self.gate.turn().await?;
        let idle = self.idle().pop();
        let (connection, reused) = match idle.filter(|connection| !connection.client.is_closed()) {
            Some(connection) => (connection, true),
            None => (self.connector.connect().await?, false),
        };
        Ok(Lease { pool: Arc::clone(self), held: Some((connection, turn)), reused })
    }

    /// Ends the connections that wait for work: the server may have gone, and all of them with it.
    pub(super) fn forget_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, with the turn to use it. On drop what it does is stopped at the server, and it is ended, unless that is over in a moment.
pub(super) struct Lease {
    pool: Arc<Pool>,
    held: Option<(Connection, OwnedSemaphorePermit)>,
    /// Whether it has served before.
    pub(super) reused: bool,
}

impl Lease {
    pub(super) fn client(&self) -> &Client {
        &self.held.as_ref().expect("held until it is given back or dropped").0.client
    }

    /// Keeps the connection, which has nothing left to do, for the next read.
    pub(super) fn give_back(mut self) {
        if let Some((connection, _turn)) = self.held.take() {
            self.pool.idle().push(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((connection, turn)) = self.held.take() else { return };
        let (false, Ok(runtime)) = (connection.client.is_closed(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let pool = Arc::clone(&self.pool);
        runtime.spawn(async move {
            // The turn is kept so long: the bound is on what the database does, not on who waits for it.
            let _turn = turn;
            // Most reads are over in a moment, and a connection costs more than that. Its answer says that nothing is before it.
            match tokio::time::timeout(MOMENT, connection.client.batch_execute("ROLLBACK")).await {
                Ok(Ok(())) => pool.idle().push(connection),
                _ => pool.connector.cancel(&connection).await,
            }
        });
    }
}
