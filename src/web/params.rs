//! The query string: `limit`, `after`, `download`, `at_least`, and filters as PostgREST writes them.

use std::{borrow::Cow, cmp::Ordering};

use percent_encoding::percent_decode_str;

use super::download;
use crate::{
    change::Token,
    cursor::Cursor,
    error::{Error, Kind, Result},
    format::LEFT,
    resource::Resource,
    source::{Condition, Filter, Operand, Operator, PARAMETERS},
    suggest,
};

/// The largest number of filters: more than any honest request has.
const MAX_CONDITIONS: usize = 32;
const MAX_LIST: usize = 1000;
/// The longest pattern, in bytes. Its cost is its length times the text's, and no database checks
/// its time limit inside.
const MAX_PATTERN: usize = 128;

/// The contents of a query string.
#[derive(Debug)]
pub(super) struct Params {
    pub(super) after: Cursor,
    pub(super) limit: Option<u64>,
    pub(super) conditions: Vec<Condition>,
    /// The name of the file to save the list as; empty if the server chooses it.
    pub(super) download: Option<String>,
    /// The list must show all changes up to this one.
    pub(super) at_least: Option<Token>,
}

/// Reads a query string for a resource. Anything unknown is an error that names what is allowed.
pub(super) fn parse(query: &str, resource: &Resource) -> Result<Params> {
    let mut params = Params { after: Cursor::start(), limit: None, conditions: vec![], download: None, at_least: None };
    let mut seen = (false, false, false, false);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let value = decode(value)?;
        match &*name {
            "limit" => {
                once(&mut seen.0, "limit")?;
                params.limit = Some(limit(&value)?);
            }
            "after" => {
                once(&mut seen.1, "after")?;
                params.after = cursor(&value, resource)?;
            }
            "download" => {
                once(&mut seen.2, "download")?;
                params.download = Some(download::name(&value)?);
            }
            "at_least" => {
                once(&mut seen.3, "at_least")?;
                params.at_least = Some(value.parse()?);
            }
            _ => params.conditions.push(condition(&name, &value, resource.source().filters())?),
        }
    }

    match params.conditions.len() {
        0..=MAX_CONDITIONS => Ok(params),
        _ => Err(invalid(format!("a request has at most {MAX_CONDITIONS} filters"))),
    }
}

impl Params {
    /// Goes on behind the event with this id. If the id says how many rows of a limit are left, the
    /// limit becomes at most that.
    pub(super) fn resume(&mut self, id: &str, resource: &Resource) -> Result<()> {
        let (place, left) = match id.split_once(LEFT) {
            Some((place, left)) => (place, Some(limit(left)?)),
            None => (id, None),
        };
        self.after = cursor(place, resource)?;
        self.limit = self.limit.map(|limit| limit.min(left.unwrap_or(limit)));
        Ok(())
    }
}

/// The cursor that was handed out as this text.
pub(super) fn cursor(text: &str, resource: &Resource) -> Result<Cursor> {
    let place = resource.seal().unseal(text)?;
    if !resource.source().takes(&place) {
        return Err(invalid("the cursor holds no place of this list")
            .remedy("pass `after` exactly as it was handed out by the same list, or leave it out to start anew"));
    }
    Ok(place)
}

/// Whether a pair of a query string is `after`, with its name encoded in any way.
pub(super) fn is_after(pair: &str) -> bool {
    decode(pair.split('=').next().unwrap_or_default()).is_ok_and(|name| name == "after")
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

/// Decodes form-encoded names and values.
fn decode(text: &str) -> Result<Cow<'_, str>> {
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    if !spaced.contains('%') {
        return Ok(spaced);
    }
    let decoded = percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
    decoded
        .map(Cow::Owned)
        .map_err(|_| invalid("the query string is not UTF-8").remedy("percent-encode its values as UTF-8"))
}

fn once(seen: &mut bool, name: &str) -> Result<()> {
    if std::mem::replace(seen, true) {
        Err(invalid(format!("`{name}` stands more than once")).remedy("give it once"))
    } else {
        Ok(())
    }
}

fn limit(text: &str) -> Result<u64> {
    let number =
        Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    number.ok_or_else(|| invalid("`limit` is not a number of rows").remedy("write for instance limit=100"))
}

fn condition(name: &str, value: &str, filters: &[Filter]) -> Result<Condition> {
    let filter = filters.iter().find(|filter| filter.column == name).ok_or_else(|| {
        let mut allowed = PARAMETERS.to_vec();
        allowed.extend(filters.iter().map(|filter| &*filter.column));
        invalid(format!("there is no parameter `{name}`")).remedy(suggest::remedy("parameters", name, &allowed))
    })?;

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

/// Reads a filter for one column of each kind, for the fuzz target: it must never panic.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_filter(text: &str) {
    for operand in [Operand::Integer, Operand::Number, Operand::Text] {
        let filters = [Filter { column: "c".into(), operand, range: Some(-128..=127) }];
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or(("c", pair));
            if let (Ok(name), Ok(value)) = (decode(name), decode(value)) {
                let _ = condition(&name, &value, &filters);
                let _ = condition("c", &value, &filters);
                let _ = limit(&value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> Result<Condition> {
        condition("c", value, &[Filter { column: "c".into(), operand: Operand::Text, range: None }])
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
        let filters = [Filter { column: "n".into(), operand: Operand::Integer, range: None }];
        for right in ["eq.1", "gt.-9223372036854775808", "lt.1.5", "in.(1,2)", "like.1*"] {
            assert!(condition("n", right, &filters).is_ok(), "{right}");
        }
        for wrong in ["eq.x", "eq.", "gt.1;", "in.(1,x)", "eq.NaN", "eq.0x10"] {
            assert!(condition("n", wrong, &filters).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_beyond_its_columns_range_is_beyond_all_rows() {
        let filters = [Filter { column: "n".into(), operand: Operand::Integer, range: Some(-128..=127) }];
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
                    let read = condition("n", &format!("{operator}.{value}"), &filters).unwrap();
                    assert_eq!((read.operator, read.values), *expected, "{operator}.{value}");
                }
            }
        }

        assert_eq!(condition("n", "in.(128,127,-129)", &filters).unwrap().values, ["127"]);
        assert_eq!(condition("n", "gt.127", &filters).unwrap().operator, Operator::Gt);
    }

    proptest! {
        #[test]
        fn any_filter_is_read_or_refused_without_a_panic(text in ".*|(eq|in|is|like|gt)\\.[(\",)\\\\a.]{0,12}") {
            fuzz_filter(&text);
        }

        #[test]
        fn a_quoted_list_holds_any_values(values in prop::collection::vec(".*", 1..5)) {
            let quoted = |value: &String| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let text = format!("({})", values.iter().map(quoted).collect::<Vec<_>>().join(","));
            prop_assert_eq!(list("c", &text).unwrap(), values);
        }
    }
}
