//! The host that a request names: by its line or by its `Host` field.

use http::{Request, Version, header};

use crate::error::{Error, Kind, Result};

/// The host that a request names; `None` where it names none.
///
/// A request line that names one decides, as it says where the request was meant to go; what `Host`
/// says then is nothing to HTTP/1.1 (RFC 9112 §3.2.2), but may not differ in HTTP/2 (RFC 9113
/// §8.3.1).
///
/// # Errors
/// When there is more than one `Host` field, or one that can be no host, whatever the line says
/// (RFC 9112 §3.2).
pub(crate) fn named<B>(request: &Request<B>) -> Result<Option<&str>> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = fields.next().map(|field| field.to_str().unwrap_or("?"));
    if fields.next().is_some() {
        return Err(wrong("the request has more than one `Host` field"));
    }

    let line = request.uri().authority().map(|authority| authority.as_str());
    let named = line.or(field);
    if let Some(line) = line
        && let Some(field) = field
    {
        // A client that knows no host sends an empty one (RFC 9110 §7.2).
        if !field.is_empty() && !is_host(field) {
            return Err(wrong("the `Host` field of the request is no host"));
        }
        if request.version() >= Version::HTTP_2 && !line.eq_ignore_ascii_case(field) {
            return Err(wrong("the request names two hosts"));
        }
    }

    match named {
        Some(named) if !is_host(named) => Err(wrong("the request names no right host")),
        named => Ok(named),
    }
}

fn wrong(message: &str) -> Error {
    Error::new(Kind::Invalid, message).remedy("send one `Host` header with a host name")
}

/// Whether a text can stand as host and port in a URL, and nothing else can hide in it.
pub(crate) fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}
