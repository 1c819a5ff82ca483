//! Reads rows by their keys, to learn where they belong after a change.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use super::Resource;
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

/// Reads rows of a resource's table by their keys.
pub(crate) struct LookUp {
    database: Arc<dyn Database>,
    spec: Spec,
    /// A list of the same rows, in the order of their keys; made when it is first needed.
    source: Mutex<Option<Arc<dyn Source>>>,
}

/// A row that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    /// The values of its key.
    pub(crate) key: Cursor,
    /// Its place in the resource's order.
    pub(crate) place: Cursor,
    /// The values of the columns of [`TouchRules::filters`], each by itself; `None` for one that
    /// cannot be read like this.
    pub(crate) filters: Vec<Option<Cursor>>,
}

impl LookUp {
    pub(super) fn new(database: &Arc<dyn Database>, spec: &Spec) -> LookUp {
        LookUp { database: Arc::clone(database), spec: spec.clone(), source: Mutex::default() }
    }

    /// Makes the list of rows in the order of their keys. Its order holds every column that is
    /// wanted, so that their values come in the form that cursors have.
    async fn made(&self, rules: &TouchRules) -> Result<Arc<dyn Source>> {
        let known = self.source.lock().unpoisoned().clone();
        if let Some(source) = known {
            return Ok(source);
        }

        let key = || rules.key.iter().map(|rule| rule.column.clone());
        let order = || rules.order.iter().map(|rule| rule.column.clone());
        let filters = rules.filters.iter().map(|rule| rule.column.clone());
        let source = match self.made_with(rules, key().chain(order()).chain(filters)).await {
            Ok(source) => source,
            // A column that conditions are on may be of a type without an order.
            Err(_) => self.made_with(rules, key().chain(order())).await?,
        };
        *self.source.lock().unpoisoned() = Some(Arc::clone(&source));
        Ok(source)
    }

    async fn made_with(&self, rules: &TouchRules, columns: impl Iterator<Item = String>) -> Result<Arc<dyn Source>> {
        let mut seen = HashSet::new();
        let order = columns.filter(|column| seen.insert(column.clone()));
        let key: Vec<String> = rules.key.iter().map(|rule| rule.column.clone()).collect();
        let first = ColumnSpec::from(key[0].clone());
        let spec = Spec {
            order: order.map(|column| OrderBy { column, descending: false }).collect(),
            fields: Some(vec![(key[0].clone(), FieldSpec::Column(first))]),
            filters: Some(key),
            ..self.spec.clone()
        };
        let (source, _) = self.database.source(&spec).await.map_err(|complaints| {
            let told: Vec<&str> = complaints.iter().map(|complaint| &*complaint.message).collect();
            Error::new(Kind::Config, "the rows cannot be looked up by their keys").caused_by(told.join("; "))
        })?;
        Ok(if self.spec.is_discreet { discreet(source) } else { source })
    }
}

impl Resource {
    /// The rows with these keys, as the database has them now. A key that is not found has no row
    /// here. There may be rows with other keys too, if the key has several columns.
    ///
    /// # Errors
    /// The database's; [`Kind::Config`] if rows of this resource cannot be looked up.
    pub(crate) async fn look_up(&self, keys: &[&[String]]) -> Result<Vec<Looked>> {
        let unable = || Error::new(Kind::Config, "the rows of this resource cannot be looked up by their keys");
        let rules = self.source.touch_rules().ok_or_else(unable)?;
        let look_up = self.look_up.as_ref().ok_or_else(unable)?;
        let mut looked = vec![];
        for keys in keys.chunks(KEYS) {
            let source = look_up.made(rules).await?;
            match rows(&*source, rules, keys).await {
                // The table has changed: the list of its rows is made again.
                Err(error) if error.kind() == Kind::Schema => {
                    *look_up.source.lock().unpoisoned() = None;
                    look_up.database.look_again().await?;
                    let source = look_up.made(rules).await?;
                    looked.extend(rows(&*source, rules, keys).await?);
                }
                read => looked.extend(read?),
            }
        }
        Ok(looked)
    }
}

/// Reads the rows with these keys.
async fn rows(source: &dyn Source, rules: &TouchRules, keys: &[&[String]]) -> Result<Vec<Looked>> {
    let Some(conditions) = conditions(source, rules, keys) else { return Ok(vec![]) };
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
                looked.push(row(source, rules, values)?);
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

/// `None` if no row can have one of these keys.
fn conditions(source: &dyn Source, rules: &TouchRules, keys: &[&[String]]) -> Option<Arc<[Condition]>> {
    let is_sound = |at: usize, text: &str| {
        let filter = source.filters().iter().find(|filter| filter.column == rules.key[at].column);
        filter.is_some_and(|filter| match filter.operand {
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
        .filter(|key| key.len() == rules.key.len() && key.iter().enumerate().all(|(at, text)| is_sound(at, text)));
    let sound: Vec<&&[String]> = sound.collect();
    if sound.is_empty() {
        return None;
    }

    let condition = |at: usize| {
        let mut values: Vec<String> = sound.iter().map(|key| key[at].clone()).collect();
        values.sort();
        values.dedup();
        Condition { column: rules.key[at].column.clone(), operator: Operator::In, values }
    };
    Some((0..rules.key.len()).map(condition).collect())
}

/// A row, from the values of the look-up's order.
fn row(source: &dyn Source, rules: &TouchRules, values: &[Value<'_>]) -> Result<Looked> {
    let value = |column: &str| source.order().iter().position(|name| name == column).map(|at| values[at]);
    let all = |columns: &mut dyn Iterator<Item = &String>| -> Result<Cursor> {
        let missing = || Error::new(Kind::Internal, "a look-up reads other columns than it was made for");
        let values: Vec<Value<'_>> = columns.map(|name| value(name).ok_or_else(missing)).collect::<Result<_>>()?;
        Cursor::after(&values)
    };

    let filters = rules.filters.iter().map(|rule| Some(value(&rule.column)?).map(|value| Cursor::after(&[value])));
    Ok(Looked {
        key: all(&mut rules.key.iter().map(|rule| &rule.column))?,
        place: all(&mut rules.order.iter().map(|rule| &rule.column))?,
        filters: filters.map(Option::transpose).collect::<Result<_>>()?,
    })
}
