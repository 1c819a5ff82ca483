//! JSON texts from a database, embedded in a list.
//!
//! Every client must be able to read an embedded text, or one value would spoil the whole list. So
//! it is valid, in UTF-8, on one line, nested no deeper than most parsers allow, and without a
//! number that would be read as infinity. Any other text is written as a string. Digits beyond a
//! double's precision stay, and so do members with the same name: parsers accept them.

use std::borrow::Cow;

use super::{Output, beyond_ascii, escape, plain_prefix, string};
use crate::flaw::Flaw;

/// How many levels an embedded JSON text may have. A list adds five around it: its own object and
/// array, the row's, and those of a related list.
const LEVELS: usize = 128;

/// A number with at most this many digits and no exponent is within a double's range.
const SURELY_FINITE: usize = 308;

/// Appends a JSON text from the database: embedded if possible, else as a string.
pub(crate) fn json(text: &[u8], out: &mut Output) {
    let start = out.bytes.len();
    let flaw = match valid(text, out) {
        Some(json) => match embed(json.as_bytes(), out) {
            Ok(()) => return,
            Err(flaw) => flaw,
        },
        None => Flaw::NotJson,
    };

    out.bytes.truncate(start);
    out.flaws.add(flaw);
    string(text, out);
}

/// The text, if it is one JSON value. Bytes that are not UTF-8 become U+FFFD.
fn valid<'a>(text: &'a [u8], out: &mut Output) -> Option<Cow<'a, str>> {
    let valid = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let text = String::from_utf8_lossy(text);
    if !valid(&text) {
        return None;
    }

    if matches!(text, Cow::Owned(_)) {
        out.flaws.add(Flaw::NotUtf8);
    }
    Some(text)
}

/// Appends a valid JSON text on one line, without white space between its tokens. Characters that
/// [`string`] escapes are escaped, and lone surrogates, which strict clients refuse, become U+FFFD.
///
/// # Errors
/// Why it cannot be embedded; the caller must drop what was appended.
fn embed(json: &[u8], out: &mut Output) -> Result<(), Flaw> {
    let mut rest = json;
    let mut depth = 0;
    while let Some(&byte) = rest.first() {
        let token = match byte {
            b'"' => {
                rest = embed_string(&rest[1..], out);
                continue;
            }
            b' ' | b'\t' | b'\n' | b'\r' => {
                rest = &rest[1..];
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > LEVELS {
                    return Err(Flaw::TooDeep);
                }
                1
            }
            b']' | b'}' => {
                depth -= 1;
                1
            }
            b'-' | b'0'..=b'9' => {
                let in_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
                let length = rest.iter().take_while(|byte| in_number(byte)).count();
                if !is_finite(&rest[..length]) {
                    return Err(Flaw::BeyondDouble);
                }
                length
            }
            _ => 1,
        };

        out.bytes.extend_from_slice(&rest[..token]);
        rest = &rest[token..];
    }

    Ok(())
}

/// Whether the number is within a double's range.
fn is_finite(number: &[u8]) -> bool {
    if number.len() <= SURELY_FINITE && !number.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return true;
    }
    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<f64>().ok());
    number.is_some_and(f64::is_finite)
}

/// Appends the rest of a string after its first quote. Returns the text behind the string.
fn embed_string<'a>(text: &'a [u8], out: &mut Output) -> &'a [u8] {
    let mut rest = text;
    out.bytes.push(b'"');
    loop {
        let plain = plain_prefix(rest);
        out.bytes.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let length = match rest.first() {
            None => return rest,
            Some(b'"') => {
                out.bytes.push(b'"');
                return &rest[1..];
            }
            Some(b'\\') => embed_escape(rest, out),
            Some(&byte) if byte < 0x80 => {
                escape(u32::from(byte), out);
                1
            }
            Some(_) => {
                let run = rest.iter().position(|&byte| byte < 0x80).unwrap_or(rest.len());
                beyond_ascii(&rest[..run], out);
                run
            }
        };
        rest = &rest[length.min(rest.len())..];
    }
}

