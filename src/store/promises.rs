//! What every store promises, as one suite that any store can be run against.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Agreement, Chunks, Generation, Lease, Near, News, Store};
use crate::{
    change::Token,
    chunk::{Chunk, ChunkKey, ListKey},
    cursor::Cursor,
    row::Value,
};

/// For longer than the suite runs, so that no chunk and no lease expires in it.
const KEEP: Duration = Duration::from_secs(60);
/// The resource that is purged.
const LIST: [u8; 16] = [1; 16];

/// Tests an empty store of at least 1 MiB against the promises of [`Chunks`], [`Near`] and
/// [`Agreement`], for the parts that it has.
///
/// # Panics
/// When a promise does not hold; the message says which.
pub async fn promises(store: impl Into<Store>) {
    let store = store.into();
    keeps_chunks(store.chunks()).await;
    if let Some(near) = store.near() {
        keeps_near(store.chunks(), near).await;
    }
    if let Some(agreement) = store.agreement() {
        agrees(store.chunks(), &**agreement).await;
        keeps_a_journal(&**agreement).await;
    }
    store.chunks().forget(&[9; 16]).await.expect("forgetting nothing works");
}

fn chunk(resource: u8, n: i64, body: &str) -> Arc<Chunk> {
    let cursor = |n: i64| Cursor::after(&[Value::Integer(n)]).expect("a short key");
    let key = ChunkKey::new(&ListKey([resource; 48]), &cursor(n), 0);
    let next = (n % 2 == 0).then(|| cursor(n + 1));
    Arc::new(Chunk::new(key, 1, 1, next, body.to_owned().into()))
}

async fn current(chunks: &dyn Chunks, resource: &[u8; 16]) -> Generation {
    let generation = chunks.generation(resource, KEEP).await.expect("generation works");
    assert_eq!(chunks.known_generation(resource), Some(generation), "what the store said is known");
    generation
}

async fn get(chunks: &dyn Chunks, key: &ChunkKey) -> Option<Arc<Chunk>> {
    let generation = current(chunks, &key.resource()).await;
    chunks.get(key, generation).await.expect("get works")
}

async fn put(chunks: &dyn Chunks, chunk: &Arc<Chunk>) {
    let generation = current(chunks, &chunk.key.resource()).await;
    chunks.put(Arc::clone(chunk), KEEP, generation).await.expect("put works");
}

async fn keeps_chunks(chunks: &dyn Chunks) {
    let first = chunk(1, 2, "first");
    assert!(get(chunks, &first.key).await.is_none(), "what was never put is not there");
    put(chunks, &first).await;
    assert_eq!(get(chunks, &first.key).await.as_deref(), Some(&*first), "what was put comes back as it was");

    let second = chunk(1, 2, "second");
    put(chunks, &second).await;
    assert_eq!(get(chunks, &first.key).await.as_deref(), Some(&*second), "a later put replaces an earlier one");

    let neighbour = chunk(1, 3, "neighbour");
    let stranger = chunk(2, 2, "stranger");
    let empty = chunk(2, 4, "");
    for other in [&neighbour, &stranger, &empty] {
        assert!(get(chunks, &other.key).await.is_none(), "another key is another chunk");
        put(chunks, other).await;
        assert_eq!(get(chunks, &other.key).await.as_deref(), Some(&**other), "an empty body is a body");
    }

    let before = current(chunks, &LIST).await;
    chunks.forget(&LIST).await.expect("forget works");
    assert!(current(chunks, &LIST).await > before, "a purge is a later generation");
    for purged in [&second.key, &neighbour.key] {
        assert!(get(chunks, purged).await.is_none(), "a purged resource is gone");
    }

    assert_eq!(get(chunks, &stranger.key).await.as_deref(), Some(&*stranger), "the others are still there");

    let _ = chunks.put(Arc::clone(&second), KEEP, before).await;
    assert!(get(chunks, &second.key).await.is_none(), "what was asked for before a purge is not found after it");
    put(chunks, &first).await;
    assert_eq!(get(chunks, &first.key).await.as_deref(), Some(&*first), "what was asked for after it is");
}

async fn keeps_near(chunks: &dyn Chunks, near: &dyn Near) {
    let first = chunk(1, 6, "first");
    assert!(near.at_hand(&first.key).is_none(), "what was never kept is not at hand");
    let before = current(chunks, &LIST).await;
    near.keep_at_hand(&first, Some(before));
    assert_eq!(near.at_hand(&first.key).as_deref(), Some(&*first), "what was kept is at hand");
    assert!(near.held().get(&LIST).is_some_and(|held| held.chunks >= 1), "and counted");
    assert!(near.state().entries >= 1, "in both places");

    chunks.forget(&LIST).await.expect("forget works");
    assert!(near.at_hand(&first.key).is_none(), "a purged resource is not at hand either");
    near.keep_at_hand(&first, Some(before));
    near.keep_at_hand(&first, None);
    assert!(near.at_hand(&first.key).is_none(), "nor what was asked for before, or nobody knows when");
}

