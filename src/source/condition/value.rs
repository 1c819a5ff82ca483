//! How a request writes a comparison: `eq.7`, `not.in.(7,8)`.

use std::cmp::Ordering;

use super::{Comparison, Condition, Filter, Operand, Operator, invalid};
use crate::error::Result;

const MAX_LIST: usize = 1000;
/// The longest pattern, in bytes. Its cost is its length times the text's, and no database checks
/// its time limit inside.
const MAX_PATTERN: usize = 128;

/// A value as a request writes it.
pub(super) enum Written<'t> {
    /// As it stands there.
    Text(&'t str),
    /// The values of a list.
    List(Vec<String>),
}

/// Reads a parameter's value: an operator, and what to compare with.
pub(super) fn condition(filter: &Filter, value: &str) -> Result<Condition> {
    let (is_negated, value) = value.strip_prefix("not.").map_or((false, value), |value| (true, value));
    let (operator, operand) = value.split_once('.').ok_or_else(|| unknown_operator(filter))?;
    let written = if operator == "in" {
        let inner = operand.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
        let (values, _) = inner.and_then(|inner| list(inner, None)).ok_or_else(|| no_list(filter))?;
        Written::List(values)
    } else {
        Written::Text(operand)
    };
    made(filter, is_negated, operator, written)
}

/// The condition of an operator, as a request writes it.
pub(super) fn made(filter: &Filter, is_negated: bool, operator: &str, written: Written<'_>) -> Result<Condition> {
    let name = &*filter.column;
    let (operator, values) = match (operator, written) {
        ("in", Written::List(values)) => (Operator::In, values),
        ("in", _) => return Err(no_list(filter)),
        (_, Written::List(_)) => return Err(unknown_operator(filter)),
        ("is", Written::Text("null")) => (Operator::IsNull, vec![]),
        ("is", Written::Text("not_null")) => (Operator::IsNotNull, vec![]),
        ("is", _) => {
            return Err(invalid(format!("the filter `{name}` tests for something unknown"))
                .remedy(format!("write {name}=is.null or {name}=is.not_null")));
        }
        (operator, Written::Text(operand)) => {
            let known = single(operator).ok_or_else(|| unknown_operator(filter))?;
            (known, vec![operand.to_owned()])
        }
    };

    compared(filter, if is_negated { operator.opposite() } else { operator }, values)
}

/// The operators that compare with one value.
fn single(name: &str) -> Option<Operator> {
    Some(match name {
        "eq" => Operator::Eq,
        "neq" => Operator::Neq,
        "gt" => Operator::Gt,
        "gte" => Operator::Gte,
        "lt" => Operator::Lt,
        "lte" => Operator::Lte,
        "like" => Operator::Like,
        "ilike" => Operator::Ilike,
        _ => return None,
    })
}

/// Whether this is the name of an operator.
pub(super) fn is_operator(name: &str) -> bool {
    single(name).is_some() || name == "in" || name == "is"
}

pub(super) fn unknown_operator(filter: &Filter) -> crate::Error {
    let name = &*filter.column;
    let all = "eq, neq, gt, gte, lt, lte, in, is, like, ilike";
    invalid(format!("the filter `{name}` has no operator that is known"))
        .remedy(format!("write {name}=eq.VALUE, with one of {all}; `not.` before it negates"))
}

pub(super) fn no_list(filter: &Filter) -> crate::Error {
    let name = &*filter.column;
    invalid(format!("the filter `{name}` has no right list")).remedy(format!("write {name}=in.(a,b,\"c,d\")"))
}

/// The condition that a filter's column compares with these values, if they are such as it takes.
pub(super) fn compared(filter: &Filter, operator: Operator, values: Vec<String>) -> Result<Condition> {
    let name = &*filter.column;
    if operator.takes_pattern() {
        if values.iter().any(|pattern| pattern.len() > MAX_PATTERN) {
            return Err(invalid(format!("the pattern of the filter `{name}` is longer than {MAX_PATTERN} bytes"))
                .remedy("write a shorter one"));
        }
        values.iter().try_for_each(|value| fits(name, value, Operand::Text))?;
    } else {
        values.iter().try_for_each(|value| fits(name, value, filter.operand))?;
    }

    if values.len() > MAX_LIST {
        return Err(invalid(format!("the filter `{name}` lists more than {MAX_LIST} values")).remedy("ask in parts"));
    }

    // In an empty list there is nothing, NULL neither.
    if operator == Operator::NotIn && values.is_empty() {
        return Ok(Condition::All(vec![]));
    }

    let comparison = Comparison { column: name.to_owned(), operator, values };
    Ok(Condition::Is(within(comparison, filter)))
}

