//! What becomes of a column's values where they are not shown as the database has them.
//!
//! A rewrite is chosen once for a column, when its list is planned, and is done column by column
//! behind the read: lists without one do not pass here. Keys, filters and joins are of the values
//! as they are.

mod choose;
mod file;
mod moment;
mod number;

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

pub(in crate::source) use self::choose::choose;
use self::{
    file::Base,
    moment::{Day, Moment, Precision, TimeOfDay, Zone, interval, write_duration},
    number::Number,
};
use super::held::{Form, Held, Slot};
use crate::{canonical::Canonical, error::Error, row::Value, text};

/// SQLite keeps so many digits of a number with a point.
const DIGITS_OF_A_DOUBLE: usize = 15;

/// What becomes of a column's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Rewrite {
    to: To,
    /// Whether values are arrays, and this is of their elements.
    of_elements: bool,
    /// What stands in the place of what would be shown, sorted by that.
    labels: Vec<(String, String)>,
}

/// What values are made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    Same,
    Integer,
    Decimal {
        /// Digits behind the point, where they are not the value's own.
        decimals: Option<u8>,
        /// Whether whole numbers too have as many digits as a double.
        fifteen_digits: bool,
        /// Whether as a text, as Python writes it.
        as_text: bool,
    },
    Float,
    Boolean,
    Text,
    Date,
    Time(Precision),
    DateTime(Precision, Zone),
    Duration,
    Uuid {
        /// Whether a value that is none has no form here; else it may be any text.
        is_sure: bool,
    },
    Json,
    Bytes,
    File(Base),
}

/// What a value has become.
enum Made<'a> {
    Value(Value<'a>),
    Bytes(Form, Vec<u8>),
}

impl Made<'_> {
    fn text(text: impl Into<Vec<u8>>) -> Option<Made<'static>> {
        Some(Made::Bytes(Form::Text, text.into()))
    }

    fn digits(digits: impl Into<Vec<u8>>) -> Option<Made<'static>> {
        Some(Made::Bytes(Form::Decimal, digits.into()))
    }
}

impl Rewrite {
    /// The rewrite of a column that stands beside others that have one.
    pub(in crate::source) const SAME: Rewrite = Rewrite { to: To::Same, of_elements: false, labels: vec![] };

    /// Adds what becomes of a value. One that is not what it should be has no form here: it stands
    /// as text.
    ///
    /// # Errors
    /// As [`Held::close`].
    pub(in crate::source) fn write(&self, value: Value<'_>, held: &mut Held) -> Result<(), Error> {
        let made = match value {
            Value::Null | Value::Formless(_) | Value::List(_) => return held.add(value),
            Value::Encoded(json, _) | Value::Json(json) if self.of_elements => match self.elements(json)? {
                Some(array) => return held.push(Form::Encoded(array.flaws), &array.bytes),
                None => return held.add(value),
            },
            value => self.to.make(value),
        };

        let from = held.bytes.len();
        match made {
            Some(Made::Value(value)) => held.add(value)?,
            Some(Made::Bytes(form, bytes)) => held.push(form, &bytes)?,
            None => held.push(Form::Formless, &as_text(value))?,
        }
        let Some(label) = self.label_of(held) else { return Ok(()) };
        held.slots.pop();
        held.bytes.truncate(from);
        held.push(Form::Text, label.as_bytes())
    }

    /// The label of the last value.
    fn label_of(&self, held: &Held) -> Option<&str> {
        if self.labels.is_empty() {
            return None;
        }
        let shown = as_text(held.value(*held.slots.last()?));
        let found = self.labels.binary_search_by(|(value, _)| value.as_bytes().cmp(&shown));
        found.ok().map(|at| &*self.labels[at].1)
    }

