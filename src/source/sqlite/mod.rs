//! SQLite files: a pool of read-only connections, each read on a thread of its own.
//!
//! SQLite's progress handler stops a read: it looks at a flag of *that* read. An interrupt
//! (`sqlite3_interrupt`) that comes late would stop the connection's next read instead.

mod careful;
mod catalogue;
mod errors;
mod look;
mod params;
mod pool;
mod related;
mod rows;
mod session;
mod views;

use std::{
    sync::{Arc, Mutex, MutexGuard, RwLock},
    time::{Duration, Instant},
};

use self::{
    errors::will_pass,
    look::{Look, Stamp, schema_version},
    pool::Pool,
    session::{Failure, Session},
};
use super::{
    BoxFuture, Claim, Complaint, Condition, Database, DatabaseOptions, Filter, Gate, GateLimits, KnownBy, MadeSource,
    Operator, PoolState, Query, Room, Run, Sealed, Source, Spec, TableInfo, TouchRules,
    sql::{
        advice,
        definition::{Definition, Identity, changed, not_made, tables},
        dialect::Dialect,
        keyset::{self, Range},
        places::Typing,
        plan::{Plan, Relation},
        planner::plan,
        run::InRoom,
        select, touch, traced,
        tries::Tries,
        width::{NeedsRoom, WideAhead},
    },
};
use crate::{
    cursor::Cursor,
    described::Described,
    error::{Error, Kind, Result},
    row::{Column, Fields, RowBatch, RowSink},
    trace,
    unpoisoned::Unpoisoned,
};

/// SQLite's dialect of SQL.
pub(super) const DIALECT: Dialect = Dialect {
    quote: '"',
    numbered: false,
    null_is_greatest: false,
    // SQLite uses only the first column of an index for a comparison of rows.
    compares_rows: false,
    in_list: Some(" IN rarray(?)"),
    collations_must_agree: false,
    queries_lose_collations: true,
    joins_exists: false,
    // SQLite keeps the order of tables in a cross join.
    join: "CROSS JOIN",
    as_text: "CAST(? AS TEXT)",
    length: "octet_length(?)",
    sum: "sum(?)",
    no_text: "NULL",
    // LIKE has no regard to the case of ASCII letters, and neither lower() knows others.
    ilike: ["", " LIKE ", ""],
    no_escape: "",
};

/// How many steps of SQLite's virtual machine pass between two looks at the flag and the clock;
/// about 0.1 ms.
const STEPS: i32 = 2000;
/// The same for queries that match patterns, where one step can take long.
const STEPS_WITH_PATTERNS: i32 = 50;

/// A SQLite file.
pub struct Sqlite(Arc<File>);

/// What the sources of one file share.
struct File {
    pool: Arc<Pool>,
    options: DatabaseOptions,
    looked: RwLock<Arc<Look>>,
}

impl File {
    fn looked(&self) -> Arc<Look> {
        Arc::clone(&self.looked.read().unpoisoned())
    }

    fn identity(&self, look: &Look) -> Identity {
        Identity::new(&self.options, &look.stamp.0.told(&self.pool.path))
    }

    fn definition(&self, plan: &Plan, look: &Look) -> Definition {
        let used = tables(plan, &look.catalogue);
        let identity = self.identity(look);
        Definition::new(plan, &look.catalogue, &identity, &look.behind(&used))
    }

    /// Looks again, in a transaction. Sources made from now on use the result.
    fn look_again(&self, session: &mut Session) -> Result<Arc<Look>, Failure> {
        let seen = Arc::new(Look::new(&mut session.connection, session.file)?);
        *self.looked.write().unpoisoned() = Arc::clone(&seen);
        Ok(seen)
    }
}

pub(super) fn open(options: &DatabaseOptions) -> BoxFuture<'_, Result<Arc<dyn Database>>> {
    let limits = GateLimits { reads: options.pool.max(1), ..GateLimits::default() };
    let opened = Sqlite::opened(options.clone(), limits);
    Box::pin(std::future::ready(opened.map(|opened| Arc::new(opened) as Arc<dyn Database>)))
}

