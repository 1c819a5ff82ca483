//! A handler as one writes it by hand in axum, over rusqlite or tokio-postgres: rows in runs after the last
//! key, related rows in one query a relation, serde, a bounded channel. It keeps nothing. `by_hand PORT
//! FILE|postgres://…`: serves the demo's list at /tricks.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

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
use tokio_postgres::{Client, NoTls, Statement, types::ToSql};

const RUN: i64 = 500;
/// Lists that PostgreSQL is asked for at once.
const CONNECTIONS: usize = 4;
const PART_OF_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const ROWS: &str = "SELECT id, title, slug FROM tricks_trick
    WHERE publishing_status IN ('published', 'published_outdated') AND id > $1 ORDER BY id LIMIT $2";
const CATEGORIES: &str =
    "SELECT j.trick_id, c.slug FROM tricks_trick_categories j JOIN tricks_category c ON c.id = j.category_id
    WHERE j.trick_id BETWEEN $1 AND $2 ORDER BY j.trick_id, c.id";
const TECHNOLOGIES: &str =
    "SELECT j.trick_id, c.slug FROM tricks_trick_technologies j JOIN tricks_technology c ON c.id = j.technology_id
    WHERE j.trick_id BETWEEN $1 AND $2 ORDER BY j.trick_id, c.id";

#[derive(Serialize)]
struct Trick {
    #[serde(skip)]
    id: i64,
    title: Option<String>,
    url: String,
    categories: Vec<String>,
    technologies: Vec<String>,
}

impl Trick {
    fn new(id: i64, title: Option<String>, slug: &str, host: &str) -> Trick {
        let url = format!("http://{host}/tricks/{}/", utf8_percent_encode(slug, PART_OF_A_PATH));
        Trick { id, title, url, categories: vec![], technologies: vec![] }
    }

    fn names(&mut self, relation: usize) -> &mut Vec<String> {
        if relation == 0 { &mut self.categories } else { &mut self.technologies }
    }
}

/// Where the rows are.
enum Database {
    File(String),
    /// Connections that lists take in turn.
    Postgres(Vec<Arc<Postgres>>, AtomicUsize),
}

struct Postgres {
    client: Client,
    rows: Statement,
    relations: [Statement; 2],
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [port, database] = &arguments[..] else {
        eprintln!("usage: by_hand PORT FILE|postgres://... (benches/peers/run runs it)");
        return;
    };

    let database = match database.starts_with("postgres:") {
        false => Database::File(database.clone()),
        true => {
            let connections = (0..CONNECTIONS).map(|_| connect(database));
            Database::Postgres(futures_util::future::join_all(connections).await, AtomicUsize::new(0))
        }
    };

    let app = Router::new().route("/tricks", get(tricks)).with_state(Arc::new(database));
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
    let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
    // axum leaves it off: on one connection a list then waits 40 ms for a delayed ACK.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a socket"));
    axum::serve(listener, app).await.expect("it serves");
}

async fn connect(url: &str) -> Arc<Postgres> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let prepare = async |sql| client.prepare(sql).await.expect("a statement");
    let (rows, relations) = (prepare(ROWS).await, [prepare(CATEGORIES).await, prepare(TECHNOLOGIES).await]);
    Arc::new(Postgres { client, rows, relations })
}

async fn tricks(State(database): State<Arc<Database>>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
    let (parts, body) = mpsc::channel(2);
    match &*database {
        Database::File(file) => {
            let file = file.clone();
            tokio::task::spawn_blocking(move || read(&file, &host, &parts).expect("the database answers"));
        }
        Database::Postgres(connections, turn) => {
            let postgres = Arc::clone(&connections[turn.fetch_add(1, Ordering::Relaxed) % connections.len()]);
            tokio::spawn(async move { ask(&postgres, &host, &parts).await.expect("the database answers") });
        }
    }

    let body =
        stream::unfold(body, |mut body| async { body.recv().await.map(|part| (Ok::<_, Infallible>(part), body)) });
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], Body::from_stream(body))
        .into_response()
}

/// The body, as it grows.
struct Text {
    part: Vec<u8>,
    rows: usize,
}

impl Text {
    fn new() -> Text {
        Text { part: br#"{"results":["#.to_vec(), rows: 0 }
    }

    /// Takes what there is, with these behind it.
    fn with(&mut self, tricks: &[Trick]) -> Vec<u8> {
        for trick in tricks {
            if self.rows > 0 {
                self.part.push(b',');
            }
            self.rows += 1;
            serde_json::to_writer(&mut self.part, trick).expect("a trick is JSON");
        }
        std::mem::take(&mut self.part)
    }
}

fn places(tricks: &[Trick]) -> HashMap<i64, usize> {
    tricks.iter().enumerate().map(|(at, trick)| (trick.id, at)).collect()
}

fn read(file: &str, host: &str, parts: &mpsc::Sender<Vec<u8>>) -> Result<()> {
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut rows = database.prepare(ROWS)?;
    let mut relations = [database.prepare(CATEGORIES)?, database.prepare(TECHNOLOGIES)?];
    let (mut after, mut text) = (0, Text::new());
    loop {
        let read = rows
            .query_map((after, RUN), |row| Ok(Trick::new(row.get(0)?, row.get(1)?, row.get_ref(2)?.as_str()?, host)))?;
        let mut tricks = read.collect::<Result<Vec<_>>>()?;
        let Some(last) = tricks.last().map(|trick| trick.id) else { break };
        let places = places(&tricks);
        for (relation, statement) in relations.iter_mut().enumerate() {
            let mut related = statement.query((tricks[0].id, last))?;
            while let Some(row) = related.next()? {
                if let Some(at) = places.get(&row.get(0)?) {
                    tricks[*at].names(relation).push(row.get(1)?);
                }
            }
        }
        if parts.blocking_send(text.with(&tricks)).is_err() {
            // The client has left.
            return Ok(());
        }
        after = last;
        if tricks.len() < RUN as usize {
            break;
        }
    }

    let _ = parts.blocking_send([text.with(&[]), b"]}".to_vec()].concat());
    Ok(())
}

async fn ask(postgres: &Postgres, host: &str, parts: &mpsc::Sender<Vec<u8>>) -> Result<(), tokio_postgres::Error> {
    let (mut after, mut text) = (0_i64, Text::new());
    loop {
        let rows = postgres.client.query(&postgres.rows, &[&after, &RUN]).await?;
        let mut tricks: Vec<Trick> =
            rows.iter().map(|row| Trick::new(row.get(0), row.get(1), row.get(2), host)).collect();
        let Some(last) = tricks.last().map(|trick| trick.id) else { break };
        let (places, bounds) = (places(&tricks), [tricks[0].id, last]);
        let bounds: [&(dyn ToSql + Sync); 2] = [&bounds[0], &bounds[1]];
        // Both at once.
        let [categories, technologies] = &postgres.relations;
        let related = futures_util::future::try_join(
            postgres.client.query(categories, &bounds),
            postgres.client.query(technologies, &bounds),
        );
        for (relation, rows) in <[_; 2]>::from(related.await?).iter().enumerate() {
            for row in rows {
                if let Some(at) = places.get(&row.get(0)) {
                    tricks[*at].names(relation).push(row.get(1));
                }
            }
        }
        if parts.send(text.with(&tricks)).await.is_err() {
            // The client has left.
            return Ok(());
        }
        after = last;
        if tricks.len() < RUN as usize {
            break;
        }
    }

    let _ = parts.send([text.with(&[]), b"]}".to_vec()].concat()).await;
    Ok(())
}
