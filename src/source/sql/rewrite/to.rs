//! Rewrites of single values, by type, into JSON's or a framework's form.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    file::Base,
    moment::{Day, Moment, Precision, TimeOfDay, Zone, interval, write_duration},
    number::Number,
};
use crate::{
    canonical::Canonical,
    described::{Described, JsonType},
    row::{Form, Value},
};

/// How many digits SQLite keeps of a number with a point.
const DIGITS_OF_A_DOUBLE: usize = 15;

/// The form to rewrite values into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    Same,
    Integer,
    Decimal {
        /// Digits after the point; `None`: those of the value.
        decimals: Option<u8>,
        /// Whether whole numbers too have at most the digits of a double.
        fifteen_digits: bool,
        /// Whether it becomes a text, as Python writes it.
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
        /// Whether a value that is no UUID has no form here; else it may be any text.
        is_sure: bool,
    },
    Json,
    Bytes,
    File(Base),
}

/// A rewritten value.
pub(super) enum Made<'a> {
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

impl To {
    /// The rewritten value; `None` if the value is not of the expected type.
    pub(super) fn make<'a>(&self, value: Value<'a>) -> Option<Made<'a>> {
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

    /// The JSON type after the rewrite; `before` is the one without it. A value that is not of the
    /// expected type becomes text.
    pub(super) fn described(&self, before: Described) -> Described {
        match self {
            To::Same => before,
            To::Integer => Described::of(&[JsonType::Integer, JsonType::String]),
            To::Decimal { as_text: true, .. } => Described::of(&[JsonType::String]),
            To::Decimal { .. } | To::Float => Described::of(&[JsonType::Number, JsonType::String, JsonType::Null]),
            To::Boolean => Described::of(&[JsonType::Boolean, JsonType::String]),
            To::Text | To::Date | To::Time(_) | To::DateTime(..) | To::Duration => Described::of(&[JsonType::String]),
            To::Uuid { is_sure: true } => Described::of(&[JsonType::String]),
            To::Uuid { is_sure: false } | To::File(_) => before.or(JsonType::String),
            To::Json => Described::default(),
            // A value that was no text stays what it was.
            To::Bytes => Described { is_base64: false, ..before.or(JsonType::String) },
        }
    }

    /// Appends all that shapes it.
    pub(super) fn write_to(&self, bytes: &mut Canonical) {
        bytes.text(match self {
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
        match self {
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
    }
}

/// A text that is UTF-8.
fn utf8(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Text(text) => std::str::from_utf8(text).ok(),
        _ => None,
    }
}

/// A single value as text, as it would be written in a list.
pub(super) fn as_text(value: Value<'_>) -> Cow<'_, [u8]> {
    match value {
        Value::Null | Value::List(_) | Value::Formless(None) | Value::TooLarge => Cow::Borrowed(b""),
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

/// A value as a number; `None` if it is none.
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

/// NaN and the infinities are no JSON numbers; Python has names for them.
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

/// 32 hexadecimal digits, with hyphens anywhere between them, or 16 bytes.
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
