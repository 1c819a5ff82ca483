//! Lists over closures that say which tables their rows come from: what a told change costs them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use chunkflow::{
    Change, Chunkflow, Memory, Resource, ResourceOptions, Sizes,
    source::{Closure, Condition, Query, RowBatch, Tables, Value},
    store::{Store, open_store},
};
use http::Request;
use http_body_util::BodyExt;

use crate::{
    servers::{Kind, Server},
    stores::options,
    support::until,
};

/// A row: whose it is, its title, and the author it points to.
type Row = (u32, String, i64);

/// What happens to the table.
type Step<'a> = &'a dyn Fn(&mut BTreeMap<i64, Row>);

/// A table with authors, as a framework's classes see them.
#[derive(Default)]
struct Shop {
    rows: RwLock<BTreeMap<i64, Row>>,
    authors: RwLock<BTreeMap<i64, String>>,
    /// How many rows were asked for, and how often.
    read: AtomicU64,
    asked: AtomicU64,
}

impl Shop {
    fn new(rows: i64, tenants: u32) -> Arc<Shop> {
        let shop = Shop::default();
        let row = |id: i64| (id, (id as u32 % tenants, format!("title {:05}", id * 7919 % rows), id % 10));
        *shop.rows.write().unwrap() = (0..rows).map(row).collect();
        *shop.authors.write().unwrap() = (0..10).map(|id| (id, format!("author {id}"))).collect();
        Arc::new(shop)
    }

    /// The rows of a tenant by title, in the way of a query of a framework.
    fn list(self: &Arc<Shop>, tenant: u32) -> Resource {
        let shop = Arc::clone(self);
        let fetch = move |query: Query| {
            let batch = shop.batch(tenant, &query);
            async move { batch }
        };
        let tables = Tables::of("shop", "item", ["id"]).pointing_to("author", ["id"]).shaped_by("price");
        let closure = Closure::of_objects(&["title", "id"], fetch).follows(&tables).unwrap();
        let closure = closure.version(format!("tenant {tenant}")).longest_run(100);
        let options = ResourceOptions::default().with(|options| {
            options.sizes = Sizes { rows: 20, bytes: 256 };
        });
        Resource::new("items", Arc::new(closure), options).unwrap()
    }

    fn batch(&self, tenant: u32, query: &Query) -> chunkflow::Result<RowBatch> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut after = query.after.values();
        let after = match (after.next(), after.next()) {
            (Some(Value::Text(title)), Some(Value::Integer(id))) => Some((title.to_vec(), id)),
            _ => None,
        };

        let rows = self.rows.read().unwrap();
        let is_wanted = |id: i64| {
            query.conditions.iter().all(|condition: &Condition| {
                condition.is_met(|one| one.column == "id" && one.values.contains(&id.to_string()))
            })
        };
        let mut own: Vec<(Vec<u8>, i64, i64)> = rows
            .iter()
            .filter(|(id, row)| row.0 == tenant && is_wanted(**id))
            .map(|(id, row)| (row.1.clone().into_bytes(), *id, row.2))
            .filter(|(title, id, _)| after.as_ref().is_none_or(|after| (title, id) > (&after.0, &after.1)))
            .collect();
        own.sort();

        let authors = self.authors.read().unwrap();
        let mut batch = RowBatch::new(2, 1);
        for (title, id, author) in own.into_iter().take(query.limit as usize) {
            let name = authors.get(&author);
            let object = serde_json::json!({ "id": id, "title": String::from_utf8_lossy(&title), "author": name });
            batch.push_members(&[Value::Text(&title), Value::Integer(id)], &object.to_string())?;
            batch.note_related(0, &[Value::Integer(author)])?;
        }
        self.read.fetch_add(batch.len() as u64, Ordering::SeqCst);
        Ok(batch)
    }

    /// The list as a query would give it.
    fn expected(&self, tenant: u32) -> Vec<(i64, String, Option<String>)> {
        let authors = self.authors.read().unwrap();
        let rows = self.rows.read().unwrap();
        let own = rows.iter().filter(|(_, row)| row.0 == tenant);
        let mut own: Vec<_> = own.map(|(id, row)| (row.1.clone(), *id, authors.get(&row.2).cloned())).collect();
        own.sort();
        own.into_iter().map(|(title, id, author)| (id, title, author)).collect()
    }

    /// How many rows were read and questions asked meanwhile.
    fn counted<T>(&self, run: impl FnOnce() -> T) -> (T, u64, u64) {
        let before = (self.read.load(Ordering::SeqCst), self.asked.load(Ordering::SeqCst));
        let result = run();
        (result, self.read.load(Ordering::SeqCst) - before.0, self.asked.load(Ordering::SeqCst) - before.1)
    }
}

