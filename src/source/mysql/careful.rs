//! Reads rows with care after a value has failed a query. It uses a transaction of its own, which
//! such an error does not end.

use futures_util::TryStreamExt;
use mysql_async::{Conn, Row, prelude::Queryable};

use super::{
    Failure,
    errors::is_error_of_a_value,
    params,
    proof::{Proof, Stamp, read_stamp},
    rows::{self, BEGIN, COMMIT},
    wire,
};
use crate::{
    row::{RowSink, ValueBuffer},
    source::{
        Query,
        sql::{
            careful::{self, Answer, Asked, Done, answer},
            plan::{Plan, Relation},
            related::Lists,
        },
    },
};

/// Reads a few rows into the sink, with room for rows of `room` bytes. Returns how that went, and
/// what the transaction saw, which the caller must still compare.
pub(super) async fn read(
    conn: &mut Conn,
    proof: &Proof,
    plan: &Plan,
    query: &Query,
    room: u64,
    sink: &mut dyn RowSink,
) -> Result<(Done, Stamp), Failure> {
    // This ends an open transaction.
    conn.query_drop(BEGIN).await?;
    let done = careful::read(&mut Snapshot(conn), plan, query, room, sink).await?;
    let saw = read_stamp(conn, &proof.sql).await?;
    conn.query_drop(COMMIT).await?;
    Ok((done, saw))
}

/// A transaction with a consistent snapshot.
struct Snapshot<'a>(&'a mut Conn);

impl Snapshot<'_> {
    async fn rows(&mut self, asked: Asked<'_>, held: &mut ValueBuffer) -> Result<(), Failure> {
        let Asked { statement, selects, after, limit } = asked;
        let mut result = self.0.exec_iter(&*statement.text, params::of(statement, after, limit)).await?;
        if let Some(mut found) = result.stream::<Row>().await? {
            let mut wires = vec![];
            while let Some(row) = found.try_next().await? {
                wire::push(&row, selects, &mut wires, held)?;
            }
        }
        Ok(result.drop_result().await?)
    }
}

impl careful::Snapshot for Snapshot<'_> {
    type Failure = Failure;

    async fn ask(&mut self, asked: Asked<'_>, held: &mut ValueBuffer) -> Answer<(), Failure> {
        answer(self.rows(asked, held).await, is_error_of_a_value)
    }

    async fn lists(&mut self, relation: &Relation, rows: &ValueBuffer) -> Answer<Option<Lists>, Failure> {
        answer(rows::list(self.0, relation, rows).await, is_error_of_a_value)
    }
}
