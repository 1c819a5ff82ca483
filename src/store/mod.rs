//! Stores: where chunks are kept.
//!
//! A store may forget anything at any time and knows nothing of rows. To add one, write a file like `memory.rs` and
//! give it its row in [`STORES`]. [`promises`] is the suite that every one of them must pass.

mod memory;
mod promises;

use std::{sync::Arc, time::Duration};

pub use self::{memory::Memory, promises::promises};
use crate::{
    chunk::{Chunk, ChunkKey},
    error::{Error, Kind as ErrorKind, Result},
    kind::{self, Kind},
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

    /// Keeps a chunk for at most `keep`; it replaces what was under its key.
    ///
    /// # Errors
    /// When the store fails; the chunk may then be there or not.
    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration) -> BoxFuture<'a, Result<()>>;

    /// Forgets every chunk of the resource with this digest.
    ///
    /// # Errors
    /// When the store fails; some chunks may then still be there.
    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>>;
}

type OpenStore = fn(&str) -> Result<Arc<dyn Store>>;

/// The kinds of store of this build, by URL scheme.
pub const STORES: &[Kind<OpenStore>] = &[Kind { name: "memory", example: "memory:256MiB", open: memory::open }];

/// Opens the store of a URL.
///
/// # Errors
/// [`ErrorKind::Config`] when this build has no such kind or the URL is wrong.
pub fn open_store(url: &str) -> Result<Arc<dyn Store>> {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    match kind::find(STORES, scheme) {
        Some(kind) => (kind.open)(url),
        None => Err(Error::new(ErrorKind::Config, format!("no store of kind `{scheme}` here")).remedy(format!(
            "this build has {}; write for instance {}",
            kind::names(STORES),
            STORES[0].example
        ))),
    }
}
