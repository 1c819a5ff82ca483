//! What a request shows of who it is from. Nothing here is believed yet.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{refusal::Refusal, ticket};

pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The parameter in which RFC 6750 §2.3 lets a client send its token. Nobody should: addresses are
/// in logs and histories.
const ACCESS_TOKEN: &str = "access_token";

/// The credentials of one request.
pub(super) struct Shown<'r> {
    pub(super) headers: &'r HeaderMap,
    pub(super) method: &'r Method,
    /// The path in its usual spelling, without the query: who decides by it must not be passed by
    /// another spelling of the same list.
    pub(super) path: String,
    /// The host as the client named it, with its port.
    pub(super) host: &'r str,
    /// The one `Authorization` field, if there is one.
    pub(super) authorization: Option<&'r HeaderValue>,
    /// The ticket in the query, if there is one.
    pub(super) ticket: Option<String>,
}

impl<'r> Shown<'r> {
    /// # Errors
    /// When there are two `Authorization` fields, or a token in the query.
    pub(super) fn of<B>(request: &'r Request<B>, host: &'r str) -> Result<Shown<'r>, Refusal> {
        let headers = request.headers();
        let authorization = one(headers, &header::AUTHORIZATION)?;
        let query = request.uri().query().unwrap_or_default();
        if names(query).any(|name| name == ACCESS_TOKEN) {
            let remedy = "send it as `Authorization: Bearer TOKEN`; for `EventSource` get a ticket with POST /-/ticket";
            return Err(Refusal::malformed("a token does not belong into an address", remedy));
        }

        let ticket = ticket::in_query(query)?;
        let path = usual(request.uri().path());
        Ok(Shown { headers, method: request.method(), path, host, authorization, ticket })
    }

    /// The token of `Authorization: Bearer TOKEN` (RFC 6750 §2.1); empty if the field has the
    /// scheme and no readable token.
    pub(super) fn bearer(&self) -> Option<&'r str> {
        let field = self.authorization?.as_bytes();
        let (scheme, rest) = field.split_at_checked(6)?;
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && matches!(rest.first(), None | Some(b' ' | b'\t'));
        if !is_bearer {
            return None;
        }

        let token = rest.trim_ascii();
        let is_token = token.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte));
        Some(std::str::from_utf8(token).ok().filter(|_| is_token).unwrap_or_default())
    }

    /// The token if it has the form of a JWT: three parts, of which the last may be empty.
    pub(super) fn jwt(&self) -> Option<&'r str> {
        self.bearer().filter(|token| is_jwt(token))
    }

    /// The key in `Authorization: Bearer KEY`, or in `X-Api-Key`.
    ///
    /// # Errors
    /// When there are two.
    pub(super) fn api_key(&self) -> Result<Option<&'r [u8]>, Refusal> {
        let bearer = self.bearer().filter(|token| !is_jwt(token)).map(str::as_bytes);
        let named = one(self.headers, &X_API_KEY)?.map(|value| value.as_bytes().trim_ascii());
        if bearer.is_some() && named.is_some() {
            let remedy = "send it either as `Authorization: Bearer KEY` or as `X-Api-Key`";
            return Err(Refusal::malformed("the request shows two keys", remedy));
        }
        Ok(bearer.or(named))
    }

    /// The cookies of these names, as `name=value` (RFC 6265 §4.2), in the order of the request. A
    /// name may stand twice; the application knows which one counts.
    pub(super) fn cookies(&self, names: &[String]) -> Vec<&'r [u8]> {
        let fields = self.headers.get_all(header::COOKIE).iter();
        let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
        let is_named = |pair: &&[u8]| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
            pair.contains(&b'=') && names.iter().any(|wanted| wanted.as_bytes() == name)
        };
        pairs.filter(is_named).collect()
    }
}

/// A path with only those characters percent-encoded that must be.
fn usual(path: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    utf8_percent_encode(&decoded, PLAIN).to_string()
}

/// The value of a field that must not stand twice: of two, nobody knows which one a proxy before us
/// has checked.
///
/// # Errors
/// When it does.
pub(super) fn one<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::malformed(format!("the request has two `{name}` fields"), "send one"));
    }
    Ok(first)
}

fn is_jwt(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The names of a query's parameters. One that is no UTF-8 is refused by the list.
fn names(query: &str) -> impl Iterator<Item = String> {
    let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    names.map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &'static str)], path: &str) -> Request<()> {
        let mut request = Request::get(path).body(()).unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn a_path_has_one_spelling() {
        for path in ["/salaries.json", "/%73alaries%2Ejson", "/s%61laries.json"] {
            assert_eq!(usual(path), "/salaries.json");
        }
        assert_eq!(usual("/a%2Fb"), usual("/a/b"));
        assert_eq!(usual("/%E4%B8%AD"), "/%E4%B8%AD");
    }

    #[test]
    fn a_bearer_token_is_read_in_any_case_of_its_scheme_and_nothing_else_is_one() {
        let bearer = |value: &'static str| {
            let request = request(&[("authorization", value)], "/");
            Shown::of(&request, "h").unwrap().bearer().map(str::to_owned)
        };

        for right in ["Bearer abc", "bearer abc", "BEARER   abc ", "Bearer\tabc"] {
            assert_eq!(bearer(right).as_deref(), Some("abc"), "{right}");
        }
        for empty in ["Bearer", "Bearer ", "Bearer a b", "Bearer a, Bearer b", "Bearer \"a\""] {
            assert_eq!(bearer(empty).as_deref(), Some(""), "{empty}");
        }
        for none in ["Basic abc", "Bearerabc", "Bear", "", "Token abc"] {
            assert_eq!(bearer(none), None, "{none}");
        }
    }

    #[test]
    fn of_two_fields_of_one_kind_none_is_taken() {
        let two = request(&[("authorization", "Bearer a"), ("authorization", "Bearer a")], "/");
        assert_eq!(Shown::of(&two, "h").err().unwrap().kind(), Some(crate::Kind::Invalid));

        for two in [&[("x-api-key", "a"), ("x-api-key", "a")][..], &[("x-api-key", "a"), ("authorization", "Bearer a")]]
        {
            let request = request(two, "/");
            assert!(Shown::of(&request, "h").unwrap().api_key().is_err(), "{two:?}");
        }

        // A JWT beside a key is the business of another way.
        let beside = request(&[("x-api-key", "a"), ("authorization", "Bearer a.b.c")], "/");
        assert_eq!(Shown::of(&beside, "h").unwrap().api_key().unwrap(), Some(&b"a"[..]));
    }

    #[test]
    fn a_token_in_an_address_is_refused_also_if_its_name_is_encoded() {
        for path in ["/a?access_token=x", "/a?x=1&access%5Ftoken=x", "/a?access_token"] {
            assert!(Shown::of(&request(&[], path), "h").is_err(), "{path}");
        }
        assert!(Shown::of(&request(&[], "/a?my_access_token=eq.1"), "h").is_ok());
    }

    #[test]
    fn only_the_named_cookies_are_passed_on() {
        let fields = [("cookie", "theme=dark; sessionid=abc ;sessionid2=x"), ("cookie", " other=1;sessionid=def;a")];
        let request = request(&fields, "/");
        let names = ["sessionid".to_owned(), "a".to_owned()];
        let cookies = Shown::of(&request, "h").unwrap().cookies(&names);
        assert_eq!(cookies, [&b"sessionid=abc"[..], b"sessionid=def"]);
    }
}
