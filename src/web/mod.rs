//! Lists over HTTP, without a server: a request in, a response with a streaming body out.

mod asker;
mod body;
mod description;
mod events;
mod exposition;
mod host;
mod landing;
mod next;
mod openapi;
mod page;
mod params;
mod recent;
mod reply;
mod slot;

use std::{
    borrow::Cow,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub use self::params::fuzz_filter;
pub(crate) use self::{asker::Asker, reply::no_content};
pub use self::{
    body::Body,
    reply::{json, problem},
};
use self::{description::Description, landing::Landing, recent::Recent, reply::Problem, slot::Slot};
#[cfg(feature = "server")]
pub(crate) use self::{
    events::{are_asked_for as asks_for_events, come_back},
    host::{is_host, named},
};
#[cfg(feature = "server")]
pub(crate) use self::{
    page::Page,
    reply::{readable, refusal},
};
use crate::{
    coding::{self, Coding},
    cursor::Cursor,
    error::{Error, Kind, Result},
    format::{self, END_OF_LIST, FORMATS, Format},
    list::List,
    loader::{Clock, How, Loader, system_clock},
    metrics::{Metrics, Refused},
    resource::Resource,
    source::{Database, Requester},
    store::Store,
    stream::{Ask, Budget, Stream},
    suggest,
};

/// Bytes that streams with a known length may hold in memory together; beyond it streams go out without a length.
const WHOLE_BUDGET: usize = 256 * 1024 * 1024;

/// A longer identifier of a request is not logged.
const LONGEST_ID: usize = 128;

/// Proxies cut a silence of 60 seconds.
const HEARTBEAT: Duration = Duration::from_secs(15);

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The scheme and host that absolute links begin with. Whoever knows better than the `Host` header puts one
/// into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub String);

/// Resources over one store, ready to answer requests.
///
/// Two of them in one process share nothing.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::sync::Arc;
/// use chunkflow::{Chunkflow, Memory, Resource, ResourceOptions, closure};
///
/// let source = closure(&["id"], |row: &std::collections::BTreeMap<&str, u32>| row["id"], |after: Option<u32>, limit| async move {
///     let rows = (after.map_or(1, |id| id + 1)..=3).take(limit).map(|id| [("id", id)].into());
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
    pub fn new(store: Arc<dyn Store>) -> Chunkflow {
        Chunkflow::with_clock(store, system_clock(), Arc::default())
    }

    /// The same with a clock and counters of the caller's.
    pub fn with_clock(store: Arc<dyn Store>, clock: Clock, metrics: Arc<Metrics>) -> Chunkflow {
        let loader = Arc::new(Loader::new(store, clock, metrics));
        Chunkflow(Arc::new(Inner {
            slots: vec![],
            loader,
            budget: Budget::new(WHOLE_BUDGET),
            recent: Arc::default(),
            heads: Arc::new(heads()),
            heartbeat: HEARTBEAT,
            databases: vec![],
            landing: Landing::new(true),
            description: Arc::default(),
            public_url: None,
        }))
    }

    /// The same with another time after which a stream that waits for rows sends something that means nothing:
    /// white space between two rows of JSON or NDJSON, a comment of server-sent events. Zero: never.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Chunkflow {
        Arc::make_mut(&mut self.0).heartbeat = heartbeat;
        self
    }

    /// The same with or without the page that stands at `/` for browsers; without it they too get JSON there.
    /// By default it is there.
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
        inner.slots.push(Slot::new(resource.counted_in(inner.loader.metrics())));
        self
    }

    /// The same store, loads under way and counters, without a resource: for resources that take the place of these.
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

    /// The resources of the moment, in the order in which they were given. One whose table changes is made
    /// again, and then is another.
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

    /// Answers a request for `/RESOURCE` or `/RESOURCE.EXTENSION`; for `/`, which says what resources
    /// there are, to browsers by a page and to others as JSON; and for `/openapi.json`.
    ///
    /// Returns once the first chunk is in hand, so that a source that is down is a 503 and not a cut list.
    /// Every failure is an `application/problem+json` response, but for what passes where `EventSource` asks:
    /// that is told to come back. Needs a tokio runtime; dropping the future or the body stops the work.
    pub fn respond<B>(&self, request: &Request<B>) -> impl Future<Output = Response<Body>> + Send + use<B> {
        let origin = request.extensions().get().map(|Origin(origin)| &**origin);
        let requester = request.extensions().get().copied().unwrap_or_default();
        let id = request.headers().get("x-request-id").filter(|id| id.len() <= LONGEST_ID).cloned();
        let answer = self.respond_from(request, origin, Asker { requester, id, began: Instant::now() });
        let front = self.front(request, origin);
        let for_events = events::are_asked_for(request);
        async move {
            if let Some(response) = front {
                return response;
            }
            let response = answer.await;
            if for_events { events::come_back(response) } else { response }
        }
    }

    /// Answers requests for what is no list, at once: `/` and `/openapi.json`.
    pub(crate) fn front<B>(&self, request: &Request<B>, origin: Option<&str>) -> Option<Response<Body>> {
        match request.uri().path() {
            "/" => Some(self.0.landing.answer(self, request)),
            "/openapi.json" => Some(self.0.description.answer(self, request, origin)),
            _ => None,
        }
    }

    /// The same where the scheme and host that absolute links begin with are known otherwise, and who asks.
    pub(crate) fn respond_from<B>(
        &self,
        request: &Request<B>,
        origin: Option<&str>,
        asker: Asker,
    ) -> impl Future<Output = Response<Body>> + Send + use<B> {
        let inner = Arc::clone(&self.0);
        let found = self.find(request.uri().path());
        let counts = found.as_ref().ok().map(|(slot, format)| (Arc::clone(&slot.now().counts().list), *format));
        let asked = match found {
            Ok((slot, format)) if slot.now().is_outdated() => {
                Err((Arc::clone(slot), format, parts(request), origin.map(str::to_owned), asker))
            }
            Ok((slot, format)) => Ok(self.asked(request, &slot.now(), format, origin, asker)),
            Err(problem) => Ok(Err(problem)),
        };
        async move {
            let asked = match asked {
                Ok(asked) => asked,
                Err((slot, format, request, origin, asker)) => {
                    slot.renewed(&inner.recent).await;
                    let resource = Arc::clone(&slot.now());
                    let whole = Chunkflow(Arc::clone(&inner));
                    whole.asked(&request, &resource, format, origin.as_deref(), asker)
                }
            };
            let (response, format) = match asked {
                Ok(Asked::List(list)) => {
                    let format = Some(list.format);
                    (list.answer(&inner).await.unwrap_or_else(|problem| problem.response()), format)
                }
                Ok(Asked::Said(response)) => (response, None),
                Err(problem) => (problem.response(), None),
            };

            let status = response.status().as_u16();
            match counts {
                Some((list, named)) => list.answered(format.or(named).map(Format::index), status),
                None => inner.loader.metrics().no_list.answered(None, status),
            }
            response
        }
    }

    /// Forgets the chunks of a resource, on every server that shares the store: at once here, elsewhere within
    /// two seconds. No stream that begins after that holds rows that were read before.
    ///
    /// # Errors
    /// [`Kind::Missing`] when there is no such resource; when the store fails, and then the chunks may still be there.
    pub async fn purge(&self, resource: &str) -> Result<()> {
        let found = self.resource(resource);
        let found = found.ok_or_else(|| Error::new(Kind::Missing, format!("there is no resource `{resource}`")))?;
        is_known(&found)?;
        self.0.loader.forget(&found.digest()).await
    }

    /// The generation of a resource's chunks, which changes when they are purged, as far as is known here.
    pub fn generation(&self, resource: &str) -> Option<u64> {
        let found = self.resource(resource)?;
        Some(self.0.loader.generation(&found.digest()))
    }

    /// The resources whose database has not answered since the start: they are served as far as their chunks
    /// are in the store.
    pub fn away(&self) -> impl Iterator<Item = &str> {
        let away = self.0.slots.iter().filter(|slot| slot.now().source().presence().is_away);
        away.map(|slot| slot.name())
    }

    /// The store.
    #[cfg(feature = "server")]
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
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
        let ask = Ask {
            list,
            after: Cursor::start(),
            limit: None,
            requester: Requester::default(),
            id: None,
            began: Instant::now(),
            heartbeat: Duration::ZERO,
            warms,
        };
        Stream::begin(&self.0.loader, ask, &self.0.budget).await.map(Body::from)
    }

    /// What a request asks for; without any work.
    fn asked<B>(
        &self,
        request: &Request<B>,
        resource: &Arc<Resource>,
        extension: Option<Format>,
        origin: Option<&str>,
        asker: Asker,
    ) -> Result<Asked, Problem> {
        let method = request.method();
        if method == Method::OPTIONS {
            let mut response = no_content();
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(reply::ALLOWED));
            return Ok(Asked::Said(response));
        }
        if method != Method::GET && method != Method::HEAD {
            return Err(reply::method_not_allowed(method));
        }
        is_known(resource)?;
        let format = extension.map_or_else(|| accepted(request.headers()), Ok)?;
        let coding = match resource.options().compress {
            true => accepted_coding(request.headers())?,
            false => None,
        };
        let mut params = params::parse(request.uri().query().unwrap_or_default(), resource)?;
        match last_event(request.headers()) {
            Some(END_OF_LIST) => return Ok(Asked::Said(no_content())),
            Some(id) => params.resume(id, resource)?,
            None => {}
        }
        let base = match origin {
            _ if !resource.has_links() => Cow::default(),
            Some(origin) => Cow::from(origin),
            None => Cow::from(base(request)?),
        };
        let list = match params.conditions.is_empty() {
            true => self.0.recent.list(resource, format, coding, &base),
            false => Arc::new(List::new(Arc::clone(resource), format, params.conditions, &base)).in_coding(coding),
        };
        let ask = Ask {
            list,
            after: params.after,
            limit: params.limit,
            requester: asker.requester,
            id: asker.id,
            began: asker.began,
            heartbeat: self.0.heartbeat,
            warms: false,
        };
        if method == Method::HEAD {
            return Ok(Asked::Said(self.head(&ask, format, request.uri())));
        }
        let query = ask.limit.and_then(|_| request.uri().query()).map(str::to_owned);
        Ok(Asked::List(AskedList { ask, format, query }))
    }

    /// What GET would say, as far as it is known without any work.
    fn head(&self, ask: &Ask, format: Format, uri: &Uri) -> Response<Body> {
        let glimpse = Stream::glimpse(&self.0.loader, ask);
        let mut headers = self.0.heads[format.index()].clone();
        add_coding(&mut headers, ask.list.coding());
        headers.insert(CACHE_STATUS, first_status(glimpse.first));
        known_length(&mut headers, glimpse.length);
        next::add_link(&mut headers, uri.query(), glimpse.goes_on.as_ref(), ask.list.resource().seal());
        with(headers, Body::empty())
    }

    /// The resource of a path, and the format its extension names. An exact name wins over a name with an extension.
    fn find(&self, path: &str) -> Result<(&Arc<Slot>, Option<Format>), Problem> {
        let name = resource_of(path)?;
        if let Some(slot) = self.slot(&name) {
            return Ok((slot, None));
        }
        if let Some((stem, extension)) = name.rsplit_once('.')
            && let Some(slot) = self.slot(stem)
        {
            let format = Format::named(extension);
            return format.map(|format| (slot, Some(format))).ok_or_else(|| {
                let remedy = format!("formats here: {}", crate::kind::names(FORMATS));
                Error::new(Kind::Missing, format!("there is no format `{extension}`")).remedy(remedy).into()
            });
        }
        let names: Vec<&str> = self.names().collect();
        Err(Error::new(Kind::Missing, format!("there is no resource `{name}`"))
            .remedy(suggest::remedy("resources", &name, &names))
            .into())
    }
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

