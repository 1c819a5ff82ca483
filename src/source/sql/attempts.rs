//! One read of a database server, which may take several attempts: what each failure is a sign of the driver
//! says, and what follows from it is here.
//!
//! A connection that was lost while it was idle costs nothing. Where the tables may have changed they are
//! looked at again, once. What the database says may be tried again is tried again, and what a value has
//! failed, or is wide, is read with care, in the room that it needs. All else is told.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::Instrument;

use super::{
    careful::Done,
    definition::changed,
    plan::Plan,
    pool::{Connect, Lease, Pool},
    traced,
    tries::Tries,
    width::WideAhead,
};
use crate::{
    error::{Error, Result},
    row::{RowBatch, RowSink},
    source::{Query, ReadMemory, Room},
    trace,
};

/// How an attempt went, as far as it came.
#[derive(Debug, Default)]
pub(in crate::source) struct Progress {
    /// Rows that came, and their bytes.
    pub(in crate::source) rows: usize,
    pub(in crate::source) bytes: usize,
    /// Rows that the sink has taken, of those that came.
    pub(in crate::source) handed: usize,
    /// About how many bytes of related rows belong to a row.
    pub(in crate::source) related: usize,
}

impl Progress {
    /// About how many bytes a row has, with those of its related rows; `None` where none came.
    pub(in crate::source) fn width(&self) -> Option<usize> {
        // Of related rows twice as much may be held.
        self.bytes.checked_div(self.rows).map(|width| width + self.related / 2)
    }
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

/// How a driver reads.
pub(in crate::source) trait Attempts: Sync {
    /// How its connections come about.
    type Connect: Connect;
    /// Why an attempt failed.
    type Failure: fmt::Debug + Send;
    /// How a read proves what it saw.
    type Proof: Send + Sync;
    /// What it saw.
    type Stamp: PartialEq + Send + Sync;

    fn pool(&self) -> &Arc<Pool<Self::Connect>>;

    /// What it reads.
    fn plan(&self) -> &Plan;

    /// What OpenTelemetry calls this kind of database.
    fn system(connection: &<Self::Connect as Connect>::Connection) -> &'static str;

    /// The proof of the last look.
    fn proof(&self) -> Arc<Self::Proof>;

    /// What a read must see.
    fn stamp(proof: &Self::Proof) -> &Self::Stamp;

    /// Waits for a turn and a connection, for a row of any width where there is `room` for one.
    fn lease(&self, query: &Query, room: Option<&Room>) -> impl Future<Output = Result<Lease<Self::Connect>>> + Send;

    /// Gives the connection of a read back that is whole; one in `room` was for it alone.
    fn give_back(lease: Lease<Self::Connect>, room: Option<&Room>);

    /// The memory of large rows.
    fn memory(&self) -> &ReadMemory;

    /// The most that a value may have.
    fn widest_value(&self) -> u64;

    /// Whether the rows ahead are wide.
    fn wide_ahead(&self) -> &WideAhead;

    /// Reads one run into the sink; says whether the list ends with it, and what was seen, which is still to be
    /// compared. That is `None` where the connection has ended at a row that is too wide, behind those that
    /// were handed on.
    fn attempt(
        &self,
        connection: &mut <Self::Connect as Connect>::Connection,
        proof: &Self::Proof,
        query: &Query,
        sink: &mut dyn RowSink,
        progress: &mut Progress,
    ) -> impl Future<Output = Result<(bool, Option<Self::Stamp>), Self::Failure>> + Send;

    /// The same a few rows at a time, where a value has failed it or rows are wide, in room for so many bytes.
    fn attempt_with_care(
        &self,
        connection: &mut <Self::Connect as Connect>::Connection,
        proof: &Self::Proof,
        query: &Query,
        room: u64,
        sink: &mut dyn RowSink,
    ) -> impl Future<Output = Result<(Done, Self::Stamp), Self::Failure>> + Send;

    /// What a transaction sees that reads nothing.
    fn saw(&self, proof: &Self::Proof) -> impl Future<Output = Result<Self::Stamp>> + Send;

    /// Looks at the tables again, since what was noticed then may come of another definition.
    ///
    /// # Errors
    /// [`Kind::Schema`](crate::Kind::Schema), where rows are not any more what they were.
    fn look_again(&self, noticed: Instant) -> impl Future<Output = Result<Arc<Self::Proof>>> + Send;

    fn signs(failure: &Self::Failure) -> Signs;

    /// A failure in the caller's terms.
    fn explained(failure: Self::Failure, query: &Query) -> Error;

