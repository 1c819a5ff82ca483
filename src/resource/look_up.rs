//! What is looked up after a change: where a row belongs now, to whom a related row points, and
//! which rows are behind a place.

use std::{collections::HashSet, sync::Arc};

pub(crate) use super::keyed::KEYS_AT_ONCE;
use super::keyed::Keyed;
use crate::{
    cursor::Cursor,
    error::{Error, Kind, Result},
    row::Value,
    source::{Condition, Database, OrderBy, Requester, Source, Spec, TouchRules},
};

/// Reads columns of a table's rows by their keys.
pub(crate) struct LookUp {
    rows: Keyed,
    /// The columns of the key, those that are wanted, and those that are read if that is possible.
    key: Vec<String>,
    wanted: Vec<String>,
    perhaps: Vec<String>,
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

/// Asks the database which rows of a resource's lists are behind a place, where only the database
/// knows how the list's values compare.
pub(crate) struct Behind(Keyed);

/// What a resource looks up after a change.
pub(crate) struct LookUps {
    /// Which of its rows are behind a place.
    pub(crate) behind: Behind,
    /// What is looked up when a change is told, if the resource is over a table.
    pub(crate) at_once: Option<AtOnce>,
}

/// What a resource over a table looks up when a change is told.
pub(crate) struct AtOnce {
    /// Its own rows: where they belong.
    pub(crate) own: LookUp,
    /// For each relation the rows that point to owners.
    pub(crate) pointing: Vec<Option<LookUp>>,
    /// Where all of them are looked up.
    pub(crate) database: Arc<dyn Database>,
}

impl LookUps {
    pub(super) fn new(database: &Arc<dyn Database>, spec: &Spec, source: &dyn Source, rules: &TouchRules) -> LookUps {
        let key: Vec<String> = rules.key.iter().map(|rule| rule.column.clone()).collect();
        let wanted = rules.order.iter().map(|rule| rule.column.clone()).collect();
        let perhaps = rules.filters.iter().map(|rule| rule.column.clone()).collect();
        let own = LookUp::new(database, spec, scope(&key, source), key.clone(), wanted, perhaps);

        let pointing = rules.related.iter().map(|rule| {
            let (table, pointing) = rule.pointing_table()?;
            let key: Vec<String> = table.key.iter().map(|(column, _)| column.clone()).collect();
            let spec = Spec::of(table.name.clone());
            Some(LookUp::new(database, &spec, Vec::clone(&key), key, vec![pointing.column.clone()], vec![]))
        });

        let at_once = AtOnce { own, pointing: pointing.collect(), database: Arc::clone(database) };
        LookUps { behind: Behind::new(database, spec, source, key), at_once: Some(at_once) }
    }

    /// Of a source that finds its rows by their keys itself.
    pub(super) fn by(source: &Arc<dyn Source>, rules: &TouchRules) -> LookUps {
        let key = rules.key.iter().map(|rule| rule.column.clone()).collect();
        LookUps { behind: Behind(Keyed::by(source, key)), at_once: None }
    }

    /// The database whose rows are looked up when a change is told.
    pub(crate) fn database(&self) -> Option<&Arc<dyn Database>> {
        self.at_once.as_ref().map(|at_once| &at_once.database)
    }
}

impl LookUp {
    fn new(
        database: &Arc<dyn Database>,
        spec: &Spec,
        scope: Vec<String>,
        key: Vec<String>,
        wanted: Vec<String>,
        perhaps: Vec<String>,
    ) -> LookUp {
        // The order begins with the key and holds every column that is wanted, so that their values
        // come in the form that cursors have.
        let ordered_by = |columns: &mut dyn Iterator<Item = &String>| {
            let mut seen = HashSet::new();
            let columns = columns.filter(|column| seen.insert((*column).clone()));
            let order = columns.map(|column| OrderBy { column: column.clone(), descending: false }).collect();
            Spec { order, filters: Some(vec![]), scope: scope.clone(), ..spec.clone() }
        };
        // A column that conditions are on may be of a type without an order.
        let specs = vec![
            ordered_by(&mut key.iter().chain(&wanted).chain(&perhaps)),
            ordered_by(&mut key.iter().chain(&wanted)),
        ];
        LookUp { rows: Keyed::new(database, specs, key.clone()), key, wanted, perhaps }
    }

    /// The rows with these keys, as the database has them now. A key that is not found has no row
    /// here. There may be rows with other keys too, if the key has several columns.
    ///
    /// # Errors
    /// The database's; [`Kind::Config`] if its rows cannot be looked up.
    pub(crate) async fn rows(&self, keys: &[&[String]]) -> Result<Vec<Looked>> {
        let mut looked = vec![];
        for keys in keys.chunks(KEYS_AT_ONCE) {
            looked.extend(self.looked(&[], Some(keys)).await?);
        }
        Ok(looked)
    }

    /// The rows that meet these conditions, as the database has them now.
    ///
    /// # Errors
    /// As of [`LookUp::rows`]; [`Kind::Data`] if there are more than 10,000.
    pub(crate) async fn rows_that_meet(&self, conditions: &[Condition]) -> Result<Vec<Looked>> {
        self.looked(conditions, None).await
    }

    async fn looked(&self, conditions: &[Condition], keys: Option<&[&[String]]>) -> Result<Vec<Looked>> {
        let found = self.rows.rows(&Cursor::start(), conditions, keys, Requester::default()).await?;
        let row = |row: &Cursor| self.row(&*found.source, &row.values().collect::<Vec<_>>());
        found.rows.iter().map(row).collect()
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

impl Behind {
    /// For a resource with this specification, source and key.
    fn new(database: &Arc<dyn Database>, spec: &Spec, source: &dyn Source, key: Vec<String>) -> Behind {
        let spec = Spec { filters: Some(vec![]), scope: scope(&key, source), ..spec.clone() };
        Behind(Keyed::new(database, vec![spec], key).with_places(source.places()))
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
        Ok(self.0.rows(place, of_list, Some(keys), requester).await?.rows)
    }
}

/// The columns of the key, and all that conditions of the source's lists may be on.
fn scope(key: &[String], source: &dyn Source) -> Vec<String> {
    let own = source.filters().iter().chain(source.scope()).map(|filter| &filter.column);
    let mut scope: Vec<String> = key.iter().chain(own).cloned().collect();
    let mut seen = HashSet::new();
    scope.retain(|column| seen.insert(column.clone()));
    scope
}
