//! A row's weight: the length of its JSON object, computed from its values.
//!
//! Boundaries depend on weights, never on encoded bytes. So a list has the same places in every
//! format and coding and for every host, even in a format that cannot tell the length of one row.
//!
//! The weight is the exact length, except for two things that differ between clients: a link weighs
//! its parts and a host of usual length, a cursor roughly what its values take. If a row is written
//! as JSON anyway, its columns weigh the written bytes; a test checks that both ways give the same.

use base64::encoded_len;

use crate::{
    row::{Column, Field, Fields, Part, Shape, Value},
    text::{self, Output},
};

/// The bytes of a link's scheme and host: `https://www.example.com`.
const BASE: usize = 23;
/// Before the value of a row that should have been an object.
const MEMBERS: &str = "\"*\":";
/// The bytes of a sealed cursor besides its values.
const SEAL: usize = 24;

/// Weighs the rows of one resource.
pub(crate) struct Scales {
    /// For members that are columns: the bytes of names, colons, and separators.
    names: usize,
    columns: Vec<(usize, Shape)>,
    /// For the rest: the last brace, and the constant bytes of links and cursors.
    others: usize,
    parts: Vec<Weighed>,
}

/// A part of a row, besides columns, whose weight depends on its values.
enum Weighed {
    /// The source's column with this index, in a link.
    InLink(usize),
    Cursor,
}

impl Scales {
    /// The scales for rows of these fields; `members` are their names and shapes.
    pub(crate) fn new(fields: &Fields, members: &[Column]) -> Scales {
        let mut scales = Scales { names: 0, columns: vec![], others: "}".len(), parts: vec![] };

        for ((name, field), member) in fields.iter().zip(members) {
            let name = "{".len() + text::string_length(name.as_bytes()) + ":".len();
            match field {
                Field::Column(column) => {
                    scales.names += if member.shape == Shape::Members { "{".len() } else { name };
                    scales.columns.push((*column, member.shape.clone()));
                }
                Field::Cursor => {
                    scales.others += name;
                    scales.parts.push(Weighed::Cursor);
                }
                Field::Link(parts) => {
                    scales.others += name;
                    scales.link(parts);
                }
            }
        }

        scales
    }

    fn link(&mut self, parts: &[Part]) {
        self.others += "\"\"".len() + BASE;
        for part in parts {
            match part {
                Part::Literal(text) => self.others += text.len(),
                Part::Column(column) => self.parts.push(Weighed::InLink(*column)),
            }
        }
    }

