//! Connections that wait for work, and the gate that bounds how many there are.
//!
//! A connection serves one read at a time. Whatever is doubtful about one ends it: a driver's pool,
//! which mends connections and hands them on, is more than that needs.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use crate::{
    error::Result,
    source::{Claim, Gate, GateLimits, PoolState, Turn},
    unpoisoned::Unpoisoned,
};

/// How much longer than its time limit a read is waited for before it is stopped from here.
const GRACE: Duration = Duration::from_secs(1);

/// How connections of a database come about and end.
pub(in crate::source) trait Connect: Send + Sync + 'static {
    /// A connection.
    type Connection: Send + 'static;

    /// Makes a connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection>> + Send;

    /// Whether a connection was lost, as far as is known without asking.
    fn is_lost(connection: &Self::Connection) -> bool;

    /// Stops what a connection does at the server; gives it back where it has nothing left to do.
    /// Bounded in time.
    fn stop(&self, connection: Self::Connection) -> impl Future<Output = Option<Self::Connection>> + Send;

    /// Ends a connection for which the server does nothing any more. Bounded in time.
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

    /// How its connections fare.
    pub(in crate::source) fn state(&self) -> PoolState {
        let idle = self.idle().len();
        self.gate.state(idle)
    }

    /// Takes note that a read is tried again.
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

    /// How long a read is waited for.
    pub(in crate::source) fn patience(&self) -> Duration {
        self.timeout + GRACE
    }

    /// Waits for a turn, and takes an idle connection or makes one.
    pub(in crate::source) async fn lease(self: &Arc<Pool<C>>, claim: Claim) -> Result<Lease<C>> {
        let turn = self.gate.turn(claim).await?;
        let idle = self.idle().pop();
        let (connection, reused) = match idle.filter(|connection| !C::is_lost(connection)) {
            Some(connection) => (connection, true),
            None => (self.connector.connect().await?, false),
        };
        Ok(Lease { pool: Arc::clone(self), held: Some((connection, turn)), reused })
    }

    /// Ends the connections that wait for work: the server may have gone, and all of them with it.
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

/// A connection, with the turn to use it. On drop what it does is stopped at the server.
pub(in crate::source) struct Lease<C: Connect> {
    pool: Arc<Pool<C>>,
    held: Option<(C::Connection, Turn)>,
    /// Whether it has served before.
    pub(in crate::source) reused: bool,
}

impl<C: Connect> Lease<C> {
    pub(in crate::source) fn connection(&mut self) -> &mut C::Connection {
        &mut self.held.as_mut().expect("held until it is given back, ended or dropped").0
    }

    /// Keeps the connection, which has nothing left to do, for the next read.
    pub(in crate::source) fn give_back(mut self) {
        if let Some((connection, _turn)) = self.held.take() {
            self.pool.idle().push(connection);
        }
    }

    /// Ends the connection, whose server does nothing for it any more: it has answered with an
    /// error, or has gone.
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
            // The turn is kept so long: the bound is on what the database does, not on who waits
            // for it.
            let _turn = turn;
            if let Some(connection) = pool.connector.stop(connection).await {
                pool.idle().push(connection);
            }
        });
    }
}
