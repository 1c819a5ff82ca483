//! Writes rows and values as JSON, for the formats and sources that need it.
//!
//! Text is scanned 16 bytes at a time for characters that must be escaped; plain ASCII is one copy.
//! Besides those that JSON requires, U+007F to U+009F, U+2028 and U+2029 are escaped: clients that
//! split lines by Unicode's rules would cut NDJSON there.

mod json;

use base64::{Engine, encoded_len, engine::general_purpose::STANDARD};

#[cfg(fuzzing)]
pub(crate) use self::json::fuzz_json;
use self::json::json;
use crate::{
    flaw::{Flaw, Flaws},
    row::{Column, Shape, Value},
};

/// An encoder's output: the bytes so far, and the flaws of values that could not be written as they
/// are.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The bytes so far; an encoder only appends.
    pub(crate) bytes: Vec<u8>,
    /// The flaws of values so far. An encoder only adds to them; its caller takes them out.
    pub(crate) flaws: Flaws,
}

/// Writes rows as JSON objects; holds the members' names, ready to be written.
pub(crate) struct Objects {
    /// The bytes before each value, `{"title":` or `,"url":`, and the value's shape.
    members: Vec<(Vec<u8>, Shape)>,
}

impl Objects {
    pub(crate) fn new<'a>(columns: impl Iterator<Item = &'a Column>) -> Objects {
        let member = |(index, column): (usize, &Column)| {
            let mut out = Output::default();
            out.bytes.push(if index == 0 { b'{' } else { b',' });
            string(column.name.as_bytes(), &mut out);
            out.bytes.push(b':');
            (out.bytes, column.shape.clone())
        };
        Objects { members: columns.enumerate().map(member).collect() }
    }

    pub(crate) fn field(&self, index: usize, value: Value<'_>, out: &mut Output) {
        let (before, shape) = &self.members[index];
        if let (Shape::Members, Some((members, flaws))) = (shape, members_of(value)) {
            out.flaws.add_all(flaws);
            out.bytes.push(before[0]);
            out.bytes.extend_from_slice(members);
            return;
        }
        out.bytes.extend_from_slice(before);
        self::value(value, shape, out);
    }
}

/// Appends a value of a column with this shape, as JSON.
pub(crate) fn value(value: Value<'_>, shape: &Shape, out: &mut Output) {
    match (value, shape) {
        (Value::List(values), Shape::List | Shape::Scalar) => {
            out.bytes.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.bytes.push(b',');
                }
                scalar(*value, out);
            }
            out.bytes.push(b']');
        }
        (Value::List(values), Shape::Object(names)) => object(names, values, out),
        (Value::List(values), Shape::Objects(names)) => {
            out.bytes.push(b'[');
            for (index, values) in values.chunks(names.len().max(1)).enumerate() {
                if index > 0 {
                    out.bytes.push(b',');
                }
                object(names, values, out);
            }
            out.bytes.push(b']');
        }
        (value, _) => scalar(value, out),
    }
}

/// The members of an object, each with its name, and with commas between them; `None` if the value
/// is no object that has any.
pub(crate) fn members_of(value: Value<'_>) -> Option<(&[u8], Flaws)> {
    let Value::Encoded(json, flaws) = value else { return None };
    let members = json.strip_prefix(b"{")?.strip_suffix(b"}")?;
    (!members.is_empty()).then_some((members, flaws))
}

