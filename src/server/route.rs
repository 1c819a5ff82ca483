//! From a request to a response: host, path, bounds, and the line in the access log.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use http::{HeaderName, HeaderValue, Method, Request, Response};

use super::{
    access::Line,
    admin,
    bounds::{self, Known, Permit, Rates, StreamPermit},
    cors::CrossOrigin,
    guard::Guard,
    origin::{Hosts, Peer, Remote, host},
    query, ready,
    shared::Shared,
    tickets::{self, Wanted},
    tls::Tls,
    upload::Upload,
    watch::Watch,
};
use crate::{
    auth::{Auth, Came, TicketKeys, without_ticket},
    config::{AdminConfig, AuthConfig, RequestRate, ServerConfig},
    error::{Error, Kind, Result},
    identity::Identity,
    loader::Provenance,
    metrics::{Fate, Metrics, Refused},
    paths::{self, Own, OwnPath, PUBLIC},
    source::Requester,
    trace::Trace,
    web::{Asker, Body, Chunkflow, asks_for_events, come_back, not_taken, problem},
};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a listener answers requests with.
pub(super) struct Site {
    chunkflow: Chunkflow,
    pub(super) config: Arc<ServerConfig>,
    pub(super) tls: Option<Tls>,
    hosts: Hosts,
    rates: Option<Rates>,
    known_rates: Option<Rates<Known>>,
    audience: Audience,
    cross_origin: Option<CrossOrigin>,
    auth: Option<Auth>,
    shared: Arc<Shared>,
}

/// What is known of a request before its list is looked at.
struct From<'a> {
    /// The scheme and host that absolute links begin with.
    origin: &'a str,
    /// The host as the client named it.
    host: &'a str,
    client: IpAddr,
    /// Whether the peer is a trusted proxy.
    is_from_proxy: bool,
}

/// Whom a listener serves.
pub(super) enum Audience {
    /// Everybody: the lists.
    Public,
    /// The operator.
    Admin(Guard),
}

