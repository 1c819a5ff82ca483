//! Conditions that rows must meet, and how a request writes them: as PostgREST does.
//!
//! A request may negate a comparison or a whole tree. A negation is carried to the comparisons as
//! the tree is read, which SQL's logic of three values allows. So a tree has no negations, and a
//! row either meets a comparison or does not: one with NULL is met by no row, and neither is its
//! opposite.

mod tree;
mod value;

use std::{cmp::Ordering, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

pub(crate) use self::tree::Reader;
use super::{PARAMETERS, Source};
use crate::error::{Error, Kind, Result};

/// Names of parameters that hold a tree of conditions.
pub(crate) const TREES: [&str; 4] = ["or", "and", "not.or", "not.and"];

/// Whether every list has a parameter of this name, so that no filter can have it.
pub(crate) fn is_parameter(name: &str) -> bool {
    PARAMETERS.contains(&name) || TREES.contains(&name)
}

/// A column that a request may filter by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Filter {
    /// The column's name, in the database and in the request. For a column of a related row
    /// `author.name`: the field or column that points to the row, and the column there.
    pub column: String,
    /// The syntax of its values.
    pub operand: Operand,
    /// The whole numbers that the column can hold, if it can hold nothing else. A number outside is
    /// never sent to the database.
    pub range: Option<RangeInclusive<i128>>,
}

impl Filter {
    /// A filter on a column with such values.
    pub fn new(column: impl Into<String>, operand: Operand) -> Filter {
        Filter { column: column.into(), operand, range: None }
    }

    /// The condition that the column is equal to one of these values, which are of its type.
    pub(crate) fn among(&self, values: Vec<String>) -> Condition {
        let operator = if values.len() == 1 { Operator::Eq } else { Operator::In };
        Condition::Is(value::within(Comparison { column: self.column.clone(), operator, values }, self))
    }

    /// The condition that a request writes as this value of the parameter: `eq.7`, `not.in.(7,8)`.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is none.
    pub(crate) fn condition(&self, value: &str) -> Result<Condition> {
        value::condition(self, value)
    }
}

/// The syntax of a filter's values; any other is refused before it reaches the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Operand {
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Any text.
    Text,
}

/// What a row must meet. Later versions add no kinds: a program that passed over one would show
/// rows that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// A column compares like this.
    Is(Comparison),
    /// Each of these holds; without any, every row meets it.
    All(Vec<Condition>),
    /// At least one of these holds; without any, no row meets it.
    Any(Vec<Condition>),
}

/// What a column's value must be: `column operator values`. No row with NULL there meets it, except
/// for [`Operator::IsNull`], and [`Operator::NotIn`] without values. Values are always bound, never
/// spliced into SQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Comparison {
    /// The column, one of [`Source::filters`](super::Source::filters) or
    /// [`Source::scope`](super::Source::scope).
    pub column: String,
    /// How to compare.
    pub operator: Operator,
    /// The values to compare with: one, or any number for [`Operator::In`] and [`Operator::NotIn`],
    /// or none for the NULL tests.
    pub values: Vec<String>,
}

/// The operators of filters, as PostgREST spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operator {
    /// `eq`
    Eq,
    /// `neq`
    Neq,
    /// `gt`
    Gt,
    /// `gte`
    Gte,
    /// `lt`
    Lt,
    /// `lte`
    Lte,
    /// `in`, with a list
    In,
    /// `is.null`
    IsNull,
    /// `is.not_null`
    IsNotNull,
    /// `like`, where `*` stands for `%`; by the database's own rules, also for the case of letters
    Like,
    /// `not.in`, with a list
    NotIn,
    /// `not.like`
    NotLike,
    /// `ilike`: as `like`, but without regard to the case of letters
    Ilike,
    /// `not.ilike`
    NotIlike,
}

