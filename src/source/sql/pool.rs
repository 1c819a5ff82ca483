//! Idle connections, and the gate that bounds how many reads there are.
//!
//! A connection serves one read at a time, and any doubt about a connection ends it. A driver's own
//! pool, which repairs connections and hands them on, would do more than is needed.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use crate::{
    error::Result,
    source::{Claim, Gate, GateLimits, PoolState, Turn},
    unpoisoned::Unpoisoned,
};

/// How long after its time limit a read is stopped from here.
const GRACE: Duration = Duration::from_secs(1);

/// Makes and ends a database's connections.
pub(in crate::source) trait Connect: Send + Sync + 'static {
    /// A connection.
    type Connection: Send + 'static;

    /// Makes a connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection>> + Send;

    /// Whether a connection was lost, as far as is known without asking the server.
    fn is_lost(connection: &Self::Connection) -> bool;

    /// Stops a connection's query at the server. Returns the connection if it is idle then. Bounded
    /// in time.
    fn stop(&self, connection: Self::Connection) -> impl Future<Output = Option<Self::Connection>> + Send;

    /// Ends a connection that is idle at the server. Bounded in time.
    fn end(connection: Self::Connection) -> impl Future<Output = ()> + Send;
}

/// The connections of one database, shared by all its resources.
pub(in crate::source) struct Pool<C: Connect> {
    connector: C,
    timeout: Duration,
    gate: Gate,
    idle: Mutex<Vec<C::Connection>>,
}

impl<C: Connect> Pool<C> {
    /// `timeout` is the time limit of one read.
    pub(in crate::source) fn new(connector: C, limits: GateLimits, timeout: Duration) -> Pool<C> {
        Pool { connector, timeout, gate: Gate::new(limits), idle: Mutex::default() }
    }

    /// The state of its connections.
    pub(in crate::source) fn state(&self) -> PoolState {
        let idle = self.idle().len();
        self.gate.state(idle)
    }

    /// Counts a read that is tried again.
    pub(in crate::source) fn note_retry(&self) {
        self.gate.note_retry();
    }

    pub(in crate::source) fn connector(&self) -> &C {
        &self.connector
    }

    /// The time limit of a read.
    pub(in crate::source) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long to wait for a read.
    pub(in crate::source) fn patience(&self) -> Duration {
        self.timeout + GRACE
    }

    /// Waits for a turn; then takes an idle connection, or makes one.
    pub(in crate::source) async fn lease(self: &Arc<Pool<C>>, claim: Claim) -> Result<Lease<C>> {
        let turn = self.gate.turn(claim).await?;
        let idle = self.idle().pop();
        let (connection, reused) = match idle.filter(|connection| !C::is_lost(connection)) {
            Some(connection) => (connection, true),
            None => (self.connector.connect().await?, false),
        };
        Ok(Lease { pool: Arc::clone(self), held: Some((connection, turn)), reused })
    }

    /// Ends all idle connections: the server may have gone, and they with it.
    pub(in crate::source) fn forget_idle(&self) {
        let idle = std::mem::take(&mut *self.idle());
        idle.into_iter().for_each(|connection| drop(tokio::spawn(C::end(connection))));
    }

    /// Waits for a turn, and for a connection that is made for it.
    #[cfg_attr(
        not(feature = "mysql"),
        allow(dead_code, reason = "PostgreSQL's connections take what they are told to")
    )]
    pub(in crate::source) async fn lease_made(
        self: &Arc<Pool<C>>,
        claim: Claim,
        made: impl Future<Output = Result<C::Connection>>,
    ) -> Result<Lease<C>> {
        let turn = self.gate.turn(claim).await?;
        let connection = made.await?;
        Ok(Lease { pool: Arc::clone(self), held: Some((connection, turn)), reused: false })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<C::Connection>> {
        self.idle.lock().unpoisoned()
    }
}

/// A connection, with the turn to use it. On drop its query is stopped at the server.
pub(in crate::source) struct Lease<C: Connect> {
    pool: Arc<Pool<C>>,
    held: Option<(C::Connection, Turn)>,
    /// Whether it has served another read before.
    pub(in crate::source) reused: bool,
}

impl<C: Connect> Lease<C> {
    pub(in crate::source) fn connection(&mut self) -> &mut C::Connection {
        &mut self.held.as_mut().expect("held until it is given back, ended or dropped").0
    }

    /// Keeps the connection for the next read; it must be idle.
    pub(in crate::source) fn give_back(mut self) {
        if let Some((connection, _turn)) = self.held.take() {
            self.pool.idle().push(connection);
        }
    }

    /// Ends the connection, which is idle at the server: that has answered with an error, or has
    /// gone.
    pub(in crate::source) fn end(mut self) {
        if let Some((connection, turn)) = self.held.take() {
            tokio::spawn(async move {
                C::end(connection).await;
                drop(turn);
            });
        }
    }
}

impl<C: Connect> Drop for Lease<C> {
    fn drop(&mut self) {
        let Some((connection, turn)) = self.held.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let pool = Arc::clone(&self.pool);
        runtime.spawn(async move {
            // The turn is kept until then: the bound is on the database's work, even if nobody
            // waits for it.
            let _turn = turn;
            if let Some(connection) = pool.connector.stop(connection).await {
                pool.idle().push(connection);
            }
        });
    }
}
