//! Lists over HTTP, without a server: takes a request, returns a response with a streaming body.

mod asker;
mod body;
mod description;
mod download;
mod events;
mod exposition;
mod guests;
mod host;
mod landing;
#[cfg(test)]
#[cfg(feature = "memcached")]
mod model;
mod next;
mod openapi;
mod ordered;
mod page;
mod params;
mod query;
mod recent;
mod reply;
mod respond;
mod select;
mod slot;
mod told;

use std::{
    borrow::Cow,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub(crate) use self::asker::Asker;
#[cfg(fuzzing)]
pub(crate) use self::params::fuzz_filter;
pub(crate) use self::reply::not_taken;
pub use self::{body::Body, query::Form, reply::problem};
use self::{
    description::Description,
    guests::Guests,
    landing::Landing,
    recent::Recent,
    respond::{heads, joined},
    slot::Slot,
};
#[cfg(feature = "server")]
pub(crate) use self::{
    events::{are_asked_for as asks_for_events, come_back},
    host::{is_host, named},
    params::pairs,
};
#[cfg(feature = "server")]
pub(crate) use self::{
    page::Page,
    reply::{ACCEPT_QUERY, FORM, json, json_text, no_content, refusal},
};
#[cfg(feature = "server")]
use crate::coding::Coding;
use crate::{
    cursor::Cursor,
    error::{Error, Kind, Result},
    format::Format,
    identity::Identity,
    list::List,
    loader::{Clock, Loader, system_clock},
    metrics::Metrics,
    paths::{self, Own, PUBLIC},
    resource::{Resource, View},
    source::{Database, Requester},
    store::{Generation, Store},
    stream::{Ask, Budget, Stream},
    trace::Traced,
};

/// How many bytes streams with a known length may hold in memory together. Beyond that streams are
/// sent without a length.
const WHOLE_BUDGET: usize = 256 * 1024 * 1024;

/// Shorter than the 60 seconds of silence after which proxies cut a stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The scheme and host that absolute links begin with (`https://www.example.com`). A program that
/// knows better than the `Host` header puts this into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub String);

/// Resources over one store, ready to answer requests.
///
/// Two of them in one process share nothing.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::sync::Arc;
/// use chunkflow::{Chunkflow, Fetch, Memory, Resource, ResourceOptions, closure};
///
/// type Row = std::collections::BTreeMap<&'static str, u32>;
/// let rows = |fetch: Fetch<u32>| async move {
///     let behind = fetch.after.map_or(1, |id| id + 1)..=3;
///     Ok::<_, std::io::Error>(behind.take(fetch.limit).map(|id| [("id", id)].into()).collect())
/// };
/// let source = closure(&["id"], |row: &Row| row["id"], rows);
/// let numbers = Resource::new("numbers", Arc::new(source), ResourceOptions::default())?;
/// let chunkflow = Chunkflow::new(Arc::new(Memory::new(64 << 20))).with(numbers);
///
/// let request = http::Request::get("/numbers").header("host", "localhost").body(()).unwrap();
/// let response = chunkflow.respond(&request).await;
/// # use http_body_util::BodyExt;
/// let body = response.into_body().collect().await?.to_bytes();
/// assert_eq!(body, r#"{"results":[{"id":1},{"id":2},{"id":3}]}"#);
/// # Ok::<(), chunkflow::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Chunkflow(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    slots: Vec<Arc<Slot>>,
    loader: Arc<Loader>,
    budget: Arc<Budget>,
    recent: Arc<Recent>,
    guests: Arc<Guests>,
    heads: Arc<Vec<HeaderMap>>,
    heartbeat: Duration,
    /// The databases, by their names in metrics.
    databases: Vec<(String, Arc<dyn Database>)>,
    landing: Landing,
    description: Arc<Description>,
    /// The beginning of absolute links, if it does not come from each request.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server warms lists by itself"))]
    public_url: Option<String>,
}

impl Chunkflow {
    /// Without resources yet, over `store` and the system's clock.
    pub fn new(store: impl Into<Store>) -> Chunkflow {
        Chunkflow::with_clock(store, system_clock(), Arc::default())
    }

    /// The same with the caller's clock and counters.
    pub fn with_clock(store: impl Into<Store>, clock: Clock, metrics: Arc<Metrics>) -> Chunkflow {
        Chunkflow::over(Loader::new(store.into(), clock, metrics))
    }

    fn over(loader: Loader) -> Chunkflow {
        Chunkflow(Arc::new(Inner {
            slots: vec![],
            loader: Arc::new(loader),
            budget: Budget::new(WHOLE_BUDGET),
            recent: Arc::default(),
            guests: Arc::default(),
            heads: Arc::new(heads()),
            heartbeat: HEARTBEAT,
            databases: vec![],
            landing: Landing::new(true),
            description: Arc::default(),
            public_url: None,
        }))
    }