    /// A JSON array with each of its elements rewritten; `None` where it is not one of single
    /// values.
    fn elements(&self, json: &[u8]) -> Result<Option<text::Output>, Error> {
        if serde_json::from_slice::<serde::de::IgnoredAny>(json).is_err() {
            return Ok(None);
        }
        let element = Rewrite { of_elements: false, ..self.clone() };
        let mut out = text::Output::default();
        let mut held = Held::new(1);
        let mut rest = json;
        while let Some(&byte) = rest.first() {
            let length = match byte {
                b'[' | b']' | b',' | b' ' => {
                    out.bytes.push(byte);
                    1
                }
                b'"' => string_length(rest),
                b'{' => return Ok(None),
                _ => rest.iter().position(|byte| b",] ".contains(byte)).unwrap_or(rest.len()),
            };
            let (token, behind) = rest.split_at(length);
            rest = behind;
            let text: String;
            let value = match byte {
                b'[' | b']' | b',' | b' ' => continue,
                b'"' => match serde_json::from_slice(token) {
                    Ok(unescaped) => {
                        text = unescaped;
                        Value::Text(text.as_bytes())
                    }
                    Err(_) => return Ok(None),
                },
                b'n' => Value::Null,
                b't' | b'f' => Value::Bool(byte == b't'),
                _ => Value::Decimal(token),
            };
            held.clear();
            element.write(value, &mut held)?;
            text::scalar(held.value(held.slots[0]), &mut out);
        }
        Ok(Some(out))
    }

    /// Appends all that it is.
    pub(in crate::source) fn write_to(&self, bytes: &mut Canonical) {
        bytes.text(match &self.to {
            To::Same => "same",
            To::Integer => "integer",
            To::Decimal { .. } => "decimal",
            To::Float => "float",
            To::Boolean => "boolean",
            To::Text => "text",
            To::Date => "date",
            To::Time(_) => "time",
            To::DateTime(..) => "datetime",
            To::Duration => "duration",
            To::Uuid { is_sure: true } => "uuid",
            To::Uuid { is_sure: false } => "uuid?",
            To::Json => "json",
            To::Bytes => "bytes",
            To::File(_) => "file",
        });
        let precision = |precision| if precision == Precision::All { "all" } else { "milliseconds" };
        match &self.to {
            To::Decimal { decimals, fifteen_digits, as_text } => {
                bytes.maybe(*decimals, |bytes, decimals| bytes.number(decimals.into()));
                bytes.flag(*fifteen_digits);
                bytes.flag(*as_text);
            }
            To::Time(digits) => bytes.text(precision(*digits)),
            To::DateTime(digits, zone) => {
                bytes.text(precision(*digits));
                bytes.text(match zone {
                    Zone::AsItStands => "as it stands",
                    Zone::Utc => "utc",
                    Zone::Naive => "naive",
                });
            }
            To::File(base) => bytes.text(&base.text()),
            _ => {}
        }
        bytes.flag(self.of_elements);
        bytes.each(self.labels.iter(), |bytes, (value, label)| {
            bytes.text(value);
            bytes.text(label);
        });
    }
}

/// The length of the JSON string that a text begins with.
fn string_length(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    json.len()
}

impl To {
    /// What becomes of a value; `None` where it is not what it should be.
    fn make<'a>(&self, value: Value<'a>) -> Option<Made<'a>> {
        let same = Some(Made::Value(value));
        match self {
            To::Same => same,
            To::Integer => integer(value),
            To::Decimal { decimals, fifteen_digits, as_text } => decimal(value, *decimals, *fifteen_digits, *as_text),
            To::Float => float(value),
            To::Boolean => boolean(value),
            To::Text => match value {
                Value::Text(_) | Value::Blob(_) => same,
                value => Made::text(as_text(value)),
            },
            To::Date => Made::text(Day::parse(utf8(value)?)?.to_string()),
            To::Time(precision) => {
                let mut out = String::new();
                TimeOfDay::parse(utf8(value)?)?.write(*precision, &mut out);
                Made::text(out)
            }
            To::DateTime(precision, zone) => {
                let mut out = String::new();
                Moment::parse(utf8(value)?)?.write(*precision, *zone, &mut out);
                Made::text(out)
            }
            To::Duration => {
                let micros = match value {
                    Value::Integer(micros) => micros.into(),
                    Value::Decimal(digits) => std::str::from_utf8(digits).ok()?.parse().ok()?,
                    value => interval(utf8(value)?)?,
                };
                let mut out = String::new();
                write_duration(micros, &mut out);
                Made::text(out)
            }
            To::Uuid { is_sure } => uuid(value).or(if *is_sure { None } else { same }),
            To::Json => match value {
                Value::Text(text) => Some(Made::Value(Value::Json(text))),
                Value::Blob(_) => None,
                _ => same,
            },
            To::Bytes => match value {
                Value::Text(text) => Some(Made::Value(Value::Blob(text))),
                _ => same,
            },
            To::File(base) => match value {
                Value::Text(file) => {
                    let mut out = vec![];
                    base.write(file, &mut out);
                    Made::text(out)
                }
                _ => same,
            },
        }
    }
}

