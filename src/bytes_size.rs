//! Sizes in bytes, as people write them.

/// Reads `64KiB`, `256 MiB`, `1GB` or a plain number of bytes.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse("64KiB"), Some(65_536));
        assert_eq!(parse("256 MiB"), Some(256 << 20));
        assert_eq!(parse("1GB"), Some(1_000_000_000));
        assert_eq!(parse("12"), Some(12));
        for wrong in ["", "MiB", "-1", "1.5GiB", "3 apples", "99999999999999999999"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
