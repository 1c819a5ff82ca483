//! Decimal numbers: read from any text, rounded half to even, written as in JSON or as in Python.

use std::fmt::Write;

/// The largest exponent that is read; a number with a larger one would be written as megabytes.
const MOST_EXPONENT: i64 = 20_000;

/// A decimal number: a sign, digits without leading zeros (`0` for zero), and the power of ten of
/// the last digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Number {
    /// Reads `-12.50` or `1.5e-7`; `None` for a text that is no number.
    pub(super) fn parse(text: &str) -> Option<Number> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };

        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (unsigned, 0),
        };

        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        if all().next().is_none() || !all().all(|byte| byte.is_ascii_digit()) {
            return None;
        }

        let exponent = exponent.checked_sub(fraction.len() as i64)?;
        if exponent.abs() > MOST_EXPONENT {
            return None;
        }

        let digits = format!("{whole}{fraction}");
        Some(Number { negative, digits, exponent }.trimmed())
    }

    /// A double by its first 15 digits, which SQLite promises to keep.
    pub(super) fn of_fifteen_digits(n: f64) -> Option<Number> {
        Number::parse(&format!("{n:.14e}"))
    }

    /// A double by the fewest digits that identify it.
    pub(super) fn shortest(n: f64) -> Option<Number> {
        let number = Number::parse(zmij::Buffer::new().format(n))?;
        Some(number.without_zeros())
    }

    fn trimmed(mut self) -> Number {
        let zeros = self.digits.bytes().take_while(|byte| *byte == b'0').count();
        self.digits.drain(..zeros.min(self.digits.len() - 1));
        self
    }

    /// Without trailing zeros.
    fn without_zeros(mut self) -> Number {
        while self.digits.len() > 1 && self.digits.ends_with('0') {
            self.digits.pop();
            self.exponent += 1;
        }
        if self.digits == "0" {
            self.exponent = 0;
        }
        self
    }

    /// Without trailing zeros of its fraction.
    pub(super) fn trimmed_fraction(self) -> Number {
        if self.exponent >= 0 {
            return self;
        }
        let trimmed = self.without_zeros();
        if trimmed.exponent > 0 { trimmed.with_exponent(0) } else { trimmed }
    }

    /// Rounded to at most this many digits.
    pub(super) fn rounded(self, most: usize) -> Number {
        match self.digits.len().checked_sub(most) {
            Some(dropped) if dropped > 0 => {
                let exponent = self.exponent + dropped as i64;
                let rounded = self.with_exponent(exponent);
                // Rounding may add a digit: 9.99 has become 10.0.
                if rounded.digits.len() > most { rounded.with_exponent(exponent + 1) } else { rounded }
            }
            _ => self,
        }
    }

    /// With this many decimals.
    pub(super) fn with_decimals(self, decimals: u8) -> Number {
        self.with_exponent(-i64::from(decimals))
    }

    /// The same number, or the nearest, whose last digit has this power of ten. Of two that are
    /// equally near, the even one.
    fn with_exponent(mut self, exponent: i64) -> Number {
        let dropped = exponent - self.exponent;
        self.exponent = exponent;
        if dropped <= 0 {
            if self.digits != "0" {
                self.digits.extend(std::iter::repeat_n('0', dropped.unsigned_abs() as usize));
            }
            return self;
        }

        let kept = self.digits.len().saturating_sub(dropped as usize);
        let is_beyond = (dropped as usize) > self.digits.len();
        let rest = self.digits.split_off(kept);
        let half = format!("5{}", "0".repeat(rest.len().saturating_sub(1)));
        let is_odd = self.digits.bytes().last().is_some_and(|digit| (digit - b'0') % 2 == 1);
        let up = !is_beyond && (rest > half || (rest == half && is_odd));
        if self.digits.is_empty() {
            self.digits.push('0');
        }

        if up {
            self.digits = incremented(&self.digits);
        }

        self
    }

    /// The digits as in a JSON number, without an exponent.
    pub(super) fn plain(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let Number { digits, exponent, .. } = self;
        if *exponent >= 0 {
            let zeros = if digits == "0" { 0 } else { *exponent as usize };
            return format!("{sign}{digits}{}", "0".repeat(zeros));
        }

        let decimals = exponent.unsigned_abs() as usize;
        let padded = format!("{digits:0>width$}", width = decimals + 1);
        let (whole, fraction) = padded.split_at(padded.len() - decimals);
        format!("{sign}{whole}.{fraction}")
    }

    /// As Python's `str(Decimal)` (<https://docs.python.org/3/library/decimal.html>,
    /// `to-scientific-string` of the General Decimal Arithmetic Specification): with an exponent if
    /// the number's own is positive, or the number is very small.
    pub(super) fn as_python_decimal(&self) -> String {
        let before_point = self.exponent + self.digits.len() as i64;
        if self.exponent <= 0 && before_point > -6 {
            return self.plain();
        }
        self.scientific(before_point - 1, 1)
    }

    /// As Python's `repr(float)`: the fewest digits; with an exponent from 1e16 on, and below 1e-4.
    pub(super) fn as_python_float(&self) -> String {
        let number = self.clone().without_zeros();
        let exponent = number.exponent + number.digits.len() as i64 - 1;
        if number.digits != "0" && !(-4..16).contains(&exponent) {
            return number.scientific(exponent, 2).to_lowercase();
        }
        let plain = number.plain();
        if plain.contains('.') { plain } else { format!("{plain}.0") }
    }

    /// With the point after the first digit, and an exponent of at least `width` digits.
    fn scientific(&self, exponent: i64, width: usize) -> String {
        let sign = if self.negative { "-" } else { "" };
        let (first, rest) = self.digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let way = if exponent < 0 { '-' } else { '+' };
        let mut written = format!("{sign}{first}{point}{rest}E{way}");
        // Writing to memory cannot fail.
        let _ = write!(written, "{:0width$}", exponent.unsigned_abs());
        written
    }
}