impl Site {
    /// `before`: what is served until a reload.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub(super) fn new(
        chunkflow: Chunkflow,
        mut config: ServerConfig,
        audience: Audience,
        shared: &Arc<Shared>,
        before: Option<&Site>,
    ) -> io::Result<Site> {
        config.max_connections = bounds::connections(config.max_connections);
        let tickets = config.secret.as_ref().map_or_else(|| shared.ticket_keys.clone(), TicketKeys::of);
        let auth_before = before.and_then(|before| before.auth.as_ref());
        let site = Site {
            chunkflow,
            tls: config.tls.as_ref().map(Tls::open).transpose()?,
            hosts: Hosts::new(&config, &shared.listens),
            rates: config.request_rate.map(Rates::new),
            known_rates: known_rate(config.auth.as_ref()).map(Rates::new),
            cross_origin: config.cors.as_ref().map(CrossOrigin::new),
            auth: config.auth.as_ref().map(|auth| Auth::new(auth, tickets, auth_before)),
            config: Arc::new(config),
            audience,
            shared: Arc::clone(shared),
        };
        site.note_certificate();
        Ok(site)
    }

    /// Notes for the metrics when the public listener's certificate expires.
    pub(super) fn note_certificate(&self) {
        if matches!(self.audience, Audience::Public) {
            let expires = self.tls.as_ref().map_or(0, Tls::expires);
            self.chunkflow.metrics().certificate.set(expires);
        }
    }

    /// Takes a sample for the operator's charts.
    pub(super) fn sample(&self) {
        if matches!(self.audience, Audience::Admin(_)) {
            self.shared.operator.sample(&self.chunkflow);
        }
    }

    /// Counts a client's connection until this is dropped; the operator's are not counted.
    pub(super) fn counted(&self) -> Option<Counted> {
        let metrics = self.chunkflow.metrics();
        matches!(self.audience, Audience::Public).then(|| Counted::new(metrics))
    }

    /// The site for the operator, at the address that the socket is bound to.
    ///
    /// # Errors
    /// When that address needs a token, and there is none.
    pub(super) fn for_operator(chunkflow: Chunkflow, admin: &AdminConfig, shared: &Arc<Shared>) -> io::Result<Site> {
        let guard = Guard::new(admin, &shared.listens)?;
        let config = ServerConfig {
            listen: admin.listen.clone(),
            allowed_hosts: guard.hosts(),
            max_connections: 64,
            ..ServerConfig::default()
        };
        Site::new(chunkflow, config, Audience::Admin(guard), shared, None)
    }

    /// Takes a permit for a connection.
    ///
    /// # Errors
    /// When there are too many, in all or for the address.
    pub(super) fn admit(&self, peer: Remote) -> Result<Permit> {
        let all = self.config.max_connections;
        let each = self.config.max_connections_per_address;
        let peer = (!self.hosts.believes(peer)).then(|| peer.ip());
        let entered = self.shared.connections.enter("connections", all, peer, each);
        entered.inspect_err(|error| self.refuses(error, Refused::Connections, Refused::AddressConnections))
    }

    /// Takes the permits of a stream.
    ///
    /// # Errors
    /// When there are too many, in all, for the address or for the identity.
    fn enter(&self, client: IpAddr, known: Option<Known>) -> Result<StreamPermit> {
        let refuses = |error: &Error| self.refuses(error, Refused::Streams, Refused::AddressStreams);
        let each = self.config.max_streams_per_address;
        let all = self.shared.streams.enter("streams", self.config.max_streams, Some(client), each);
        let all = all.inspect_err(refuses)?;

        let most = self.config.auth.as_ref().map_or(0, |auth| auth.max_streams);
        let enter = |known| self.shared.known_streams.enter("streams", usize::MAX, Some(known), most);
        let known = known.map(enter).transpose().inspect_err(refuses)?;
        Ok(StreamPermit { _all: all, _known: known })
    }

    /// Counts a refusal: one for all clients, or one for an address.
    fn refuses(&self, error: &Error, in_all: Refused, of_one: Refused) {
        let why = if error.kind() == Kind::RateLimited { of_one } else { in_all };
        self.chunkflow.metrics().refused(why);
    }

    /// Answers a request. With a stream comes its permit, to be held until it ends. While it is
    /// sent, the connection knows its fate. `upload` is the body that follows the head, if one
    /// does.
    pub(super) async fn answer(
        &self,
        request: Request<()>,
        peer: Peer,
        fate: &Arc<Watch>,
        upload: Option<Upload>,
    ) -> (Response<Body>, Option<StreamPermit>) {
        let began = Instant::now();
        let id = self.request_id(&request);
        let client = self.hosts.client(&request, peer.address);
        let trace = Trace::of(request.headers());
        let logs = self.config.access_log && tracing::enabled!(target: "chunkflow::access", tracing::Level::INFO);
        let line = logs.then(|| Line::new(&request, began, (id.clone(), trace.clone()), (peer.address, client), fate));
        // An orchestrator's health check names the server by its address, which need not be an
        // allowed host.
        let probe = probe(&request).is_some();
        let preflight = self.cross_origin.as_ref().and_then(|cross_origin| cross_origin.preflight(&request));
        let (mut response, permit) = match (preflight, host(&request)) {
            (Some(answer), _) => (answer, None),
            (None, Err(error)) => (problem(error), None),
            (None, Ok(named)) => match (&self.audience, self.hosts.check(named, &request, peer)) {
                (Audience::Admin(guard), Err(error)) => (guard.refused_host(error), None),
                (Audience::Public, Err(error)) if !probe => {
                    self.chunkflow.metrics().refused(Refused::Host);
                    (problem(error), None)
                }
                (_, addressed) => {
                    let addressed = addressed.as_ref().ok();
                    let from = From {
                        origin: addressed.map(|addressed| &*addressed.origin).unwrap_or_default(),
                        host: addressed.map(|addressed| &*addressed.host).unwrap_or_default(),
                        client,
                        is_from_proxy: self.hosts.believes(peer.address),
                    };
                    self.route(&request, upload, &from, (&id, trace, began)).await
                }
            },
        };

        response.body_mut().show(Some(client), Some(Arc::clone(fate) as Arc<dyn Fate>));
        if self.config.server_timing {
            add_timing(&mut response, began);
        }

        response.headers_mut().insert(X_REQUEST_ID, id);
        if let Some(cross_origin) = &self.cross_origin {
            cross_origin.mark(request.headers(), response.headers_mut());
        }

        if let Some(line) = line {
            line.answered(&mut response);
        }

        // After the log line, which must show the real status.
        if response.status().is_success() || !asks_for_events(&request) {
            return (response, permit);
        }

        (come_back(response), permit)
    }

    async fn route(
        &self,
        request: &Request<()>,
        upload: Option<Upload>,
        from: &From<'_>,
        asked: (&HeaderValue, Option<Arc<Trace>>, Instant),
    ) -> (Response<Body>, Option<StreamPermit>) {
        if let Audience::Admin(guard) = &self.audience {
            return match guard.check(request, from.origin) {
                Ok(()) => (admin::answer(&self.chunkflow, &self.shared, request, upload).await, None),
                Err(refused) => (*refused, None),
            };
        }

        if let Some(auth) = &self.auth
            && let Some((own, _)) = paths::find(PUBLIC, request.uri().path())
            && own.own == Own::Ticket
        {
            let response = match self.check_rate(from.client) {
                Err(error) => problem(error),
                Ok(()) if !own.takes(request.method()) => not_taken(own, request.method()),
                Ok(()) => self.ticket(auth, request, upload, from).await,
            };
            return (self.answered_beside(response), None);
        }

        // Only `QUERY` wants a body, and the connection need not wait to be told so.
        let upload = upload.filter(|_| request.method() == Method::QUERY);

        match probe(request) {
            Some(own) if !own.takes(request.method()) => (not_taken(own, request.method()), None),
            Some(OwnPath { own: Own::Health, .. }) => (ready::health(), None),
            Some(_) => {
                let ready = self.shared.ready.load(Ordering::Relaxed);
                (ready::answer(request, ready, &self.chunkflow), None)
            }
            None => match self.bounded(request, upload, from, asked).await {
                Ok(answered) => answered,
                Err(error) => (self.answered_beside(problem(error)), None),
            },
        }
    }

    /// Counts a response that is no list's.
    fn answered_beside(&self, response: Response<Body>) -> Response<Body> {
        self.chunkflow.metrics().no_list.answered(None, response.status().as_u16());
        response
    }

    fn check_rate(&self, client: IpAddr) -> Result<()> {
        match &self.rates {
            Some(rates) => rates.ask(client).inspect_err(|error| self.refuses(error, Refused::Rate, Refused::Rate)),
            None => Ok(()),
        }
    }

    /// Makes a ticket for who the request is from.
    async fn ticket(
        &self,
        auth: &Auth,
        request: &Request<()>,
        upload: Option<Upload>,
        from: &From<'_>,
    ) -> Response<Body> {
        if let Err(refused) = tickets::check_head(request) {
            return *refused;
        }

        // A ticket is no credential for another.
        if without_ticket(request).is_some() {
            return tickets::nobody();
        }

        let wanted = match Wanted::read(&self.chunkflow, &self.shared, upload, from.client).await {
            Ok(wanted) => wanted,
            Err(refused) => return *refused,
        };
        let opening = match wanted.opening(request) {
            Ok(opening) => opening,
            Err(error) => return problem(error),
        };

        match self.identified(auth, &opening, from).await {
            Ok(Some((identity, _))) => wanted.answer(auth.tickets(), &identity),
            Ok(None) => tickets::nobody(),
            Err(response) => *response,
        }
    }

    /// Who a request is from, if it says so, and what tells this identity from others.
    ///
    /// # Errors
    /// The response, if its credential is refused or the identity asks too often.
    async fn identified(
        &self,
        auth: &Auth,
        request: &Request<()>,
        from: &From<'_>,
    ) -> Result<Option<(Arc<Identity>, Known)>, Box<Response<Body>>> {
        let came = Came { host: from.host, client: bounds::client(from.client), is_from_proxy: from.is_from_proxy };
        let identity = auth.identify(request, came).await;
        let identity = identity.map_err(|refusal| {
            if refusal.is_of_client() {
                self.chunkflow.metrics().refused(Refused::Logins);
            }
            Box::new(refusal.response())
        });
        let Some(identity) = identity? else { return Ok(None) };

        let known = known(&identity);
        if let Some(rates) = &self.known_rates {
            let asked = rates.ask(known).inspect_err(|error| self.refuses(error, Refused::Rate, Refused::Rate));
            asked.map_err(|error| Box::new(problem(error)))?;
        }
        Ok(Some((identity, known)))
    }

    /// Answers a request that the bounds apply to: all but health checks.
    async fn bounded(
        &self,
        request: &Request<()>,
        upload: Option<Upload>,
        from: &From<'_>,
        (id, trace, began): (&HeaderValue, Option<Arc<Trace>>, Instant),
    ) -> Result<(Response<Body>, Option<StreamPermit>)> {
        let &From { origin, client, .. } = from;
        self.check_rate(client)?;

        let mut identified = None;
        let asks = || *request.method() != Method::OPTIONS && self.chunkflow.looks_at_identity(request.uri().path());
        if let Some(auth) = self.auth.as_ref().filter(|_| asks()) {
            identified = match self.identified(auth, request, from).await {
                Ok(identified) => identified,
                Err(response) => return Ok((self.answered_beside(*response), None)),
            };
        }
        let (identity, known) = identified.unzip();

        let without_ticket = self.auth.as_ref().and_then(|_| without_ticket(request));
        let request = without_ticket.as_ref().unwrap_or(request);
        if let Some(response) = self.chunkflow.front(request, Some(origin), identity.as_deref()) {
            return Ok((response, None));
        }

        if !self.shared.ready.load(Ordering::Relaxed) {
            self.chunkflow.metrics().refused(Refused::Stopping);
            return Err(Error::new(Kind::Busy, "this server is about to stop"));
        }

        let place = match *request.method() {
            Method::GET | Method::QUERY => Some(self.enter(client, known)?),
            _ => None,
        };

        let mut with_form = None;
        if request.method() == Method::QUERY && self.chunkflow.has_list_at(request.uri().path()) {
            match query::with_form(request, upload, &self.shared.forms, client).await {
                Ok(request) => with_form = Some(request),
                Err(refused) => {
                    self.chunkflow.metrics().no_list.answered(None, refused.status().as_u16());
                    return Ok((refused, None));
                }
            }
        }

        let request = with_form.as_ref().unwrap_or(request);
        let asker = Asker {
            requester: requester(client, known),
            id: Some(id.clone()),
            began,
            client: Some(client),
            trace,
            identity,
        };
        Ok((self.chunkflow.respond_from(request, Some(origin), asker).await, place))
    }

    /// The client's own id if it is harmless, else a new one.
    fn request_id<B>(&self, request: &Request<B>) -> HeaderValue {
        let harmless = |value: &&HeaderValue| {
            (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        match request.headers().get(X_REQUEST_ID).filter(harmless) {
            Some(id) => id.clone(),
            None => {
                let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
                let digits: [u8; 16] =
                    std::array::from_fn(|at| b"0123456789abcdef"[(id >> (60 - 4 * at)) as usize & 15]);
                HeaderValue::from_bytes(&digits).expect("hexadecimal digits")
            }
        }
    }
}

/// The health check that a request is for, if any.
fn probe<B>(request: &Request<B>) -> Option<&'static OwnPath> {
    let (own, _) = paths::find(PUBLIC, request.uri().path())?;
    [Own::Health, Own::Ready].contains(&own.own).then_some(own)
}

