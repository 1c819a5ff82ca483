//! What was told of rows that only their sources find: closures over a framework's queries.
//!
//! Such a list is made for each request, so nobody can look up where a changed row belongs in it
//! when the change is told. The changes are kept as they were told, once for all lists. A chunk is
//! judged by them when it is needed: it is touched if it shows the row, and in doubt if the row may
//! belong there, which then the list itself is asked.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use super::{
    moved::ALLOCATED,
    touch::{Row, Verdict},
};
use crate::{
    change::{Change, value_of},
    chunk::{Chunk, own_key_hash, related_key_hash},
    cursor::Cursor,
    list::List,
    source::{PointedRule, TouchRules, candidates},
};

/// How many bytes of changes are kept: some 30,000 of them.
const BYTES: usize = 16 * 1024 * 1024;
/// For how many lists it is known that their source did not answer.
const GIVEN_UP: usize = 4_096;

/// The changes that were told, the oldest first.
pub(super) struct Later {
    entries: VecDeque<(u64, News)>,
    bytes: usize,
    /// Chunks that were judged before this count as touched.
    since: u64,
    /// The same of single resources.
    given_up: HashMap<[u8; 16], u64>,
}

/// What was heard together.
pub(super) struct News {
    /// Whether a change names what is not known here.
    pub(super) is_unknown: bool,
    /// The resources of which rows were purged.
    pub(super) purged: Vec<Arc<str>>,
    pub(super) rows: Vec<Changed>,
}

/// A row that has changed.
pub(super) struct Changed {
    database: Arc<[u8]>,
    table: Arc<str>,
    /// How many entries were told after it of those that were heard together.
    behind: u32,
    /// What its key may be, and the sorted hashes of that.
    keys: Vec<Cursor>,
    hashes: Vec<(u32, u32)>,
    row: Arc<Row>,
    old: BTreeMap<String, Option<String>>,
    new: BTreeMap<String, Option<String>>,
}

impl News {
    /// About how many bytes of memory it takes.
    fn bytes(&self) -> usize {
        let texts = |values: &BTreeMap<String, Option<String>>| {
            let texts = values.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len));
            values.len() * 3 * ALLOCATED + texts.sum::<usize>()
        };
        let keys = |keys: &[Cursor]| keys.iter().map(|key| 2 * ALLOCATED + key.canonical().len()).sum::<usize>();
        let row = |one: &Changed| {
            let held = size_of_val(&*one.keys) + size_of_val(&*one.hashes) + keys(&one.keys) + one.row.bytes();
            size_of::<Changed>() + 2 * ALLOCATED + held + texts(&one.old) + texts(&one.new)
        };
        size_of::<(u64, News)>() + self.purged.len() * size_of::<Arc<str>>() + self.rows.iter().map(row).sum::<usize>()
    }
}

impl Later {
    /// Begins at this number.
    pub(super) fn new(since: u64) -> Later {
        Later { entries: VecDeque::new(), bytes: 0, since, given_up: HashMap::new() }
    }

    /// Keeps what was heard as this number, and forgets the oldest beyond the bound.
    pub(super) fn enter(&mut self, number: u64, news: News) {
        self.bytes += news.bytes();
        self.entries.push_back((number, news));
        while self.bytes > BYTES
            && let Some((number, oldest)) = self.entries.pop_front()
        {
            self.bytes -= oldest.bytes();
            self.since = self.since.max(number);
        }
    }

    /// Counts everything that was judged before this number as touched.
    pub(super) fn lose(&mut self, number: u64) {
        *self = Later::new(number);
    }

    /// The same for one resource: its source did not answer.
    pub(super) fn give_up(&mut self, resource: [u8; 16], number: u64) {
        // What is forgotten is asked again.
        if self.given_up.len() >= GIVEN_UP {
            self.given_up.clear();
        }
        self.given_up.insert(resource, number);
    }

