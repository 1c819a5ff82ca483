//! Which changes touch a chunk, as far as a source can say: its own key, how its order compares,
//! and which tables it reads.
//!
//! All answers are safe: what cannot be known here for certain is said to touch.

mod compare;

use std::{cmp::Ordering, sync::Arc, time::Duration};

pub(crate) use self::compare::Texts;
use self::compare::{compare, compare_numbers, uuid};
use super::{Comparison, Operand, Operator};
use crate::{cursor::Cursor, row::Value};

/// How many digits a number may have that every database compares without rounding it, unless it is
/// a whole one of 64 bits: as a double or as a decimal with as many places.
const MOST_DIGITS: usize = 15;

/// What a source over a table says of changes.
#[derive(Clone, Debug)]
pub struct TouchRules {
    /// Identifies the database: the same for all its sources.
    pub(crate) database: Arc<[u8]>,
    /// After this long it shows every change that was told; zero: at once.
    pub(crate) settle: Duration,
    /// The names of its own table.
    pub(crate) table: Vec<String>,
    /// The columns that identify a row, in the order of the table's key.
    pub(crate) key: Vec<KeyRule>,
    /// How rows are ordered.
    pub(crate) order: Vec<OrderRule>,
    /// The columns that conditions are on.
    pub(crate) filters: Vec<FilterRule>,
    /// The columns of related rows that conditions are on.
    pub(crate) pointed: Vec<PointedRule>,
    /// The related tables whose changes are followed.
    pub(crate) related: Vec<RelatedRule>,
    /// The names of other tables that shape its rows: any change there touches every chunk.
    pub(crate) others: Vec<String>,
    /// Whether it may read any table of the database: it is a view.
    pub(crate) reads_any: bool,
    /// Where a changed row belongs is asked when a chunk is needed, and not when the change is told:
    /// only the source itself finds rows by their keys.
    pub(crate) asks_later: bool,
}

/// A relation. Its index among the rules is part of the hashes of its keys.
#[derive(Clone, Debug)]
pub(crate) struct RelatedRule {
    /// The related table.
    pub(crate) table: RelatedTable,
    /// How a row that points to the owner is found: a child, or a row of the join table. `None` if
    /// the owner points to the related row.
    pub(crate) pointing: Option<PointingRule>,
}

/// A table that a relation reads.
#[derive(Clone, Debug)]
pub(crate) struct RelatedTable {
    pub(crate) names: Vec<String>,
    /// The name by which a specification finds it.
    pub(crate) name: String,
    /// The columns of its key.
    pub(crate) key: Vec<(String, KeyKind)>,
}

/// A column that points to the owner of related rows.
#[derive(Clone, Debug)]
pub(crate) struct PointingRule {
    /// The join table, if there is one; else it is a column of the related table.
    pub(crate) join: Option<RelatedTable>,
    pub(crate) column: String,
    pub(crate) kind: KeyKind,
}

impl RelatedRule {
    /// The table with the column that points to the owner.
    pub(crate) fn pointing_table(&self) -> Option<(&RelatedTable, &PointingRule)> {
        let pointing = self.pointing.as_ref()?;
        Some((pointing.join.as_ref().unwrap_or(&self.table), pointing))
    }
}

impl RelatedTable {
    /// How told texts of its key become values.
    pub(crate) fn kinds(&self) -> Vec<KeyKind> {
        self.key.iter().map(|(_, kind)| *kind).collect()
    }

    /// Whether a name is one of its own.
    pub(crate) fn is(&self, table: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(table))
    }
}

/// A column of the key.
#[derive(Clone, Debug)]
pub(crate) struct KeyRule {
    pub(crate) column: String,
    /// Its place in the order, of which the key is a part.
    pub(crate) at: usize,
    pub(crate) kind: KeyKind,
}

/// How a told text of a key becomes the value that the database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// By its number.
    Integer,
    /// As it is, since two different texts are different keys.
    Text,
    /// By its digits, in lower case and with hyphens.
    Uuid,
    /// Only the database knows.
    Other,
}

