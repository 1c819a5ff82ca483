//! How values compare, as far as that can be known without the database.

use std::cmp::Ordering;

use crate::row::Value;

/// How the texts of a column compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    /// Byte by byte.
    Bytes,
    /// As UUIDs, each of which is one value in every spelling.
    Uuids,
    /// As dates and times.
    Moments,
    /// Only the database knows.
    Unknown,
}

/// How two values other than NULL compare; `None` if only the database knows. Numbers come before
/// texts, and texts before bytes, in the one database that keeps them in one column (SQLite).
pub(super) fn compare(texts: Texts, one: Value<'_>, other: Value<'_>) -> Option<Ordering> {
    // Most keys are whole numbers: a change is compared with the places of every chunk of a list.
    if let (Value::Integer(one), Value::Integer(other)) = (one, other) {
        return Some(one.cmp(&other));
    }
    match (class(one)?, class(other)?) {
        (0, 0) => compare_numbers(one, other),
        (1, 1) => match (one, other) {
            (Value::Text(one), Value::Text(other)) if one == other => Some(Ordering::Equal),
            (Value::Text(one), Value::Text(other)) => match texts {
                Texts::Bytes => Some(one.cmp(other)),
                Texts::Uuids => Some(uuid_digits(one)?.cmp(&uuid_digits(other)?)),
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

pub(super) fn compare_numbers(one: Value<'_>, other: Value<'_>) -> Option<Ordering> {
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
    let one = moment(one)?;
    let other = moment(other)?;
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
    let date = &text[..DATE.len()];
    let time = &text[DATE.len() + 1..TIME.len()];
    let rest = &text[TIME.len()..];
    let (fraction, behind) = match rest.strip_prefix(b".") {
        Some(rest) => rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()),
        None => (&b""[..], rest),
    };

    // Years before Christ count backwards; databases read 24:00 and the sixtieth second as the next
    // moment, and round what is less than a microsecond.
    let is_backward = behind.windows(2).any(|pair| pair == b"BC");
    let is_carried = time[..2] > b"23"[..] || time[6..] > b"59"[..] || fraction.len() > 6;
    let zeros = fraction.iter().rev().take_while(|byte| **byte == b'0').count();
    let fraction = &fraction[..fraction.len() - zeros];
    (!is_backward && !is_carried).then_some(Moment { date, time, fraction, behind })
}

/// A UUID as 36 characters in lower case; `None` if the text is none.
pub(super) fn uuid(text: &str) -> Option<String> {
    let digits = format!("{:032x}", uuid_digits(text.as_bytes())?);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    Some(parts.join("-"))
}

/// The number that the 32 digits of a UUID are; `None` if the text is none.
fn uuid_digits(text: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.trim().trim_start_matches('{').trim_end_matches('}');
    let mut number = 0;
    let mut count = 0;
    for sign in text.chars().filter(|sign| *sign != '-') {
        count += 1;
        if count > 32 {
            return None;
        }
        number = number << 4 | u128::from(sign.to_digit(16)?);
    }
    (count == 32).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_compare_by_their_fractions_and_only_in_one_zone() {
        let compare = |one: &str, other: &str| compare_moments(one.as_bytes(), other.as_bytes());
        assert_eq!(compare("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"), Some(Ordering::Less));
        assert_eq!(compare("2026-01-01 00:00:00.50", "2026-01-01 00:00:00.5"), Some(Ordering::Equal));
        assert_eq!(compare("2026-01-01 00:00:00.45", "2026-01-01 00:00:00.5"), Some(Ordering::Less));
        assert_eq!(compare("2026-01-01 00:00:00+01", "2026-01-01 00:00:00+00"), None);
        assert_eq!(compare("2026-01-01 07:00:00", "2026-01-01T06:00:00"), Some(Ordering::Greater));
        assert_eq!(compare("2026-01-01 24:00:00", "2026-01-02 00:00:00"), None);
        assert_eq!(compare("2026-01-01 00:00:60", "2026-01-01 00:01:00"), None);
        assert_eq!(compare("2026-01-01 00:00:00.0000004", "2026-01-01 00:00:00"), None);
        assert_eq!(compare("0044-03-15 00:00:00 BC", "0100-01-01 00:00:00 BC"), None);
        assert_eq!(compare("2026-01-01", "2026-01-01 00:00:00"), None);
        assert_eq!(compare("infinity", "2026-01-01"), None);
    }

    proptest! {
        #[test]
        fn numbers_compare_as_numbers_in_every_form(one in -1_000_000i64..1_000_000, other in -1_000_000i64..1_000_000) {
            let expected = one.cmp(&other);
            let text = format!("{other}.000");
            prop_assert_eq!(compare_numbers(Value::Integer(one), Value::Decimal(text.as_bytes())), Some(expected));
            prop_assert_eq!(compare_numbers(Value::Real(one as f64), Value::Integer(other)), Some(expected));
            let thousandths = |number: i64| format!("{}", number as f64 / 1000.0);
            let small = thousandths(one);
            let large = thousandths(other);
            let decimals = compare_numbers(Value::Decimal(small.as_bytes()), Value::Decimal(large.as_bytes()));
            prop_assert_eq!(decimals, Some(expected));
        }
    }
}
