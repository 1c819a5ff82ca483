//! Rows of which a value has made a query fail, read with care: each query behind a savepoint, so that the
//! snapshot outlives it.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Client;

use super::{
    Failure,
    params::Param,
    proof::{Proof, Stamp, read_stamp},
    rows,
};
use crate::{
    row::{RowSink, Value},
    source::{
        Query,
        sql::{
            careful::{self, Answer, Done},
            held::Held,
            plan::{Plan, Relation, Select},
            related::Lists,
            select::Statement,
        },
    },
};

/// Reads a few rows into the sink, where there is room for rows of so many bytes; says how that went, and what
/// the transaction saw, which is still to be compared.
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

/// Whether a value has made a query fail, and not the query itself, the server, the connection or what its user
/// may do (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). Functions raise what they like,
/// so this is what is left.
pub(super) fn is_error_of_a_value(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code().map(|code| code.code()) else { return false };
    // Damaged tables and indexes; a query behind one that has failed.
    match code {
        "XX001" | "XX002" => false,
        "25P02" => true,
        _ => ![
            "08", "0B", "0L", "0P", "25", "26", "28", "2D", "34", "3B", "3D", "3F", "40", "42", "53", "55", "57", "58",
            "F0",
        ]
        .contains(&&code[..2]),
    }
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
        held: &mut Held,
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
        held: &mut Held,
    ) -> Answer<(), Failure> {
        let found = self.rows(statement, after, limit, held).await;
        self.answer(found).await
    }

    async fn lists(&mut self, relation: &Relation, rows: &Held) -> Answer<Option<Lists>, Failure> {
        let found = rows::list(self.0, relation, rows).await;
        self.answer(found).await
    }
}