    /// The same with another time after which a stream that waits for rows sends a heartbeat: white
    /// space between two rows of JSON or NDJSON, a comment of server-sent events. Zero: never.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Chunkflow {
        Arc::make_mut(&mut self.0).heartbeat = heartbeat;
        self
    }

    /// The same with or without the page at `/`. Without it browsers get JSON there too. By default
    /// there is a page.
    #[must_use]
    pub fn with_landing(mut self, has_page: bool) -> Chunkflow {
        Arc::make_mut(&mut self.0).landing = Landing::new(has_page);
        self
    }

    /// The same with one more resource; it replaces one of the same name.
    #[must_use]
    pub fn with(self, resource: Resource) -> Chunkflow {
        self.with_orders(String::new(), resource, vec![])
    }

    /// The same, where requests can ask for the list in other orders too: `others` has the resource
    /// of each. `order` is its own, as requests name it; empty: by all of its columns.
    #[must_use]
    pub(crate) fn with_orders(
        mut self,
        order: String,
        resource: Resource,
        others: Vec<(String, Resource)>,
    ) -> Chunkflow {
        let inner = Arc::make_mut(&mut self.0);
        inner.slots.retain(|one| one.name() != resource.name());

        let slot = |order: String, resource: Resource, others: Vec<Arc<Slot>>| {
            resource.count_in(|| resource.counts_among(inner.loader.metrics(), true));
            let slot = Slot::new(resource, order, others);
            inner.loader.attend(&slot.now());
            slot
        };

        let others = others.into_iter().map(|(order, resource)| slot(order, resource, vec![])).collect();
        let slot = slot(order, resource, others);
        inner.slots.push(slot);
        self
    }

    /// A machine with the same store, loads under way and counters, but without resources: to be
    /// given new ones in place of these.
    #[must_use]
    pub fn without_resources(&self) -> Chunkflow {
        Chunkflow(Arc::new(Inner {
            slots: vec![],
            databases: vec![],
            public_url: None,
            recent: Arc::default(),
            description: Arc::default(),
            ..(*self.0).clone()
        }))
    }

    /// The current resources, in the order in which they were given. When a table changes, its
    /// resource is replaced by a new one.
    pub fn resources(&self) -> Vec<Arc<Resource>> {
        self.0.slots.iter().map(|slot| Arc::clone(&slot.now())).collect()
    }

    /// The current resources, and those of their other orders.
    pub(crate) fn resources_in_all_orders(&self) -> Vec<Arc<Resource>> {
        let slots = self.0.slots.iter().flat_map(|slot| slot.in_all_orders());
        slots.map(|slot| Arc::clone(&slot.now())).collect()
    }

    /// This resource in all orders that requests can ask for.
    #[cfg(feature = "server")]
    pub(crate) fn in_all_orders(&self, resource: &Resource) -> Vec<Arc<Resource>> {
        let all = |slot: &Arc<Slot>| slot.in_all_orders().map(|slot| Arc::clone(&slot.now())).collect();
        self.slot(resource.name()).map(all).unwrap_or_default()
    }

    /// The resource with this name, in one of its orders and with some of its members, as requests
    /// ask for them.
    ///
    /// # Errors
    /// [`Kind::Missing`] if there is none; [`Kind::Invalid`] for another order or member.
    #[cfg(feature = "server")]
    pub(crate) fn selected(&self, name: &str, order: Option<&str>, select: Option<&str>) -> Result<Arc<Resource>> {
        let missing = || Error::new(Kind::Missing, format!("there is no resource `{name}`"));
        let slot = self.slot(name).ok_or_else(missing)?;
        let slot = match order {
            Some(order) => ordered::named(&slot.in_all_orders().collect::<Vec<_>>(), order)?,
            None => Arc::clone(slot),
        };
        let resource = Arc::clone(&slot.now());
        select.map_or_else(|| Ok(Arc::clone(&resource)), |names| select::of(&resource, &select::names(names)?))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.slots.iter().map(|slot| slot.name())
    }

    /// The current resource with this name.
    pub fn resource(&self, name: &str) -> Option<Arc<Resource>> {
        self.slot(name).map(|slot| Arc::clone(&slot.now()))
    }

    fn slot(&self, name: &str) -> Option<&Arc<Slot>> {
        self.0.slots.iter().find(|slot| slot.name() == name)
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.0.loader.metrics()
    }

    /// Answers a request for `/RESOURCE` or `/RESOURCE.EXTENSION`; for `/`, which lists the
    /// resources, as a page for browsers and as JSON for others; and for `/openapi.json`.
    ///
    /// Returns once the first chunk is in hand, so that a source that is down is a 503 and not a
    /// cut list. Every failure is an `application/problem+json` response. Only a request of
    /// `EventSource` is told to come back if the failure will pass. Needs a tokio runtime; dropping
    /// the future or the body stops the work.
    ///
    /// The request's extensions may hold an [`Origin`], which absolute links begin with; a
    /// [`Requester`], whom loads count for; and a [`Format`] for paths without an extension, which
    /// wins over `Accept`.
    pub fn respond<B>(&self, request: &Request<B>) -> impl Future<Output = Response<Body>> + Send + use<B> {
        let origin = origin(request);
        let asker = Asker::of(request);
        let front = self.front(request, origin, asker.identity.as_deref());
        let answer = events::answering(request, self.respond_from(request, origin, asker));
        async move {
            match front {
                Some(response) => response,
                None => answer.await,
            }
        }
    }

    /// Answers a request for a list without a path here: of a resource that is made for this
    /// request, or for which the program has paths of its own. All else is as in
    /// [`respond`](Chunkflow::respond), but only the query of the address is used, so that nothing
    /// is a 404.
    ///
    /// Two resources with the same name, source and fields share chunks and loads, even if each
    /// request makes its own. Two sources are the same if
    /// [`Source::fingerprint`](crate::source::Source::fingerprint) is. **What a closure holds is no
    /// part of that**: if it shapes the rows (a tenant, a user, a search), put it into
    /// [`Closure::version`](crate::source::Closure::version), or one client gets another's rows.
    ///
    /// Nothing is kept of the resource but its chunks and its counters: the first hundred names
    /// count by name, all others together as `-/others`. If its table has changed, it is made again
    /// for this request alone.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use chunkflow::{Chunkflow, Fetch, Resource, ResourceOptions, closure};
    ///
    /// async fn orders<B>(
    ///     chunkflow: &Chunkflow,
    ///     tenant: u32,
    ///     request: &http::Request<B>,
    /// ) -> http::Response<chunkflow::Body> {
    ///     let source = closure(&["id"], |row: &[u32; 1]| row[0], move |fetch: Fetch<u32>| async move {
    ///         # let _ = (tenant, fetch);
    ///         Ok::<_, std::io::Error>(vec![/* the tenant's orders behind `fetch.after` */])
    ///     });
    ///     let source = Arc::new(source.version(format!("tenant {tenant}")));
    ///     match Resource::new("orders", source, ResourceOptions::default()) {
    ///         Ok(resource) => chunkflow.respond_to(&Arc::new(resource), request).await,
    ///         Err(error) => chunkflow::problem(error),
    ///     }
    /// }
    /// ```
    pub fn respond_to<B>(
        &self,
        resource: &Arc<Resource>,
        request: &Request<B>,
    ) -> impl Future<Output = Response<Body>> + Send + use<B> {
        self.0.guests.count(resource, self.metrics());
        let named = self.slot(resource.name()).filter(|slot| Arc::ptr_eq(&slot.now(), resource));
        let slot = named.map_or_else(|| Slot::for_one_request(resource), Arc::clone);

        let answer = self.answer(Ok((slot, None)), request, origin(request), Asker::of(request));
        events::answering(request, answer)
    }

    /// Answers requests for anything but a list, at once: `/` and `/openapi.json`.
    pub(crate) fn front<B>(
        &self,
        request: &Request<B>,
        origin: Option<&str>,
        identity: Option<&Identity>,
    ) -> Option<Response<Body>> {
        let (own, _) = paths::find(PUBLIC, request.uri().path())?;
        let mut response = match own.own {
            Own::Home | Own::OpenApi if !own.takes(request.method()) => not_taken(own, request.method()),
            Own::Home => self.0.landing.answer(&self.seen_by(identity), request),
            Own::OpenApi => self.0.description.answer(&self.seen_by(identity), request, origin),
            _ => return None,
        };
        if self.asks_who() {
            reply::vary_by_who(response.headers_mut());
        }
        Some(response)
    }

    /// Whether any list asks who a request is from.
    fn asks_who(&self) -> bool {
        self.0.slots.iter().any(|slot| slot.now().options().access.asks_who())
    }

    /// What an identity sees of the lists that it may read.
    fn seen_by(&self, identity: Option<&Identity>) -> Vec<View> {
        let view = |slot: &Arc<Slot>| {
            let mut view = slot.now().view(identity).ok()?;
            view.orders = ordered::open_to(slot, identity).ok()?.iter().map(|slot| slot.order()).collect();
            Some(view)
        };
        self.0.slots.iter().filter_map(view).collect()
    }

    /// Whether the answer to a request for this path depends on who it is from.
    #[cfg(feature = "server")]
    pub(crate) fn looks_at_identity(&self, path: &str) -> bool {
        match self.list_at(path) {
            Some(slot) => slot.now().options().access.asks_who(),
            // `/` and `/openapi.json` name the lists that somebody may read; a path of no list is the
            // same for all, so that nobody makes the server ask about paths that are made up.
            None => paths::find(PUBLIC, path).is_some() && self.asks_who(),
        }
    }

    /// The generation of a resource's chunks, which changes with a purge; `None` if the store has
    /// not said it.
    pub fn generation(&self, resource: &Resource) -> Option<Generation> {
        self.0.loader.generation(&resource.digest())
    }

    /// The resources whose database has not answered since the start. Only their chunks in the
    /// store are served.
    pub fn away(&self) -> impl Iterator<Item = &str> {
        let away = self.0.slots.iter().filter(|slot| slot.now().source().presence().is_away);
        away.map(|slot| slot.name())
    }

    /// The store.
    #[cfg(feature = "server")]
    pub(crate) fn store(&self) -> &Store {
        self.0.loader.store()
    }

    /// Waits until the store answers.
    ///
    /// # Errors
    /// When it does not.
    #[cfg(feature = "server")]
    pub(crate) async fn meet_store(&self) -> Result<()> {
        self.0.loader.meet_store().await
    }

    /// Waits until every loaded chunk is written to the store, or cannot be.
    pub async fn written(&self) {
        self.0.loader.written().await;
    }

    /// Whether chunks are only in this process, and not in a store shared with other servers.
    pub fn is_alone(&self) -> bool {
        self.0.loader.is_here()
    }

    /// All rows of a list as a body, without a request: for exports.
    ///
    /// # Errors
    /// The source's error, if the first chunk fails.
    pub async fn body(&self, resource: &Arc<Resource>, format: Format, base: &str) -> Result<Body> {
        let list = Arc::new(List::new(Arc::clone(resource), format, vec![], base));
        self.whole(list, false).await
    }

    /// The same in a content coding, to fill the store: it is read no faster than the store takes
    /// the chunks, so that all of them are stored.
    ///
    /// # Errors
    /// The same; [`Kind::Invalid`] where nobody reads the whole list.
    #[cfg(feature = "server")]
    pub(crate) async fn warming(
        &self,
        resource: &Arc<Resource>,
        format: Format,
        coding: Option<Coding>,
        base: &str,
    ) -> Result<Body> {
        if resource.options().access.has_scopes() {
            let message = format!("each identity has rows of its own in `{}`: there is no whole list", resource.name());
            return Err(Error::new(Kind::Invalid, message).remedy("its chunks are loaded when they are asked for"));
        }
        let list = Arc::new(List::new(Arc::clone(resource), format, vec![], base)).in_coding(coding);
        self.whole(list, true).await
    }

    async fn whole(&self, list: Arc<List>, warms: bool) -> Result<Body> {
        self.0.guests.count(list.resource(), self.metrics());
        let ask = Ask {
            list,
            after: Cursor::start(),
            limit: None,
            requester: Requester::default(),
            id: None,
            traced: Traced::default(),
            at_least: None,
            began: Instant::now(),
            heartbeat: Duration::ZERO,
            warms,
        };
        Stream::begin(&self.0.loader, ask, &self.0.budget).await.map(Body::from)
    }
}

