//! Schemas that change while their lists are asked for. From the first read after a change on,
//! every whole answer is what plain SQL gives now, or what was whole in the cache: never some of
//! each. A walk by pages that crosses the change is refused, or right.

mod steps;
mod world;

use fastrand::Rng;
use serde_json::Value;

use self::{
    steps::{CHANGES, Change},
    world::World,
};
use super::{
    fault,
    lists::{Expected, Member, Resource, lines, pages, path, resources, same_csv, same_row},
};
use crate::{
    client::Reply,
    servers::{Db, mariadb, postgres, sqlite},
    support::{Running, until},
};

/// Rows of the first page, which is asked for before a change: far fewer than a read's.
const PAGE: usize = 5;
const SEEDS: std::ops::Range<u64> = 0..2;

/// What an answer may be.
struct Right<'a> {
    now: Option<&'a [Expected]>,
    before: Option<&'a [Expected]>,
    /// Whether all of what was before was in the cache.
    was_whole: bool,
    of_rows: bool,
    /// Whether it must be an answer.
    unnoticed: bool,
}

impl Right<'_> {
    /// Which row is the first behind a page of so many of before: where the view shows others, that
    /// behind their last number.
    fn behind(&self, page: usize) -> usize {
        let number = |row: &Expected| match &row[..] {
            [(name, Member::Value(Some(id))), _] if name == "id" => id.parse::<i64>().ok(),
            _ => None,
        };
        let found = self
            .before
            .and_then(|before| number(&before[page - 1]))
            .zip(self.now)
            .and_then(|(last, now)| now.iter().position(|row| number(row).is_some_and(|id| id > last)));
        found.unwrap_or(page)
    }

    /// Whether an answer is what the list is now; what is wrong, where it is neither that, nor what
    /// it may be still, nor a refusal.
    fn holds(
        &self,
        reply: &Reply,
        part: std::ops::Range<usize>,
        same: impl Fn(&Reply, &[Expected]) -> Option<String>,
    ) -> Result<bool, String> {
        if reply.status != 200 || !reply.whole {
            let refused = !reply.whole || matches!(reply.status, 400 | 503);
            let body = String::from_utf8_lossy(&reply.body);
            return if refused && !self.unnoticed { Ok(false) } else { Err(format!("{}: {body}", reply.status)) };
        }

        let cut = |list: &[Expected]| part.start.min(list.len())..part.end.min(list.len());
        let wrong = match self.now.map(|now| same(reply, &now[cut(now)])) {
            Some(None) => return Ok(true),
            Some(Some(wrong)) => wrong,
            None => "it can not be any more".to_owned(),
        };

        if self.was_whole && self.before.is_some_and(|before| same(reply, &before[cut(before)]).is_none()) {
            return Ok(false);
        }

        if self.of_rows
            && let (Some(now), Some(before)) = (self.now, self.before)
        {
            let pairs = now[cut(now)].iter().zip(&before[cut(before)]);
            let rows = rows(reply);
            if rows.len() == pairs.len()
                && rows.iter().zip(pairs).all(|(row, (now, before))| same_row(row, now) || same_row(row, before))
            {
                return Ok(false);
            }
        }

        Err(wrong)
    }
}

/// The rows of JSON or NDJSON; none of CSV.
fn rows(reply: &Reply) -> Vec<Value> {
    match reply.header("content-type") {
        kind if kind.starts_with("application/json") => reply.results(),
        kind if kind.starts_with("application/x-ndjson") => lines(reply),
        _ => vec![],
    }
}

fn same_rows(reply: &Reply, expected: &[Expected]) -> Option<String> {
    let rows = rows(reply);
    if rows.len() != expected.len() {
        return Some(format!("{} rows, and SQL says {}", rows.len(), expected.len()));
    }
    let wrong = rows.iter().zip(expected).position(|(row, expected)| !same_row(row, expected))?;
    Some(format!("row {wrong} is {}", rows[wrong]))
}

fn same_records(reply: &Reply, expected: &[Expected]) -> Option<String> {
    fault(|| same_csv(reply, expected, "csv"))
}

// ------------------------------------------------------------------------------------------------------------------- test

/// A server, and how much of a list it has before each change.
struct Asked {
    name: &'static str,
    server: Running,
    has_all: bool,
    /// The next page of each list, as the first one says.
    next: Vec<Option<String>>,
}

impl Asked {
    /// Has it forget all lists, and asks for as much of each as it is to have.
    fn prepare(&mut self, resources: &[Resource], lists: &[Option<Vec<Expected>>]) {
        self.next.clear();
        for (resource, list) in resources.iter().zip(lists) {
            let path = path(&resource.name);
            self.server.block_on(self.server.purge(&resource.name)).unwrap();
            let Some(list) = list else {
                self.next.push(None);
                continue;
            };
            let page = self.server.get(&format!("{path}?limit={PAGE}"));
            let wrong = same_rows(&page, &list[..PAGE]);
            assert!(wrong.is_none(), "{} {path}: {wrong:?}", self.name);
            self.next.push(page.next(&path));
            if self.has_all {
                assert!(same_rows(&self.server.get(&path), list).is_none(), "{} {path}", self.name);
            }
        }
    }

