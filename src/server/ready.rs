//! Whether a server is alive (`/healthz`), and whether it should get requests (`/readyz`).

use http::{Request, Response, StatusCode};
use serde::Serialize;

use crate::web::{Body, Chunkflow, json};

#[derive(Serialize)]
struct Health<'a> {
    ok: bool,
    /// Lists whose database has not answered yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    away: Vec<&'a str>,
    /// The single checks, if the request asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check<'a>>>,
}

/// One check.
#[derive(Serialize)]
struct Check<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<&'a str>,
    check: &'static str,
    ok: bool,
    detail: &'static str,
}

/// The process answers; that is all this says.
pub(super) fn health() -> Response<Body> {
    json(StatusCode::OK, &Health { ok: true, away: vec![], checks: None })
}

/// Whether the server takes requests; with `?verbose` also each check. A database that is away does
/// not make the server unready: the chunks of its lists in the store are served, and so are all
/// other lists.
pub(super) fn answer<B>(request: &Request<B>, ready: bool, chunkflow: &Chunkflow) -> Response<Body> {
    let away: Vec<&str> = chunkflow.away().collect();
    let asked = |query: &str| query.split('&').any(|pair| ["verbose", "verbose="].contains(&pair));
    let checks = request.uri().query().is_some_and(asked).then(|| {
        let stops = "this server is about to stop";
        let serving =
            Check { list: None, check: "serving", ok: ready, detail: if ready { "requests are taken" } else { stops } };
        let store = Check {
            list: None,
            check: "store",
            ok: true,
            detail: if chunkflow.is_alone() {
                "in this server's memory"
            } else {
                "shared; one that is away costs time alone"
            },
        };
        let lists = chunkflow.names().map(|list| {
            let ok = !away.contains(&list);
            let absent = "has not answered since the start; chunks in the store are served";
            Check { list: Some(list), check: "database", ok, detail: if ok { "has answered" } else { absent } }
        });
        [serving, store].into_iter().chain(lists).collect()
    });

    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Health { ok: ready, away, checks })
}