/// Adds how long the first bytes took, and where they came from
/// (<https://www.w3.org/TR/server-timing/>).
fn add_timing(response: &mut Response<Body>, began: Instant) {
    let first = match response.body().first() {
        None => "",
        Some(Provenance::Fresh(_)) => ";desc=hit",
        Some(Provenance::Stale { .. }) => ";desc=stale",
        Some(Provenance::Loaded) => ";desc=loaded",
        Some(Provenance::Joined) => ";desc=joined",
    };
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    let value = format!("first{first};dur={milliseconds:.3}");
    response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|value| (SERVER_TIMING, value)));
}

/// A connection that is counted until this is dropped.
pub(super) struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: &Arc<Metrics>) -> Counted {
        metrics.connections.add(1);
        Counted(Arc::clone(metrics))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.add(-1);
    }
}

/// The requester whom a load counts for: the identity, else the client's address.
fn requester(client: IpAddr, known: Option<Known>) -> Requester {
    let mut hasher = DefaultHasher::new();
    match known {
        Some(known) => known.hash(&mut hasher),
        None => bounds::client(client).hash(&mut hasher),
    }
    Requester(hasher.finish())
}

/// What tells an identity from others: its name and who gave it, or all claims without a name.
fn known(identity: &Identity) -> Known {
    let mut hasher = DefaultHasher::new();
    match identity.claim("sub") {
        Some(name) => (name.to_string(), identity.claim("iss").map(ToString::to_string)).hash(&mut hasher),
        None => serde_json::to_string(identity.claims()).unwrap_or_default().hash(&mut hasher),
    }
    Known(hasher.finish())
}

/// How often each identity may ask.
fn known_rate(auth: Option<&AuthConfig>) -> Option<RequestRate> {
    auth?.request_rate.map(|(requests, per)| RequestRate { requests, per })
}
