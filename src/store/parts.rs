//! The parts of a store: chunks, those of them in this process's memory, and agreement between the
//! servers that share it. A store implements those that apply to it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    change::Token,
    chunk::{Chunk, ChunkKey},
    error::Result,
    source::BoxFuture,
};

/// A generation of a resource's chunks. A purge begins the next, whose number is larger.
///
/// The loader decides on the generation once, when a place in a list is asked for. In that
/// generation it looks the chunk up, takes and releases the lease of its load, and writes the
/// chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Keeps chunks, in this process or outside of it.
///
/// # Contract
/// - [`get`](Chunks::get) gives a chunk that was [`put`](Chunks::put) under exactly this key, in
///   this generation or a later one; or nothing. A store may lose any chunk at any time.
/// - Bytes from outside the process pass [`Chunk::open`] first, which refuses a chunk that was cut,
///   altered or belongs to another key.
/// - The generation of a resource never goes back, and [`forget`](Chunks::forget) makes it larger.
/// - A failure is an error here, and a miss to clients.
/// - A generation is not lost while a chunk of an older one may be there: it would be found again.
///
/// Every future may be dropped before it is done. The store is then as it was before the call, or
/// as after it.
pub trait Chunks: Send + Sync + 'static {
    /// The chunk under this key.
    ///
    /// Cancel safe: it changes nothing that the caller could see.
    ///
    /// # Errors
    /// When the store fails, or what it holds is damaged ([`Kind::Data`](crate::Kind::Data)).
    fn get<'a>(&'a self, key: &'a ChunkKey, generation: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>>;

    /// Keeps a chunk for at most `keep`, in place of any other under its key. Its rows were read
    /// after its place was asked for in this generation. If the resource has been purged since, a
    /// request in the current generation does not find the chunk.
    ///
    /// Cancel safe: if dropped, the chunk is there or not.
    ///
    /// # Errors
    /// When the store fails; the chunk may then be there or not.
    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: Generation) -> BoxFuture<'a, Result<()>>;

    /// Begins the next generation of the resource with this digest. Its chunks are not found any
    /// more.
    ///
    /// Cancel safe: if dropped, the resource is purged or not, and it may be purged again.
    ///
    /// # Errors
    /// When the store fails; chunks may then still be found.
    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>>;

    /// The current generation of a resource; asked for if this process does not know it. The caller
    /// serves chunks of it for at most `keep`. If nobody asks for the resource for that long, the
    /// store may forget its generation.
    ///
    /// Cancel safe: the next call asks again.
    ///
    /// # Errors
    /// When the store fails. The loader then goes without the store for this chunk.
    fn generation<'a>(&'a self, resource: &'a [u8; 16], keep: Duration) -> BoxFuture<'a, Result<Generation>>;

    /// The generation of a resource if this process knows it; does not wait. `None` only if
    /// [`generation`](Chunks::generation) has not answered yet, or the resource was not asked for
    /// in so long that it is forgotten.
    ///
    /// After a [`forget`](Chunks::forget) in this process it is the new one at once. After one in
    /// another server it is the new one within a second or two, and until then new loads join those
    /// of the old generation.
    fn known_generation(&self, resource: &[u8; 16]) -> Option<Generation>;
}

/// The part of a store in this process's memory: a near cache.
///
/// # Contract
/// No method waits, and none holds a lock that others need for long: warm lists are served on the
/// threads that read sockets.
pub trait Near: Send + Sync + 'static {
    /// The chunk, if it is in memory. Called for each warm chunk, so it must cost one look-up and
    /// no more.
    fn at_hand(&self, key: &ChunkKey) -> Option<Arc<Chunk>>;

    /// Keeps a chunk where [`at_hand`](Near::at_hand) finds it, if its generation is the known one.
    /// `None` means that the store had not said the generation when the place was asked for. Such a
    /// chunk is kept until the store says it.
    fn keep_at_hand(&self, chunk: &Arc<Chunk>, generation: Option<Generation>);

    /// The chunks of each resource, summed up, by the resource's digest. Looks at every chunk.
    fn held(&self) -> HashMap<[u8; 16], Held>;

    /// How full it is.
    fn state(&self) -> NearState;
}

