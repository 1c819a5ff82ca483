//! Stores: where chunks are kept.
//!
//! A store may forget anything at any time and knows nothing of rows. To add one, write a file like `memory.rs` and
//! give it its row in [`STORES`]. [`promises`] is the suite that every one of them must pass.

#[cfg(any(feature = "redis", feature = "memcached"))]
mod breaker;
#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod packed;
mod promises;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod shared;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod tiered;
#[cfg(feature = "server")]
mod trial;

#[cfg(feature = "server")]
use std::path::Path;
use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;

#[cfg(feature = "server")]
pub(crate) use self::trial::{meet, trial};
pub use self::{memory::Memory, promises::promises};
use crate::{
    chunk::{Chunk, ChunkKey},
    error::{Error, Kind as ErrorKind, Result},
    kind::{self, Kind},
    secret::Secret,
    source::BoxFuture,
};

/// Keeps chunks.
///
/// # Contract
/// - `get` returns a chunk that was `put` under exactly this key, or nothing. Bytes from outside the process pass
///   [`Chunk::open`] first, which refuses what was cut, altered or is another's.
/// - Whatever fails in a store is an error here and a miss to clients.
/// - Dropping a future leaves the store as it was before or after the call.
pub trait Store: Send + Sync + 'static {
    /// The chunk, if it is in this process's memory: no waiting, no lock that others hold for long.
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>>;

    /// The chunk, wherever this store keeps it.
    ///
    /// # Errors
    /// When the store fails, or what it holds is damaged ([`ErrorKind::Data`]).
    fn get<'a>(&'a self, key: &'a ChunkKey) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>>;

    /// Keeps a chunk for at most `keep`; it replaces what was under its key. `generation` is what
    /// [`generation`](Store::generation) said before the chunk's first row was read: of an older one than the
    /// current it is not kept.
    ///
    /// # Errors
    /// When the store fails; the chunk may then be there or not.
    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: u64) -> BoxFuture<'a, Result<()>>;

    /// Forgets every chunk of the resource with this digest, also those that are written later by whoever read
    /// their rows before.
    ///
    /// # Errors
    /// When the store fails; some chunks may then still be there.
    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>>;

    /// The generation of a resource, as far as is known here: it changes whenever the resource is forgotten.
    fn generation(&self, resource: &[u8; 16]) -> u64;

    /// Keeps a chunk where [`at_hand`](Store::at_hand) finds it, if there is such a place: no waiting.
    fn keep_at_hand(&self, _chunk: &Arc<Chunk>, _generation: u64) {}

    /// Calls `tell` with each resource that is forgotten from now on, by whichever server.
    fn on_purge(&self, _tell: OnPurge) {}

    /// How it fares. By default nothing is known.
    fn state(&self) -> StoreState {
        StoreState::default()
    }

    /// What it holds in this process's memory of each resource, by its digest. Looks at every chunk. By default nothing.
    fn held(&self) -> HashMap<[u8; 16], Held> {
        HashMap::new()
    }

    /// Whether all it keeps is in this process: then nothing is to be written elsewhere, and no load to be agreed on.
    fn is_here(&self) -> bool {
        false
    }

    /// Asks for the right to load a chunk, for so long at most, among all servers that share the store.
    ///
    /// # Errors
    /// When the store fails; whoever asked loads then without it.
    fn lease<'a>(&'a self, _key: &'a ChunkKey, _time: Duration) -> BoxFuture<'a, Result<Lease>> {
        Box::pin(std::future::ready(Ok(Lease::Ours { token: 0, there: Ok(None) })))
    }

    /// Gives the right back, if it is still held with this token.
    ///
    /// # Errors
    /// When the store fails; the right then ends by its time.
    fn release<'a>(&'a self, _key: &'a ChunkKey, _token: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// How a store fares at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreState {
    /// What is in this process's memory, where it keeps chunks there.
    pub near: Option<NearState>,
    /// How what other servers share fares, where there is such a part.
    pub far: Option<FarState>,
}

