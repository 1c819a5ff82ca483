//! Who a request is from, by the ways that `[auth]` names.
//!
//! The ways are tried in the order of the configuration. The first one whose form the request has
//! decides alone: a wrong credential is refused, and no other way is asked. Where no way finds its
//! form, the request is anonymous.

mod ask;
mod credentials;
mod flights;
mod forward;
mod jwks;
mod jwt;
mod keys;
#[cfg(test)]
mod pretended;
mod proxy;
mod public_key;
mod random;
mod refusal;
mod remembered;
mod ticket;

use std::{fmt, sync::Arc, time::SystemTime};

use http::Request;

pub(crate) use self::{
    ask::{Endpoint, Unusable},
    forward::ForwardConfig,
    jwt::{JwtConfig, JwtKeys},
    keys::{ApiKey, ApiKeys, MOST as MOST_KEYS, digest_of as digest_of_key, made as new_key},
    proxy::{FieldValue, ProxyConfig, ProxyField},
    public_key::{ALGORITHMS, Key},
    refusal::Refusal,
    ticket::{TicketKeys, without as without_ticket},
};
use self::{credentials::Shown, forward::Forward, jwt::Jwt};
use crate::identity::Identity;

/// `[auth]`: the ways by which a request says who it is from, in their order.
#[derive(Clone, Default)]
pub struct AuthConfig {
    pub(crate) ways: Vec<WayConfig>,
}

/// One way.
#[derive(Clone, Debug)]
pub(crate) enum WayConfig {
    Jwt(JwtConfig),
    Keys(ApiKeys),
    Proxy(ProxyConfig),
    Forward(ForwardConfig),
}

impl fmt::Debug for AuthConfig {
    /// Without keys and secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ways.iter().map(WayConfig::name)).finish()
    }
}

impl WayConfig {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            WayConfig::Jwt(_) => "jwt",
            WayConfig::Keys(_) => "keys",
            WayConfig::Proxy(_) => "proxy",
            WayConfig::Forward(_) => "forward",
        }
    }
}

/// Finds out who requests are from.
#[derive(Debug)]
pub(crate) struct Auth {
    ways: Vec<Way>,
    tickets: TicketKeys,
}

#[derive(Debug)]
enum Way {
    Jwt(Box<Jwt>),
    Keys(ApiKeys),
    Proxy(ProxyConfig),
    Forward(Forward),
}

impl Auth {
    /// Asks nobody yet. `before` is what was there until a reload: the public keys of an issuer are
    /// kept, since it may be away now. What was found out about single requests is not.
    pub(crate) fn new(config: &AuthConfig, tickets: TicketKeys, before: Option<&Auth>) -> Auth {
        let jwt_before = before.and_then(|before| {
            before.ways.iter().find_map(|way| match way {
                Way::Jwt(jwt) => Some(&**jwt),
                _ => None,
            })
        });

        let way = |way: &WayConfig| match way {
            WayConfig::Jwt(config) => Way::Jwt(Box::new(Jwt::new(config, jwt_before))),
            WayConfig::Keys(keys) => Way::Keys(keys.clone()),
            WayConfig::Proxy(config) => Way::Proxy(config.clone()),
            WayConfig::Forward(config) => Way::Forward(Forward::new(config)),
        };
        Auth { ways: config.ways.iter().map(way).collect(), tickets }
    }

    /// Who a request to `host` is from; `None`: it does not say. `is_from_proxy`: its peer is a
    /// trusted proxy.
    ///
    /// Dropping the future harms no other request.
    ///
    /// # Errors
    /// When a credential is wrong, or cannot be checked now.
    pub(crate) async fn identify(
        &self,
        request: &Request<()>,
        host: &str,
        is_from_proxy: bool,
    ) -> Result<Option<Arc<Identity>>, Refusal> {
        let shown = Shown::of(request, host)?;
        if let Some(ticket) = &shown.ticket {
            return self.tickets.open(ticket, request, SystemTime::now()).map(Some);
        }

        for way in &self.ways {
            let found = match way {
                Way::Jwt(jwt) => match shown.jwt() {
                    Some(token) => Some(jwt.identity(token).await?),
                    None => None,
                },
                Way::Keys(keys) => shown.api_key()?.map(|key| keys.identity(key)).transpose()?,
                Way::Proxy(proxy) if is_from_proxy => proxy.identity(shown.headers)?,
                Way::Proxy(_) => None,
                Way::Forward(forward) => match forward.question(&shown) {
                    Some(question) => Some(forward.identity(question).await?),
                    None => None,
                },
            };
            if found.is_some() {
                return Ok(found);
            }
        }

        // Such a client believes that it has said who it is.
        if shown.bearer().is_some() && self.takes_bearers() {
            return Err(Refusal::wrong("no token of this kind is taken here"));
        }
        Ok(None)
    }

    /// Whether a way reads `Authorization: Bearer`.
    fn takes_bearers(&self) -> bool {
        self.ways.iter().any(|way| matches!(way, Way::Jwt(_) | Way::Keys(_)))
    }

    /// The keys of tickets.
    pub(crate) fn tickets(&self) -> &TicketKeys {
        &self.tickets
    }
}

#[cfg(test)]
mod tests;
