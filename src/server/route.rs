//! From a request to a response: host, path, bounds, and the line in the access log.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    admin,
    origin::{Hosts, Peer},
};
use crate::{
    error::{Error, Kind},
    format::FORMATS,
    stream::Tally,
    web::{Body, Chunkflow, json, problem},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a server answers with.
pub(super) struct Site {
    chunkflow: Chunkflow,
    hosts: Hosts,
    streams: Arc<Semaphore>,
    ready: Arc<AtomicBool>,
    door: Door,
    /// Request identifiers: a random start, then one more each.
    next_id: AtomicU64,
}

/// Whom a listener is for.
pub(super) enum Door {
    /// Everybody: the lists.
    Public,
    /// The operator, with this token.
    Admin(Option<String>),
}

impl Site {
    pub(super) fn new(
        chunkflow: Chunkflow,
        hosts: Hosts,
        streams: Arc<Semaphore>,
        ready: Arc<AtomicBool>,
        door: Door,
    ) -> Site {
        Site { chunkflow, hosts, streams, ready, door, next_id: AtomicU64::new(fastrand::u64(..)) }
    }

    /// Answers a request; with a stream comes the permit that it must hold.
    pub(super) async fn answer<B>(
        &self,
        mut request: Request<B>,
        peer: Peer,
    ) -> (Response<Body>, Option<OwnedSemaphorePermit>) {
        let id = self.request_id(&request);
        // Begun before the work, so that a client who leaves before its first byte has its line too.
        let line = tracing::enabled!(target: "chunkflow::access", tracing::Level::INFO).then(|| Line {
            began: Instant::now(),
            peer: peer.address,
            id: id.clone(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            status: None,
            tally: None,
        });
        // Whoever asks for health knows the server by its address, as orchestrators do.
        let probe = ["/healthz", "/readyz"].contains(&request.uri().path());
        let (mut response, permit) = match self.hosts.check(&request, peer) {
            Err(error) if !probe => (problem(error), None),
            origin => {
                if let Ok(origin) = origin {
                    request.extensions_mut().insert(origin);
                }
                self.route(&request).await
            }
        };
        response.headers_mut().insert(X_REQUEST_ID, id);
        if let Some(mut line) = line {
            line.status = Some(response.status());
            if response.body().is_stream() {
                response.body_mut().on_end(move |tally| {
                    let mut line = line;
                    line.tally = Some(*tally);
                });
            }
        }
        (response, permit)
    }

    async fn route<B>(&self, request: &Request<B>) -> (Response<Body>, Option<OwnedSemaphorePermit>) {
        if let Door::Admin(token) = &self.door {
            return (admin::answer(&self.chunkflow, token.as_deref(), request).await, None);
        }
        match request.uri().path() {
            "/" => (self.landing(request.method()), None),
            "/healthz" => (health(request.method(), true), None),
            "/readyz" => (health(request.method(), self.ready.load(Ordering::Relaxed)), None),
            _ if !self.ready.load(Ordering::Relaxed) => {
                (problem(Error::new(Kind::Busy, "this server is about to stop")), None)
            }
            _ if request.method() != Method::GET => (self.chunkflow.respond(request).await, None),
            _ => match Arc::clone(&self.streams).try_acquire_owned() {
                Ok(permit) => (self.chunkflow.respond(request).await, Some(permit)),
                Err(_) => (problem(Error::new(Kind::Busy, "too many streams are under way")), None),
            },
        }
    }

    /// What there is here, for people and programs that look around.
    fn landing(&self, method: &Method) -> Response<Body> {
        #[derive(Serialize)]
        struct Landing<'a> {
            chunkflow: &'a str,
            resources: Vec<Entry<'a>>,
        }
        #[derive(Serialize)]
        struct Entry<'a> {
            name: &'a str,
            path: String,
            formats: Vec<String>,
            fields: Vec<&'a str>,
            order: &'a [String],
            filters: Vec<&'a str>,
        }
        let entry = |resource: &'_ Arc<crate::Resource>| {
            let name = resource.name().to_owned();
            FORMATS.iter().map(|format| format!("/{name}.{}", format.name)).collect::<Vec<_>>()
        };
        let entries = self.chunkflow.resources().iter().map(|resource| Entry {
            name: resource.name(),
            path: format!("/{}", resource.name()),
            formats: entry(resource),
            fields: resource.members().collect(),
            order: resource.source().order(),
            filters: resource.source().filters().iter().map(|filter| &*filter.column).collect(),
        });
        readable(
            method,
            json(StatusCode::OK, &Landing { chunkflow: env!("CARGO_PKG_VERSION"), resources: entries.collect() }),
        )
    }

    /// The client's own identifier where it is harmless, else a new one.
    fn request_id<B>(&self, request: &Request<B>) -> HeaderValue {
        let harmless = |value: &&HeaderValue| {
            (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        match request.headers().get(X_REQUEST_ID).filter(harmless) {
            Some(id) => id.clone(),
            None => {
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                let digits: [u8; 16] =
                    std::array::from_fn(|at| b"0123456789abcdef"[(id >> (60 - 4 * at)) as usize & 15]);
                HeaderValue::from_bytes(&digits).expect("hexadecimal digits")
            }
        }
    }
}

pub(super) fn health(method: &Method, fine: bool) -> Response<Body> {
    #[derive(Serialize)]
    struct Health {
        ok: bool,
    }
    let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    readable(method, json(status, &Health { ok: fine }))
}

/// The response to GET and HEAD; other methods are refused.
fn readable(method: &Method, response: Response<Body>) -> Response<Body> {
    const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD");
    if method == Method::GET || method == Method::HEAD {
        return response;
    }
    let mut refused = problem(Error::new(Kind::Invalid, format!("{method} is not for this path")).remedy("use GET"));
    *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    refused.headers_mut().insert(header::ALLOW, ALLOWED);
    refused
}

/// A line of the access log, written when it is dropped: once the response has ended, or the client has left.
struct Line {
    began: Instant,
    peer: SocketAddr,
    id: HeaderValue,
    method: Method,
    uri: http::Uri,
    /// `None`: the client left before there was a response.
    status: Option<StatusCode>,
    tally: Option<Tally>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let id = self.id.to_str().unwrap_or_default();
        let ms = (self.began.elapsed().as_secs_f64() * 1e6).round() / 1000.0;
        let (peer, method, uri) = (self.peer, &self.method, &self.uri);
        match (self.status.map(|status| status.as_u16()), self.tally) {
            (Some(status), Some(Tally { rows, bytes, hits, loads, outcome })) => {
                tracing::info!(target: "chunkflow::access", %peer, id, %method, %uri, status, rows, bytes, hits, loads, %outcome, ms);
            }
            (Some(status), None) => tracing::info!(target: "chunkflow::access", %peer, id, %method, %uri, status, ms),
            (None, _) => tracing::info!(target: "chunkflow::access", %peer, id, %method, %uri, outcome = "gone", ms),
        }
    }
}