/// Decimal digits plus one.
fn incremented(digits: &str) -> String {
    let nines = digits.bytes().rev().take_while(|digit| *digit == b'9').count();
    let (before, _) = digits.split_at(digits.len() - nines);
    let zeros = "0".repeat(nines);
    match before.as_bytes().split_last() {
        Some((last, _)) => format!("{}{}{zeros}", &before[..before.len() - 1], char::from(last + 1)),
        None => format!("1{zeros}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn decimals_are_written_as_pythons_str_writes_them() {
        // Expected: str(Decimal("…")) in Python.
        for (text, written) in [
            ("1.50", "1.50"),
            ("-0.00", "-0.00"),
            ("0.0000000000", "0E-10"),
            ("0.0000001", "1E-7"),
            ("0.0000001000", "1.000E-7"),
            ("0.000001", "0.000001"),
            ("0.0000010", "0.0000010"),
            ("1e3", "1E+3"),
            ("1.5e300", "1.5E+300"),
            ("00012.5", "12.5"),
            ("123456789012345678901234567890.12", "123456789012345678901234567890.12"),
        ] {
            assert_eq!(number(text).as_python_decimal(), written, "{text}");
        }
    }

    #[test]
    fn decimals_are_rounded_half_to_even() {
        // Expected: Decimal("…").quantize(Decimal("0.01")) in Python.
        for (text, decimals, written) in [
            ("1.5", 2, "1.50"),
            ("1", 2, "1.00"),
            ("1.005", 2, "1.00"),
            ("1.015", 2, "1.02"),
            ("1.0150001", 2, "1.02"),
            ("0.995", 2, "1.00"),
            ("9.999", 2, "10.00"),
            ("-0.001", 2, "-0.00"),
            ("0.005", 2, "0.00"),
            ("0.0051", 2, "0.01"),
            ("0.0009", 2, "0.00"),
            ("0.5", 0, "0"),
            ("1.5", 0, "2"),
            ("99.5", 0, "100"),
            ("1e3", 1, "1000.0"),
            ("0", 2, "0.00"),
        ] {
            assert_eq!(number(text).with_decimals(decimals).plain(), written, "{text}");
        }

        assert_eq!(number("12345678901234567").rounded(15).with_decimals(2).plain(), "12345678901234600.00");
        assert_eq!(number("9999999999999999").rounded(15).plain(), "10000000000000000");
        assert_eq!(number("12.50").rounded(15).plain(), "12.50");
    }

    #[test]
    fn a_double_has_the_fifteen_digits_that_sqlite_keeps() {
        // Expected: Context(prec=15).create_decimal_from_float(…).quantize(…) in Python. A half
        // goes to the even digit.
        for (n, decimals, written) in [
            (1_000_000_000_000.125, 2, "1000000000000.12"),
            (1_000_000_000_000.375, 2, "1000000000000.38"),
            (0.1 + 0.2, 10, "0.3000000000"),
            (19.99, 2, "19.99"),
            (1.234_567_890_123_456_7e19, 2, "12345678901234600000.00"),
            (-0.0, 2, "-0.00"),
        ] {
            let number = Number::of_fifteen_digits(n).unwrap();
            assert_eq!(number.with_decimals(decimals).plain(), written);
        }
    }

    #[test]
    fn floats_are_written_as_pythons_repr_writes_them() {
        for (n, written) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(Number::shortest(n).unwrap().as_python_float(), written);
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "-", ".", "e5", "NaN", "Infinity", "1.2.3", "1e", "0x1", "1 ", "1e999999", "١"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn digits_stay_as_they_are(whole in "0|[1-9][0-9]{0,30}", fraction in "(\\.[0-9]{1,30})?", negative: bool) {
            let text = format!("{}{whole}{fraction}", if negative { "-" } else { "" });
            prop_assert_eq!(number(&text).plain(), text);
        }

        #[test]
        fn a_float_reads_back_as_itself(bits: u64) {
            let n = f64::from_bits(bits);
            if n.is_finite() {
                let written = Number::shortest(n).unwrap().as_python_float();
                prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), bits);
            }
        }
    }
}
