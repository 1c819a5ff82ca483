//! What every store promises, as one suite that runs against any of them.

use std::{sync::Arc, time::Duration};

use super::{Lease, Store};
use crate::{
    chunk::{Chunk, ChunkKey, ListKey},
    cursor::Cursor,
    row::Value,
};

/// Runs the promises of [`Store`] against an empty store of at least 1 MiB.
///
/// # Panics
/// When a promise does not hold; the message says which.
pub async fn promises(store: Arc<dyn Store>) {
    let keep = Duration::from_secs(60);
    let chunk = |resource: u8, n: i64, body: &str| {
        let key =
            ChunkKey::new(&ListKey([resource; 48]), &Cursor::after(&[Value::Integer(n)]).expect("a short key"), 0);
        let next = (n % 2 == 0).then(|| Cursor::after(&[Value::Integer(n + 1)]).expect("a short key"));
        Arc::new(Chunk { key, loaded_at: 1, rows: 1, next, body: body.to_owned().into(), plain: None })
    };
    let get = async |key: &ChunkKey| store.get(key).await.expect("get works");
    let put = async |chunk: &Arc<Chunk>| {
        let generation = store.generation(&chunk.key.resource());
        store.put(Arc::clone(chunk), keep, generation).await.expect("put works");
    };

    let first = chunk(1, 2, "first");
    assert!(get(&first.key).await.is_none(), "what was never put is not there");
    put(&first).await;
    assert_eq!(get(&first.key).await.as_deref(), Some(&*first), "what was put comes back as it was");

    let second = chunk(1, 2, "second");
    put(&second).await;
    assert_eq!(get(&first.key).await.as_deref(), Some(&*second), "a later put replaces an earlier one");

    let (neighbour, stranger, empty) = (chunk(1, 3, "neighbour"), chunk(2, 2, "stranger"), chunk(2, 4, ""));
    for other in [&neighbour, &stranger, &empty] {
        assert!(get(&other.key).await.is_none(), "another key is another chunk");
        put(other).await;
        assert_eq!(get(&other.key).await.as_deref(), Some(&**other), "an empty body is a body");
    }

    let before = store.generation(&[1; 16]);
    store.forget(&[1; 16]).await.expect("forget works");
    assert!(get(&second.key).await.is_none() && get(&neighbour.key).await.is_none(), "a forgotten resource is gone");
    assert!(store.at_hand(&second.key).is_none(), "and not at hand either");
    assert_eq!(get(&stranger.key).await.as_deref(), Some(&*stranger), "the others are still there");
    let _ = store.put(Arc::clone(&second), keep, before).await;
    assert!(get(&second.key).await.is_none(), "what was read before the resource was forgotten is not kept after");
    put(&first).await;
    assert_eq!(get(&first.key).await.as_deref(), Some(&*first), "what is read after it is");

    let lease = store.lease(&first.key, keep).await.expect("lease works");
    let Lease::Ours { token, there } = lease else { panic!("nobody else holds the lease") };
    let there = there.expect("what is there is sound");
    assert!(store.is_here() || there.as_deref() == Some(&*first), "with it comes what is there");
    if !store.is_here() {
        assert!(matches!(store.lease(&first.key, keep).await, Ok(Lease::Theirs)), "one holds a lease");
        store.release(&first.key, token + 1).await.expect("release works");
        assert!(matches!(store.lease(&first.key, keep).await, Ok(Lease::Theirs)), "whoever holds it gives it back");
    }
    store.release(&first.key, token).await.expect("release works");
    assert!(matches!(store.lease(&first.key, keep).await, Ok(Lease::Ours { .. })), "and then it is free");

    store.forget(&[9; 16]).await.expect("forgetting nothing works");
}