impl Operator {
    /// The operator of the opposite. Neither is met by NULL, except for the NULL tests.
    pub(crate) fn opposite(self) -> Operator {
        match self {
            Operator::Eq => Operator::Neq,
            Operator::Neq => Operator::Eq,
            Operator::Gt => Operator::Lte,
            Operator::Gte => Operator::Lt,
            Operator::Lt => Operator::Gte,
            Operator::Lte => Operator::Gt,
            Operator::In => Operator::NotIn,
            Operator::NotIn => Operator::In,
            Operator::IsNull => Operator::IsNotNull,
            Operator::IsNotNull => Operator::IsNull,
            Operator::Like => Operator::NotLike,
            Operator::NotLike => Operator::Like,
            Operator::Ilike => Operator::NotIlike,
            Operator::NotIlike => Operator::Ilike,
        }
    }

    /// The word that stands for it in canonical forms, and that puts conditions in order. It never
    /// changes: keys of chunks depend on it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Operator::Eq => "eq",
            Operator::Neq => "neq",
            Operator::Gt => "gt",
            Operator::Gte => "gte",
            Operator::Lt => "lt",
            Operator::Lte => "lte",
            Operator::In => "in",
            Operator::IsNull => "is.null",
            Operator::IsNotNull => "is.not_null",
            Operator::Like => "like",
            Operator::NotIn => "not.in",
            Operator::NotLike => "not.like",
            Operator::Ilike => "ilike",
            Operator::NotIlike => "not.ilike",
        }
    }

    /// Whether it compares with a pattern.
    pub(crate) fn takes_pattern(self) -> bool {
        matches!(self, Operator::Like | Operator::NotLike | Operator::Ilike | Operator::NotIlike)
    }
}

impl Condition {
    /// The condition that a column compares like this.
    pub(crate) fn is(column: impl Into<String>, operator: Operator, values: Vec<String>) -> Condition {
        Condition::Is(Comparison { column: column.into(), operator, values })
    }

    /// The conditions that a purge writes as these parameters, `("organisation_id", "eq.1")`: as a
    /// request writes them, and on columns of the scope too.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a parameter that is no filter, and for a value that it does not take.
    pub(crate) fn of_purge(parameters: &[(String, String)], source: &dyn Source) -> Result<Vec<Condition>> {
        let mut reader = Reader::new(source.filters().iter().chain(source.scope()), &[]);
        parameters.iter().try_for_each(|(name, value)| reader.read(name, value))?;
        Ok(reader.finish())
    }