/// A column of the order.
#[derive(Clone, Debug)]
pub(crate) struct OrderRule {
    pub(crate) column: String,
    pub(crate) texts: Texts,
    pub(crate) descending: bool,
    pub(crate) null_is_greatest: bool,
}

/// A column that conditions are on.
#[derive(Clone, Debug)]
pub(crate) struct FilterRule {
    pub(crate) column: String,
    pub(crate) operand: Operand,
    pub(crate) texts: Texts,
    /// Whether two texts are equal only if their bytes are.
    pub(crate) has_exact_texts: bool,
}

/// A column of a related row that conditions are on. A change of any row of its table may move rows
/// into and out of the lists with such a condition.
#[derive(Clone, Debug)]
pub(crate) struct PointedRule {
    pub(crate) column: String,
    /// The names of the related table.
    pub(crate) names: Vec<String>,
    /// How its values are judged that a change carries; `None` if only the database can say what a
    /// row that points there has from them.
    pub(crate) told: Option<ToldRule>,
}

/// How told values of a column of a related row are judged.
#[derive(Clone, Debug)]
pub(crate) struct ToldRule {
    /// Its name in the related table, and that of the table's key, by which it is pointed to.
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) kind: KeyKind,
    pub(crate) filter: FilterRule,
}

impl PointedRule {
    /// Whether it is a column of this table.
    pub(crate) fn is_of(&self, table: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(table))
    }

    /// Whether a row meets the comparison that points to one with this value; `None` if only the
    /// database knows.
    pub(crate) fn meets(&self, condition: &Comparison, value: Option<&Told>) -> Option<bool> {
        let value = value.map_or(Value::Null, Told::value);
        meets(condition, value, || Some(&self.told.as_ref()?.filter))
    }
}

impl KeyKind {
    /// Whether a told text can be a value of such a column.
    pub(crate) fn may_be(self, told: &str) -> bool {
        match self {
            KeyKind::Integer => told.trim().parse::<i128>().is_ok(),
            KeyKind::Uuid => uuid(told).is_some(),
            KeyKind::Text | KeyKind::Other => true,
        }
    }

    /// The value that a told text stands for; `None` if only the database knows.
    pub(crate) fn value(self, told: &str) -> Option<Told> {
        match self {
            KeyKind::Integer => told.trim().parse().ok().map(Told::Integer),
            KeyKind::Text => Some(Told::Text(told.to_owned())),
            KeyKind::Uuid => uuid(told).map(Told::Text),
            KeyKind::Other => None,
        }
    }
}

/// The values that a told key stands for; `None` if only the database knows.
pub(crate) fn told_key(kinds: &[KeyKind], key: &[String]) -> Option<Cursor> {
    if key.len() != kinds.len() || key.is_empty() {
        return None;
    }
    let values = kinds.iter().zip(key).map(|(kind, text)| kind.value(text));
    let values = values.collect::<Option<Vec<_>>>()?;
    let values: Vec<Value<'_>> = values.iter().map(|value| value.value()).collect();
    Cursor::after(&values).ok()
}

/// A value that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Integer(i64),
    Text(String),
}

impl Told {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Told::Integer(number) => Value::Integer(*number),
            Told::Text(text) => Value::Text(text.as_bytes()),
        }
    }
}

