//! A pretended database server, for tests: one table in memory, with its dialect and its driver.
//!
//! It shows what a new SQL database has to write, and tests the attempts of a read where no server
//! runs.

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::{
    careful::{self, Answer, Asked, Done, answer},
    catalogue::{Catalogue, Table, TableColumn},
    definition::{Definition, Identity, Told},
    dialect::Dialect,
    driver::{Driver, Made},
    failure::{self, Signs},
    places::Typing,
    plan::{Plan, Relation},
    planner::plan,
    pool::{Connect, Lease, Pool},
    related::Lists,
    run::{Progress, RunReader},
    select::Statement,
    touch,
};
use crate::{
    error::{Error, Kind, Result},
    row::{RowSink, Value, ValueBuffer},
    source::{Complaint, Condition, DatabaseOptions, Operand, Query, Room, Spec},
    unpoisoned::Unpoisoned,
};

static DIALECT: Dialect = Dialect {
    quote: '|',
    numbered: false,
    null_is_greatest: false,
    compares_rows: false,
    in_list: None,
    collations_must_agree: false,
    queries_lose_collations: false,
    joins_exists: false,
    join: "JOIN",
    as_text: "TEXT ?",
    length: "LENGTH ?",
    sum: "SUM ?",
    no_text: "NULL",
    ilike: ["", " LIKE ", ""],
    no_escape: "",
};

/// The data of the server, and the faults that a test gives it.
#[derive(Default)]
struct World {
    /// The type of the column `name`.
    name_type: &'static str,
    /// The rows of the table `item`: `id` and `name`.
    rows: Vec<(i64, String)>,
    /// The `id` of the row whose `name` can only be read as text.
    raises: Option<i64>,
    /// The server refuses this many queries with an error that will pass.
    conflicts: usize,
    restarts: usize,
    connections: usize,
    queries: usize,
}

/// The errors of the server.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Lost,
    Conflict,
    Raised,
}

type Failure = failure::Failure<Refusal>;

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Database(refusal)
    }
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<World>>);

impl Server {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unpoisoned()
    }
}

/// A connection. A restart of the server ends it.
struct Session {
    server: Server,
    restarts: usize,
}

impl Connect for Server {
    type Connection = Session;

    async fn connect(&self) -> Result<Session> {
        let mut world = self.world();
        world.connections += 1;
        Ok(Session { server: self.clone(), restarts: world.restarts })
    }

    fn is_lost(_: &Session) -> bool {
        false
    }

    async fn stop(&self, session: Session) -> Option<Session> {
        Some(session)
    }

    async fn end(_: Session) {}
}

enum Cell {
    Integer(i64),
    Text(String),
}

impl Cell {
    fn value(&self) -> Value<'_> {
        match self {
            Cell::Integer(n) => Value::Integer(*n),
            Cell::Text(text) => Value::Text(text.as_bytes()),
        }
    }
}

impl Session {
    /// The rows of the answer; an error stands for a row with a value that cannot be read.
    fn ask(
        &self,
        statement: &Statement<'_>,
        after: &[Value<'_>],
        limit: usize,
    ) -> Result<Vec<Result<Vec<Cell>, Refusal>>, Refusal> {
        let mut world = self.server.world();
        world.queries += 1;
        if self.restarts < world.restarts {
            return Err(Refusal::Lost);
        }
        if let Some(left) = world.conflicts.checked_sub(1) {
            world.conflicts = left;
            return Err(Refusal::Conflict);
        }

        let (selects, rest) = statement.text["SELECT ".len()..].split_once(" FROM |item|").expect("a query of rows");
        let (condition, _) = rest.split_once(" ORDER BY |item|.|id|").expect("in the order of the key");
        let key = after.iter().map(|value| if let Value::Integer(n) = value { *n } else { 0 }).next().unwrap_or(0);
        let is_meant = |id: i64| match condition {
            "" => true,
            " WHERE |item|.|id| > ?" => id > key,
            " WHERE |item|.|id| = ?" => id == key,
            other => panic!("no condition that is known here: {other}"),
        };

        let meant = world.rows.iter().filter(|(id, _)| is_meant(*id)).take(limit);
        Ok(meant.map(|row| selects.split(", ").map(|sql| world.value(sql, row)).collect()).collect())
    }
}

impl World {
    fn value(&self, sql: &str, (id, name): &(i64, String)) -> Result<Cell, Refusal> {
        let raises = self.raises == Some(*id);
        match sql {
            "|item|.|id|" => Ok(Cell::Integer(*id)),
            "|item|.|name|" | "LENGTH |item|.|name|" if raises => Err(Refusal::Raised),
            "|item|.|name|" | "TEXT |item|.|name|" => Ok(Cell::Text(name.clone())),
            "LENGTH |item|.|name|" | "LENGTH TEXT |item|.|name|" => Ok(Cell::Integer(name.len() as i64)),
            other => panic!("no expression that is known here: {other}"),
        }
    }

