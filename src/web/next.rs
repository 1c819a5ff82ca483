//! `Link: <…>; rel="next"`: the list behind a page (RFC 8288).

use http::{HeaderMap, HeaderValue, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::params;
use crate::{cursor::Cursor, seal::Seal};

/// Characters that would end the link or cannot be in a field's value; all else stays as the client
/// sent it.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`');

/// How many bytes a query has in a link.
pub(super) fn length_of(query: &str) -> usize {
    percent_encode(query.as_bytes(), UNSAFE).map(str::len).sum()
}

/// Adds a link to where the list goes on, if it does. The link is relative to the request's path,
/// so that it also holds if a proxy or an application serves the list under another path.
pub(super) fn add_link(headers: &mut HeaderMap, query: Option<&str>, goes_on: Option<&Cursor>, seal: &Seal) {
    let Some(cursor) = goes_on else { return };
    let pairs = query.unwrap_or_default().split('&');

    let mut link = String::from("<?");
    for pair in pairs.filter(|pair| !pair.is_empty() && !params::is_after(pair)) {
        link.extend(percent_encode(pair.as_bytes(), UNSAFE));
        link.push('&');
    }
    link += &format!("after={}>; rel=\"next\"", seal.seal(cursor));
    headers.insert(header::LINK, HeaderValue::try_from(link).expect("ASCII without control characters"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::Value;

    fn link(query: &str) -> String {
        let mut headers = HeaderMap::new();
        let cursor = Cursor::after(&[Value::Integer(7)]).unwrap();
        add_link(&mut headers, Some(query), Some(&cursor), &Seal::new(None, b"list", 1));
        headers[header::LINK].to_str().unwrap().to_owned()
    }

    #[test]
    fn what_was_asked_stays_and_the_place_is_replaced() {
        let sealed = Seal::new(None, b"list", 1).seal(&Cursor::after(&[Value::Integer(7)]).unwrap());
        for (query, kept) in [
            ("limit=2", "limit=2&"),
            ("after=x&limit=2&&id=gt.1", "limit=2&id=gt.1&"),
            ("%61fter=x&limit=2", "limit=2&"),
            ("name=eq.中>&limit=2", "name=eq.%E4%B8%AD%3E&limit=2&"),
            // In the body of a QUERY it begins no fragment.
            ("name=eq.a#b&limit=2", "name=eq.a%23b&limit=2&"),
        ] {
            assert_eq!(link(query), format!("<?{kept}after={sealed}>; rel=\"next\""));
        }
    }

    proptest! {
        #[test]
        fn any_query_gives_one_link_that_ends_where_it_should(query: String) {
            let link = link(&query);
            let target = link.strip_prefix("<?").and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap();
            prop_assert!(!target.contains(['<', '>', '"', ' ', '#']));
        }
    }
}
