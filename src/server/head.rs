//! Heads of HTTP/1: parses a request's, writes a response's (RFC 9112).

use std::{cell::RefCell, mem::MaybeUninit, time::SystemTime};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header, response::Parts};

use crate::error::{Error, Kind};

/// The largest head, in bytes.
pub(super) const BYTES: usize = 16 * 1024;
/// The most fields of a head.
const FIELDS: usize = 100;

/// A request without its body.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request<()>,
    /// Whether the client wants to keep the connection.
    pub(super) keeps: bool,
    /// Whether a body follows; unless it is read, it is unknown where the next request begins.
    pub(super) bodied: bool,
}

/// The answer to a malformed head; the connection then ends.
pub(super) type Refusal = (StatusCode, Error);

/// Takes a request's head off the bytes that came; `None` while it is not complete.
///
/// # Errors
/// When it is malformed, or too large.
pub(super) fn take(came: &mut BytesMut) -> Result<Option<Asked>, Refusal> {
    let empty = came.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    came.advance(empty);
    match end(came) {
        Some(end) if end <= BYTES => read(came.split_to(end)).map(Some),
        None if came.len() < BYTES => {
            // Bytes that cannot become a request, such as a TLS hello, are refused at once.
            let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
            httparse::Request::new(&mut []).parse_with_uninit_headers(came, &mut fields).map_err(refusal)?;
            Ok(None)
        }
        _ => Err(too_large()),
    }
}

/// The end of the first empty line.
fn end(came: &[u8]) -> Option<usize> {
    let mut line = 0;
    while let Some(length) = came[line..].iter().position(|byte| *byte == b'\n') {
        let ends = line > 0 && matches!(&came[line..line + length], b"" | b"\r");
        line += length + 1;
        if ends {
            return Some(line);
        }
    }
    None
}

fn read(head: BytesMut) -> Result<Asked, Refusal> {
    let head = head.freeze();
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(&head, &mut fields).map_err(refusal)?;
    let (httparse::Status::Complete(_), Some(method), Some(target), Some(minor)) =
        (status, parsed.method, parsed.path, parsed.version)
    else {
        return Err(malformed());
    };

    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| malformed())?;
    *request.uri_mut() = Uri::from_maybe_shared(head.slice_ref(target.as_bytes())).map_err(|_| malformed())?;
    *request.version_mut() = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let headers = request.headers_mut();
    headers.reserve(parsed.headers.len());
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| malformed())?;
        headers.append(name, value);
    }

    let keeps = match minor {
        0 => says(headers, "keep-alive"),
        _ => !says(headers, "close"),
    };

    let lengths = headers.get_all(header::CONTENT_LENGTH);
    let bodied = headers.contains_key(header::TRANSFER_ENCODING) || lengths.iter().any(|length| length != "0");
    Ok(Asked { request, keeps, bodied })
}

/// Whether the `Connection` fields have this option (RFC 9110 §7.6.1).
fn says(headers: &HeaderMap, option: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(option))
}

fn refusal(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => too_large(),
        _ => malformed(),
    }
}

fn malformed() -> Refusal {
    let error = Error::new(Kind::Invalid, "this is no request of HTTP/1.1");
    (StatusCode::BAD_REQUEST, error.remedy("send one, as RFC 9112 says; is the scheme right, http or https?"))
}

/// The answer to a client that closed its half within a head.
pub(super) fn unfinished() -> Refusal {
    let error = Error::new(Kind::Invalid, "the request ends within its head");
    (StatusCode::BAD_REQUEST, error.remedy("send all of it, and an empty line behind it"))
}

fn too_large() -> Refusal {
    let message = format!("the head of the request has more than {BYTES} bytes or {FIELDS} fields");
    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Error::new(Kind::Invalid, message).remedy("send a smaller one"))
}

/// How a client can tell the end of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    Empty,
    /// By its length.
    Length,
    /// By the last chunk (RFC 9112 §7.1).
    Chunked,
    /// By the end of the connection, as in HTTP/1.0.
    Close,
}

