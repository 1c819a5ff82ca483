//! The rows of a table that have certain keys, told as texts, or that meet conditions.

use std::sync::{Arc, Mutex};

use crate::{
    cursor::Cursor,
    error::{Error, Kind, Result},
    row::RowBatch,
    source::{
        BoxFuture, ColumnSpec, Complaint, Condition, Database, FieldSpec, Operand, Operator, Query, Requester, Source,
        Spec, discreet,
    },
    unpoisoned::Unpoisoned,
};

/// At most this many keys are asked for at once.
pub(crate) const KEYS_AT_ONCE: usize = 1_000;
/// At most this many rows are read for them, or for conditions: the columns of a composite key are
/// compared one by one, which may find more.
const ROWS: usize = 10_000;
const RUN: u32 = 2_000;

/// A list of a table's rows that may be filtered by their keys; made when it is first needed.
pub(super) struct Keyed {
    /// Where it is made; `None` if it is there.
    database: Option<Arc<dyn Database>>,
    /// Its specification; later ones stand in for the first if that cannot be made.
    specs: Vec<Spec>,
    /// The columns of the key.
    key: Vec<String>,
    /// What its places must mean, if that matters.
    places: Option<Vec<u8>>,
    source: Mutex<Option<Arc<dyn Source>>>,
}

/// Rows that were found, each by the values of the list's order.
pub(super) struct Found {
    /// The list that they are of.
    pub(super) source: Arc<dyn Source>,
    pub(super) rows: Vec<Cursor>,
}

impl Keyed {
    /// Lists with these specifications, whose scopes hold the key; their fields are the key's first
    /// column alone.
    pub(super) fn new(database: &Arc<dyn Database>, specs: Vec<Spec>, key: Vec<String>) -> Keyed {
        let field = key.first().map(|first| (first.clone(), FieldSpec::Column(ColumnSpec::from(first.clone()))));
        let fields: Vec<_> = field.into_iter().collect();
        let specs = specs.into_iter().map(|mut spec| {
            // Conditions may be on columns of related rows, which are named by their fields.
            let related = spec.fields.replace(fields.clone()).into_iter().flatten();
            spec.unshown.extend(related.filter(|(_, field)| matches!(field, FieldSpec::Via { .. })));
            spec
        });
        let database = Some(Arc::clone(database));
        Keyed { database, specs: specs.collect(), key, places: None, source: Mutex::default() }
    }

    /// The list of a source whose scope holds the key.
    pub(super) fn by(source: &Arc<dyn Source>, key: Vec<String>) -> Keyed {
        let source = Mutex::new(Some(Arc::clone(source)));
        Keyed { database: None, specs: vec![], key, places: None, source }
    }

    /// The same, where the list's places must mean this.
    pub(super) fn with_places(self, places: Vec<u8>) -> Keyed {
        Keyed { places: Some(places), ..self }
    }

    /// The rows behind a place that meet the conditions and, if keys are given, at most
    /// [`KEYS_AT_ONCE`], have one of them. There may be rows with other keys too, if the key has
    /// several columns.
    ///
    /// # Errors
    /// The database's; [`Kind::Config`] if it cannot be asked; [`Kind::Data`] if there are more than
    /// 10,000 rows.
    pub(super) async fn rows(
        &self,
        behind: &Cursor,
        conditions: &[Condition],
        keys: Option<&[&[String]]>,
        requester: Requester,
    ) -> Result<Found> {
        let source = self.made().await?;
        match self.read(&source, behind, conditions, keys, requester).await {
            // The table has changed: the list of its rows is made again.
            Err(error) if error.kind() == Kind::Schema => {
                let Some(database) = &self.database else { return Err(error) };
                *self.source.lock().unpoisoned() = None;
                database.look_again().await?;
                let source = self.made().await?;
                self.read(&source, behind, conditions, keys, requester).await
            }
            read => read,
        }
    }

