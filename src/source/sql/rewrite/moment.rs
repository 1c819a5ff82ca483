//! Dates, times and durations: read from a database's text, written in RFC 3339 or ISO 8601.

use std::fmt::{self, Write};

/// The bytes of a text, read from the front.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn take(&mut self, sign: char) -> Option<()> {
        self.0 = self.0.strip_prefix(sign)?;
        Some(())
    }

    /// A number with a number of digits in this range.
    fn number(&mut self, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
        self.digits(digits)?.parse().ok()
    }

    fn digits(&mut self, digits: std::ops::RangeInclusive<usize>) -> Option<&'a str> {
        let length = self.0.bytes().take(*digits.end()).take_while(u8::is_ascii_digit).count();
        if length < *digits.start() {
            return None;
        }
        let (read, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(read)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// A date in the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Day {
    year: u32,
    month: u32,
    day: u32,
}

impl Day {
    /// Reads `2026-01-02`.
    pub(super) fn parse(text: &str) -> Option<Day> {
        let mut reader = Reader(text);
        let day = Day::read(&mut reader)?;
        reader.end()?;
        Some(day)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Day> {
        let year = reader.number(4..=4)?;
        reader.take('-')?;
        let month = reader.number(1..=2)?;
        reader.take('-')?;
        let day = reader.number(1..=2)?;
        let is_there = year >= 1 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        is_there.then_some(Day { year, month, day })
    }
}

fn days_in(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// How many digits of a second are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Precision {
    /// As many as there are.
    All,
    /// Three, cut and not rounded; none if there is no fraction of a second.
    Milliseconds,
}

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeOfDay {
    hour: u32,
    minute: u32,
    second: u32,
    micros: u32,
}

impl TimeOfDay {
    /// Reads `12:30`, `12:30:00` or `12:30:00.123456`; digits beyond microseconds are dropped.
    pub(super) fn parse(text: &str) -> Option<TimeOfDay> {
        let mut reader = Reader(text);
        let time = TimeOfDay::read(&mut reader)?;
        reader.end()?;
        Some(time)
    }

    fn read(reader: &mut Reader<'_>) -> Option<TimeOfDay> {
        let hour = reader.number(1..=2)?;
        reader.take(':')?;
        let minute = reader.number(1..=2)?;
        let mut second = 0;
        let mut micros = 0;
        if reader.take(':').is_some() {
            second = reader.number(1..=2)?;
            if reader.take('.').or_else(|| reader.take(',')).is_some() {
                micros = micros_of(reader.digits(1..=12)?)?;
            }
        }
        let is_there = hour < 24 && minute < 60 && second < 60;
        is_there.then_some(TimeOfDay { hour, minute, second, micros })
    }

    pub(super) fn write(&self, precision: Precision, out: &mut String) {
        // Writing to memory cannot fail.
        let _ = write!(out, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second);
        if self.micros == 0 {
            return;
        }
        match precision {
            Precision::Milliseconds => {
                let _ = write!(out, ".{:03}", self.micros / 1000);
            }
            Precision::All => {
                let _ = write!(out, ".{:06}", self.micros);
                out.truncate(out.trim_end_matches('0').len());
            }
        }
    }
}

/// The microseconds of a fraction's digits.
fn micros_of(digits: &str) -> Option<u32> {
    format!("{:0<6}", &digits[..digits.len().min(6)]).parse().ok()
}

/// How time zones are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Zone {
    /// Unchanged, with or without an offset.
    AsItStands,
    /// A time without an offset is in UTC.
    Utc,
    /// A time in UTC is written without an offset.
    Naive,
}

/// A date and time, with its offset in minutes if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    day: Day,
    time: TimeOfDay,
    offset: Option<i32>,
}

impl Moment {
    /// Reads `2026-01-02 03:04:05.678901`, also with `T` or an offset.
    pub(super) fn parse(text: &str) -> Option<Moment> {
        let mut reader = Reader(text);
        let day = Day::read(&mut reader)?;
        reader.take('T').or_else(|| reader.take(' '))?;
        let time = TimeOfDay::read(&mut reader)?;
        reader.0 = reader.0.trim_start();
        let offset = offset(&mut reader)?;
        reader.end()?;
        Some(Moment { day, time, offset })
    }

