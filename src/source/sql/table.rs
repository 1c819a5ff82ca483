//! The rows of one resource, over the driver of a database server.
//!
//! A read may take several attempts. The driver says what an error indicates; what to do then is
//! decided here:
//!
//! - A connection that was lost while idle is replaced.
//! - If the tables may have changed, they are looked at again, once.
//! - A read whose error the database itself calls temporary is tried again.
//! - A run that a value has failed, or with wide rows, is read with care, in the room that it
//!   needs.
//! - Every other error is returned.

use std::{
    sync::{Arc, RwLock},
    time::Instant,
};

use tracing::Instrument;

use super::{
    definition::{Definition, changed, not_made},
    driver::{Driver, Made},
    plan::Plan,
    run::{InRoom, Progress},
    traced,
    tries::Tries,
    width::{WideAhead, Width},
};
use crate::{
    cursor::Cursor,
    described::Described,
    error::Result,
    row::{Column, RowSink},
    source::{BoxFuture, Claim, Condition, Filter, MadeSource, Query, Room, Run, Source, Spec, TouchRules},
    trace,
    unpoisoned::Unpoisoned,
};

/// The rows of one resource.
pub(in crate::source) struct Table<D: Driver> {
    driver: Arc<D>,
    spec: Spec,
    plan: Plan,
    /// Of all columns of the specification, also of those that the plan does not read.
    definition: Definition,
    touch: Option<TouchRules>,
    /// The proof from the last look at the tables, shared with the sources of fewer columns.
    proof: Arc<RwLock<Arc<D::Proof>>>,
    /// Roughly how many bytes a row has: from the last read, else from the server; 0 if unknown.
    width: Width,
    wide_ahead: WideAhead,
}

impl<D: Driver> Table<D> {
    /// Makes the source of a resource, and maps the source's columns to its members.
    pub(in crate::source) async fn made(driver: &Arc<D>, spec: &Spec) -> MadeSource {
        let Made { plan, fields, definition, touch, proof, row_length } = driver.made(spec, None).await?;
        let table = Table {
            driver: Arc::clone(driver),
            spec: spec.clone(),
            plan,
            definition,
            touch,
            proof: Arc::new(RwLock::new(Arc::new(proof))),
            width: Width::new(row_length),
            wide_ahead: WideAhead::default(),
        };
        Ok((Arc::new(table) as Arc<dyn Source>, fields))
    }

    fn proof(&self) -> Arc<D::Proof> {
        Arc::clone(&self.proof.read().unpoisoned())
    }

    /// Looks at the tables again, since what was noticed then may come from another definition.
    ///
    /// # Errors
    /// [`Kind::Schema`](crate::Kind::Schema), if the definition has changed.
    async fn look_again(&self, noticed: Instant) -> Result<Arc<D::Proof>> {
        let made = self.driver.made(&self.spec, Some(noticed)).await.map_err(not_made)?;
        if made.definition != self.definition {
            return Err(changed());
        }
        let proof = Arc::new(made.proof);
        *self.proof.write().unpoisoned() = Arc::clone(&proof);
        Ok(proof)
    }
}

impl<D: Driver> Source for Table<D> {
    fn columns(&self) -> &[Column] {
        &self.plan.columns
    }

    fn order(&self) -> &[String] {
        &self.plan.order_names
    }

    fn filters(&self) -> &[Filter] {
        self.plan.open_filters()
    }

    fn scope(&self) -> &[Filter] {
        self.plan.scope()
    }

    fn described(&self) -> &[Described] {
        &self.plan.described
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.definition.digest()
    }

    fn places(&self) -> Vec<u8> {
        self.definition.places.clone()
    }

    fn takes(&self, place: &Cursor) -> bool {
        self.plan.takes(place, D::TYPING)
    }

    fn takes_sessions(&self) -> bool {
        D::TAKES_SESSIONS
    }

    fn touch_rules(&self) -> Option<&TouchRules> {
        self.touch.as_ref()
    }

    fn narrowed(&self, columns: &[usize]) -> Option<Arc<dyn Source>> {
        Some(Arc::new(Table {
            driver: Arc::clone(&self.driver),
            spec: self.spec.clone(),
            plan: self.plan.narrowed(columns),
            definition: self.definition.clone(),
            touch: self.touch.clone(),
            proof: Arc::clone(&self.proof),
            width: self.width.clone(),
            wide_ahead: WideAhead::default(),
        }))
    }

    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>> {
        Box::pin(async move {
            let conditions = D::bindable(&self.plan, &query.conditions)?;
            let query = self.width.bounded(Query { conditions, ..query });
            let (ended, progress) = read(self, query, sink).await?;
            if let Some(width) = progress.width() {
                self.width.note(width);
            }
            Ok(Run::new(ended))
        })
    }

