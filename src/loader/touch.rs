//! What a change touches: a row with its key, and where it belongs now.

use std::sync::Arc;

use crate::{
    chunk::Chunk,
    cursor::Cursor,
    list::List,
    source::{Condition, TouchRules},
};

/// What an allocation of a few bytes takes beside them.
const ALLOCATED: usize = 24;

/// What some changes touch of one resource.
#[derive(Clone, Debug)]
pub(super) enum Touch {
    /// Every chunk.
    All,
    /// The chunks that show one of these keys, those where one of these rows belongs now, and all of
    /// lists with these conditions (each of them beside any others). Beside each stands how many
    /// changes of the same touch were told after it. The keys are sorted hashes.
    Some { keys: Vec<(u32, u32)>, rows: Vec<(Arc<Row>, u32)>, lists: Vec<(Vec<Condition>, u32)> },
}

/// What the changes that were heard mean for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It shows them all.
    Shown,
    /// One of them touches it.
    Touched,
    /// Only the database knows whether a row belongs there now.
    InDoubt,
}

/// A row as it is after its change.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its place in the order.
    pub(super) place: Cursor,
    /// The values of the columns that conditions are on, in the order of the rules; as cursors of
    /// one value. `None` if it was not read.
    pub(super) filters: Vec<Option<Cursor>>,
    /// Keys as they were told. The row was found by one of them.
    pub(super) told: Arc<[Vec<String>]>,
}

impl Touch {
    /// What its last `news` changes mean for a chunk, which shows those before.
    pub(super) fn verdict(
        &self,
        rules: &TouchRules,
        list: &List,
        chunk: &Chunk,
        news: u64,
        doubtful: &mut dyn FnMut(&Arc<Row>),
    ) -> Verdict {
        let Touch::Some { keys, rows, lists } = self else { return Verdict::Touched };
        let is_news = |behind: u32| u64::from(behind) < news;
        let has = |conditions: &[Condition]| conditions.iter().all(|one| list.conditions().contains(one));
        let mut purged = lists.iter().filter(|(_, behind)| is_news(*behind));
        if chunk.shown.has_any(keys, is_news) || purged.any(|(conditions, _)| has(conditions)) {
            return Verdict::Touched;
        }

        // A key without a cursor is none of a list: nothing is known of its place.
        let Some(start) = chunk.key.start() else { return Verdict::Touched };
        let mut verdict = Verdict::Shown;
        for (row, _) in rows.iter().filter(|(_, behind)| is_news(*behind)) {
            let is_within = [
                row.meets(rules, list),
                row.is_behind(rules, &start),
                chunk.next.as_ref().map_or(Some(true), |next| Some(!row.is_behind(rules, next)?)),
            ];
            if is_within.contains(&Some(false)) {
                continue;
            }
            if !is_within.contains(&None) {
                return Verdict::Touched;
            }
            verdict = Verdict::InDoubt;
            doubtful(row);
        }
        verdict
    }

    /// About how many bytes of memory it takes, with its places in the logs, which are of up to twice
    /// as many.
    pub(super) fn bytes(&self) -> usize {
        let Touch::Some { keys, rows, lists } = self else { return 0 };
        let logged = 2 * (size_of::<(u64, Touch)>() + size_of::<(u64, [u8; 16], usize)>());
        let rows: usize = rows.iter().map(|one| size_of_val(one) + one.0.bytes()).sum();
        let conditions = lists.iter().flat_map(|(conditions, _)| conditions);
        let texts = conditions.clone().flat_map(|one| one.values.iter().chain([&one.column]));
        let texts: usize = texts.map(|text| ALLOCATED + size_of::<String>() + text.len()).sum();
        let lists = size_of_val(&**lists) + size_of::<Condition>() * conditions.count() + texts;
        logged + 3 * ALLOCATED + size_of_val(&**keys) + rows + lists
    }
}

impl Row {
    /// Its key.
    pub(super) fn key(&self, rules: &TouchRules) -> Option<Cursor> {
        rules.key_at(&self.place)
    }

    /// Whether it meets the list's conditions; `None` if only the database knows.
    fn meets(&self, rules: &TouchRules, list: &List) -> Option<bool> {
        let mut meets = Some(true);
        for condition in list.conditions().iter() {
            let at = rules.filters.iter().position(|filter| filter.column == condition.column);
            let value = at.and_then(|at| self.filters.get(at)?.as_ref()?.values().next());
            match value.and_then(|value| rules.meets(condition, value)) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => meets = None,
            }
        }
        meets
    }

    /// Whether its place is behind this one; `None` if only the database knows.
    fn is_behind(&self, rules: &TouchRules, place: &Cursor) -> Option<bool> {
        if place.is_start() {
            return Some(true);
        }
        rules.compare(self.place.values(), place.values()).map(|order| order.is_gt())
    }

    fn bytes(&self) -> usize {
        let cursor = |cursor: &Cursor| 2 * ALLOCATED + size_of::<Cursor>() + cursor.canonical().len();
        let filters: usize = self.filters.iter().map(|filter| filter.as_ref().map_or(0, cursor)).sum();
        let told = self.told.iter().map(|key| {
            let texts = key.iter().map(|text| ALLOCATED + size_of::<String>() + text.len());
            ALLOCATED + texts.sum::<usize>()
        });
        // Rows that were told together may share what was told.
        let told = told.sum::<usize>() / self.told.len().max(1);
        3 * ALLOCATED + size_of::<Row>() + cursor(&self.place) + filters + told
    }
}
