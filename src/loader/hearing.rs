//! What told changes touch: whom each concerns, and where its row belongs now.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    Loader,
    changes::Subject,
    count::End,
    later::{Changed, News},
    moved::Moved,
    touch::{Row, Touch},
};
use crate::{
    change::{Change, Purge, Tell, Token, entry, value_of},
    chunk::{own_key_hash, related_key_hash},
    cursor::Cursor,
    error::{Error, Kind, Result},
    resource::{LookUp, LookUps, Looked, Resource},
    row::Value,
    source::{Condition, KeyKind, PointingRule, TouchRules, told_key},
};

/// The time for looking up where the rows of changes belong. After it every chunk counts as
/// touched.
const PATIENCE: Duration = Duration::from_secs(1);

/// More changes of one resource in one tell touch every chunk: to look each up costs more.
const MOST: usize = 10_000;

/// How many characters of a wrong key an error shows.
const LONGEST_TOLD: usize = 100;

/// A change of a row, and how many entries were told after it of those that are heard together.
/// What is the same of several counts as told by the last, so that a chunk from in between is not
/// loaded for what it shows already.
type Heard<'a> = (&'a Change, u32);

/// A table: its database and its name.
type Table = (Arc<[u8]>, Arc<str>);

/// What is heard together.
pub(super) struct Told<'a> {
    pub(super) changes: Vec<ToldChange<'a>>,
    /// Each with how many entries were told after it.
    pub(super) purges: Vec<(&'a Purge, u32)>,
}

/// A change, and the tables that it names.
pub(super) struct ToldChange<'a> {
    pub(super) change: &'a Change,
    behind: u32,
    /// There are several while the name stands for another table than before and both are in use,
    /// and none if it stands for no table.
    pub(super) tables: Arc<[Table]>,
    /// Whether it is known here for which tables the name stands.
    is_known: bool,
}

impl Loader {
    /// Hears entries of changes of rows and of purges: from now on no chunk is served to a new
    /// request that they touch.
    ///
    /// `resources` are in use, and may not be remembered yet. `end` is the end of the entries, by the
    /// store's count.
    pub(crate) async fn hear(
        self: &Arc<Loader>,
        entries: &[Tell],
        resources: &[Arc<Resource>],
        end: Option<End<'_>>,
    ) -> Token {
        resources.iter().for_each(|resource| self.changes.register(resource));
        let subjects = self.changes.subjects();
        let told = Told::all(entries, &subjects);
        let late = self.late(&told, &subjects).await;
        let touched = subjects.iter().map(async |(digest, subject)| (*digest, touch_of(subject, &told).await));
        let touched: HashMap<_, _> = futures_util::future::join_all(touched).await.into_iter().collect();
        let whole = touched.values().filter(|touch| matches!(touch, Some(Touch::All))).count();
        self.metrics.changes.add(told.changes.len() as u64);
        self.metrics.touched_whole.add(whole as u64);
        if !late.says_all() {
            self.repeat_when_settled(entries, &subjects, &touched);
        }

        // Before the changes are entered: a request with their token must find the wait.
        if let Some(End { at, .. }) = end {
            self.wait_for(&late, at, entries);
        }
        let told = self.changes.enter(end, touched, told.news(&subjects));
        if end.is_none() {
            self.wait_for(&late, told, entries);
        }
        told
    }
}

