//! Reads rows with care after a value has failed a query. Each query runs behind a savepoint, so
//! that an error does not end the snapshot.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Client;

use super::{
    Failure,
    errors::is_error_of_a_value,
    params::Param,
    proof::{Proof, Stamp, read_stamp},
    rows,
};
use crate::{
    row::{RowSink, ValueBuffer},
    source::{
        Query,
        sql::{
            careful::{self, Answer, Asked, Done},
            plan::{Plan, Relation},
            related::Lists,
        },
    },
};

/// Reads a few rows into the sink, with room for rows of `room` bytes. Returns how that went, and
/// what the transaction saw, which the caller must still compare.
pub(super) async fn read(
    client: &Client,
    proof: &Proof,
    plan: &Plan,
    query: &Query,
    room: u64,
    sink: &mut dyn RowSink,
) -> Result<(Done, Stamp), Failure> {
    client.batch_execute(&proof.begin(query.session.as_deref())).await?;
    client.batch_execute("SAVEPOINT chunkflow").await?;
    let done = careful::read(&mut Snapshot(client), plan, query, room, sink).await?;
    Ok((done, read_stamp(client, &proof.end(query.session.as_deref())).await?))
}

/// A transaction with a savepoint.
struct Snapshot<'a>(&'a Client);

impl Snapshot<'_> {
    /// Rolls back to the savepoint if a value has failed the query.
    async fn answer<T>(&self, result: Result<T, Failure>) -> Answer<T, Failure> {
        match result {
            Err(Failure::Database(error)) if is_error_of_a_value(&error) => {
                self.0.batch_execute("ROLLBACK TO SAVEPOINT chunkflow").await?;
                Ok(Err(error.into()))
            }
            // The rest of the answer is not read.
            Err(Failure::Wide) => Ok(Err(Failure::Wide)),
            result => result.map(Ok),
        }
    }

    async fn rows(&self, asked: Asked<'_>, held: &mut ValueBuffer) -> Result<(), Failure> {
        let Asked { statement, after, limit, .. } = asked;
        let mut found = pin!(self.0.query_typed_raw(&statement.text, Param::of(statement, after, limit)).await?);
        let mut wires = vec![];
        while let Some(row) = found.try_next().await? {
            rows::push(&row, &mut wires, held)?;
        }
        Ok(())
    }
}

impl careful::Snapshot for Snapshot<'_> {
    type Failure = Failure;

    async fn ask(&mut self, asked: Asked<'_>, held: &mut ValueBuffer) -> Answer<(), Failure> {
        let found = self.rows(asked, held).await;
        self.answer(found).await
    }

    async fn lists(&mut self, relation: &Relation, rows: &ValueBuffer) -> Answer<Option<Lists>, Failure> {
        let found = rows::list(self.0, relation, rows).await;
        self.answer(found).await
    }
}
