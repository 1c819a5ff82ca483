//! Reads rows by their keys, to learn where they belong after a change.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use super::Behind;
use crate::{
    cursor::Cursor,
    error::{Error, Kind, Result},
    row::{RowBatch, Value},
    source::{
        ColumnSpec, Condition, Database, FieldSpec, Operand, Operator, OrderBy, Query, Requester, Source, Spec,
        TouchRules, discreet,
    },
    unpoisoned::Unpoisoned,
};

/// At most this many keys are looked up at once, and at most this many rows are read for them: the
/// columns of a composite key are compared one by one, which may find more.
const KEYS: usize = 1_000;
const ROWS: usize = 10_000;
const RUN: u32 = 2_000;

/// Reads rows of a table by their keys.
pub(crate) struct LookUp {
    database: Arc<dyn Database>,
    spec: Spec,
    /// The columns of the key, those that are wanted, and those that are read if that is possible.
    key: Vec<String>,
    wanted: Vec<String>,
    perhaps: Vec<String>,
    /// A list of the same rows, in the order of their keys; made when it is first needed.
    source: Mutex<Option<Arc<dyn Source>>>,
}

/// A row that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    /// The values of its key.
    pub(crate) key: Cursor,
    /// The values of the columns that are wanted.
    pub(crate) wanted: Cursor,
    /// The value of each of the others; `None` for one that cannot be read like this.
    pub(crate) perhaps: Vec<Option<Cursor>>,
}

/// What a resource over a table looks up after a change.
pub(crate) struct LookUps {
    /// Its own rows: where they belong.
    pub(crate) own: LookUp,
    /// Which of its rows are behind a place.
    pub(crate) behind: Behind,
    /// For each relation the rows that point to owners.
    pub(crate) pointing: Vec<Option<LookUp>>,
}

impl LookUps {
    pub(super) fn new(database: &Arc<dyn Database>, spec: &Spec, source: &dyn Source, rules: &TouchRules) -> LookUps {
        let own = LookUp {
            database: Arc::clone(database),
            spec: spec.clone(),
            key: rules.key.iter().map(|rule| rule.column.clone()).collect(),
            wanted: rules.order.iter().map(|rule| rule.column.clone()).collect(),
            perhaps: rules.filters.iter().map(|rule| rule.column.clone()).collect(),
            source: Mutex::default(),
        };

        let pointing = rules.related.iter().map(|rule| {
            let (table, pointing) = rule.pointing_table()?;
            Some(LookUp {
                database: Arc::clone(database),
                spec: Spec::of(table.name.clone()),
                key: table.key.iter().map(|(column, _)| column.clone()).collect(),
                wanted: vec![pointing.column.clone()],
                perhaps: vec![],
                source: Mutex::default(),
            })
        });

        let behind = Behind::new(database, spec, source, rules);
        LookUps { own, behind, pointing: pointing.collect() }
    }
}

impl LookUp {
    /// The rows with these keys, as the database has them now. A key that is not found has no row
    /// here. There may be rows with other keys too, if the key has several columns.
    ///
    /// # Errors
    /// The database's; [`Kind::Config`] if its rows cannot be looked up.
    pub(crate) async fn rows(&self, keys: &[&[String]]) -> Result<Vec<Looked>> {
        let mut looked = vec![];
        for keys in keys.chunks(KEYS) {
            let source = self.made().await?;
            match self.read(&*source, keys).await {
                // The table has changed: the list of its rows is made again.
                Err(error) if error.kind() == Kind::Schema => {
                    *self.source.lock().unpoisoned() = None;
                    self.database.look_again().await?;
                    let source = self.made().await?;
                    looked.extend(self.read(&*source, keys).await?);
                }
                read => looked.extend(read?),
            }
        }
        Ok(looked)
    }