impl Sqlite {
    /// Opens `sqlite:FILE` or `sqlite:FILE?immutable=1`, and reads the list of tables.
    ///
    /// `timeout` is the time limit of one read. All resources made from it share the pool and the
    /// gate.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the file cannot be read as a database.
    pub fn open(url: &str, limits: GateLimits, timeout: Duration) -> Result<Sqlite> {
        Sqlite::opened(DatabaseOptions { timeout, ..DatabaseOptions::new(url) }, limits)
    }

    fn opened(options: DatabaseOptions, limits: GateLimits) -> Result<Sqlite> {
        if options.role.is_some() {
            return Err(Error::new(Kind::Config, "a SQLite file has no roles").remedy("leave `role` out"));
        }
        let pool = Pool::new(&options.url, options.timeout, Gate::new(limits))?;
        let mut session = pool.open()?;
        let look = in_transaction(&mut session, |session| Ok(Look::new(&mut session.connection, session.file)?));
        let look = look.map_err(|failure| pool.explained(failure, false))?;
        pool.put_back(session);
        Ok(Sqlite(Arc::new(File { pool: Arc::new(pool), options, looked: RwLock::new(Arc::new(look)) })))
    }

    fn plan(&self, spec: &Spec, look: &Look) -> Result<(Plan, Fields), Vec<Complaint>> {
        let (plan, fields) = plan(spec, &look.catalogue)?;
        let plan = plan.within(self.0.options.bounds);
        match self.prepare(&plan) {
            Ok(()) => Ok((plan, fields)),
            Err(Failure::Database(error)) if plan.condition.is_some() => Err(vec![Complaint::new(
                "where",
                format!("SQLite does not take the query: {error}"),
                "write a condition that works as `SELECT … WHERE (…)`",
            )]),
            Err(failure) => {
                let at = if matches!(failure, Failure::Own(_)) && plan.condition.is_some() { "where" } else { "table" };
                let error = self.0.pool.explained(failure, false);
                Err(vec![Complaint::failed(at, &error)])
            }
        }
    }

    /// Has SQLite prepare the first query, so that errors in it show at the start.
    fn prepare(&self, plan: &Plan) -> Result<(), Failure> {
        let session = self.0.pool.take()?;
        let parameters = session.connection.prepare(&select::rows(plan, &Range::new(), &[]).text)?.parameter_count();
        if parameters != 1 {
            return Err(Error::new(Kind::Config, "`where` has a parameter, and there is nothing to bind to it")
                .remedy("write the value itself")
                .into());
        }

        if let Some(alone) = select::condition_alone(plan) {
            session.connection.prepare(&alone)?;
        }

        let pointed = plan.on_pointed_rows();
        session.connection.prepare(&select::rows(plan, &Range::new(), &pointed).text)?;

        for relation in &plan.relations {
            session.connection.prepare(&related::sql_for_close_keys(relation))?;
        }

        self.0.pool.put_back(session);
        Ok(())
    }
}

impl Sealed for Sqlite {}

impl Database for Sqlite {
    fn source<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, MadeSource> {
        let look = self.0.looked();
        let made = self.plan(spec, &look).map(|(plan, fields)| {
            let definition = self.0.definition(&plan, &look);
            let identity = self.0.identity(&look);
            let touch = touch::rules(&plan, &spec.key, &look.catalogue, &identity, Typing::Dynamic);
            let proven = Mutex::new(look.stamp);
            let reader = Reader { spec: spec.clone(), plan, definition, proven, wide_ahead: WideAhead::default() };
            let source = Table { file: Arc::clone(&self.0), reader: Arc::new(reader), touch };
            (Arc::new(source) as Arc<dyn Source>, fields)
        });
        Box::pin(std::future::ready(made))
    }

