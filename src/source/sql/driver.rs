//! What a driver of a database server does for the tables that are read through it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    careful::Done,
    definition::Definition,
    places::Typing,
    plan::Plan,
    pool::{Connect, Lease, Pool},
    run::Progress,
};
use crate::{
    error::{Error, Result},
    row::{Fields, RowSink},
    source::{Complaint, Condition, DatabaseOptions, Query, Room, Spec},
};

/// A connection of a driver's.
pub(in crate::source) type Connection<D> = <<D as Driver>::Connect as Connect>::Connection;

/// What a source is made of.
pub(in crate::source) struct Made<P> {
    pub(in crate::source) plan: Plan,
    pub(in crate::source) fields: Fields,
    pub(in crate::source) definition: Definition,
    pub(in crate::source) proof: P,
    /// About how many bytes the server says that a row has; 0 where it does not.
    pub(in crate::source) row_length: usize,
}

/// What a failure is a sign of.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::source) struct Signs {
    /// The connection was lost, and no query was refused.
    pub(in crate::source) lost: bool,
    /// The server has answered, and does nothing for the connection any more.
    pub(in crate::source) over: bool,
    /// The server says that a table changed.
    pub(in crate::source) changed: bool,
    /// It may come of a table that has changed, and not only of what was asked.
    pub(in crate::source) doubtful: bool,
    /// The server says that the same may be tried again.
    pub(in crate::source) passing: bool,
    /// A value has failed the query.
    pub(in crate::source) of_a_value: bool,
    /// A row, or what belongs to it, is wider than is read without being measured.
    pub(in crate::source) wide: bool,
    /// There must be room for rows of so many bytes.
    pub(in crate::source) needs_room: Option<u64>,
}

/// A database server, as its driver reads it.
pub(in crate::source) trait Driver: Send + Sync + 'static {
    /// How its connections come about.
    type Connect: Connect;
    /// Why an attempt failed.
    type Failure: fmt::Debug + Send;
    /// How a read proves what it saw.
    type Proof: Send + Sync;
    /// What it saw.
    type Stamp: PartialEq + Send + Sync;

    /// How it compares values that are bound.
    const TYPING: Typing;

    fn pool(&self) -> &Arc<Pool<Self::Connect>>;

    fn options(&self) -> &DatabaseOptions;

    /// What OpenTelemetry calls this kind of database.
    fn system(connection: &Connection<Self>) -> &'static str;

    /// Makes what a source is made of, from a look at the tables that began after `noticed`.
    ///
    /// # Errors
    /// *Everything* that is wrong with the specification.
    fn made(
        &self,
        spec: &Spec,
        noticed: Option<Instant>,
    ) -> impl Future<Output = Result<Made<Self::Proof>, Vec<Complaint>>> + Send;

    /// What a read must see.
    fn stamp(proof: &Self::Proof) -> &Self::Stamp;

    /// Conditions as it can bind their values.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) for what it cannot compare with.
    fn bindable(plan: &Plan, conditions: &Arc<[Condition]>) -> Result<Arc<[Condition]>>;

    /// Waits for a turn and a connection, for a row of any width where there is `room` for one.
    fn lease(&self, query: &Query, room: Option<&Room>) -> impl Future<Output = Result<Lease<Self::Connect>>> + Send;

    /// Gives the connection of a read back that is whole; one in `room` was for it alone.
    fn give_back(lease: Lease<Self::Connect>, room: Option<&Room>);

    /// Reads one run into the sink; says whether the list ends with it, and what was seen, which is
    /// still to be compared. That is `None` where the connection has ended at a row that is too
    /// wide, behind those that were handed on.
    fn attempt(
        &self,
        connection: &mut Connection<Self>,
        plan: &Plan,
        proof: &Self::Proof,
        query: &Query,
        sink: &mut dyn RowSink,
        progress: &mut Progress,
    ) -> impl Future<Output = Result<(bool, Option<Self::Stamp>), Self::Failure>> + Send;

    /// The same a few rows at a time, where a value has failed it or rows are wide, in room for so
    /// many bytes.
    fn attempt_with_care(
        &self,
        connection: &mut Connection<Self>,
        plan: &Plan,
        proof: &Self::Proof,
        query: &Query,
        room: u64,
        sink: &mut dyn RowSink,
    ) -> impl Future<Output = Result<(Done, Self::Stamp), Self::Failure>> + Send;

    /// What a transaction sees that reads nothing.
    fn saw(&self, proof: &Self::Proof) -> impl Future<Output = Result<Self::Stamp>> + Send;

    /// How many rows fulfil the conditions.
    fn count(
        &self,
        connection: &mut Connection<Self>,
        plan: &Plan,
        conditions: &[Condition],
    ) -> impl Future<Output = Result<Option<u64>, Self::Failure>> + Send;

    fn signs(failure: &Self::Failure) -> Signs;

    /// A failure in the caller's terms.
    fn explained(failure: Self::Failure, query: &Query) -> Error;

    /// That a read took too long.
    fn timed_out(timeout: Duration) -> Error;
}
