//! Stores: where chunks are kept.
//!
//! A store may forget anything at any time and knows nothing of rows. It has three parts
//! ([`Chunks`], [`Near`], [`Agreement`]) and implements those that apply to it. To add a store,
//! write a file like `memory.rs` and add its row to `STORES`. Every store must pass the suite
//! [`promises`], also one outside of the crate (`examples/own_store.rs`).

#[cfg(any(feature = "redis", feature = "memcached"))]
mod breaker;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod generations;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod journal;
#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod packed;
mod parts;
#[cfg(test)]
#[cfg(feature = "memcached")]
pub(crate) mod pretended;
mod promises;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod remote;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod shared;
mod tiered;
#[cfg(feature = "server")]
mod trial;

#[cfg(feature = "server")]
use std::path::Path;
use std::{path::PathBuf, sync::Arc};

#[cfg(all(fuzzing, any(feature = "redis", feature = "memcached")))]
pub(crate) use self::journal::fuzz_journal;
#[cfg(feature = "server")]
pub(crate) use self::trial::{meet, trial};
pub use self::{
    memory::Memory,
    parts::{Agreement, Chunks, FarState, Generation, Held, Lease, Near, NearState, News, OnPurge},
    promises::promises,
};
pub use crate::chunk::{Chunk, ChunkKey, ListKey};
use crate::{
    error::{Error, Kind as ErrorKind, Result},
    kind::{self, Kind},
    secret::Secret,
};

/// A store by its parts: its chunks, those of them in this process's memory, and the agreement
/// between the servers that share it.
#[derive(Clone)]
pub struct Store {
    chunks: Arc<dyn Chunks>,
    near: Option<Arc<dyn Near>>,
    agreement: Option<Arc<dyn Agreement>>,
}

impl Store {
    /// A store in this process's memory only: loads need no agreement with other servers.
    pub fn here(store: Arc<impl Chunks + Near>) -> Store {
        Store { chunks: Arc::clone(&store) as _, near: Some(store), agreement: None }
    }

    /// A store that several servers share.
    pub fn shared(store: Arc<impl Chunks + Agreement>) -> Store {
        Store { chunks: Arc::clone(&store) as _, near: None, agreement: Some(store) }
    }

    /// This store with memory in front of it, which keeps the chunks that were asked for.
    pub fn behind(self, near: Memory) -> Store {
        let near = Arc::new(near);
        if let Some(agreement) = &self.agreement {
            let told = Arc::clone(&near);
            agreement.on_purge(Box::new(move |resource| told.forget_now(resource)));
        }
        let tiered = Arc::new(tiered::Tiered { near, far: self.chunks });
        Store { chunks: Arc::clone(&tiered) as _, near: Some(tiered), agreement: self.agreement }
    }

    /// Its chunks.
    pub fn chunks(&self) -> &dyn Chunks {
        &*self.chunks
    }

    /// The part of it in this process's memory, if it has one.
    pub fn near(&self) -> Option<&dyn Near> {
        self.near.as_deref()
    }

    /// The agreement between servers that share it; `None` if it is in this process only.
    pub fn agreement(&self) -> Option<&Arc<dyn Agreement>> {
        self.agreement.as_ref()
    }
}

impl From<Memory> for Store {
    fn from(memory: Memory) -> Store {
        Store::here(Arc::new(memory))
    }
}

impl From<Arc<Memory>> for Store {
    fn from(memory: Arc<Memory>) -> Store {
        Store::here(memory)
    }
}

/// How to open a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The URL of the store. It may hold a password.
    pub url: String,
    /// Bytes of memory in front of a shared store; 0: none.
    pub near: u64,
    /// The prefix of every name in a shared store.
    pub prefix: String,
    /// The largest entry of a shared store, in bytes; `None`: the most that the store takes.
    pub max_entry: Option<usize>,
    /// Whether chunks that are not compressed already are packed by LZ4 in a shared store.
    pub pack: bool,
    /// The certificates for a store over TLS.
    pub tls: Option<StoreTls>,
    /// Authenticates chunks in a shared store: chunks by servers without this secret are ignored.
    pub secret: Option<Secret>,
}

/// Certificates for a store over TLS, as PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreTls {
    /// The authorities that may sign the store's certificate; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate of this program, followed by those between it and the root.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
}

impl StoreTls {
    /// The files that it names.
    #[cfg(feature = "server")]
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.cert, &self.key].into_iter().filter_map(Option::as_deref)
    }
}

impl StoreOptions {
    /// The store at `url`. A shared store gets 64 MiB of memory in front of it.
    pub fn new(url: impl Into<String>) -> StoreOptions {
        let prefix = "chunkflow:".to_owned();
        StoreOptions { url: url.into(), near: 64 << 20, prefix, max_entry: None, pack: false, tls: None, secret: None }
    }

    /// The same, changed by `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut StoreOptions)) -> StoreOptions {
        change(&mut self);
        self
    }
}

type OpenStore = fn(&StoreOptions) -> Result<Store>;

/// The kinds of store of this build, by URL scheme.
pub(crate) const STORES: &[Kind<OpenStore>] = &[
    Kind { name: "memory", example: "memory:256MiB", open: memory::open },
    #[cfg(feature = "redis")]
    Kind { name: "redis", example: "redis://localhost:6379", open: redis::open },
    #[cfg(feature = "redis")]
    Kind { name: "rediss", example: "rediss://user:password@cache.example.com:6379", open: redis::open },
    #[cfg(feature = "redis")]
    Kind { name: "redis+unix", example: "redis+unix:///run/redis/redis.sock?db=0", open: redis::open },
    #[cfg(feature = "redis")]
    Kind { name: "redis+cluster", example: "redis+cluster://node1:6379,node2:6379", open: redis::open },
    #[cfg(feature = "redis")]
    Kind { name: "redis+sentinel", example: "redis+sentinel://host1:26379,host2:26379/mymaster", open: redis::open },
    #[cfg(feature = "redis")]
    Kind { name: "rediss+cluster", example: "rediss+cluster://node1:6379,node2:6379", open: redis::open },
    #[cfg(feature = "redis")]
    Kind { name: "rediss+sentinel", example: "rediss+sentinel://host1:26379,host2:26379/mymaster", open: redis::open },
    #[cfg(feature = "memcached")]
    Kind { name: "memcached", example: "memcached://host1:11211,host2:11211", open: memcached::open },
];

/// A shared store with memory in front of it, according to the options.
#[cfg(any(feature = "redis", feature = "memcached"))]
fn share(remote: impl remote::Remote, options: &StoreOptions) -> Store {
    let remote: Arc<dyn remote::Remote> =
        if options.pack { Arc::new(packed::Packed(remote)) } else { Arc::new(remote) };
    let far = Store::shared(shared::Shared::new(remote, options));
    match options.near {
        0 => far,
        bytes => far.behind(Memory::new(bytes)),
    }
}

/// Opens a store. A shared one is connected to when it is first asked, and needs a tokio runtime.
///
/// # Errors
/// [`ErrorKind::Config`] when this build has no such kind or the URL is wrong.
pub fn open_store(options: &StoreOptions) -> Result<Store> {
    let url = &*options.url;
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    match kind::find(STORES, scheme) {
        Some(kind) => (kind.open)(options),
        None => Err(Error::new(ErrorKind::Config, kind::unknown("store", url)).remedy(format!(
            "this build has {}; write for instance {}",
            kind::names(STORES),
            STORES[0].example
        ))),
    }
}
