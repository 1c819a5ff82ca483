//! `POST /-/ticket`: a ticket for a client that cannot send headers.

use std::{net::IpAddr, time::SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::{
    bounds::Permit,
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

/// A ticket that is asked for.
pub(super) struct Wanted {
    /// The path of the list that it is to open.
    path: String,
    _permit: Permit,
}

impl Wanted {
    /// Reads what the body asks for.
    ///
    /// # Errors
    /// The response, if there is no such list or no room.
    pub(super) async fn read(
        chunkflow: &Chunkflow,
        shared: &Shared,
        upload: Option<Upload>,
        client: IpAddr,
    ) -> Result<Wanted, Box<Response<Body>>> {
        let refused = |error| Box::new(problem(error));
        let permit = shared.tickets.enter("tickets", MOST, Some(client), MOST_EACH).map_err(refused)?;
        let body = match upload {
            Some(upload) => upload.read(LARGEST).await.map_err(|why| Box::new(unread(why)))?,
            None => Bytes::new(),
        };

        let path = path_in(chunkflow, &body).map_err(refused)?;
        Ok(Wanted { path, _permit: permit })
    }

    /// The request with which the list would be opened, that shows the same credentials: who may not
    /// open it gets no ticket for it.
    pub(super) fn opening(&self, request: &Request<()>) -> Result<Request<()>> {
        let target = match request.uri().query() {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        };
        let opening = Request::builder().method(Method::GET).uri(target).body(());
        let mut opening = opening.map_err(|_| wrong_path())?;
        opening.headers_mut().clone_from(request.headers());
        Ok(opening)
    }

    /// 200 with the ticket. The list decides when it is opened which rows this identity sees.
    pub(super) fn answer(&self, keys: &TicketKeys, identity: &Identity) -> Response<Body> {
        match keys.made(&self.path, identity, SystemTime::now()) {
            Ok(ticket) => json(StatusCode::OK, &ticket),
            Err(error) => problem(error),
        }
    }
}

fn wrong_path() -> Error {
    let error = Error::new(Kind::Invalid, "`list` is no path");
    error.remedy("write it as in the address, without parameters: {\"list\":\"/tricks.sse\"}")
}

/// The path of the list that a body names.
fn path_in(chunkflow: &Chunkflow, body: &[u8]) -> Result<String> {
    let wrong = || {
        let error = Error::new(Kind::Invalid, "the body names no list");
        error.remedy("send for instance {\"list\":\"/tricks.sse\"}")
    };

    let members: Map<String, Value> = serde_json::from_slice(body).map_err(|_| wrong())?;
    let path = members.get("list").and_then(Value::as_str).filter(|_| members.len() == 1).ok_or_else(wrong)?;
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(wrong_path());
    }

    if !chunkflow.has_list_at(path) {
        return Err(Error::new(Kind::Missing, "there is no list at the path in `list`"));
    }
    Ok(path.to_owned())
}

fn unread(unread: Unread) -> Response<Body> {
    let (status, error) = unread.refusal();
    refusal(status, error)
}
