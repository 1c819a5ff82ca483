//! Decodes MySQL's binary values into those of a list.

use std::io::Write;

use mysql_async::{
    Column, Row, Value,
    consts::{ColumnFlags, ColumnType},
};

use crate::{
    error::{Error, Kind, Result},
    row::{Form, Slot, ValueBuffer},
    source::sql::plan::Select,
};

/// The number of the character set for bytes.
const BINARY: u16 = 63;

/// How to read the values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Plain,
    Text,
    Json,
    Blob,
    Decimal,
    Bit,
    Date,
    DateTime,
    Timestamp,
}

impl Wire {
    fn of(column: &Column, json: bool) -> Wire {
        match column.column_type() {
            _ if json => Wire::Json,
            ColumnType::MYSQL_TYPE_JSON => Wire::Json,
            ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => Wire::Decimal,
            ColumnType::MYSQL_TYPE_BIT => Wire::Bit,
            ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Wire::Date,
            ColumnType::MYSQL_TYPE_DATETIME => Wire::DateTime,
            ColumnType::MYSQL_TYPE_TIMESTAMP => Wire::Timestamp,
            ColumnType::MYSQL_TYPE_GEOMETRY | ColumnType::MYSQL_TYPE_VECTOR => Wire::Blob,
            ColumnType::MYSQL_TYPE_TINY_BLOB
            | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
            | ColumnType::MYSQL_TYPE_LONG_BLOB
            | ColumnType::MYSQL_TYPE_BLOB
            | ColumnType::MYSQL_TYPE_VARCHAR
            | ColumnType::MYSQL_TYPE_VAR_STRING
            | ColumnType::MYSQL_TYPE_STRING => match column.character_set() == BINARY {
                // A column declared ENUM or SET is text, even with the character set of bytes.
                true if !column.flags().intersects(ColumnFlags::ENUM_FLAG | ColumnFlags::SET_FLAG) => Wire::Blob,
                _ => Wire::Text,
            },
            ColumnType::MYSQL_TYPE_ENUM | ColumnType::MYSQL_TYPE_SET => Wire::Text,
            _ => Wire::Plain,
        }
    }

    /// Adds a value to `held`.
    fn read(self, value: &Value, held: &mut ValueBuffer) -> Result<()> {
        let from = held.bytes.len();
        match (self, value) {
            (_, Value::NULL) => held.slots.push(Slot::Null),
            (_, Value::Int(n)) => held.slots.push(Slot::Integer(*n)),
            (_, Value::UInt(n)) => return number(*n, held),
            (_, Value::Double(n)) => held.slots.push(Slot::Real(*n)),
            (_, Value::Float(n)) => {
                // The shortest digits of the 32-bit number, not of the double next to it.
                return held.push(Form::Decimal, zmij::Buffer::new().format(*n).as_bytes());
            }
            (Wire::Bit, Value::Bytes(bytes)) => match bits(bytes) {
                Some(n) => return number(n, held),
                None => held.slots.push(Slot::Unreadable),
            },
            (Wire::Decimal, Value::Bytes(bytes)) => return held.push(Form::Decimal, without_padding(bytes)),
            (Wire::Json, Value::Bytes(bytes)) => return held.push(Form::Json, bytes),
            (Wire::Blob, Value::Bytes(bytes)) => return held.push(Form::Blob, bytes),
            (_, Value::Bytes(bytes)) => return held.push(Form::Text, bytes),
            // MySQL's date for a missing or partial date, which is no date. Keys are read as text.
            (_, Value::Date(_, 0, ..) | Value::Date(_, _, 0, ..)) => held.slots.push(Slot::Unreadable),
            (wire, &Value::Date(year, month, day, hour, minute, second, micros)) => {
                let out = &mut held.bytes;
                two(u32::from(year) / 100, out);
                two(u32::from(year) % 100, out);
                out.push(b'-');
                two(month.into(), out);
                out.push(b'-');
                two(day.into(), out);
                if wire != Wire::Date {
                    out.push(b'T');
                    time(hour.into(), minute, second, micros, out)?;
                    out.extend((wire == Wire::Timestamp).then_some(b'Z'));
                }
                return held.close(Form::Text, from);
            }
            (_, &Value::Time(negative, days, hours, minutes, seconds, micros)) => {
                held.bytes.extend(negative.then_some(b'-'));
                time(days * 24 + u32::from(hours), minutes, seconds, micros, &mut held.bytes)?;
                return held.close(Form::Text, from);
            }
        }

        Ok(())
    }
}

