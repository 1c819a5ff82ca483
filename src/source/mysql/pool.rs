//! Connections that wait for work, and the gate that bounds how many there are.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mysql_async::Conn;
use tokio::sync::OwnedSemaphorePermit;

use super::connect::{Connector, ServerFacts, Session, end};
use crate::{
    error::Result,
    source::{Gate, GateLimits},
};

/// How much longer than its time limit a read is waited for before it is cancelled from here.
const GRACE: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    connector: Connector,
    timeout: Duration,
    gate: Gate,
    idle: Mutex<Vec<Session>>,
}

impl Pool {
    pub(super) fn new(connector: Connector, limits: GateLimits, timeout: Duration) -> Pool {
        Pool { connector, timeout, gate: Gate::new(limits), idle: Mutex::default() }
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

    /// Waits for a turn, and takes an idle connection or makes one.
    pub(super) async fn lease(self: &Arc<Pool>) -> Result<Lease> {
        let turn = self.gate.turn().await?;
        let idle = self.idle().pop();
        let (session, reused) = match idle.filter(|session| !session.conn.is_disconnected()) {
            Some(session) => (session, true),
            None => (self.connector.connect().await?, false),
        };
        Ok(Lease { pool: Arc::clone(self), held: Some((session, turn)), reused })
    }

    /// Ends the connections that wait for work: the server may have gone, and all of them with it.
    pub(super) fn forget_idle(&self) {
        let idle = std::mem::take(&mut *self.idle());
        idle.into_iter().for_each(|session| drop(tokio::spawn(end(session))));
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, with the turn to use it. On drop what it does is stopped at the server, and it is ended.
pub(super) struct Lease {
    pool: Arc<Pool>,
    held: Option<(Session, OwnedSemaphorePermit)>,
    /// Whether it has served before.
    pub(super) reused: bool,
}

impl Lease {
    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.held.as_mut().expect("held until it is given back or dropped").0.conn
    }

    pub(super) fn server(&self) -> &ServerFacts {
        &self.held.as_ref().expect("held until it is given back or dropped").0.server
    }

    /// Keeps the connection, which has nothing left to do, for the next read.
    pub(super) fn give_back(mut self) {
        if let Some((session, _turn)) = self.held.take() {
            self.pool.idle().push(session);
        }
    }

    /// Ends the connection, whose server does nothing for it any more: it has answered with an error, or has gone.
    pub(super) fn end(mut self) {
        if let Some((session, turn)) = self.held.take() {
            tokio::spawn(async move {
                end(session).await;
                drop(turn);
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((session, turn)) = self.held.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let pool = Arc::clone(&self.pool);
        runtime.spawn(async move {
            // The turn is kept so long: the bound is on what the database does, not on who waits for it.
            pool.connector.cancel(session).await;
            drop(turn);
        });
    }
}
