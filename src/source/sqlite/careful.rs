//! Reads rows with care after a value has failed a query. SQLite answers at once, so nothing here
//! ever waits.

use futures_util::FutureExt;

use super::{
    errors::is_error_of_a_value,
    params::bind,
    related,
    session::{Binder, Failure, Session, push},
};
use crate::{
    error::{Error, Kind},
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

/// Reads a few rows into the sink, within a transaction, with room for rows of `room` bytes.
pub(super) fn read(
    session: &mut Session,
    plan: &Plan,
    query: &Query,
    room: u64,
    sink: &mut dyn RowSink,
) -> Result<Done, Failure> {
    // Measuring does not load values, and a value that is too long is never read.
    session.unbound_values()?;
    let read = careful::read(&mut Snapshot(session), plan, query, room, sink).now_or_never();
    read.unwrap_or_else(|| Err(Error::new(Kind::Internal, "SQLite was waited for").into()))
}

struct Snapshot<'a>(&'a mut Session);

impl Snapshot<'_> {
    fn rows(&mut self, asked: Asked<'_>, held: &mut ValueBuffer) -> Answer<(), Failure> {
        let Asked { statement, selects, after, limit } = asked;

        // If SQLite cannot prepare a statement, no value is the cause.
        let mut prepared = self.0.connection.prepare_cached(&statement.text)?;
        bind(&mut Binder::new(&mut prepared), &statement.binds, after, limit)?;
        let mut found = prepared.raw_query();
        loop {
            let row = match found.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return answer(Err(error.into()), is_error_of_a_value),
            };
            for (index, select) in selects.iter().enumerate() {
                push(held, row.get_ref(index)?, select.json)?;
            }
        }
    }
}

impl careful::Snapshot for Snapshot<'_> {
    type Failure = Failure;

    async fn ask(&mut self, asked: Asked<'_>, held: &mut ValueBuffer) -> Answer<(), Failure> {
        self.rows(asked, held)
    }

    async fn lists(&mut self, relation: &Relation, rows: &ValueBuffer) -> Answer<Option<Lists>, Failure> {
        answer(related::read(self.0, relation, rows), is_error_of_a_value)
    }
}