    /// All its comparisons.
    pub fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        let mut open = vec![self];
        std::iter::from_fn(move || {
            loop {
                match open.pop()? {
                    Condition::Is(comparison) => return Some(comparison),
                    Condition::All(parts) | Condition::Any(parts) => open.extend(parts.iter().rev()),
                }
            }
        })
    }

    /// The same, to change them.
    #[cfg_attr(not(feature = "mysql"), allow(dead_code, reason = "other databases bind values as they are"))]
    pub(crate) fn comparisons_mut(&mut self) -> impl Iterator<Item = &mut Comparison> {
        let mut open = vec![self];
        std::iter::from_fn(move || {
            loop {
                match open.pop()? {
                    Condition::Is(comparison) => return Some(comparison),
                    Condition::All(parts) | Condition::Any(parts) => open.extend(parts.iter_mut().rev()),
                }
            }
        })
    }

    /// Whether a row meets it, where `meets` says so of each comparison; `None` if that depends on
    /// comparisons of which it is not known.
    pub(crate) fn judged(&self, meets: &dyn Fn(&Comparison) -> Option<bool>) -> Option<bool> {
        match self {
            Condition::Is(comparison) => meets(comparison),
            Condition::All(parts) => Condition::judged_until(false, parts, meets),
            Condition::Any(parts) => Condition::judged_until(true, parts, meets),
        }
    }

    /// The same of conditions each of which must hold.
    pub(crate) fn all_judged(conditions: &[Condition], meets: &dyn Fn(&Comparison) -> Option<bool>) -> Option<bool> {
        Condition::judged_until(false, conditions, meets)
    }

    /// The answer of the first part that is `decisive`; else the opposite, if all parts are known.
    fn judged_until(decisive: bool, parts: &[Condition], meets: &dyn Fn(&Comparison) -> Option<bool>) -> Option<bool> {
        let mut judged = Some(!decisive);
        for part in parts {
            match part.judged(meets) {
                Some(known) if known == decisive => return Some(decisive),
                Some(_) => {}
                None => judged = None,
            }
        }
        judged
    }

    /// Whether a row meets it, where `meets` says so of each comparison.
    pub fn is_met(&self, meets: impl Fn(&Comparison) -> bool) -> bool {
        self.judged(&|comparison| Some(meets(comparison))) == Some(true)
    }

    /// The same conditions, of which each must hold, in one form for many ways to write them:
    /// sorted, each once, with no part that could as well stand in the one around it.
    pub(crate) fn canonical(conditions: Vec<Condition>) -> Vec<Condition> {
        match Condition::All(conditions).simplified() {
            Condition::All(parts) => parts,
            one => vec![one],
        }
    }

    fn simplified(self) -> Condition {
        let (parts, is_any) = match self {
            Condition::Is(_) => return self,
            Condition::All(parts) => (parts, false),
            Condition::Any(parts) => (parts, true),
        };

        let mut all: Vec<Condition> = vec![];
        for part in parts {
            match part.simplified() {
                Condition::All(parts) if !is_any => all.extend(parts),
                Condition::Any(parts) if is_any => all.extend(parts),
                // Every row meets it, and so what it is a part of.
                Condition::All(parts) if parts.is_empty() => return Condition::All(vec![]),
                part => all.push(part),
            }
        }

        all.sort();
        all.dedup();
        match all.pop() {
            Some(only) if all.is_empty() => only,
            last => {
                all.extend(last);
                if is_any { Condition::Any(all) } else { Condition::All(all) }
            }
        }
    }
}

/// By its word.
impl Ord for Operator {
    fn cmp(&self, other: &Operator) -> Ordering {
        self.word().cmp(other.word())
    }
}

