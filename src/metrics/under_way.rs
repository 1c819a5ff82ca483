//! The streams under way, so that the operator can see them and cut one.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::Notify;

use super::{ListCounts, Outcome};
use crate::unpoisoned::Unpoisoned;

/// How many maps streams are spread over, so that those which begin and end at the same moment
/// hardly wait for each other.
const PLACES: u64 = 16;

/// Streams under way, each by its number.
#[derive(Debug)]
pub(crate) struct UnderWay {
    places: [Mutex<HashMap<u64, Arc<Way>>>; PLACES as usize],
    next: AtomicU64,
}

impl Default for UnderWay {
    fn default() -> UnderWay {
        UnderWay { places: Default::default(), next: AtomicU64::new(1) }
    }
}

/// Knows why a stream is dropped before its end.
pub(crate) trait Fate: Send + Sync {
    /// The reason, if it is dropped now.
    fn now(&self) -> Outcome;
}

/// What a stream has done so far.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Rows handed out.
    pub rows: u64,
    /// Bytes handed out.
    pub bytes: u64,
    /// Chunks that came from the store.
    pub hits: u64,
    /// Chunks that had to be loaded.
    pub loads: u64,
    /// How it ended, or would if it were dropped now.
    pub outcome: Outcome,
}

/// How far one stream has come. The stream updates it without waiting.
pub(crate) struct Way {
    pub(crate) number: u64,
    pub(crate) list: Arc<ListCounts>,
    /// The client's address, if it is known.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server shows it"))]
    pub(crate) client: Option<IpAddr>,
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server shows it"))]
    pub(crate) began: Instant,
    pub(crate) rows: AtomicU64,
    pub(crate) bytes: AtomicU64,
    fate: Option<Arc<dyn Fate>>,
    cut: Notify,
    is_cut: AtomicBool,
    is_stalled: AtomicBool,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("number", &self.number).field("list", &self.list.name).finish_non_exhaustive()
    }
}

impl UnderWay {
    /// Adds a stream; `fate` knows why it is dropped before its end.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server shows them"))]
    pub(crate) fn enter(
        &self,
        list: &Arc<ListCounts>,
        client: Option<IpAddr>,
        began: Instant,
        fate: Option<Arc<dyn Fate>>,
    ) -> Arc<Way> {
        let way = Arc::new(Way {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            list: Arc::clone(list),
            client,
            began,
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            fate,
            cut: Notify::new(),
            is_cut: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
        });
        self.place(way.number).lock().unpoisoned().insert(way.number, Arc::clone(&way));
        way
    }

    /// Removes a stream that has ended.
    pub(crate) fn leave(&self, way: &Way) {
        self.place(way.number).lock().unpoisoned().remove(&way.number);
    }

    fn place(&self, number: u64) -> &Mutex<HashMap<u64, Arc<Way>>> {
        &self.places[(number % PLACES) as usize]
    }

    /// The oldest streams, at most `most`.
    #[cfg(feature = "server")]
    pub(crate) fn oldest(&self, most: usize) -> Vec<Arc<Way>> {
        let mut all: Vec<Arc<Way>> = vec![];
        for place in &self.places {
            all.extend(place.lock().unpoisoned().values().cloned());
        }
        all.sort_unstable_by_key(|way| way.number);
        all.truncate(most);
        all
    }

    /// Cuts a stream; false if there is none with this number.
    #[cfg(feature = "server")]
    pub(crate) fn cut(&self, number: u64) -> bool {
        let Some(way) = self.place(number).lock().unpoisoned().get(&number).cloned() else { return false };
        way.is_cut.store(true, Ordering::Relaxed);
        way.cut.notify_one();
        true
    }
}

impl Way {
    /// The outcome of the stream if it is dropped now.
    pub(crate) fn fate(&self) -> Outcome {
        if self.is_cut.load(Ordering::Relaxed) {
            return Outcome::Operator;
        }
        if self.is_stalled.load(Ordering::Relaxed) {
            return Outcome::Stalled;
        }
        self.fate.as_ref().map_or(Outcome::Left, |fate| fate.now())
    }

    /// Notes that it is dropped because its client took nothing for too long.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server watches clients"))]
    pub(crate) fn stalls(&self) {
        self.is_stalled.store(true, Ordering::Relaxed);
    }

    /// Completes when the stream is to be cut.
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server has an operator"))]
    pub(crate) async fn is_cut(&self) {
        self.cut.notified().await;
    }
}
