//! Conditions that rows must meet, and how a request writes them: as PostgREST does.

use std::{cmp::Ordering, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use super::PARAMETERS;
use crate::{
    error::{Error, Kind, Result},
    suggest,
};

const MAX_LIST: usize = 1000;
/// The longest pattern, in bytes. Its cost is its length times the text's, and no database checks
/// its time limit inside.
const MAX_PATTERN: usize = 128;

/// A column that a request may filter by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Filter {
    /// The column's name, in the database and in the request.
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

    /// The filter of this name. `beside` are the other parameters that may stand there.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if there is none, with what there is.
    pub(crate) fn named<'f>(
        name: &str,
        filters: impl Iterator<Item = &'f Filter> + Clone,
        beside: &[&str],
    ) -> Result<&'f Filter> {
        filters.clone().find(|filter| filter.column == name).ok_or_else(|| {
            let mut allowed = beside.to_vec();
            allowed.extend(filters.map(|filter| &*filter.column));
            invalid(format!("there is no parameter `{name}`")).remedy(suggest::remedy("parameters", name, &allowed))
        })
    }

    /// The condition that a request writes as this value of the parameter: `eq.7`.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is none.
    pub(crate) fn condition(&self, value: &str) -> Result<Condition> {
        condition(self, value)
    }

    /// The condition that the column is equal to one of these values, which are of its type.
    pub(crate) fn among(&self, values: Vec<String>) -> Condition {
        let operator = if values.len() == 1 { Operator::Eq } else { Operator::In };
        within(Condition { column: self.column.clone(), operator, values }, self)
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

/// What a row must meet: `column operator values`. Values are always bound, never spliced into SQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Condition {
    /// The column, one of [`Source::filters`](super::Source::filters).
    pub column: String,
    /// How to compare.
    pub operator: Operator,
    /// The values to compare with: one, or any number for [`Operator::In`], or none for the NULL
    /// tests.
    pub values: Vec<String>,
}

impl Condition {
    /// The conditions that a request writes as these parameters: `("organisation_id", "eq.1")`.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a parameter that is no filter, and for a value that it does not take.
    pub(crate) fn all(parameters: &[(String, String)], filters: &[Filter]) -> Result<Vec<Condition>> {
        let read = |(name, value): &(String, String)| Filter::named(name, filters.iter(), &[])?.condition(value);
        parameters.iter().map(read).collect()
    }
}

/// The operators of filters, as PostgREST spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// `like`, where `*` stands for `%`
    Like,
}

/// Names of parameters that hold a tree of conditions.
pub(crate) const TREES: [&str; 4] = ["or", "and", "not.or", "not.and"];