/// Appends the head of a response to `text`.
pub(super) fn write(text: &mut BytesMut, head: &Parts, version: Version, framing: Framing, keeps: bool) {
    let old = version == Version::HTTP_10;
    text.extend_from_slice(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    text.extend_from_slice(head.status.as_str().as_bytes());
    text.extend_from_slice(b" ");
    text.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in &head.headers {
        line(text, name.as_str(), value.as_bytes());
    }

    match (old, keeps) {
        (false, false) => line(text, "connection", b"close"),
        (true, true) => line(text, "connection", b"keep-alive"),
        _ => {}
    }

    if framing == Framing::Chunked {
        line(text, "transfer-encoding", b"chunked");
    }

    NOW.with_borrow_mut(|now| line(text, "date", now.text()));
    text.extend_from_slice(b"\r\n\r\n");
}

fn line(text: &mut BytesMut, name: &str, value: &[u8]) {
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
}

/// The current date for responses; each thread formats it once a second.
struct Now {
    second: u64,
    text: String,
}

thread_local! {
    static NOW: RefCell<Now> = const { RefCell::new(Now { second: 0, text: String::new() }) };
}

impl Now {
    fn text(&mut self) -> &[u8] {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second || self.text.is_empty() {
            *self = Now { second, text: httpdate::fmt_http_date(now) };
        }
        self.text.as_bytes()
    }
}

/// Parses these bytes at once and byte by byte, for the fuzz target: both must give the same, and
/// nothing may panic.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_head(bytes: &[u8]) {
    let heads = |step: usize| {
        let mut came = BytesMut::new();
        let mut heads = vec![];
        for piece in bytes.chunks(step.max(1)) {
            came.extend_from_slice(piece);
            loop {
                match take(&mut came) {
                    Ok(Some(asked)) => heads.push(Some(format!("{asked:?}"))),
                    Ok(None) => break,
                    Err(_) => {
                        heads.push(None);
                        return heads;
                    }
                }
            }
        }
        heads
    };

    assert_eq!(heads(bytes.len()), heads(1));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(text: &[u8]) -> Result<Option<Asked>, StatusCode> {
        take(&mut BytesMut::from(text)).map_err(|(status, _)| status)
    }

    #[test]
    fn a_head_is_taken_and_what_follows_it_is_left() {
        let mut came = BytesMut::from("\r\n\nGET /a?b HTTP/1.1\r\nHost: x\r\nA: 1\r\na:2\n\nGET");
        let asked = take(&mut came).unwrap().unwrap();
        assert_eq!((asked.request.uri().path(), asked.request.uri().query()), ("/a", Some("b")));
        assert_eq!(asked.request.headers().get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(asked.keeps && !asked.bodied);
        assert_eq!(came, "GET");
        assert!(take(&mut came).unwrap().is_none());
    }

    #[test]
    fn the_connection_goes_on_as_the_version_and_its_options_say_and_never_behind_a_body() {
        for (version, field, keeps, bodied) in [
            ("1.1", "a: b", true, false),
            ("1.1", "Connection: x, Close", false, false),
            ("1.0", "a: b", false, false),
            ("1.0", "connection: Keep-Alive", true, false),
            ("1.1", "content-length: 0", true, false),
            ("1.1", "content-length: 5", true, true),
            ("1.1", "content-length: 0\r\ncontent-length: 5", true, true),
            ("1.1", "content-length: -0", true, true),
            ("1.1", "transfer-encoding: identity", true, true),
        ] {
            let asked = taken(format!("GET / HTTP/{version}\r\n{field}\r\n\r\n").as_bytes()).unwrap().unwrap();
            assert_eq!((asked.keeps, asked.bodied), (keeps, bodied), "{version} {field}");
        }
    }

    #[test]
    fn what_cannot_become_a_request_is_refused_before_it_is_whole() {
        assert_eq!(taken(b"\x16\x03\x01\x02").unwrap_err(), StatusCode::BAD_REQUEST);
        for wrong in [
            "GET / HTTP/1.1\r\na b: c\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET /\r\n\r\n",
            "G T / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\na : b\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\na: \0\r\n\r\n",
        ] {
            assert_eq!(taken(wrong.as_bytes()).unwrap_err(), StatusCode::BAD_REQUEST, "{wrong:?}");
        }

        assert_eq!(
            taken(&[b"GET /", &*vec![b'x'; BYTES]].concat()).unwrap_err(),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        );
    }

    proptest! {
        #[test]
        fn a_head_that_comes_in_pieces_is_the_same(
            text in "GET /[a-z]{0,9} HTTP/1\\.[01]\r?\n([a-z]{1,5}: ?[a-z]{0,5}\r?\n){0,5}\r?\n",
        ) {
            prop_assert!(taken(text.as_bytes()).unwrap().is_some());
            fuzz_head(text.repeat(2).as_bytes());
        }

        #[test]
        fn any_bytes_are_the_same_heads_in_one_piece_and_in_many(bytes: Vec<u8>) {
            fuzz_head(&bytes);
            fuzz_head(&[b"GET / HTTP/1.1\r\n", &*bytes, b"\r\n\r\n"].concat());
        }
    }
}
