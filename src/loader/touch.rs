//! What a change touches: a row with its key, and where it belongs now.

use std::sync::Arc;

use super::moved::{ALLOCATED, Moved};
use crate::{
    chunk::Chunk,
    cursor::Cursor,
    list::List,
    source::{Comparison, Condition, TouchRules, candidates},
};

/// What some changes touch of one resource.
#[derive(Clone, Debug)]
pub(super) enum Touch {
    /// Every chunk.
    All,
    /// Some chunks. Beside each reason stands how many changes of the same touch were told after
    /// it.
    Some {
        /// The chunks that show one of these keys, by their sorted hashes.
        keys: Vec<(u32, u32)>,
        /// Those where one of these rows belongs now.
        rows: Vec<(Arc<Row>, u32)>,
        /// All of lists with these conditions, each of them beside any others.
        lists: Vec<(Vec<Condition>, u32)>,
        /// All of lists with conditions on columns of a related row, if the row's values before and
        /// after may differ in whether they meet these.
        columns: Vec<(Moved, u32)>,
    },
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
    /// Its place in the order; the start, where that was not looked up.
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
        let Touch::Some { keys, rows, lists, columns } = self else { return Verdict::Touched };
        let is_news = |behind: u32| u64::from(behind) < news;
        let has = |conditions: &[Condition]| conditions.iter().all(|one| list.conditions().contains(one));
        let mut purged = lists.iter().filter(|(_, behind)| is_news(*behind));
        let mut moved = columns.iter().filter(|(_, behind)| is_news(*behind));
        if chunk.shown.has_any(keys, is_news)
            || purged.any(|(conditions, _)| has(conditions))
            || moved.any(|(moved, _)| moved.touches(rules, list))
        {
            return Verdict::Touched;
        }

        // A key without a cursor is none of a list: nothing is known of its place.
        let Some(start) = chunk.key.start() else { return Verdict::Touched };
        let mut verdict = Verdict::Shown;
        for (row, _) in rows.iter().filter(|(_, behind)| is_news(*behind)) {
            match row.is_within(rules, list, &start, chunk.next.as_ref()) {
                Some(false) => {}
                Some(true) => return Verdict::Touched,
                None => {
                    verdict = Verdict::InDoubt;
                    doubtful(row);
                }
            }
        }
        verdict
    }

    /// About how many bytes of memory it takes, with its places in the logs, which are of up to
    /// twice as many.
    pub(super) fn bytes(&self) -> usize {
        let Touch::Some { keys, rows, lists, columns } = self else { return 0 };
        let logged = 2 * (size_of::<(u64, Touch)>() + size_of::<(u64, [u8; 16], usize)>());
        let rows: usize = rows.iter().map(|one| size_of_val(one) + one.0.bytes()).sum();
        let conditions = lists.iter().flat_map(|(conditions, _)| conditions);
        let lists = size_of_val(&**lists) + conditions.map(condition_bytes).sum::<usize>();
        let columns: usize = columns.iter().map(|one| size_of_val(one) + one.0.bytes()).sum();
        logged + 4 * ALLOCATED + size_of_val(&**keys) + rows + lists + columns
    }
}

/// About how many bytes of memory a condition takes.
fn condition_bytes(condition: &Condition) -> usize {
    let inside = match condition {
        Condition::Is(one) => {
            let texts = one.values.iter().chain([&one.column]);
            texts.map(|text| ALLOCATED + size_of::<String>() + text.len()).sum::<usize>()
        }
        Condition::All(parts) | Condition::Any(parts) => ALLOCATED + parts.iter().map(condition_bytes).sum::<usize>(),
    };
    size_of::<Condition>() + inside
}

impl Row {
    /// A row of which is known by which key it was told, and not whether it is there.
    pub(super) fn unplaced(told: Vec<String>) -> Row {
        Row { place: Cursor::start(), filters: vec![], told: [told].into() }
    }

    /// Its key; several, if it may be any of them.
    pub(super) fn keys(&self, rules: &TouchRules) -> Vec<Cursor> {
        if self.place.is_start() {
            return self.told.iter().flat_map(|told| candidates(told)).collect();
        }
        rules.key_at(&self.place).into_iter().collect()
    }

