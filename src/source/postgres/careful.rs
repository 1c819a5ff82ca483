//! Rows of which a value has made a query fail, read with care: each query behind a savepoint, so
//! that the snapshot outlives it.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Client;

use super::{
    Failure,
    failure::is_error_of_a_value,
    params::Param,
    proof::{Proof, Stamp, read_stamp},
    rows,
};
use crate::{
    row::{RowSink, Value, ValueBuffer},
    source::{
        Query,
        sql::{
            careful::{self, Answer, Done},
            plan::{Plan, Relation, Select},
            related::Lists,
            select::Statement,
        },
    },
};

/// Reads a few rows into the sink, where there is room for rows of so many bytes; says how that
/// went, and what the transaction saw, which is still to be compared.
pub(super) async fn read(
    client: &Client,
    proof: &Proof,
    plan: &Plan,
    query: &Query,
    room: u64,
    sink: &mut dyn RowSink,
) -> Result<(Done, Stamp), Failure> {
    client.batch_execute(&proof.begin).await?;
    client.batch_execute("SAVEPOINT chunkflow").await?;
    let done = careful::read(&mut Snapshot(client), plan, query, room, sink).await?;
    Ok((done, read_stamp(client, &proof.end).await?))
}

/// A transaction behind a savepoint.
struct Snapshot<'a>(&'a Client);

impl Snapshot<'_> {
    /// Goes back behind the savepoint where a value has made the query fail.
    async fn answer<T>(&self, result: Result<T, Failure>) -> Answer<T, Failure> {
        match result {
            Err(Failure::Postgres(error)) if is_error_of_a_value(&error) => {
                self.0.batch_execute("ROLLBACK TO SAVEPOINT chunkflow").await?;
                Ok(Err(error.into()))
            }
            // What is left of its answer is not read.
            Err(Failure::Wide) => Ok(Err(Failure::Wide)),
            result => result.map(Ok),
        }
    }

    async fn rows(
        &self,
        statement: &Statement<'_>,
        after: &[Value<'_>],
        limit: usize,
        held: &mut ValueBuffer,
    ) -> Result<(), Failure> {
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

    async fn ask(
        &mut self,
        statement: &Statement<'_>,
        _selects: &[Select],
        after: &[Value<'_>],
        limit: usize,
        held: &mut ValueBuffer,
    ) -> Answer<(), Failure> {
        let found = self.rows(statement, after, limit, held).await;
        self.answer(found).await
    }

    async fn lists(&mut self, relation: &Relation, rows: &ValueBuffer) -> Answer<Option<Lists>, Failure> {
        let found = rows::list(self.0, relation, rows).await;
        self.answer(found).await
    }
}