impl TouchRules {
    /// How two places in the order compare; `None` if only the database knows.
    pub(crate) fn compare<'v>(
        &self,
        one: impl Iterator<Item = Value<'v>>,
        other: impl Iterator<Item = Value<'v>>,
    ) -> Option<Ordering> {
        let mut values = one.zip(other);
        for rule in &self.order {
            let (one, other) = values.next()?;
            match rule.compare(one, other)? {
                Ordering::Equal => {}
                unequal => return Some(unequal),
            }
        }
        Some(Ordering::Equal)
    }

    /// The key of the row at a place; `None` if it is no place of a row.
    pub(crate) fn key_at(&self, place: &Cursor) -> Option<Cursor> {
        let values: Vec<Value<'_>> = place.values().collect();
        let key = self.key.iter().map(|rule| values.get(rule.at).copied());
        Cursor::after(&key.collect::<Option<Vec<_>>>()?).ok()
    }

    /// Whether a row with this value in the comparison's column meets it; `None` if only the
    /// database knows.
    pub(crate) fn meets(&self, condition: &Comparison, value: Value<'_>) -> Option<bool> {
        meets(condition, value, || self.filters.iter().find(|rule| rule.column == condition.column))
    }

    /// Whether a name is one of its own table's.
    pub(crate) fn is_own(&self, table: &str) -> bool {
        self.table.iter().any(|name| name.eq_ignore_ascii_case(table))
    }

    /// Whether any change in this table touches every chunk.
    pub(crate) fn is_unfollowed(&self, table: &str) -> bool {
        let is_named = self.others.iter().any(|name| name.eq_ignore_ascii_case(table));
        is_named || (self.reads_any && !self.is_own(table))
    }
}

/// Whether a row with this value meets a comparison, by the rule of its column; `None` if only the
/// database knows.
fn meets<'r>(condition: &Comparison, value: Value<'_>, rule: impl FnOnce() -> Option<&'r FilterRule>) -> Option<bool> {
    let is_null = value == Value::Null;
    match condition.operator {
        // MySQL finds them in a column that cannot be NULL by both.
        Operator::IsNull | Operator::IsNotNull if is_zero_date(value) => return None,
        Operator::IsNull => return Some(is_null),
        Operator::IsNotNull => return Some(!is_null),
        // In an empty list there is nothing, NULL neither.
        Operator::NotIn if condition.values.is_empty() => return Some(true),
        _ if is_null => return Some(false),
        _ => {}
    }

    let rule = rule()?;
    let compare = |text: &String| rule.compare(value, text);
    let is_equal = |text: &String| rule.equals(value, text);
    let single = condition.values.first();
    match condition.operator {
        Operator::Eq => is_equal(single?),
        Operator::Neq => Some(!is_equal(single?)?),
        Operator::Gt => Some(compare(single?)?.is_gt()),
        Operator::Gte => Some(compare(single?)?.is_ge()),
        Operator::Lt => Some(compare(single?)?.is_lt()),
        Operator::Lte => Some(compare(single?)?.is_le()),
        Operator::In | Operator::NotIn => {
            let tests: Vec<Option<bool>> = condition.values.iter().map(is_equal).collect();
            let is_opposite = condition.operator == Operator::NotIn;
            if tests.contains(&Some(true)) {
                return Some(!is_opposite);
            }
            tests.iter().all(Option::is_some).then_some(is_opposite)
        }
        // Patterns; the NULL tests were answered above.
        _ => None,
    }
}

impl OrderRule {
    fn compare(&self, one: Value<'_>, other: Value<'_>) -> Option<Ordering> {
        let ascending = match (one, other) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) if self.null_is_greatest => Ordering::Greater,
            (Value::Null, _) => Ordering::Less,
            (_, Value::Null) if self.null_is_greatest => Ordering::Less,
            (_, Value::Null) => Ordering::Greater,
            _ => compare(self.texts, one, other)?,
        };
        Some(if self.descending { ascending.reverse() } else { ascending })
    }
}

