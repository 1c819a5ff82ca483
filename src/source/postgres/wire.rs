//! Decodes PostgreSQL's binary values.
//!
//! The form of each type is what its `…_send` function writes (src/backend/utils/adt of
//! PostgreSQL's sources); all numbers are big endian. Dates and times become RFC 3339 text, which
//! PostgreSQL reads back as the same value.

use std::{
    io::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use tokio_postgres::types::Type;

use crate::{
    error::Result,
    flaw::Flaws,
    row::{Form, Slot, ValueBuffer},
    text,
};

/// The binary form of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Uuid,
    Json,
    Jsonb,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Inet,
    /// An array; it names the type of its elements itself.
    Array,
}

impl Wire {
    /// The form of a type; `None` if the server must turn values into text or JSON.
    pub(super) fn of(ty: &Type) -> Option<Wire> {
        Some(match *ty {
            Type::BOOL => Wire::Bool,
            Type::INT2 => Wire::Int2,
            Type::INT4 => Wire::Int4,
            Type::INT8 => Wire::Int8,
            Type::OID => Wire::Oid,
            Type::FLOAT4 => Wire::Float4,
            Type::FLOAT8 => Wire::Float8,
            Type::NUMERIC => Wire::Numeric,
            // Without `"char"`, whose byte need not be text.
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => Wire::Text,
            Type::BYTEA => Wire::Bytea,
            Type::UUID => Wire::Uuid,
            Type::JSON => Wire::Json,
            Type::JSONB => Wire::Jsonb,
            Type::DATE => Wire::Date,
            Type::TIME => Wire::Time,
            Type::TIMESTAMP => Wire::Timestamp,
            Type::TIMESTAMPTZ => Wire::TimestampTz,
            Type::INET | Type::CIDR => Wire::Inet,
            _ => match ty.kind() {
                tokio_postgres::types::Kind::Array(element) if Wire::of(element).is_some() => Wire::Array,
                _ => return None,
            },
        })
    }

    /// Adds a value to `held`. Bytes that are not of this form become a value that cannot be read.
    ///
    /// # Errors
    /// As [`ValueBuffer::close`].
    pub(super) fn read(self, raw: Option<&[u8]>, held: &mut ValueBuffer) -> Result<()> {
        let Some(raw) = raw else {
            held.slots.push(Slot::Null);
            return Ok(());
        };

        let from = held.bytes.len();
        let slot = match self.decode(raw, &mut held.bytes) {
            Some(Read::Bytes(form)) => return held.close(form, from),
            Some(Read::Slot(slot)) => slot,
            None => {
                held.bytes.truncate(from);
                Slot::Unreadable
            }
        };

        held.slots.push(slot);
        Ok(())
    }

