//! The promise of told changes, checked against what was really written: writers change rows and
//! tell, while clients read lists in every way, chunks are evicted, and lists are purged.
//!
//! A list that begins after a change was told never shows the row as it was before; a row that
//! nobody touches meanwhile is in it exactly once, as it is, or not at all if it does not belong.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use chunkflow::{Change, Chunkflow, Token};
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;

use super::SMALL;
use crate::{
    machines::cli,
    servers::{Kind, Server},
    support::{File, Running, until},
};

const ROWS: i64 = 400;
const GROUPS: i64 = 5;
const AUTHORS: i64 = 40;

/// A row of `item`, as the database has it.
#[derive(Clone, Debug, PartialEq)]
struct Item {
    rank: i64,
    group: i64,
    author: i64,
    version: i64,
    tags: BTreeSet<i64>,
}

/// What is in the database, and what is being changed.
#[derive(Default)]
struct World {
    items: BTreeMap<i64, Item>,
    /// Versions of authors.
    authors: BTreeMap<i64, i64>,
    /// Rows that are being changed: written, but perhaps not told.
    changing: HashSet<(&'static str, i64)>,
    /// Every row whose change ever began, in order.
    begun: Vec<(&'static str, i64)>,
    /// The position of the last change that was told.
    token: Token,
}

/// The database as a client knew it when its request began.
struct Known {
    items: BTreeMap<i64, Item>,
    authors: BTreeMap<i64, i64>,
    changing: HashSet<(&'static str, i64)>,
    begun: usize,
    token: Token,
}

pub(super) struct Model {
    world: Mutex<World>,
    file: File,
    /// Whether only the database puts rows in order, and tests whether one is of a group.
    is_collated: bool,
    versions: AtomicU64,
    pub(super) lists: AtomicU64,
    pub(super) changes: AtomicU64,
    over: AtomicBool,
}

impl Model {
    pub(super) fn new(seed: u64) -> Model {
        Model::with(seed, false)
    }

    /// The same rows in the same order, as texts in upper and lower case.
    pub(super) fn collated(seed: u64) -> Model {
        Model::with(seed, true)
    }

    fn with(seed: u64, is_collated: bool) -> Model {
        let file = File::with(
            "CREATE TABLE author (id INTEGER PRIMARY KEY, version INTEGER NOT NULL);
             CREATE TABLE tag (id INTEGER PRIMARY KEY);
             CREATE TABLE item (id INTEGER PRIMARY KEY, rank INTEGER NOT NULL, grp INTEGER NOT NULL, author_id INTEGER NOT NULL,
                 version INTEGER NOT NULL,
                 name TEXT COLLATE NOCASE GENERATED ALWAYS AS (printf(CASE version % 2 WHEN 0 THEN 'Rank %03d' ELSE 'rANK %03d' END, rank)) STORED,
                 kin TEXT COLLATE NOCASE GENERATED ALWAYS AS (printf('kin %d', grp)) STORED);
             CREATE INDEX item_name ON item (name DESC, id);
             CREATE INDEX item_kin ON item (kin);
             CREATE INDEX item_rank ON item (rank DESC, id);
             CREATE INDEX item_grp ON item (grp);
             CREATE TABLE item_tag (item_id INTEGER NOT NULL REFERENCES item (id), tag_id INTEGER NOT NULL REFERENCES tag (id),
                 PRIMARY KEY (item_id, tag_id));
             PRAGMA journal_mode = WAL;",
        );
        let model = Model {
            world: Mutex::default(),
            file,
            is_collated,
            versions: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            over: AtomicBool::new(false),
        };

        let mut random = fastrand::Rng::with_seed(seed);
        let mut connection = model.file.open();
        let transaction = connection.transaction().unwrap();
        let mut world = model.world.lock().unwrap();
        for id in 0..AUTHORS {
            transaction.execute("INSERT INTO author VALUES (?1, 0)", [id]).unwrap();
            world.authors.insert(id, 0);
        }
        for id in 0..20 {
            transaction.execute("INSERT INTO tag VALUES (?1)", [id]).unwrap();
        }
        for id in 0..ROWS {
            let item = Item {
                rank: random.i64(0..100),
                group: random.i64(0..GROUPS),
                author: random.i64(0..AUTHORS),
                version: 0,
                tags: BTreeSet::new(),
            };
            let values = [id, item.rank, item.group, item.author, 0];
            transaction.execute("INSERT INTO item VALUES (?1, ?2, ?3, ?4, ?5)", values).unwrap();
            world.items.insert(id, item);
        }
        transaction.commit().unwrap();
        drop(world);
        model
    }

    pub(super) fn config(&self, store: &str) -> String {
        let order = if self.is_collated { "-name" } else { "-rank" };
        self.file.config(&format!(
            "table = \"item\"\norder = [\"{order}\"]\nfilters = [\"grp\", \"kin\", \"rank\", \"version\"]\n{SMALL}
             [resources.list.fields]
             id = \"id\"\nrank = \"rank\"\ngrp = \"grp\"\nversion = \"version\"
             author = {{ via = \"author_id\", table = \"author\", columns = [\"id\", \"version\"] }}
             tags = {{ through = \"item_tag\", column = \"id\" }}
             [store]\n{store}"
        ))
    }

    /// Changes rows and tells it, again and again, until the model is over.
    pub(super) async fn write(&self, tell: &Chunkflow, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let connection = self.file.open();
        while !self.over.load(Ordering::Relaxed) {
            let id = random.i64(0..ROWS);
            let author = random.i64(0..AUTHORS);
            let kind = random.u32(0..10);
            let entity = if kind == 9 { ("author", author) } else { ("item", id) };
            let Some(before) = self.begin(entity) else {
                tokio::task::yield_now().await;
                continue;
            };

            let version = self.versions.fetch_add(1, Ordering::Relaxed) as i64 + 1;
            let mut after = before.clone();
            let mut changes = vec![];
            let execute = |sql: &str, values: &[i64]| {
                connection.execute(sql, rusqlite::params_from_iter(values)).unwrap();
            };
            match (kind, &mut after) {
                (9, _) => {
                    execute("UPDATE author SET version = ?2 WHERE id = ?1", &[author, version]);
                    changes.push(Change::of("list", [author.to_string()]).in_table("author"));
                }
                (0, Some(_)) => {
                    execute("DELETE FROM item_tag WHERE item_id = ?1", &[id]);
                    execute("DELETE FROM item WHERE id = ?1", &[id]);
                    after = None;
                    changes.push(Change::of("list", [id.to_string()]));
                }
                (1..=2, Some(item)) => {
                    let tag = random.i64(0..20);
                    let change = Change::of("list", [id.to_string(), tag.to_string()]).in_table("item_tag");
                    if item.tags.remove(&tag) {
                        execute("DELETE FROM item_tag WHERE item_id = ?1 AND tag_id = ?2", &[id, tag]);
                        changes.push(change.was("item_id", Some(id.to_string())));
                    } else {
                        item.tags.insert(tag);
                        execute("INSERT INTO item_tag VALUES (?1, ?2)", &[id, tag]);
                        changes.push(change);
                    }
                }
                (3..=4, Some(item)) => {
                    (item.rank, item.version) = (random.i64(0..100), version);
                    execute("UPDATE item SET rank = ?2, version = ?3 WHERE id = ?1", &[id, item.rank, version]);
                    changes.push(Change::of("list", [id.to_string()]));
                }
                (5, Some(item)) => {
                    (item.group, item.version) = (random.i64(0..GROUPS), version);
                    execute("UPDATE item SET grp = ?2, version = ?3 WHERE id = ?1", &[id, item.group, version]);
                    changes.push(Change::of("list", [id.to_string()]));
                }
                (_, Some(item)) => {
                    item.version = version;
                    execute("UPDATE item SET version = ?2 WHERE id = ?1", &[id, version]);
                    changes.push(Change::of("list", [id.to_string()]));
                }
                (_, None) => {
                    let item = Item {
                        rank: random.i64(0..100),
                        group: random.i64(0..GROUPS),
                        author,
                        version,
                        tags: BTreeSet::new(),
                    };
                    let values = [id, item.rank, item.group, item.author, version];
                    execute("INSERT INTO item VALUES (?1, ?2, ?3, ?4, ?5)", &values);
                    after = Some(item);
                    changes.push(Change::of("list", [id.to_string()]));
                }
            }

            if random.bool() {
                tokio::task::yield_now().await;
            }
            let token = loop {
                match tell.changed(&changes).await {
                    Ok(token) => break token,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            self.end(entity, after, version, token);
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Begins a change of a row, unless another is under way. Returns the row of `item` as it is.
    fn begin(&self, entity: (&'static str, i64)) -> Option<Option<Item>> {
        let mut world = self.world.lock().unwrap();
        if !world.changing.insert(entity) {
            return None;
        }
        world.begun.push(entity);
        Some(world.items.get(&entity.1).cloned())
    }

    fn end(&self, entity: (&'static str, i64), after: Option<Item>, version: i64, token: Token) {
        let mut world = self.world.lock().unwrap();
        if token.epoch != world.token.epoch || token.number > world.token.number {
            world.token = token;
        }
        match (entity, after) {
            (("author", id), _) => drop(world.authors.insert(id, version)),
            ((_, id), Some(item)) => drop(world.items.insert(id, item)),
            ((_, id), None) => drop(world.items.remove(&id)),
        }
        world.changing.remove(&entity);
    }

    /// What is known when a request begins.
    fn known(&self) -> Known {
        let world = self.world.lock().unwrap();
        Known {
            items: world.items.clone(),
            authors: world.authors.clone(),
            changing: world.changing.clone(),
            begun: world.begun.len(),
            token: world.token,
        }
    }

    /// The rows that were being changed at some moment since then.
    fn touched_since(&self, known: &Known) -> HashSet<(&'static str, i64)> {
        let world = self.world.lock().unwrap();
        known.changing.iter().chain(&world.begun[known.begun..]).copied().collect()
    }

    /// Reads lists in every way, until the model is over.
    pub(super) async fn read(&self, of: &Chunkflow, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        while !self.over.load(Ordering::Relaxed) {
            let group = random.bool().then(|| random.i64(0..GROUPS));
            let format = random.choice(["", ".ndjson"]).unwrap();
            let coding = random.choice(["identity", "identity", "gzip"]).unwrap();
            let limit = random.bool().then(|| random.u64(1..60));
            let filter =
                |group| if self.is_collated { format!("kin=eq.KIN%20{group}") } else { format!("grp=eq.{group}") };
            let filter = group.map(filter);
            let known = self.known();
            // On another server than the one that was told it takes up to two seconds without.
            let token = (known.token != Token::default()).then(|| format!("at_least={}", known.token));
            let query = filter.into_iter().chain(limit.map(|limit| format!("limit={limit}"))).chain(token);
            let query = query.collect::<Vec<_>>().join("&");
            let mut shown: Vec<Value> = vec![];
            let mut target = format!("/list{format}?{query}");
            let mut is_whole = false;
            for _ in 0..if limit.is_some() { 3 } else { 1 } {
                let Ok((rows, next)) = read(of, &target, coding).await else { break };
                shown.extend(rows);
                is_whole = next.is_none();
                let Some(next) = next else { break };
                target = next;
            }

            let touched = self.touched_since(&known);
            let what = format!("{target} {coding}, seed {seed}");
            check(&known, &touched, group, &shown, is_whole, &what);
            self.lists.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn end_all(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A list's rows, and the path of its next page.
async fn read(of: &Chunkflow, target: &str, coding: &str) -> Result<(Vec<Value>, Option<String>), ()> {
    let request = Request::get(target).header("host", "localhost").header("accept-encoding", coding).body(()).unwrap();
    let response = of.respond(&request).await;
    if !response.status().is_success() {
        return Err(());
    }
    let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
    let next = link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
    let path = target.split('?').next().unwrap();
    let next = next.map(|next| format!("{path}?{}", next.split_once('?').unwrap().1));
    let body = response.into_body().collect().await.map_err(|_| ())?.to_bytes();
    let body = match coding {
        "gzip" => {
            let mut text = vec![];
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&body[..]), &mut text).unwrap();
            text
        }
        _ => body.to_vec(),
    };

    let text = String::from_utf8(body).unwrap();
    let rows = if path.ends_with("ndjson") {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    } else {
        let body: Value = serde_json::from_str(&text).unwrap();
        body["results"].as_array().unwrap().clone()
    };
    Ok((rows, next))
}

/// Checks a list, or its beginning, against what was known when it began.
fn check(
    known: &Known,
    touched: &HashSet<(&'static str, i64)>,
    group: Option<i64>,
    shown: &[Value],
    is_whole: bool,
    what: &str,
) {
    let mut seen = BTreeSet::new();
    let mut last = None;
    for row in shown {
        let number = |value: &Value| value.as_i64().unwrap();
        let id = number(&row["id"]);
        let author = number(&row["author"]["id"]);
        let author_version = number(&row["author"]["version"]);
        assert!(
            author_version >= known.authors[&author],
            "{what}: {row} shows an author as before version {}",
            known.authors[&author]
        );
        if !touched.contains(&("author", author)) {
            assert_eq!(author_version, known.authors[&author], "{what}: {row}");
        }

        if touched.contains(&("item", id)) {
            if let Some(item) = known.items.get(&id) {
                assert!(number(&row["version"]) >= item.version, "{what}: {row} is older than {item:?}");
            }
            continue;
        }

        let Some(item) = known.items.get(&id) else { panic!("{what}: {row} was deleted") };
        let tags = row["tags"].as_array().unwrap().iter().map(number).collect();
        let is = Item {
            rank: number(&row["rank"]),
            group: number(&row["grp"]),
            author,
            version: number(&row["version"]),
            tags,
        };
        assert_eq!(is, *item, "{what}: row {id}");
        assert!(group.is_none_or(|group| group == item.group), "{what}: {row} is not of the list");
        assert!(seen.insert(id), "{what}: {row} is doubled");
        let place = (-item.rank, id);
        assert!(last.is_none_or(|last| last < place), "{what}: {row} is not in its place");
        last = Some(place);
    }

    for (id, item) in &known.items {
        let belongs = group.is_none_or(|group| group == item.group);
        let is_behind = !is_whole && last.is_none_or(|last| (-item.rank, *id) > last);
        if belongs && !is_behind && !touched.contains(&("item", *id)) {
            assert!(seen.contains(id), "{what}: row {id} is missing: {item:?}");
        }
    }
}

/// What `tests/model` adds to each seed, so that each of its rounds is another.
fn round() -> u64 {
    let text = std::env::var("CHUNKFLOW_MODEL_SEED").unwrap_or_default();
    if text.is_empty() { 0 } else { text.parse().expect("CHUNKFLOW_MODEL_SEED is a number") }
}

/// Runs writers and readers over these servers, which share a database and a store.
pub(super) fn run(model: Arc<Model>, servers: &[Running], seconds: u64, seed: u64) {
    let seed = seed + round();
    let tasks = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    std::thread::scope(|scope| {
        for at in 0..3 {
            let model = Arc::clone(&model);
            let chunkflow = servers[at % servers.len()].chunkflow.clone();
            let tasks = tasks.handle();
            scope.spawn(move || tasks.block_on(model.write(&chunkflow, seed + at as u64)));
        }

        let readers = (0..4).map(|at| {
            let model = Arc::clone(&model);
            let chunkflow = servers[at % servers.len()].chunkflow.clone();
            tasks.spawn(async move { model.read(&chunkflow, seed + 100 + at as u64).await })
        });
        let readers: Vec<_> = readers.collect();

        std::thread::sleep(Duration::from_secs(seconds));
        // On a slow machine it goes on until it has seen something.
        let enough = || [&model.lists, &model.changes].iter().all(|count| count.load(Ordering::Relaxed) > 100);
        until("lists and changes", enough);
        model.end_all();
        for end in tasks.block_on(futures_util::future::join_all(readers)) {
            end.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
    });
}

/// Runs the model on one server with this store.
fn run_alone(model: Model, store: &str, seed: u64) -> Running {
    let model = Arc::new(model);
    let running = [Running::config(&model.config(store))];
    run(Arc::clone(&model), &running, 6, seed);
    let [running] = running;
    running
}

/// Three servers over one store, which is emptied again and again if `flushes`.
fn run_fleet(kind: Kind, seed: u64, near: &str, flush: Option<&[&str]>) {
    run_fleet_of(Model::new(seed), kind, seed, near, flush);
}

fn run_fleet_of(model: Model, kind: Kind, seed: u64, near: &str, flush: Option<&[&str]>) -> Vec<Running> {
    let server = Server::start(kind);
    let name = if kind == Kind::Redis { "redis" } else { "memcached" };
    let store = format!("url = \"{name}://127.0.0.1:{}\"\nnear = \"{near}\"", server.port);
    let model = Arc::new(model);
    let fleet: Vec<Running> = (0..3).map(|_| Running::config(&model.config(&store))).collect();
    std::thread::scope(|scope| {
        if let Some(flush) = flush {
            let (model, server) = (&model, &server);
            scope.spawn(move || {
                while !model.over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(300));
                    cli(server, flush);
                }
            });
        }
        run(Arc::clone(&model), &fleet, 6, seed);
    });
    fleet
}

#[test]
fn what_one_server_is_told_every_server_of_the_store_shows_at_once_to_a_request_with_the_token() {
    for (kind, seed) in [(Kind::Redis, 3), (Kind::Memcached, 4)] {
        run_fleet(kind, seed, "64MiB", None);
        run_fleet(kind, seed + 10, "0", None);
    }
}

#[test]
fn a_store_that_forgets_everything_in_between_makes_no_list_wrong() {
    run_fleet(Kind::Redis, 5, "64MiB", Some(&["FLUSHALL"]));
}

#[test]
fn no_list_that_begins_after_a_change_was_told_shows_the_row_as_it_was_nor_loses_or_doubles_another() {
    for (seed, store) in [(1, "url = \"memory:64MiB\""), (2, "url = \"memory:256KiB\"")] {
        run_alone(Model::new(seed), store, seed);
    }
}

#[test]
fn the_same_holds_where_only_the_database_orders_and_filters_rows() {
    for (seed, store) in [(3, "url = \"memory:64MiB\""), (4, "url = \"memory:256KiB\"")] {
        let running = run_alone(Model::collated(seed), store, seed);
        assert!(running.questions() > 100, "{} questions", running.questions());
    }
}

#[test]
fn it_holds_on_several_servers_too() {
    for (seed, near) in [(6, "64MiB"), (7, "0")] {
        let fleet = run_fleet_of(Model::collated(seed), Kind::Redis, seed, near, None);
        assert!(fleet.iter().map(Running::questions).sum::<u64>() > 100);
    }
}
