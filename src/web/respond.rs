//! Requests for lists: takes a request, returns a response with a streaming body.

use std::{borrow::Cow, future::Future, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};

use super::{
    Asker, Body, Chunkflow, Inner, download, host, is_known, next, ordered, params, query,
    reply::{self, Problem, no_content},
    resource_of, select,
    slot::Slot,
};
use crate::{
    coding::{self, Coding},
    error::{Error, Kind, Result},
    format::{self, END_OF_LIST, FORMATS, Format},
    identity::Identity,
    list::List,
    loader::Provenance,
    metrics::Refused,
    resource::{Resource, Scope},
    source::{Condition, Filter},
    stream::{Ask, Stream},
    suggest,
    trace::{Traced, Unanswered},
};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

impl Chunkflow {
    /// Answers a request for a list. `origin` is the scheme and host that absolute links begin
    /// with, if known.
    pub(crate) fn respond_from<B>(
        &self,
        request: &Request<B>,
        origin: Option<&str>,
        asker: Asker,
    ) -> impl Future<Output = Response<Body>> + Send + use<B> {
        let found =
            self.find(request.uri().path(), asker.identity.as_deref()).map(|(slot, format)| (Arc::clone(slot), format));
        self.answer(found, request, origin, asker)
    }

    /// The same for a list that was found already, with its format if the path or the program names
    /// one.
    pub(super) fn answer<B>(
        &self,
        found: Result<(Arc<Slot>, Option<Format>), Problem>,
        request: &Request<B>,
        origin: Option<&str>,
        asker: Asker,
    ) -> impl Future<Output = Response<Body>> + Send + use<B> {
        let inner = Arc::clone(&self.0);
        let found = found.map(|(slot, format)| (slot, format.or_else(|| request.extensions().get().copied())));
        let is_by_who = match &found {
            Ok((slot, _)) => slot.now().options().access.asks_who(),
            Err(_) => self.asks_who(),
        };
        let counts = found.as_ref().ok().map(|(slot, format)| (Arc::clone(&slot.now().counts().list), *format));
        let traced = found.as_ref().map(|(slot, _)| asker.traced(request, slot.name(), origin)).unwrap_or_default();
        let unanswered = Unanswered::new(&traced);
        let asker = (asker, traced);
        let in_order = found.and_then(|(slot, format)| {
            let query = if takes(request.method()) { query::of(request)? } else { Cow::default() };
            Ok((ordered::of(&slot, &query, asker.0.identity.as_deref())?, format, query))
        });
        let asked = match in_order {
            Ok((slot, format, query)) if slot.now().is_outdated() => {
                Err((slot, format, parts(request), query.into_owned(), origin.map(str::to_owned), asker))
            }
            Ok((slot, format, query)) => Ok(self.asked(request, slot, format, &query, origin, asker)),
            Err(problem) => Ok(Err(problem)),
        };

        async move {
            let asked = match asked {
                Ok(asked) => asked,
                Err((slot, format, request, query, origin, asker)) => {
                    slot.renewed(&inner.recent).await;
                    let whole = Chunkflow(Arc::clone(&inner));
                    whole.asked(&request, slot, format, &query, origin.as_deref(), asker)
                }
            };
            let (mut response, format) = match asked {
                Ok(Asked::List(list)) => {
                    let format = Some(list.format);
                    (list.answer(&inner).await.unwrap_or_else(|problem| problem.response()), format)
                }
                Ok(Asked::Said(response)) => (response, None),
                Err(problem) => (problem.response(), None),
            };

            if is_by_who {
                reply::vary_by_who(response.headers_mut());
            }

            let status = response.status().as_u16();
            unanswered.answered(status, format.map(Format::name), response.body().is_stream());
            match counts {
                Some((list, named)) => list.answered(format.or(named).map(Format::index), status),
                None => inner.loader.metrics().no_list.answered(None, status),
            }
            response
        }
    }

    /// Works out what a request asks for; loads nothing.
    fn asked<B>(
        &self,
        request: &Request<B>,
        slot: Arc<Slot>,
        named: Option<Format>,
        query: &str,
        origin: Option<&str>,
        (asker, traced): (Asker, Traced),
    ) -> Result<Asked, Problem> {
        let method = request.method();
        if method == Method::OPTIONS {
            let mut response = no_content();
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(reply::ALLOWED));
            response.headers_mut().insert(reply::ACCEPT_QUERY, reply::FORM);
            return Ok(Asked::Said(response));
        }

