//! The parts of a store: chunks, what of them is in this process's memory, and agreement between
//! the servers that share them. A store implements those that apply to it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    chunk::{Chunk, ChunkKey},
    error::Result,
    source::BoxFuture,
};

/// A generation of a resource's chunks. A purge begins the next, whose number is larger.
///
/// The loader decides once, when a place in a list is asked for, in which generation: it looks the
/// chunk up in that one, takes the lease of its load and gives it back there, and writes there what
/// it has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Keeps chunks, in this process or outside of it.
///
/// # Contract
/// - [`get`](Chunks::get) gives a chunk that was [`put`](Chunks::put) under exactly this key, in
///   this generation or a later one; or nothing. A store may lose any chunk at any time.
/// - Bytes from outside the process pass [`Chunk::open`] first, which refuses what was cut, altered
///   or is another's.
/// - The generation of a resource never goes back, and [`forget`](Chunks::forget) makes it larger.
/// - What fails is an error here and a miss to clients.
/// - A generation is not lost while a chunk of an older one may be there: else that would be found
///   again.
///
/// Every future may be dropped before it is done: the store is then as it was before the call, or
/// as after it.
pub trait Chunks: Send + Sync + 'static {
    /// The chunk.
    ///
    /// Cancel safe: it changes nothing that the caller could see.
    ///
    /// # Errors
    /// When the store fails, or what it holds is damaged ([`Kind::Data`](crate::Kind::Data)).
    fn get<'a>(&'a self, key: &'a ChunkKey, generation: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>>;

    /// Keeps a chunk for at most `keep`; it replaces what was under its key. Its rows were read
    /// after its place was asked for in this generation. Where that is not the current one, nobody
    /// who asks in the current one finds it.
    ///
    /// Cancel safe: if dropped, the chunk is there or not.
    ///
    /// # Errors
    /// When the store fails; the chunk may then be there or not.
    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: Generation) -> BoxFuture<'a, Result<()>>;

    /// Begins the next generation of the resource with this digest, so that none of its chunks is
    /// found any more.
    ///
    /// Cancel safe: if dropped, the resource is purged or not, and it may be purged again.
    ///
    /// # Errors
    /// When the store fails; chunks may then still be found.
    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>>;

    /// The current generation of a resource, asked for where it is not known in this process. The
    /// caller's chunks of it are served for at most `keep`: a store need not remember the
    /// generation of a resource that nobody asks for as long.
    ///
    /// Cancel safe: the next call asks again.
    ///
    /// # Errors
    /// When the store fails. The loader then goes without the store for this chunk.
    fn generation<'a>(&'a self, resource: &'a [u8; 16], keep: Duration) -> BoxFuture<'a, Result<Generation>>;

    /// The generation of a resource as far as it is known in this process, without waiting: `None`
    /// only where [`generation`](Chunks::generation) has not answered yet, or was not asked for so
    /// long that it is forgotten.
    ///
    /// After a [`forget`](Chunks::forget) in this process it is the new one at once; after one of
    /// another server within a second or two, since loads that begin then join those of the
    /// generation that is known.
    fn known_generation(&self, resource: &[u8; 16]) -> Option<Generation>;
}

/// The part of a store that is in this process's memory: a near cache.
///
/// # Contract
/// No method waits, and none holds a lock that others need for long: warm lists are served on the
/// threads that read sockets.
pub trait Near: Send + Sync + 'static {
    /// The chunk, if it is in memory: the cost of each warm chunk, so one look-up and no more.
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>>;

    /// Keeps a chunk where [`at_hand`](Near::at_hand) finds it, if its generation is the one that
    /// is known. `None` is that of a place which was asked for while the store did not say: it is
    /// kept until the store does.
    fn keep_at_hand(&self, chunk: &Arc<Chunk>, generation: Option<Generation>);

    /// What it holds of each resource, by the digest. Looks at every chunk.
    fn held(&self) -> HashMap<[u8; 16], Held>;

    /// How full it is.
    fn state(&self) -> NearState;
}

/// Agreement between the servers that share a store: who loads a chunk (leases; Gray and Cheriton,
/// 1989), and word of purges.
///
/// # Contract
/// At most one server holds a lease at a time, as long as the store is whole. A lease is for saving
/// work: where it is lost or cannot be had, a server loads by itself.
pub trait Agreement: Send + Sync + 'static {
    /// Asks for the right to load a chunk in this generation, for `time` at most.
    ///
    /// Not cancel safe: if dropped, the right may be taken, and then ends by its time.
    ///
    /// # Errors
    /// When the store fails. The loader then loads without it.
    fn lease<'a>(&'a self, key: &'a ChunkKey, generation: Generation, time: Duration) -> BoxFuture<'a, Result<Lease>>;

    /// Gives a right back that was taken in this generation, if it is still held with this token.
    ///
    /// Cancel safe: if dropped, the right is given back, or ends by its time.
    ///
    /// # Errors
    /// When the store fails; the right then ends by its time.
    fn release<'a>(&'a self, key: &'a ChunkKey, generation: Generation, token: u64) -> BoxFuture<'a, Result<()>>;

    /// Calls `tell` with each resource whose generation has become another, or is not known any
    /// more, from now on: by this server at once, by others within a second or two. `tell` does not
    /// wait, and asks the store nothing.
    fn on_purge(&self, tell: OnPurge);

    /// How the machines fare that keep it.
    fn machines(&self) -> FarState;
}

/// Who may load a chunk.
#[derive(Clone, Debug)]
pub enum Lease {
    /// The server that asked.
    Ours {
        /// What gives it back.
        token: u64,
        /// What is under the key now, as [`get`](Chunks::get) says it: the server that had the
        /// lease before may just have written it.
        there: Result<Option<Arc<Chunk>>>,
    },
    /// Another server, which loads it already.
    Theirs,
}

/// What is called with a resource that was purged.
pub type OnPurge = Box<dyn Fn(&[u8; 16]) + Send + Sync>;

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
    /// Counts a chunk.
    pub fn take_in(&mut self, chunk: &Chunk) {
        self.oldest = if self.chunks == 0 { chunk.loaded_at } else { self.oldest.min(chunk.loaded_at) };
        self.chunks += 1;
        self.rows += u64::from(chunk.rows);
        self.bytes += chunk.body.len() as u64;
    }
}