    /// What the changes behind the first number and up to the last mean for a chunk.
    pub(super) fn verdict(
        &self,
        rules: &TouchRules,
        list: &List,
        chunk: &Chunk,
        numbers: Range<u64>,
        doubtful: &mut dyn FnMut(&Arc<Row>),
    ) -> Verdict {
        let resource = list.resource();
        let given_up = self.given_up.get(&resource.digest()).copied().unwrap_or_default();
        // A key without a cursor is none of a list.
        if numbers.start < self.since.max(given_up) || chunk.key.start().is_none() {
            return Verdict::Touched;
        }

        let mut verdict = Verdict::Shown;
        let from = self.entries.partition_point(|(number, _)| *number <= numbers.start);
        for (number, news) in self.entries.range(from..).take_while(|(number, _)| *number <= numbers.end) {
            if news.is_unknown || news.purged.iter().any(|name| **name == *resource.name()) {
                return Verdict::Touched;
            }
            let is_news = |one: &&Changed| u64::from(one.behind) < number - numbers.start;
            for changed in news.rows.iter().filter(is_news).filter(|one| one.database == rules.database) {
                match changed.verdict(rules, list, chunk) {
                    Verdict::Shown => {}
                    Verdict::Touched => return Verdict::Touched,
                    Verdict::InDoubt => {
                        verdict = Verdict::InDoubt;
                        doubtful(&changed.row);
                    }
                }
            }
        }
        verdict
    }
}

impl Changed {
    /// A change of a row of this table; `behind`: how many entries were told after it.
    pub(super) fn of(change: &Change, (database, table): &(Arc<[u8]>, Arc<str>), behind: u32) -> Changed {
        let keys = candidates(&change.key);
        Changed {
            database: Arc::clone(database),
            table: Arc::clone(table),
            behind,
            hashes: hashes(&keys, own_key_hash),
            keys,
            row: Arc::new(Row::unplaced(change.key.clone())),
            old: change.old.clone(),
            new: change.new.clone(),
        }
    }

    /// What it means for a chunk of a list with these rules.
    fn verdict(&self, rules: &TouchRules, list: &List, chunk: &Chunk) -> Verdict {
        let is_met_there = |rule: &PointedRule| rule.is_of(&self.table) && list.compares(&rule.column);
        if rules.is_unfollowed(&self.table) || rules.pointed.iter().any(is_met_there) {
            return Verdict::Touched;
        }

        let shows = |hashes: &[(u32, u32)]| chunk.shown.has_any(hashes, |_| true);
        let is_key_of = |columns: usize| !self.keys.is_empty() && self.row.told[0].len() == columns;
        for (index, rule) in rules.related.iter().enumerate() {
            if rule.table.is(&self.table) {
                let related = hashes(&self.keys, |canonical| related_key_hash(index, canonical));
                if !is_key_of(rule.table.key.len()) || shows(&related) {
                    return Verdict::Touched;
                }
            }

            let pointing = rule.pointing_table().filter(|(table, _)| table.is(&self.table));
            let Some((_, pointing)) = pointing else { continue };
            let owners = [&self.old, &self.new].map(|values| value_of(values, &pointing.column));
            // Where nobody says to whom it points, and pointed, it may be any.
            if owners.iter().all(Option::is_none) {
                return Verdict::Touched;
            }
            let owners = owners.into_iter().flatten().flatten();
            let owners: Vec<Cursor> = owners.flat_map(|owner| candidates(&[owner.to_owned()])).collect();
            if shows(&hashes(&owners, own_key_hash)) {
                return Verdict::Touched;
            }
        }

        if !rules.is_own(&self.table) {
            return Verdict::Shown;
        }
        if !is_key_of(rules.key.len()) || shows(&self.hashes) {
            return Verdict::Touched;
        }
        Verdict::InDoubt
    }
}

/// The sorted hashes of keys, as a chunk has them.
fn hashes(keys: &[Cursor], hash: impl Fn(&[u8]) -> u32) -> Vec<(u32, u32)> {
    let mut hashes: Vec<(u32, u32)> = keys.iter().map(|key| (hash(key.canonical()), 0)).collect();
    hashes.sort_unstable();
    hashes
}
