//! Memcached: one node or several, over its meta protocol.
//!
//! `memcached://HOST:PORT,HOST:PORT`. Rendezvous hashing (Thaler and Ravishankar, 1998) picks the
//! node of a chunk and its lease among the nodes that do not rest: the share of a node that is down
//! goes to the others until it is back. Generations are kept on every node, so that a purge is not
//! lost when two servers see different nodes as down. The journal stays on its own node, even while
//! that rests: two servers on different nodes would not hear each other.

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
    remote::{Remote, Step, Stepped, Taken, number_in},
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
    /// The node for a name. Nodes that rest are skipped, unless all do.
    fn node(&self, name: &str) -> &Arc<Node> {
        let awake = self.0.iter().filter(|node| !node.rests()).max_by_key(|node| weight(node, name));
        awake.unwrap_or_else(|| self.home(name))
    }

    /// The node where a name belongs, even if it rests.
    fn home(&self, name: &str) -> &Arc<Node> {
        self.0.iter().max_by_key(|node| weight(node, name)).expect("a URL has at least one node")
    }
}

/// How much a name belongs on a node. Only the part in braces counts, so that a chunk and its lease
/// are on one node.
fn weight(node: &Node, name: &str) -> u64 {
    let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(name, |(tag, _)| tag);
    xxh3_64_with_seed(tag.as_bytes(), xxh3_64_with_seed(node.address.as_bytes(), 0))
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

    /// A step of a journal. Memcached does one thing at a time: the head is moved only if it is
    /// still what it was before the entry was written.
    async fn step(&self, step: Step<'_>) -> Result<Stepped> {
        let found = self.read(Command::get(step.name)).await?;
        let there = found.value.unwrap_or_default();
        if there != step.from {
            return Ok(Stepped::Other { head: there, kept: false });
        }

        if let Some((name, bytes)) = &step.entry {
            let add = Command::set(name, bytes.clone(), step.keep).where_none();
            if !self.insist(add).await?.is_done {
                match self.get(name).await? {
                    // Written by a call whose answer was lost.
                    Some(ours) if ours == bytes => {}
                    Some(theirs) => return Ok(Stepped::Taken(theirs)),
                    None => return Ok(Stepped::Other { head: there, kept: false }),
                }
            }
        }

        let set = Command::set(step.name, step.to.clone(), Duration::ZERO);
        let set = match found.version {
            Some(version) => set.where_still(version),
            None => set.where_none(),
        };
        if self.insist(set).await?.is_done {
            return Ok(Stepped::Done);
        }

        // Another server may have moved the head to our entry, and on.
        let head = self.get(step.name).await?.unwrap_or_default();
        if head == step.to {
            return Ok(Stepped::Done);
        }
        let kept = match &step.entry {
            Some((name, bytes)) => self.get(name).await?.as_ref() == Some(bytes),
            None => false,
        };
        Ok(Stepped::Other { head, kept })
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

    fn copies<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Vec<Result<Vec<Option<Bytes>>>>> {
        Box::pin(async move {
            let commands: Vec<Command> = names.iter().map(|name| Command::get(name)).collect();
            match some(join_all(self.0.iter().map(|node| node.read_all(&commands))).await) {
                Ok(nodes) => {
                    let value = |replies: &Vec<Reply>, at: usize| replies.get(at).and_then(|reply| reply.value.clone());
                    let of = |at| nodes.iter().map(|replies| value(replies, at)).collect();
                    (0..names.len()).map(of).map(Ok).collect()
                }
                Err(error) => vec![Err(error); names.len()],
            }
        })
    }

    fn raise_copies<'a>(&'a self, name: &'a str, number: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { some(join_all(self.0.iter().map(|node| node.raise(name, number))).await).map(drop) })
    }

    fn read_together<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        Box::pin(async move {
            let Some(first) = names.first() else { return Ok(vec![]) };
            let commands: Vec<Command> = names.iter().map(|name| Command::get(name)).collect();
            let replies = self.home(first).read_all(&commands).await?;
            Ok(replies.into_iter().map(|reply| reply.value).collect())
        })
    }

    fn step<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<Stepped>> {
        Box::pin(self.home(step.name).step(step))
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