    fn look_again(&self) -> BoxFuture<'_, Result<()>> {
        let file = Arc::clone(&self.0);
        Box::pin(self.0.pool.run(Claim::default(), STEPS, move |session| {
            in_transaction(session, |session| file.look_again(session))?;
            Ok(())
        }))
    }

    fn pool(&self) -> PoolState {
        let pool = &self.0.pool;
        pool.gate.state(pool.idle())
    }

    fn known_by(&self) -> KnownBy {
        self.0.identity(&self.0.looked()).known_by
    }

    fn tables(&self) -> Vec<TableInfo> {
        self.0.looked().catalogue.tables()
    }

    fn check_commit(&self, _: &str) -> Result<()> {
        let error = Error::new(Kind::Invalid, "SQLite has no positions of commits");
        Err(error.remedy("leave `at` out: each read sees all that was committed before"))
    }

    fn shows<'a>(&'a self, commits: &'a [&'a str]) -> BoxFuture<'a, Result<bool>> {
        let checked = commits.iter().try_for_each(|commit| self.check_commit(commit));
        Box::pin(std::future::ready(checked.map(|()| true)))
    }

    fn explain<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Vec<Complaint>> {
        Box::pin(std::future::ready(self.slow(spec)))
    }
}

impl Sqlite {
    /// What would be slow about a resource.
    fn slow(&self, spec: &Spec) -> Vec<Complaint> {
        let look = self.0.looked();
        let Ok((plan, _)) = self.plan(spec, &look) else { return vec![] };
        let mut complaints = advice::of_plan(&plan);
        // Beside a key with nullable columns, the rowid only matters for rows with NULL in the key.
        let alone = look.catalogue.table(&spec.table, "").is_ok_and(|table| table.key.len() == 1);
        if plan.unstable_key.is_some() && alone {
            complaints.push(Complaint::new(
                "table",
                format!("only the rowid tells the rows of `{}` apart, and VACUUM may change it", spec.table),
                "give the table an INTEGER PRIMARY KEY, or one whose columns are NOT NULL",
            ));
        }

        let explained = self.0.pool.take().map_err(Failure::from).and_then(|session| {
            let steps = explain(&session, &plan);
            self.0.pool.put_back(session);
            steps
        });

        let is_sorted = matches!(&explained, Ok(steps) if steps.iter().any(|step| step.contains(SORTS)));
        match explained {
            // If only the last columns are sorted, SQLite sorts among rows with equal leading
            // values.
            Ok(_) if is_sorted => {
                complaints.push(advice::unindexed_order(&plan, std::slice::from_ref(&plan.table)));
            }
            Ok(_) => {}
            Err(failure) => {
                let error = self.0.pool.explained(failure, false);
                complaints.push(Complaint::failed("table", &error));
            }
        }

        let is_told = complaints.iter().any(|complaint| complaint.at == "scope");
        if !is_sorted && !is_told && self.sorts_scopes(&plan) {
            complaints.push(advice::unsorted_scope(&plan));
        }
        complaints.extend(self.slow_relations(&plan));
        complaints
    }

    /// Whether the rows of a scope are sorted for each chunk, though the whole table's are not.
    fn sorts_scopes(&self, plan: &Plan) -> bool {
        let one = |index: &usize| Condition::is(&*plan.filters[*index].column, Operator::Eq, vec!["0".to_owned()]);
        let scope: Vec<Condition> = plan.scoped.iter().map(one).collect();
        if scope.is_empty() {
            return false;
        }
        let steps = self.steps(&select::rows(plan, &keyset::Range::new(), &scope).text).unwrap_or_default();
        steps.iter().any(|step| step.contains(SORTS))
    }