/// Agreement between the servers that share a store: which server loads a chunk (leases; Gray and
/// Cheriton, 1989), news of purges, and a journal of what they tell each other.
///
/// # Contract
/// - At most one server holds a lease at a time, as long as the store loses nothing. A lease only
///   saves work: a server that cannot get one loads without it.
/// - The journal is a sequence of entries, which have the numbers 1, 2, 3, … of an epoch. Two
///   entries never share a position, also if two servers tell at once.
/// - A journal whose store may go back to an earlier state gives each position a random mark. Then
///   what it lost is never taken for what is told later under the same number.
/// - A store may lose entries, or all of the journal, at any time. It never hides that: a reader
///   gets each entry exactly once and in order, or is told that some are lost. A journal that has
///   lost its numbers goes on in another epoch, under a number drawn at random.
pub trait Agreement: Send + Sync + 'static {
    /// Asks for the lease to load a chunk in this generation, for at most `time`.
    ///
    /// Not cancel safe: if dropped, the lease may be taken, and then ends when its time is over.
    ///
    /// # Errors
    /// When the store fails. The loader then loads without it.
    fn lease<'a>(&'a self, key: &'a ChunkKey, generation: Generation, time: Duration) -> BoxFuture<'a, Result<Lease>>;

    /// Gives back a lease that was taken in this generation, if it is still held with this token.
    ///
    /// Cancel safe: if dropped, the lease is given back, or ends when its time is over.
    ///
    /// # Errors
    /// When the store fails; the lease then ends when its time is over.
    fn release<'a>(&'a self, key: &'a ChunkKey, generation: Generation, token: u64) -> BoxFuture<'a, Result<()>>;

    /// From now on calls `tell` with each resource whose generation has changed or is not known any
    /// more: at once for a purge by this server, within a second or two for one by another. `tell`
    /// must not wait nor ask the store.
    fn on_purge(&self, tell: OnPurge);

    /// Appends an entry to the journal, of at most 64 KiB. Returns its position once it is written.
    ///
    /// Cancel safe: if dropped, the entry is written or not, and it may be told again.
    ///
    /// # Errors
    /// When the store fails or does not take it in time. The entry may then be written or not, and
    /// it may be told again. [`Kind::Invalid`](crate::Kind::Invalid) if it is too long.
    fn tell<'a>(&'a self, entry: Bytes) -> BoxFuture<'a, Result<Token>>;

    /// The entries of the journal behind `since`, oldest first, and how far it goes. Without
    /// `since`, how far it goes and no entries. A position whose mark is 0 stands for any with its
    /// number. Meant to be asked for several times a second: it
    /// must be cheap if there is no news.
    ///
    /// Cancel safe: the next call asks again.
    ///
    /// # Errors
    /// When the store fails. What was told meanwhile is found by the next call with the same
    /// `since`.
    fn news<'a>(&'a self, since: Option<Token>) -> BoxFuture<'a, Result<News>>;

    /// The last entries of the journal, as many as can be read one behind the other, oldest first.
    /// A server asks once, when it begins. It may be given fewer, so that this takes at most a
    /// second or so; [`News::entries`] is never `None`.
    ///
    /// Cancel safe: the next call asks again.
    ///
    /// # Errors
    /// When the store fails.
    fn recent(&self) -> BoxFuture<'_, Result<News>>;

    /// The state of the machines that keep it.
    fn machines(&self) -> FarState;
}

/// Which server may load a chunk.
#[derive(Clone, Debug)]
pub enum Lease {
    /// The server that asked may load it.
    Ours {
        /// Needed to give the lease back.
        token: u64,
        /// The chunk under the key now, as from [`get`](Chunks::get): the last holder of the lease
        /// may just have written it.
        there: Result<Option<Arc<Chunk>>>,
    },
    /// Another server holds the lease and loads the chunk.
    Theirs,
}

/// What was told in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The position of the last entry: where to ask from the next time. The number is 0 if nothing
    /// was told in this epoch. A store in which nobody has ever told anything may give the default,
    /// epoch 0.
    pub head: Token,
    /// The entries behind the position that was asked from, exactly `head.number - since.number`.
    /// `None` if some of them are lost or too many to read, if the epoch is another, if the journal
    /// does not go as far as that position, or has another mark there. For
    /// [`recent`](Agreement::recent) that position is the one before the first entry.
    pub entries: Option<Vec<Bytes>>,
    /// The mark of the position that was asked from, then that of each entry. Empty where entries
    /// are lost, or the store has no marks.
    pub marks: Vec<u64>,
}

/// Called with a resource that was purged.
pub type OnPurge = Box<dyn Fn(&[u8; 16]) + Send + Sync>;

/// The state of a store's part in this process's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NearState {
    /// Bytes of its chunks.
    pub bytes: u64,
    /// How many bytes its chunks may have.
    pub max_bytes: u64,
    /// How many chunks it holds.
    pub entries: u64,
    /// Chunks evicted since the start.
    pub evictions: u64,
}

/// The state of the machines of a shared store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FarState {
    /// How many machines the configuration names; a cluster counts as one.
    pub machines: u64,
    /// How many failed lately and are left alone for a while.
    pub all_rest: u64,
    /// How many refused writes lately, and are only read for a while.
    pub writes_rest: u64,
}

/// The chunks of one resource in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Chunks, of every format, encoding and filter.
    pub chunks: u64,
    /// Their rows; a row counts once in each format and encoding that it is held in.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest of their rows was read, in milliseconds since 1970; 0 without a row.
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

    /// These chunks and the others together.
    #[cfg(feature = "server")]
    pub(crate) fn and(self, others: &Held) -> Held {
        let oldest = match (self.chunks, others.chunks) {
            (0, _) => others.oldest,
            (_, 0) => self.oldest,
            _ => self.oldest.min(others.oldest),
        };
        Held {
            chunks: self.chunks + others.chunks,
            rows: self.rows + others.rows,
            bytes: self.bytes + others.bytes,
            oldest,
        }
    }
}