/// The condition for a value beyond the column's range of whole numbers, which cannot be bound as
/// one. All of the column's values are on one side of it.
pub(super) fn within(mut comparison: Comparison, filter: &Filter) -> Comparison {
    let Some(range) = &filter.range else { return comparison };
    let side = |text: &String| match whole(text) {
        Some(number) if number > *range.end() => Ordering::Greater,
        Some(number) if number < *range.start() => Ordering::Less,
        _ => Ordering::Equal,
    };

    if matches!(comparison.operator, Operator::In | Operator::NotIn) {
        comparison.values.retain(|text| side(text) == Ordering::Equal);
        if comparison.operator == Operator::NotIn && comparison.values.is_empty() {
            comparison.operator = Operator::IsNotNull;
        }
        return comparison;
    }

    let side = comparison.values.first().map_or(Ordering::Equal, side);
    let is_so = match (comparison.operator, side) {
        (_, Ordering::Equal) => return comparison,
        (operator, _) if operator.takes_pattern() => return comparison,
        (Operator::Neq, _) => true,
        (Operator::Gt | Operator::Gte, side) => side == Ordering::Less,
        (Operator::Lt | Operator::Lte, side) => side == Ordering::Greater,
        _ => false,
    };

    // Every value or none: NULL is neither greater nor less, and an empty list holds nothing.
    comparison.operator = if is_so { Operator::IsNotNull } else { Operator::In };
    comparison.values.clear();
    comparison
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

/// Reads the values of a list, `a,b,"c,d"`, up to this sign, or to the end of the text. Within
/// quotes a backslash makes the next character literal. Returns what is left behind the sign;
/// `None` if it is no list.
pub(super) fn list(text: &str, ends_at: Option<char>) -> Option<(Vec<String>, &str)> {
    let mut values = vec![];
    let mut rest = text;
    let behind = |rest: &str| match ends_at {
        Some(sign) => rest.strip_prefix(sign).map(str::len),
        None => rest.is_empty().then_some(0),
    };
    let tail = |left: usize| &text[text.len() - left..];
    if let Some(left) = behind(rest) {
        return Some((values, tail(left)));
    }

    loop {
        let value;
        (value, rest) = match rest.strip_prefix('"') {
            Some(inner) => quoted(inner)?,
            None => {
                let end = rest.find(|c| c == ',' || Some(c) == ends_at).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        values.push(value);
        if let Some(left) = behind(rest) {
            return Some((values, tail(left)));
        }
        rest = rest.strip_prefix(',')?;
    }
}

/// Reads a text up to its closing quotation mark. Returns what is left behind it.
pub(super) fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Kind;

    fn of(filter: &Filter, value: &str) -> Result<Comparison> {
        condition(filter, value).map(|condition| match condition {
            Condition::Is(comparison) => comparison,
            other => panic!("{other:?} is no comparison"),
        })
    }

    fn read(value: &str) -> Result<Comparison> {
        of(&Filter::new("c", Operand::Text), value)
    }

    #[test]
    fn filters_are_read_as_postgrest_writes_them() {
        assert_eq!(read("eq.a.b").unwrap().values, ["a.b"]);
        assert_eq!(read("in.(a,\"b,\\\"c\",)").unwrap().values, ["a", "b,\"c", ""]);
        assert_eq!(read("in.()").unwrap().values, [""; 0]);
        assert_eq!(read("is.null").unwrap().operator, Operator::IsNull);
        assert_eq!(read("not.is.null").unwrap().operator, Operator::IsNotNull);
        assert_eq!(read("not.ilike.a*").unwrap().operator, Operator::NotIlike);
        assert_eq!(read("eq.not.a").unwrap().values, ["not.a"]);
        assert_eq!(condition(&Filter::new("c", Operand::Text), "not.in.()").unwrap(), Condition::All(vec![]));
        for wrong in [
            "",
            "a",
            "eq",
            "is.true",
            "in.a",
            "in.(\"a",
            "in.(\"a\"b)",
            "between.1.2",
            "eq.\0",
            "like.\0",
            "not.eq",
            "not.not.eq.1",
            "not",
        ] {
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
                    let read = of(&filter, &format!("{operator}.{value}")).unwrap();
                    assert_eq!((read.operator, read.values), *expected, "{operator}.{value}");
                }
            }
        }

        assert_eq!(of(&filter, "in.(128,127,-129)").unwrap().values, ["127"]);
        assert_eq!(of(&filter, "not.in.(128,127,-129)").unwrap().values, ["127"]);
        assert_eq!(of(&filter, "gt.127").unwrap().operator, Operator::Gt);
        for is_all in ["not.eq.128", "not.in.(128,-129)", "not.lt.-129", "not.gt.128"] {
            let read = of(&filter, is_all).unwrap();
            assert_eq!((read.operator, read.values), all, "{is_all}: but for NULL");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_list_holds_any_values(values in prop::collection::vec(".*", 1..5)) {
            let quoted = |value: &String| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let text = format!("({})", values.iter().map(quoted).collect::<Vec<_>>().join(","));
            prop_assert_eq!(list(&text[1..text.len() - 1], None).unwrap(), (values.clone(), ""));
            prop_assert_eq!(list(&text[1..], Some(')')).unwrap(), (values, ""));
        }
    }
}
