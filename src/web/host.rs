//! The host of a request: from its request line or its `Host` field.

use http::{Request, Version, header};

use crate::error::{Error, Kind, Result};

/// The host that a request names; `None` if it names none.
///
/// A host in the request line decides, since it says where the request was meant to go. HTTP/1.1
/// then ignores `Host` (RFC 9112 §3.2.2); in HTTP/2 it must not differ (RFC 9113 §8.3.1).
///
/// # Errors
/// When there are several `Host` fields, or one that is no host; also if the line names a host (RFC
/// 9112 §3.2).
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
        // A client that knows no host sends an empty field (RFC 9110 §7.2).
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

/// Whether a text can be the host and port of a URL, and cannot hide anything else there.
pub(crate) fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}
