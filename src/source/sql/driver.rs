//! What a database server's driver does for the tables that are read with it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    careful::Done,
    definition::Definition,
    failure::{Failure, Signs},
    places::Typing,
    plan::Plan,
    pool::{Connect, Lease, Pool},
    run::Progress,
};
use crate::{
    error::{Error, Result},
    row::{Fields, RowSink},
    source::{Complaint, Condition, DatabaseOptions, Query, Room, Spec, TouchRules},
};

/// A connection of a driver.
pub(in crate::source) type Connection<D> = <<D as Driver>::Connect as Connect>::Connection;

/// The failure of an attempt.
pub(in crate::source) type Failed<D> = Failure<<D as Driver>::Error>;

/// The parts of a source.
pub(in crate::source) struct Made<P> {
    pub(in crate::source) plan: Plan,
    pub(in crate::source) fields: Fields,
    pub(in crate::source) definition: Definition,
    pub(in crate::source) touch: Option<TouchRules>,
    pub(in crate::source) proof: P,
    /// The server's estimate of a row's bytes; 0 if it has none.
    pub(in crate::source) row_length: usize,
}

/// A database server, as read by its driver.
pub(in crate::source) trait Driver: Send + Sync + 'static {
    /// Makes its connections.
    type Connect: Connect;
    /// The error of its client library.
    type Error: fmt::Debug + Send;
    /// How a read proves what it saw.
    type Proof: Send + Sync;
    /// What it saw.
    type Stamp: PartialEq + Send + Sync;

    /// How it compares bound values.
    const TYPING: Typing;
    /// Whether a read can have a role and settings of its own.
    const TAKES_SESSIONS: bool = false;

    fn pool(&self) -> &Arc<Pool<Self::Connect>>;

    fn options(&self) -> &DatabaseOptions;

    /// OpenTelemetry's name for this kind of database.
    fn system(connection: &Connection<Self>) -> &'static str;

    /// Makes the parts of a source, from a look at the tables that began after `noticed`.
    ///
    /// # Errors
    /// *Everything* that is wrong with the specification.
    fn made(
        &self,
        spec: &Spec,
        noticed: Option<Instant>,
    ) -> impl Future<Output = Result<Made<Self::Proof>, Vec<Complaint>>> + Send;

    /// What each read must see.
    fn stamp(proof: &Self::Proof) -> &Self::Stamp;

    /// The conditions, with values in the form that the database binds.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) for a value that cannot be compared with the column.
    fn bindable(plan: &Plan, conditions: &Arc<[Condition]>) -> Result<Arc<[Condition]>>;

    /// Waits for a turn and a connection. With `room` the connection takes a row of any width.
    fn lease(&self, query: &Query, room: Option<&Room>) -> impl Future<Output = Result<Lease<Self::Connect>>> + Send;

    /// Gives back the connection of a read that succeeded. With `room` it was for that read only.
    fn give_back(lease: Lease<Self::Connect>, room: Option<&Room>);

    /// Reads one run into the sink. Returns whether the list ends with it, and what the read saw,
    /// which the caller must still compare. The latter is `None` if the connection was closed at a
    /// row that is too wide, after the rows before it were handed on.
    fn attempt(
        &self,
        connection: &mut Connection<Self>,
        plan: &Plan,
        proof: &Self::Proof,
        query: &Query,
        sink: &mut dyn RowSink,
        progress: &mut Progress,
    ) -> impl Future<Output = Result<(bool, Option<Self::Stamp>), Failed<Self>>> + Send;

    /// The same, a few rows at a time, after a value has failed a run or for wide rows, with room
    /// for this many bytes.
    fn attempt_with_care(
        &self,
        connection: &mut Connection<Self>,
        plan: &Plan,
        proof: &Self::Proof,
        query: &Query,
        room: u64,
        sink: &mut dyn RowSink,
    ) -> impl Future<Output = Result<(Done, Self::Stamp), Failed<Self>>> + Send;

    /// What a transaction that reads no rows sees.
    fn saw(&self, proof: &Self::Proof) -> impl Future<Output = Result<Self::Stamp>> + Send;

    /// How many rows meet the conditions.
    fn count(
        &self,
        connection: &mut Connection<Self>,
        plan: &Plan,
        conditions: &[Condition],
    ) -> impl Future<Output = Result<Option<u64>, Failed<Self>>> + Send;

    /// What an error indicates.
    fn signs(error: &Self::Error) -> Signs;

    /// The error for the caller.
    fn explained(error: Self::Error, query: &Query) -> Error;

    /// The error of a read that took too long.
    fn timed_out(timeout: Duration) -> Error;
}
