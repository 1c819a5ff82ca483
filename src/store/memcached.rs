//! Memcached, several nodes of it; the driver speaks the meta protocol.
//!
//! `memcached://HOST:PORT,HOST:PORT`. A chunk and its lease are on one node, by rendezvous hashing (Thaler and Ravishankar, 1998): a node that is down
//! takes its share with it and no more. What is without a share of its own, the generations, every node keeps.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use memcache::exp::{AsyncMetaClient, Error as Failure, Get, Meta, OpResult, Set, SetMode, Ttl};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    Store, StoreOptions,
    breaker::Breaker,
    share,
    shared::{Remote, Taken, number_in},
};
use crate::{
    error::{Error, Kind, Result},
    source::BoxFuture,
};

/// Memcached takes values of 1 MiB, and above half of that in pieces of its slabs.
const LARGEST: usize = 512 * 1024;
const CONNECT: Duration = Duration::from_millis(300);
const ANSWER: Duration = Duration::from_millis(400);
const CONNECTIONS: usize = 16;
/// A number that others change meanwhile is looked at so often.
const RAISES: usize = 8;

struct Memcached(Vec<Node>);

struct Node {
    address: String,
    /// `None` until its name is looked up, and again when it fails: it may have moved.
    client: Mutex<Option<Arc<AsyncMetaClient>>>,
    breaker: Breaker,
}

pub(super) fn open(options: &StoreOptions) -> Result<Arc<dyn Store>> {
    let hosts = options.url.strip_prefix("memcached://").unwrap_or_default();
    let node =
        |address: &str| Node { address: address.to_owned(), client: Mutex::default(), breaker: Breaker::default() };
    let nodes: Vec<Node> = hosts.trim_end_matches('/').split(',').map(node).collect();
    let whole = |node: &Node| {
        node.address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !nodes.iter().all(whole) {
        return Err(Error::new(Kind::Config, "the URL of the store cannot be read: each node is HOST:PORT")
            .remedy("write memcached://HOST:11211, or memcached://HOST:11211,HOST:11211 for several"));
    }
    Ok(share(Memcached(nodes), options))
}

impl Memcached {
    /// The node of a name: of what stands in its braces, so that a chunk and its lease fail together.
    fn node(&self, name: &str) -> &Node {
        let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(name, |(tag, _)| tag);
        let weight = |node: &&Node| xxh3_64_with_seed(tag.as_bytes(), xxh3_64_with_seed(node.address.as_bytes(), 0));
        self.0.iter().max_by_key(weight).expect("a URL has at least one node")
    }
}

impl Node {
    async fn client(&self) -> Result<Arc<AsyncMetaClient>, Failure> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let builder = AsyncMetaClient::builder()
            .connect_timeout(Some(CONNECT))
            .io_timeout(Some(ANSWER))
            .max_connections(Some(CONNECTIONS));
        // Looks the name up; connections come when they are asked for.
        let made = Arc::new(builder.connect_async(&*self.address).await?);
        Ok(Arc::clone(self.client.lock().unwrap_or_else(PoisonError::into_inner).insert(made)))
    }

    /// One exchange with the node.
    async fn ask<T>(&self, exchange: impl AsyncFnOnce(&AsyncMetaClient) -> Result<T, Failure>) -> Result<T> {
        let asked = async {
            let outcome = match self.client().await {
                Ok(client) => exchange(&client).await,
                Err(failure) => Err(failure),
            };
            outcome.map_err(|failure| {
                if matches!(failure, Failure::Io(_)) {
                    *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                failed(failure)
            })
        };
        self.breaker.call(asked).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.ask(async |client| Ok(client.get(name).send().await?.value.map(Bytes::from))).await
    }

    async fn set(&self, name: &str, bytes: &Bytes, keep: Duration) -> Result<()> {
        self.ask(async |client| client.set(name, bytes).ttl(time(keep)).send().await.map(drop)).await
    }

    /// Writes a number where a smaller one is, or none. Of two who write at once, the larger stays.
    async fn raise(&self, name: &str, number: u64) -> Result<()> {
        let bytes = number.to_string();
        for _ in 0..RAISES {
            let settled = self.ask(async |client| {
                let found = client.get(name).meta(Meta::default().cas()).send().await?;
                let set = client.set(name, &bytes).ttl(Ttl::NEVER);
                let written = match (found.value, found.item.cas) {
                    (Some(there), _) if number_in(&there) >= number => return Ok(true),
                    (Some(_), Some(version)) => set.compare_cas(version).send().await?,
                    _ => set.mode(SetMode::Add).send().await?,
                };
                Ok(written.applied())
            });
            if settled.await? {
                return Ok(());
            }
        }
        Err(Error::new(Kind::Busy, "a number in Memcached is changed by others all the time"))
    }
}

fn failed(failure: Failure) -> Error {
    // A node that has no room says so, and can be read.
    let kind = if matches!(failure, Failure::Server(_)) { Kind::Busy } else { Kind::Unavailable };
    Error::new(kind, "Memcached failed").caused_by(failure.to_string())
}

fn time(keep: Duration) -> Ttl {
    Ttl::from(keep.max(Duration::from_secs(1)))
}

impl Remote for Memcached {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.node(name).get(name))
    }

    fn set<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.node(name).set(name, &bytes, keep).await })
    }

    fn take<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration, other: &'a str) -> BoxFuture<'a, Result<Taken>> {
        Box::pin(async move {
            let exchange = async |client: &AsyncMetaClient| {
                let add = Set::new(name, &bytes).ttl(time(keep)).add();
                let answers = client.run_batch([add.into(), Get::new(other).into()]).await?;
                answers.into_iter().collect::<Result<Vec<OpResult>, Failure>>()
            };
            let mut answers = self.node(name).ask(exchange).await?.into_iter();
            let (Some(OpResult::Mutation(added)), Some(OpResult::Get(found))) = (answers.next(), answers.next()) else {
                return Err(Error::new(Kind::Unavailable, "Memcached answered something else"));
            };
            Ok(Taken { ours: added.applied(), there: found.value.map(Bytes::from) })
        })
    }

    fn give_back<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.node(name).ask(async move |client| {
            let found = client.get(name).meta(Meta::default().cas()).send().await?;
            if found.value.is_some_and(|value| value == bytes)
                && let Some(version) = found.item.cas
            {
                client.delete(name).compare_cas(version).send().await?;
            }
            Ok(())
        }))
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
}

/// What those nodes said that answered; an error where none did.
fn some<T>(answers: Vec<Result<T>>) -> Result<Vec<T>> {
    let mut failure = None;
    let said: Vec<T> =
        answers.into_iter().filter_map(|answer| answer.map_err(|error| failure = Some(error)).ok()).collect();
    match failure {
        Some(error) if said.is_empty() => Err(error),
        _ => Ok(said),
    }
}