/// A process that serves the shop.
struct Process {
    chunkflow: Chunkflow,
    shop: Arc<Shop>,
    runtime: tokio::runtime::Runtime,
}

impl Process {
    fn new(shop: &Arc<Shop>, open: impl FnOnce() -> Store) -> Process {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let inside = runtime.enter();
        // By its name changes of any table are told.
        let nothing = |_: Query| async { Ok::<_, chunkflow::Error>(RowBatch::new(1, 1)) };
        let anchor = Closure::of_objects(&["id"], nothing).follows(&Tables::of_database("shop")).unwrap();
        let anchor = Resource::new("shop", Arc::new(anchor), ResourceOptions::default()).unwrap();
        let chunkflow = Chunkflow::new(open()).with(anchor);
        drop(inside);
        Process { chunkflow, shop: Arc::clone(shop), runtime }
    }

    fn alone(shop: &Arc<Shop>) -> Process {
        Process::new(shop, || Arc::new(Memory::new(64 << 20)).into())
    }

    /// Beside others over the same store.
    fn over(shop: &Arc<Shop>, machine: &Server) -> Process {
        Process::new(shop, || open_store(&options(machine, "followed", 16 << 20)).unwrap())
    }

    /// Waits until its chunks are in the store.
    fn written(&self) {
        self.runtime.block_on(self.chunkflow.written());
    }

    /// What a client of a tenant gets; each request makes its own resource.
    fn get(&self, tenant: u32) -> Vec<(i64, String, Option<String>)> {
        let request = Request::get("/").header("host", "localhost").body(()).unwrap();
        let resource = Arc::new(self.shop.list(tenant));
        let body = self.runtime.block_on(async {
            let response = self.chunkflow.respond_to(&resource, &request).await;
            response.into_body().collect().await.unwrap().to_bytes()
        });
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let rows = read["results"].as_array().unwrap().iter();
        rows.map(|row| (row["id"].as_i64().unwrap(), text(&row["title"]).unwrap(), text(&row["author"]))).collect()
    }

    fn tell(&self, table: &str, id: i64) {
        let change = Change::of("shop", [id.to_string()]).in_table(table);
        self.runtime.block_on(self.chunkflow.changed(&[change])).unwrap();
    }

    fn is_right(&self, tenant: u32) {
        assert_eq!(self.get(tenant), self.shop.expected(tenant), "tenant {tenant}");
    }
}

#[test]
fn a_changed_row_costs_its_chunk_of_its_tenant_s_list_and_a_question_of_each_other() {
    let shop = Shop::new(6_000, 3);
    let process = Process::alone(&shop);
    (0..3).for_each(|tenant| process.is_right(tenant));
    for tenant in 0..3 {
        let (_, read, asked) = shop.counted(|| process.is_right(tenant));
        assert_eq!((read, asked), (0, 0), "a warm list asks for nothing");
    }

    // In place: the author that it points to.
    shop.rows.write().unwrap().get_mut(&3).unwrap().2 = 7;
    process.tell("item", 3);
    let (_, read, asked) = shop.counted(|| process.is_right(0));
    assert!((1..=210).contains(&read), "{read} rows of 2,000 were read in {asked} runs");
    for tenant in [1, 2] {
        let (_, read, asked) = shop.counted(|| process.is_right(tenant));
        assert_eq!((read, asked), (0, 1), "it is asked whether the row is theirs");
        let (_, _, asked) = shop.counted(|| process.is_right(tenant));
        assert_eq!(asked, 0, "and not again");
    }
}

