//! CSV (RFC 4180): a header row, lines ended by CRLF, quotes only where needed.
//!
//! NULL is an empty field and an empty text is `""`, so that they differ. In a list of one column
//! both are `""`, since readers skip empty lines. Related lists are written as JSON. If the
//! resource is counted, the last record is a mark with as many fields as the header: `_end`, the
//! number of rows, and empty fields; or `_end N` in the only field.

use std::sync::Arc;

use bytes::Bytes;

use super::{ChunkWriter, Encoder, Envelope, Member, Output};
use crate::{
    flaw::Flaw,
    row::{Shape, Value},
    text,
};

/// The beginning of a counted list's mark. A value of the first column with the same beginning is
/// quoted.
const END: &[u8] = b"_end";

#[derive(Clone)]
struct Csv {
    header: Bytes,
    shapes: Arc<[Shape]>,
}

pub(super) fn encoder(members: &[Member], _: &Envelope) -> Box<dyn Encoder> {
    let mut out = Output::default();
    for (index, Member { column, .. }) in members.iter().enumerate() {
        if index > 0 {
            out.bytes.push(b',');
        }
        quoted(column.name.as_bytes(), &mut out);
    }
    out.bytes.extend_from_slice(b"\r\n");
    Box::new(Csv {
        header: out.bytes.into(),
        shapes: members.iter().map(|member| member.column.shape.clone()).collect(),
    })
}

impl Encoder for Csv {
    fn begin(&self) -> Bytes {
        self.header.clone()
    }

    fn rows(&self) -> Box<dyn ChunkWriter> {
        Box::new(self.clone())
    }

    fn between(&self) -> Bytes {
        Bytes::new()
    }

    fn end(&self, count: Option<u64>) -> Bytes {
        let Some(count) = count else { return Bytes::new() };
        let mark = String::from_utf8_lossy(END);
        match self.shapes.len() {
            ..=1 => format!("{mark} {count}\r\n").into(),
            columns => format!("{mark},{count}{}\r\n", ",".repeat(columns - 2)).into(),
        }
    }
}

impl ChunkWriter for Csv {
    fn field(&mut self, index: usize, value: Value<'_>, out: &mut Output) {
        if index > 0 {
            out.bytes.push(b',');
        }

        match value {
            Value::Null => self.nothing(out),
            Value::Real(n) if !n.is_finite() => self.nothing(out),
            Value::Text(text) => self.text(index, text, out),
            Value::Bool(_) | Value::Integer(_) | Value::Real(_) => text::scalar(value, out),
            Value::Decimal(digits) => match text::decimal(digits, out) {
                Some(digits) => out.bytes.extend_from_slice(digits),
                None => self.nothing(out),
            },
            Value::Formless(own) => {
                out.flaws.add(Flaw::NoForm);
                match own {
                    Some(text) => self.text(index, text, out),
                    None => self.nothing(out),
                }
            }
            Value::TooLarge => {
                out.flaws.add(Flaw::TooLarge);
                self.nothing(out);
            }
            Value::Blob(_) | Value::Json(_) | Value::Encoded(..) | Value::List(_) => {
                let mut json = Output::default();
                text::value(value, &self.shapes[index], &mut json);
                out.flaws.add_all(json.flaws);
                // A blob is base64 text, without JSON's quotes.
                let bare =
                    if matches!(value, Value::Blob(_)) { &json.bytes[1..json.bytes.len() - 1] } else { &json.bytes };
                quoted(bare, out);
            }
        }
    }

    fn end_row(&mut self, out: &mut Output) {
        out.bytes.extend_from_slice(b"\r\n");
    }
}

impl Csv {
    /// Appends an empty field.
    fn nothing(&self, out: &mut Output) {
        if self.shapes.len() == 1 {
            out.bytes.extend_from_slice(b"\"\"");
        }
    }

    fn text(&self, index: usize, text: &[u8], out: &mut Output) {
        let replaced;
        let text = match std::str::from_utf8(text) {
            Ok(_) => text,
            Err(_) => {
                out.flaws.add(Flaw::NotUtf8);
                replaced = String::from_utf8_lossy(text).into_owned();
                replaced.as_bytes()
            }
        };
        if index == 0 && text.starts_with(END) {
            return in_quotes(text, out);
        }
        quoted(text, out);
    }
}