    /// Relations whose related rows are found by a scan of the whole table.
    fn slow_relations(&self, plan: &Plan) -> Vec<Complaint> {
        let slow = |relation: &Relation| {
            let steps = self.steps(&related::sql_for_close_keys(relation)).unwrap_or_default();
            steps.iter().any(|step| step.starts_with("SCAN"))
        };
        let relations = plan.relations.iter().enumerate();
        relations
            .filter(|(_, relation)| slow(relation))
            .map(|(index, relation)| {
                let tables = std::slice::from_ref(advice::looked_up(relation));
                advice::unindexed_relation(plan, index, tables)
            })
            .collect()
    }

    /// SQLite's query plan, step by step.
    fn steps(&self, sql: &str) -> Result<Vec<String>, Failure> {
        let session = self.0.pool.take()?;
        let steps = query_plan(&session, sql)?;
        self.0.pool.put_back(session);
        Ok(steps)
    }
}

/// A step of a query plan that sorts all rows.
const SORTS: &str = "USE TEMP B-TREE FOR ORDER BY";

/// SQLite's query plan for the first query and for one that goes on behind a row.
fn explain(session: &Session, plan: &Plan) -> Result<Vec<String>, Failure> {
    let key = vec![crate::row::Value::Integer(0); plan.order.len()];
    let mut steps = vec![];
    for range in keyset::ranges(plan.dialect, &plan.order, &[]).into_iter().chain(keyset::ranges(
        plan.dialect,
        &plan.order,
        &key,
    )) {
        steps.extend(query_plan(session, &select::rows(plan, &range, &[]).text)?);
    }
    Ok(steps)
}

fn query_plan(session: &Session, sql: &str) -> Result<Vec<String>, Failure> {
    let mut statement = session.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
    let mut rows = statement.raw_query();
    let mut steps = vec![];
    while let Some(row) = rows.next()? {
        steps.push(row.get(3)?);
    }
    Ok(steps)
}

/// The rows of one resource.
struct Table {
    file: Arc<File>,
    reader: Arc<Reader>,
    touch: Option<TouchRules>,
}

/// What a read needs.
struct Reader {
    spec: Spec,
    plan: Plan,
    /// Of all columns of the specification, also of those that the plan does not read.
    definition: Definition,
    /// The file and schema version for which the definition was last found to be this one.
    proven: Mutex<Stamp>,
    wide_ahead: WideAhead,
}

impl Reader {
    /// Proves, in the read's own transaction, that the definition still holds. After a change of
    /// the schema each read looks for itself: another read's look may be of another moment.
    fn prove(&self, session: &mut Session, file: &File) -> Result<(), Failure> {
        let stamp = (session.file, schema_version(&session.connection)?);
        if *self.proven() == stamp {
            return Ok(());
        }

        let look = file.look_again(session)?;
        let (plan, _) = plan(&self.spec, &look.catalogue).map_err(not_made)?;
        let plan = plan.within(file.options.bounds);
        if file.definition(&plan, &look) != self.definition {
            return Err(changed().into());
        }
        *self.proven() = stamp;
        Ok(())
    }

    fn proven(&self) -> MutexGuard<'_, Stamp> {
        self.proven.lock().unpoisoned()
    }
}

/// The rows of a read and how it ended; or how many bytes of room it needs.
type Read = Result<(Vec<RowBatch>, Run), NeedsRoom>;