/// What a store holds in this process's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NearState {
    /// Bytes of its chunks.
    pub bytes: u64,
    /// How many there may be.
    pub max_bytes: u64,
    /// Its chunks.
    pub entries: u64,
    /// Chunks that made room for others, since the start.
    pub evictions: u64,
}

/// How the machines of a shared store fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FarState {
    /// How many there are, as the configuration names them; a cluster is one.
    pub machines: u64,
    /// How many of them failed lately, and are left alone for a while.
    pub all_rest: u64,
    /// How many refused writes lately, and are only read for a while.
    pub writes_rest: u64,
}

/// What is in memory of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Chunks, of every format, encoding and filter.
    pub chunks: u64,
    /// Their rows: a row counts in each format and encoding that it is held in.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest row of them was read, in milliseconds since 1970; 0 where there is none.
    pub oldest: u64,
}

impl Held {
    fn take_in(&mut self, chunk: &Chunk) {
        self.oldest = if self.chunks == 0 { chunk.loaded_at } else { self.oldest.min(chunk.loaded_at) };
        self.chunks += 1;
        self.rows += u64::from(chunk.rows);
        self.bytes += chunk.body.len() as u64;
    }
}

/// Who may load a chunk.
#[derive(Clone, Debug)]
pub enum Lease {
    /// Whoever asked.
    Ours {
        /// What gives it back.
        token: u64,
        /// What is under the key now, as [`get`](Store::get) says it: whoever had the lease before may just
        /// have written it.
        there: Result<Option<Arc<Chunk>>>,
    },
    /// Another server, which loads it already.
    Theirs,
}

/// What is called with a resource that was forgotten.
pub type OnPurge = Box<dyn Fn(&[u8; 16]) + Send + Sync>;

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Where it is. May hold a password.
    pub url: String,
    /// Bytes of memory in front of a shared store; 0: none.
    pub near: u64,
    /// What stands before every name in a shared store.
    pub prefix: String,
    /// The largest entry of a shared store, in bytes; `None`: what it takes.
    pub max_entry: Option<usize>,
    /// Whether chunks are packed by LZ4 in a shared store, where they are not compressed already.
    pub pack: bool,
    /// What certificates a store over TLS is asked with.
    pub tls: Option<StoreTls>,
    /// What chunks are authenticated with in a shared store: what servers wrote that do not know it is passed over.
    pub secret: Option<Secret>,
}

/// Certificates for a store over TLS, as PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreTls {
    /// The authorities that the store's certificate may come from; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate that this program shows, followed by those between it and the root.
    pub cert: Option<PathBuf>,
    /// The private key of that.
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
    /// The store at `url`, with 64 MiB in front of it where it is shared.
    pub fn new(url: impl Into<String>) -> StoreOptions {
        let prefix = "chunkflow:".to_owned();
        StoreOptions { url: url.into(), near: 64 << 20, prefix, max_entry: None, pack: false, tls: None, secret: None }
    }
}

type OpenStore = fn(&StoreOptions) -> Result<Arc<dyn Store>>;

/// The kinds of store of this build, by URL scheme.
pub const STORES: &[Kind<OpenStore>] = &[
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

/// A shared store with memory in front of it, as the options say.
#[cfg(any(feature = "redis", feature = "memcached"))]
fn share(remote: impl shared::Remote, options: &StoreOptions) -> Arc<dyn Store> {
    let remote: Box<dyn shared::Remote> =
        if options.pack { Box::new(packed::Packed(remote)) } else { Box::new(remote) };
    let far = shared::Shared::new(remote, options);
    match options.near {
        0 => far,
        bytes => Arc::new(tiered::Tiered::new(Memory::new(bytes), far)),
    }
}

/// Opens a store. One that is shared is connected to when it is first asked, and needs a tokio runtime.
///
/// # Errors
/// [`ErrorKind::Config`] when this build has no such kind or the URL is wrong.
pub fn open_store(options: &StoreOptions) -> Result<Arc<dyn Store>> {
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
