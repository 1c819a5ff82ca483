//! The operator's listener, apart from the public one: metrics, the page and its data; being told
//! of changes, purging and warming lists, cutting streams, reloading the configuration.

use std::{future::poll_fn, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body as _;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    changed,
    lists::{named, not_stored},
    process, ready,
    shared::Shared,
    upload::Upload,
};
use crate::{
    error::{Error, Kind, Result},
    format::Format,
    metrics::{Exposition, MetricsFormat, Way},
    paths::{self, OPERATOR, Own},
    resource::Resource,
    unpoisoned::Unpoisoned,
    web::{Body, Chunkflow, Page, is_host, json, no_content, not_taken, pairs, problem, resource_of},
};

/// The operator's page, without the beginning that it shares with other pages.
const PAGE: &str = include_str!("page/admin.html");

/// How many lists are warmed at once.
const WARMS: usize = 4;

/// Whether a request is for the page itself. The page holds no secret; its script asks for the
/// token.
pub(super) fn is_for_page<B>(request: &Request<B>) -> bool {
    paths::find(OPERATOR, request.uri().path())
        .is_some_and(|(own, _)| own.own == Own::Home && own.takes(request.method()))
}

/// Answers a request to the admin listener that its guard has let through.
pub(super) async fn answer(
    chunkflow: &Chunkflow,
    shared: &Shared,
    request: &Request<()>,
    upload: Option<Upload>,
) -> Response<Body> {
    // A copy of what is needed, so that the request is not held while a store is waited for.
    let uri = request.uri().clone();
    let Some((own, name)) = paths::find(OPERATOR, uri.path()) else { return problem(nothing(uri.path())) };
    if !own.takes(request.method()) {
        return not_taken(own, request.method());
    }

    if let Err(error) = understood(own.own, &uri) {
        return problem(error);
    }

    // Of a body that nobody wants, the connection is told at once.
    let upload = upload.filter(|_| own.own == Own::Changed);

    let answered = match own.own {
        Own::Home => return Page::new(PAGE).response(),
        Own::Metrics => return metrics(chunkflow, request),
        Own::Status => return shared.operator.status(chunkflow),
        Own::Health => return ready::health(),
        Own::Reload => return reload(shared).await,
        Own::Changed => {
            return changed::answer(chunkflow, &shared.operator.tells, name, request.headers(), upload).await;
        }
        Own::Purge => purge(chunkflow, name, &uri).await,
        Own::Warm => warm(chunkflow, shared, name, &uri).await,
        Own::Cut => cut(chunkflow, name),
        Own::OpenApi | Own::Ready | Own::Ticket => Err(nothing(uri.path())),
    };

    answered.unwrap_or_else(problem)
}

fn nothing(path: &str) -> Error {
    Error::new(Kind::Missing, format!("there is no `{path}` here")).remedy(paths::told(OPERATOR))
}

/// Checks that the query of a request asks for nothing that the request does not do.
fn understood(own: Own, uri: &Uri) -> Result<()> {
    let (known, remedy): (&[&str], _) = match own {
        Own::Changed => (&[], "leave it out: the body tells which rows have changed"),
        Own::Warm => (&["host"], "`host` may stand there, with the scheme and host of links"),
        Own::Cut | Own::Reload => (&[], "leave it out"),
        _ => return Ok(()),
    };

    let names = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut names = names.map(|pair| pair.split('=').next().unwrap_or_default());
    match names.find(|name| !known.contains(name)) {
        Some(name) => {
            let name = percent_decode_str(name).decode_utf8_lossy();
            Err(Error::new(Kind::Invalid, format!("`{name}` in the query is not understood here")).remedy(remedy))
        }
        None => Ok(()),
    }
}

/// 204 when no stream that begins here gets rows read before; on other servers within two seconds.
/// With filters in the query: none of the rows that meet them, and no list with them.
async fn purge(chunkflow: &Chunkflow, name: &str, uri: &Uri) -> Result<Response<Body>> {
    let name = &*resource_of(name)?;
    let resource = named(chunkflow, name)?;
    let conditions = pairs(uri.query().unwrap_or_default())?;
    let conditions: Vec<(&str, &str)> = conditions.iter().map(|(name, value)| (&**name, &**value)).collect();

    chunkflow.purge_where(&resource, &conditions).await.map_err(|error| match error.kind() {
        Kind::Invalid => error,
        _ => not_stored(&error, "the purge", "purge again"),
    })?;
    tracing::info!(resource = name, conditions = conditions.len(), "purged");
    Ok(no_content())
}