    /// The value of these bytes; or the type of the bytes that this appended to `out`. `None` if
    /// they are not of this form.
    fn decode(self, raw: &[u8], out: &mut Vec<u8>) -> Option<Read> {
        let integer = |n: i64| Some(Read::Slot(Slot::Integer(n)));
        match self {
            Wire::Bool => return Some(Read::Slot(Slot::Bool(fixed::<1>(raw)?[0] != 0))),
            Wire::Int2 => return integer(i16::from_be_bytes(fixed(raw)?).into()),
            Wire::Int4 => return integer(i32::from_be_bytes(fixed(raw)?).into()),
            Wire::Int8 => return integer(i64::from_be_bytes(fixed(raw)?)),
            Wire::Oid => return integer(u32::from_be_bytes(fixed(raw)?).into()),
            Wire::Float8 => return Some(Read::Slot(Slot::Real(f64::from_be_bytes(fixed(raw)?)))),
            Wire::Float4 => {
                // The shortest digits of the 32-bit number, not of the double next to it.
                let n = f32::from_be_bytes(fixed(raw)?);
                out.extend_from_slice(zmij::Buffer::new().format(n).as_bytes());
                return Some(Read::Bytes(Form::Decimal));
            }
            Wire::Numeric => {
                numeric(raw, out)?;
                return Some(Read::Bytes(Form::Decimal));
            }
            Wire::Bytea => {
                out.extend_from_slice(raw);
                return Some(Read::Bytes(Form::Blob));
            }
            Wire::Json => {
                out.extend_from_slice(raw);
                return Some(Read::Bytes(Form::Json));
            }
            Wire::Jsonb => {
                // A version byte comes before the text.
                out.extend_from_slice(raw.strip_prefix(&[1])?);
                return Some(Read::Bytes(Form::Json));
            }
            Wire::Array => return Some(Read::Bytes(Form::Encoded(array(raw, out)?))),
            Wire::Text => out.extend_from_slice(raw),
            Wire::Uuid => uuid(fixed(raw)?, out),
            Wire::Date => date(i32::from_be_bytes(fixed(raw)?), out),
            Wire::Time => match i64::from_be_bytes(fixed(raw)?) {
                micros @ 0..=86_400_000_000 => time(micros, out),
                _ => return None,
            },
            Wire::Timestamp => timestamp(i64::from_be_bytes(fixed(raw)?), "", out),
            Wire::TimestampTz => timestamp(i64::from_be_bytes(fixed(raw)?), "Z", out),
            Wire::Inet => inet(raw, out)?,
        }

        Some(Read::Bytes(Form::Text))
    }
}

/// A decoded value.
enum Read {
    Slot(Slot),
    /// The bytes that were appended are of this type.
    Bytes(Form),
}

/// Reads bytes as a value of the type with this number, for fuzzing.
#[cfg(fuzzing)]
pub(crate) fn fuzz_postgres_wire(oid: u32, raw: &[u8]) {
    let mut held = ValueBuffer::new(1);
    if let Some(wire) = Type::from_oid(oid).as_ref().and_then(Wire::of)
        && wire.read(Some(raw), &mut held).is_ok()
    {
        text::scalar(held.value(held.slots[0]), &mut text::Output::default());
    }
}

fn fixed<const N: usize>(raw: &[u8]) -> Option<[u8; N]> {
    raw.try_into().ok()
}

/// Reads big-endian numbers one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(fixed(self.take(2)?)?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(fixed(self.take(4)?)?))
    }
}

/// Digits in base 10,000, the first of which counts `10000^weight`, and the number of decimals to
/// show.
fn numeric(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut reader = Reader(raw);
    let count = reader.i16()?;
    let weight = i32::from(reader.i16()?);
    let sign = reader.i16()? as u16;
    let scale = reader.i16()?;
    match sign {
        0x0000 => {}
        0x4000 => out.push(b'-'),
        0xd000 => return write(out, format_args!("Infinity")),
        0xf000 => return write(out, format_args!("-Infinity")),
        _ => return write(out, format_args!("NaN")),
    }

    let digits = reader.take(usize::try_from(count).ok()? * 2)?;
    // The digits of 10000^place: all are below 10,000, and the sender leaves zeros at the ends out.
    let group = |place: i32| {
        let at = usize::try_from(weight - place).ok().and_then(|at| digits.get(at * 2..at * 2 + 2));
        at.map_or(0, |raw| i64::from(u16::from_be_bytes([raw[0], raw[1]]) % 10_000))
    };

    if weight >= 0 {
        out.extend_from_slice(itoa::Buffer::new().format(group(weight)).as_bytes())
    } else {
        out.push(b'0')
    }

    for place in (0..weight).rev() {
        four(group(place), out);
    }

    if scale > 0 {
        out.push(b'.');
        let end = out.len() + scale as usize;
        for place in 1..=i32::from(scale).div_euclid(4) + 1 {
            four(group(-place), out);
        }
        out.truncate(end);
    }

    Some(())
}

/// Writing to memory cannot fail.
fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) -> Option<()> {
    out.write_fmt(text).ok()
}