impl PartialOrd for Operator {
    fn partial_cmp(&self, other: &Operator) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By column, operator and values.
impl Ord for Comparison {
    fn cmp(&self, other: &Comparison) -> Ordering {
        let columns = self.column.cmp(&other.column);
        columns.then_with(|| self.operator.cmp(&other.operator)).then_with(|| self.values.cmp(&other.values))
    }
}

impl PartialOrd for Comparison {
    fn partial_cmp(&self, other: &Comparison) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Comparisons, then trees of which each part must hold, then the others; trees by their parts.
///
/// Keys of chunks depend on this order. So it is written here, and is not that of the declarations.
impl Ord for Condition {
    fn cmp(&self, other: &Condition) -> Ordering {
        let rank = |one: &Condition| match one {
            Condition::Is(_) => 0,
            Condition::All(_) => 1,
            Condition::Any(_) => 2,
        };
        match (self, other) {
            (Condition::Is(one), Condition::Is(other)) => one.cmp(other),
            (Condition::All(one), Condition::All(other)) | (Condition::Any(one), Condition::Any(other)) => {
                one.cmp(other)
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl PartialOrd for Condition {
    fn partial_cmp(&self, other: &Condition) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is(column: &str) -> Condition {
        Condition::is(column, Operator::Eq, vec!["1".into()])
    }

    #[test]
    fn many_ways_to_write_a_condition_have_one_form() {
        let [a, b, c] = ["a", "b", "c"];
        let one = |name: &str| is(name);
        let any = Condition::Any;
        let all = Condition::All;
        let canonical = Condition::canonical;
        assert_eq!(canonical(vec![one(b), one(a), one(b)]), [one(a), one(b)]);
        assert_eq!(canonical(vec![all(vec![one(b), all(vec![one(a)])])]), [one(a), one(b)]);
        assert_eq!(canonical(vec![any(vec![one(a)])]), [one(a)]);
        let nested = any(vec![one(c), any(vec![one(b), one(a)]), one(a)]);
        assert_eq!(canonical(vec![nested]), [any(vec![one(a), one(b), one(c)])]);
        assert_eq!(canonical(vec![any(vec![all(vec![]), one(a)])]), [], "every row meets it");
        assert_eq!(canonical(vec![any(vec![]), one(a)]), [one(a), any(vec![])], "a scope is always there");
        let mixed = any(vec![one(b), all(vec![one(c), one(a)])]);
        assert_eq!(canonical(vec![mixed]), [any(vec![one(b), all(vec![one(a), one(c)])])]);
    }

    #[test]
    fn the_canonical_order_of_conditions_is_this_one() {
        let of = |column: &str, operator, values: &[&str]| {
            Condition::is(column, operator, values.iter().map(|value| (*value).to_owned()).collect())
        };
        let ordered = vec![
            of("B", Operator::NotLike, &["1"]),
            of("a", Operator::Eq, &["1"]),
            of("a", Operator::Eq, &["10"]),
            of("a", Operator::Eq, &["2"]),
            of("a", Operator::Gt, &["1"]),
            of("a", Operator::Gte, &["1"]),
            of("a", Operator::Ilike, &["1"]),
            of("a", Operator::In, &["1", "2"]),
            of("a", Operator::In, &["1", "2", "3"]),
            of("a", Operator::IsNotNull, &[]),
            of("a", Operator::IsNull, &[]),
            of("a", Operator::Like, &["1"]),
            of("a", Operator::Lt, &["1"]),
            of("a", Operator::Lte, &["1"]),
            of("a", Operator::Neq, &["1"]),
            of("a", Operator::NotIlike, &["1"]),
            of("a", Operator::NotIn, &["1"]),
            of("a", Operator::NotLike, &["1"]),
            of("a.b", Operator::Eq, &["1"]),
            of("aa", Operator::Eq, &["1"]),
            Condition::Any(vec![]),
            Condition::Any(vec![is("a"), is("b")]),
            Condition::Any(vec![is("a"), Condition::All(vec![is("a"), is("b")])]),
            Condition::Any(vec![is("b"), is("c")]),
        ];
        let mut reversed = ordered.clone();
        reversed.reverse();
        assert_eq!(Condition::canonical(reversed), ordered);

        let within = Condition::Any(vec![Condition::All(vec![is("a"), is("b")]), is("z")]);
        let sorted = Condition::Any(vec![is("z"), Condition::All(vec![is("a"), is("b")])]);
        assert_eq!(Condition::canonical(vec![within]), [sorted], "in a tree comparisons come first too");
    }

    fn tree() -> impl Strategy<Value = Condition> {
        prop::sample::select(&["a", "b", "c", "d"][..]).prop_map(is).prop_recursive(4, 24, 4, |inner| {
            let parts = prop::collection::vec(inner, 0..4);
            prop_oneof![parts.clone().prop_map(Condition::All), parts.prop_map(Condition::Any)]
        })
    }

    proptest! {
        #[test]
        fn the_one_form_is_met_by_the_same_rows(
            parts in prop::collection::vec(tree(), 0..4),
            known in prop::collection::vec(prop::option::of(any::<bool>()), 4),
        ) {
            let meets = |one: &Comparison| known[usize::from(one.column.as_bytes()[0] - b'a')];
            let canonical = Condition::canonical(parts.clone());
            prop_assert_eq!(&Condition::canonical(canonical.clone()), &canonical);
            let before = Condition::All(parts).judged(&meets);
            let after = Condition::All(canonical).judged(&meets);
            prop_assert_eq!(before, after);
        }
    }
}
