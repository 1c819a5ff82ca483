//! Asks the database which rows of a list are behind a place, where only the database knows how the
//! list's values compare.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use super::look_up::conditions;
use crate::{
    cursor::Cursor,
    error::{Error, Kind, Result},
    row::RowBatch,
    source::{
        ColumnSpec, Condition, Database, FieldSpec, Filter, Query, Requester, Source, Spec, TouchRules, discreet,
    },
    unpoisoned::Unpoisoned,
};

/// At most this many keys are asked about at once.
pub(crate) const KEYS_AT_ONCE: usize = 1_000;
/// At most this many rows are read for them: the columns of a composite key are compared one by one,
/// which may find more.
const ROWS: usize = 10_000;
const RUN: u32 = 2_000;

/// Asks which rows of a resource's lists are behind a place.
pub(crate) struct Behind {
    database: Arc<dyn Database>,
    spec: Spec,
    /// The columns of the key.
    key: Vec<String>,
    /// What the places of the resource mean.
    places: Vec<u8>,
    /// The same rows in the same order, with conditions on the key too; made when it is first
    /// needed.
    source: Mutex<Option<Arc<dyn Source>>>,
}

impl Behind {
    /// For a resource with this specification and source.
    pub(super) fn new(database: &Arc<dyn Database>, spec: &Spec, source: &dyn Source, rules: &TouchRules) -> Behind {
        let key: Vec<String> = rules.key.iter().map(|rule| rule.column.clone()).collect();
        let own = source.filters().iter().map(|Filter { column, .. }| column);
        let mut filters: Vec<String> = key.iter().chain(own).cloned().collect();
        let mut seen = HashSet::new();
        filters.retain(|column| seen.insert(column.clone()));

        let field = key.first().map(|first| (first.clone(), FieldSpec::Column(ColumnSpec::from(first.clone()))));
        Behind {
            database: Arc::clone(database),
            spec: Spec { fields: Some(field.into_iter().collect()), filters: Some(filters), ..spec.clone() },
            key,
            places: source.places(),
            source: Mutex::default(),
        }
    }

    /// Of the rows with these keys, told as texts, those that a list with these conditions has
    /// behind a place. They come as the values of the list's order. There may be rows with other
    /// keys too, if the key has several columns.
    ///
    /// # Errors
    /// The database's; [`Kind::Config`] if it cannot be asked.
    pub(crate) async fn rows(
        &self,
        place: &Cursor,
        of_list: &[Condition],
        keys: &[&[String]],
        requester: Requester,
    ) -> Result<Vec<Cursor>> {
        let source = self.made().await?;
        let read = self.read(&*source, place, of_list, keys, requester).await;
        if read.as_ref().is_err_and(|error| error.kind() == Kind::Schema) {
            // The table has changed: the next question makes the list of its rows again.
            *self.source.lock().unpoisoned() = None;
            self.database.look_again().await?;
        }
        read
    }

    async fn made(&self) -> Result<Arc<dyn Source>> {
        let known = self.source.lock().unpoisoned().clone();
        if let Some(source) = known {
            return Ok(source);
        }

        let unable = || Error::new(Kind::Config, "the database cannot be asked where a row belongs");
        let made = match self.database.source(&self.spec).await {
            Ok(made) => Ok(made),
            // A database that is away says so here; it can be asked when it is back.
            Err(_) => {
                self.database.look_again().await?;
                self.database.source(&self.spec).await
            }
        };
        let (source, _) = made.map_err(|complaints| {
            let told: Vec<&str> = complaints.iter().map(|complaint| &*complaint.message).collect();
            unable().caused_by(told.join("; "))
        })?;
        // Of another order it would say what is behind another place.
        if source.places() != self.places {
            return Err(unable().caused_by("its order is another one now"));
        }

        let source = if self.spec.is_discreet { discreet(source) } else { source };
        *self.source.lock().unpoisoned() = Some(Arc::clone(&source));
        Ok(source)
    }

    async fn read(
        &self,
        source: &dyn Source,
        place: &Cursor,
        of_list: &[Condition],
        keys: &[&[String]],
        requester: Requester,
    ) -> Result<Vec<Cursor>> {
        let Some(of_keys) = conditions(source, &self.key, keys) else { return Ok(vec![]) };
        let conditions: Arc<[Condition]> = of_list.iter().cloned().chain(of_keys).collect();
        let mut rows = vec![];
        loop {
            let query = Query {
                after: rows.last().unwrap_or(place).clone(),
                // With room for one more, a read that finds them all has found the list's end.
                limit: (keys.len() as u32 + 1).min(RUN),
                conditions: Arc::clone(&conditions),
                requester,
            };
            let before = rows.len();
            let mut batches: Vec<RowBatch> = vec![];
            let run = source.rows(query, &mut batches).await?;
            for batch in &batches {
                batch.each(0..batch.len(), |values, _| {
                    rows.push(Cursor::after(values)?);
                    Ok(())
                })?;
            }

            if run.ended {
                return Ok(rows);
            }
            if rows.len() > ROWS || rows.len() == before {
                return Err(Error::new(Kind::Data, "the keys find too many rows"));
            }
        }
    }
}
