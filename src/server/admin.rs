//! What the operator sees and does: the counters, and forgetting chunks; on a listener of its own and never on
//! the public one.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde::Serialize;
use tokio::sync::oneshot;

use super::{live::Shared, process, ready};
use crate::{
    error::{Error, Kind},
    metrics::{Exposition, MetricsFormat},
    web::{Body, Chunkflow, json, no_content, problem, resource_of},
};

/// Answers a request to the admin listener that its guard let pass.
pub(super) async fn answer<B>(chunkflow: &Chunkflow, shared: &Shared, request: &Request<B>) -> Response<Body> {
    // What is needed of the request, which itself is not to be held while a store is waited for.
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    match (&*path, method) {
        ("/metrics", Method::GET | Method::HEAD) => metrics(chunkflow, request),
        ("/reload", Method::POST) => reload(shared).await,
        ("/healthz", method) => ready::health(&method),
        (path, method) => match (path.strip_prefix("/purge/"), method) {
            (Some(resource), Method::POST) => match resource_of(resource) {
                Ok(resource) => purge(chunkflow, &resource).await,
                Err(error) => problem(error),
            },
            _ => problem(
                Error::new(Kind::Missing, format!("there is no `{path}` here"))
                    .remedy("GET /metrics or /healthz, or POST /purge/RESOURCE or /reload"),
            ),
        },
    }
}

/// 204 once no stream that begins here gets what was read before; other servers follow within two seconds.
async fn purge(chunkflow: &Chunkflow, resource: &str) -> Response<Body> {
    match chunkflow.purge(resource).await {
        Ok(()) => {
            tracing::info!(resource, "purged");
            no_content()
        }
        Err(error) => problem(not_purged(error)),
    }
}

/// A purge that failed, to whoever runs this server: it is the store that did not take it, and why.
fn not_purged(error: Error) -> Error {
    if error.kind() == Kind::Missing {
        return error;
    }
    let remedy = error.advice().unwrap_or("see that the store runs, and purge again").to_owned();
    Error::new(Kind::Refused, format!("the store did not take the purge: {}", error.told())).remedy(remedy)
}

/// Has the configuration read again; 200 once requests get the new one, 400 with every complaint where it is wrong.
async fn reload(shared: &Shared) -> Response<Body> {
    #[derive(Serialize)]
    struct Reloaded {
        reloaded: String,
    }
    let (tell, told) = oneshot::channel();
    let asked = match shared.reloads.get() {
        Some(reloads) => reloads.send(tell).await.is_ok(),
        None => false,
    };
    match told.await {
        Ok(Ok(reloaded)) if asked => json(StatusCode::OK, &Reloaded { reloaded }),
        Ok(Err(complaints)) => problem(Error::new(Kind::Invalid, complaints).remedy("the old configuration goes on")),
        _ => problem(Error::new(Kind::Busy, "this server cannot reload now")),
    }
}

fn metrics<B>(chunkflow: &Chunkflow, request: &Request<B>) -> Response<Body> {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = MetricsFormat::negotiate(accept.unwrap_or_default());
    let mut exposition = Exposition::new(format);
    process::expose(&mut exposition);
    chunkflow.expose(&mut exposition);

    let mut response = Response::new(Body::from(Bytes::from(exposition.end())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
