//! Values on their way to MySQL. They are typed where the type decides how MySQL compares them;
//! others are text that the SQL casts.

use std::sync::Arc;

use mysql_async::{Params, Value as Param};

use crate::{
    error::{Error, Kind, Result},
    row::Value,
    source::{
        Condition, Operand,
        sql::{
            plan::Plan,
            select::{Bind, Statement},
        },
    },
};

/// A single value.
pub(super) fn value(value: Value<'_>) -> Param {
    match value {
        Value::Null | Value::List(_) | Value::Formless(_) | Value::TooLarge => Param::NULL,
        Value::Bool(truth) => Param::Int(truth.into()),
        Value::Integer(n) => Param::Int(n),
        Value::Real(n) => Param::Double(n),
        Value::Decimal(digits) => number(digits),
        Value::Text(bytes) | Value::Json(bytes) | Value::Encoded(bytes, _) | Value::Blob(bytes) => {
            Param::Bytes(bytes.into())
        }
    }
}

/// Digits; bound as a whole number if they are one, since MySQL would compare a text as a double.
fn number(digits: &[u8]) -> Param {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match (text.parse(), text.parse()) {
        (Ok(n), _) => Param::Int(n),
        (_, Ok(n)) => Param::UInt(n),
        _ => Param::Bytes(digits.into()),
    }
}

/// The parameters of a statement for the rows behind a key.
pub(super) fn of(statement: &Statement<'_>, after: &[Value<'_>], limit: usize) -> Params {
    let param = |bind: &Bind<'_>| match bind {
        Bind::Key(index) => value(after[*index]),
        Bind::Value(text, Operand::Text) => Param::Bytes((*text).into()),
        Bind::Value(text, _) => number(text.as_bytes()),
        // Never used: in MySQL's dialect each value of a list is a parameter of its own.
        Bind::List(..) => Param::NULL,
        // `\` has no special meaning in a request's pattern.
        Bind::Pattern(pattern) => Param::Bytes(pattern.replace('\\', "\\\\").into()),
        Bind::Limit => Param::Int(limit as i64),
    };
    positional(statement.binds.iter().map(param).collect())
}

pub(super) fn positional(params: Vec<Param>) -> Params {
    if params.is_empty() { Params::Empty } else { Params::Positional(params) }
}

/// The conditions, with times in MySQL's syntax. A value that MySQL cannot read would be NULL, and
/// no row would match.
///
/// # Errors
/// [`Kind::Invalid`] for a value that is not of its column's type.
pub(super) fn checked(plan: &Plan, conditions: &Arc<[Condition]>) -> Result<Arc<[Condition]>> {
    let mut made = conditions.to_vec();
    let comparisons = made.iter_mut().flat_map(Condition::comparisons_mut);
    for comparison in comparisons.filter(|comparison| !comparison.operator.takes_pattern()) {
        let Some(at) = plan.filters.iter().position(|filter| filter.column == comparison.column) else { continue };
        for text in &mut comparison.values {
            let (fitting, what) = match plan.filter_columns[at].bind.as_str() {
                "CAST(? AS DATE)" => (date(text), "a date, YYYY-MM-DD"),
                "CAST(? AS DATETIME(6))" => (moment(text), "a time, YYYY-MM-DDTHH:MM:SS"),
                "CAST(? AS TIME(6))" => (duration(text), "a time, HH:MM:SS"),
                "CAST(? AS UUID)" => (uuid(text), "a UUID"),
                "CAST(? AS INET4)" => {
                    (text.parse::<std::net::Ipv4Addr>().ok().map(|_| text.clone()), "an IPv4 address")
                }
                "CAST(? AS INET6)" => (text.parse::<std::net::IpAddr>().ok().map(|_| text.clone()), "an IP address"),
                _ => continue,
            };
            *text = fitting.ok_or_else(|| {
                let message =
                    format!("a filter's value does not fit its column: `{}` is not {what}", comparison.column);
                Error::new(Kind::Invalid, message).remedy(format!("write {what}"))
            })?;
        }
    }

    Ok(made.into())
}

/// The numbers between separators, if each has a number of digits in its range.
fn parts<const N: usize>(
    text: &str,
    separator: char,
    lengths: [std::ops::RangeInclusive<usize>; N],
) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| length.contains(&part.len()))?;
        *number = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

fn date(text: &str) -> Option<String> {
    let [_, month, day] = parts(text, '-', [4..=4, 2..=2, 2..=2])?;
    // A column may hold a date that is partly zero.
    (month <= 12 && day <= 31).then(|| text.to_owned())
}

/// A time of day, or a duration, with up to six decimals.
fn clock(text: &str, hours: std::ops::RangeInclusive<usize>, most: u32) -> Option<()> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let [hour, minute, second] = parts(whole, ':', [hours, 2..=2, 2..=2])?;
    parts(fraction, '.', [1..=6])?;
    (hour <= most && minute < 60 && second < 60).then_some(())
}

fn moment(text: &str) -> Option<String> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let Some((day, time)) = text.split_once(['T', ' ']) else { return date(text) };
    clock(time, 2..=2, 23)?;
    Some(format!("{} {time}", date(day)?))
}

fn duration(text: &str) -> Option<String> {
    clock(text.strip_prefix('-').unwrap_or(text), 2..=3, 838)?;
    Some(text.to_owned())
}

fn uuid(text: &str) -> Option<String> {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    (digits == 32 && text.len() == 36 && dashes).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_what_mysql_reads_as_it_is_written() {
        assert_eq!(moment("2026-02-03T04:05:06.5Z").as_deref(), Some("2026-02-03 04:05:06.5"));
        assert_eq!(moment("2026-02-03").as_deref(), Some("2026-02-03"));
        assert_eq!(date("0000-00-00").as_deref(), Some("0000-00-00"));
        assert_eq!(duration("-838:59:59.123456").as_deref(), Some("-838:59:59.123456"));
        for wrong in [
            "",
            "soon",
            "2026-2-3",
            "2026-13-01",
            "2026-02-03T25:00:00",
            "2026-02-03T04:05",
            "2026-02-03T04:05:06+02:00",
        ] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }

        assert_eq!(duration("839:00:00"), None);
        assert_eq!(uuid("not-a-uuid"), None);
    }
}