/// Begins to load a whole list, as JSON, and then the same in its other orders; 202 when its first
/// chunk is there. It ends with the last list, when one is cut, or with the listener.
async fn warm(chunkflow: &Chunkflow, shared: &Shared, name: &str, uri: &Uri) -> Result<Response<Body>> {
    #[derive(Serialize)]
    struct Warming<'a> {
        warming: &'a str,
    }

    let name = &*resource_of(name)?;
    let resource = named(chunkflow, name)?;
    let base = base(chunkflow, &resource, uri)?;
    let warms = || {
        let mut warms = shared.operator.warms.lock().unpoisoned();
        while warms.try_join_next().is_some() {}
        warms
    };

    if warms().len() >= WARMS {
        return Err(Error::new(Kind::Busy, "other lists are being warmed"));
    }

    let body = chunkflow.warming(&resource, Format::JSON, None, &base).await?;
    let others: Vec<Arc<Resource>> = chunkflow.in_all_orders(&resource).into_iter().skip(1).collect();
    let chunkflow = chunkflow.clone();
    warms().spawn(async move {
        if !is_passed(body).await {
            return;
        }
        for other in &others {
            let Ok(body) = chunkflow.warming(other, Format::JSON, None, &base).await else { return };
            if !is_passed(body).await {
                return;
            }
        }
    });

    tracing::info!(resource = name, "warming");
    Ok(json(StatusCode::ACCEPTED, &Warming { warming: name }))
}

/// Reads a body to its end; false if the operator cuts it before.
async fn is_passed(mut body: Body) -> bool {
    body.show(None, None);
    let under_way = body.under_way();
    tokio::select! {
        () = passed(body) => true,
        () = is_cut(under_way) => false,
    }
}

/// Reads a body to its end, to fill the store.
async fn passed(mut body: Body) {
    while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        // A list that is all in memory would never let other tasks run.
        tokio::task::yield_now().await;
    }
}

async fn is_cut(under_way: Option<Arc<Way>>) {
    match under_way {
        Some(under_way) => under_way.is_cut().await,
        None => std::future::pending().await,
    }
}

/// The beginning of a list's links: `public_url`, or the `host` parameter of the request.
fn base(chunkflow: &Chunkflow, resource: &Resource, uri: &Uri) -> Result<String> {
    if !resource.has_links() {
        return Ok(String::new());
    }

    let query = uri.query().unwrap_or_default();
    let host = query.split('&').find_map(|pair| pair.strip_prefix("host="));
    let host = host.map(|host| percent_decode_str(host).decode_utf8_lossy().trim_end_matches('/').to_owned());
    let base = host.or_else(|| chunkflow.public_url().map(str::to_owned)).ok_or_else(|| {
        let message = "the rows of this list hold links, and nobody says to which host";
        Error::new(Kind::Invalid, message).remedy("set `public_url` in [server], or add ?host=https://www.example.com")
    })?;

    let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
    if !rest.is_some_and(is_host) {
        let error = Error::new(Kind::Invalid, "`host` is no scheme and host");
        return Err(error.remedy("write for instance https://www.example.com"));
    }

    Ok(base)
}

/// 204 if there is such a stream; its client sees that it is cut.
fn cut(chunkflow: &Chunkflow, stream: &str) -> Result<Response<Body>> {
    let number = stream.parse().ok();
    if !number.is_some_and(|number| chunkflow.metrics().under_way.cut(number)) {
        return Err(Error::new(Kind::Missing, "there is no such stream any more"));
    }
    tracing::info!(stream, "the operator cuts a stream");
    Ok(no_content())
}

/// Reloads the configuration; 200 when requests get the new one, 400 with every complaint if it is
/// wrong.
async fn reload(shared: &Shared) -> Response<Body> {
    #[derive(Serialize)]
    struct Reloaded {
        reloaded: String,
    }
    let (tell, told) = oneshot::channel();
    // Where nobody reloads, `tell` is dropped here, and `told` ends at once.
    match shared.reloads.get() {
        Some(reloads) => drop(reloads.send(tell).await),
        None => drop(tell),
    }
    match told.await {
        Ok(Ok(reloaded)) => json(StatusCode::OK, &Reloaded { reloaded }),
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
