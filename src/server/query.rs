//! `QUERY` (RFC 10008): the parameters of a list as a form in the request's body.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};

use super::{
    bounds::Count,
    upload::{self, Unread, Upload},
};
use crate::{
    error::{Error, Kind},
    web::{ACCEPT_QUERY, Body, FORM, Form, problem, refusal},
};

/// The largest form, in bytes.
const MOST: usize = 64 * 1024;
/// How many forms may be on their way at once, in all and from one address.
const FORMS: usize = 256;
const FORMS_OF_ONE: usize = 16;

/// The request with the form of its body.
///
/// # Errors
/// The answer, if the body is no form or does not come whole and in time.
pub(super) async fn with_form(
    request: &Request<()>,
    upload: Option<Upload>,
    forms: &Arc<Count>,
    client: IpAddr,
) -> Result<Request<()>, Response<Body>> {
    // Everything that the head tells is judged before the body is asked for.
    let headers = request.headers();
    check_kind(headers).map_err(unsupported)?;
    if upload::is_larger(headers, MOST) {
        return Err(unread(Unread::TooLarge(MOST)));
    }

    let body = match upload {
        Some(upload) => {
            let _permit = forms.enter("forms", FORMS, Some(client), FORMS_OF_ONE).map_err(problem)?;
            upload.read(MOST).await.map_err(unread)?
        }
        None => bytes::Bytes::new(),
    };

    let text = String::from_utf8(body.into()).map_err(|_| {
        let error = Error::new(Kind::Invalid, "the form in the body is not UTF-8");
        problem(error.remedy("percent-encode its values as UTF-8"))
    })?;

    let mut with_form = request.clone();
    with_form.extensions_mut().insert(Form(text));
    Ok(with_form)
}

/// Checks that a body is said to be a form, without a content coding.
fn check_kind(headers: &HeaderMap) -> Result<(), Error> {
    let is_form = |value: &HeaderValue| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(FORM.as_bytes())
    };
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    if !kinds.next().is_some_and(is_form) || kinds.next().is_some() {
        return Err(Error::new(Kind::Invalid, "a list is queried by a form")
            .remedy("send `Content-Type: application/x-www-form-urlencoded`, and the parameters as they would stand in the address"));
    }

    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        return Err(Error::new(Kind::Invalid, "a body in a content coding is not read here")
            .remedy("send it without `Content-Encoding`"));
    }
    Ok(())
}

fn unsupported(error: Error) -> Response<Body> {
    let mut response = refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error);
    response.headers_mut().insert(ACCEPT_QUERY, FORM);
    response
}

fn unread(unread: Unread) -> Response<Body> {
    let (status, error) = unread.refusal();
    refusal(status, error)
}
