//! Which changes touch a chunk, as far as a source can say: its own key, how its order compares,
//! and which tables it reads.
//!
//! All answers are safe: what cannot be known here for certain is said to touch.

use std::{cmp::Ordering, time::Duration};

use super::{Condition, Operand, Operator};
use crate::{cursor::Cursor, row::Value};

/// What a source over a table says of changes.
#[derive(Clone, Debug)]
pub struct TouchRules {
    /// Identifies the database: the same for all its sources.
    pub(crate) database: Vec<u8>,
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
    /// The related tables whose changes are followed.
    pub(crate) related: Vec<RelatedRule>,
    /// The names of other tables that shape its rows: any change there touches every chunk.
    pub(crate) others: Vec<String>,
    /// Whether it may read any table of the database: it is a view.
    pub(crate) reads_any: bool,
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

/// How the texts of a column compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    /// Byte by byte.
    Bytes,
    /// As dates and times.
    Moments,
    /// Only the database knows.
    Unknown,
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

/// A UUID as 36 characters in lower case; `None` if the text is none.
fn uuid(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('{').trim_end_matches('}');
    let digits: String = text.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    let is_uuid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_uuid.then(|| {
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        parts.join("-")
    })
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

    /// Whether a row with this value in the condition's column meets it; `None` if only the
    /// database knows.
    pub(crate) fn meets(&self, condition: &Condition, value: Value<'_>) -> Option<bool> {
        let is_null = value == Value::Null;
        match condition.operator {
            Operator::IsNull => return Some(is_null),
            Operator::IsNotNull => return Some(!is_null),
            _ if is_null => return Some(false),
            _ => {}
        }

        let rule = self.filters.iter().find(|rule| rule.column == condition.column)?;
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
            Operator::In => {
                let tests: Vec<Option<bool>> = condition.values.iter().map(is_equal).collect();
                if tests.contains(&Some(true)) {
                    return Some(true);
                }
                tests.iter().all(Option::is_some).then_some(false)
            }
            Operator::Like | Operator::IsNull | Operator::IsNotNull => None,
        }
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
            (Operand::Integer | Operand::Number, _) => compare_numbers(value, Value::Decimal(text.as_bytes())),
            (Operand::Text, Value::Text(own)) if self.texts == Texts::Bytes && !self.has_exact_texts => {
                // A UUID is one value in every spelling.
                Some(uuid(std::str::from_utf8(own).ok()?)?.cmp(&uuid(text)?))
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

/// How two values other than NULL compare; `None` if only the database knows. Numbers come before
/// texts, and texts before bytes, in the one database that keeps them in one column (SQLite).
fn compare(texts: Texts, one: Value<'_>, other: Value<'_>) -> Option<Ordering> {
    match (class(one)?, class(other)?) {
        (0, 0) => compare_numbers(one, other),
        (1, 1) => match (one, other) {
            (Value::Text(one), Value::Text(other)) if one == other => Some(Ordering::Equal),
            (Value::Text(one), Value::Text(other)) => match texts {
                Texts::Bytes => Some(one.cmp(other)),
                Texts::Moments => compare_moments(one, other),
                Texts::Unknown => None,
            },
            _ => None,
        },
        (2, 2) => match (one, other) {
            (Value::Blob(one), Value::Blob(other)) => Some(one.cmp(other)),
            _ => None,
        },
        (one, other) => Some(one.cmp(&other)),
    }
}

fn class(value: Value<'_>) -> Option<u8> {
    match value {
        Value::Bool(_) | Value::Integer(_) | Value::Real(_) | Value::Decimal(_) => Some(0),
        Value::Text(_) => Some(1),
        Value::Blob(_) => Some(2),
        _ => None,
    }
}

fn compare_numbers(one: Value<'_>, other: Value<'_>) -> Option<Ordering> {
    if let (Value::Real(one), Value::Real(other)) = (one, other) {
        return one.partial_cmp(&other);
    }
    Some(compare_decimals(&decimal(one)?, &decimal(other)?))
}

/// A number as its sign, whole digits and decimals, without zeros that mean nothing.
type Digits = (bool, String, String);

/// `None` for a number that is not plain decimal digits: NaN, an exponent.
fn decimal(value: Value<'_>) -> Option<Digits> {
    let text = match value {
        Value::Bool(truth) => u8::from(truth).to_string(),
        Value::Integer(number) => number.to_string(),
        // A whole number below 2^53 is exact.
        Value::Real(number) if number.trunc() == number && number.abs() < 9_007_199_254_740_992.0 => {
            (number as i64).to_string()
        }
        Value::Decimal(digits) => std::str::from_utf8(digits).ok()?.to_owned(),
        _ => return None,
    };

    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_plain || whole.is_empty() && part.is_empty() {
        return None;
    }

    let whole = whole.trim_start_matches('0').to_owned();
    let part = part.trim_end_matches('0').to_owned();
    let is_zero = whole.is_empty() && part.is_empty();
    Some((negative && !is_zero, whole, part))
}

fn compare_decimals(one: &Digits, other: &Digits) -> Ordering {
    let size = |digits: &Digits| (digits.1.len(), digits.1.clone(), digits.2.clone());
    match (one.0, other.0) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => size(one).cmp(&size(other)),
        (true, true) => size(other).cmp(&size(one)),
    }
}

/// Compares `2026-11-30`, or `2026-11-30 12:00:00.5` with any letter between date and time, and the
/// same text behind the seconds of both.
fn compare_moments(one: &[u8], other: &[u8]) -> Option<Ordering> {
    let (one, other) = (moment(one)?, moment(other)?);
    let is_alike = one.behind == other.behind && one.time.len() == other.time.len();
    is_alike.then(|| (one.date, one.time, one.fraction).cmp(&(other.date, other.time, other.fraction)))
}

/// A moment as it is written: date, time up to the seconds, the digits of the fraction, and what
/// follows.
struct Moment<'a> {
    date: &'a [u8],
    time: &'a [u8],
    fraction: &'a [u8],
    behind: &'a [u8],
}

fn moment(text: &[u8]) -> Option<Moment<'_>> {
    const DATE: &[u8] = b"0000-00-00";
    const TIME: &[u8] = b"0000-00-00?00:00:00";
    let fits = |form: &[u8]| {
        text.len() >= form.len()
            && form.iter().zip(text).all(|(form, byte)| match form {
                b'0' => byte.is_ascii_digit(),
                b'?' => matches!(byte, b' ' | b'T'),
                sign => byte == sign,
            })
    };