/// Appends a field, in quotes if needed.
fn quoted(text: &[u8], out: &mut Output) {
    if !text.is_empty() && !text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
        out.bytes.extend_from_slice(text);
        return;
    }
    in_quotes(text, out);
}

fn in_quotes(text: &[u8], out: &mut Output) {
    out.bytes.push(b'"');
    for part in text.split_inclusive(|&byte| byte == b'"') {
        out.bytes.extend_from_slice(part);
        if part.ends_with(b"\"") {
            out.bytes.push(b'"');
        }
    }
    out.bytes.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{described::Described, row::Column};

    /// The body of a counted list of these rows.
    fn body(names: &[&str], rows: &[Vec<Value<'_>>]) -> Vec<u8> {
        let member = |name: &&str| Member::new(Column::scalar(*name), Described::default());
        let encoder = encoder(&names.iter().map(member).collect::<Vec<_>>(), &Envelope::default());
        let mut writer = encoder.rows();
        let mut out = Output { bytes: encoder.begin().to_vec(), ..Output::default() };
        for row in rows {
            for (index, value) in row.iter().enumerate() {
                writer.field(index, *value, &mut out);
            }
            writer.end_row(&mut out);
        }
        out.bytes.extend_from_slice(&encoder.end(Some(rows.len() as u64)));
        out.bytes
    }

    /// The records after the header, as read by a reader that skips empty lines and records of
    /// another width.
    fn records(body: &[u8]) -> Vec<Vec<String>> {
        let mut reader = ::csv::Reader::from_reader(body);
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    proptest! {
        #[test]
        fn any_texts_read_back_with_a_csv_reader_and_behind_them_stands_their_number(
            rows in prop::collection::vec(prop::collection::vec(".*|(?s).*|[,\"\r\n]*|_end[ ,0-9]*", 4), 0..5),
            width in 1usize..5,
        ) {
            let names = ["a", "b,\"", "", "d"];
            let values: Vec<Vec<Value<'_>>> =
                rows.iter().map(|row| row[..width].iter().map(|text| Value::Text(text.as_bytes())).collect()).collect();
            let body = body(&names[..width], &values);
            let mut read = records(&body);
            let mark = read.pop().unwrap();
            prop_assert_eq!(&read, &rows.iter().map(|row| row[..width].to_vec()).collect::<Vec<_>>());
            let count = rows.len().to_string();
            let (first, rest) = mark.split_first().unwrap();
            match rest.split_first() {
                None => prop_assert_eq!(first, &format!("_end {count}")),
                Some((number, empty)) => {
                    prop_assert_eq!((first.as_str(), number), ("_end", &count));
                    prop_assert!(empty.iter().all(String::is_empty));
                }
            }

            // Only the mark begins a line in this way.
            let lines = body.split(|byte| *byte == b'\n').filter(|line| line.starts_with(END)).count();
            let within = rows.iter().flat_map(|row| &row[..width]).filter(|text| text.contains("\n_end")).count();
            prop_assert!(lines <= 1 + within);
        }
    }

    #[test]
    fn a_row_of_one_column_is_a_record_whatever_its_value_is() {
        let values = [
            Value::Null,
            Value::Text(b""),
            Value::Blob(b""),
            Value::Real(f64::NAN),
            Value::Real(f64::NEG_INFINITY),
            Value::Decimal(b"NaN"),
            Value::Decimal(b"-Infinity"),
            Value::Decimal(b"nonsense"),
            Value::Formless(None),
            Value::Formless(Some(b"")),
            Value::TooLarge,
        ];

        for name in ["a", ""] {
            let rows: Vec<Vec<Value<'_>>> = values.iter().map(|value| vec![*value]).collect();
            let mut read = records(&body(&[name], &rows));
            assert_eq!(read.pop().unwrap(), [format!("_end {}", values.len())]);
            assert_eq!(read, vec![vec![String::new()]; values.len()], "{name:?}");
        }
    }

    #[test]
    fn null_and_the_empty_text_can_be_told_apart() {
        let members = ["a", "b", "c"].map(|name| Member::new(Column::scalar(name), Described::default()));
        let encoder = encoder(&members, &Envelope::default());
        let mut writer = encoder.rows();
        let mut out = Output::default();
        for (index, value) in [Value::Null, Value::Text(b""), Value::Blob(b"\xff")].into_iter().enumerate() {
            writer.field(index, value, &mut out);
        }
        writer.end_row(&mut out);
        assert_eq!(out.bytes, b",\"\",/w==\r\n");
    }
}