    /// Whether it belongs between these places of a list; `None` if only the database knows.
    fn is_within(&self, rules: &TouchRules, list: &List, start: &Cursor, end: Option<&Cursor>) -> Option<bool> {
        // The cheapest first: nearly every chunk ends before the row or begins behind it.
        let is_behind_start = self.is_behind(rules, start);
        if is_behind_start == Some(false) {
            return Some(false);
        }
        let is_before_end = end.map_or(Some(true), |end| Some(!self.is_behind(rules, end)?));
        if is_before_end == Some(false) {
            return Some(false);
        }

        match self.meets(rules, list) {
            Some(true) => Some(is_behind_start? && is_before_end?),
            other => other,
        }
    }

    /// Whether it meets the list's conditions; `None` if only the database knows.
    fn meets(&self, rules: &TouchRules, list: &List) -> Option<bool> {
        let compares = |comparison: &Comparison| {
            let at = rules.filters.iter().position(|filter| filter.column == comparison.column)?;
            rules.meets(comparison, self.filters.get(at)?.as_ref()?.values().next()?)
        };

        Condition::all_judged(list.conditions(), &compares)
    }

    /// Whether its place is behind this one; `None` if only the database knows.
    fn is_behind(&self, rules: &TouchRules, place: &Cursor) -> Option<bool> {
        if place.is_start() {
            return Some(true);
        }
        rules.compare(self.place.values(), place.values()).map(|order| order.is_gt())
    }

    /// About how many bytes of memory it takes.
    pub(super) fn bytes(&self) -> usize {
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

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::{
        format::Format,
        resource::{Looked, Resource, ResourceOptions},
        row::{RowBatch, Value},
        source::{Database, DatabaseOptions, Operator, Query, Requester, Spec, open_database},
    };

    /// Every combination of values that compare in different ways, with NULL among each, in columns
    /// of a number, of texts with and without regard to case, and of an author's name. Beside them
    /// values of types that SQLite compares by the affinity of the type's name.
    const TABLE: &str = "
        PRAGMA foreign_keys = OFF;
        CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT);
        INSERT INTO author VALUES (1, 'a'), (2, 'B'), (3, NULL);
        CREATE TABLE item (id INTEGER PRIMARY KEY, number INTEGER, ratio REAL, text TEXT, folded TEXT COLLATE NOCASE,
            author_id INTEGER REFERENCES author (id), ref UUID, day DATE, price DECIMAL(10, 2));
        WITH n (n) AS (VALUES (NULL), (-1), (2), (10)), r (r) AS (VALUES (NULL), (0.1), (2)),
            t (t) AS (VALUES (NULL), ('a'), ('B'), ('10')), a (a) AS (VALUES (NULL), (1), (2), (3), (9))
        INSERT INTO item (number, ratio, text, folded, author_id)
            SELECT n, r, t.t, f.t, a FROM n, r, t, t AS f, a;
        UPDATE item SET ref = CASE id % 5 WHEN 0 THEN 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'
                WHEN 1 THEN 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' WHEN 2 THEN 'A1EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'
                WHEN 3 THEN '11111111111111111111111111111111' END,
            day = CASE id % 7 WHEN 0 THEN '2026-01-01' WHEN 1 THEN '2026-01-01 00:00:00' WHEN 2 THEN 'a' WHEN 3 THEN 2026
                WHEN 4 THEN '0000-00-00' WHEN 5 THEN '2026-01-02' END,
            price = CASE id % 6 WHEN 0 THEN 7 WHEN 1 THEN 7.1 WHEN 2 THEN 9007199254740993 WHEN 3 THEN 'a' WHEN 4 THEN -7 END";

    /// The first is the scope's.
    const COLUMNS: [&str; 9] = ["author_id.name", "id", "number", "ratio", "text", "folded", "ref", "day", "price"];
    const NUMBERS: [&str; 10] = [
        "-1",
        "2",
        "0.1",
        "10",
        "7",
        "7.00000000000000000001",
        "-6.99999999999999999999",
        "2.0000000000000000001",
        "9007199254740992.5",
        "9007199254740993",
    ];
    const TEXTS: [&str; 10] = [
        "a",
        "B",
        "10",
        "b",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11",
        "11111111111111111111111111111110",
        "2026-01-01",
        "2026-01-01T00:00:00",
    ];

    struct Items {
        runtime: tokio::runtime::Runtime,
        resource: Arc<Resource>,
        rows: Vec<Row>,
        _folder: tempfile::TempDir,
    }