    async fn made(&self) -> Result<Arc<dyn Source>> {
        let known = self.source.lock().unpoisoned().clone();
        if let Some(source) = known {
            return Ok(source);
        }

        let unable = || Error::new(Kind::Config, "rows of this table cannot be found by their keys");
        let database = self.database.as_ref().ok_or_else(unable)?;
        let source = match self.first_made(database).await {
            Ok(source) => source,
            // A database that is away says so here; it can be asked when it is back.
            Err(_) => {
                database.look_again().await?;
                let made = self.first_made(database).await;
                made.map_err(|complaints| {
                    let told: Vec<&str> = complaints.iter().map(|complaint| &*complaint.message).collect();
                    unable().caused_by(told.join("; "))
                })?
            }
        };
        // Of another order it would say what is behind another place.
        if self.places.as_ref().is_some_and(|places| source.places() != *places) {
            return Err(unable().caused_by("its order is another one now"));
        }

        *self.source.lock().unpoisoned() = Some(Arc::clone(&source));
        Ok(source)
    }

    /// The first list that can be made.
    fn first_made<'a>(
        &'a self,
        database: &'a Arc<dyn Database>,
    ) -> BoxFuture<'a, Result<Arc<dyn Source>, Vec<Complaint>>> {
        Box::pin(async {
            let mut complaints = vec![];
            for spec in &self.specs {
                match database.source(spec).await {
                    Ok((source, _)) => return Ok(if spec.is_discreet { discreet(source) } else { source }),
                    Err(wrong) => complaints = wrong,
                }
            }
            Err(complaints)
        })
    }

    async fn read(
        &self,
        source: &Arc<dyn Source>,
        behind: &Cursor,
        conditions: &[Condition],
        keys: Option<&[&[String]]>,
        requester: Requester,
    ) -> Result<Found> {
        let mut rows: Vec<Cursor> = vec![];
        let of_keys = keys.map_or_else(|| Some(vec![]), |keys| self.conditions(&**source, keys));
        let Some(of_keys) = of_keys else {
            return Ok(Found { source: Arc::clone(source), rows });
        };
        // With room for one more, a read that finds all keys has found the list's end.
        let limit = keys.map_or(RUN, |keys| (keys.len() as u32 + 1).min(RUN));
        let conditions: Arc<[Condition]> = conditions.iter().cloned().chain(of_keys).collect();

        loop {
            let query = Query {
                after: rows.last().unwrap_or(behind).clone(),
                limit,
                conditions: Arc::clone(&conditions),
                is_filtered: !conditions.is_empty(),
                session: None,
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

            if rows.len() > ROWS || (rows.len() == before && !run.ended) {
                return Err(Error::new(Kind::Data, "too many rows are found"));
            }
            if run.ended {
                return Ok(Found { source: Arc::clone(source), rows });
            }
        }
    }

    /// Conditions that the rows with these keys meet, by the columns of the key. `None` if no row
    /// can have one of these keys.
    fn conditions(&self, source: &dyn Source, keys: &[&[String]]) -> Option<Vec<Condition>> {
        let filter = |at: usize| source.scope().iter().find(|filter| filter.column == self.key[at]);
        let is_sound = |at: usize, text: &str| {
            filter(at).is_some_and(|filter| match filter.operand {
                Operand::Integer => text
                    .trim()
                    .parse::<i128>()
                    .is_ok_and(|number| filter.range.as_ref().is_none_or(|range| range.contains(&number))),
                Operand::Number => text.trim().parse::<f64>().is_ok_and(f64::is_finite),
                Operand::Text => !text.contains('\0'),
            })
        };

        let sound = keys
            .iter()
            .filter(|key| key.len() == self.key.len() && key.iter().enumerate().all(|(at, text)| is_sound(at, text)));
        let sound: Vec<&&[String]> = sound.collect();
        if sound.is_empty() {
            return None;
        }

        let condition = |at: usize| {
            // White space is part of a text, and of nothing else.
            let is_text = filter(at).is_some_and(|filter| filter.operand == Operand::Text);
            let value = |text: &String| if is_text { text.clone() } else { text.trim().to_owned() };
            let mut values: Vec<String> = sound.iter().map(|key| value(&key[at])).collect();
            values.sort();
            values.dedup();
            Condition::is(self.key[at].clone(), Operator::In, values)
        };
        Some((0..self.key.len()).map(condition).collect())
    }
}
