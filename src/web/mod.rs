//! Lists over HTTP, without a server: a request in, a response with a streaming body out.

mod asker;
mod body;
mod description;
mod download;
mod events;
mod exposition;
mod guests;
mod host;
mod landing;
mod next;
mod openapi;
mod page;
mod params;
mod recent;
mod reply;
mod respond;
mod slot;

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
pub use self::{body::Body, reply::problem};
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
};
#[cfg(feature = "server")]
pub(crate) use self::{
    page::Page,
    reply::{json, no_content, refusal},
};
#[cfg(feature = "server")]
use crate::coding::Coding;
use crate::{
    cursor::Cursor,
    error::{Error, Kind, Result},
    format::Format,
    list::List,
    loader::{Clock, Loader, system_clock},
    metrics::Metrics,
    paths::{self, Own, PUBLIC},
    resource::Resource,
    source::{Database, Requester},
    store::{Generation, Store},
    stream::{Ask, Budget, Stream},
    trace::Traced,
};

/// Bytes that streams with a known length may hold in memory together; beyond it streams go out
/// without a length.
const WHOLE_BUDGET: usize = 256 * 1024 * 1024;

/// Proxies cut a silence of 60 seconds.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The scheme and host that absolute links begin with (`https://www.example.com`). A program that
/// knows better than the `Host` header puts one into the request's extensions.
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
/// let source = closure(&["id"], |row: &std::collections::BTreeMap<&str, u32>| row["id"], |fetch: Fetch<u32>| async move {
///     let rows = (fetch.after.map_or(1, |id| id + 1)..=3).take(fetch.limit).map(|id| [("id", id)].into());
///     Ok::<_, std::io::Error>(rows.collect())
/// });
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
    /// The databases, by the names that metrics have for them.
    databases: Vec<(String, Arc<dyn Database>)>,
    landing: Landing,
    description: Arc<Description>,
    /// What absolute links begin with, where it is not each request's own.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server warms lists by itself"))]
    public_url: Option<String>,
}

impl Chunkflow {
    /// No resources yet, over `store`, with the system's clock.
    pub fn new(store: impl Into<Store>) -> Chunkflow {
        Chunkflow::with_clock(store, system_clock(), Arc::default())
    }