/// A request without its body.
fn parts<B>(request: &Request<B>) -> Request<()> {
    let mut parts = Request::new(());
    parts.method_mut().clone_from(request.method());
    parts.uri_mut().clone_from(request.uri());
    parts.headers_mut().clone_from(request.headers());
    parts
}

/// What a request asks for: something that is said at once, or a list.
enum Asked {
    Said(Response<Body>),
    List(AskedList),
}

struct AskedList {
    ask: Ask,
    format: Format,
    /// Where there is a limit: what a link to the next page is made of.
    query: Option<String>,
}

impl AskedList {
    async fn answer(mut self, inner: &Inner) -> Result<Response<Body>, Problem> {
        let begun = Stream::begin(&inner.loader, self.ask.clone(), &inner.budget).await;
        let stream = match begun {
            // Nothing has gone out yet, so that the list of the table as it is now is as good an answer.
            Err(error) if error.kind() == Kind::Schema => {
                self.ask = self.anew(inner).await.ok_or(error)?;
                Stream::begin(&inner.loader, self.ask.clone(), &inner.budget).await?
            }
            Err(error) => {
                if error.kind() == Kind::Busy {
                    inner.loader.metrics().refused(Refused::Database);
                }
                return Err(error.into());
            }
            Ok(stream) => stream,
        };

        let resource = self.ask.list.resource();
        let mut headers = inner.heads[self.format.index()].clone();
        add_coding(&mut headers, self.ask.list.coding());
        headers.insert(CACHE_STATUS, first_status(stream.first()));
        known_length(&mut headers, stream.length());
        next::add_link(&mut headers, self.query.as_deref(), stream.goes_on(), resource.seal());
        Ok(with(headers, Body::from(stream)))
    }