fn object(names: &[String], values: &[Value<'_>], out: &mut Output) {
    for (index, (name, value)) in names.iter().zip(values).enumerate() {
        out.bytes.push(if index == 0 { b'{' } else { b',' });
        string(name.as_bytes(), out);
        out.bytes.push(b':');
        scalar(*value, out);
    }
    out.bytes.push(b'}');
}

/// Appends a single value. A list inside a list does not occur, and would become NULL.
pub(crate) fn scalar(value: Value<'_>, out: &mut Output) {
    match value {
        Value::Null | Value::List(_) => null(out),
        Value::Bool(truth) => out.bytes.extend_from_slice(if truth { b"true" } else { b"false" }),
        Value::Integer(n) => out.bytes.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
        Value::Real(n) if n.is_finite() => out.bytes.extend_from_slice(zmij::Buffer::new().format_finite(n).as_bytes()),
        Value::Real(_) => null(out),
        Value::Decimal(digits) => match decimal(digits, out) {
            Some(digits) => out.bytes.extend_from_slice(digits),
            None => null(out),
        },
        Value::Encoded(json, flaws) => {
            out.flaws.add_all(flaws);
            out.bytes.extend_from_slice(json);
        }
        Value::Formless(own) => {
            out.flaws.add(Flaw::NoForm);
            match own {
                Some(text) => string(text, out),
                None => null(out),
            }
        }
        Value::TooLarge => {
            out.flaws.add(Flaw::TooLarge);
            null(out);
        }
        Value::Text(text) => string(text, out),
        Value::Blob(bytes) => {
            out.bytes.push(b'"');
            base64(bytes, out);
            out.bytes.push(b'"');
        }
        Value::Json(text) => json(text, out),
    }
}

/// Appends bytes in base64. They may be many, so the text is not built in between.
fn base64(bytes: &[u8], out: &mut Output) {
    let from = out.bytes.len();
    let length = encoded_len(bytes.len(), true).expect("what is in memory is not that long");
    out.bytes.resize(from + length, 0);
    STANDARD.encode_slice(bytes, &mut out.bytes[from..]).expect("there is as much room as it needs");
}

fn null(out: &mut Output) {
    out.bytes.extend_from_slice(b"null");
}

/// The digits of a decimal number, if they are a JSON number. NaN and the infinities are not; any
/// other text that is none counts as a value without a form here.
pub(crate) fn decimal<'a>(digits: &'a [u8], out: &mut Output) -> Option<&'a [u8]> {
    if is_number(digits) {
        return Some(digits);
    }
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    if !matches!(unsigned, b"NaN" | b"Infinity" | b"inf") {
        out.flaws.add(Flaw::NoForm);
    }
    None
}

/// Whether decimal digits are a JSON number (RFC 8259 §6).
pub(crate) fn is_number(digits: &[u8]) -> bool {
    let digits = digits.strip_prefix(b"-").unwrap_or(digits);
    let (digits, exponent) = match digits.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = match digits.iter().position(|&byte| byte == b'.') {
        Some(point) => (&digits[..point], Some(&digits[point + 1..])),
        None => (digits, None),
    };
    let all = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let signed = |part: &[u8]| all(part.strip_prefix(b"-").or(part.strip_prefix(b"+")).unwrap_or(part));
    all(whole) && (whole == b"0" || whole[0] != b'0') && fraction.is_none_or(all) && exponent.is_none_or(signed)
}

/// Appends a JSON string.
pub(crate) fn string(text: &[u8], out: &mut Output) {
    out.bytes.push(b'"');
    let mut rest = text;
    loop {
        let plain = plain_prefix(rest);
        out.bytes.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        match rest.first() {
            None => break,
            Some(&byte) if byte < 0x80 => {
                escape(u32::from(byte), out);
                rest = &rest[1..];
            }
            Some(_) => {
                let run = rest.iter().position(|&byte| byte < 0x80).unwrap_or(rest.len());
                beyond_ascii(&rest[..run], out);
                rest = &rest[run..];
            }
        }
    }

    out.bytes.push(b'"');
}

/// The length of a text as a JSON string, with its quotes.
pub(crate) fn string_length(text: &[u8]) -> usize {
    let mut length = "\"\"".len() + text.len();
    let mut rest = &text[plain_prefix(text)..];
    while let Some(&byte) = rest.first() {
        if byte < 0x80 {
            length += escape_length(byte) - 1;
            rest = &rest[1..];
        } else {
            let run = rest.iter().position(|&byte| byte < 0x80).unwrap_or(rest.len());
            length = length - run + beyond_ascii_length(&rest[..run]);
            rest = &rest[run..];
        }
        rest = &rest[plain_prefix(rest)..];
    }
    length
}

/// The length of an ASCII byte's escape sequence.
fn escape_length(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => "\\n".len(),
        _ => ESCAPE,
    }
}

/// The length, in a JSON string, of a run of bytes above ASCII.
fn beyond_ascii_length(run: &[u8]) -> usize {
    let part_length = |part: std::str::Utf8Chunk<'_>| {
        let valid = part.valid();
        let length = if splits_lines(valid) {
            valid.chars().map(|c| if is_line_break(c) { ESCAPE } else { c.len_utf8() }).sum()
        } else {
            valid.len()
        };
        length + if part.invalid().is_empty() { 0 } else { '\u{fffd}'.len_utf8() }
    };
    run.utf8_chunks().map(part_length).sum()
}

/// Characters beyond ASCII that are escaped, since readers may take them for the end of a line.
fn is_line_break(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}')
}

