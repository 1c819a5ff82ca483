//! `traceparent` and `tracestate`: the trace that a request is part of, according to its client
//! (<https://www.w3.org/TR/trace-context-2/>).
//!
//! A malformed field is ignored: the request then begins a trace of its own.

use std::fmt;

use http::HeaderMap;

/// The length of a `traceparent` of version 00; of later versions only as much is read.
const LENGTH: usize = 55;

/// How many bytes of a `tracestate` are passed on.
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "spans alone carry it on"))]
const STATE: usize = 512;

/// A trace's id; never all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) [u8; 16]);

impl fmt::Display for TraceId {
    /// As in `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The span, in another program, that the request was sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "the log tells of the trace alone"))]
pub(crate) struct Parent {
    pub(crate) trace: TraceId,
    /// Never all zeros.
    pub(crate) span: [u8; 8],
    /// Whether that program records the trace (bit 1), and whether the trace's id is random (bit
    /// 2).
    pub(crate) flags: u8,
}

impl Parent {
    /// The parent of a request; `None` if it names none, or several.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Parent> {
        let mut fields = headers.get_all("traceparent").iter();
        let only = fields.next()?;
        if fields.next().is_some() {
            return None;
        }
        Parent::read(only.as_bytes())
    }

    /// Reads a field: `00-TRACE-SPAN-FLAGS`. Of an unknown version the same positions are read, and
    /// only the first bit of the flags (§4.3).
    fn read(field: &[u8]) -> Option<Parent> {
        let (known, behind) = field.split_at_checked(LENGTH)?;
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let [version] = hexadecimal(&known[..2])?;
        let trace = hexadecimal(&known[3..35])?;
        let span = hexadecimal(&known[36..52])?;
        let [flags] = hexadecimal(&known[53..])?;

        let meant = match version {
            0 if behind.is_empty() => 0b11,
            0 | 0xff => return None,
            _ if behind.is_empty() || behind[0] == b'-' => 0b01,
            _ => return None,
        };

        let sound = dashes && trace != [0; 16] && span != [0; 8];
        sound.then_some(Parent { trace: TraceId(trace), span, flags: flags & meant })
    }
}

impl fmt::Display for Parent {
    /// As a `traceparent` of version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-{:02x}", self.trace, u64::from_be_bytes(self.span), self.flags)
    }
}

/// Bytes from two lower-case hexadecimal digits each.
fn hexadecimal<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The entries of tracing systems, passed on unchanged: all fields as one list, with as many
/// members from the left as there is room for.
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "spans alone carry it on"))]
pub(crate) fn state(headers: &HeaderMap) -> String {
    let fields = headers.get_all("tracestate").iter().filter_map(|field| field.to_str().ok());
    let members = fields.flat_map(|field| field.split(',')).map(str::trim).filter(|member| !member.is_empty());
    let mut state = String::new();
    for member in members {
        let comma = usize::from(!state.is_empty());
        if state.len() + comma + member.len() > STATE {
            break;
        }
        if comma > 0 {
            state.push(',');
        }
        state.push_str(member);
    }
    state
}

/// Reads any bytes as a `traceparent`, for the fuzz target: a field that is read, and written as
/// version 00, must be read as the same again.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_traceparent(bytes: &[u8]) {
    let Some(parent) = Parent::read(bytes) else { return };
    assert_eq!(Parent::read(parent.to_string().as_bytes()), Some(parent));
    assert!(bytes.len() >= LENGTH && parent.trace.0 != [0; 16] && parent.span != [0; 8]);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn read(field: &str) -> Option<(String, u8)> {
        Parent::read(field.as_bytes()).map(|parent| (parent.trace.to_string(), parent.flags))
    }

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_parent_of_version_00_is_read_whole() {
        let flags =
            |flags: &str| read(&format!("00-{TRACE}-{SPAN}-{flags}")).map(|(trace, flags)| (trace == TRACE, flags));
        for (written, meant) in [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3), ("fc", 0)] {
            assert_eq!(flags(written), Some((true, meant)), "{written}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_no_parent() {
        let zeros = "0".repeat(32);
        for wrong in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-011"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-001"),
            format!("0X-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("01-{TRACE}-{SPAN}-01more"),
        ] {
            assert_eq!(read(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn of_a_later_version_what_is_known_is_read() {
        for later in [
            format!("01-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
            format!("fe-{TRACE}-{SPAN}-ff-"),
        ] {
            assert_eq!(read(&later), Some((TRACE.to_owned(), 1)), "{later}");
        }
    }

    #[test]
    fn several_parents_are_none() {
        let field = format!("00-{TRACE}-{SPAN}-01");
        assert!(Parent::of(&headers("traceparent", &[&field])).is_some());
        assert!(Parent::of(&headers("traceparent", &[&field, &field])).is_none());
        assert!(Parent::of(&headers("tracestate", &["a=b"])).is_none());
    }

    #[test]
    fn the_state_is_one_list_of_whole_members_within_its_bound() {
        assert_eq!(state(&headers("tracestate", &["a=1, b=2", "", "c=3,,"])), "a=1,b=2,c=3");
        let long = format!("a={}", "x".repeat(497));
        let just = format!("{long},b=2345678901");
        assert_eq!(just.len(), STATE);
        assert_eq!(state(&headers("tracestate", &[&just])), just);
        assert_eq!(state(&headers("tracestate", &[&format!("{long},b=23456789012"), "c=3"])), long);
        assert_eq!(state(&headers("tracestate", &["x".repeat(513).as_str()])), "");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in 1_u128.., span in 1_u64.., flags in 0_u8..4) {
            let parent = Parent { trace: TraceId(trace.to_be_bytes()), span: span.to_be_bytes(), flags };
            prop_assert_eq!(Parent::read(parent.to_string().as_bytes()), Some(parent));
        }

        #[test]
        fn any_bytes_are_a_parent_or_none(
            bytes in prop::collection::vec(any::<u8>(), 0..70),
            text in "[0-9a-f]{2}-[0-9a-fA]{32}-[0-9a-f]{16}-[0-9a-f]{2}-?[a-z]{0,3}",
        ) {
            fuzz_traceparent(&bytes);
            fuzz_traceparent(text.as_bytes());
        }
    }
}