fn uuid(raw: [u8; 16], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (index, byte) in raw.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Two digits.
fn two(n: i64, out: &mut Vec<u8>) {
    out.extend([b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]);
}

/// Four digits.
fn four(n: i64, out: &mut Vec<u8>) {
    two(n / 100, out);
    two(n % 100, out);
}

/// Writes the date that is `days` days after 2000-01-01. Returns whether it is BC, which the caller
/// writes at the end.
fn day(days: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil(days + 10_957);
    let before = year <= 0;
    let year = if before { 1 - year } else { year };
    if year > 9999 {
        out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    } else {
        four(year, out);
    }
    out.push(b'-');
    two(month, out);
    out.push(b'-');
    two(day, out);
    before
}

/// Year, month and day of the date `days` days after 1970-01-01, in the proleptic Gregorian
/// calendar (<https://howardhinnant.github.io/date_algorithms.html>, `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn date(days: i32, out: &mut Vec<u8>) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        days => {
            if day(days.into(), out) {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

/// A time of day in microseconds, with as many decimals as it needs.
fn time(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros / 1_000_000;
    two(seconds / 3600, out);
    out.push(b':');
    two(seconds / 60 % 60, out);
    out.push(b':');
    two(seconds % 60, out);
    let mut rest = micros % 1_000_000;
    if rest > 0 {
        out.push(b'.');
        let mut unit = 100_000;
        while rest > 0 {
            out.push(b'0' + (rest / unit) as u8);
            rest %= unit;
            unit /= 10;
        }
    }
}

/// A time in microseconds since 2000-01-01.
fn timestamp(micros: i64, zone: &str, out: &mut Vec<u8>) {
    const DAY: i64 = 86_400_000_000;
    match micros {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        micros => {
            let before = day(micros.div_euclid(DAY), out);
            out.push(b'T');
            time(micros.rem_euclid(DAY), out);
            out.extend_from_slice(zone.as_bytes());
            if before {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

/// The address family, the bits of the mask, whether it is a `cidr`, and the address.
fn inet(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let [_, bits, is_cidr, _, address @ ..] = raw else { return None };
    match address.len() {
        4 => write(out, format_args!("{}", Ipv4Addr::from(fixed::<4>(address)?)))?,
        _ => ipv6(Ipv6Addr::from(fixed::<16>(address)?), out)?,
    }
    // As in PostgreSQL: an `inet` without its mask, if that covers the whole address.
    if usize::from(*bits) < address.len() * 8 || *is_cidr != 0 {
        write(out, format_args!("/{bits}"))?;
    }
    Some(())
}

/// As in PostgreSQL (`inet_net_ntop`): an IPv4 address behind zeros only is written as one.
fn ipv6(address: Ipv6Addr, out: &mut Vec<u8>) -> Option<()> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            write(out, format_args!("::{a}.{b}.{c}.{d}"))
        }
        _ => write(out, format_args!("{address}")),
    }
}

/// The dimensions, the elements' type, the length and first index of each dimension, then the
/// elements. Returns the flaws of elements that could not be written as they are.
fn array(raw: &[u8], out: &mut Vec<u8>) -> Option<Flaws> {
    let mut reader = Reader(raw);
    let dimensions = reader.i32()?;
    let _has_nulls = reader.i32()?;
    let element = reader.i32()? as u32;
    let wire = Type::from_oid(element).as_ref().and_then(Wire::of)?;
    if !(0..=6).contains(&dimensions) {
        return None;
    }

    let length = |_| {
        let length = reader.i32()?;
        reader.i32()?;
        (length > 0).then_some(length)
    };

    let lengths = (0..dimensions).map(length).collect::<Option<Vec<i32>>>()?;
    if lengths.is_empty() {
        out.extend_from_slice(b"[]");
        return Some(Flaws::NONE);
    }

    let mut json = text::Output { bytes: std::mem::take(out), flaws: Flaws::NONE };
    let written = elements(wire, &lengths, &mut reader, &mut ValueBuffer::new(1), &mut json);
    *out = json.bytes;
    written.map(|()| json.flaws)
}

fn elements(
    wire: Wire,
    lengths: &[i32],
    reader: &mut Reader<'_>,
    scratch: &mut ValueBuffer,
    out: &mut text::Output,
) -> Option<()> {
    out.bytes.push(b'[');
    for index in 0..lengths[0] {
        if index > 0 {
            out.bytes.push(b',');
        }
        if lengths.len() > 1 {
            elements(wire, &lengths[1..], reader, scratch, out)?;
            continue;
        }
        let raw = match reader.i32()? {
            -1 => None,
            length => Some(reader.take(usize::try_from(length).ok()?)?),
        };
        scratch.clear();
        wire.read(raw, scratch).ok()?;
        text::scalar(scratch.value(scratch.slots[0]), out);
    }

    out.bytes.push(b']');
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(wire: Wire, raw: &[u8]) -> String {
        let mut held = ValueBuffer::new(1);
        wire.read(Some(raw), &mut held).unwrap();
        let mut out = text::Output::default();
        text::scalar(held.value(held.slots[0]), &mut out);
        String::from_utf8(out.bytes).unwrap()
    }

    #[test]
    fn moments_are_those_that_postgresql_shows() {
        let at = |micros: i64| shown(Wire::TimestampTz, &micros.to_be_bytes());
        assert_eq!(at(0), "\"2000-01-01T00:00:00Z\"");
        assert_eq!(at(-1), "\"1999-12-31T23:59:59.999999Z\"");
        assert_eq!(at(i64::MAX), "\"infinity\"");
        let on = |days: i32| shown(Wire::Date, &days.to_be_bytes());
        assert_eq!(on(59), "\"2000-02-29\"");
        assert_eq!(on(-730_119), "\"0001-01-01\"");
        assert_eq!(on(-730_120), "\"0001-12-31 BC\"");
        assert_eq!(on(2_921_940), "\"10000-01-01\"");
        assert_eq!(shown(Wire::Time, &86_400_000_000i64.to_be_bytes()), "\"24:00:00\"");
    }

    proptest! {
        #[test]
        fn numbers_in_base_ten_thousand_keep_every_digit(whole in "[1-9][0-9]{0,40}|0", fraction in "[0-9]{0,20}", negative: bool) {
            // As numeric_send writes it.
            let padded_whole = format!("{whole:0>width$}", width = whole.len().div_ceil(4) * 4);
            let padded = format!("{padded_whole}{fraction:0<width$}", width = fraction.len().div_ceil(4) * 4);
            let groups: Vec<i16> = padded.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap().parse().unwrap()).collect();
            let mut raw = vec![];
            for n in [groups.len() as i16, (padded_whole.len() / 4) as i16 - 1, if negative { 0x4000 } else { 0 }, fraction.len() as i16] {
                raw.extend(n.to_be_bytes());
            }
            groups.iter().for_each(|group| raw.extend(group.to_be_bytes()));
            let sign = if negative { "-" } else { "" };
            let point = if fraction.is_empty() { "" } else { "." };
            prop_assert_eq!(shown(Wire::Numeric, &raw), format!("{sign}{whole}{point}{fraction}"));
        }

        #[test]
        fn bytes_of_any_kind_are_a_value_or_a_failure_and_never_a_panic(raw: Vec<u8>, oid in 0u32..4000) {
            if let Some(wire) = Type::from_oid(oid).as_ref().and_then(Wire::of) {
                let _ = wire.read(Some(&raw), &mut ValueBuffer::new(1));
            }
            let mut array = 1i32.to_be_bytes().to_vec();
            array.extend(0i32.to_be_bytes());
            array.extend(oid.to_be_bytes());
            array.extend(&raw);
            let _ = Wire::Array.read(Some(&array), &mut ValueBuffer::new(1));
        }
    }
}
