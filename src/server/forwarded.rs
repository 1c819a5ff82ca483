//! What proxies say about the requests they pass on: `Forwarded` (RFC 7239) and the older
//! `X-Forwarded-*`.
//!
//! A client can send these fields too. So they are worth only as much as the peer that sent them,
//! and in each field only the last entry was written by that peer.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use http::HeaderMap;

const LEGACY: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

/// One element of `Forwarded`: what one proxy says about the request that it got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// The client of that proxy: an address, perhaps with a port, or a word that hides it.
    pub(super) client: Option<String>,
    pub(super) host: Option<String>,
    pub(super) scheme: Option<String>,
}

/// The elements of a `Forwarded` field (RFC 7239 §4); `None` if it is malformed.
///
/// A comma or semicolon in quotes separates nothing. A client may leave a quote open to swallow
/// what the proxy adds behind it; such a field is malformed, and says nothing. Values without
/// quotes may hold characters that a token may not (`:`, `[`), since proxies write addresses that
/// way.
pub(super) fn elements(field: &[u8]) -> Option<Vec<Element>> {
    let mut rest = field;
    let mut all = vec![];
    loop {
        let (element, behind) = element(rest)?;
        all.extend(element);
        match behind.split_first() {
            None => return Some(all),
            Some((_comma, behind)) => rest = behind,
        }
    }
}

/// The first element of a field, and the rest behind it: nothing, or a comma and more. The element
/// is `None` if it is empty (RFC 9110 §5.6.1).
fn element(field: &[u8]) -> Option<(Option<Element>, &[u8])> {
    let mut element = Element::default();
    let mut seen: Vec<&[u8]> = vec![];
    let mut rest = field;
    loop {
        rest = rest.trim_ascii_start();
        if !matches!(rest.first(), None | Some(b',' | b';')) {
            let (name, value, behind) = pair(rest)?;
            rest = behind.trim_ascii_start();
            if seen.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                return None;
            }
            seen.push(name);
            let text = String::from_utf8_lossy(&value).into_owned();
            match &*name.to_ascii_lowercase() {
                b"for" => element.client = Some(text),
                b"host" => element.host = Some(text),
                b"proto" => element.scheme = Some(text),
                _ => {}
            }
        }
        match rest.first() {
            None | Some(b',') => return Some(((!seen.is_empty()).then_some(element), rest)),
            Some(b';') => rest = &rest[1..],
            Some(_) => return None,
        }
    }
}

/// A name, its value, and the rest of the text.
type Pair<'a> = (&'a [u8], Cow<'a, [u8]>, &'a [u8]);

/// `name=value` or `name="value"`, and the rest of the text.
fn pair(text: &[u8]) -> Option<Pair<'_>> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let (name, value) = text.split_at(text.iter().position(|byte| !is_token(byte))?);
    let value = value.strip_prefix(b"=").filter(|_| !name.is_empty())?;

    let Some(quoted) = value.strip_prefix(b"\"") else {
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(byte);
        let end = value.iter().position(|byte| !is_plain(byte)).unwrap_or(value.len());
        let (value, behind) = value.split_at(end);
        return (!value.is_empty()).then_some((name, Cow::Borrowed(value), behind));
    };

    let mut inner = vec![];
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((name, Cow::Owned(inner), &quoted[at + 1..])),
            b'\\' => inner.push(*bytes.next()?.1),
            _ => inner.push(*byte),
        }
    }

    None
}

/// The client of each hop, the farthest first, as the proxies say; `None` for a proxy that does not
/// say it.
pub(super) fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    // Most proxies add to this field, and pass on a client's `Forwarded` unchanged.
    if headers.contains_key("x-forwarded-for") {
        let fields = headers.get_all("x-forwarded-for").iter();
        return fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b',')).map(address).collect();
    }
    let hop = |element: Element| address(element.client?.as_bytes());
    let fields = headers.get_all("forwarded").iter();
    let of_field = |field: &http::HeaderValue| match elements(field.as_bytes()) {
        Some(elements) => elements.into_iter().map(hop).collect(),
        None => vec![None],
    };
    fields.flat_map(of_field).collect()
}

/// What a proxy says that its client asked for. Of several proxies the last counts: only that one
/// is trusted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub(super) scheme: Option<Cow<'a, str>>,
    pub(super) host: Option<Cow<'a, str>>,
}

