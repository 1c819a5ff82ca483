//! Changes of rows to which others point: they may move those others into and out of lists with
//! conditions on such a row.

use crate::{
    change::{Change, value_of},
    list::List,
    source::{Comparison, Condition, PointedRule, Told, TouchRules},
};

/// What an allocation of a few bytes takes beside them.
pub(super) const ALLOCATED: usize = 24;

/// More changes of one column that are heard together touch every list with a condition on it: each
/// chunk is judged by every one of them.
const MOST: usize = 32;

/// A change of a column on which conditions are, in a row to which others point.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    /// The column, as conditions name it.
    column: String,
    /// Its value before and after the change; `None` if they are not known.
    values: Option<[Option<Told>; 2]>,
}

impl Moved {
    /// What changes of rows of its table mean for a column, each once, with how many were told after
    /// the last that means it.
    pub(super) fn all(rule: &PointedRule, changes: &[(&Change, u32)]) -> Vec<(Moved, u32)> {
        let mut all: Vec<(Moved, u32)> = vec![];
        let mut unknown: Option<u32> = None;
        for (change, behind) in changes {
            let values = told_values(rule, change);
            if values.as_ref().is_some_and(|[old, new]| old == new) {
                continue;
            }

            if let Some((_, last)) = all.iter_mut().find(|(one, _)| values.is_some() && one.values == values) {
                *last = (*last).min(*behind);
            } else if values.is_some() && all.len() < MOST {
                all.push((Moved { column: rule.column.clone(), values }, *behind));
            } else {
                unknown = Some(unknown.map_or(*behind, |last| last.min(*behind)));
            }
        }

        all.extend(unknown.map(|behind| (Moved { column: rule.column.clone(), values: None }, behind)));
        all
    }

    /// Whether it may have moved rows into or out of a list.
    pub(super) fn touches(&self, rules: &TouchRules, list: &List) -> bool {
        if !list.compares(&self.column) {
            return false;
        }

        let rule = rules.pointed.iter().find(|rule| rule.column == self.column);
        let (Some(values), Some(rule)) = (&self.values, rule) else { return true };
        let conditions = list.conditions();
        let is_on = |comparison: &&Comparison| comparison.column == self.column;
        let mut comparisons = conditions.iter().flat_map(Condition::comparisons).filter(is_on);
        let [before, after] = values.each_ref().map(|value| {
            move |comparison: &Comparison| rule.meets(comparison, value.as_ref()).filter(|_| is_on(&comparison))
        });
        // Nothing is known of the columns beside it.
        let may_meet =
            |meets: &dyn Fn(&Comparison) -> Option<bool>| Condition::all_judged(conditions, meets) != Some(false);
        let stays = |comparison: &Comparison| before(comparison).is_some_and(|met| after(comparison) == Some(met));
        !comparisons.all(stays) && (may_meet(&before) || may_meet(&after))
    }

    /// About how many bytes of memory it has beside its own.
    pub(super) fn bytes(&self) -> usize {
        let text = |value: &Option<Told>| match value {
            Some(Told::Text(text)) => ALLOCATED + text.len(),
            Some(Told::Integer(_)) | None => 0,
        };
        ALLOCATED + self.column.len() + self.values.iter().flatten().map(text).sum::<usize>()
    }
}

