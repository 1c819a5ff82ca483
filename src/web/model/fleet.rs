//! The servers of a run, their database and their store.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{sync::Notify, time::Instant};

use super::{
    history::History,
    plan::{AUTHORS, GROUPS, ITEMS, Plan, RANKS, TAGS},
    wanted::Wanted,
};
use crate::{
    boundary::Sizes,
    error::{Error, Kind, Result},
    loader::{Clock, Loader},
    resource::{Resource, ResourceOptions},
    source::{
        BoxFuture, Database, OrderBy, Spec,
        pretended::{Commits, Item, Pretended, Tables},
    },
    store::{self, Memory, Store, pretended::Machine},
    unpoisoned::Unpoisoned,
    web::Chunkflow,
};

/// A server of the fleet.
#[derive(Clone)]
pub(super) struct Server {
    /// Its number; one that is started again has another.
    pub(super) id: usize,
    pub(super) chunkflow: Chunkflow,
    /// Whether it cannot reach the store.
    is_cut_off: Arc<AtomicBool>,
}

/// Everything that a run shares.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) commits: Arc<Commits>,
    pub(super) machine: Arc<Machine>,
    history: Arc<Mutex<History>>,
    fleet: Mutex<Vec<Server>>,
    clock: Clock,
    /// The lists that clients ask for: few, so that they meet.
    wanted: Vec<Wanted>,
    /// Wakes clients when a change was told.
    pub(super) told: Notify,
}

impl Server {
    /// Keeps it from the store, or does not any more.
    pub(super) fn cut_off(&self, is_cut_off: bool) {
        self.is_cut_off.store(is_cut_off, Ordering::Relaxed);
    }
}

impl World {
    pub(super) fn new(plan: Plan) -> World {
        let start = Instant::now();
        let clock: Clock = Arc::new(move || 1_700_000_000_000 + start.elapsed().as_millis() as u64);
        let world = World {
            plan,
            commits: Arc::default(),
            machine: Arc::default(),
            history: Arc::new(Mutex::new(History::new(plan.lag))),
            fleet: Mutex::default(),
            clock,
            wanted: (0..plan.lists).map(|_| Wanted::any(plan.is_collated)).collect(),
            told: Notify::new(),
        };
        world.history().note(&format!("{plan:?}"));
        world.commit(|tables| {
            for id in 0..AUTHORS {
                tables.authors.insert(id, 0);
            }
            for id in (0..ITEMS).filter(|_| fastrand::u32(0..4) > 0) {
                tables.items.insert(id, any_item(0));
                tables.tags.insert((id, fastrand::i64(0..TAGS)));
            }
        });
        let fleet = (0..plan.servers.max(1)).map(|_| world.start()).collect();
        *world.fleet.lock().unpoisoned() = fleet;
        world
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unpoisoned()
    }

    /// Changes the tables, in one transaction. Returns the number of the change.
    pub(super) fn commit(&self, change: impl FnOnce(&mut Tables)) -> usize {
        let before = self.commits.last();
        self.commits.commit(change);
        self.history().committed(&before, &self.commits.last())
    }