    /// The weight of a row, from the canonical form of its key and the values of the source's
    /// columns.
    pub(crate) fn weigh(&self, key: &[u8], values: &[Value<'_>]) -> usize {
        let columns = self.columns.iter().map(|(column, shape)| weight(values[*column], shape));
        self.weigh_written(key, values, self.names + columns.sum::<usize>())
    }

    /// The same for a row whose columns were written as JSON, with their names, in `columns` bytes.
    pub(crate) fn weigh_written(&self, key: &[u8], values: &[Value<'_>], columns: usize) -> usize {
        let weight = |part: &Weighed| match part {
            // Without a text's quotes.
            Weighed::InLink(column) => weight(values[*column], &Shape::Scalar).saturating_sub(2),
            Weighed::Cursor => encoded_len(key.len() + SEAL, false).unwrap_or(usize::MAX) + 2,
        };
        columns + self.others + self.parts.iter().map(weight).sum::<usize>()
    }
}

/// The weight of a value of this shape.
fn weight(value: Value<'_>, shape: &Shape) -> usize {
    match (value, shape) {
        (Value::List(values), Shape::List | Shape::Scalar) => list(values.len(), values.iter().map(|one| scalar(*one))),
        (Value::List(values), Shape::Object(names)) => object(names, values),
        (value, Shape::Members) => match text::members_of(value) {
            Some((members, _)) => members.len(),
            None => MEMBERS.len() + scalar(value),
        },
        (Value::List(values), Shape::Objects(names)) => {
            let rows = values.chunks(names.len().max(1));
            list(rows.len(), rows.map(|values| object(names, values)))
        }
        (value, _) => scalar(value),
    }
}

/// A list or object of `count` members: brackets, commas, and the members' weights.
fn list(count: usize, weights: impl Iterator<Item = usize>) -> usize {
    "[]".len() + count.saturating_sub(1) + weights.sum::<usize>()
}

fn object(names: &[String], values: &[Value<'_>]) -> usize {
    let member = |(name, value): (&String, &Value<'_>)| text::string_length(name.as_bytes()) + 1 + scalar(*value);
    list(names.len().min(values.len()), names.iter().zip(values).map(member))
}

fn scalar(value: Value<'_>) -> usize {
    let null = "null".len();
    match value {
        Value::Null | Value::List(_) | Value::TooLarge | Value::Formless(None) => null,
        Value::Bool(truth) => if truth { "true" } else { "false" }.len(),
        Value::Integer(n) => digits(n),
        Value::Real(n) if n.is_finite() => zmij::Buffer::new().format_finite(n).len(),
        Value::Real(_) => null,
        Value::Decimal(digits) if text::is_number(digits) => digits.len(),
        Value::Decimal(_) => null,
        Value::Encoded(json, _) => json.len(),
        Value::Json(_) => json_length(value),
        Value::Text(text) | Value::Formless(Some(text)) => text::string_length(text),
        Value::Blob(bytes) => encoded_len(bytes.len(), true).unwrap_or(usize::MAX).saturating_add(2),
    }
}

/// The weight of a JSON column is only known by writing it.
fn json_length(value: Value<'_>) -> usize {
    let mut out = Output::default();
    text::scalar(value, &mut out);
    out.bytes.len()
}

/// The digits of a number, with its sign.
fn digits(n: i64) -> usize {
    usize::from(n < 0) + n.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flaw::Flaws;

    /// The weight of each kind of value. Boundaries depend on them, so none may change without a
    /// new version of the stored form.
    #[test]
    fn these_values_weigh_so_much() {
        let nested = [Value::Integer(1), Value::Text(b"a"), Value::Null, Value::Text(b"bc")];
        let names = || vec!["id".to_owned(), "name".to_owned()];
        let golden = [
            (Value::Null, Shape::Scalar, 4),
            (Value::Bool(true), Shape::Scalar, 4),
            (Value::Bool(false), Shape::Scalar, 5),
            (Value::Integer(0), Shape::Scalar, 1),
            (Value::Integer(-10), Shape::Scalar, 3),
            (Value::Integer(i64::MIN), Shape::Scalar, 20),
            (Value::Real(0.1), Shape::Scalar, 3),
            (Value::Real(1e300), Shape::Scalar, 6),
            (Value::Real(f64::NAN), Shape::Scalar, 4),
            (Value::Decimal(b"1.50"), Shape::Scalar, 4),
            (Value::Decimal(b"NaN"), Shape::Scalar, 4),
            (Value::Text(b""), Shape::Scalar, 2),
            (Value::Text(b"a\n\x01\xff"), Shape::Scalar, 14),
            (Value::Text("é\u{2028}".as_bytes()), Shape::Scalar, 10),
            (Value::Blob(b"abcd"), Shape::Scalar, 10),
            (Value::Json(b"{ }"), Shape::Scalar, 2),
            (Value::Encoded(b"[1]", Flaws::default()), Shape::Scalar, 3),
            (Value::Formless(None), Shape::Scalar, 4),
            (Value::Formless(Some(b"x")), Shape::Scalar, 3),
            (Value::TooLarge, Shape::Scalar, 4),
            (Value::List(&[]), Shape::List, 2),
            (Value::List(&nested), Shape::List, 17),
            (Value::List(&nested[..2]), Shape::Object(names()), 19),
            (Value::List(&nested), Shape::Objects(names()), 45),
        ];

        for (value, shape, expected) in golden {
            assert_eq!(weight(value, &shape), expected, "{value:?} as {shape:?}");
        }
    }

    #[test]
    fn fifty_nulls_weigh_what_their_json_does() {
        let columns: Vec<Column> = (0..50).map(|n| Column::scalar(format!("c{n}"))).collect();
        let fields = columns.iter().enumerate().map(|(n, column)| (column.name.clone(), Field::Column(n))).collect();
        let weight = Scales::new(&fields, &columns).weigh(b"", &[Value::Null; 50]);
        let json: String = (0..50).map(|n| format!("\"c{n}\":null,")).collect();
        assert_eq!(weight, json.len() + "{}".len() - ",".len());
    }

    #[test]
    fn a_link_and_a_cursor_weigh_the_same_for_every_host_and_secret() {
        let fields = vec![
            ("url".to_owned(), Field::Link(vec![Part::Literal("/tricks/".to_owned()), Part::Column(0)])),
            ("cursor".to_owned(), Field::Cursor),
        ];
        let members = [Column::scalar("url"), Column::scalar("cursor")];
        let weight = Scales::new(&fields, &members).weigh(&[0; 9], &[Value::Text(b"abc")]);
        let json = r#"{"url":"https://www.example.com/tricks/abc","cursor":""}"#;
        assert_eq!(weight, json.len() + 44);
    }

    proptest! {
        #[test]
        fn a_value_weighs_exactly_what_its_json_does(text: Vec<u8>, words in "\\PC*|(?s).*", n: i64, bits: u64) {
            let values = [
                Value::Text(&text),
                Value::Text(words.as_bytes()),
                Value::Formless(Some(&text)),
                Value::Blob(&text),
                Value::Json(words.as_bytes()),
                Value::Decimal(words.as_bytes()),
                Value::Integer(n),
                Value::Real(f64::from_bits(bits)),
            ];

            for value in values {
                let mut out = Output::default();
                text::scalar(value, &mut out);
                prop_assert_eq!(scalar(value), out.bytes.len(), "{:?}", value);
            }
        }
    }
}
