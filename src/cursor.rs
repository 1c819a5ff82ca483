//! A place in a list: the values of the order columns of the last row that was read.
//!
//! A cursor holds values and not a row's address, so that deleting the row does not lose the place.
//! Chunk keys and boundaries are made from its canonical form, which therefore never depends on the
//! process, the machine or the driver. It is a series of values, each a tag byte and its bytes:
//!
//! ```text
//! 0            NULL
//! 1  8 bytes   integer, two's complement, big endian
//! 2  8 bytes   double that is no such integer, IEEE 754 bits, big endian
//! 3  4 + n     text: length, big endian, then the bytes
//! 4  4 + n     blob: the same
//! 5  1 byte    truth value
//! 6  4 + n     decimal number: length, big endian, then its digits
//! ```
//!
//! The text that clients see is made in `seal.rs`.

use bytes::Bytes;

use crate::{
    error::{Error, Kind, Result},
    row::{Value, unreadable_key},
    text,
};

/// The longest canonical form, in bytes. A row with a longer key cannot be a place in a list.
pub(crate) const MAX_CURSOR: usize = 16 * 1024;
/// How many characters of a row's key the log shows.
const LONGEST_TOLD: usize = 200;

/// A place in a list: before its first row, or after the row with these key values.
///
/// ```
/// use chunkflow::source::{Cursor, Value};
/// let place = Cursor::after(&[Value::Text(b"2026-11-24"), Value::Integer(7)])?;
/// assert_eq!(place.values().count(), 2);
/// assert_eq!(Cursor::from_canonical(place.canonical().clone()), Some(place));
/// # Ok::<(), chunkflow::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor(Bytes);

impl Cursor {
    /// The place before the first row.
    pub const fn start() -> Cursor {
        Cursor(Bytes::new())
    }

    /// The place after the row whose order columns have these values.
    ///
    /// # Errors
    /// [`Kind::Data`] if the values are longer than 16 KiB, are not single values or cannot be
    /// read.
    pub fn after(key: &[Value<'_>]) -> Result<Cursor> {
        let mut bytes = Vec::with_capacity(32);
        encode(key, &mut bytes)?;
        Ok(Cursor(bytes.into()))
    }

    /// The place with this canonical form; `None` if it is not one.
    pub fn from_canonical(bytes: Bytes) -> Option<Cursor> {
        let whole = Values(&bytes).try_fold(0, |n, value| value.map(|_| n + 1)).is_some();
        (whole && bytes.len() <= MAX_CURSOR).then_some(Cursor(bytes))
    }

    /// The canonical form; empty at the start of a list.
    pub fn canonical(&self) -> &Bytes {
        &self.0
    }

    /// Whether this is the place before the first row.
    pub fn is_start(&self) -> bool {
        self.0.is_empty()
    }

    /// The row that it is behind, by the columns of its order, for the log: `created="2026-01-01",
    /// id=7`.
    pub(crate) fn told(&self, order: &[String]) -> String {
        let named = order.iter().zip(self.values()).map(|(column, value)| {
            let mut json = text::Output::default();
            text::scalar(value, &mut json);
            format!("{}={}", column.trim_start_matches('-'), String::from_utf8_lossy(&json.bytes))
        });
        named.collect::<Vec<_>>().join(", ").chars().take(LONGEST_TOLD).collect()
    }

    /// The key values, in the order of the order columns; none at the start.
    pub fn values(&self) -> impl Iterator<Item = Value<'_>> {
        Values(&self.0).map_while(|value| value)
    }
}

