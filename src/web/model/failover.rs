//! A failover that loses the last entries of the journal, while the server that knows of them
//! cannot look: nothing that was read or told before it counts for what is told under their numbers
//! now.

use std::time::Duration;

use super::{
    clients::rows,
    faults::is_of_journal,
    fleet::{Server, World},
    in_time,
    plan::Plan,
};
use crate::change::{Change, Token};

/// The version of an item, as a server shows it; `None` if it answers 503.
async fn shown(server: &Server, id: i64, query: &str) -> Option<i64> {
    let (rows, _) = rows(server, &format!("/list?{query}"), "identity").await?;
    let row = rows.iter().find(|row| row["id"].as_i64() == Some(id)).expect("the item is there");
    row["version"].as_i64()
}

/// Changes an item and tells it to a server. Returns its version, and the token.
async fn change(world: &World, server: &Server, id: i64) -> (i64, Token) {
    let mut version = 0;
    world.commit(|tables| {
        let item = tables.items.get_mut(&id).expect("the item is there");
        item.version += 1;
        version = item.version;
    });
    let told = server.chunkflow.changed(&[Change::of("list", [id.to_string()])]).await;
    (version, told.expect("the store is here"))
}

#[test]
fn after_a_failover_neither_a_chunk_nor_a_token_of_what_was_lost_counts_for_what_is_told_under_its_number() {
    for seed in 0..20 {
        in_time(seed, async || {
            let world = World::new(Plan { servers: 2, chunk_rows: 2, ..Plan::quiet() });
            let servers = world.all();
            let [knows, late] = &servers[..] else { panic!("there are two servers") };
            let ids: Vec<i64> = world.commits.last().items.keys().copied().collect();
            let [first, .., last] = ids[..] else { panic!("there are several items") };
            shown(knows, first, "").await;
            shown(late, first, "").await;

            // One server hears of a change, and reads all rows after it.
            let copy = world.machine.names().clone();
            late.cut_off(true);
            let (lost, token) = change(&world, knows, first).await;
            shown(knows, first, "").await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            knows.cut_off(true);
            world.machine.names().go_back(&copy, is_of_journal);
            late.cut_off(false);

            // The other tells a change under the same number.
            let (version, other) = change(&world, late, last).await;
            assert_eq!(token.place(), other.place(), "seed {seed}");
            assert_eq!(shown(late, last, "").await, Some(version), "seed {seed}: a chunk of what was lost");
            let with_token = format!("at_least={token}");
            assert_eq!(shown(late, first, &with_token).await, None, "seed {seed}: a token of what was lost");

            knows.cut_off(false);
            tokio::time::sleep(Duration::from_secs(2)).await;
            for server in [knows, late] {
                assert_eq!(shown(server, first, &with_token).await, Some(lost), "seed {seed}: it counts as a loss");
                assert_eq!(shown(server, last, "").await, Some(version), "seed {seed}");
            }
        });
    }
}