    if text.len() == DATE.len() && fits(DATE) {
        return Some(Moment { date: text, time: b"", fraction: b"", behind: b"" });
    }
    if !fits(TIME) {
        return None;
    }

    // Between the two stands a letter or a space.
    let (date, time) = (&text[..DATE.len()], &text[DATE.len() + 1..TIME.len()]);
    let rest = &text[TIME.len()..];
    let (fraction, behind) = match rest.strip_prefix(b".") {
        Some(rest) => rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()),
        None => (&b""[..], rest),
    };

    // Years before Christ count backwards.
    let is_backward = behind.windows(2).any(|pair| pair == b"BC");
    let zeros = fraction.iter().rev().take_while(|byte| **byte == b'0').count();
    (!is_backward).then(|| Moment { date, time, fraction: &fraction[..fraction.len() - zeros], behind })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            database: vec![],
            settle: Duration::ZERO,
            table: vec!["item".into(), "main.item".into()],
            key: vec![],
            order: vec![order(Texts::Moments, true), order(Texts::Bytes, false)],
            filters: vec![
                filter("number", Operand::Integer, Texts::Unknown, false),
                filter("text", Operand::Text, Texts::Unknown, true),
                filter("folded", Operand::Text, Texts::Unknown, false),
                filter("uuid", Operand::Text, Texts::Bytes, false),
            ],
            related: vec![],
            others: vec!["other".into()],
            reads_any: false,
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
    fn moments_compare_by_their_fractions_and_only_in_one_zone() {
        let compare = |one: &str, other: &str| compare_moments(one.as_bytes(), other.as_bytes());
        assert_eq!(compare("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"), Some(Ordering::Less));
        assert_eq!(compare("2026-01-01 00:00:00.50", "2026-01-01 00:00:00.5"), Some(Ordering::Equal));
        assert_eq!(compare("2026-01-01 00:00:00.45", "2026-01-01 00:00:00.5"), Some(Ordering::Less));
        assert_eq!(compare("2026-01-01 00:00:00+01", "2026-01-01 00:00:00+00"), None);
        assert_eq!(compare("2026-01-01 07:00:00", "2026-01-01T06:00:00"), Some(Ordering::Greater));
        assert_eq!(compare("0044-03-15 00:00:00 BC", "0100-01-01 00:00:00 BC"), None);
        assert_eq!(compare("2026-01-01", "2026-01-01 00:00:00"), None);
        assert_eq!(compare("infinity", "2026-01-01"), None);
    }

    #[test]
    fn a_condition_is_met_or_not_or_nobody_here_knows() {
        let rules = rules();
        let meets = |column: &str, operator, values: &[&str], value| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            rules.meets(&Condition { column: column.into(), operator, values }, value)
        };
        assert_eq!(meets("number", Operator::Eq, &["007"], Value::Integer(7)), Some(true));
        assert_eq!(meets("number", Operator::In, &["1", "2"], Value::Integer(7)), Some(false));
        assert_eq!(meets("number", Operator::Lt, &["-3"], Value::Integer(-4)), Some(true));
        assert_eq!(meets("number", Operator::Neq, &["1"], Value::Null), Some(false));
        assert_eq!(meets("number", Operator::Eq, &["1"], Value::Text(b"1")), None);
        assert_eq!(meets("text", Operator::Eq, &["a"], Value::Text(b"A")), Some(false));
        assert_eq!(meets("text", Operator::Gt, &["a"], Value::Text(b"A")), None);
        assert_eq!(meets("folded", Operator::Eq, &["a"], Value::Text(b"A")), None);
        assert_eq!(meets("folded", Operator::Eq, &["a"], Value::Text(b"a")), Some(true));
        assert_eq!(meets("folded", Operator::IsNull, &[], Value::Text(b"a")), Some(false));
        let uuid = Value::Text(b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        let others = ["B0EEBC999C0B4EF8BB6D6BB9BD380A11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"];
        assert_eq!(meets("uuid", Operator::Lt, &others[..1], uuid), Some(true));
        assert_eq!(meets("uuid", Operator::Eq, &others[1..], uuid), Some(true));
        assert_eq!(meets("uuid", Operator::Eq, &["none"], uuid), None);
        assert_eq!(meets("text", Operator::Like, &["a*"], Value::Text(b"b")), None);
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

    proptest! {
        #[test]
        fn numbers_compare_as_numbers_in_every_form(one in -1_000_000i64..1_000_000, other in -1_000_000i64..1_000_000) {
            let expected = one.cmp(&other);
            let text = format!("{other}.000");
            prop_assert_eq!(compare_numbers(Value::Integer(one), Value::Decimal(text.as_bytes())), Some(expected));
            prop_assert_eq!(compare_numbers(Value::Real(one as f64), Value::Integer(other)), Some(expected));
            let (small, large) = (format!("{}", one as f64 / 1000.0), format!("{}", other as f64 / 1000.0));
            let decimals = compare_numbers(Value::Decimal(small.as_bytes()), Value::Decimal(large.as_bytes()));
            prop_assert_eq!(decimals, Some(expected));
        }
    }
}
