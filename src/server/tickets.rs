//! `POST /-/ticket`: a ticket for a client that cannot send headers.

use std::{net::IpAddr, time::SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::{
    shared::Shared,
    upload::{self, Unread, Upload},
};
use crate::{
    auth::TicketKeys,
    error::{Error, Kind, Result},
    identity::Identity,
    web::{Body, Chunkflow, json, problem, refusal},
};

/// The largest body, in bytes.
const LARGEST: usize = 4 * 1024;
/// How many are made at once: in all, and for one address.
const MOST: usize = 256;
const MOST_EACH: usize = 16;

/// Checks what the head says of the body, before anything is asked for.
///
/// # Errors
/// The response to a request that is refused.
pub(super) fn check_head(request: &Request<()>) -> Result<(), Box<Response<Body>>> {
    upload::check_json(request.headers(), "a ticket is asked for")
        .map_err(|error| Box::new(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)))?;
    if upload::is_larger(request.headers(), LARGEST) {
        return Err(Box::new(unread(Unread::TooLarge(LARGEST))));
    }
    Ok(())
}

/// The response to a request that does not say who it is from.
pub(super) fn nobody() -> Response<Body> {
    let error =
        Error::new(Kind::Unauthorized, "a ticket is for somebody, and this request does not say who it is from");
    problem(error.remedy("send with it what the list itself would be asked with: a token, a key or a cookie"))
}

/// 200 with a ticket for the list that the body names. The list decides when it is opened whether
/// this identity may see it.
pub(super) async fn answer(
    chunkflow: &Chunkflow,
    shared: &Shared,
    keys: &TicketKeys,
    identity: &Identity,
    upload: Option<Upload>,
    client: IpAddr,
) -> Response<Body> {
    let _permit = match shared.tickets.enter("tickets", MOST, Some(client), MOST_EACH) {
        Ok(permit) => permit,
        Err(error) => return problem(error),
    };

    let body = match upload {
        Some(upload) => match upload.read(LARGEST).await {
            Ok(body) => body,
            Err(why) => return unread(why),
        },
        None => Bytes::new(),
    };

    match made(chunkflow, keys, identity, &body) {
        Ok(response) => response,
        Err(error) => problem(error),
    }
}

fn made(chunkflow: &Chunkflow, keys: &TicketKeys, identity: &Identity, body: &[u8]) -> Result<Response<Body>> {
    let wrong = || {
        let error = Error::new(Kind::Invalid, "the body names no list");
        error.remedy("send for instance {\"list\":\"/tricks.sse\"}")
    };

    let members: Map<String, Value> = serde_json::from_slice(body).map_err(|_| wrong())?;
    let path = members.get("list").and_then(Value::as_str).filter(|_| members.len() == 1).ok_or_else(wrong)?;
    if !path.starts_with('/') || path.contains(['?', '#']) {
        let error = Error::new(Kind::Invalid, "`list` is no path");
        return Err(error.remedy("write it as in the address, without parameters: {\"list\":\"/tricks.sse\"}"));
    }

    if !chunkflow.has_list_at(path) {
        return Err(Error::new(Kind::Missing, "there is no list at the path in `list`"));
    }
    Ok(json(StatusCode::OK, &keys.made(path, identity, SystemTime::now())?))
}

fn unread(unread: Unread) -> Response<Body> {
    let (status, error) = unread.refusal();
    refusal(status, error)
}
