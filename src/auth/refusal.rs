//! Why a request is answered before its list is looked at.

use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    error::{Error, Kind},
    format::END_OF_LIST,
    web::{Body, json_text, no_content, problem},
};

/// The answer to a request whose credential is wrong, or cannot be checked now.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The credential is there and is wrong: 401 (RFC 6750 §3.1).
    Wrong(Error),
    /// Any other error, with the status of its kind.
    Problem(Error),
    /// A ticket that has opened its list has expired. `EventSource` is told so by an event, and by
    /// 204 when it comes back with that event's id, since it would come back after any other end.
    Expired {
        /// Whether the client has got the event already.
        is_told: bool,
    },
}

impl Refusal {
    /// 401: there is a credential, and it is wrong.
    pub(super) fn wrong(message: impl Into<String>) -> Refusal {
        Refusal::Wrong(Error::new(Kind::Unauthorized, message))
    }

    /// 400: the request shows its credentials in a way that nobody may.
    pub(super) fn malformed(message: impl Into<String>, remedy: &str) -> Refusal {
        Refusal::Problem(Error::new(Kind::Invalid, message).remedy(remedy))
    }

    /// 503: nobody can tell now whether the credential is right.
    pub(super) fn away(message: impl Into<String>) -> Refusal {
        Refusal::Problem(Error::new(Kind::Busy, message))
    }

    /// Whether the same credential will be refused again.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Refusal::Wrong(_) | Refusal::Expired { .. } => true,
            Refusal::Problem(error) => error.kind() == Kind::Forbidden,
        }
    }

    /// Whether this one client asks for too much.
    pub(crate) fn is_of_client(&self) -> bool {
        matches!(self, Refusal::Problem(error) if error.kind() == Kind::RateLimited)
    }

    /// The response.
    pub(crate) fn response(self) -> Response<Body> {
        match self {
            Refusal::Problem(error) => problem(error),
            Refusal::Wrong(error) => {
                let mut response = problem(error);
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                response
            }
            Refusal::Expired { is_told: true } => no_content(),
            Refusal::Expired { is_told: false } => expired(),
        }
    }

    /// The error, for those who do not answer by HTTP.
    #[cfg(test)]
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Refusal::Wrong(error) | Refusal::Problem(error) => Some(error.kind()),
            Refusal::Expired { .. } => None,
        }
    }
}

/// A stream of one event. Its id is that of the end of a list, with which the client is answered
/// that there is nothing more.
fn expired() -> Response<Body> {
    let data = "{\"detail\":\"the ticket has expired\",\"remedy\":\"ask for a new one with POST /-/ticket\"}";
    let text = format!("event: expired\nid: {END_OF_LIST}\ndata: {data}\n\n");
    let mut response = json_text(StatusCode::OK, text.into());
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_token_is_told_from_none() {
        let wrong = Refusal::wrong("the token has expired").response();
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(wrong.headers()[header::WWW_AUTHENTICATE], "Bearer error=\"invalid_token\"");

        let away = Refusal::away("it is away").response();
        assert_eq!(away.status().as_u16(), 503);
        assert!(away.headers().contains_key(header::RETRY_AFTER));
        assert_eq!(Refusal::malformed("two", "send one").response().status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn an_expired_ticket_is_told_once_and_then_there_is_nothing_more() {
        let told = Refusal::Expired { is_told: false }.response();
        assert_eq!(told.status(), StatusCode::OK);
        assert_eq!(told.headers()[header::CONTENT_TYPE], "text/event-stream; charset=utf-8");
        assert_eq!(told.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(Refusal::Expired { is_told: true }.response().status(), StatusCode::NO_CONTENT);
    }
}