    /// That a read took too long.
    fn timed_out(timeout: Duration) -> Error;
}

/// Reads one run into the sink; says whether the list ends with it, and how the last attempt went.
///
/// # Errors
/// What the driver says of a failure; [`Kind::Schema`](crate::Kind::Schema) where the tables have changed.
pub(in crate::source) async fn read<A: Attempts>(
    source: &A,
    mut query: Query,
    sink: &mut dyn RowSink,
) -> Result<(bool, Progress)> {
    let pool = source.pool();
    let mut progress = Progress::default();
    let mut proof = source.proof();
    let mut looked = false;
    let mut tries = Tries::default();
    // Whether a value has made the database fail, or rows are wide.
    let mut with_care = source.wide_ahead().get();
    let mut room: Option<Arc<Room>> = None;

    loop {
        let noticed = Instant::now();
        let mut lease = source.lease(&query, room.as_deref()).await?;
        let reused = lease.reused;
        let connection = lease.connection();
        let span = traced::span(&trace::current(), A::system(connection), source.plan(), &query);
        let attempt = async {
            match with_care {
                true => {
                    let bytes = room.as_ref().map_or(0, |room| room.bytes());
                    let mut sink = InRoom { sink, room: &room };
                    let read = source.attempt_with_care(connection, &proof, &query, bytes, &mut sink).await;
                    read.map(|(done, saw)| {
                        source.wide_ahead().note(done.wide_ahead);
                        (done.ended, Some(saw))
                    })
                }
                false => source.attempt(connection, &proof, &query, &mut *sink, &mut progress).await,
            }
        };
        let attempted = tokio::time::timeout(pool.patience(), attempt).instrument(span.clone()).await;
        trace::read(&span, matches!(attempted, Ok(Ok(_))));
        let failure = match attempted.map_err(|_| A::timed_out(pool.timeout()))? {
            Ok((ended, saw)) => {
                let saw = match saw {
                    Some(saw) => {
                        A::give_back(lease, room.as_deref());
                        saw
                    }
                    None => {
                        lease.end();
                        source.wide_ahead().note(true);
                        source.saw(&proof).await?
                    }
                };
                // What was read is right where the same is seen once more, and is what it was made of.
                if saw != *A::stamp(&proof) && *A::stamp(&*source.look_again(noticed).await?) != saw {
                    return Err(changed());
                }
                return Ok((ended, progress));
            }
            Err(failure) => failure,
        };

        let signs = A::signs(&failure);
        if signs.over {
            lease.end();
        } else {
            drop(lease);
        }
        // The server ended it while it was idle, as it does when it restarts.
        if signs.lost && reused && progress.rows == 0 {
            pool.forget_idle();
            continue;
        }
        // A client that asks for what does not fit a column must not have the catalogue read.
        if !looked && (signs.changed || (signs.doubtful && !holds(source, &proof).await)) {
            proof = source.look_again(noticed).await?;
            looked = true;
            if progress.rows > 0 {
                return Err(changed());
            }
            continue;
        }
        if signs.passing
            && !with_care
            && progress.handed == 0
            && let Some(pause) = tries.next()
        {
            pool.note_retry();
            tracing::debug!(?failure, "a read is tried again");
            tokio::time::sleep(pause).await;
            progress = Progress::default();
            continue;
        }
        if let Some(bytes) = signs.needs_room {
            // Without a connection: others may read meanwhile.
            drop(room.take());
            room = Some(Arc::new(source.memory().room(bytes).await?));
            continue;
        }
        if signs.wide && with_care && room.is_none() {
            // It could not be measured.
            room = Some(Arc::new(source.memory().room(source.widest_value()).await?));
            continue;
        }
        if (signs.of_a_value || signs.wide) && !with_care && progress.handed == 0 {
            // The rows before the one that has failed the query are read by themselves.
            with_care = !(1..query.limit as usize).contains(&progress.rows);
            query.limit = if with_care { query.limit } else { progress.rows as u32 };
            progress = Progress::default();
            continue;
        }
        return Err(A::explained(failure, &query));
    }
}

/// A sink whose rows take up room for as long as they are there.
pub(in crate::source) struct InRoom<'a> {
    pub(in crate::source) sink: &'a mut dyn RowSink,
    pub(in crate::source) room: &'a Option<Arc<Room>>,
}

impl RowSink for InRoom<'_> {
    fn take(&mut self, batch: RowBatch) -> Result<()> {
        self.sink.take(match self.room {
            Some(room) => batch.counted_by(Arc::clone(room) as _),
            None => batch,
        })
    }
}

/// Whether a transaction sees what a proof says.
async fn holds<A: Attempts>(source: &A, proof: &A::Proof) -> bool {
    source.saw(proof).await.is_ok_and(|saw| saw == *A::stamp(proof))
}