    /// Makes the list of rows in the order of their keys. Its order holds every column that is
    /// wanted, so that their values come in the form that cursors have.
    async fn made(&self) -> Result<Arc<dyn Source>> {
        let known = self.source.lock().unpoisoned().clone();
        if let Some(source) = known {
            return Ok(source);
        }

        let needed = || self.key.iter().chain(&self.wanted);
        let source = match self.made_with(needed().chain(&self.perhaps)).await {
            Ok(source) => source,
            // A column that conditions are on may be of a type without an order.
            Err(_) => self.made_with(needed()).await?,
        };
        *self.source.lock().unpoisoned() = Some(Arc::clone(&source));
        Ok(source)
    }

    async fn made_with(&self, columns: impl Iterator<Item = &String>) -> Result<Arc<dyn Source>> {
        let unable = || Error::new(Kind::Config, "the rows cannot be looked up by their keys");
        let mut seen = HashSet::new();
        let order = columns.filter(|column| seen.insert((*column).clone()));
        let first = self.key.first().ok_or_else(unable)?;
        let spec = Spec {
            order: order.map(|column| OrderBy { column: column.clone(), descending: false }).collect(),
            fields: Some(vec![(first.clone(), FieldSpec::Column(ColumnSpec::from(first.clone())))]),
            filters: Some(self.key.clone()),
            ..self.spec.clone()
        };

        let (source, _) = self.database.source(&spec).await.map_err(|complaints| {
            let told: Vec<&str> = complaints.iter().map(|complaint| &*complaint.message).collect();
            unable().caused_by(told.join("; "))
        })?;
        Ok(if self.spec.is_discreet { discreet(source) } else { source })
    }

    /// Reads the rows with these keys.
    async fn read(&self, source: &dyn Source, keys: &[&[String]]) -> Result<Vec<Looked>> {
        let Some(conditions) = conditions(source, &self.key, keys) else { return Ok(vec![]) };
        let conditions: Arc<[Condition]> = conditions.into();
        let mut looked = vec![];
        let mut after = Cursor::start();
        loop {
            let query = Query {
                after: after.clone(),
                limit: RUN,
                conditions: Arc::clone(&conditions),
                requester: Requester::default(),
            };
            let mut batches: Vec<RowBatch> = vec![];
            let run = source.rows(query, &mut batches).await?;
            for batch in &batches {
                batch.each(0..batch.len(), |values, _| {
                    after = Cursor::after(values)?;
                    looked.push(self.row(source, values)?);
                    Ok(())
                })?;
            }

            if run.ended {
                return Ok(looked);
            }
            if looked.len() > ROWS || batches.is_empty() {
                return Err(Error::new(Kind::Data, "the keys find too many rows"));
            }
        }
    }

    /// A row, from the values of the look-up's order.
    fn row(&self, source: &dyn Source, values: &[Value<'_>]) -> Result<Looked> {
        let value = |column: &String| source.order().iter().position(|name| name == column).map(|at| values[at]);
        let all = |columns: &[String]| -> Result<Cursor> {
            let missing = || Error::new(Kind::Internal, "a look-up reads other columns than it was made for");
            let values = columns.iter().map(|name| value(name).ok_or_else(missing));
            Cursor::after(&values.collect::<Result<Vec<_>>>()?)
        };

        let perhaps = self.perhaps.iter().map(|column| Some(value(column)?).map(|value| Cursor::after(&[value])));
        Ok(Looked {
            key: all(&self.key)?,
            wanted: all(&self.wanted)?,
            perhaps: perhaps.map(Option::transpose).collect::<Result<_>>()?,
        })
    }
}

/// Conditions that the rows with these keys meet, by the columns of the key; rows with other keys
/// too, if there are several columns. `None` if no row can have one of these keys.
pub(super) fn conditions(source: &dyn Source, columns: &[String], keys: &[&[String]]) -> Option<Vec<Condition>> {
    let filter = |at: usize| source.filters().iter().find(|filter| filter.column == columns[at]);
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
        .filter(|key| key.len() == columns.len() && key.iter().enumerate().all(|(at, text)| is_sound(at, text)));
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
        Condition { column: columns[at].clone(), operator: Operator::In, values }
    };
    Some((0..columns.len()).map(condition).collect())
}
