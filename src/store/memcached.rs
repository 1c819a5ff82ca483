//! Memcached, several nodes of it: each name belongs to one, by rendezvous hashing; the driver speaks the meta protocol.
//!
//! `memcached://HOST:PORT,HOST:PORT`. A node that is down takes its share of the chunks with it; servers that start meanwhile find none
//! of a list whose generation it held.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use memcache::exp::{AsyncMetaClient, Meta, Ttl};
use tokio::sync::OnceCell;

use super::{Store, StoreOptions, share, shared::Remote};
use crate::{
    error::{Error, Kind, Result},
    source::BoxFuture,
};

/// Memcached takes values of 1 MiB, and above half of that in pieces of its slabs.
const LARGEST: usize = 512 * 1024;
const CONNECT: Duration = Duration::from_millis(300);
const ANSWER: Duration = Duration::from_millis(400);
const CONNECTIONS: usize = 16;

struct Memcached {
    nodes: Vec<String>,
    client: OnceCell<AsyncMetaClient>,
}

pub(super) fn open(options: &StoreOptions) -> Result<Arc<dyn Store>> {
    let hosts = options.url.strip_prefix("memcached://").unwrap_or_default();
    let nodes: Vec<String> = hosts.trim_end_matches('/').split(',').map(str::to_owned).collect();
    let whole = |node: &String| {
        node.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !nodes.iter().all(whole) {
        return Err(Error::new(Kind::Config, "the URL of the store cannot be read: each node is HOST:PORT")
            .remedy("write memcached://HOST:11211, or memcached://HOST:11211,HOST:11211 for several"));
    }
    Ok(share(Memcached { nodes, client: OnceCell::new() }, options))
}

impl Memcached {
    async fn client(&self) -> Result<&AsyncMetaClient> {
        let connect = || async {
            AsyncMetaClient::builder()
                .connect_timeout(Some(CONNECT))
                .io_timeout(Some(ANSWER))
                .max_connections(Some(CONNECTIONS))
                .connect_multiple_async(self.nodes.iter().map(String::as_str))
                .await
        };
        // Names are looked up now, nodes are connected to when they are asked.
        self.client.get_or_try_init(connect).await.map_err(failed)
    }
}

fn failed(error: memcache::exp::Error) -> Error {
    // A node that is down refuses at once, and the others go on; one that hangs holds up whoever asks it.
    let refused =
        matches!(&error, memcache::exp::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused);
    let kind = if refused { Kind::Busy } else { Kind::Unavailable };
    Error::new(kind, "Memcached failed").caused_by(error.to_string())
}

fn time(keep: Option<Duration>) -> Ttl {
    keep.map_or(Ttl::NEVER, |keep| Ttl::from(keep.max(Duration::from_secs(1))))
}

impl Remote for Memcached {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            let found = self.client().await?.get(name).send().await.map_err(failed)?;
            Ok(found.value.map(Bytes::from))
        })
    }

    fn set<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Option<Duration>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.client().await?.set(name, &bytes).ttl(time(keep)).send().await.map_err(failed).map(drop)
        })
    }

    fn add<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Option<Duration>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let added = self.client().await?.set(name, &bytes).ttl(time(keep)).add().send().await.map_err(failed)?;
            Ok(added.applied())
        })
    }

    fn take_back<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let client = self.client().await?;
            let found = client.get(name).meta(Meta::default().cas()).send().await.map_err(failed)?;
            if found.value.is_some_and(|value| value == bytes)
                && let Some(version) = found.item.cas
            {
                client.delete(name).compare_cas(version).send().await.map_err(failed)?;
            }
            Ok(())
        })
    }

    fn largest(&self) -> usize {
        LARGEST
    }
}
