//! A handler as one writes it by hand in axum: rows in runs after the last key, related rows in one query a relation, serde, a bounded
//! channel. It keeps nothing. `by_hand PORT FILE`: serves the demo's list at /tricks.

use std::{collections::HashMap, convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use futures_util::stream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{Connection, OpenFlags, Result};
use serde::Serialize;
use tokio::sync::mpsc;

const RUN: usize = 500;
const PART_OF_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const ROWS: &str = "SELECT id, title, slug FROM tricks_trick
    WHERE publishing_status IN ('published', 'published_outdated') AND id > ?1 ORDER BY id LIMIT ?2";
const CATEGORIES: &str =
    "SELECT j.trick_id, c.slug FROM tricks_trick_categories j JOIN tricks_category c ON c.id = j.category_id
    WHERE j.trick_id BETWEEN ?1 AND ?2 ORDER BY j.trick_id, c.id";
const TECHNOLOGIES: &str =
    "SELECT j.trick_id, c.slug FROM tricks_trick_technologies j JOIN tricks_technology c ON c.id = j.technology_id
    WHERE j.trick_id BETWEEN ?1 AND ?2 ORDER BY j.trick_id, c.id";

#[derive(Serialize)]
struct Trick {
    #[serde(skip)]
    id: i64,
    title: Option<String>,
    url: String,
    categories: Vec<String>,
    technologies: Vec<String>,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [port, file] = &arguments[..] else {
        eprintln!("usage: by_hand PORT FILE (benches/peers/run runs it)");
        return;
    };
    let app = Router::new().route("/tricks", get(tricks)).with_state(Arc::from(file.as_str()));
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
    let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
    // axum leaves it off: on one connection a list then waits 40 ms for a delayed ACK.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a socket"));
    axum::serve(listener, app).await.expect("it serves");
}

async fn tricks(State(file): State<Arc<str>>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
    let (parts, body) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || read(&file, &host, &parts).expect("the database answers"));
    let body =
        stream::unfold(body, |mut body| async { body.recv().await.map(|part| (Ok::<_, Infallible>(part), body)) });
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], Body::from_stream(body))
        .into_response()
}

fn read(file: &str, host: &str, parts: &mpsc::Sender<Vec<u8>>) -> Result<()> {
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut rows = database.prepare(ROWS)?;
    let mut relations = [database.prepare(CATEGORIES)?, database.prepare(TECHNOLOGIES)?];
    let (mut after, mut part) = (0, br#"{"results":["#.to_vec());
    loop {
        let read = rows.query_map((after, RUN as i64), |row| {
            let slug: String = row.get(2)?;
            let url = format!("http://{host}/tricks/{}/", utf8_percent_encode(&slug, PART_OF_A_PATH));
            Ok(Trick { id: row.get(0)?, title: row.get(1)?, url, categories: vec![], technologies: vec![] })
        })?;
        let mut tricks = read.collect::<Result<Vec<_>>>()?;
        let Some(last) = tricks.last().map(|trick| trick.id) else { break };
        for (relation, statement) in relations.iter_mut().enumerate() {
            let places: HashMap<i64, usize> = tricks.iter().enumerate().map(|(at, trick)| (trick.id, at)).collect();
            let mut related = statement.query((tricks[0].id, last))?;
            while let Some(row) = related.next()? {
                if let Some(trick) = places.get(&row.get(0)?).map(|at| &mut tricks[*at]) {
                    let names = if relation == 0 { &mut trick.categories } else { &mut trick.technologies };
                    names.push(row.get(1)?);
                }
            }
        }
        for (at, trick) in tricks.iter().enumerate() {
            if after > 0 || at > 0 {
                part.push(b',');
            }
            serde_json::to_writer(&mut part, trick).expect("a trick is JSON");
        }
        if parts.blocking_send(std::mem::take(&mut part)).is_err() {
            // The client has left.
            return Ok(());
        }
        after = last;
        if tricks.len() < RUN {
            break;
        }
    }
    part.extend_from_slice(b"]}");
    let _ = parts.blocking_send(part);
    Ok(())
}