impl<'a> Asked<'a> {
    pub(super) fn read(headers: &'a HeaderMap) -> Asked<'a> {
        // A proxy that sets one of these passes on a client's `Forwarded` unchanged.
        if LEGACY.iter().any(|name| headers.contains_key(*name)) {
            let last = |name: &str| {
                let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
                Some(Cow::Borrowed(value.rsplit(',').next().unwrap_or_default().trim()))
            };
            return Asked { scheme: last("x-forwarded-proto"), host: last("x-forwarded-host") };
        }
        let last = headers.get_all("forwarded").iter().next_back();
        let last = last.and_then(|field| elements(field.as_bytes())?.pop()).unwrap_or_default();
        Asked { scheme: last.scheme.map(Cow::Owned), host: last.host.map(Cow::Owned) }
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`; a port may be
/// obfuscated (`:_a`).
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let ip: Ipv6Addr = inner.parse().ok()?;
        return (port.is_empty() || port.starts_with(':')).then_some(ip.into());
    }
    let with_port = || text.split_once(':').and_then(|(ip, _port)| ip.parse::<Ipv4Addr>().ok());
    text.parse().ok().or_else(|| with_port().map(IpAddr::from))
}

/// Reads any bytes as `Forwarded`, for the fuzz target: elements that are read, and written as the
/// RFC says, must be read as the same again.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_forwarded(bytes: &[u8]) {
    let Some(read) = elements(bytes) else { return };
    let known: Vec<Element> = read.into_iter().filter(|element| *element != Element::default()).collect();
    let again = elements(written(&known).as_bytes()).unwrap_or_default();
    assert_eq!(again, known);
    for element in known {
        let _ = element.client.as_deref().map(str::as_bytes).and_then(address);
    }
}

/// Elements as the RFC writes them, each value in quotes.
#[cfg(any(fuzzing, test))]
fn written(elements: &[Element]) -> String {
    let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let one = |element: &Element| {
        let pairs = [("for", &element.client), ("host", &element.host), ("proto", &element.scheme)];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", quoted(value.as_ref()?))));
        pairs.collect::<Vec<_>>().join(";")
    };
    elements.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(field: &str) -> Option<Vec<[Option<String>; 3]>> {
        let all = elements(field.as_bytes())?;
        Some(all.into_iter().map(|element| [element.client, element.host, element.scheme]).collect())
    }

    #[test]
    fn a_field_is_parted_at_its_commas_and_semicolons_and_at_none_in_quotes() {
        let some = |text: &str| Some(text.to_owned());
        let right: &[(&str, &[[Option<String>; 3]])] = &[
            ("", &[]),
            (" , ,", &[]),
            ("for=1.2.3.4", &[[some("1.2.3.4"), None, None]]),
            ("For=\"[2001:db8::1]:47\" ; proto=https;by=x", &[[some("[2001:db8::1]:47"), None, some("https")]]),
            ("for=[2001:db8::1]:47,host=a:80", &[[some("[2001:db8::1]:47"), None, None], [None, some("a:80"), None]]),
            ("for=\"a, for=b;host=c\";host=d", &[[some("a, for=b;host=c"), some("d"), None]]),
            ("for=\"a\\\", for=\\\\b\" , for=c", &[[some("a\", for=\\b"), None, None], [some("c"), None, None]]),
            ("x=\"y,z;for=evil\";for=a", &[[some("a"), None, None]]),
            ("by=x", &[[None, None, None]]),
            (";;for=a;", &[[some("a"), None, None]]),
            ("for=\"\"", &[[some(""), None, None]]),
        ];

        for (field, elements) in right {
            assert_eq!(read(field).as_deref(), Some(*elements), "{field}");
        }

        for wrong in [
            "for",
            "for=",
            "=a",
            "for =a",
            "for=a b",
            "for=\"a",
            "for=\"a\\",
            "for=\"a\"b",
            "for=a\"b\"",
            "for=a;for=b",
            "for=a;FOR=b",
            // An open quote that swallows what the proxy adds, with or without quotes.
            "for=\"evil, for=192.0.2.1",
            "for=\"evil, for=\"[2001:db8::1]\"",
            "x=\"\\, for=\"192.0.2.1\"",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_and_no_client_hides_what_a_proxy_adds(
            elements in prop::collection::vec(prop::array::uniform3(prop::option::of("[ -~]{0,12}")), 0..4),
            before in "[ -~]{0,40}",
        ) {
            let elements: Vec<Element> =
                elements.into_iter().map(|[client, host, scheme]| Element { client, host, scheme }).collect();
            let known: Vec<Element> =
                elements.into_iter().filter(|element| *element != Element::default()).collect();
            prop_assert_eq!(super::elements(written(&known).as_bytes()), Some(known));

            // The last hop is the one that the proxy adds, or unknown; never one that the client
            // makes up.
            for added in ["for=192.0.2.1", "for=\"192.0.2.1\"", "for=\"[2001:db8::1]:4711\";proto=http;host=\"a\""] {
                let field = format!("{before}, {added}");
                if let Some(all) = super::elements(field.as_bytes()) {
                    let alone = super::elements(added.as_bytes()).unwrap();
                    prop_assert_eq!(all.last(), alone.last(), "{}", field);
                }
            }
        }

        #[test]
        fn any_bytes_are_a_field_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[forhst=\",;\\\\ 1.]{0,40}") {
            fuzz_forwarded(&bytes);
            fuzz_forwarded(text.as_bytes());
        }
    }
}
