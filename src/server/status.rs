//! `/status.json`: the data of the operator's page. Each part is bounded.

use std::{
    sync::{Mutex, atomic::Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Response, StatusCode};
use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    changed::Tells,
    history::{History, Sample, halves_and_most},
};
use crate::{
    metrics::{Problem, Reloaded},
    source::PoolState,
    store::{FarState, Held, NearState},
    unpoisoned::Unpoisoned,
    web::{Body, Chunkflow, json, path_of},
};

/// How many lists are shown; the others are only counted.
const LISTS: usize = 5_000;
/// How many streams are shown: the oldest.
const STREAMS: usize = 200;

/// What the operator's listener keeps besides what it serves.
#[derive(Debug)]
pub(super) struct Operator {
    began: u64,
    history: Mutex<History>,
    /// Lists that are being warmed; they stop with the listener.
    pub(super) warms: Mutex<JoinSet<()>>,
    /// Bodies that tell of changes.
    pub(super) tells: Tells,
}

impl Default for Operator {
    fn default() -> Operator {
        Operator { began: now(), history: Mutex::default(), warms: Mutex::default(), tells: Tells::default() }
    }
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'a str,
    now: u64,
    began: u64,
    public_url: Option<&'a str>,
    streams: u64,
    history: Vec<Sample>,
    lists: Vec<List>,
    lists_left_out: usize,
    databases: Vec<Database<'a>>,
    store: Store,
    under_way: Vec<Stream>,
    problems: &'a [Problem],
    reload: Option<Reloaded>,
}

#[derive(Serialize)]
struct List {
    name: String,
    path: String,
    /// Whether its rows hold absolute links, so that its chunks depend on the host.
    links: bool,
    away: bool,
    requests: u64,
    loads: u64,
    chunks: u64,
    rows: u64,
    oldest: Option<u64>,
}

#[derive(Serialize)]
struct Database<'a> {
    name: &'a str,
    #[serde(flatten)]
    pool: PoolState,
    failure: Option<&'a Problem>,
}

#[derive(Serialize)]
struct Store {
    near: Option<NearState>,
    far: Option<FarState>,
    p50: Option<f64>,
    p99: Option<f64>,
    errors: u64,
    damaged: u64,
    unwritten: u64,
    other_clock: u64,
}

#[derive(Serialize)]
struct Stream {
    number: u64,
    list: String,
    client: Option<String>,
    seconds: f64,
    rows: u64,
    bytes: u64,
}

/// The time now, in milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Operator {
    /// Takes a sample for the charts.
    pub(super) fn sample(&self, chunkflow: &Chunkflow) {
        let mut history = self.history.lock().unpoisoned();
        history.sample(chunkflow.metrics());
    }

    /// The current status.
    pub(super) fn status(&self, chunkflow: &Chunkflow) -> Response<Body> {
        let metrics = chunkflow.metrics();
        let problems = metrics.problems();
        let resources = chunkflow.resources();
        let databases = chunkflow.databases().map(|(name, database)| Database {
            name,
            pool: database.pool(),
            failure: problems.iter().find(|problem| problem.database == name),
        });

        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            now: now(),
            began: self.began,
            public_url: chunkflow.public_url(),
            streams: metrics.streams(),
            history: self.history.lock().unpoisoned().samples(),
            lists: lists(chunkflow),
            lists_left_out: resources.len().saturating_sub(LISTS),
            databases: databases.collect(),
            store: store(chunkflow),
            under_way: under_way(chunkflow),
            problems: &problems,
            reload: metrics.last_reload(),
        };

        json(StatusCode::OK, &status)
    }
}

fn lists(chunkflow: &Chunkflow) -> Vec<List> {
    let held = chunkflow.store().near().map(|near| near.held()).unwrap_or_default();
    let resources = chunkflow.resources();
    let list = |resource: &std::sync::Arc<crate::Resource>| {
        let counts = &resource.counts().list;
        let of_orders = chunkflow.in_all_orders(resource);
        let mut digests: Vec<[u8; 16]> = of_orders.iter().map(|resource| resource.digest()).collect();
        digests.sort_unstable();
        digests.dedup();
        let held = digests.iter().filter_map(|digest| held.get(digest)).fold(Held::default(), |all, one| all.and(one));
        List {
            name: resource.name().to_owned(),
            path: path_of(resource.name()),
            links: resource.has_links(),
            away: resource.source().presence().is_away,
            requests: counts.requests(),
            loads: counts.loads.get(),
            chunks: held.chunks,
            rows: held.rows,
            oldest: (held.chunks > 0).then_some(held.oldest),
        }
    };

    resources.iter().take(LISTS).map(list).collect()
}

fn store(chunkflow: &Chunkflow) -> Store {
    let metrics = chunkflow.metrics();
    let store = chunkflow.store();
    let (p50, p99) = halves_and_most(metrics.store.gets());
    Store {
        near: store.near().map(|near| near.state()),
        far: store.agreement().map(|agreement| agreement.machines()),
        p50,
        p99,
        errors: metrics.store_errors(),
        damaged: metrics.damaged(),
        unwritten: metrics.unwritten(),
        other_clock: metrics.other_clock(),
    }
}

fn under_way(chunkflow: &Chunkflow) -> Vec<Stream> {
    let ways = chunkflow.metrics().under_way.oldest(STREAMS);
    let stream = |way: &std::sync::Arc<crate::metrics::Way>| Stream {
        number: way.number,
        list: way.list.name().to_owned(),
        client: way.client.map(|client| client.to_string()),
        seconds: way.began.elapsed().as_secs_f64(),
        rows: way.rows.load(Ordering::Relaxed),
        bytes: way.bytes.load(Ordering::Relaxed),
    };
    ways.iter().map(stream).collect()
}