    /// One of the lists that clients ask for.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted[fastrand::usize(0..self.wanted.len())]
    }

    /// All servers.
    pub(super) fn all(&self) -> Vec<Server> {
        self.fleet.lock().unpoisoned().clone()
    }

    /// Any of the servers.
    pub(super) fn any(&self) -> Server {
        let fleet = self.fleet.lock().unpoisoned();
        fleet[fastrand::usize(0..fleet.len())].clone()
    }

    /// Ends a server, and starts another in its place.
    pub(super) fn restart(&self) {
        let at = fastrand::usize(0..self.fleet.lock().unpoisoned().len());
        let next = self.start();
        self.history().note(&format!("server {} begins", next.id));
        let last = std::mem::replace(&mut self.fleet.lock().unpoisoned()[at], next);
        self.history().end_life(last.id);
    }

    /// Keeps a server from the store for a while.
    pub(super) async fn cut_off(&self, time: Duration) {
        let server = self.any();
        self.history().note(&format!("server {} is cut off for {time:?}", server.id));
        server.cut_off(true);
        tokio::time::sleep(time).await;
        server.cut_off(false);
        self.history().trouble(server.id, Instant::now());
    }

    fn start(&self) -> Server {
        let id = self.history().begin_life();
        let is_cut_off = Arc::new(AtomicBool::new(false));
        let store = self.store(id, Arc::clone(&is_cut_off));
        let loader = Loader::new(store, Arc::clone(&self.clock), Arc::default()).without_threads();
        let chunkflow = Chunkflow::over(loader);
        let chunkflow = self.resources(id).into_iter().fold(chunkflow, Chunkflow::with);
        Server { id, chunkflow, is_cut_off }
    }

    fn store(&self, id: usize, is_cut_off: Arc<AtomicBool>) -> Store {
        if self.plan.servers == 0 {
            return Memory::new(self.plan.near).into();
        }

        let failures = self.plan.failures;
        let history = Arc::clone(&self.history);
        let pause = move || -> BoxFuture<'static, Result<()>> {
            let is_cut_off = is_cut_off.load(Ordering::Relaxed);
            let fails = is_cut_off || fastrand::u32(0..1000) < failures;
            if fails {
                history.lock().unpoisoned().trouble(id, Instant::now());
            }
            Box::pin(async move {
                any_moment(Duration::from_millis(if is_cut_off { 400 } else { 30 })).await;
                if fails { Err(Error::new(Kind::Unavailable, "the pretended store is away")) } else { Ok(()) }
            })
        };
        store::pretended::open(&self.machine, Arc::new(pause), self.plan.is_stepwise, self.plan.near)
    }

    /// The lists of a server.
    fn resources(&self, id: usize) -> Vec<Resource> {
        let failures = self.plan.failures;
        let history = Arc::clone(&self.history);
        let pause = move || -> BoxFuture<'static, Result<()>> {
            let fails = fastrand::u32(0..1000) < failures;
            let is_slow = failures > 0 && fastrand::u32(0..500) == 0;
            let slow = Duration::from_millis(if is_slow { fastrand::u64(500..2500) } else { 0 });
            if is_slow {
                history.lock().unpoisoned().trouble(id, Instant::now() + slow);
            }
            Box::pin(async move {
                if is_slow {
                    tokio::time::sleep(slow).await;
                }
                any_moment(Duration::from_millis(80)).await;
                if fails { Err(Error::new(Kind::Unavailable, "the pretended database is away")) } else { Ok(()) }
            })
        };
        let database = Pretended {
            commits: Arc::clone(&self.commits),
            pause: Arc::new(pause),
            lag: self.plan.lag,
            stops_early: self.plan.stops_early,
            asks_later: self.plan.asks_later,
        };
        let database: Arc<dyn Database> = Arc::new(database);
        let options = ResourceOptions::default().with(|options| {
            options.ttl = self.plan.ttl;
            options.stale = self.plan.stale;
            options.sizes = Sizes { rows: self.plan.chunk_rows, bytes: 1 };
        });
        let lists: &[(&str, &str)] =
            if self.plan.is_collated { &[("list", "rank"), ("names", "name")] } else { &[("list", "rank")] };
        let made = lists.iter().map(|(name, column)| {
            let spec = Spec::of("item").with(|spec| {
                spec.order = vec![OrderBy { column: (*column).into(), descending: true }];
                spec.filters = Some(["grp", "kin", "rank", "author.parity"].map(Into::into).into());
            });
            let made = Resource::of(name, &database, &spec, &options).now_or_never();
            made.expect("it needs no wait").expect("the specification is right")
        });
        made.collect()
    }
}

/// Any item with this version.
pub(super) fn any_item(version: i64) -> Item {
    Item { rank: fastrand::i64(0..RANKS), group: fastrand::i64(0..GROUPS), author: fastrand::i64(0..AUTHORS), version }
}

/// Lets other tasks run: not at all, some times, or for a time.
pub(super) async fn any_moment(most: Duration) {
    match fastrand::u32(0..10) {
        0..5 => {}
        5..7 => {
            for _ in 0..fastrand::u32(1..4) {
                tokio::task::yield_now().await;
            }
        }
        _ => tokio::time::sleep(Duration::from_millis(fastrand::u64(0..most.as_millis() as u64))).await,
    }
}
