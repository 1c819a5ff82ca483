//! A store of your own, which servers share: `cargo run --example own_store`.
//!
//! This one is a table in memory behind one lock, shared by two servers of one program. For one
//! outside of the program put its calls in place of the table's. What a store must do is said by
//! the contracts of [`Chunks`] and [`Agreement`], and tried by [`promises`].

use std::{
    collections::HashMap,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use chunkflow::{
    Chunkflow, Fetch, Memory, Resource, ResourceOptions, Result, Token, closure,
    source::BoxFuture,
    store::{Agreement, Chunk, ChunkKey, Chunks, FarState, Generation, Lease, News, OnPurge, Store, promises},
};
use http::Request;
use http_body_util::BodyExt;
use serde::Serialize;

/// Chunks as bytes, and leases, each until it is over. Those of an older generation have other
/// names, and fade. A journal of what servers tell each other, whose entries are kept for ever here.
#[derive(Default)]
pub struct Table(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    chunks: HashMap<(ChunkKey, Generation), (Bytes, Instant)>,
    leases: HashMap<(ChunkKey, Generation), (u64, Instant)>,
    tokens: u64,
    generations: HashMap<[u8; 16], u64>,
    journal: Vec<Bytes>,
    on_purge: Vec<OnPurge>,
}

impl Inner {
    fn chunk(&self, key: &ChunkKey, generation: Generation) -> Result<Option<Arc<Chunk>>> {
        let stored = self.chunks.get(&(key.clone(), generation)).filter(|(_, until)| Instant::now() < *until);
        let Some((bytes, _)) = stored else { return Ok(None) };
        // Bytes from elsewhere are not trusted: whether they are whole, and this chunk's, is seen
        // here.
        Ok(Chunk::open(bytes, key, None)?.map(Arc::new))
    }

    fn generation(&self, resource: &[u8; 16]) -> Generation {
        Generation(self.generations.get(resource).copied().unwrap_or_default())
    }

    /// How far the journal goes. This one is lost only with the program. A journal outside of the
    /// program begins with a random epoch, and with another whenever it has lost how far it went. If
    /// it may go back to an earlier state, it gives each entry a random mark.
    fn head(&self) -> Token {
        Token { epoch: 1, number: self.journal.len() as u64, mark: 0 }
    }
}

impl Table {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunks for Table {
    fn get<'a>(&'a self, key: &'a ChunkKey, generation: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        Box::pin(ready(self.inner().chunk(key, generation)))
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, keep: Duration, generation: Generation) -> BoxFuture<'a, Result<()>> {
        let now = Instant::now();
        let mut inner = self.inner();
        inner.chunks.retain(|_, (_, until)| now < *until);
        inner.chunks.insert((chunk.key.clone(), generation), (chunk.seal(None), now + keep));
        Box::pin(ready(Ok(())))
    }

    fn forget<'a>(&'a self, resource: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        let mut inner = self.inner();
        *inner.generations.entry(*resource).or_default() += 1;
        inner.on_purge.iter().for_each(|tell| tell(resource));
        Box::pin(ready(Ok(())))
    }

    fn generation<'a>(&'a self, resource: &'a [u8; 16], _: Duration) -> BoxFuture<'a, Result<Generation>> {
        Box::pin(ready(Ok(self.inner().generation(resource))))
    }

    fn known_generation(&self, resource: &[u8; 16]) -> Option<Generation> {
        // A store outside of the program remembers here what `generation` was told, and looks for
        // purges now and then.
        Some(self.inner().generation(resource))
    }
}

impl Agreement for Table {
    fn lease<'a>(&'a self, key: &'a ChunkKey, generation: Generation, time: Duration) -> BoxFuture<'a, Result<Lease>> {
        let now = Instant::now();
        let mut inner = self.inner();
        inner.leases.retain(|_, (_, until)| now < *until);
        let name = (key.clone(), generation);
        if inner.leases.contains_key(&name) {
            return Box::pin(ready(Ok(Lease::Theirs)));
        }

        inner.tokens += 1;
        let token = inner.tokens;
        inner.leases.insert(name, (token, now + time));
        let there = inner.chunk(key, generation);
        Box::pin(ready(Ok(Lease::Ours { token, there })))
    }

    fn release<'a>(&'a self, key: &'a ChunkKey, generation: Generation, token: u64) -> BoxFuture<'a, Result<()>> {
        let mut inner = self.inner();
        let name = (key.clone(), generation);
        if inner.leases.get(&name).is_some_and(|(held, _)| *held == token) {
            inner.leases.remove(&name);
        }
        Box::pin(ready(Ok(())))
    }

    fn on_purge(&self, tell: OnPurge) {
        self.inner().on_purge.push(tell);
    }

    fn tell<'a>(&'a self, entry: Bytes) -> BoxFuture<'a, Result<Token>> {
        let mut inner = self.inner();
        inner.journal.push(entry);
        Box::pin(ready(Ok(inner.head())))
    }

    fn news<'a>(&'a self, since: Option<Token>) -> BoxFuture<'a, Result<News>> {
        let inner = self.inner();
        let head = inner.head();
        let since = since.unwrap_or(head);
        let entries = inner.journal.get(since.number as usize..).filter(|_| since.epoch == head.epoch);
        Box::pin(ready(Ok(News { head, entries: entries.map(<[Bytes]>::to_vec), marks: vec![] })))
    }

    fn recent(&self) -> BoxFuture<'_, Result<News>> {
        // Of a journal that grows without end these would be the last thousands.
        let inner = self.inner();
        Box::pin(ready(Ok(News { head: inner.head(), entries: Some(inner.journal.clone()), marks: vec![] })))
    }

    fn machines(&self) -> FarState {
        FarState::default()
    }
}

#[derive(Serialize)]
struct Number {
    number: u64,
}

/// A server of the list `/numbers`.
fn server(store: Store) -> Result<Chunkflow> {
    let numbers = closure(
        &["number"],
        |row: &Number| row.number,
        |fetch: Fetch<u64>| async move {
            let from = fetch.after.map_or(1, |after| after + 1);
            Ok::<_, std::io::Error>((from..=10_000).map(|number| Number { number }).take(fetch.limit).collect())
        },
    );
    Ok(Chunkflow::new(store).with(Resource::new("numbers", Arc::new(numbers), ResourceOptions::default())?))
}

/// Has two servers send the list, each with a memory of its own in front of one table; how many
/// rows each of them read.
pub async fn rows_read_by_two_servers() -> Result<[u64; 2]> {
    let table = Arc::new(Table::default());
    let mut rows_read = [0; 2];
    for rows_read in &mut rows_read {
        let server = server(Store::shared(Arc::clone(&table)).behind(Memory::new(16 << 20)))?;
        let request = Request::get("/numbers").header("host", "localhost").body(()).expect("a right request");
        server.respond(&request).await.into_body().collect().await.expect("a whole list");
        server.written().await;
        *rows_read = server.metrics().rows_read();
    }
    Ok(rows_read)
}

#[tokio::main]
async fn main() -> Result<()> {
    promises(Store::shared(Arc::new(Table::default()))).await;
    println!("the table keeps the promises of stores");

    let [one, another] = rows_read_by_two_servers().await?;
    println!("one server read {one} rows, and another the chunks of the first and {another} rows");
    Ok(())
}