        if !takes(method) {
            return Err(reply::method_not_allowed(method));
        }

        // Whose rows they are is decided before any parameter is read.
        let view = {
            let resource = slot.now();
            is_known(&resource)?;
            resource.view(asker.identity.as_deref())?
        };
        let resource = &view.resource;

        let format = named.map_or_else(|| accepted(request.headers()), Ok)?;
        if !resource.has_format(format) {
            return Err(reply::without_header(format));
        }
        let coding = if resource.options().compress { accepted_coding(request.headers())? } else { None };
        let mut params = params::parse(query, &view)?;
        match last_event(request.headers()) {
            Some(END_OF_LIST) => return Ok(Asked::Said(no_content())),
            Some(id) => params.resume(id, &view)?,
            None => {}
        }

        let shown = match &params.select {
            Some(names) => select::of(resource, names)?,
            None => Arc::clone(resource),
        };

        let resource = &shown;
        let base = match origin {
            _ if !resource.has_links() => Cow::default(),
            Some(origin) => Cow::from(origin),
            None => Cow::from(base(request)?),
        };

        let own = params.conditions.clone();
        // A selection is one of many, and a resource of its own: it is not kept.
        let is_usual = own.is_empty() && params.select.is_none() && slot.lasts;
        let is_somebodys = !view.scope.is_all() || resource.is_part();
        let list = if is_somebodys && is_usual && view.scope.is_small() {
            self.0.recent.scoped(resource, &view.scope, format, coding, &base)
        } else if !params.conditions.is_empty() || !view.scope.is_all() {
            let list = List::scoped(Arc::clone(resource), &view.scope, format, params.conditions, &base);
            Arc::new(list).in_coding(coding)
        } else if slot.lasts && !resource.is_part() {
            self.0.recent.list(resource, format, coding, &base)
        } else {
            self.0.guests.list(resource, format, coding, &base)
        };

        let ask = Ask {
            list,
            after: params.after,
            limit: params.limit,
            requester: asker.requester,
            id: asker.id,
            traced,
            at_least: params.at_least,
            began: asker.began,
            heartbeat: self.0.heartbeat,
            warms: false,
        };

        let disposition = params.download.map(|name| download::disposition(&name, resource, format));
        if method == Method::HEAD {
            let mut response = self.head(&ask, format, query);
            response.headers_mut().extend(disposition.map(|value| (header::CONTENT_DISPOSITION, value)));
            return Ok(Asked::Said(response));
        }

        let query = ask.limit.map(|_| query.to_owned());
        let seen = Seen { identity: asker.identity, scope: view.scope };
        let select = params.select;
        Ok(Asked::List(Box::new(AskedList { ask, slot, seen, own, format, select, query, disposition })))
    }

    /// The response's head as for GET, as far as it is known without a load.
    fn head(&self, ask: &Ask, format: Format, query: &str) -> Response<Body> {
        let glimpse = Stream::glimpse(&self.0.loader, ask);
        let mut headers = self.0.heads[format.index()].clone();
        add_coding(&mut headers, ask.list.coding());
        headers.insert(CACHE_STATUS, first_status(glimpse.first));
        known_length(&mut headers, glimpse.length);
        next::add_link(&mut headers, Some(query), glimpse.goes_on.as_ref(), ask.list.seal());
        with(headers, Body::empty())
    }

    /// The list at this path, in any format, whether this client may read it or not.
    #[cfg(feature = "server")]
    pub(super) fn list_at(&self, path: &str) -> Option<&Arc<Slot>> {
        let name = resource_of(path).ok()?;
        let (slot, extension) = self.named(&name)?;
        extension.is_none_or(|extension| Format::named(extension).is_some()).then_some(slot)
    }

    /// The resource of a name, and the extension behind it. A resource with the whole name wins over
    /// one with the name before the extension.
    fn named<'n>(&self, name: &'n str) -> Option<(&Arc<Slot>, Option<&'n str>)> {
        if let Some(slot) = self.slot(name) {
            return Some((slot, None));
        }
        let (stem, extension) = name.rsplit_once('.')?;
        Some((self.slot(stem)?, Some(extension)))
    }

    /// Whether a list is at this path.
    #[cfg(feature = "server")]
    pub(crate) fn has_list_at(&self, path: &str) -> bool {
        self.list_at(path).is_some()
    }

    /// The resource of a path, and the format of its extension.
    ///
    /// # Errors
    /// [`Kind::Missing`], with the names of the lists that this identity may read.
    fn find(&self, path: &str, identity: Option<&Identity>) -> Result<(&Arc<Slot>, Option<Format>), Problem> {
        let name = resource_of(path)?;
        if let Some((slot, extension)) = self.named(&name) {
            let Some(extension) = extension else { return Ok((slot, None)) };
            return Format::named(extension).map(|format| (slot, Some(format))).ok_or_else(|| {
                let remedy = format!("formats here: {}", crate::kind::names(FORMATS));
                Error::new(Kind::Missing, format!("there is no format `{extension}`")).remedy(remedy).into()
            });
        }

        let open = self.0.slots.iter().filter(|slot| slot.now().is_open_to(identity));
        let names: Vec<&str> = open.map(|slot| slot.name()).collect();
        Err(Error::new(Kind::Missing, format!("there is no resource `{name}`"))
            .remedy(suggest::remedy("resources", &name, &names))
            .into())
    }
}