impl FilterRule {
    /// Compares a row's value with a request's.
    fn compare(&self, value: Value<'_>, text: &str) -> Option<Ordering> {
        match (self.operand, value) {
            // A database rounds the request's number to the column's type, and so may call equal
            // what differs in its digits.
            (_, Value::Real(_)) => None,
            (Operand::Integer | Operand::Number, _) if !is_exact(text) => None,
            (Operand::Integer | Operand::Number, _) => compare_numbers(value, Value::Decimal(text.as_bytes())),
            // How texts are ordered says nothing of a request's, which the database may convert or
            // cut before it compares them.
            (Operand::Text, Value::Text(own)) if self.texts == Texts::Bytes && !self.has_exact_texts => {
                (own == text.as_bytes()).then_some(Ordering::Equal)
            }
            (Operand::Text, Value::Text(_)) => compare(self.texts, value, Value::Text(text.as_bytes())),
            (Operand::Text, _) => None,
        }
    }

    fn equals(&self, value: Value<'_>, text: &str) -> Option<bool> {
        match (self.operand, value) {
            (Operand::Text, Value::Text(own)) if self.has_exact_texts => Some(own == text.as_bytes()),
            _ => Some(self.compare(value, text)?.is_eq()),
        }
    }
}

/// Whether it may be MySQL's date that is none.
fn is_zero_date(value: Value<'_>) -> bool {
    matches!(value, Value::Text(text) if text.starts_with(b"0000-00-00"))
}