    fn count<'a>(&'a self, conditions: Arc<[Condition]>) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async move {
            let conditions = D::bindable(&self.plan, &conditions).ok()?;
            let pool = self.driver.pool();
            let claim = Claim { filtered: !conditions.is_empty(), ..Claim::default() };
            let mut lease = pool.lease(claim).await.ok()?;
            let count = self.driver.count(lease.connection(), &self.plan, &conditions);
            let count = tokio::time::timeout(pool.patience(), count).await.ok()?.ok()?;
            lease.give_back();
            count
        })
    }
}

/// Reads one run into the sink. Returns whether the list ends with it, and the last attempt's
/// progress.
///
/// # Errors
/// The driver's error for a failure; [`Kind::Schema`](crate::Kind::Schema) if the tables have
/// changed.
async fn read<D: Driver>(table: &Table<D>, mut query: Query, sink: &mut dyn RowSink) -> Result<(bool, Progress)> {
    let driver = &*table.driver;
    let pool = driver.pool();
    let mut progress = Progress::default();
    let mut proof = table.proof();
    let mut looked = false;
    let mut tries = Tries::default();
    // Whether a value has failed the run, or rows are wide.
    let mut with_care = table.wide_ahead.get();
    let mut room: Option<Arc<Room>> = None;

    loop {
        let noticed = Instant::now();
        let mut lease = driver.lease(&query, room.as_deref()).await?;
        let reused = lease.reused;
        let connection = lease.connection();
        let span = traced::span(&trace::current(), D::system(connection), &table.plan, &query);
        let attempt = async {
            if with_care {
                let bytes = room.as_ref().map_or(0, |room| room.bytes());
                let mut sink = InRoom { sink, room: &room };
                let read = driver.attempt_with_care(connection, &table.plan, &proof, &query, bytes, &mut sink).await;
                read.map(|(done, saw)| {
                    table.wide_ahead.note(done.wide_ahead);
                    (done.ended, Some(saw))
                })
            } else {
                driver.attempt(connection, &table.plan, &proof, &query, &mut *sink, &mut progress).await
            }
        };
        let attempted = tokio::time::timeout(pool.patience(), attempt).instrument(span.clone()).await;
        trace::read(&span, matches!(attempted, Ok(Ok(_))));
        let failure = match attempted.map_err(|_| D::timed_out(pool.timeout()))? {
            Ok((ended, saw)) => {
                let saw = match saw {
                    Some(saw) => {
                        D::give_back(lease, room.as_deref());
                        saw
                    }
                    None => {
                        lease.end();
                        table.wide_ahead.note(true);
                        driver.saw(&proof).await?
                    }
                };
                // The rows are right only if a new look sees the same as the read did, and that is
                // what the source was made from.
                if saw != *D::stamp(&proof) && *D::stamp(&*table.look_again(noticed).await?) != saw {
                    return Err(changed());
                }
                return Ok((ended, progress));
            }
            Err(failure) => failure,
        };

        let signs = failure.signs(D::signs);
        if signs.over {
            lease.end();
        } else {
            drop(lease);
        }
        // The server closed the connection while it was idle, as it does when it restarts.
        if signs.lost && reused && progress.rows == 0 {
            pool.forget_idle();
            continue;
        }
        // A client whose value does not fit a column must not cause a read of the catalogue.
        if !looked && (signs.changed || (signs.doubtful && !holds(driver, &proof).await)) {
            proof = table.look_again(noticed).await?;
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
            // Waits without a connection, so that others may read meanwhile.
            drop(room.take());
            room = Some(Arc::new(driver.options().memory.room(bytes).await?));
            continue;
        }
        if signs.wide && with_care && room.is_none() {
            // The row could not be measured.
            room = Some(Arc::new(driver.options().memory.room(table.plan.bounds.value).await?));
            continue;
        }
        if (signs.of_a_value || signs.wide) && !with_care && progress.handed == 0 {
            // The rows before the one that failed the query are read on their own first.
            with_care = !(1..query.limit as usize).contains(&progress.rows);
            query.limit = if with_care { query.limit } else { progress.rows as u32 };
            progress = Progress::default();
            continue;
        }
        return Err(failure.explained(|error| D::explained(error, &query)));
    }
}

/// Whether a transaction sees what a proof expects.
async fn holds<D: Driver>(driver: &D, proof: &D::Proof) -> bool {
    driver.saw(proof).await.is_ok_and(|saw| saw == *D::stamp(proof))
}
