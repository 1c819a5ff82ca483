//! Tickets: `EventSource` sends no `Authorization`, so a client opens its stream with a ticket in
//! the query.
//!
//! An address is seen by logs and histories. So a ticket opens one list only, and only for a minute.
//! A client that has received events comes back with `Last-Event-ID`; then the ticket opens the list
//! for an hour after it was made.
//!
//! A ticket holds the claims of its client, encrypted with AES-SIV (RFC 5297). The name of the list
//! is the associated data, so that the ticket opens no other list. Who reads a ticket does not learn
//! whose it is.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aes_siv::{KeyInit, Tag, siv::Aes256Siv};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Request, Uri};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{random, refusal::Refusal};
use crate::{
    error::{Error, Kind, Result},
    format::END_OF_LIST,
    identity::Identity,
    secret::Secret,
    web::{asks_for_events, resource_of},
};

/// The parameter of a request that has one.
const PARAMETER: &str = "ticket";
/// The beginning of each ticket: no filter of a column called `ticket` begins with it.
const PREFIX: &str = "cft_";
/// The longest ticket, in characters: the head of a request must have room for other fields too.
const LONGEST: usize = 6 * 1024;
/// How long a ticket opens its list for the first time.
const OPENS: Duration = Duration::from_secs(60);
/// How long it opens it for a client that comes back.
const RESUMES: Duration = Duration::from_secs(3600);
/// How far the clocks of two servers may be apart.
const SKEW: Duration = Duration::from_secs(10);
/// The last moment that a ticket names, in seconds since 1970.
const LAST_SECOND: u64 = (1 << 40) - 1;

/// The keys of tickets, the newest first.
#[derive(Clone)]
pub(crate) struct TicketKeys(Arc<[[u8; 64]]>);

impl TicketKeys {
    /// For all servers with the secret.
    pub(crate) fn of(secret: &Secret) -> TicketKeys {
        TicketKeys(secret.keys().iter().map(|keys| keys.tickets).collect())
    }

    /// For this process alone.
    pub(crate) fn random() -> TicketKeys {
        let mut key = [0; 64];
        random::fill(&mut key);
        TicketKeys([key].into())
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys(..)")
    }
}

/// What is in a ticket.
#[derive(Deserialize, Serialize)]
struct Within {
    /// When it was made, in milliseconds since 1970.
    made: u64,
    /// When its identity ends, in seconds since 1970.
    until: Option<u64>,
    claims: Map<String, Value>,
}

/// A ticket for a client.
#[derive(Debug, Serialize)]
pub(crate) struct Ticket {
    ticket: String,
    /// Until when it opens its list for the first time, in seconds since 1970.
    expires: u64,
}

impl TicketKeys {
    /// A ticket for the list at this path.
    ///
    /// # Errors
    /// When the claims are too large for an address.
    pub(crate) fn made(&self, path: &str, identity: &Identity, now: SystemTime) -> Result<Ticket> {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(LAST_SECOND);
        let within = Within {
            made: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
            until: identity.expiry().map(seconds),
            claims: identity.claims().clone(),
        };

        let mut bytes = serde_json::to_vec(&within).expect("claims are JSON");
        let tag = cipher(&self.0[0]).encrypt_inout_detached([&*name(path)?], bytes.as_mut_slice().into());
        let tag = tag.expect("one header is not too many");
        let text = PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode([&tag[..], &bytes].concat());
        if text.len() > LONGEST {
            let error = Error::new(Kind::Invalid, "the claims of this login are too large for a ticket");
            return Err(error.remedy("read the list with `fetch`, which sends headers"));
        }

        let end = identity.expiry().unwrap_or(now + OPENS).min(now + OPENS);
        Ok(Ticket { ticket: text, expires: seconds(end) })
    }

    /// Whose ticket this is, if it opens the list at the request's path now.
    ///
    /// # Errors
    /// When it is no ticket for this list; when it has expired.
    pub(super) fn open<B>(&self, text: &str, request: &Request<B>, now: SystemTime) -> Result<Arc<Identity>, Refusal> {
        let within = self.within(text, request.uri().path());
        let within = within.ok_or_else(|| Refusal::wrong("the ticket is none for this list"))?;
        let made = UNIX_EPOCH + Duration::from_millis(within.made);
        let until = within.until.map(|until| UNIX_EPOCH + Duration::from_secs(until));

        let last = last_event(request.headers());
        let end = made + if last.is_some() { RESUMES } else { OPENS };
        let end = until.map_or(end, |until| until.min(end));
        if made <= now + SKEW && now < end {
            let identity = Identity::new(within.claims);
            return Ok(Arc::new(match until {
                Some(until) => identity.until(until),
                None => identity,
            }));
        }

        if asks_for_events(request) {
            return Err(Refusal::Expired { is_told: last == Some(END_OF_LIST) });
        }
        Err(Refusal::wrong("the ticket has expired"))
    }

    fn within(&self, text: &str, path: &str) -> Option<Within> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (tag, sealed) = bytes.split_at_checked(16)?;
        let tag = Tag::try_from(tag).ok()?;
        let name = name(path).ok()?;
        self.0.iter().find_map(|key| {
            let mut opened = sealed.to_vec();
            cipher(key).decrypt_inout_detached([&*name], opened.as_mut_slice().into(), &tag).ok()?;
            let within: Within = serde_json::from_slice(&opened).ok()?;
            // Of moments that no clock shows, none can be computed.
            let is_sound = within.made < 1 << 50 && within.until.is_none_or(|until| until <= LAST_SECOND);
            is_sound.then_some(within)
        })
    }
}

fn cipher(key: &[u8; 64]) -> Aes256Siv {
    Aes256Siv::new(key.into())
}

/// What a ticket is bound to: the name in the path, with the extension of its format.
fn name(path: &str) -> Result<Vec<u8>> {
    Ok([b"ticket 1 ", resource_of(path)?.as_bytes()].concat())
}

/// The id of the last event that a client has got, if it comes back.
fn last_event(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().filter(|id| !id.is_empty())
}

/// The ticket of a query.
///
/// # Errors
/// When there are two.
pub(super) fn in_query(query: &str) -> Result<Option<String>, Refusal> {
    let mut tickets = query.split('&').filter_map(of_pair);
    let first = tickets.next();
    if tickets.next().is_some() {
        return Err(Refusal::malformed("the request has two tickets", "send one"));
    }
    Ok(first)
}

/// The same request without its ticket, which is no parameter of the list; `None` if it has none.
pub(crate) fn without<B>(request: &Request<B>) -> Option<Request<()>> {
    let uri = request.uri();
    let query = uri.query()?;
    let others: Vec<&str> = query.split('&').filter(|pair| of_pair(pair).is_none()).collect();
    if others.len() == query.split('&').count() {
        return None;
    }

    let path = match &*others.join("&") {
        "" => uri.path().to_owned(),
        query => format!("{}?{query}", uri.path()),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path.parse().ok();

    let mut without = Request::new(());
    without.method_mut().clone_from(request.method());
    without.headers_mut().clone_from(request.headers());
    *without.version_mut() = request.version();
    *without.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(without)
}

/// The ticket in a pair of a query, whose name and value may be percent-encoded.
fn of_pair(pair: &str) -> Option<String> {
    let (name, value) = pair.split_once('=')?;
    let decode = |text| percent_decode_str(text).decode_utf8().ok();
    let value = (decode(name)? == PARAMETER).then(|| decode(value)).flatten()?;
    value.starts_with(PREFIX).then(|| value.into_owned())
}

#[cfg(test)]
mod tests;