/// Adds the values of `selects`, the last columns of a row; returns their bytes. How to read them is
/// found out at the first row and kept in `wires`.
pub(super) fn push(row: &Row, selects: &[Select], wires: &mut Vec<Wire>, held: &mut ValueBuffer) -> Result<usize> {
    let columns = row.columns_ref();
    let unread = columns.len().saturating_sub(selects.len());
    if wires.is_empty() {
        wires.extend(columns[unread..].iter().zip(selects).map(|(column, select)| Wire::of(column, select.json)));
    }

    let mut size = 0;
    for (index, wire) in wires.iter().enumerate() {
        let value = row.as_ref(unread + index).ok_or_else(malformed)?;
        size += if let Value::Bytes(bytes) = value { bytes.len() } else { 8 };
        wire.read(value, held)?;
    }
    Ok(size)
}

/// A whole number.
pub(super) fn whole(row: &Row, index: usize) -> Option<i64> {
    match row.as_ref(index)? {
        Value::Int(n) => Some(*n),
        Value::UInt(n) => i64::try_from(*n).ok(),
        Value::Bytes(bytes) if row.columns_ref()[index].column_type() == ColumnType::MYSQL_TYPE_BIT => {
            i64::try_from(bits(bytes)?).ok()
        }
        // A query that was not prepared gets text.
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// A text.
pub(super) fn text(row: &Row, index: usize) -> Option<String> {
    match row.as_ref(index)? {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

fn malformed() -> Error {
    Error::new(Kind::Data, "MySQL sent a value in a form that is not its type's")
}

/// The digits without the zeros that `ZEROFILL` puts before them.
fn without_padding(digits: &[u8]) -> &[u8] {
    let whole = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let zeros = digits[..whole].iter().take_while(|byte| **byte == b'0').count();
    &digits[zeros.min(whole.saturating_sub(1))..]
}

/// Up to 64 bits.
fn bits(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

fn number(n: u64, held: &mut ValueBuffer) -> Result<()> {
    match i64::try_from(n) {
        Ok(n) => held.slots.push(Slot::Integer(n)),
        Err(_) => return held.push(Form::Decimal, itoa::Buffer::new().format(n).as_bytes()),
    }
    Ok(())
}

/// Two digits.
fn two(n: u32, out: &mut Vec<u8>) {
    out.extend([b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
}

/// A time, with as many decimals as it needs.
fn time(hours: u32, minutes: u8, seconds: u8, micros: u32, out: &mut Vec<u8>) -> Result<()> {
    if hours < 100 {
        two(hours, out)
    } else {
        write!(out, "{hours}").map_err(|_| malformed())?
    }

    out.push(b':');
    two(minutes.into(), out);
    out.push(b':');
    two(seconds.into(), out);
    if micros > 0 {
        out.push(b'.');
        let mut rest = micros % 1_000_000;
        let mut unit = 100_000;
        while rest > 0 {
            out.push(b'0' + (rest / unit) as u8);
            rest %= unit;
            unit /= 10;
        }
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    fn shown(wire: Wire, value: Value) -> String {
        let mut held = ValueBuffer::new(1);
        wire.read(&value, &mut held).unwrap();
        let mut out = text::Output::default();
        text::scalar(held.value(held.slots[0]), &mut out);
        String::from_utf8(out.bytes).unwrap()
    }

    #[test]
    fn moments_are_those_that_mysql_shows_and_dates_that_are_none_are_null() {
        let date = |year, month, day, micros| Value::Date(year, month, day, 3, 4, 5, micros);
        assert_eq!(shown(Wire::Date, date(2026, 2, 3, 0)), "\"2026-02-03\"");
        assert_eq!(shown(Wire::DateTime, date(44, 12, 31, 120_000)), "\"0044-12-31T03:04:05.12\"");
        assert_eq!(shown(Wire::Timestamp, date(2026, 2, 3, 1)), "\"2026-02-03T03:04:05.000001Z\"");
        assert_eq!(shown(Wire::DateTime, date(2026, 0, 3, 0)), "null");
        assert_eq!(shown(Wire::Date, date(0, 0, 0, 0)), "null");
        assert_eq!(shown(Wire::Plain, Value::Time(true, 34, 22, 59, 59, 500_000)), "\"-838:59:59.5\"");
        assert_eq!(shown(Wire::Bit, Value::Bytes(vec![255; 8])), "18446744073709551615");
        assert_eq!(shown(Wire::Plain, Value::Float(0.1)), "0.1");
    }
}
