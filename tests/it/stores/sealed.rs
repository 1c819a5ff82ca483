//! Chunks in a store that others may write to: with a secret, only what a server wrote that knows
//! it is read.

use std::{collections::HashMap, sync::Arc};

use chunkflow::{ResourceOptions, Secret, store::StoreOptions};
use redis::Commands;

use super::{options, serve};
use crate::{
    servers::{Kind, Server},
    support::{Numbers, Running, ids},
};

const SECRET: &str = "a secret of this test alone, of no server";

fn sealed(prefix: &str, secret: &[&str]) -> StoreOptions {
    let secret = (!secret.is_empty()).then(|| Secret::new(secret).unwrap());
    options(Server::shared(Kind::Redis), prefix, 0).with(|store| store.secret = secret)
}

/// A server over the store, which has read the list once; and how many chunks it had to load.
fn walked(source: &Arc<Numbers>, options: StoreOptions) -> (Running, u64) {
    let server = serve(source, options, ResourceOptions::default());
    assert_eq!(ids(&server.get("/numbers")), (1..=2_000).collect::<Vec<_>>());
    server.block_on(server.chunkflow.written());
    let loads = server.chunkflow.metrics().loads();
    (server, loads)
}

#[test]
fn what_a_server_wrote_that_does_not_know_the_secret_is_passed_over_without_a_word() {
    let source = Numbers::new(2_000, 200);
    let (_, chunks) = walked(&source, sealed("sealed", &[]));
    assert_eq!(walked(&source, sealed("sealed", &[])).1, 0, "they are there");

    let (server, loads) = walked(&source, sealed("sealed", &[SECRET]));
    assert_eq!((loads, server.chunkflow.metrics().damaged()), (chunks, 0));
    assert_eq!(walked(&source, sealed("sealed", &[SECRET])).1, 0, "those of a server that knows it are read");

    // As one is replaced: the new one is made known to all servers before any of them writes with
    // it.
    let new = "another secret of thirty-two bytes or more";
    assert_eq!(walked(&source, sealed("sealed", &[SECRET, new])).1, 0);
    assert_eq!(walked(&source, sealed("sealed", &[new, SECRET])).1, 0);
    let (server, loads) = walked(&source, sealed("sealed", &[new]));
    assert_eq!((loads, server.chunkflow.metrics().damaged()), (chunks, 0));
}

#[test]
fn a_chunk_that_was_forged_with_a_right_checksum_is_refused_told_of_and_loaded_anew() {
    let source = Numbers::new(2_000, 200);
    let (_, chunks) = walked(&source, sealed("forged", &[SECRET]));

    let mut redis = redis::Client::open(super::url(Server::shared(Kind::Redis))).unwrap().get_connection().unwrap();
    let names: Vec<String> = redis.keys("forged:c3:*").unwrap();
    let entries: HashMap<String, Vec<u8>> =
        names.into_iter().map(|name| (name.clone(), redis.get(&name).unwrap())).collect();
    assert_eq!(entries.len() as u64, chunks);
    for (name, mut entry) in entries {
        // Another text in a row, and the sum of that.
        let at = entry.windows(2).position(|pair| pair == b"xx").unwrap();
        entry[at] = b'y';
        let sum = crc32fast::hash(&entry[8..]);
        entry[4..8].copy_from_slice(&sum.to_le_bytes());
        let () = redis.set(name, entry).unwrap();
    }

    let (server, loads) = walked(&source, sealed("forged", &[SECRET]));
    assert_eq!(loads, chunks);
    assert!(server.chunkflow.metrics().damaged() > 0);
    assert!(!String::from_utf8_lossy(&server.get("/numbers").body).contains('y'));
}

#[test]
fn entries_of_the_form_before_are_neither_read_nor_touched() {
    let source = Numbers::new(2_000, 200);
    let mut redis = redis::Client::open(super::url(Server::shared(Kind::Redis))).unwrap().get_connection().unwrap();
    let (first, _) = walked(&source, sealed("before", &[]));
    // Under the names that the form before had, what that would have written there.
    let names: Vec<String> = redis.keys("before:c3:*").unwrap();
    let old: Vec<String> = names.iter().map(|name| name.replacen(":c3:", ":c:", 1)).collect();
    for name in &old {
        let () = redis.set(name, b"ckf2 and what followed").unwrap();
    }

    let (server, loads) = walked(&source, sealed("before", &[]));
    assert_eq!((loads, server.chunkflow.metrics().damaged()), (0, 0));
    first.block_on(first.purge("numbers")).unwrap();
    walked(&source, sealed("before", &[]));
    for name in &old {
        let kept: Vec<u8> = redis.get(name).unwrap();
        assert_eq!(kept, b"ckf2 and what followed");
    }
}