/// Whether every list has a parameter of this name, so that no filter can have it.
pub(crate) fn is_parameter(name: &str) -> bool {
    PARAMETERS.contains(&name) || TREES.contains(&name)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

fn condition(filter: &Filter, value: &str) -> Result<Condition> {
    let name = &*filter.column;
    let malformed = || {
        invalid(format!("the filter `{name}` has no operator that is known"))
            .remedy(format!("write {name}=eq.VALUE, with one of eq, neq, gt, gte, lt, lte, in, is, like"))
    };

    let (operator, operand) = value.split_once('.').ok_or_else(malformed)?;
    let (operator, values) = match operator {
        "eq" => (Operator::Eq, vec![operand.to_owned()]),
        "neq" => (Operator::Neq, vec![operand.to_owned()]),
        "gt" => (Operator::Gt, vec![operand.to_owned()]),
        "gte" => (Operator::Gte, vec![operand.to_owned()]),
        "lt" => (Operator::Lt, vec![operand.to_owned()]),
        "lte" => (Operator::Lte, vec![operand.to_owned()]),
        "like" => (Operator::Like, vec![operand.to_owned()]),
        "in" => (Operator::In, list(name, operand)?),
        "is" => match operand {
            "null" => (Operator::IsNull, vec![]),
            "not_null" => (Operator::IsNotNull, vec![]),
            _ => {
                return Err(invalid(format!("the filter `{name}` tests for something unknown"))
                    .remedy(format!("write {name}=is.null or {name}=is.not_null")));
            }
        },
        _ => return Err(malformed()),
    };

    if operator == Operator::Like {
        if operand.len() > MAX_PATTERN {
            return Err(invalid(format!("the pattern of the filter `{name}` is longer than {MAX_PATTERN} bytes"))
                .remedy("write a shorter one"));
        }
    } else {
        values.iter().try_for_each(|value| fits(name, value, filter.operand))?;
    }

    Ok(within(Condition { column: name.to_owned(), operator, values }, filter))
}

/// The condition for a value beyond the column's range of whole numbers, which cannot be bound as
/// one. All of the column's values are on one side of it.
fn within(mut condition: Condition, filter: &Filter) -> Condition {
    let Some(range) = &filter.range else { return condition };
    let side = |text: &String| match whole(text) {
        Some(number) if number > *range.end() => Ordering::Greater,
        Some(number) if number < *range.start() => Ordering::Less,
        _ => Ordering::Equal,
    };

    if condition.operator == Operator::In {
        condition.values.retain(|text| side(text) == Ordering::Equal);
        return condition;
    }

    let side = condition.values.first().map_or(Ordering::Equal, side);
    let is_so = match (condition.operator, side) {
        (_, Ordering::Equal) | (Operator::Like, _) => return condition,
        (Operator::Neq, _) => true,
        (Operator::Gt | Operator::Gte, side) => side == Ordering::Less,
        (Operator::Lt | Operator::Lte, side) => side == Ordering::Greater,
        _ => false,
    };

    // Every value or none: NULL is neither greater nor less, and an empty list holds nothing.
    condition.operator = if is_so { Operator::IsNotNull } else { Operator::In };
    condition.values.clear();
    condition
}

/// A whole number. One beyond even this type becomes the largest or smallest.
fn whole(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let largest = if text.starts_with('-') { i128::MIN } else { i128::MAX };
    Some(text.parse().unwrap_or(largest))
}

/// Refuses a value that cannot be compared with the column.
fn fits(name: &str, value: &str, operand: Operand) -> Result<()> {
    let number = || value.parse::<f64>().is_ok_and(f64::is_finite);
    let (fits, wanted) = match operand {
        Operand::Integer => (value.parse::<i64>().is_ok() || number(), "a whole number"),
        Operand::Number => (number(), "a number"),
        Operand::Text => (!value.contains('\0'), "text without NUL"),
    };
    if fits {
        Ok(())
    } else {
        Err(invalid(format!("the filter `{name}` is compared with something that is not {wanted}"))
            .remedy(format!("column `{name}` takes {wanted}")))
    }
}

/// Reads `(a,b,"c,d")`. Within quotes a backslash makes the next character literal.
fn list(name: &str, text: &str) -> Result<Vec<String>> {
    let malformed =
        || invalid(format!("the filter `{name}` has no right list")).remedy(format!("write {name}=in.(a,b,\"c,d\")"));
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).ok_or_else(malformed)?;
    if inner.is_empty() {
        return Ok(vec![]);
    }

    let mut values = vec![];
    let mut chars = inner.chars().peekable();
    loop {
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next().ok_or_else(malformed)? {
                    '"' => break,
                    '\\' => value.push(chars.next().ok_or_else(malformed)?),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                value.push(c);
            }
        }
        values.push(value);
        match chars.next() {
            None => break,
            Some(',') => {}
            Some(_) => return Err(malformed()),
        }
    }

    match values.len() {
        0..=MAX_LIST => Ok(values),
        _ => Err(invalid(format!("the filter `{name}` lists more than {MAX_LIST} values")).remedy("ask in parts")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> Result<Condition> {
        Filter::new("c", Operand::Text).condition(value)
    }

    #[test]
    fn filters_are_read_as_postgrest_writes_them() {
        assert_eq!(read("eq.a.b").unwrap().values, ["a.b"]);
        assert_eq!(read("in.(a,\"b,\\\"c\",)").unwrap().values, ["a", "b,\"c", ""]);
        assert_eq!(read("in.()").unwrap().values, [""; 0]);
        assert_eq!(read("is.null").unwrap().operator, Operator::IsNull);
        for wrong in ["", "a", "eq", "is.true", "in.a", "in.(\"a", "in.(\"a\"b)", "between.1.2", "eq.\0"] {
            let error = read(wrong).unwrap_err();
            assert!(error.kind() == Kind::Invalid && error.advice().is_some(), "{wrong}");
        }
    }

    #[test]
    fn a_number_column_is_not_compared_with_text() {
        let filter = Filter::new("n", Operand::Integer);
        for right in ["eq.1", "gt.-9223372036854775808", "lt.1.5", "in.(1,2)", "like.1*"] {
            assert!(filter.condition(right).is_ok(), "{right}");
        }
        for wrong in ["eq.x", "eq.", "gt.1;", "in.(1,x)", "eq.NaN", "eq.0x10"] {
            assert!(filter.condition(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_beyond_its_columns_range_is_beyond_all_rows() {
        let filter = Filter { range: Some(-128..=127), ..Filter::new("n", Operand::Integer) };
        let all = (Operator::IsNotNull, vec![]);
        let none = (Operator::In, vec![]);
        let huge = "9".repeat(60);
        for (over, under) in [("128", "-129"), ("+128", "-1000"), (&*huge, &*format!("-{huge}"))] {
            for (operator, of_over, of_under) in [
                ("eq", &none, &none),
                ("neq", &all, &all),
                ("gt", &none, &all),
                ("gte", &none, &all),
                ("lt", &all, &none),
                ("lte", &all, &none),
            ] {
                for (value, expected) in [(over, of_over), (under, of_under)] {
                    let read = filter.condition(&format!("{operator}.{value}")).unwrap();
                    assert_eq!((read.operator, read.values), *expected, "{operator}.{value}");
                }
            }
        }

        assert_eq!(filter.condition("in.(128,127,-129)").unwrap().values, ["127"]);
        assert_eq!(filter.condition("gt.127").unwrap().operator, Operator::Gt);
    }

    proptest! {
        #[test]
        fn a_quoted_list_holds_any_values(values in prop::collection::vec(".*", 1..5)) {
            let quoted = |value: &String| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let text = format!("({})", values.iter().map(quoted).collect::<Vec<_>>().join(","));
            prop_assert_eq!(list("c", &text).unwrap(), values);
        }
    }
}