async fn agrees(chunks: &dyn Chunks, agreement: &dyn Agreement) {
    let first = chunk(1, 8, "first");
    put(chunks, &first).await;
    let before = current(chunks, &LIST).await;
    let lease = async |generation| agreement.lease(&first.key, generation, KEEP).await.expect("lease works");
    let release =
        async |generation, token| agreement.release(&first.key, generation, token).await.expect("release works");

    let Lease::Ours { token, there } = lease(before).await else { panic!("nobody else holds the lease") };
    let there = there.expect("what is there is sound");
    assert_eq!(there.as_deref(), Some(&*first), "with it comes what is there");
    assert!(matches!(lease(before).await, Lease::Theirs), "one holds a lease");
    release(before, token.wrapping_add(1)).await;
    assert!(matches!(lease(before).await, Lease::Theirs), "who holds it gives it back");
    release(before, token).await;
    let Lease::Ours { token, .. } = lease(before).await else { panic!("and then it is free") };

    let (tell, told) = std::sync::mpsc::channel();
    agreement.on_purge(Box::new(move |resource| {
        let _ = tell.send(*resource);
    }));
    chunks.forget(&LIST).await.expect("forget works");
    assert!(told.try_iter().any(|resource| resource == LIST), "a purge is told");

    let after = current(chunks, &LIST).await;
    let Lease::Ours { there, .. } = lease(after).await else { panic!("after a purge nobody waits for an older load") };
    assert!(matches!(there, Ok(None)), "and what was there is gone");
    release(before, token).await;
    assert!(matches!(lease(before).await, Lease::Ours { .. }), "a lease is given back where it was taken");
    assert!(matches!(lease(after).await, Lease::Theirs), "and no other with it");
}

async fn keeps_a_journal(agreement: &dyn Agreement) {
    let tell = async |entry: &[u8]| agreement.tell(Bytes::copy_from_slice(entry)).await.expect("tell works");
    let news = async |since| agreement.news(since).await.expect("news works");

    let nothing = news(None).await;
    assert_eq!(nothing.entries, Some(vec![]), "who asks for the head gets no entries");

    let first = tell(b"first").await;
    assert_eq!(news(None).await.head, first, "the head is what was told last");
    let longest = vec![7; 64 * 1024];
    let told = [&b"second"[..], b"", b"\0\r\n\xff", &longest];
    let mut last = first;
    let mut marks = vec![first.mark];
    for entry in told {
        let token = tell(entry).await;
        let next = Token { number: last.number + 1, ..first };
        assert_eq!(token.unmarked(), next.unmarked(), "each entry has the next number");
        marks.push(token.mark);
        last = token;
    }

    // A store that never goes back to an earlier state needs no marks.
    let has_marks = marks.iter().any(|mark| *mark != 0);
    let marks = if has_marks { marks } else { vec![] };
    let entries = Some(told.iter().map(|entry| Bytes::copy_from_slice(entry)).collect());
    let expected = News { head: last, entries, marks };
    assert_eq!(news(Some(first)).await, expected, "entries come back in order, each once");
    assert_eq!(news(Some(first)).await, expected, "to everybody who asks");
    assert_eq!(news(Some(first.unmarked())).await, expected, "also to one who does not know the mark");
    let nothing = News { head: last, entries: Some(vec![]), marks: if has_marks { vec![last.mark] } else { vec![] } };
    assert_eq!(news(Some(last)).await, nothing, "and then there is no news");

    let elsewhere = Token { epoch: !last.epoch, ..last };
    let beyond = Token { number: last.number + 1, ..last };
    let mut wrong = vec![elsewhere, beyond];
    if has_marks {
        wrong.extend([first, last].map(|token| Token { mark: !token.mark, ..token }));
    }
    for position in wrong {
        let lost = News { head: last, entries: None, marks: vec![] };
        assert_eq!(news(Some(position)).await, lost, "a position that is not there");
    }

    let recent = agreement.recent().await.expect("recent works");
    let entries = recent.entries.expect("the last entries are there");
    assert_eq!(recent.head, last, "the last entries go up to the head");
    assert!(told.len() <= entries.len() && entries.len() as u64 <= last.number, "those that were just told among them");
    assert_eq!(entries[entries.len() - told.len()..], told, "in their order");
    if has_marks {
        assert_eq!(recent.marks.len(), entries.len() + 1, "each has a mark, and so has the position before");
        assert_eq!(recent.marks[entries.len() - told.len()..], expected.marks);
    }

    let entries: Vec<Bytes> = (0..16u8).map(|n| Bytes::copy_from_slice(&[n])).collect();
    let tokens = join_all(entries.iter().map(|entry| tell(entry))).await;
    let found = news(Some(last)).await.entries.expect("nothing is lost");
    assert_eq!(found.len(), entries.len(), "of several that are told at once each is there once");
    for (entry, token) in entries.iter().zip(tokens) {
        assert_eq!(&found[(token.number - last.number) as usize - 1], entry, "at the position that was returned");
    }
}