    impl Items {
        fn new() -> Items {
            let folder = tempfile::TempDir::new().unwrap();
            let path = folder.path().join("items.sqlite");
            rusqlite::Connection::open(&path).unwrap().execute_batch(TABLE).unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let options = DatabaseOptions::new(format!("sqlite:{}", path.display()));
            let (resource, looked) = runtime.block_on(async {
                let database: Arc<dyn Database> = open_database(&options).await.unwrap();
                let spec = Spec::of("item").with(|spec| {
                    spec.filters = Some(COLUMNS[1..].iter().map(|name| (*name).into()).collect());
                    spec.scope = vec!["author_id.name".into()];
                });
                let resource = Resource::of("items", &database, &spec, &ResourceOptions::default()).await.unwrap();
                let looked =
                    resource.look_ups().unwrap().at_once.as_ref().unwrap().own.rows_that_meet(&[]).await.unwrap();
                (Arc::new(resource), looked)
            });
            let row = |one: Looked| Row { place: one.wanted, filters: one.perhaps, told: [].into() };
            Items { runtime, resource, rows: looked.into_iter().map(row).collect(), _folder: folder }
        }

        /// The places of the rows that the database gives under these conditions.
        fn given(&self, conditions: &[Condition]) -> BTreeSet<Vec<u8>> {
            let query = Query {
                after: Cursor::start(),
                limit: 10_000,
                conditions: conditions.into(),
                is_filtered: true,
                session: None,
                requester: Requester::default(),
            };
            let mut batches: Vec<RowBatch> = vec![];
            self.runtime.block_on(self.resource.source().rows(query, &mut batches)).unwrap();
            let mut given = BTreeSet::new();
            for batch in &batches {
                let each = batch.each(0..batch.len(), |key, _: &[Value<'_>]| {
                    given.insert(Cursor::after(key)?.canonical().to_vec());
                    Ok(())
                });
                each.unwrap();
            }
            given
        }
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let operators = [
            Operator::Eq,
            Operator::Neq,
            Operator::Gt,
            Operator::Gte,
            Operator::Lt,
            Operator::Lte,
            Operator::In,
            Operator::NotIn,
            Operator::IsNull,
            Operator::IsNotNull,
            Operator::Like,
            Operator::NotLike,
            Operator::Ilike,
            Operator::NotIlike,
        ];
        let is = (select(COLUMNS.to_vec()), select(operators.to_vec()), prop::collection::vec(0..10usize, 0..3));
        let is = is.prop_map(|(column, operator, values)| {
            let known = if ["number", "ratio", "id", "price"].contains(&column) { NUMBERS } else { TEXTS };
            let mut values: Vec<String> = values.into_iter().map(|value| known[value].to_owned()).collect();
            match operator {
                Operator::In | Operator::NotIn => {}
                Operator::IsNull | Operator::IsNotNull => values.clear(),
                _ => {
                    values.resize(1, known[0].to_owned());
                    if operator.takes_pattern() {
                        values[0].push('*');
                    }
                }
            }
            Condition::is(column, operator, values)
        });
        is.prop_recursive(3, 12, 3, |inner| {
            let parts = prop::collection::vec(inner, 0..4);
            prop_oneof![parts.clone().prop_map(Condition::All), parts.prop_map(Condition::Any)]
        })
    }

    /// A row that is wrongly said to be out of a list would be missing there until its chunk is
    /// old.
    #[test]
    fn a_row_is_said_to_meet_conditions_or_not_as_the_database_says_it() {
        let items = Items::new();
        assert_eq!(items.rows.len(), 960);
        let rules = items.resource.source().touch_rules().unwrap();
        let mut known = 0;
        let mut all = 0;

        let mut runner = proptest::test_runner::TestRunner::default();
        let conditions = prop::collection::vec(condition(), 1..3);
        let counts = std::cell::RefCell::new((&mut known, &mut all));
        let run = runner.run(&conditions, |conditions| {
            let format = Format::all().next().unwrap();
            let list = List::new(Arc::clone(&items.resource), format, conditions, "");
            let given = items.given(list.conditions());
            for row in &items.rows {
                let meets = row.meets(rules, &list);
                let is_given = given.contains(&row.place.canonical()[..]);
                prop_assert!(meets.is_none_or(|meets| meets == is_given), "{row:?}: {meets:?}");
                let mut counts = counts.borrow_mut();
                *counts.1 += 1;
                *counts.0 += u32::from(meets.is_some());
            }
            Ok(())
        });
        run.unwrap();
        assert!(known > all / 3, "only the database would know of most: {known} of {all}");
    }
}
