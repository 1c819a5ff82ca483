//! A store that gives back anything but what was put into it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::system_clock;
use bytes::Bytes;
use chunkflow::{
    Chunkflow, Error, Kind, Resource, ResourceOptions, Result, Sizes, Token,
    metrics::Metrics,
    source::{BoxFuture, Source},
    store::{Agreement, Chunk, ChunkKey, Chunks, FarState, Generation, Lease, News, OnPurge, Store},
};
use http::Request;
use http_body_util::BodyExt;
use proptest::prelude::*;

use crate::support::{Numbers, runtime};

/// Keeps entries as a shared store does, and corrupts them as they are read, each time anew.
struct Corrupting {
    kept: Mutex<Vec<(ChunkKey, Bytes)>>,
    random: Mutex<fastrand::Rng>,
}

impl Corrupting {
    fn read(&self, key: &ChunkKey) -> Result<Option<Arc<Chunk>>> {
        let kept = self.kept.lock().unwrap();
        let mut random = self.random.lock().unwrap();
        let Some((_, own)) = kept.iter().rev().find(|(known, _)| known == key) else { return Ok(None) };
        let mut bytes = own.to_vec();
        match random.u8(0..16) {
            0 => return Ok(None),
            1 => return Err(Error::new(Kind::Unavailable, "the store is away")),
            2 => {
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1 << random.u8(0..8);
            }
            3 => bytes.truncate(random.usize(..bytes.len())),
            4 => bytes.extend_from_slice(&own[..random.usize(..own.len())]),
            // Another entry, whole: of another place, list, resource, format or coding.
            5 => bytes = kept[random.usize(..kept.len())].1.to_vec(),
            6 => bytes[3] = random.u8(b'0'..=b'9'),
            7 => bytes.iter_mut().for_each(|byte| *byte = random.u8(..)),
            // Garbage with a right head and sum.
            8 => {
                bytes[8..].iter_mut().for_each(|byte| *byte = random.u8(..));
                let sum = crc32fast::hash(&bytes[8..]);
                bytes[4..8].copy_from_slice(&sum.to_le_bytes());
            }
            _ => {}
        }

        Chunk::open(&bytes.into(), key, None).map(|chunk| chunk.map(Arc::new))
    }
}

impl Chunks for Corrupting {
    fn get<'a>(&'a self, key: &'a ChunkKey, _: Generation) -> BoxFuture<'a, Result<Option<Arc<Chunk>>>> {
        Box::pin(async move { self.read(key) })
    }

    fn put<'a>(&'a self, chunk: Arc<Chunk>, _: Duration, _: Generation) -> BoxFuture<'a, Result<()>> {
        self.kept.lock().unwrap().push((chunk.key.clone(), chunk.seal(None)));
        Box::pin(async { Ok(()) })
    }

    fn forget<'a>(&'a self, _: &'a [u8; 16]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn generation<'a>(&'a self, _: &'a [u8; 16], _: Duration) -> BoxFuture<'a, Result<Generation>> {
        Box::pin(async { Ok(Generation(0)) })
    }

    fn known_generation(&self, _: &[u8; 16]) -> Option<Generation> {
        Some(Generation(0))
    }
}

impl Agreement for Corrupting {
    fn lease<'a>(&'a self, key: &'a ChunkKey, _: Generation, _: Duration) -> BoxFuture<'a, Result<Lease>> {
        Box::pin(async move {
            match self.random.lock().unwrap().u8(0..10) {
                0 => return Ok(Lease::Theirs),
                1 => return Err(Error::new(Kind::Unavailable, "the store is away")),
                _ => {}
            }
            Ok(Lease::Ours { token: 1, there: self.read(key) })
        })
    }

    fn release<'a>(&'a self, _: &'a ChunkKey, _: Generation, _: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn on_purge(&self, _: OnPurge) {}

    fn tell<'a>(&'a self, _: Bytes) -> BoxFuture<'a, Result<Token>> {
        Box::pin(async { Ok(Token::default()) })
    }

    fn news<'a>(&'a self, _: Option<Token>) -> BoxFuture<'a, Result<News>> {
        Box::pin(async { Ok(News { head: Token::default(), entries: Some(vec![]), marks: vec![] }) })
    }

    fn recent(&self) -> BoxFuture<'_, Result<News>> {
        self.news(None)
    }

    fn machines(&self) -> FarState {
        FarState::default()
    }
}

fn lists(store: Store) -> Chunkflow {
    let chunkflow = Chunkflow::with_clock(store, system_clock(), Arc::new(Metrics::default()));
    // Two sources, and two definitions of each.
    let lists = [("one", 7, 40), ("two", 7, 100), ("three", 9, 40), ("four", 9, 100)];
    lists.into_iter().fold(chunkflow, |chunkflow, (name, width, rows)| {
        let source: Arc<dyn Source> = Numbers::new(2_000, width);
        let options = ResourceOptions::default().with(|options| options.sizes = Sizes { rows, bytes: 1 });
        chunkflow.with(Resource::new(name, source, options).unwrap())
    })
}

async fn body(chunkflow: &Chunkflow, target: &str) -> Vec<u8> {
    let request = Request::get(target).header("host", "localhost").body(()).unwrap();
    let body = chunkflow.respond(&request).await.into_body();
    body.collect().await.expect("a whole stream").to_bytes().to_vec()
}

const TARGETS: [&str; 5] = ["/one", "/two", "/three", "/four", "/one?limit=70"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn whatever_a_store_gives_back_no_row_is_wrong(seed: u64) {
        runtime().block_on(async {
            let sound = lists(chunkflow::Memory::new(64 << 20).into());
            let random = Mutex::new(fastrand::Rng::with_seed(seed));
            let damaged = lists(Store::shared(Arc::new(Corrupting { kept: Mutex::default(), random })));
            for target in TARGETS.iter().cycle().take(TARGETS.len() * 3) {
                assert!(body(&damaged, target).await == body(&sound, target).await, "{target}");
                damaged.written().await;
            }
            let metrics = damaged.metrics();
            assert!(metrics.damaged() > 0 && metrics.hits() > 0, "{metrics:?}");
        });
    }
}