    /// The same with a clock and counters of the caller's.
    pub fn with_clock(store: impl Into<Store>, clock: Clock, metrics: Arc<Metrics>) -> Chunkflow {
        let loader = Arc::new(Loader::new(store.into(), clock, metrics));
        Chunkflow(Arc::new(Inner {
            slots: vec![],
            loader,
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

    /// The same with another time after which a stream that waits for rows sends something that
    /// means nothing: white space between two rows of JSON or NDJSON, a comment of server-sent
    /// events. Zero: never.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Chunkflow {
        Arc::make_mut(&mut self.0).heartbeat = heartbeat;
        self
    }

    /// The same with or without the page that stands at `/` for browsers; without it they too get
    /// JSON there. By default it is there.
    #[must_use]
    pub fn with_landing(mut self, has_page: bool) -> Chunkflow {
        Arc::make_mut(&mut self.0).landing = Landing::new(has_page);
        self
    }

    /// The same with one resource more; it replaces one of the same name.
    #[must_use]
    pub fn with(mut self, resource: Resource) -> Chunkflow {
        let inner = Arc::make_mut(&mut self.0);
        inner.slots.retain(|one| one.name() != resource.name());
        resource.count_in(|| resource.counts_among(inner.loader.metrics(), true));
        inner.slots.push(Slot::new(resource));
        self
    }

    /// The same store, loads under way and counters, without a resource: for resources that take
    /// the place of these.
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

    /// The resources of the moment, in the order in which they were given. One whose table changes
    /// is made again, and then is another.
    pub fn resources(&self) -> Vec<Arc<Resource>> {
        self.0.slots.iter().map(|slot| Arc::clone(&slot.now())).collect()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.slots.iter().map(|slot| slot.name())
    }

    /// The resource of the moment with this name.
    pub fn resource(&self, name: &str) -> Option<Arc<Resource>> {
        self.slot(name).map(|slot| Arc::clone(&slot.now()))
    }

    fn slot(&self, name: &str) -> Option<&Arc<Slot>> {
        self.0.slots.iter().find(|slot| slot.name() == name)
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.0.loader.metrics()
    }

    /// Answers a request for `/RESOURCE` or `/RESOURCE.EXTENSION`; for `/`, which says what
    /// resources there are, to browsers by a page and to others as JSON; and for `/openapi.json`.
    ///
    /// Returns once the first chunk is in hand, so that a source that is down is a 503 and not a
    /// cut list. Every failure is an `application/problem+json` response, but for what passes where
    /// `EventSource` asks: that is told to come back. Needs a tokio runtime; dropping the future or
    /// the body stops the work.
    ///
    /// An [`Origin`] in the request's extensions is what absolute links begin with, a [`Requester`]
    /// whom loads count for, a [`Format`] what a path without an extension is answered in, whatever
    /// `Accept` says.
    pub fn respond<B>(&self, request: &Request<B>) -> impl Future<Output = Response<Body>> + Send + use<B> {
        let origin = origin(request);
        let front = self.front(request, origin);
        let answer = events::answering(request, self.respond_from(request, origin, Asker::of(request)));
        async move {
            match front {
                Some(response) => response,
                None => answer.await,
            }
        }
    }

    /// Answers a request for a list that no path here leads to: of a resource that is made for this
    /// request, or of one for which the program has paths of its own. Everything else is as
    /// [`respond`](Chunkflow::respond) says; of the address only the query is looked at, so that
    /// nothing is a 404 here.
    ///
    /// Two resources with the same name, source and fields have the same chunks and loads, however
    /// often they are made; of a source that is what
    /// [`Source::fingerprint`](crate::source::Source::fingerprint) says. **What a closure holds is
    /// no part of that**: where it shapes the rows (a tenant, a user, a search), say so by
    /// [`Closure::version`](crate::source::Closure::version), or one client gets another's rows.
    ///
    /// Nothing is kept of the resource but its chunks, and where it is counted: by its name for the
    /// first hundred names, and together as `-/others` beyond. One whose table has changed is made
    /// again for this request alone.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use chunkflow::{Chunkflow, Fetch, Resource, ResourceOptions, closure};
    ///
    /// async fn orders<B>(chunkflow: &Chunkflow, tenant: u32, request: &http::Request<B>) -> http::Response<chunkflow::Body> {
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

    /// Answers requests for what is no list, at once: `/` and `/openapi.json`.
    pub(crate) fn front<B>(&self, request: &Request<B>, origin: Option<&str>) -> Option<Response<Body>> {
        let (own, _) = paths::find(PUBLIC, request.uri().path())?;
        match own.own {
            Own::Home | Own::OpenApi if !own.takes(request.method()) => Some(not_taken(own, request.method())),
            Own::Home => Some(self.0.landing.answer(self, request)),
            Own::OpenApi => Some(self.0.description.answer(self, request, origin)),
            _ => None,
        }
    }

    /// Forgets the chunks of a resource, on every server that shares the store: at once here,
    /// elsewhere within two seconds. No stream that begins after that holds rows that were read
    /// before.
    ///
    /// # Errors
    /// When the store fails, and then the chunks may still be there; [`Kind::Unavailable`] while
    /// nobody knows what the resource is.
    pub async fn purge(&self, resource: &Resource) -> Result<()> {
        is_known(resource)?;
        self.0.loader.forget(&resource.digest()).await
    }

    /// The generation of a resource's chunks, which changes when they are purged; `None` where the
    /// store has not said it.
    pub fn generation(&self, resource: &Resource) -> Option<Generation> {
        self.0.loader.generation(&resource.digest())
    }

    /// The resources whose database has not answered since the start: they are served as far as
    /// their chunks are in the store.
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

    /// Waits until all chunks that were loaded are written to the store, or cannot be.
    pub async fn written(&self) {
        self.0.loader.written().await;
    }

    /// Whether chunks are kept in this process only, and not in a store that other servers share.
    pub fn is_alone(&self) -> bool {
        self.0.loader.is_here()
    }

    /// All rows of a list as a body, outside any request: for exports.
    ///
    /// # Errors
    /// As the source fares with the first chunk.
    pub async fn body(&self, resource: &Arc<Resource>, format: Format, base: &str) -> Result<Body> {
        let list = Arc::new(List::new(Arc::clone(resource), format, vec![], base));
        self.whole(list, false).await
    }

    /// The same in a content coding, for the chunks that it leaves in the store: it is
    /// read no faster than the store takes them, so that it gets all of them.
    #[cfg(feature = "server")]
    pub(crate) async fn warming(
        &self,
        resource: &Arc<Resource>,
        format: Format,
        coding: Option<Coding>,
        base: &str,
    ) -> Result<Body> {
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
            began: Instant::now(),
            heartbeat: Duration::ZERO,
            warms,
        };
        Stream::begin(&self.0.loader, ask, &self.0.budget).await.map(Body::from)
    }
}

/// What absolute links begin with, where the program says it.
fn origin<B>(request: &Request<B>) -> Option<&str> {
    request.extensions().get().map(|Origin(origin)| &**origin)
}

/// The name in a path, where it stands percent-encoded as UTF-8.
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

/// Whether requests for a resource can be understood.
///
/// # Errors
/// [`Kind::Unavailable`] where its database has been away since the start, and what it is has not
/// been kept.
fn is_known(resource: &Resource) -> Result<()> {
    if resource.source().presence().is_known {
        return Ok(());
    }
    let message = "the database of this list has not answered since the server started";
    Err(Error::new(Kind::Unavailable, message).remedy("try again shortly"))
}