    pub(super) fn write(&self, precision: Precision, zone: Zone, out: &mut String) {
        // Writing to memory cannot fail.
        let _ = write!(out, "{}T", self.day);
        self.time.write(precision, out);
        match (self.offset, zone) {
            (None, Zone::Utc) | (Some(0), Zone::Utc | Zone::AsItStands) => out.push('Z'),
            (None, _) | (Some(0), Zone::Naive) => {}
            (Some(offset), _) => {
                let sign = if offset < 0 { '-' } else { '+' };
                let minutes = offset.unsigned_abs();
                let _ = write!(out, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
            }
        }
    }
}

/// Nothing, `Z`, `+02`, `+0200` or `+02:00`, in minutes.
fn offset(reader: &mut Reader<'_>) -> Option<Option<i32>> {
    if reader.0.is_empty() {
        return Some(None);
    }

    if reader.take('Z').is_some() {
        return Some(Some(0));
    }

    let sign = match reader.take('+') {
        Some(()) => 1,
        None => {
            reader.take('-')?;
            -1
        }
    };

    let hours = reader.number(2..=2)?;
    let _ = reader.take(':');
    let minutes = if reader.0.is_empty() { 0 } else { reader.number(2..=2)? };
    let is_there = hours < 24 && minutes < 60;
    is_there.then_some(Some(sign * (hours * 60 + minutes) as i32))
}

const SECOND: i128 = 1_000_000;
const DAY: i128 = 24 * 3600 * SECOND;

/// A duration in microseconds, from PostgreSQL's text of an interval: `1 year 2 mons -3 days
/// +04:05:06.789`. A month has 30 days and a year 365, as in Python's drivers.
pub(super) fn interval(text: &str) -> Option<i128> {
    let mut words = text.split_ascii_whitespace().peekable();
    words.peek()?;
    let mut micros = 0;
    while let Some(word) = words.next() {
        if word.contains(':') {
            micros += clock(word)?;
            continue;
        }
        let number: i32 = word.parse().ok()?;
        let days = match words.next()? {
            "year" | "years" => 365,
            "mon" | "mons" => 30,
            "day" | "days" => 1,
            _ => return None,
        };
        micros += i128::from(number) * days * DAY;
    }

    Some(micros)
}

/// `-04:05:06.789`, with any number of hours.
fn clock(text: &str) -> Option<i128> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };

    let mut reader = Reader(rest);
    let hours: i128 = reader.digits(1..=12)?.parse().ok()?;
    reader.take(':')?;
    let minutes = reader.number(2..=2)?;
    reader.take(':')?;
    let seconds = reader.number(2..=2)?;
    let micros = match reader.take('.') {
        Some(()) => micros_of(reader.digits(1..=6)?)?,
        None => 0,
    };

    reader.end()?;
    let seconds = hours * 3600 + i128::from(minutes * 60 + seconds);
    Some(sign * (seconds * SECOND + i128::from(micros)))
}

/// Writes a duration as Django's `duration_iso_string` does: `-P1DT02H03M04.500000S`.
pub(super) fn write_duration(micros: i128, out: &mut String) {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let days = micros / DAY.unsigned_abs();
    let rest = micros % DAY.unsigned_abs();
    let seconds = rest / 1_000_000;
    let fraction = rest % 1_000_000;
    let hours = seconds / 3600;
    let minutes = seconds / 60 % 60;
    // Writing to memory cannot fail.
    let _ = write!(out, "{sign}P{days}DT{hours:02}H{minutes:02}M{:02}", seconds % 60);
    if fraction > 0 {
        let _ = write!(out, ".{fraction:06}");
    }
    out.push('S');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, precision: Precision, zone: Zone) -> Option<String> {
        let mut out = String::new();
        Moment::parse(text)?.write(precision, zone, &mut out);
        Some(out)
    }

    #[test]
    fn moments_are_cut_to_milliseconds_and_have_no_fraction_where_there_is_none() {
        for (text, written) in [
            ("2026-01-02 03:04:05", "2026-01-02T03:04:05Z"),
            ("2026-01-02 03:04:05.678901", "2026-01-02T03:04:05.678Z"),
            ("2026-01-02T03:04:05.000500Z", "2026-01-02T03:04:05.000Z"),
            ("2026-01-02 03:04:05.999999", "2026-01-02T03:04:05.999Z"),
            ("2026-01-02 03:04", "2026-01-02T03:04:00Z"),
            ("0001-01-01 00:00:00.1", "0001-01-01T00:00:00.100Z"),
            ("2024-02-29 23:59:59+00:00", "2024-02-29T23:59:59Z"),
            ("2024-02-29 23:59:59+0200", "2024-02-29T23:59:59+02:00"),
            ("2024-02-29 23:59:59-03:30", "2024-02-29T23:59:59-03:30"),
        ] {
            assert_eq!(shown(text, Precision::Milliseconds, Zone::Utc).as_deref(), Some(written), "{text}");
        }

        let all = |text, zone| shown(text, Precision::All, zone).unwrap();
        assert_eq!(all("2026-01-02 03:04:05.678900", Zone::AsItStands), "2026-01-02T03:04:05.6789");
        assert_eq!(all("2026-01-02 03:04:05Z", Zone::AsItStands), "2026-01-02T03:04:05Z");
        assert_eq!(all("2026-01-02 03:04:05Z", Zone::Naive), "2026-01-02T03:04:05");
        assert_eq!(all("2026-01-02 03:04:05+02", Zone::Naive), "2026-01-02T03:04:05+02:00");
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "2026-01-02",
            "2026-13-02 00:00:00",
            "2026-02-29 00:00:00",
            "2026-01-02 24:00:00",
            "2026-01-02 00:00:00 BC",
            "10000-01-02T00:00:00Z",
            "0000-01-01 00:00:00",
            "infinity",
            "2026-01-02 03:04:05+2",
            "2026-01-02  03:04:05",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }

        assert_eq!(Day::parse("2026-01-02 00:00:00"), None);
        assert_eq!(TimeOfDay::parse("12:30:00Z"), None);
    }

    #[test]
    fn spans_of_time_are_those_that_postgresql_shows() {
        for (text, written) in [
            ("00:00:00", "P0DT00H00M00S"),
            ("1 day 02:03:04.5", "P1DT02H03M04.500000S"),
            ("-1 days +02:03:04.5", "-P0DT21H56M55.500000S"),
            ("-1 days -00:00:00.000001", "-P1DT00H00M00.000001S"),
            ("1 year 2 mons -3 days +04:05:06.789", "P422DT04H05M06.789000S"),
            ("-999999999 days", "-P999999999DT00H00M00S"),
            ("999999999 days 23:59:59.999999", "P999999999DT23H59M59.999999S"),
            ("100:00:00", "P4DT04H00M00S"),
        ] {
            let mut out = String::new();
            write_duration(interval(text).unwrap(), &mut out);
            assert_eq!(out, written, "{text}");
        }

        for text in ["", "x", "1", "1 week", "1:2", "P1D", "infinity", "04:05:06:07"] {
            assert_eq!(interval(text), None, "{text}");
        }
    }
}