impl<'a> Told<'a> {
    /// What these entries tell, with the tables that changes name.
    pub(super) fn all(entries: &'a [Tell], subjects: &[([u8; 16], Subject)]) -> Told<'a> {
        let mut known: HashMap<(&str, Option<&str>), ToldChange<'a>> = HashMap::new();
        let mut told = Told { changes: vec![], purges: vec![] };
        for (entry, behind) in entries.iter().zip((0..entries.len() as u32).rev()) {
            told.purges.extend(entry.purges.iter().map(|purge| (purge, behind)));
            told.changes.extend(entry.changes.iter().map(|change| {
                let named = known.entry((&change.resource, change.table.as_deref()));
                let ToldChange { tables, is_known, .. } = named.or_insert_with(|| ToldChange::first(change, subjects));
                ToldChange { change, behind, tables: Arc::clone(tables), is_known: *is_known }
            }));
        }
        told
    }

    /// The same for resources that are asked later, if there are any.
    fn news(&self, subjects: &[([u8; 16], Subject)]) -> Option<News> {
        let rows = self.changes.iter().flat_map(|ToldChange { change, behind, tables, .. }| {
            tables.iter().map(|table| Changed::of(change, table, *behind))
        });
        subjects.iter().any(|(_, subject)| subject.asks_later).then(|| News {
            is_unknown: self.changes.iter().any(|told| !told.is_known),
            purged: self.purges.iter().map(|(purge, _)| Arc::clone(&purge.resource)).collect(),
            rows: rows.collect(),
        })
    }
}

impl<'a> ToldChange<'a> {
    /// The first change of a table.
    fn first(change: &'a Change, subjects: &[([u8; 16], Subject)]) -> ToldChange<'a> {
        let named = subjects.iter().filter(|(_, subject)| *subject.name == *change.resource);
        let in_use = named.filter_map(|(_, subject)| Some((subject, subject.resource()?)));
        let in_use: Vec<(&Subject, Arc<Resource>)> = in_use.collect();

        let tables = in_use.iter().filter_map(|(_, resource)| {
            let rules = resource.source().touch_rules()?;
            let own = || rules.table.first().map(|table| Arc::from(&**table));
            let table = change.table.clone().or_else(own)?;
            Some((Arc::clone(&rules.database), table))
        });
        // A list in several orders is one table.
        let mut tables: Vec<Table> = tables.collect();
        tables.sort();
        tables.dedup();
        let is_known = !in_use.is_empty() && !in_use.iter().any(|(subject, _)| subject.is_away);
        ToldChange { change, behind: 0, tables: tables.into(), is_known }
    }
}

/// What changes and purges touch of a resource; `None` if they do not concern it.
pub(super) async fn touch_of(subject: &Subject, told: &Told<'_>) -> Option<Touch> {
    // Its chunks are judged by what was told itself.
    if subject.asks_later {
        return None;
    }
    let resource = subject.resource();
    let rules = resource.as_ref().and_then(|resource| resource.source().touch_rules());
    let purges = told.purges.iter().filter(|(purge, _)| *purge.resource == *subject.name);
    let purges: Vec<(&Purge, u32)> = purges.copied().collect();
    // While its database is away, nobody knows which tables it shows.
    if !(told.changes.is_empty() && purges.is_empty()) && subject.is_away {
        return Some(Touch::All);
    }
    // Which of its rows meet a condition is not known.
    if !purges.is_empty() && rules.is_none() {
        return Some(Touch::All);
    }

    let mut heard: Vec<(Heard<'_>, &str)> = vec![];
    for told in &told.changes {
        // The named resource may be over a table that this one shows.
        if !told.is_known || (*told.change.resource == *subject.name && rules.is_none()) {
            return Some(Touch::All);
        }
        for (database, table) in told.tables.iter() {
            match rules {
                None if subject.database.as_ref() == Some(database) => return Some(Touch::All),
                Some(rules) if *database == rules.database => {
                    if rules.is_unfollowed(table) {
                        return Some(Touch::All);
                    }
                    heard.push(((told.change, told.behind), table));
                }
                _ => {}
            }
        }
    }

    let resource = resource.as_ref()?;
    let rules = rules?;
    if heard.len() > MOST {
        return Some(Touch::All);
    }

    let looked = tokio::time::timeout(PATIENCE, concerned(resource, rules, &heard, &purges)).await;
    match looked {
        Ok(Ok(touch)) => touch,
        Ok(Err(error)) => {
            let resource = resource.name();
            tracing::warn!(resource, %error, "a change cannot be looked up: the whole list is read again");
            Some(Touch::All)
        }
        Err(_) => {
            let resource = resource.name();
            tracing::warn!(resource, "a change is looked up too slowly: the whole list is read again");
            Some(Touch::All)
        }
    }
}

/// What changes of rows of these tables, and purges, touch of a resource.
async fn concerned(
    resource: &Resource,
    rules: &TouchRules,
    heard: &[(Heard<'_>, &str)],
    purges: &[(&Purge, u32)],
) -> Result<Option<Touch>> {
    let look_ups = resource.look_ups().and_then(|look_ups| look_ups.at_once.as_ref()).ok_or_else(unable)?;
    let of = |is: &dyn Fn(&str) -> bool| -> Vec<Heard<'_>> {
        heard.iter().filter(|(_, table)| is(table)).map(|(heard, _)| *heard).collect()
    };

    let mut keys = vec![];
    let mut rows = vec![];
    let own = of(&|table| rules.is_own(table));
    if !own.is_empty() {
        let kinds: Vec<KeyKind> = rules.key.iter().map(|rule| rule.kind).collect();
        let Some((found, told)) = own_rows(&look_ups.own, &kinds, &own).await? else { return Ok(Some(Touch::All)) };
        keys.extend(told.iter().map(|(key, behind)| (own_key_hash(key.canonical()), *behind)));
        for OwnRow { row, told, behind } in found {
            keys.push((own_key_hash(row.key.canonical()), behind));
            rows.push((Arc::new(Row { place: row.wanted, filters: row.perhaps, told }), behind));
        }
    }

    for (index, rule) in rules.related.iter().enumerate() {
        for (change, behind) in of(&|table| rule.table.is(table)) {
            let Some(key) = told_key(&rule.table.kinds(), &change.key) else { return Ok(Some(Touch::All)) };
            keys.push((related_key_hash(index, key.canonical()), behind));
        }

        let Some((table, pointing)) = rule.pointing_table() else { continue };
        let changes = of(&|name| table.is(name));
        let look_up = look_ups.pointing[index].as_ref().ok_or_else(unable)?;
        let Some(owners) = owners(look_up, pointing, &table.kinds(), &changes).await? else {
            return Ok(Some(Touch::All));
        };
        keys.extend(owners.iter().map(|(owner, behind)| (own_key_hash(owner.canonical()), *behind)));
    }

    let mut lists = vec![];
    for (purge, behind) in purges {
        let conditions = Condition::of_purge(&purge.conditions, &**resource.source())?;
        for row in look_ups.own.rows_that_meet(&conditions).await? {
            let Some(told) = texts_of(&row.key) else { return Ok(Some(Touch::All)) };
            keys.push((own_key_hash(row.key.canonical()), *behind));
            rows.push((Arc::new(Row { place: row.wanted, filters: row.perhaps, told: [told].into() }), *behind));
        }
        lists.push((conditions, *behind));
    }

    let columns: Vec<_> =
        rules.pointed.iter().flat_map(|rule| Moved::all(rule, &of(&|table| rule.is_of(table)))).collect();

    // Of a key that was told several times the last one stays, which has the fewest behind it.
    keys.sort_unstable();
    keys.dedup_by_key(|(hash, _)| *hash);
    keys.shrink_to_fit();
    rows.shrink_to_fit();
    let is_some = !keys.is_empty() || !lists.is_empty() || !columns.is_empty();
    Ok(is_some.then_some(Touch::Some { keys, rows, lists, columns }))
}

/// A key as a program would tell it; `None` if it has a value without a text.
fn texts_of(key: &Cursor) -> Option<Vec<String>> {
    let text = |value: Value<'_>| match value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Text(text) | Value::Decimal(text) => Some(std::str::from_utf8(text).ok()?.to_owned()),
        _ => None,
    };
    key.values().map(text).collect()
}

fn unable() -> Error {
    Error::new(Kind::Internal, "nothing was made to look its rows up")
}

/// A changed row that is there.
struct OwnRow {
    row: Looked,
    /// The keys as they were told of which one is its own.
    told: Arc<[Vec<String>]>,
    behind: u32,
}

/// Changed rows that are there; and the values of all keys that were told, as far as they are
/// known.
type OwnRows = (Vec<OwnRow>, Vec<(Cursor, u32)>);

/// The changed rows. `None` if one is not there and only the database knew which row its key was
/// of.
async fn own_rows(look_up: &LookUp, kinds: &[KeyKind], changes: &[Heard<'_>]) -> Result<Option<OwnRows>> {
    let mut keys: BTreeMap<&[String], u32> = BTreeMap::new();
    for (change, behind) in changes {
        let last = keys.entry(&change.key).or_insert(*behind);
        *last = (*last).min(*behind);
    }
    let wanted: Vec<&[String]> = keys.keys().copied().collect();
    let found = look_up.rows(&wanted).await?;

    // One value may be written in several ways.
    let mut told: HashMap<Cursor, (&[String], u32)> = HashMap::new();
    let mut is_all_known = true;
    for (key, behind) in &keys {
        match told_key(kinds, key) {
            Some(value) => {
                let (_, last) = told.entry(value).or_insert((key, *behind));
                *last = (*last).min(*behind);
            }
            None => is_all_known = false,
        }
    }

    // What was told is another value than the database holds: a number that is kept as a text.
    let is_other = |row: &Looked| !told.contains_key(&row.key);
    Ok(if !is_all_known {
        if found.len() < keys.len() || kinds.len() > 1 {
            return Ok(None);
        }
        let told: Arc<[Vec<String>]> = wanted.iter().map(|key| key.to_vec()).collect();
        let behind = keys.into_values().min().unwrap_or_default();
        Some((found.into_iter().map(|row| OwnRow { row, told: Arc::clone(&told), behind }).collect(), vec![]))
    } else if kinds.len() == 1 && found.iter().any(is_other) {
        None
    } else {
        let own = |row: Looked| {
            let (key, behind) = *told.get(&row.key)?;
            Some(OwnRow { row, told: [key.to_vec()].into(), behind })
        };
        let found = found.into_iter().filter_map(own).collect();
        Some((found, told.into_iter().map(|(key, (_, behind))| (key, behind)).collect()))
    })
}

/// The values by which changed rows point to their owners, before and after. `None` if that is not
/// known.
async fn owners(
    look_up: &LookUp,
    pointing: &PointingRule,
    kinds: &[KeyKind],
    changes: &[Heard<'_>],
) -> Result<Option<Vec<(Cursor, u32)>>> {
    let mut owners = vec![];
    let mut unsaid: Vec<Heard<'_>> = vec![];
    for (change, behind) in changes {
        let values = [&change.old, &change.new].map(|values| value_of(values, &pointing.column));
        if values[1].is_none() {
            unsaid.push((change, *behind));
        }
        for value in values.into_iter().flatten().flatten() {
            let Some(value) = pointing.kind.value(value) else { return Ok(None) };
            owners.push((Cursor::after(&[value.value()])?, *behind));
        }
    }

    if unsaid.is_empty() {
        return Ok(Some(owners));
    }

    let Some((found, _)) = own_rows(look_up, kinds, &unsaid).await? else { return Ok(None) };
    // A child that went away is known by its own key. Of a row of a join table only its value
    // before tells whose it was.
    let is_lost = |(change, _): &Heard<'_>| {
        let key = told_key(kinds, &change.key);
        value_of(&change.old, &pointing.column).is_none() && !found.iter().any(|own| Some(&own.row.key) == key.as_ref())
    };
    if pointing.join.is_some() && unsaid.iter().any(is_lost) {
        return Ok(None);
    }

    owners.extend(found.into_iter().map(|own| (own.row.wanted, own.behind)));
    Ok(Some(owners))
}

/// Checks that a change names a row as its table's key does.
///
/// # Errors
/// [`Kind::Invalid`] if its key has more or fewer values, or one that no row can have, or if it is
/// too long to be told to other servers.
pub(crate) fn check(change: &Change, resource: &Resource) -> Result<()> {
    entry::check(change)?;
    if let (Some(at), Some(database)) = (&change.at, resource.look_ups().and_then(LookUps::database)) {
        database.check_commit(at)?;
    }

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
            let text: String = text.chars().take(LONGEST_TOLD).collect();
            Err(Error::new(Kind::Invalid, format!("`{text}` is no value of the column `{column}`"))
                .remedy("give the key as the database shows it"))
        }
        None => Ok(()),
    }
}