impl Table {
    /// Reads a run with this room.
    async fn read(&self, query: Query, room: Option<Arc<Room>>) -> Result<Read> {
        let file = Arc::clone(&self.file);
        let reader = Arc::clone(&self.reader);
        let claim = query.claim();
        let steps = steps(&query.conditions);
        let within = trace::current();
        let work = move |session: &mut Session| {
            let span = traced::span(&within, "sqlite", &reader.plan, &query);
            let mut tries = Tries::default();
            let began = Instant::now();
            // The thread keeps the room, even when nobody waits for it any more.
            let bytes = room.as_ref().map_or(0, |room| room.bytes());
            loop {
                let mut batches = vec![];
                let proven = |session: &mut Session| reader.prove(session, &file);
                let read = rows::read(session, &reader, &query, bytes, &mut batches, proven);
                trace::read(&span, read.is_ok());
                match read {
                    // A locked file fails a read before any row is handed on, so it may be tried
                    // again, unless it has waited for long already.
                    Err(Failure::Database(error))
                        if will_pass(&error)
                            && began.elapsed() < file.pool.timeout / 2
                            && let Some(pause) = tries.next() =>
                    {
                        file.pool.gate.note_retry();
                        tracing::debug!(%error, "a read is tried again");
                        std::thread::sleep(pause);
                    }
                    Err(Failure::NoRoom(bytes)) => return Ok(Err(NeedsRoom(bytes))),
                    ended => return Ok(Ok((batches, Run::new(ended?)))),
                }
            }
        };

        self.file.pool.run(claim, steps, work).await
    }
}

/// Does `work` in a transaction.
fn in_transaction<T>(
    session: &mut Session,
    work: impl FnOnce(&mut Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    session.connection.execute_batch("BEGIN")?;
    let done = work(session);
    session.connection.execute_batch("COMMIT")?;
    done
}

impl Source for Table {
    fn columns(&self) -> &[Column] {
        &self.reader.plan.columns
    }

    fn order(&self) -> &[String] {
        &self.reader.plan.order_names
    }

    fn filters(&self) -> &[Filter] {
        self.reader.plan.open_filters()
    }

    fn scope(&self) -> &[Filter] {
        self.reader.plan.scope()
    }

    fn described(&self) -> &[Described] {
        &self.reader.plan.described
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.reader.definition.digest()
    }

    fn places(&self) -> Vec<u8> {
        self.reader.definition.places.clone()
    }

    fn takes(&self, place: &Cursor) -> bool {
        self.reader.plan.takes(place, Typing::Dynamic)
    }

    fn touch_rules(&self) -> Option<&TouchRules> {
        self.touch.as_ref()
    }

    fn narrowed(&self, columns: &[usize]) -> Option<Arc<dyn Source>> {
        let Reader { spec, plan, definition, .. } = &*self.reader;
        let reader = Reader {
            spec: spec.clone(),
            plan: plan.narrowed(columns),
            definition: definition.clone(),
            proven: Mutex::new(*self.reader.proven()),
            wide_ahead: WideAhead::default(),
        };
        Some(Arc::new(Table { file: Arc::clone(&self.file), reader: Arc::new(reader), touch: self.touch.clone() }))
    }

    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>> {
        Box::pin(async move {
            let mut room: Option<Arc<Room>> = None;
            loop {
                match self.read(query.clone(), room.clone()).await? {
                    Ok((batches, run)) => {
                        let mut sink = InRoom { sink, room: &room };
                        batches.into_iter().try_for_each(|batch| sink.take(batch))?;
                        return Ok(run);
                    }
                    Err(NeedsRoom(bytes)) => {
                        // Give back the smaller room first: it may be all there is.
                        drop(room.take());
                        room = Some(Arc::new(self.file.options.memory.room(bytes).await?));
                    }
                }
            }
        })
    }

    fn count<'a>(&'a self, conditions: Arc<[Condition]>) -> BoxFuture<'a, Option<u64>> {
        let reader = Arc::clone(&self.reader);
        Box::pin(async move {
            let claim = Claim { filtered: !conditions.is_empty(), ..Claim::default() };
            let steps = steps(&conditions);
            let count = move |session: &mut Session| rows::count(&session.connection, &reader.plan, &conditions);
            self.file.pool.run(claim, steps, count).await.ok()
        })
    }
}

/// How many steps pass between two looks at the clock.
fn steps(conditions: &[Condition]) -> i32 {
    let mut comparisons = conditions.iter().flat_map(Condition::comparisons);
    let patterns = comparisons.any(|comparison| comparison.operator.takes_pattern());
    if patterns { STEPS_WITH_PATTERNS } else { STEPS }
}