/// Whether a text may have a character that [`is_line_break`].
fn splits_lines(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| pair[0] == 0xc2 || pair == [0xe2, 0x80])
}

/// `\u0000`
const ESCAPE: usize = 6;

fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'
}

/// How many bytes at the start can stay as they are in a JSON string.
fn plain_prefix(text: &[u8]) -> usize {
    let (blocks, _) = text.as_chunks::<16>();
    let whole =
        blocks.iter().take_while(|block| block.iter().fold(true, |plain, &byte| plain & is_plain(byte))).count();
    let from = whole * 16;
    from + text[from..].iter().position(|&byte| !is_plain(byte)).unwrap_or(text.len() - from)
}

/// Appends a run of bytes above ASCII.
fn beyond_ascii(run: &[u8], out: &mut Output) {
    for part in run.utf8_chunks() {
        let valid = part.valid();
        if splits_lines(valid) {
            for c in valid.chars() {
                match c {
                    c if is_line_break(c) => escape(u32::from(c), out),
                    c => out.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        } else {
            out.bytes.extend_from_slice(valid.as_bytes());
        }
        if !part.invalid().is_empty() {
            out.bytes.extend_from_slice("\u{fffd}".as_bytes());
            out.flaws.add(Flaw::NotUtf8);
        }
    }
}

fn escape(c: u32, out: &mut Output) {
    let short = match c {
        0x22 => b'"',
        0x5c => b'\\',
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.bytes.extend_from_slice(b"\\u");
            out.bytes.extend((0..4).rev().map(|digit| HEX[(c >> (4 * digit)) as usize & 15]));
            return;
        }
    };

    out.bytes.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: Value<'_>) -> String {
        let mut out = Output::default();
        scalar(value, &mut out);
        String::from_utf8(out.bytes).unwrap()
    }

    proptest! {
        #[test]
        fn any_text_reads_back_and_stays_on_one_line(text in "\\PC*|(?s).*") {
            let written = json(Value::Text(text.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
            let splits_lines = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            prop_assert!(!written.contains(splits_lines), "one line");
        }

        #[test]
        fn any_bytes_read_back_as_their_lossy_text(bytes: Vec<u8>) {
            let written = json(Value::Text(&bytes));
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn numbers_read_back_exactly(n: i64, bits: u64) {
            prop_assert_eq!(json(Value::Integer(n)).parse::<i64>().unwrap(), n);
            let real = f64::from_bits(bits);
            let written = json(Value::Real(real));
            if real.is_finite() {
                prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), bits);
                prop_assert!(serde_json::from_str::<f64>(&written).is_ok(), "{}", written);
            } else {
                prop_assert_eq!(written, "null");
            }
        }

        #[test]
        fn a_json_column_is_embedded_when_valid_and_text_otherwise(text in "[\\[\\]{}:,\" \\\\0-9a-z\n\u{2028}]{0,12}") {
            let written = json(Value::Json(text.as_bytes()));
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(inner) => prop_assert_eq!(read, inner),
                Err(_) => prop_assert_eq!(read, serde_json::Value::String(text)),
            }
            prop_assert!(!written.contains(['\n', '\u{2028}']), "one line");
        }
    }

    #[test]
    fn what_breaks_toys_is_written_right() {
        assert_eq!(
            json(Value::Text("\u{0}\u{1f}\u{7f}\u{85}\u{2028}\u{2029}\t\"\\/é😀".as_bytes())),
            r#""\u0000\u001f\u007f\u0085\u2028\u2029\t\"\\/é😀""#
        );

        assert_eq!(json(Value::Text(b"a\xffb")), "\"a\u{fffd}b\"");
        assert_eq!(json(Value::Blob(b"\x00\xff")), "\"AP8=\"");
        assert_eq!(
            json(Value::Json(br#" {"a" : [1, "\ud800", "\ud83d\ude00", "x y"]} "#)),
            r#"{"a":[1,"\ufffd","\ud83d\ude00","x y"]}"#
        );

        assert_eq!(json(Value::Json(b"[1e30, 12345678901234567890123]")), "[1e30,12345678901234567890123]");
        for (digits, flawed) in [("NaN", false), ("-Infinity", false), ("-inf", false), ("007", true), ("1.", true)] {
            let mut out = Output::default();
            scalar(Value::Decimal(digits.as_bytes()), &mut out);
            assert_eq!((&out.bytes[..], out.flaws.is_empty()), (&b"null"[..], !flawed), "{digits}");
        }
    }
}
