//! Who a request is from, by the ways that `[auth]` names.
//!
//! The ways are tried in the order of the configuration. The first one whose form the request has
//! decides alone: a wrong credential is refused, and no other way is asked. Where no way finds its
//! form, the request is anonymous.

mod ask;
mod away;
mod credentials;
mod expiry;
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
mod turns;

use std::{
    fmt,
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::Request;

pub(crate) use self::{
    ask::{Endpoint, Unusable},
    forward::{ForwardConfig, check as check_application},
    jwks::check as check_jwks,
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
    /// How many streams one identity may have at once; 0: any number.
    pub(crate) max_streams: usize,
    /// How often one identity may ask: so many requests in this time.
    pub(crate) request_rate: Option<(NonZeroU32, Duration)>,
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

/// How a request came here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came<'a> {
    /// The host as the client named it, with its port.
    pub(crate) host: &'a str,
    /// The client's address, or the part of it that tells clients apart.
    pub(crate) client: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub(crate) is_from_proxy: bool,
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

    /// Who a request is from; `None`: it does not say.
    ///
    /// Dropping the future harms no other request.
    ///
    /// # Errors
    /// When a credential is wrong, or cannot be checked now.
    pub(crate) async fn identify(
        &self,
        request: &Request<()>,
        came: Came<'_>,
    ) -> Result<Option<Arc<Identity>>, Refusal> {
        let shown = Shown::of(request, came.host)?;
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
                Way::Proxy(proxy) if came.is_from_proxy => proxy.identity(shown.headers)?,
                Way::Proxy(_) => None,
                Way::Forward(forward) => match forward.question(&shown) {
                    Some(question) => Some(forward.identity(question, came.client).await?),
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

/// No bytes are a credential of somebody, wherever a request has them; nothing panics.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_tokens(bytes: &[u8]) {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use futures_util::FutureExt;
    use http::{HeaderValue, header};

    static AUTH: std::sync::LazyLock<Auth> = std::sync::LazyLock::new(|| {
        let jwt = JwtConfig {
            keys: JwtKeys::Given(vec![Key::of_secret(&random::text(48)).expect("it is long enough")]),
            issuers: vec![],
            audiences: vec![],
            leeway: std::time::Duration::from_secs(60),
            algorithms: vec![],
            requires_exp: true,
        };
        let key = ApiKey::new("somebody", digest_of_key(new_key().as_bytes()), serde_json::Map::new(), None);
        let ways = vec![WayConfig::Jwt(jwt), WayConfig::Keys(ApiKeys::new(vec![key]))];
        Auth::new(&AuthConfig { ways, ..AuthConfig::default() }, TicketKeys::random(), None)
    });

    let asked = |path: &str, fields: &[(header::HeaderName, Vec<u8>)]| {
        let Ok(mut request) = Request::get(path).body(()) else { return };
        for (name, value) in fields {
            let Ok(value) = HeaderValue::from_bytes(value) else { return };
            request.headers_mut().append(name.clone(), value);
        }
        let here = Came { host: "localhost", client: [127, 0, 0, 1].into(), is_from_proxy: false };
        let identity = AUTH.identify(&request, here).now_or_never().expect("nobody else is asked");
        assert!(!matches!(identity, Ok(Some(_))), "{request:?}");
        if let Some(without) = without_ticket(&request) {
            assert!(without_ticket(&without).is_none() && without.uri().path() == request.uri().path());
        }
    };

    let head = "eyJhbGciOiJIUzI1NiJ9.";
    let encoded = URL_SAFE_NO_PAD.encode(bytes);
    for value in [
        bytes.to_vec(),
        [b"Bearer ", bytes].concat(),
        format!("Bearer {encoded}.e30.{encoded}").into_bytes(),
        format!("Bearer {head}{encoded}.{encoded}").into_bytes(),
    ] {
        asked("/list", &[(header::AUTHORIZATION, value)]);
    }
    asked("/list", &[(credentials::X_API_KEY, bytes.to_vec())]);
    asked("/list", &[(header::COOKIE, bytes.to_vec())]);
    asked(&format!("/list?ticket=cft_{encoded}"), &[]);
    if let Ok(text) = std::str::from_utf8(bytes) {
        asked(&format!("/list?{text}"), &[]);
        asked(&format!("/list?ticket={text}"), &[]);
    }
}

#[cfg(test)]
mod tests;