/// The beginning of absolute links, if the program gives it.
fn origin<B>(request: &Request<B>) -> Option<&str> {
    request.extensions().get().map(|Origin(origin)| &**origin)
}

/// The name in a path, percent-decoded as UTF-8.
pub(crate) fn resource_of(path: &str) -> Result<Cow<'_, str>> {
    let name = path.strip_prefix('/').unwrap_or(path);
    if !name.contains('%') {
        return Ok(Cow::Borrowed(name));
    }
    let decoded = percent_decode_str(name).decode_utf8();
    decoded.map_err(|_| {
        Error::new(Kind::Missing, "the path is not UTF-8").remedy("percent-encode a resource's name as UTF-8")
    })
}

/// The path of a resource: its name, percent-encoded.
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only the server and its commands write paths"))]
pub(crate) fn path_of(name: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    format!("/{}", utf8_percent_encode(name, PLAIN))
}

/// Checks that requests for a resource can be understood.
///
/// # Errors
/// [`Kind::Unavailable`] if its database has been away since the start, and no definition of it was
/// kept.
fn is_known(resource: &Resource) -> Result<()> {
    if resource.source().presence().is_known {
        return Ok(());
    }
    let message = "the database of this list has not answered since the server started";
    Err(Error::new(Kind::Unavailable, message).remedy("try again shortly"))
}