/// Whether a request with this method asks for rows, or for what is known of them.
fn takes(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::QUERY].contains(method)
}

/// A request without its body.
fn parts<B>(request: &Request<B>) -> Request<()> {
    let mut parts = Request::new(());
    parts.method_mut().clone_from(request.method());
    parts.uri_mut().clone_from(request.uri());
    parts.headers_mut().clone_from(request.headers());
    parts
}

/// What a request asks for: an answer that is ready, or a list.
enum Asked {
    Said(Response<Body>),
    List(Box<AskedList>),
}

/// Who asks, and whose rows the list has.
struct Seen {
    identity: Option<Arc<Identity>>,
    scope: Scope,
}

impl Seen {
    /// Whether no other value than those of the scope is in the query.
    fn is_all_of(&self, ask: &Ask) -> bool {
        let scope = self.scope.conditions().len();
        scope > 0 && scope == ask.list.conditions().len() && ask.after.is_start()
    }
}

struct AskedList {
    ask: Ask,
    slot: Arc<Slot>,
    seen: Seen,
    /// The request's own conditions.
    own: Vec<Condition>,
    format: Format,
    /// The names of the members to show.
    select: Option<Vec<String>>,
    /// The request's query if it has a limit, to make a link to the next page.
    query: Option<String>,
    /// Set if the list is to be saved as a file.
    disposition: Option<HeaderValue>,
}

impl AskedList {
    async fn answer(mut self, inner: &Inner) -> Result<Response<Body>, Problem> {
        let begun = Stream::begin(&inner.loader, self.ask.clone(), &inner.budget).await;
        let stream = match begun {
            // Nothing has been sent yet, so the list of the changed table is as good an answer.
            Err(error) if error.kind() == Kind::Schema => {
                self.ask = self.anew(inner).await.ok_or(error)?;
                Stream::begin(&inner.loader, self.ask.clone(), &inner.budget).await?
            }
            // The database refuses a value, and no value is the request's own.
            Err(error) if error.kind() == Kind::Invalid && self.seen.is_all_of(&self.ask) => {
                return Err(not_of_the_type(error).into());
            }
            Err(error) => {
                if error.kind() == Kind::Busy {
                    inner.loader.metrics().refused(Refused::Database);
                }
                return Err(error.into());
            }
            Ok(stream) => stream,
        };

        let list = &self.ask.list;
        let mut headers = inner.heads[self.format.index()].clone();
        add_coding(&mut headers, list.coding());
        headers.insert(CACHE_STATUS, first_status(stream.first()));
        known_length(&mut headers, stream.length());
        next::add_link(&mut headers, self.query.as_deref(), stream.goes_on(), list.seal());
        headers.extend(self.disposition.map(|value| (header::CONTENT_DISPOSITION, value)));
        Ok(with(headers, Body::from(stream)))
    }