/// Whether every database compares with a request's number as it is written.
fn is_exact(number: &str) -> bool {
    let digits = || number.bytes().filter(u8::is_ascii_digit).count();
    number.parse::<i64>().is_ok() || digits() <= MOST_DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> TouchRules {
        let order = |texts, descending| OrderRule { column: "x".into(), texts, descending, null_is_greatest: true };
        let filter = |column: &str, operand, texts, has_exact_texts| FilterRule {
            column: column.into(),
            operand,
            texts,
            has_exact_texts,
        };
        TouchRules {
            database: Arc::from([]),
            settle: Duration::ZERO,
            table: vec!["item".into(), "main.item".into()],
            key: vec![],
            order: vec![order(Texts::Moments, true), order(Texts::Bytes, false)],
            filters: vec![
                filter("number", Operand::Integer, Texts::Unknown, false),
                filter("text", Operand::Text, Texts::Unknown, true),
                filter("folded", Operand::Text, Texts::Unknown, false),
                filter("uuid", Operand::Text, Texts::Uuids, false),
                filter("bytewise", Operand::Text, Texts::Bytes, false),
            ],
            pointed: vec![],
            related: vec![],
            others: vec!["other".into()],
            reads_any: false,
            asks_later: false,
        }
    }

    #[test]
    fn places_compare_column_by_column_and_where_it_is_not_sure_not_at_all() {
        let rules = rules();
        let compare = |one: &[Value<'static>], other: &[Value<'static>]| {
            rules.compare(one.iter().copied(), other.iter().copied())
        };
        let day = |text: &'static str| Value::Text(text.as_bytes());
        assert_eq!(
            compare(&[day("2026-01-02"), Value::Integer(1)], &[day("2026-01-01"), Value::Integer(2)]),
            Some(Ordering::Less)
        );
        assert_eq!(
            compare(&[day("2026-01-01"), Value::Integer(1)], &[day("2026-01-01"), Value::Integer(2)]),
            Some(Ordering::Less)
        );
        assert_eq!(
            compare(&[Value::Null, Value::Integer(1)], &[day("2026-01-01"), Value::Integer(2)]),
            Some(Ordering::Less)
        );
        assert_eq!(compare(&[day("12026-01-01"), Value::Integer(1)], &[day("2026-01-01"), Value::Integer(2)]), None);
        assert_eq!(compare(&[day("2026-01-01")], &[day("2026-01-01")]), None, "a cursor of another order");
    }

    #[test]
    fn a_condition_is_met_or_not_or_nobody_here_knows() {
        let rules = rules();
        let meets = |column: &str, operator, values: &[&str], value| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            rules.meets(&Comparison { column: column.into(), operator, values }, value)
        };
        assert_eq!(meets("number", Operator::Eq, &["007"], Value::Integer(7)), Some(true));
        assert_eq!(meets("number", Operator::In, &["1", "2"], Value::Integer(7)), Some(false));
        assert_eq!(meets("number", Operator::NotIn, &["1", "2"], Value::Integer(7)), Some(true));
        assert_eq!(meets("number", Operator::NotIn, &["1", "7"], Value::Integer(7)), Some(false));
        assert_eq!(meets("number", Operator::NotIn, &["1", "7"], Value::Null), Some(false));
        assert_eq!(meets("folded", Operator::NotIn, &["a", "b"], Value::Text(b"a")), Some(false));
        assert_eq!(meets("folded", Operator::NotIn, &["b"], Value::Text(b"a")), None);
        assert_eq!(meets("number", Operator::Lt, &["-3"], Value::Integer(-4)), Some(true));
        assert_eq!(meets("number", Operator::Neq, &["1"], Value::Null), Some(false));
        assert_eq!(meets("number", Operator::Eq, &["1"], Value::Text(b"1")), None);
        assert_eq!(meets("number", Operator::Eq, &["16777217"], Value::Real(16_777_216.0)), None, "as a FLOAT it may");
        for rounded in ["1.0000000000000000000000000000001", "7.0000000000000001", "-9223372036854775809"] {
            assert_eq!(meets("number", Operator::Eq, &[rounded], Value::Integer(1)), None, "as a double it may");
        }
        assert_eq!(meets("number", Operator::Gt, &["-9223372036854775808"], Value::Integer(1)), Some(true));
        assert_eq!(meets("number", Operator::Lt, &["7.00000000000001"], Value::Integer(7)), Some(true));
        assert_eq!(meets("text", Operator::Eq, &["a"], Value::Text(b"A")), Some(false));
        assert_eq!(meets("text", Operator::Gt, &["a"], Value::Text(b"A")), None);
        assert_eq!(meets("folded", Operator::Eq, &["a"], Value::Text(b"A")), None);
        assert_eq!(meets("folded", Operator::Eq, &["a"], Value::Text(b"a")), Some(true));
        assert_eq!(meets("folded", Operator::IsNull, &[], Value::Text(b"a")), Some(false));
        for operator in [Operator::IsNull, Operator::IsNotNull] {
            assert_eq!(meets("folded", operator, &[], Value::Text(b"0000-00-00 00:00:00")), None);
        }
        let uuid = Value::Text(b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        let others = ["B0EEBC999C0B4EF8BB6D6BB9BD380A11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"];
        assert_eq!(meets("uuid", Operator::Lt, &others[..1], uuid), Some(true));
        assert_eq!(meets("uuid", Operator::Eq, &others[1..], uuid), Some(true));
        assert_eq!(meets("uuid", Operator::Eq, &["none"], uuid), None);
        assert_eq!(meets("bytewise", Operator::Neq, &others[1..], uuid), None, "a text in SQLite");
        assert_eq!(meets("bytewise", Operator::NotIn, &others[1..], uuid), None);
        assert_eq!(meets("bytewise", Operator::Eq, &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], uuid), Some(true));
        for pattern in [Operator::Like, Operator::NotLike, Operator::Ilike, Operator::NotIlike] {
            assert_eq!(meets("text", pattern, &["a*"], Value::Text(b"b")), None);
            assert_eq!(meets("text", pattern, &["a*"], Value::Null), Some(false));
        }
        assert_eq!(meets("none", Operator::Eq, &["a"], Value::Text(b"b")), None);
    }

    #[test]
    fn a_told_key_is_the_value_that_the_database_holds_or_is_not_known() {
        assert_eq!(KeyKind::Integer.value(" 7"), Some(Told::Integer(7)));
        assert_eq!(KeyKind::Integer.value("1.0"), None);
        let hyphened = Some(Told::Text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".into()));
        assert_eq!(KeyKind::Uuid.value("{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"), hyphened);
        assert_eq!(KeyKind::Uuid.value("x"), None);
        assert_eq!(KeyKind::Other.value("x"), None);
    }
}
