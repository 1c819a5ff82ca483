//! Addresses as the log shows them: without tickets, and without what looks like a secret.

use std::{borrow::Cow, sync::LazyLock};

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::config::Vocabulary;

/// The words by which a name tells that a secret is behind it.
static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::new);

/// The beginnings of tickets and keys that are made here, and of tokens that are JSON.
const BEGINNINGS: [&str; 3] = ["cft_", "cfk_", "eyJ"];
/// In place of what is not shown.
const MASK: &str = "***";

/// The address for the log. `is_refused`: no list has taken its parameters for filters, so that their
/// names may be of secrets that do not belong there.
pub(super) fn masked(uri: &Uri, is_refused: bool) -> Cow<'_, str> {
    let before = before_query(uri);
    let Some(query) = uri.query() else { return before };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) if is_secret(name, value, is_refused) => format!("{name}={MASK}"),
        // A secret alone has no name.
        None if is_refused && pair.len() > LONGEST_NAME => MASK.to_owned(),
        _ => pair.to_owned(),
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    Cow::Owned(format!("{before}?{query}"))
}

/// What stands before the query, without the user and password that an address may name.
fn before_query(uri: &Uri) -> Cow<'_, str> {
    let Some(authority) = uri.authority() else { return Cow::Borrowed(uri.path()) };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    match uri.scheme_str() {
        Some(scheme) => Cow::Owned(format!("{scheme}://{host}{}", uri.path())),
        None => Cow::Owned(host.to_owned()),
    }
}

/// A longer text without a value may be one, and no name.
const LONGEST_NAME: usize = 64;

fn is_secret(name: &str, value: &str, is_refused: bool) -> bool {
    let value = percent_decode_str(value).decode_utf8_lossy();
    let begins = || BEGINNINGS.iter().any(|beginning| value.starts_with(beginning));
    let name = percent_decode_str(name).decode_utf8_lossy();
    name == "ticket" || begins() || is_refused && VOCABULARY.is_secret(&name, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, is_refused: bool) -> String {
        masked(&path.parse().unwrap(), is_refused).into_owned()
    }

    #[test]
    fn tickets_and_tokens_are_never_shown() {
        for is_refused in [false, true] {
            assert_eq!(shown("/a.sse?ticket=cft_abc&limit=1", is_refused), "/a.sse?ticket=***&limit=1");
            assert_eq!(shown("/a?%74icket=x", is_refused), "/a?%74icket=***");
            assert_eq!(shown("/a?q=eyJhbGciOiJIUzI1NiJ9.e30.x", is_refused), "/a?q=***");
            assert_eq!(shown("/a?id=eq.7&after=AbC", is_refused), "/a?id=eq.7&after=AbC");
            assert_eq!(shown("/a", is_refused), "/a");
        }
    }

    #[test]
    fn an_address_with_a_host_shows_neither_user_nor_password() {
        for is_refused in [false, true] {
            assert_eq!(shown("http://user:pw@h:8080/list", is_refused), "http://h:8080/list");
            assert_eq!(shown("http://user:pw@h/list?limit=1", is_refused), "http://h/list?limit=1");
            assert_eq!(shown("user:pw@h:443", is_refused), "h:443");
        }
        assert_eq!(shown("*", false), "*");
    }

    #[test]
    fn what_was_refused_shows_no_value_whose_name_is_of_a_secret() {
        for name in [
            "access_token",
            "token",
            "api_key",
            "apikey",
            "api%5Fkey",
            "ACCESS_TOKEN",
            "password",
            "jwt",
            "secret",
            "id_token",
        ] {
            let address = format!("/a?x=1&{name}=s3cret");
            assert_eq!(shown(&address, true), format!("/a?x=1&{name}=***"));
        }
        let alone = "s".repeat(100);
        assert!(!shown(&format!("/a?{alone}"), true).contains(&alone));
    }
}
