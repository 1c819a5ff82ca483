//! Clients: they ask for lists in every way, and read them slowly.

use std::{io::Read, time::Duration};

use flate2::read::MultiGzDecoder;
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;

use super::{
    fleet::{Server, World, any_moment},
    history::Asked,
    wanted::Wanted,
};

/// How many lists a client asks for.
const LISTS: u32 = 6;
/// How many pages of a list.
const PAGES: usize = 3;
/// A list that is not whole by then will never be.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks for lists and checks them, again and again.
pub(super) async fn read(world: &World) {
    for _ in 0..fastrand::u32(1..=LISTS) {
        if fastrand::bool() {
            any_moment(Duration::from_millis(1200)).await;
        } else {
            // Just when a change was told, or a little later.
            let told = world.told.notified();
            let _ = tokio::time::timeout(Duration::from_millis(800), told).await;
            any_moment(Duration::from_millis(50)).await;
        }
        read_pages(world, world.wanted()).await;
    }
}

/// Asks for a list, and for the pages behind it.
async fn read_pages(world: &World, wanted: &Wanted) {
    let mut behind = None;
    let mut query = wanted.query();
    for _ in 0..PAGES {
        let at_least = if fastrand::u32(0..3) == 0 { world.history().recent() } else { None };
        let token = at_least.map(|(_, token)| format!("at_least={token}"));
        let query_with_token = [query.clone(), token.unwrap_or_default()].join("&");
        let server = world.any();
        let asked = Asked {
            server: server.id,
            at_least: at_least.map(|(change, _)| change),
            only: wanted.only,
            behind,
            target: format!("{}?{}", wanted.path, query_with_token.trim_matches('&')),
        };

        world.history().note(&format!("server {} is asked for {} (behind {behind:?})", server.id, asked.target));
        let floor = world.history().floor(&asked);
        let answer = tokio::time::timeout(PATIENCE, rows(&server, &asked.target, wanted.coding)).await;
        let Some((rows, link)) = answer.unwrap_or_else(|_| panic!("{asked:?} does not end")) else { return };
        world.history().note(&format!("server {} has answered {}", server.id, asked.target));
        behind = world.history().check(&asked, &floor, &rows, link.is_none());

        let Some(link) = link else { return };
        assert_eq!(Some(rows.len() as u64), wanted.limit, "{asked:?}: a page of another length");
        query = without_token(&link);
    }
}

/// A query without the token in it.
fn without_token(query: &str) -> String {
    query.split('&').filter(|pair| !pair.starts_with("at_least=")).collect::<Vec<_>>().join("&")
}

/// The rows of a list, and the query of its next page. `None` if it fails, or is cut.
pub(super) async fn rows(server: &Server, target: &str, coding: &str) -> Option<(Vec<Value>, Option<String>)> {
    let request = Request::get(target).header("host", "localhost").header("accept-encoding", coding);
    let request = request.body(()).unwrap();
    let response = server.chunkflow.respond(&request).await;
    if !response.status().is_success() {
        assert!(response.status().is_server_error(), "{target}: {}", response.status());
        return None;
    }

    let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
    let next = link.map(|link| link.split(['?', '>']).nth(1).unwrap().to_owned());
    let mut body = response.into_body();
    let mut text = vec![];
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(frame.ok()?.data_ref()?);
        any_moment(Duration::from_millis(200)).await;
    }

    if coding == "gzip" {
        let mut plain = vec![];
        MultiGzDecoder::new(&text[..]).read_to_end(&mut plain).unwrap();
        text = plain;
    }

    let rows = if target.contains(".ndjson") {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    } else {
        let body: Value = serde_json::from_slice(&text).unwrap();
        body["results"].as_array().unwrap().clone()
    };
    Some((rows, next))
}