    /// The same for the resource made again. `None` if it could not be made, or the request's
    /// cursor, filters or members do not fit it.
    async fn anew(&self, inner: &Inner) -> Option<Ask> {
        let old = &self.ask.list;
        self.slot.renewed(&inner.recent).await;
        let view = self.slot.now().view(self.seen.identity.as_deref()).ok()?;
        let resource = match &self.select {
            Some(names) => select::of(&view.resource, names).ok()?,
            None => view.resource,
        };

        let known = filters(&resource);
        let before = filters(old.resource());
        let holds = |column: &str| {
            let filter = before.iter().find(|filter| filter.column == column);
            filter.is_some_and(|filter| known.contains(filter))
        };

        let same_scope = view.scope == self.seen.scope;
        let same_places = self.ask.after.is_start() || resource.seal().is_as(old.resource().seal());
        let mut comparisons = old.conditions().iter().flat_map(Condition::comparisons);
        let same_filters = comparisons.all(|comparison| holds(&comparison.column));
        if resource.is_outdated() || !same_scope || !same_places || !same_filters {
            return None;
        }

        let list = List::scoped(resource, &view.scope, self.format, self.own.clone(), old.base());
        Some(Ask { list: Arc::new(list).in_coding(old.coding()), ..self.ask.clone() })
    }
}

/// The error for a claim that only the database knows to be of another type than its column.
fn not_of_the_type(error: Error) -> Error {
    Error::new(Kind::Forbidden, "a claim is not of the type of the column that it is compared with")
        .remedy("the operator's `scope` of this list needs it otherwise")
        .caused_by(error)
}

/// All columns that conditions may be on.
fn filters(resource: &Resource) -> Vec<Filter> {
    let source = resource.source();
    source.filters().iter().chain(source.scope()).cloned().collect()
}

fn with(headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

/// The id of the last event that a returning client got (WHATWG HTML §9.2.4).
pub(super) fn last_event(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().filter(|id| !id.is_empty())
}

/// The format that `Accept` asks for.
pub(super) fn accepted(headers: &HeaderMap) -> Result<Format, Problem> {
    format::negotiate(&joined(headers, &header::ACCEPT)).ok_or_else(reply::not_acceptable)
}

/// The coding that `Accept-Encoding` asks for; `None` without that header.
fn accepted_coding(headers: &HeaderMap) -> Result<Option<Coding>, Problem> {
    coding::negotiate(&joined(headers, &header::ACCEPT_ENCODING)).map_err(|()| reply::no_coding())
}

/// A field's values as one list (RFC 9110 §5.3).
pub(super) fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
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

/// The headers of every list, for each format; each response begins with a copy.
pub(super) fn heads() -> Vec<HeaderMap> {
    let head = |format: Format| {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.spec().content_type));
        reply::insert_always(&mut headers);
        headers.insert(reply::ACCEPT_QUERY, reply::FORM);
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        headers
    };
    Format::all().map(head).collect()
}

/// With a length, a proxy may buffer the list for slow clients. Without one it should pass on what
/// comes.
fn known_length(headers: &mut HeaderMap, length: Option<u64>) {
    match length {
        Some(length) => headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length)),
        None => headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    };
}

/// The cache status (RFC 9211) of the first chunk, if there is one.
fn first_status(first: Option<Provenance>) -> HeaderValue {
    first.map_or(HeaderValue::from_static("chunkflow; fwd=miss"), status_value)
}

/// The cache status (RFC 9211) of a chunk.
fn status_value(provenance: Provenance) -> HeaderValue {
    let value = match provenance {
        Provenance::Fresh(left) => {
            // Written by hand, since every warm answer needs it.
            const BEGIN: &[u8; 20] = b"chunkflow; hit; ttl=";
            let mut value = [0; BEGIN.len() + 20];
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(left).as_bytes();
            let end = BEGIN.len() + digits.len();
            value[..BEGIN.len()].copy_from_slice(BEGIN);
            value[BEGIN.len()..end].copy_from_slice(digits);
            return HeaderValue::from_bytes(&value[..end]).expect("ASCII");
        }
        Provenance::Stale { past, .. } => format!("chunkflow; hit; ttl=-{past}; detail=stale"),
        Provenance::Loaded => return HeaderValue::from_static("chunkflow; fwd=miss; stored"),
        Provenance::Joined => return HeaderValue::from_static("chunkflow; fwd=miss; collapsed"),
    };

    HeaderValue::try_from(value).expect("ASCII")
}