    fn catalogue(&self) -> Catalogue {
        let id = TableColumn {
            nullable: false,
            operand: Some(Operand::Integer),
            whole: true,
            declared_as: "int".into(),
            ..TableColumn::plain("id".into())
        };
        let name = TableColumn {
            text: true,
            length: DIALECT.length,
            declared_as: self.name_type.into(),
            ..TableColumn::plain("name".into())
        };
        let item = Table {
            name: "item".into(),
            sql: "|item|".into(),
            columns: vec![id, name],
            key: vec!["id".into()],
            ..Table::default()
        };
        Catalogue { dialect: &DIALECT, tables: vec![item] }
    }
}

/// What a read sees of the table: the type of its column.
type Seen = &'static str;

struct Stub {
    pool: Arc<Pool<Server>>,
    options: DatabaseOptions,
}

impl Driver for Stub {
    type Connect = Server;
    type Error = Refusal;
    type Proof = Seen;
    type Stamp = Seen;

    const TYPING: Typing = Typing::Strict;

    fn pool(&self) -> &Arc<Pool<Server>> {
        &self.pool
    }

    fn options(&self) -> &DatabaseOptions {
        &self.options
    }

    fn system(_: &Session) -> Seen {
        "stub"
    }

    async fn made(&self, spec: &Spec, _: Option<Instant>) -> Result<Made<Seen>, Vec<Complaint>> {
        let world = self.pool.connector().world();
        let catalogue = world.catalogue();
        let (plan, fields) = plan(spec, &catalogue)?;
        let identity = Identity::new(&self.options, &Told::default());
        let definition = Definition::new(&plan, &catalogue, &identity, &[]);
        let touch = touch::rules(&plan, &spec.key, &catalogue, &identity, Self::TYPING);
        Ok(Made { plan, fields, definition, touch, proof: world.name_type, row_length: 0 })
    }

    fn stamp(proof: &Seen) -> &Seen {
        proof
    }

    fn bindable(_: &Plan, conditions: &Arc<[Condition]>) -> Result<Arc<[Condition]>> {
        Ok(Arc::clone(conditions))
    }

    async fn lease(&self, query: &Query, _: Option<&Room>) -> Result<Lease<Server>> {
        self.pool.lease(query.claim()).await
    }

    fn give_back(lease: Lease<Server>, _: Option<&Room>) {
        lease.give_back();
    }

    async fn attempt(
        &self,
        session: &mut Session,
        plan: &Plan,
        proof: &Seen,
        query: &Query,
        sink: &mut dyn RowSink,
        progress: &mut Progress,
    ) -> Result<(bool, Option<Seen>), Failure> {
        let mut run = RunReader::new(plan, query, progress);
        while let Some((statement, left)) = run.wants() {
            for row in session.ask(&statement, run.after(), left)? {
                let row = match row {
                    Err(Refusal::Raised) if run.has_rows() => {
                        run.stop();
                        break;
                    }
                    row => row?,
                };
                row.iter().try_for_each(|cell| run.rows.add(cell.value()))?;
                if !run.added(16, sink)? {
                    break;
                }
            }
        }

        run.end()?;
        run.hand_over(vec![], sink)?;
        Ok((run.ended(), Some(self.saw(proof).await?)))
    }

    async fn attempt_with_care(
        &self,
        session: &mut Session,
        plan: &Plan,
        proof: &Seen,
        query: &Query,
        room: u64,
        sink: &mut dyn RowSink,
    ) -> Result<(Done, Seen), Failure> {
        let done = careful::read(&mut Snapshot(session), plan, query, room, sink).await?;
        Ok((done, self.saw(proof).await?))
    }

    async fn saw(&self, _: &Seen) -> Result<Seen> {
        Ok(self.pool.connector().world().name_type)
    }

    async fn count(&self, session: &mut Session, _: &Plan, _: &[Condition]) -> Result<Option<u64>, Failure> {
        Ok(Some(session.server.world().rows.len() as u64))
    }

    fn signs(refusal: &Refusal) -> Signs {
        Signs {
            lost: *refusal == Refusal::Lost,
            over: *refusal == Refusal::Lost,
            passing: *refusal == Refusal::Conflict,
            of_a_value: *refusal == Refusal::Raised,
            ..Signs::default()
        }
    }

    fn explained(refusal: Refusal, _: &Query) -> Error {
        Error::new(Kind::Unavailable, format!("the stub says {refusal:?}"))
    }

    fn timed_out(_: Duration) -> Error {
        Error::new(Kind::Timeout, "the stub is late")
    }
}

struct Snapshot<'a>(&'a mut Session);

impl careful::Snapshot for Snapshot<'_> {
    type Failure = Failure;

    async fn ask(&mut self, asked: Asked<'_>, held: &mut ValueBuffer) -> Answer<(), Failure> {
        for row in self.0.ask(asked.statement, asked.after, asked.limit)? {
            match answer(row.map_err(Failure::from), |refusal| *refusal == Refusal::Raised)? {
                Ok(row) => row.iter().try_for_each(|cell| held.add(cell.value()))?,
                Err(failure) => return Ok(Err(failure)),
            }
        }
        Ok(Ok(()))
    }

    async fn lists(&mut self, _: &Relation, _: &ValueBuffer) -> Answer<Option<Lists>, Failure> {
        Ok(Ok(None))
    }
}