    /// The same of the resource as it is made again; `None` where it is not, or its cursors or filters are others.
    async fn anew(&self, inner: &Inner) -> Option<Ask> {
        let old = &self.ask.list;
        let slot = inner.slots.iter().find(|slot| slot.name() == old.resource().name())?;
        slot.renewed(&inner.recent).await;
        let resource = Arc::clone(&slot.now());

        let filters = |resource: &Resource| resource.source().filters().to_vec();
        let known = filters(&resource);
        let before = filters(old.resource());
        let holds = |column: &str| {
            let filter = before.iter().find(|filter| filter.column == column);
            filter.is_some_and(|filter| known.contains(filter))
        };
        let same_places = self.ask.after.is_start() || resource.seal().is_as(old.resource().seal());
        let same_filters = old.conditions().iter().all(|condition| holds(&condition.column));
        if resource.is_outdated() || !same_places || !same_filters {
            return None;
        }

        let list =
            Arc::new(List::new(resource, self.format, old.conditions().to_vec(), old.base())).in_coding(old.coding());
        Some(Ask { list, ..self.ask.clone() })
    }
}

fn with(headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// The id of the last event that a client got which comes back for more (WHATWG HTML §9.2.4).
fn last_event(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().filter(|id| !id.is_empty())
}

/// The format that the `Accept` headers ask for.
fn accepted(headers: &HeaderMap) -> Result<Format, Problem> {
    format::negotiate(&joined(headers, &header::ACCEPT)).ok_or_else(reply::not_acceptable)
}

/// The coding that the `Accept-Encoding` headers ask for; none where there are none.
fn accepted_coding(headers: &HeaderMap) -> Result<Option<Coding>, Problem> {
    coding::negotiate(&joined(headers, &header::ACCEPT_ENCODING)).map_err(|()| reply::no_coding())
}

/// A field's values as one list (RFC 9110 §5.3).
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let mut values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    let first = Cow::from(values.next().unwrap_or_default());
    values.fold(first, |all, value| Cow::from(format!("{all},{value}")))
}

