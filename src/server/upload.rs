//! The body of a request, for the one answer that wants it.
//!
//! A connection reads no body by itself. The code that answers the request may ask for it, once it
//! is known who sends it and what for; only then does the connection read it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};

/// A body that is still with its client. Dropping it says that nobody wants it.
pub(super) struct Upload(oneshot::Sender<Wanted>);

/// What the connection is asked for.
pub(super) struct Wanted {
    /// The largest body that may be read, in bytes.
    pub(super) most: usize,
    tell: oneshot::Sender<Result<Bytes, Unread>>,
}

/// Why there is no body. Nothing of it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It has more than so many bytes.
    TooLarge(usize),
    /// It did not come in time.
    Late,
    /// It ended too soon.
    Cut,
    /// Where it ends cannot be told for certain.
    Malformed,
}

/// Offers a body: for the answer, and what the connection listens to meanwhile.
pub(super) fn offer() -> (Upload, oneshot::Receiver<Wanted>) {
    let (ask, asked) = oneshot::channel();
    (Upload(ask), asked)
}

/// Whether the client sends its body only once it is told to go on (RFC 9110 §10.1.1).
pub(super) fn expects_word(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether the head says that the body has more than `most` bytes.
pub(super) fn is_larger(headers: &HeaderMap, most: usize) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > most as u64)
}

/// Checks that a body is said to be JSON, without a content coding.
///
/// A browser sends JSON to another site only after it has asked there (CORS). So even a browser
/// that states no origin sends none for a foreign page that may not.
///
/// # Errors
/// What else it is said to be; for a 415.
pub(super) fn check_json(headers: &HeaderMap, what: &str) -> Result<()> {
    let is_json = |value: &HeaderValue| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    if !kinds.next().is_some_and(is_json) || kinds.next().is_some() {
        let error = Error::new(Kind::Invalid, format!("{what} as JSON"));
        return Err(error.remedy("send `Content-Type: application/json`"));
    }

    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        let error = Error::new(Kind::Invalid, "a body in a content coding is not read here");
        return Err(error.remedy("send it without `Content-Encoding`"));
    }

    Ok(())
}

impl Upload {
    /// The whole body.
    ///
    /// # Errors
    /// When it has more than `most` bytes, or does not come whole and in time.
    pub(super) async fn read(self, most: usize) -> Result<Bytes, Unread> {
        let (tell, told) = oneshot::channel();
        // A connection that is gone tells nothing.
        let _ = self.0.send(Wanted { most, tell });
        told.await.unwrap_or(Err(Unread::Cut))
    }
}

impl Wanted {
    /// Hands over what was read.
    pub(super) fn tell(self, read: Result<Bytes, Unread>) {
        // The answer may have been given up.
        let _ = self.tell.send(read);
    }
}

impl Unread {
    /// The status of the answer, and what it says.
    pub(super) fn refusal(self) -> (StatusCode, Error) {
        let (status, message, remedy) = match self {
            Unread::TooLarge(most) => {
                let message = format!("the body has more than {most} bytes");
                (StatusCode::PAYLOAD_TOO_LARGE, message, "send it in several requests")
            }
            Unread::Late => {
                let message = "the body did not come in time".to_owned();
                (StatusCode::REQUEST_TIMEOUT, message, "send it at once, or less of it")
            }
            Unread::Cut => {
                (StatusCode::BAD_REQUEST, "the request ends within its body".to_owned(), "send all of it again")
            }
            Unread::Malformed => {
                let message = "where the body ends is not clear".to_owned();
                (StatusCode::BAD_REQUEST, message, "send one `Content-Length`, or `Transfer-Encoding: chunked`")
            }
        };
        (status, Error::new(Kind::Invalid, message).remedy(remedy))
    }
}