/// A text that is UTF-8.
fn utf8(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Text(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// A single value as text, as it would stand in a list.
fn as_text(value: Value<'_>) -> Cow<'_, [u8]> {
    match value {
        Value::Null | Value::List(_) | Value::Formless(None) => Cow::Borrowed(b""),
        Value::Bool(truth) => Cow::Borrowed(if truth { b"true" } else { b"false" }),
        Value::Integer(n) => itoa::Buffer::new().format(n).as_bytes().to_vec().into(),
        Value::Real(n) => zmij::Buffer::new().format(n).as_bytes().to_vec().into(),
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Json(text)
        | Value::Encoded(text, _)
        | Value::Formless(Some(text)) => text.into(),
        Value::Blob(bytes) => STANDARD.encode(bytes).into_bytes().into(),
    }
}

/// A value as a number; `None` where it is none.
fn number(value: Value<'_>) -> Option<Number> {
    match value {
        Value::Bool(truth) => Number::parse(if truth { "1" } else { "0" }),
        Value::Integer(n) => Number::parse(itoa::Buffer::new().format(n)),
        Value::Real(n) => Number::shortest(n),
        Value::Decimal(text) | Value::Text(text) => Number::parse(std::str::from_utf8(text).ok()?),
        _ => None,
    }
}

fn integer(value: Value<'_>) -> Option<Made<'_>> {
    match value {
        Value::Integer(_) => Some(Made::Value(value)),
        value => {
            let number = number(value)?;
            let whole = number.clone().with_decimals(0);
            (whole.plain() == number.trimmed_fraction().plain()).then_some(())?;
            Made::digits(whole.plain())
        }
    }
}

/// NaN and the infinities are no numbers of JSON, and have names in Python.
fn decimal(value: Value<'_>, decimals: Option<u8>, fifteen_digits: bool, as_text: bool) -> Option<Made<'_>> {
    match value {
        Value::Real(n) if !n.is_finite() => return Some(Made::Value(value)),
        Value::Decimal(name @ (b"NaN" | b"Infinity" | b"-Infinity")) => {
            return if as_text { Made::text(name) } else { Some(Made::Value(value)) };
        }
        _ => {}
    }
    let number = match (decimals, value) {
        (None, value) => number(value)?,
        (Some(decimals), Value::Real(n)) => Number::of_fifteen_digits(n)?.with_decimals(decimals),
        (Some(decimals), value) if fifteen_digits => number(value)?.rounded(DIGITS_OF_A_DOUBLE).with_decimals(decimals),
        (Some(decimals), value) => number(value)?.with_decimals(decimals),
    };
    if as_text { Made::text(number.as_python_decimal()) } else { Made::digits(number.plain()) }
}

fn float(value: Value<'_>) -> Option<Made<'_>> {
    match value {
        Value::Real(n) if !n.is_finite() => Some(Made::Value(value)),
        Value::Decimal(b"NaN" | b"Infinity" | b"-Infinity" | b"inf" | b"-inf") => Some(Made::Value(value)),
        value => Made::digits(number(value)?.as_python_float()),
    }
}

/// Numbers other than 0 and 1 stay as they are, as in Django.
fn boolean(value: Value<'_>) -> Option<Made<'_>> {
    let truth = match value {
        Value::Integer(0) => false,
        Value::Integer(1) => true,
        Value::Real(0.0) => false,
        Value::Real(1.0) => true,
        Value::Bool(_) | Value::Integer(_) | Value::Real(_) => return Some(Made::Value(value)),
        value => match &*as_text(value) {
            b"0" | b"f" | b"F" | b"false" | b"False" | b"FALSE" => false,
            b"1" | b"t" | b"T" | b"true" | b"True" | b"TRUE" => true,
            _ => return None,
        },
    };
    Some(Made::Value(Value::Bool(truth)))
}

/// 32 hexadecimal digits, wherever hyphens stand between them, or 16 bytes.
fn uuid(value: Value<'_>) -> Option<Made<'_>> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits: Vec<u8> = match value {
        Value::Blob(bytes) if bytes.len() == 16 => {
            bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]).collect()
        }
        Value::Text(text) if text.len() <= 36 => {
            text.iter().filter(|byte| **byte != b'-').map(u8::to_ascii_lowercase).collect()
        }
        _ => return None,
    };
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }

    let mut written = Vec::with_capacity(36);
    for (at, digit) in digits.into_iter().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            written.push(b'-');
        }
        written.push(digit);
    }
    Made::text(written)
}

/// Columns of a run of rows, rewritten: one behind the other in each row.
///
/// # Errors
/// As [`Held::close`].
pub(in crate::source) fn rewritten(rows: &Held, columns: &[(usize, Rewrite)]) -> Result<Held, Error> {
    let mut held = Held::new(columns.len());
    if columns.is_empty() {
        return Ok(held);
    }
    for row in rows.slots.chunks_exact(rows.width) {
        for (column, rewrite) in columns {
            rewrite.write(rows.value(row[*column]), &mut held)?;
        }
    }
    Ok(held)
}

impl Held {
    /// Adds a single value; a list inside a list does not occur and is NULL.
    ///
    /// # Errors
    /// As [`Held::close`].
    fn add(&mut self, value: Value<'_>) -> Result<(), Error> {
        let slot = match value {
            Value::Null | Value::List(_) => Slot::Null,
            Value::Bool(truth) => Slot::Bool(truth),
            Value::Integer(n) => Slot::Integer(n),
            Value::Real(n) => Slot::Real(n),
            Value::Formless(None) => Slot::Unreadable,
            Value::Decimal(digits) => return self.push(Form::Decimal, digits),
            Value::Text(text) => return self.push(Form::Text, text),
            Value::Blob(bytes) => return self.push(Form::Blob, bytes),
            Value::Json(json) => return self.push(Form::Json, json),
            Value::Encoded(json, flaws) => return self.push(Form::Encoded(flaws), json),
            Value::Formless(Some(text)) => return self.push(Form::Formless, text),
        };
        self.slots.push(slot);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flaw::Flaw;

    fn of(to: To) -> Rewrite {
        Rewrite { to, ..Rewrite::SAME }
    }

    /// What is shown in place of a value, as JSON, and whether it counts as one without a form.
    fn shown(rewrite: &Rewrite, value: Value<'_>) -> (String, bool) {
        let mut held = Held::new(1);
        rewrite.write(value, &mut held).unwrap();
        let mut out = text::Output::default();
        text::scalar(held.value(held.slots[0]), &mut out);
        (String::from_utf8(out.bytes).unwrap(), out.flaws.iter().any(|flaw| flaw == Flaw::NoForm))
    }

    fn whole(rewrite: &Rewrite, value: Value<'_>) -> String {
        let (shown, is_formless) = shown(rewrite, value);
        assert!(!is_formless, "{shown}");
        shown
    }

    #[test]
    fn a_value_that_is_not_what_it_should_be_stands_as_its_own_text_and_is_counted() {
        let moments = To::DateTime(Precision::Milliseconds, Zone::Utc);
        for (to, value, stands) in [
            (To::Uuid { is_sure: true }, Value::Text(b"no uuid"), "\"no uuid\""),
            (To::Uuid { is_sure: true }, Value::Integer(7), "\"7\""),
            (To::Uuid { is_sure: true }, Value::Text(b""), "\"\""),
            (To::Date, Value::Text(b"infinity"), "\"infinity\""),
            (To::Date, Value::Integer(20_260_102), "\"20260102\""),
            (moments, Value::Text(b"yesterday"), "\"yesterday\""),
            (To::Duration, Value::Text(b"a while"), "\"a while\""),
            (To::Duration, Value::Real(1.5), "\"1.5\""),
            (To::Integer, Value::Text(b"seven"), "\"seven\""),
            (To::Integer, Value::Real(1.5), "\"1.5\""),
            (To::Boolean, Value::Text(b"perhaps"), "\"perhaps\""),
            (To::Float, Value::Text(b"x"), "\"x\""),
        ] {
            assert_eq!(shown(&of(to), value), (stands.to_owned(), true));
        }
    }

    #[test]
    fn null_and_what_has_no_form_already_stay_as_they_are() {
        for to in [To::Uuid { is_sure: true }, To::Date, To::Duration, To::Boolean, To::Text, To::Json] {
            let rewrite = Rewrite { labels: vec![(String::new(), "empty".into())], ..of(to) };
            assert_eq!(whole(&rewrite, Value::Null), "null");
            assert_eq!(shown(&rewrite, Value::Formless(None)), ("null".into(), true));
            assert_eq!(shown(&rewrite, Value::Formless(Some(b"x"))), ("\"x\"".into(), true));
        }
    }

    #[test]
    fn a_uuid_has_hyphens_whatever_the_database_keeps() {
        let uuid = of(To::Uuid { is_sure: true });
        let written = "\"0123abcd-4567-89ef-0123-456789abcdef\"";
        let bytes = b"\x01\x23\xab\xcd\x45\x67\x89\xef\x01\x23\x45\x67\x89\xab\xcd\xef";
        for value in [
            Value::Text(b"0123abcd456789ef0123456789abcdef"),
            Value::Text(b"0123ABCD-4567-89EF-0123-456789ABCDEF"),
            Value::Blob(bytes),
        ] {
            assert_eq!(whole(&uuid, value), written);
        }
        // What may be one, and is none, is any text.
        let perhaps = of(To::Uuid { is_sure: false });
        assert_eq!(whole(&perhaps, Value::Text(b"0123abcd456789ef0123456789abcdef")), written);
        assert_eq!(whole(&perhaps, Value::Text(b"a text")), "\"a text\"");
    }

    #[test]
    fn labels_are_found_by_what_would_be_shown() {
        let labelled = |to, labels: &[(&str, &str)]| {
            let mut labels: Vec<(String, String)> =
                labels.iter().map(|(value, label)| ((*value).into(), (*label).into())).collect();
            labels.sort();
            Rewrite { labels, ..of(to) }
        };
        let choices = labelled(To::Same, &[("p", "Published"), ("1", "One"), ("", "None")]);
        assert_eq!(whole(&choices, Value::Text(b"p")), "\"Published\"");
        assert_eq!(whole(&choices, Value::Integer(1)), "\"One\"");
        assert_eq!(whole(&choices, Value::Text(b"")), "\"None\"");
        assert_eq!(whole(&choices, Value::Text(b"other")), "\"other\"");
        assert_eq!(whole(&choices, Value::Integer(2)), "2");
        // The same of a truth value, whatever the database has for one.
        let truths = labelled(To::Boolean, &[("true", "yes"), ("false", "no")]);
        for value in [Value::Integer(1), Value::Bool(true), Value::Text(b"t")] {
            assert_eq!(whole(&truths, value), "\"yes\"");
        }
    }

    #[test]
    fn an_array_is_rewritten_element_by_element() {
        let decimals = To::Decimal { decimals: None, fifteen_digits: false, as_text: true };
        let array = |to| Rewrite { of_elements: true, ..of(to) };
        let json = |text| Value::Encoded(text, crate::flaw::Flaws::NONE);
        assert_eq!(
            whole(&array(decimals), json(b"[[1.50,null],[-0.0000001,2]]")),
            "[[\"1.50\",null],[\"-1E-7\",\"2\"]]"
        );
        let moments = To::DateTime(Precision::Milliseconds, Zone::AsItStands);
        assert_eq!(
            whole(&array(moments), json(b"[\"2026-01-02T03:04:05.678901Z\"]")),
            "[\"2026-01-02T03:04:05.678Z\"]"
        );
        assert_eq!(whole(&array(To::Same), json(br#"["a\"]b\\",true,1]"#)), r#"["a\"]b\\",true,1]"#);
        assert_eq!(whole(&array(To::Duration), Value::Json(b"[\"1 day\", null]")), "[\"P1DT00H00M00S\", null]");
        assert_eq!(shown(&array(To::Date), json(b"[\"x\",\"2026-01-02\"]")), ("[\"x\",\"2026-01-02\"]".into(), true));
        assert_eq!(whole(&array(To::Date), json(b"[]")), "[]");
    }

    /// A rewrite of every kind.
    fn every_kind() -> Vec<To> {
        let decimal = |decimals| To::Decimal { decimals, fifteen_digits: true, as_text: false };
        vec![
            To::Same,
            To::Integer,
            decimal(None),
            decimal(Some(3)),
            To::Float,
            To::Boolean,
            To::Text,
            To::Date,
            To::Time(Precision::All),
            To::DateTime(Precision::Milliseconds, Zone::Utc),
            To::Duration,
            To::Uuid { is_sure: true },
            To::Json,
            To::Bytes,
            To::File(Base::parse("/m/").unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn whatever_a_column_holds_the_list_is_json(
            bytes: Vec<u8>,
            text in "[-+0-9.eE:TZ a-fx/\\\\\"\\[\\],{}é]{0,24}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[T ][0-9:.,+]{0,20}",
            n: i64,
            real: f64,
        ) {
            for to in every_kind() {
                for of_elements in [false, true] {
                    let rewrite = Rewrite { of_elements, ..of(to.clone()) };
                    for bytes in [&bytes[..], text.as_bytes()] {
                        let all = [
                            Value::Integer(n), Value::Real(real), Value::Text(bytes), Value::Blob(bytes),
                            Value::Json(bytes), Value::Decimal(bytes), Value::Formless(Some(bytes)),
                        ];
                        for value in all {
                            let (shown, _) = shown(&rewrite, value);
                            let read = serde_json::from_str::<serde::de::IgnoredAny>(&shown);
                            prop_assert!(read.is_ok(), "{:?} {:?}: {}", to, value, shown);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_rewrites_have_the_same_bytes() {
        let decimal = |decimals| To::Decimal { decimals, fifteen_digits: false, as_text: true };
        let base = |text| To::File(Base::parse(text).unwrap());
        let mut all: Vec<Rewrite> = [
            To::Same,
            To::Integer,
            decimal(None),
            decimal(Some(0)),
            decimal(Some(2)),
            To::Decimal { decimals: None, fifteen_digits: true, as_text: true },
            To::Decimal { decimals: None, fifteen_digits: false, as_text: false },
            To::Float,
            To::Boolean,
            To::Text,
            To::Date,
            To::Time(Precision::All),
            To::Time(Precision::Milliseconds),
            To::DateTime(Precision::All, Zone::AsItStands),
            To::DateTime(Precision::All, Zone::Utc),
            To::DateTime(Precision::All, Zone::Naive),
            To::DateTime(Precision::Milliseconds, Zone::Utc),
            To::Duration,
            To::Uuid { is_sure: true },
            To::Uuid { is_sure: false },
            To::Json,
            To::Bytes,
            base("/media/"),
            base("/files/"),
        ]
        .map(of)
        .into();
        all.push(Rewrite { of_elements: true, ..of(To::Date) });
        for labels in [&[("a", "b")][..], &[("a", "c")], &[("a", "b"), ("c", "d")]] {
            let labels = labels.iter().map(|(value, label)| ((*value).to_owned(), (*label).to_owned())).collect();
            all.push(Rewrite { labels, ..Rewrite::SAME });
        }
        let mut bytes: Vec<Vec<u8>> = all
            .iter()
            .map(|rewrite| {
                let mut bytes = Canonical::default();
                rewrite.write_to(&mut bytes);
                bytes.into_bytes()
            })
            .collect();
        bytes.sort();
        bytes.dedup();
        assert_eq!(bytes.len(), all.len());
    }
}