fn add_coding(headers: &mut HeaderMap, coding: Option<Coding>) {
    headers.extend(coding.map(|coding| (header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()))));
}

/// The scheme and host of absolute links, as far as the request itself tells.
fn base<B>(request: &Request<B>) -> Result<String> {
    match host::named(request)? {
        Some(host) => Ok(format!("http://{host}")),
        None => Err(Error::new(Kind::Invalid, "the request names no host to link to").remedy("send a `Host` header")),
    }
}

/// The headers of every list in each format; a copy of them begins each response.
fn heads() -> Vec<HeaderMap> {
    let head = |format: Format| {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.spec().content_type));
        reply::insert_always(&mut headers);
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        headers
    };
    Format::all().map(head).collect()
}

/// With a length, a proxy may hold the list for slow clients; without one it is to pass on what comes.
fn known_length(headers: &mut HeaderMap, length: Option<u64>) {
    match length {
        Some(length) => headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length)),
        None => headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    };
}

/// RFC 9211, for the first chunk, if there is one.
fn first_status(first: Option<How>) -> HeaderValue {
    first.map_or(HeaderValue::from_static("chunkflow; fwd=miss"), status_value)
}

/// RFC 9211, for a chunk.
fn status_value(how: How) -> HeaderValue {
    let value = match how {
        How::Fresh(left) => {
            // By hand: it is part of every warm answer.
            const BEGIN: &[u8; 20] = b"chunkflow; hit; ttl=";
            let (mut value, mut digits) = ([0; BEGIN.len() + 20], itoa::Buffer::new());
            let digits = digits.format(left).as_bytes();
            let end = BEGIN.len() + digits.len();
            value[..BEGIN.len()].copy_from_slice(BEGIN);
            value[BEGIN.len()..end].copy_from_slice(digits);
            return HeaderValue::from_bytes(&value[..end]).expect("ASCII");
        }
        How::Stale { past, .. } => format!("chunkflow; hit; ttl=-{past}; detail=stale"),
        How::Loaded => return HeaderValue::from_static("chunkflow; fwd=miss; stored"),
        How::Joined => return HeaderValue::from_static("chunkflow; fwd=miss; collapsed"),
    };
    HeaderValue::try_from(value).expect("ASCII")
}

/// Whether requests for a resource can be understood.
///
/// # Errors
/// [`Kind::Unavailable`] where its database has been away since the start, and what it is has not been kept.
fn is_known(resource: &Resource) -> Result<()> {
    if resource.source().presence().is_known {
        return Ok(());
    }
    let message = "the database of this list has not answered since the server started";
    Err(Error::new(Kind::Unavailable, message).remedy("try again shortly"))
}
