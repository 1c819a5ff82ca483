//! Clients: they ask for lists in every way, and read them slowly.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;

use super::{
    fleet::{GROUPS, RANKS, Server, World, any_moment},
    history::{Asked, Only},
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
        any_moment(Duration::from_millis(1200)).await;
        let (only, filter) = match fastrand::u32(0..6) {
            0..2 => (Only::All, None),
            2..4 => {
                let group = fastrand::i64(0..GROUPS);
                (Only::Group(group), Some(format!("grp=eq.{group}")))
            }
            4 if world.plan.is_collated => {
                let group = fastrand::i64(0..GROUPS);
                (Only::Group(group), Some(format!("kin=eq.KIN%20{group}")))
            }
            _ => {
                let rank = fastrand::i64(0..RANKS);
                (Only::FromRank(rank), Some(format!("rank=gte.{rank}")))
            }
        };
        let limit = fastrand::bool().then(|| fastrand::u64(1..12));
        let name = if world.plan.is_collated && fastrand::bool() { "names" } else { "list" };
        let format = if fastrand::bool() { ".json" } else { ".ndjson" };

        let mut behind = None;
        let mut next: Option<String> = None;
        for _ in 0..PAGES {
            let at_least = if fastrand::u32(0..3) == 0 { world.history().recent() } else { None };
            let query = match next.take() {
                // The link keeps the token of the page before.
                Some(next) => next,
                None => {
                    let limit = limit.map(|limit| format!("limit={limit}"));
                    filter.iter().cloned().chain(limit).collect::<Vec<_>>().join("&")
                }
            };
            let token = at_least.map(|(_, token)| format!("&at_least={token}")).unwrap_or_default();
            let server = world.any();
            let target = format!("/{name}{format}?{query}{token}").replace("?&", "?");
            let asked = Asked { server: server.id, at_least: at_least.map(|(change, _)| change), only, behind, target };
            let floor = world.history().floor(&asked);
            let answer = tokio::time::timeout(PATIENCE, rows(&server, &asked.target)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{asked:?} does not end"));
            let Some((rows, link)) = answer else { break };

            behind = world.history().check(&asked, &floor, &rows, link.is_none());
            let Some(link) = link else { break };
            assert_eq!(Some(rows.len() as u64), limit, "{asked:?}: a page of another length");
            next = Some(without_token(&link));
        }
    }
}

/// A query without the token in it.
fn without_token(query: &str) -> String {
    query.split('&').filter(|pair| !pair.starts_with("at_least=")).collect::<Vec<_>>().join("&")
}

/// The rows of a list, and the query of its next page. `None` if it fails, or is cut.
pub(super) async fn rows(server: &Server, target: &str) -> Option<(Vec<Value>, Option<String>)> {
    let request = Request::get(target).header("host", "localhost").body(()).unwrap();
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

    let rows = if target.contains(".ndjson") {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    } else {
        let body: Value = serde_json::from_slice(&text).unwrap();
        body["results"].as_array().unwrap().clone()
    };
    Some((rows, next))
}