/// Appends an escape sequence. Returns its length.
fn embed_escape(escaped: &[u8], out: &mut Output) -> usize {
    let length = match surrogate(escaped) {
        Some(Surrogate::Half) => {
            out.bytes.extend_from_slice(b"\\ufffd");
            out.flaws.add(Flaw::NotUtf8);
            return 6;
        }
        Some(Surrogate::Pair) => 12,
        None => 2,
    };
    out.bytes.extend_from_slice(&escaped[..length.min(escaped.len())]);
    length
}

enum Surrogate {
    Half,
    Pair,
}

/// For a surrogate's escape sequence: whether its other half follows. `None` for any other.
fn surrogate(escaped: &[u8]) -> Option<Surrogate> {
    let unit = |escaped: &[u8]| {
        let digits = escaped.strip_prefix(b"\\u")?.get(..4)?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    match unit(escaped)? {
        0xd800..=0xdbff => match escaped.get(6..).and_then(unit) {
            Some(0xdc00..=0xdfff) => Some(Surrogate::Pair),
            _ => Some(Surrogate::Half),
        },
        0xdc00..=0xdfff => Some(Surrogate::Half),
        _ => None,
    }
}

/// Embeds any bytes as those of a JSON column, for fuzzing: the result must be JSON that every
/// client can read.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_json(text: &[u8]) {
    let mut out = Output::default();
    json(text, &mut out);
    let written = std::str::from_utf8(&out.bytes).expect("UTF-8");
    let read: Result<serde::de::IgnoredAny, _> = serde_json::from_str(written);
    assert!(read.is_ok(), "{written}");
    assert!(!written.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{written}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flaw::Flaws;

    fn shown(text: &[u8]) -> (String, Flaws) {
        let mut out = Output::default();
        json(text, &mut out);
        (String::from_utf8(out.bytes).unwrap(), out.flaws)
    }

    /// The flaw of a text that is written as a string.
    fn flaw_of(text: &str) -> Option<Flaw> {
        let (written, flaws) = shown(text.as_bytes());
        let told: Vec<Flaw> = flaws.iter().collect();
        assert!(told.len() <= 1, "{told:?}");
        if !told.is_empty() {
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text, "as the text that it is");
        }
        told.first().copied()
    }

    /// The depth of a text, from a reader that accepts nothing that any client might refuse.
    fn strict_depth(text: &str) -> usize {
        let _: serde::de::IgnoredAny = serde_json::from_str(text).unwrap();
        let mut depth = 0;
        let mut deepest = 0;
        let mut within = false;
        let mut escaped = false;
        let mut number = String::new();
        for c in text.chars().chain([' ']) {
            assert!(!c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}'), "on one line: {text}");
            if within {
                within = escaped || c != '"';
                escaped = !escaped && c == '\\';
                continue;
            }
            match c {
                '0'..='9' | '-' | '+' | '.' | 'e' | 'E' => number.push(c),
                _ => {
                    // `e` also occurs in `true` and `false`.
                    if number.contains(|c: char| c.is_ascii_digit()) {
                        assert!(number.parse::<f64>().unwrap().is_finite(), "{number}");
                    }
                    number.clear();
                }
            }
            match c {
                '"' => within = true,
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                _ => {}
            }
            deepest = deepest.max(depth);
        }

        deepest
    }

    /// JSON texts of every kind: from databases that check them, and from others.
    fn texts() -> impl Strategy<Value = String> {
        let digits = "-?(0|[1-9][0-9]{0,400})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,5})?";
        let string = "\"([ -!#-\\[\\]-~é\u{85}\u{2028}😀]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\ud[89ab][0-9a-f]{2}\\\\ud[c-f][0-9a-f]{2}){0,8}\"";
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("false".to_owned()),
            digits.prop_map(String::from),
            string.prop_map(String::from),
        ];

        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|all| format!("[ {}\n]", all.join(" ,"))),
                prop::collection::vec((string, inner.clone()), 0..4).prop_map(|all| {
                    let members = all.iter().map(|(name, value)| format!("{name}\t: {value}"));
                    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
                }),
                (inner, 1usize..150).prop_map(|(inner, n)| format!("{}{inner}{}", "[".repeat(n), "]".repeat(n))),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_a_json_column_holds_the_list_is_read_by_strict_clients(text in texts(), cut in 0usize..400) {
            for text in [&text[..], &text[..text.floor_char_boundary(cut.min(text.len()))]] {
                let (written, flaws) = shown(text.as_bytes());
                prop_assert!(strict_depth(&written) <= LEVELS);
                // Parsed as a tree, which has its own limit on depth, it must be unchanged.
                if flaws.is_empty() && let Ok(tree) = serde_json::from_str::<serde_json::Value>(text) {
                    prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), tree);
                }
            }
        }

        #[test]
        fn any_bytes_are_json_that_is_read(bytes: Vec<u8>, text in texts(), at in 0usize..100) {
            fuzz_json(&bytes);
            let mut broken = text.into_bytes();
            let at = at % broken.len();
            broken.splice(at..at, bytes);
            fuzz_json(&broken);
        }
    }

    #[test]
    fn json_is_embedded_up_to_128_levels_and_stands_as_text_beyond() {
        let nested =
            |open: &str, close: &str, levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            assert_eq!(flaw_of(&nested(open, close, LEVELS)), None);
            assert_eq!(flaw_of(&nested(open, close, LEVELS + 1)), Some(Flaw::TooDeep));
            assert_eq!(flaw_of(&nested(open, close, 10_000)), Some(Flaw::TooDeep));
        }
        // Brackets within texts do not count, nor do levels that have ended.
        assert_eq!(flaw_of(&format!("[{}1]", "[\"[[[\\\"{\"],".repeat(1_000))), None);
    }

    #[test]
    fn numbers_beyond_a_double_stand_as_text_and_digits_beyond_its_precision_stay() {
        let nines = "9".repeat(400);
        let zeros = "0".repeat(400);
        for number in ["1e999", "-1e400", "1E+309", "17976931348623159e292", &nines, &format!("-{nines}.5e-10")] {
            assert_eq!(flaw_of(number), Some(Flaw::BeyondDouble), "{number}");
            assert_eq!(flaw_of(&format!("{{\"a\": [1, {number}]}}")), Some(Flaw::BeyondDouble), "{number}");
            assert_eq!(flaw_of(&format!("[\"{number}\"]")), None, "a text that looks like a number");
        }
        let tiny = format!("0.{zeros}1");
        let small = format!("{nines}e-300");
        for number in ["1.7976931348623157e308", "0e999", "1e-999", "12345678901234567890123", "0.1000", &tiny, &small]
        {
            assert_eq!(flaw_of(number), None, "{number}");
            assert_eq!(shown(number.as_bytes()).0, number, "digit by digit");
        }
    }

    #[test]
    fn what_is_no_utf_8_in_json_is_replaced_and_the_rest_is_embedded() {
        let (written, flaws) = shown(b"{\"a\": \"x\xff\", \"b\": [1, \"\xe2\x80\xa8\"]}");
        assert_eq!(written, "{\"a\":\"x\u{fffd}\",\"b\":[1,\"\\u2028\"]}");
        assert_eq!(flaws.iter().collect::<Vec<_>>(), [Flaw::NotUtf8]);
        let (written, flaws) = shown(b"[\"\\ud800\", \"\\udc00\\ud800\", \"\\ud83d\\ude00\", \"\\\\ud800\"]");
        assert_eq!(written, r#"["\ufffd","\ufffd\ufffd","\ud83d\ude00","\\ud800"]"#);
        assert_eq!(flaws.iter().collect::<Vec<_>>(), [Flaw::NotUtf8]);
        assert_eq!(flaw_of("{\"a\": 1, \"a\": 2}"), None, "members of one name stay");
        assert_eq!(flaw_of("{broken"), Some(Flaw::NotJson));
        assert_eq!(flaw_of(""), Some(Flaw::NotJson));
        assert_eq!(flaw_of("\u{feff}{}"), Some(Flaw::NotJson));
    }
}
