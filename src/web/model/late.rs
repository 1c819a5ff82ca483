//! A standby that shows changes late, while changes are lost: what was read meanwhile is read again.

use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::Instant;

use super::{
    clients::rows,
    faults::lose_entries,
    fleet::{Server, World},
    in_time,
    plan::Plan,
};
use crate::{
    change::{Change, Token},
    error::Kind,
};

const LAG: Duration = Duration::from_secs(1);

/// The version of the first item, as a server shows it.
async fn shown(server: &Server) -> i64 {
    let (rows, _) = rows(server, "/list", "identity").await.expect("the list is there");
    let first = rows.iter().min_by_key(|row| row["id"].as_i64()).expect("the list has rows");
    first["version"].as_i64().expect("a number")
}

/// Changes the first item. Returns what there is to tell, the number of the commit, and its version.
fn changed(world: &World) -> (Change, usize, i64) {
    let mut changed = (0, 0);
    let change = world.commit(|tables| {
        let (id, item) = tables.items.iter_mut().next().expect("there are items");
        item.version += 1;
        changed = (*id, item.version);
    });
    (Change::of("list", [changed.0.to_string()]), change + 1, changed.1)
}

/// Changes the first item and tells it to a server.
async fn change(world: &World, server: &Server) -> i64 {
    let (change, _, version) = changed(world);
    server.chunkflow.changed(&[change]).await.expect("the store is here");
    version
}

/// The same, with the commit.
async fn change_and_say_where(world: &World, server: &Server) -> (i64, Token) {
    let (change, commit, version) = changed(world);
    let told = server.chunkflow.changed(&[change.at(commit.to_string())]).await;
    (version, told.expect("the standby is in time"))
}

#[test]
fn a_server_that_has_lost_a_change_reads_a_standby_once_more() {
    for seed in 0..20 {
        in_time(seed, async || {
            let world = World::new(Plan { servers: 2, lag: LAG, ..Plan::quiet() });
            let servers = world.all();
            shown(&servers[1]).await;

            let version = change(&world, &servers[0]).await;
            lose_entries(&world.machine);
            tokio::time::sleep(Duration::from_millis(400)).await;
            shown(&servers[1]).await;

            tokio::time::sleep(LAG + Duration::from_secs(2)).await;
            assert_eq!(shown(&servers[1]).await, version);
        });
    }
}

#[test]
fn a_server_that_was_started_again_reads_a_standby_once_more() {
    for seed in 0..20 {
        in_time(seed, async || {
            let world = World::new(Plan { lag: LAG, ..Plan::quiet() });
            let version = change(&world, &world.any()).await;
            world.restart();
            shown(&world.any()).await;

            tokio::time::sleep(LAG + Duration::from_secs(2)).await;
            assert_eq!(shown(&world.any()).await, version);
        });
    }
}

#[test]
fn a_lone_server_that_was_started_again_answers_no_token_of_before_with_a_row_as_before() {
    for seed in 0..20 {
        in_time(seed, async || {
            let world = World::new(Plan { lag: LAG, ..Plan::quiet() });
            let first = world.any();
            let starts_again = async {
                tokio::time::sleep(LAG / 4).await;
                world.restart();
                // It may read what the standby does not show yet.
                shown(&world.any()).await;
            };
            let ((version, token), ()) = join(change_and_say_where(&world, &first), starts_again).await;

            let asked = rows(&world.any(), &format!("/list?at_least={token}"), "identity").await;
            let is_there = |(rows, _): (Vec<serde_json::Value>, _)| {
                rows.iter().any(|row| row["version"].as_i64() == Some(version))
            };
            assert!(asked.is_none_or(is_there));
        });
    }
}

#[test]
fn a_tell_with_its_commit_waits_for_the_standby_and_then_no_server_that_is_asked_with_its_token_shows_the_row_before() {
    for seed in 0..20 {
        in_time(seed, async || {
            let world = World::new(Plan { servers: 2, lag: LAG, ..Plan::quiet() });
            let servers = world.all();
            shown(&servers[0]).await;
            shown(&servers[1]).await;

            let began = Instant::now();
            let (version, token) = change_and_say_where(&world, &servers[0]).await;
            assert!(began.elapsed() >= LAG, "the standby may show it only now");
            assert_eq!(shown(&servers[0]).await, version);
            let target = format!("/list?at_least={token}");
            let (rows, _) = rows(&servers[1], &target, "identity").await.expect("the list is there");
            assert!(rows.iter().any(|row| row["version"].as_i64() == Some(version)));
        });
    }
}

#[test]
fn a_commit_that_never_shows_holds_back_no_other_and_is_waited_for_a_minute_at_most() {
    in_time(0, async || {
        let world = World::new(Plan { servers: 2, lag: LAG, ..Plan::quiet() });
        let servers = world.all();
        shown(&servers[0]).await;
        shown(&servers[1]).await;

        // More than are waited for one by one.
        let never = Change::of("list", ["1"]).at(u64::MAX.to_string());
        let tells = (0..300).map(|_| servers[0].chunkflow.changed(std::slice::from_ref(&never)));
        for told in join_all(tells).await {
            assert_eq!(told.expect_err("it does not show").kind(), Kind::Unavailable);
        }
        let wrong = servers[0].chunkflow.changed(&[]).await.expect("the store is here");
        let asked = async |server: &Server| rows(server, &format!("/list?at_least={wrong}"), "identity").await;
        assert!(asked(&servers[1]).await.is_none(), "it is waited for");

        let (change, commit, version) = changed(&world);
        let right = servers[0].chunkflow.changed(&[change.at(commit.to_string())]).await;
        right.expect("it shows in time");
        assert_eq!(shown(&servers[0]).await, version);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(shown(&servers[1]).await, version);

        tokio::time::sleep(Duration::from_secs(62)).await;
        asked(&servers[1]).await.expect("it is waited for no more");
        let (change, commit, version) = changed(&world);
        servers[0].chunkflow.changed(&[change.at(commit.to_string())]).await.expect("nothing is left");
        assert_eq!(shown(&servers[0]).await, version);
    });
}