/// Appends the canonical form of key values to `out`.
///
/// # Errors
/// As [`Cursor::after`].
pub(crate) fn encode(key: &[Value<'_>], out: &mut Vec<u8>) -> Result<()> {
    let from = out.len();
    for value in key {
        match *value {
            Value::Null => out.push(0),
            Value::Integer(n) => {
                out.push(1);
                out.extend_from_slice(&n.to_be_bytes());
            }
            // Equal numbers have one form, since they have one place in an order.
            Value::Real(n) if whole(n).is_some() => {
                out.push(1);
                out.extend_from_slice(&whole(n).unwrap_or_default().to_be_bytes());
            }
            Value::Real(n) => {
                out.push(2);
                out.extend_from_slice(&n.to_bits().to_be_bytes());
            }
            Value::Text(bytes) => run(3, bytes, out)?,
            Value::Blob(bytes) => run(4, bytes, out)?,
            Value::Bool(truth) => out.extend_from_slice(&[5, u8::from(truth)]),
            Value::Decimal(digits) => run(6, digits, out)?,
            Value::Json(_) | Value::Encoded(..) | Value::List(_) => {
                return Err(Error::new(Kind::Data, "an order column holds a value that cannot be compared"));
            }
            Value::Formless(_) | Value::TooLarge => return Err(unreadable_key()),
        }
    }

    if out.len() - from > MAX_CURSOR {
        return Err(too_long(out.len() - from));
    }

    Ok(())
}

/// The whole number that equals a double, if an i64 can hold it.
fn whole(n: f64) -> Option<i64> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    (n.trunc() == n && (-BEYOND..BEYOND).contains(&n)).then_some(n as i64)
}

fn run(tag: u8, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|&n| n as usize <= MAX_CURSOR);
    let length = length.ok_or_else(|| too_long(bytes.len()))?;
    out.push(tag);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn too_long(bytes: usize) -> Error {
    Error::new(Kind::Data, format!("the key of a row is {bytes} bytes long, more than {MAX_CURSOR}"))
        .remedy("order the resource by shorter columns")
}

/// Reads a canonical form. Yields `None` once if it is broken.
struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn eight(&mut self) -> Option<[u8; 8]> {
        self.take(8)?.try_into().ok()
    }

    fn run(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(length as usize)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        Some(match self.take(1)?[0] {
            0 => Value::Null,
            1 => Value::Integer(i64::from_be_bytes(self.eight()?)),
            2 => Value::Real(Some(f64::from_bits(u64::from_be_bytes(self.eight()?))).filter(|n| whole(*n).is_none())?),
            3 => Value::Text(self.run()?),
            4 => Value::Blob(self.run()?),
            5 => match self.take(1)?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return None,
            },
            6 => Value::Decimal(self.run()?),
            _ => return None,
        })
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Option<Value<'a>>;

    fn next(&mut self) -> Option<Option<Value<'a>>> {
        if self.0.is_empty() {
            return None;
        }
        let value = self.value();
        if value.is_none() {
            self.0 = &[];
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_values_of_a_cursor_are_those_it_was_made_of(n: i64, bits: u64, text: Vec<u8>, truth: bool) {
            let real = f64::from_bits(bits);
            let mut key = vec![Value::Integer(n), Value::Text(&text), Value::Blob(&text), Value::Bool(truth)];
            if !real.is_nan() && whole(real).is_none() { key.push(Value::Real(real)); }
            if truth { key.push(Value::Null); }
            let cursor = Cursor::after(&key).unwrap();
            let back = Cursor::from_canonical(cursor.canonical().clone()).unwrap();
            prop_assert_eq!(back.values().collect::<Vec<_>>(), key);
        }

        #[test]
        fn any_bytes_are_a_canonical_form_or_are_not_without_a_panic(bytes: Vec<u8>) {
            let _ = Cursor::from_canonical(bytes.into());
        }
    }

    #[test]
    fn equal_numbers_are_one_place() {
        for (real, n) in [(1.0, 1), (-0.0, 0), (-9_223_372_036_854_775_808.0, i64::MIN)] {
            assert_eq!(Cursor::after(&[Value::Real(real)]).unwrap(), Cursor::after(&[Value::Integer(n)]).unwrap());
        }
        for real in [1.5, 9_223_372_036_854_775_808.0, f64::INFINITY] {
            assert_eq!(Cursor::after(&[Value::Real(real)]).unwrap().values().next(), Some(Value::Real(real)));
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_a_failure_and_no_null() {
        for unread in [Value::Formless(None), Value::Formless(Some(b"0105")), Value::TooLarge] {
            let error = Cursor::after(&[Value::Integer(1), unread]).unwrap_err();
            assert_eq!(error.kind(), Kind::Data);
            assert!(error.advice().is_some());
        }
    }
}