#[test]
fn whatever_happens_to_a_row_lists_that_begin_after_the_tell_show_it() {
    let shop = Shop::new(600, 3);
    let process = Process::alone(&shop);
    let right = || (0..3).for_each(|tenant| process.is_right(tenant));
    right();

    let steps: [(&str, Step<'_>); 6] = [
        ("it is inserted", &|rows| drop(rows.insert(9_000, (1, "title 00100a".into(), 1)))),
        ("it moves", &|rows| rows.get_mut(&9_000).unwrap().1 = "title 00500a".into()),
        ("it moves to the end", &|rows| rows.get_mut(&9_000).unwrap().1 = "zzz".into()),
        ("it moves to the start", &|rows| rows.get_mut(&9_000).unwrap().1 = "a".into()),
        ("another tenant gets it", &|rows| rows.get_mut(&9_000).unwrap().0 = 2),
        ("it is deleted", &|rows| drop(rows.remove(&9_000))),
    ];
    for (what, step) in steps {
        step(&mut shop.rows.write().unwrap());
        process.tell("item", 9_000);
        println!("{what}");
        right();
    }
}

#[test]
fn a_related_row_costs_the_chunks_that_show_it_and_a_table_that_is_not_followed_all() {
    let shop = Shop::new(2_000, 1);
    // One author has one row.
    shop.authors.write().unwrap().insert(99, "rare".into());
    shop.rows.write().unwrap().get_mut(&1_000).unwrap().2 = 99;
    let process = Process::alone(&shop);
    process.is_right(0);

    shop.authors.write().unwrap().insert(99, "renamed".into());
    process.tell("author", 99);
    let (_, read, _) = shop.counted(|| process.is_right(0));
    assert!((1..=210).contains(&read), "{read} rows were read");

    process.tell("stranger", 1);
    let (_, read, asked) = shop.counted(|| process.is_right(0));
    assert_eq!((read, asked), (0, 0), "a table that it does not show is none of its business");

    process.tell("price", 1);
    let (_, read, _) = shop.counted(|| process.is_right(0));
    assert_eq!(read, 2_000);
}

#[test]
fn a_list_that_nobody_reads_while_its_row_changes_shows_it_all_the_same() {
    let shop = Shop::new(600, 2);
    let process = Process::alone(&shop);
    process.is_right(0);
    for id in (0..40).step_by(2) {
        shop.rows.write().unwrap().get_mut(&id).unwrap().1 = format!("title {id:05}b");
        process.tell("item", id);
    }
    process.is_right(0);
    process.is_right(1);
}

#[test]
fn a_key_that_cannot_be_told_is_refused() {
    let tables = Tables::of("shop", "item", ["id"]);
    let fetch = |_: Query| async {
        let mut batch = RowBatch::new(1, 1);
        batch.push_members(&[Value::Real(1.5)], "{\"id\":1.5}")?;
        Ok::<_, chunkflow::Error>(batch)
    };
    let closure = Closure::of_objects(&["id"], fetch).follows(&tables).unwrap();
    let resource = Arc::new(Resource::new("items", Arc::new(closure), ResourceOptions::default()).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let status = runtime.block_on(async {
        let chunkflow = Chunkflow::new(Arc::new(Memory::new(64 << 20)));
        chunkflow.respond_to(&resource, &Request::get("/").body(()).unwrap()).await.status()
    });
    assert_eq!(status, 500);

    let nothing = |_: Query| async { Ok::<_, chunkflow::Error>(RowBatch::new(1, 1)) };
    assert!(Closure::of_objects(&["title"], nothing).follows(&tables).is_err(), "the order must hold the key");
}

#[test]
fn processes_that_share_a_store_share_the_chunks_and_each_hears_what_another_told() {
    for kind in [Kind::Redis, Kind::Memcached] {
        let shop = Shop::new(600, 2);
        let machine = Server::start(kind);
        let opened = |_| Process::over(&shop, &machine);
        let processes: Vec<Process> = (0..2).map(opened).collect();
        processes[0].is_right(0);
        processes[0].written();
        let (_, read, _) = shop.counted(|| processes[1].is_right(0));
        assert_eq!(read, 0, "{kind:?}: what one has read the other finds");

        for (teller, id) in [(0, 10), (1, 20), (0, 30)] {
            shop.rows.write().unwrap().get_mut(&id).unwrap().1 = format!("title {id:05}c");
            processes[teller].tell("item", id);
            processes[teller].is_right(0);
            processes[teller].written();
            until("the other has heard of it", || processes[1 - teller].get(0) == shop.expected(0));
            let (_, read, asked) = shop.counted(|| processes[1 - teller].is_right(0));
            assert_eq!((read, asked), (0, 0), "{kind:?}");
        }
    }
}

#[test]
fn a_process_judges_a_list_that_it_has_never_seen_by_what_it_has_heard() {
    let shop = Shop::new(600, 2);
    let machine = Server::start(Kind::Redis);
    let [teller, other] = [(), ()].map(|()| Process::over(&shop, &machine));
    (0..2).for_each(|tenant| teller.is_right(tenant));
    teller.written();

    other.is_right(0);
    shop.rows.write().unwrap().get_mut(&10).unwrap().1 = "title 00010c".into();
    teller.tell("item", 10);
    until("the other has heard of it", || other.get(0) == shop.expected(0));
    let (_, read, asked) = shop.counted(|| other.is_right(1));
    assert!(read == 0 && asked <= 4, "{read} rows were read in {asked} runs");
}

#[test]
fn random_changes_are_in_every_list_that_begins_after_they_were_told() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let shop = Shop::new(400, 4);
        let process = Process::alone(&shop);
        for _ in 0..150 {
            let id = random.i64(0..500);
            let row = (
                random.u32(0..4),
                format!("title {:05}{}", random.u32(0..400), random.alphanumeric()),
                random.i64(0..12),
            );
            let table = match random.u8(0..10) {
                0..4 => {
                    shop.rows.write().unwrap().insert(id, row);
                    "item"
                }
                4..6 => {
                    shop.rows.write().unwrap().remove(&id);
                    "item"
                }
                6 => {
                    if let Some(known) = shop.rows.write().unwrap().get_mut(&id) {
                        known.2 = row.2;
                    }
                    "item"
                }
                7 => {
                    shop.authors.write().unwrap().insert(row.2, row.1);
                    process.tell("author", row.2);
                    continue;
                }
                8 => {
                    shop.authors.write().unwrap().remove(&row.2);
                    process.tell("author", row.2);
                    continue;
                }
                _ => {
                    process.is_right(random.u32(0..4));
                    continue;
                }
            };
            process.tell(table, id);
        }
        (0..4).for_each(|tenant| process.is_right(tenant));
    }
}

#[test]
fn a_process_that_begins_judges_stored_chunks_by_what_the_journal_still_has() {
    let shop = Shop::new(600, 2);
    let machine = Server::start(Kind::Redis);
    let teller = Process::over(&shop, &machine);
    (0..2).for_each(|tenant| teller.is_right(tenant));
    teller.written();
    for id in [10, 20] {
        shop.rows.write().unwrap().get_mut(&id).unwrap().1 = format!("title {id:05}c");
        teller.tell("item", id);
    }

    let later = Process::over(&shop, &machine);
    let (_, read, asked) = shop.counted(|| later.is_right(1));
    assert!(read == 0 && asked <= 2, "{read} rows were read in {asked} runs");
    let (_, read, _) = shop.counted(|| later.is_right(0));
    assert!((1..=220).contains(&read), "{read} of 300 rows were read");
}