/// The values of a column before and after a change; `None` if the change does not say both, if only
/// the database can compare them, or if the row has another key now.
fn told_values(rule: &PointedRule, change: &Change) -> Option<[Option<Told>; 2]> {
    let rule = rule.told.as_ref()?;
    let [key] = &change.key[..] else { return None };
    let has_other_key = |values| value_of(values, &rule.key).is_some_and(|said| said != Some(key));
    if has_other_key(&change.old) || has_other_key(&change.new) {
        return None;
    }

    let value = |values| match value_of(values, &rule.name)? {
        Some(text) => Some(Some(rule.kind.value(text)?)),
        None => Some(None),
    };
    Some([value(&change.old)?, value(&change.new)?])
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        format::Format,
        resource::{Resource, ResourceOptions},
        source::{Database, DatabaseOptions, Operator, Spec, open_database},
    };

    const TABLES: &str = "
        CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, folded TEXT COLLATE NOCASE);
        CREATE TABLE item (id INTEGER PRIMARY KEY, number INTEGER, author_id INTEGER REFERENCES author (id),
            editor_id INTEGER REFERENCES author (id));";

    const COLUMNS: [&str; 5] = ["number", "author_id.name", "author_id.age", "author_id.folded", "editor_id.name"];

    async fn resource(folder: &tempfile::TempDir) -> Arc<Resource> {
        let path = folder.path().join("items.sqlite");
        rusqlite::Connection::open(&path).unwrap().execute_batch(TABLES).unwrap();
        let options = DatabaseOptions::new(format!("sqlite:{}", path.display()));
        let database: Arc<dyn Database> = open_database(&options).await.unwrap();
        let spec =
            Spec::of("item").with(|spec| spec.filters = Some(COLUMNS.iter().map(|name| (*name).into()).collect()));
        Arc::new(Resource::of("items", &database, &spec, &ResourceOptions::default()).await.unwrap())
    }

    fn is(column: &str, operator: Operator, values: &[&str]) -> Condition {
        Condition::is(column, operator, values.iter().map(|value| (*value).to_owned()).collect())
    }

    fn author() -> Change {
        Change::of("items", ["1"]).in_table("author")
    }

    fn renamed(old: Option<&str>, new: Option<&str>) -> Change {
        author().was("name", old).is("name", new)
    }

    #[tokio::test]
    async fn only_lists_are_touched_whose_conditions_may_be_met_before_or_after_and_tell_the_two_apart() {
        let folder = tempfile::TempDir::new().unwrap();
        let resource = resource(&folder).await;
        let rules = resource.source().touch_rules().unwrap();
        let touches = |change: &Change, conditions: &[Condition]| {
            let list = List::new(Arc::clone(&resource), Format::all().next().unwrap(), conditions.to_vec(), "");
            let moved = rules.pointed.iter().flat_map(|rule| Moved::all(rule, &[(change, 0)]));
            moved.filter(|(moved, _)| moved.touches(rules, &list)).count() > 0
        };
        let name = |operator, values: &[&str]| is("author_id.name", operator, values);
        let ann = || name(Operator::Eq, &["ann"]);
        let from_bob = renamed(Some("bob"), Some("cid"));

        for (change, conditions, expected) in [
            (&from_bob, vec![], false),
            (&from_bob, vec![is("number", Operator::Eq, &["1"])], false),
            (&from_bob, vec![ann()], false),
            (&from_bob, vec![name(Operator::Eq, &["bob"])], true),
            (&from_bob, vec![name(Operator::Eq, &["cid"])], true),
            (&from_bob, vec![is("editor_id.name", Operator::Eq, &["cid"])], true),
            (&from_bob, vec![name(Operator::In, &["ann", "bob"])], true),
            // It meets it before and after.
            (&from_bob, vec![name(Operator::Neq, &["ann"])], false),
            (&from_bob, vec![name(Operator::In, &["bob", "cid"])], false),
            (&from_bob, vec![name(Operator::IsNull, &[])], false),
            // Each other column may have any value.
            (
                &from_bob,
                vec![Condition::Any(vec![name(Operator::Eq, &["bob"]), is("number", Operator::Eq, &["1"])])],
                true,
            ),
            (&from_bob, vec![Condition::Any(vec![ann(), is("number", Operator::Eq, &["1"])])], false),
            (&from_bob, vec![name(Operator::Eq, &["bob"]), is("editor_id.name", Operator::Eq, &["eve"])], true),
            (&from_bob, vec![ann(), name(Operator::Neq, &["bob"])], false),
            // Only the database knows.
            (&from_bob, vec![name(Operator::Like, &["x*"])], true),
            (&from_bob, vec![is("author_id.age", Operator::Eq, &["7"])], true),
            // An author who comes or goes.
            (&renamed(None, Some("bob")), vec![ann()], false),
            (&renamed(None, Some("ann")), vec![ann()], true),
            (&renamed(Some("ann"), None), vec![ann()], true),
            (&renamed(None, Some("bob")), vec![name(Operator::IsNull, &[])], true),
            (&renamed(None, Some("bob")), vec![name(Operator::NotIn, &["ann"])], true),
            // The same value, told in another spelling.
            (
                &author().was("AGE", Some("7")).is("age", Some("007")),
                vec![is("author_id.age", Operator::Eq, &["7"])],
                false,
            ),
            (
                &author().was("age", Some("7")).is("age", Some("8")),
                vec![is("author_id.age", Operator::Gt, &["9"])],
                false,
            ),
            (
                &author().was("age", Some("7")).is("age", Some("10")),
                vec![is("author_id.age", Operator::Gt, &["9"])],
                true,
            ),
            // One of the two is not known, or not compared here.
            (&author(), vec![ann()], true),
            (&author().was("name", Some("bob")), vec![ann()], true),
            (&author().is("name", Some("bob")), vec![ann()], true),
            (
                &author().was("age", Some("x")).is("age", Some("8")),
                vec![is("author_id.age", Operator::Gt, &["9"])],
                true,
            ),
            (
                &author().was("folded", Some("b")).is("folded", Some("c")),
                vec![is("author_id.folded", Operator::Eq, &["a"])],
                true,
            ),
            // Another key: items that pointed to nobody may point to it now.
            (&from_bob.clone().was("id", Some("2")), vec![ann()], true),
            (&from_bob.clone().was("id", Some("1")).is("id", Some("1")), vec![ann()], false),
        ] {
            assert_eq!(touches(change, &conditions), expected, "{change:?} {conditions:?}");
        }
    }

    #[tokio::test]
    async fn many_changes_of_a_column_are_judged_each_once_and_too_many_touch_every_list_with_a_condition_on_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let resource = resource(&folder).await;
        let rules = resource.source().touch_rules().unwrap();
        let rule = rules.pointed.iter().find(|rule| rule.column == "author_id.name").unwrap();
        let renamed = |n: usize| renamed(Some("bob"), Some(&format!("cid {n}")));

        let twice = [renamed(1), renamed(2), renamed(1)];
        let heard: Vec<(&Change, u32)> = twice.iter().zip([5, 4, 3]).collect();
        let behind: Vec<u32> = Moved::all(rule, &heard).into_iter().map(|(_, behind)| behind).collect();
        assert_eq!(behind, [3, 4], "as told by the last");

        for (count, is_unknown) in [(MOST, false), (MOST + 1, true)] {
            let many: Vec<Change> = (0..count).map(renamed).collect();
            let heard: Vec<(&Change, u32)> = many.iter().zip((0..count as u32).rev()).collect();
            let moved = Moved::all(rule, &heard);
            assert_eq!(moved.len(), count, "{count}");
            let last = moved.last().unwrap();
            assert_eq!((last.0.values.is_none(), last.1), (is_unknown, 0), "{count}");
        }
    }
}
