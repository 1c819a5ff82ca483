//! What told changes touch: whom each concerns, and where its row belongs now.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Loader,
    changes::{Row, Subject, Touch},
};
use crate::{
    change::{Change, Token},
    chunk::own_key_hash,
    cursor::Cursor,
    error::{Error, Kind, Result},
    resource::{Looked, Resource},
    row::Value,
    source::TouchRules,
};

/// The time for looking up where the rows of changes belong. After it every chunk counts as touched.
const PATIENCE: Duration = Duration::from_secs(2);

/// A table that a change names, in its database.
struct Told<'a> {
    change: &'a Change,
    /// `None` if the named resource is over no table, or is not known here.
    table: Option<(Vec<u8>, String)>,
    /// Whether the named resource is known here.
    is_known: bool,
}

impl Loader {
    /// Hears changes of rows: from now on no chunk is served to a new request that they touch.
    ///
    /// `resources` are those by which changes name their tables.
    pub(crate) async fn hear(&self, changes: &[Change], resources: &[Arc<Resource>], at: Option<Token>) -> Token {
        resources.iter().for_each(|resource| self.changes.register(resource));
        let named = |name: &str| resources.iter().find(|resource| resource.name() == name);
        let told: Vec<Told<'_>> = changes.iter().map(|change| Told::of(change, named(&change.resource))).collect();

        let subjects = self.changes.subjects();
        let touched = subjects.iter().map(async |(digest, subject)| (*digest, touch_of(subject, &told).await));
        let touched: HashMap<_, _> = futures_util::future::join_all(touched).await.into_iter().collect();
        let whole = touched.values().filter(|touch| matches!(touch, Some(Touch::All))).count();
        self.metrics.changes.add(changes.len() as u64);
        self.metrics.touched_whole.add(whole as u64);
        self.changes.enter(at, touched)
    }
}

impl<'a> Told<'a> {
    fn of(change: &'a Change, resource: Option<&Arc<Resource>>) -> Told<'a> {
        let rules = resource.and_then(|resource| resource.source().touch_rules());
        let table = rules.map(|rules| {
            let table = change.table.clone().or_else(|| rules.table.first().cloned());
            (rules.database.clone(), table.unwrap_or_default())
        });
        Told { change, table, is_known: resource.is_some() }
    }
}

/// What changes touch of a resource; `None` if they do not concern it.
async fn touch_of(subject: &Subject, told: &[Told<'_>]) -> Option<Touch> {
    let resource = subject.resource();
    let rules = resource.as_ref().and_then(|resource| resource.source().touch_rules());
    let mut own: Vec<&Change> = vec![];
    for told in told {
        match (&told.table, rules) {
            // The named resource may be over a table that this one shows.
            _ if !told.is_known => return Some(Touch::All),
            _ if told.change.resource == subject.name && rules.is_none() => return Some(Touch::All),
            (None, _) => {}
            (Some((database, _)), None) if subject.database.as_ref() == Some(database) => return Some(Touch::All),
            (Some((database, table)), Some(rules)) if *database == rules.database => {
                if rules.is_own(table) {
                    own.push(told.change);
                }
                if rules.is_other(table) {
                    return Some(Touch::All);
                }
            }
            _ => {}
        }
    }

    let (resource, rules) = (resource.as_ref()?, rules?);
    if own.is_empty() {
        return None;
    }

    let found = tokio::time::timeout(PATIENCE, own_rows(resource, rules, &own)).await;
    match found {
        Ok(Ok(touch)) => Some(touch),
        Ok(Err(error)) => {
            tracing::warn!(resource = resource.name(), %error, "changed rows cannot be looked up: the whole list is read again");
            Some(Touch::All)
        }
        Err(_) => {
            tracing::warn!(
                resource = resource.name(),
                "changed rows are looked up too slowly: the whole list is read again"
            );
            Some(Touch::All)
        }
    }
}

/// What changes of a resource's own rows touch.
async fn own_rows(resource: &Resource, rules: &TouchRules, changes: &[&Change]) -> Result<Touch> {
    let keys: BTreeSet<&[String]> = changes.iter().map(|change| &*change.key).collect();
    let keys: Vec<&[String]> = keys.into_iter().collect();
    let looked = resource.look_up(&keys).await?;

    let told: Option<HashSet<Cursor>> = keys.iter().map(|key| told_key(rules, key)).collect();
    let looked: Vec<Looked> = match &told {
        Some(told) => looked.into_iter().filter(|row| told.contains(&row.key)).collect(),
        // Only the database knows which row a key is of: of a row that is not found, nobody knows
        // in which chunks it was.
        None if looked.len() < keys.len() || rules.key.len() > 1 => return Ok(Touch::All),
        None => looked,
    };

    let found = looked.iter().map(|row| &row.key);
    let hashes = found.chain(told.iter().flatten()).map(|key| own_key_hash(key.canonical()));
    let hashes: BTreeSet<u32> = hashes.collect();
    let rows = looked.iter().map(|row| Row { place: row.place.clone(), filters: row.filters.clone() });
    Ok(Touch::Some { keys: hashes.into_iter().collect(), rows: rows.collect() })
}

/// The values that a told key stands for; `None` if only the database knows.
fn told_key(rules: &TouchRules, key: &[String]) -> Option<Cursor> {
    if key.len() != rules.key.len() {
        return None;
    }
    let values = rules.key.iter().zip(key).map(|(rule, text)| rule.kind.value(text));
    let values = values.collect::<Option<Vec<_>>>()?;
    let values: Vec<Value<'_>> = values.iter().map(|value| value.value()).collect();
    Cursor::after(&values).ok()
}

/// Checks that a change names a row as its table's key does.
///
/// # Errors
/// [`Kind::Invalid`] if its key has more or fewer values, or one that no row can have.
pub(crate) fn check(change: &Change, resource: &Resource) -> Result<()> {
    let Some(rules) = resource.source().touch_rules() else { return Ok(()) };
    let is_own = change.table.as_ref().is_none_or(|table| rules.is_own(table));
    if !is_own {
        return Ok(());
    }

    let columns = rules.key.iter().map(|rule| &*rule.column).collect::<Vec<_>>().join(", ");
    if change.key.len() != rules.key.len() {
        let told = change.key.len();
        let message = format!("a key of `{}` has {} values, and this one has {told}", change.resource, rules.key.len());
        return Err(Error::new(Kind::Invalid, message).remedy(format!("give the value of each of: {columns}")));
    }

    match rules.key.iter().zip(&change.key).find(|(rule, text)| !rule.kind.may_be(text)) {
        Some((rule, text)) => {
            let column = &rule.column;
            Err(Error::new(Kind::Invalid, format!("`{text}` is no value of the column `{column}`"))
                .remedy("give the key as the database shows it"))
        }
        None => Ok(()),
    }
}
