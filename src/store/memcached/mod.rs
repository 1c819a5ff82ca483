//! Memcached: one node or several, over its meta protocol.
//!
//! `memcached://HOST:PORT,HOST:PORT`. Rendezvous hashing (Thaler and Ravishankar, 1998) picks the
//! node of a chunk and its lease among the nodes that do not rest: the share of a node that is down
//! goes to the others until it is back. Generations are kept on every node, so that a purge is not
//! lost when two servers see different nodes as down.

mod node;
mod wire;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::{
    node::Node,
    wire::{Command, Reply},
};
use super::{
    FarState, Store, StoreOptions,
    remote::{Remote, Taken, number_in},
    share,
};
use crate::{
    error::{Error, Kind, Result},
    source::BoxFuture,
};

/// Memcached takes values of up to 1 MiB, and splits those above half of that over several of its
/// slabs.
const LARGEST: usize = 512 * 1024;
/// How many times a write of a number is tried while other servers change it.
const RAISES: usize = 8;

struct Memcached(Vec<Arc<Node>>);

/// Opens `memcached://…`. Connections are made when they are first needed.
pub(super) fn open(options: &StoreOptions) -> Result<Store> {
    let hosts = options.url.strip_prefix("memcached://").unwrap_or_default();
    let addresses: Vec<&str> = hosts.trim_end_matches('/').split(',').collect();
    let is_whole = |address: &&str| {
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !addresses.iter().all(is_whole) {
        return Err(Error::new(Kind::Config, "the URL of the store cannot be read: each node is HOST:PORT")
            .remedy("write memcached://HOST:11211, or memcached://HOST:11211,HOST:11211 for several"));
    }
    if options.tls.is_some() {
        return Err(Error::new(Kind::Config, "`tls` of the store is of no use with memcached://")
            .remedy("leave it out, and keep Memcached in a network of its own"));
    }
    Ok(share(Memcached(addresses.into_iter().map(Node::at).collect()), options))
}

impl Memcached {
    /// The node for a name. Only the part in braces counts, so that a chunk and its lease are on
    /// one node. Nodes that rest are skipped, unless all do.
    fn node(&self, name: &str) -> &Arc<Node> {
        let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(name, |(tag, _)| tag);
        let weight =
            |node: &&Arc<Node>| xxh3_64_with_seed(tag.as_bytes(), xxh3_64_with_seed(node.address.as_bytes(), 0));
        let awake = self.0.iter().filter(|node| !node.rests()).max_by_key(weight);
        awake.or_else(|| self.0.iter().max_by_key(weight)).expect("a URL has at least one node")
    }
}

impl Node {
    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.read(Command::get(name)).await?.value)
    }

    /// Writes a number, unless a number at least as large is there. Of two writes at once, the
    /// larger number stays.
    async fn raise(&self, name: &str, number: u64) -> Result<()> {
        let bytes = Bytes::from(number.to_string());
        for _ in 0..RAISES {
            let found = self.read(Command::get(name)).await?;
            let set = match (found.value, found.version) {
                (Some(there), _) if number_in(&there) >= number => return Ok(()),
                (Some(_), Some(version)) => Command::set(name, bytes.clone(), Duration::ZERO).where_still(version),
                _ => Command::set(name, bytes.clone(), Duration::ZERO).where_none(),
            };
            if self.insist(set).await?.is_done {
                return Ok(());
            }
        }
        Err(Error::new(Kind::Busy, "a number in Memcached is changed by others all the time"))
    }
}

impl Remote for Memcached {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.node(name).get(name))
    }

    fn set<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.node(name).write_chunk(Command::set(name, bytes, keep)).await })
    }

    fn take<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration, other: &'a str) -> BoxFuture<'a, Result<Taken>> {
        Box::pin(async move {
            let add = Command::set(name, bytes, keep).where_none();
            let [added, found]: [Reply; 2] = self.node(name).write_and_read(add, Command::get(other)).await?;
            Ok(Taken { ours: added.is_done, there: found.value })
        })
    }

    fn give_back<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = self.node(name);
            let found = node.read(Command::get(name)).await?;
            if found.value.is_some_and(|value| value == bytes)
                && let Some(version) = found.version
            {
                node.write(Command::delete(name, version)).await?;
            }
            Ok(())
        })
    }

    fn copies<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        Box::pin(async move { some(join_all(self.0.iter().map(|node| node.get(name))).await) })
    }

    fn raise_copies<'a>(&'a self, name: &'a str, number: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { some(join_all(self.0.iter().map(|node| node.raise(name, number))).await).map(drop) })
    }

    fn largest(&self) -> usize {
        LARGEST
    }

    fn state(&self) -> FarState {
        FarState::of(self.0.iter().map(|node| &node.health))
    }
}

/// The answers of the nodes that answered; an error if none did.
fn some<T>(answers: Vec<Result<T>>) -> Result<Vec<T>> {
    let mut failure = None;
    let said: Vec<T> =
        answers.into_iter().filter_map(|answer| answer.map_err(|error| failure = Some(error)).ok()).collect();
    match failure {
        Some(error) if said.is_empty() => Err(error),
        _ => Ok(said),
    }
}
