//! CSV as RFC 4180 has it: a header row, lines ended by CRLF, quotes where they are needed.
//!
//! NULL is an empty field and an empty text is `""`, so that the two can be told apart. Related lists stand as JSON text.

use bytes::Bytes;

use super::{Encoder, Output};
use crate::{
    row::{Column, Shape, Value},
    text,
};

struct Csv {
    header: Bytes,
    shapes: Vec<Shape>,
}

pub(super) fn encoder(columns: &[Column]) -> Box<dyn Encoder> {
    let mut out = Output::default();
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.bytes.push(b',');
        }
        quoted(column.name.as_bytes(), &mut out);
    }
    out.bytes.extend_from_slice(b"\r\n");
    Box::new(Csv { header: out.bytes.into(), shapes: columns.iter().map(|column| column.shape.clone()).collect() })
}

impl Encoder for Csv {
    fn begin(&self) -> Bytes {
        self.header.clone()
    }

    fn field(&self, index: usize, value: Value<'_>, out: &mut Output) {
        if index > 0 {
            out.bytes.push(b',');
        }
        match value {
            // A line with nothing in it is no row to many readers.
            Value::Null if self.shapes.len() == 1 => out.bytes.extend_from_slice(b"\"\""),
            Value::Null => {}
            Value::Real(n) if !n.is_finite() => {}
            Value::Text(text) => match std::str::from_utf8(text) {
                Ok(_) => quoted(text, out),
                Err(_) => {
                    out.mended += 1;
                    quoted(String::from_utf8_lossy(text).as_bytes(), out);
                }
            },
            Value::Bool(_) | Value::Integer(_) | Value::Real(_) => text::scalar(value, out),
            Value::Decimal(digits) if text::is_number(digits) => out.bytes.extend_from_slice(digits),
            Value::Decimal(_) => {}
            Value::Blob(_) | Value::Json(_) | Value::Encoded(_) | Value::List(_) => {
                let mut json = Output::default();
                text::value(value, &self.shapes[index], &mut json);
                out.mended += json.mended;
                // A blob is one base64 text; its JSON quotes are not part of it.
                let bare =
                    if matches!(value, Value::Blob(_)) { &json.bytes[1..json.bytes.len() - 1] } else { &json.bytes };
                quoted(bare, out);
            }
        }
    }

    fn end_row(&self, out: &mut Output) {
        out.bytes.extend_from_slice(b"\r\n");
    }

    fn between(&self) -> Bytes {
        Bytes::new()
    }

    fn end(&self, _count: Option<u64>) -> Bytes {
        Bytes::new()
    }
}

fn quoted(text: &[u8], out: &mut Output) {
    if !text.is_empty() && !text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
        out.bytes.extend_from_slice(text);
        return;
    }
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

    proptest! {
        #[test]
        fn any_texts_read_back_with_a_csv_reader(rows in prop::collection::vec([".*", "(?s).*", "[,\"\r\n]*"], 0..5)) {
            let columns = ["a", "b,\"", "c"].map(Column::scalar);
            let encoder = encoder(&columns);
            let mut out = Output { bytes: encoder.begin().to_vec(), mended: 0 };
            for row in &rows {
                for (index, text) in row.iter().enumerate() {
                    encoder.field(index, Value::Text(text.as_bytes()), &mut out);
                }
                encoder.end_row(&mut out);
            }
            let mut reader = ::csv::Reader::from_reader(&out.bytes[..]);
            prop_assert_eq!(reader.headers().unwrap(), vec!["a", "b,\"", "c"]);
            let read: Vec<Vec<String>> = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
            prop_assert_eq!(read, rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn null_and_the_empty_text_can_be_told_apart() {
        let encoder = encoder(&["a", "b", "c"].map(Column::scalar));
        let mut out = Output::default();
        for (index, value) in [Value::Null, Value::Text(b""), Value::Blob(b"\xff")].into_iter().enumerate() {
            encoder.field(index, value, &mut out);
        }
        encoder.end_row(&mut out);
        assert_eq!(out.bytes, b",\"\",/w==\r\n");
    }
}