    /// Asks for all lists right behind a change, and then until they are what they are now; what
    /// was wrong.
    fn follow(&mut self, resources: &[Resource], rights: &[Right<'_>], told: &str) -> Vec<String> {
        let mut faults = vec![];
        for (at, (resource, right)) in resources.iter().zip(rights).enumerate() {
            let right = Right { was_whole: self.has_all, ..*right };
            faults.extend(self.ask(at, resource, &right).into_iter().map(|fault| format!("{told}: {fault}")));
        }
        for (resource, now) in resources.iter().zip(rights).filter_map(|(list, right)| Some((list, right.now?))) {
            self.settle(resource, now, told);
        }
        faults
    }

    /// Asks for a list in every format, and for the page behind the one of before.
    fn ask(&self, at: usize, resource: &Resource, right: &Right<'_>) -> Vec<String> {
        let path = path(&resource.name);
        let all = 0..usize::MAX;
        let mut faults = vec![];
        let mut note = |what: &str, held: Result<bool, String>| {
            faults.extend(held.err().map(|wrong| format!("{}, {path} {what}: {wrong}", self.name)));
        };

        note("first", right.holds(&self.server.get(&path), all.clone(), same_rows));
        if let Some(next) = &self.next[at] {
            let longer = next.replace(&format!("limit={PAGE}"), "limit=400");
            let from = right.behind(PAGE);
            note("next page", right.holds(&self.server.get(&longer), from..from + 400, same_rows));
        }

        // Only JSON was whole in the cache.
        let fresh = Right { was_whole: false, ..*right };
        note("ndjson", fresh.holds(&self.server.get(&format!("{path}.ndjson")), all.clone(), same_rows));
        if !right.of_rows {
            note("csv", fresh.holds(&self.server.get(&format!("{path}.csv")), all.clone(), same_records));
        }

        note("again", right.holds(&self.server.get(&path), all, same_rows));
        faults
    }

    /// Waits until a list is what it is now.
    fn settle(&self, resource: &Resource, now: &[Expected], told: &str) {
        let path = path(&resource.name);
        self.server.block_on(self.server.purge(&resource.name)).unwrap();
        until(&format!("{told}: {} {path} is right", self.name), || {
            let reply = self.server.get(&path);
            let right = Right { now: Some(now), before: None, was_whole: false, of_rows: false, unnoticed: false };
            right.holds(&reply, 0..usize::MAX, same_rows).unwrap_or_else(|wrong| panic!("{told} {path}: {wrong}"))
        });
        let rows = pages(self.server.address, &path, 250, told);
        assert!(rows.len() == now.len() && rows.iter().zip(now).all(|(row, now)| same_row(row, now)), "{told}");
    }
}

fn hold(db: impl Fn() -> Db) {
    for seed in SEEDS {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(db(), &mut rng);
        let lists = world.lists();
        let all = resources(&lists);
        let config = format!("[databases]\nmain = \"{}\"\n{lists}", world.db.url());
        let asked = |name, has_all, store: &str| Asked {
            name,
            server: Running::config(&format!("{config}{store}")),
            has_all,
            next: vec![],
        };
        let mut servers = [
            asked("warm", true, ""),
            asked("begun", false, ""),
            asked("without a cache", false, "[store]\nurl = \"memory:1KiB\"\n"),
        ];

        let mut groups: Vec<&[Change]> = CHANGES.to_vec();
        rng.shuffle(&mut groups);
        let mut faults = vec![];
        for change in groups.into_iter().flatten() {
            let told = format!("{}, seed {seed}: {}", world.db.name(), change.what);
            let Some((sql, tables, view)) = (change.make)(&world, &mut rng) else { continue };
            let before = world.expected(&all);
            servers.iter_mut().for_each(|one| one.prepare(&all, &before));
            if world.db.name() == "mariadb" {
                // What has no form as a text stays what it is.
                if world.db.try_execute(&sql).is_err() {
                    continue;
                }
            } else {
                world.db.execute(&sql);
            }
            world = World { tables, view, ..world };

            let now = world.expected(&all);
            let rights: Vec<Right<'_>> = all
                .iter()
                .zip(before.iter().zip(&now))
                .map(|(resource, (before, now))| Right {
                    now: now.as_deref(),
                    before: before.as_deref(),
                    was_whole: true,
                    of_rows: change.of_rows,
                    unnoticed: change.unnoticed && before.is_some() && !world.is_by_rowid(resource),
                })
                .collect();
            let told = format!("{told} ({sql:.200})");
            // Each server by itself: most of the time goes by in waiting.
            std::thread::scope(|scope| {
                let follow = |one| {
                    let all = &all;
                    let rights = &rights;
                    let told = &told;
                    scope.spawn(move || Asked::follow(one, all, rights, told))
                };
                let threads: Vec<_> = servers.iter_mut().map(follow).collect();
                threads.into_iter().for_each(|thread| faults.extend(thread.join().unwrap()));
            });
        }
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    }
}

#[test]
fn a_list_of_postgresql_is_right_before_and_after_any_change_of_its_schema() {
    hold(postgres);
}

#[test]
fn a_list_of_mariadb_is_right_before_and_after_any_change_of_its_schema() {
    hold(mariadb);
}

#[test]
fn a_list_of_sqlite_is_right_before_and_after_any_change_of_its_schema() {
    hold(sqlite);
}
