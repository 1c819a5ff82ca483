//! The keys of an issuer, from the address where it publishes them (JWKS, RFC 7517 §5).

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, StatusCode};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    ask::Endpoint,
    away::{Away, Line},
    public_key::Key,
    refusal::Refusal,
};
use crate::unpoisoned::Unpoisoned;

/// The largest set, in bytes.
const LARGEST: usize = 512 * 1024;
/// The largest number of keys in a set.
const MOST: usize = 200;
/// How long the issuer may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where there are keys, the issuer is asked at most once in this time.
const PAUSE: Duration = Duration::from_secs(60);
/// The same where there are none yet.
const PAUSE_WITHOUT: Duration = Duration::from_secs(1);
/// Keys of this age are read again, while requests go on with them: a key that the issuer has taken
/// out must not count for ever.
const AGE: Duration = Duration::from_secs(600);
/// Keys of this age check no token before they are read again, so requests wait for that. They grow
/// so old only where no request came.
const OLD: Duration = Duration::from_secs(1200);

/// Keys.
#[derive(Debug)]
pub(super) struct Set {
    keys: Vec<Key>,
    read: Instant,
}

impl Set {
    pub(super) fn new(keys: Vec<Key>) -> Set {
        Set { keys, read: Instant::now() }
    }

    /// The set that an issuer publishes.
    ///
    /// # Errors
    /// Why it is none.
    fn of_json(json: &[u8]) -> Result<Set, String> {
        #[derive(Deserialize)]
        struct Published<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }

        let published: Published<'_> = serde_json::from_slice(json).map_err(|_| "the answer is no JWKS".to_owned())?;
        let number = published.keys.len();
        if number > MOST {
            return Err(format!("the set has {number} keys, and may have {MOST}"));
        }

        let keys: Vec<Key> = published.keys.iter().filter_map(|key| Key::of_jwk(key.get())).collect();
        // An issuer that publishes none has lost them for now: the old ones must not go with them.
        if keys.is_empty() {
            return Err("none of the keys there can check tokens".to_owned());
        }
        Ok(Set::new(keys))
    }

    /// Whether a key of exactly this name is among them.
    fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Whether one without a name is among them, which may check any token.
    fn has_nameless(&self) -> bool {
        self.keys.iter().any(|key| key.id.is_none())
    }

    /// The keys that may have signed a token with this algorithm, if it names this key.
    ///
    /// # Errors
    /// When it names none, and the set has several with names: any of them would do for a forger
    /// who has one.
    pub(super) fn fitting(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<&Key>, Refusal> {
        let is_for = |key: &&Key| key.algorithms.contains(&algorithm);
        let Some(id) = id else {
            let fitting: Vec<&Key> = self.keys.iter().filter(is_for).collect();
            if fitting.len() > 1 && fitting.iter().any(|key| key.id.is_some()) {
                return Err(Refusal::wrong("the token does not name its key"));
            }
            return Ok(fitting);
        };

        let named = |key: &&Key| key.id.as_deref() == Some(id);
        let fitting: Vec<&Key> = self.keys.iter().filter(is_for).filter(named).collect();
        if !fitting.is_empty() {
            return Ok(fitting);
        }
        Ok(self.keys.iter().filter(is_for).filter(|key| key.id.is_none()).collect())
    }
}

/// The keys of one address.
#[derive(Debug)]
pub(super) struct Jwks {
    at: Arc<At>,
    reads: Mutex<Reads>,
}

/// The address, and what it said.
struct At {
    endpoint: Endpoint,
    set: ArcSwapOption<Set>,
    /// Counts the sets.
    epoch: AtomicU64,
    away: Away,
}

/// The read under way, and the last one. A read is no request's own, so that a client that leaves
/// stops none: it ends with the keys.
#[derive(Debug)]
struct Reads {
    tasks: JoinSet<()>,
    /// Closed when the last read has ended.
    ended: watch::Receiver<()>,
    began: Option<Instant>,
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("At").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Jwks {
    pub(super) fn new(endpoint: Endpoint) -> Jwks {
        let at = At { endpoint, set: ArcSwapOption::empty(), epoch: AtomicU64::new(0), away: Away::default() };
        let reads = Reads { tasks: JoinSet::new(), ended: watch::channel(()).1, began: None };
        Jwks { at: Arc::new(at), reads: Mutex::new(reads) }
    }

    /// Whether these are the keys of that address.
    pub(super) fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.at.endpoint == *endpoint
    }

    /// Changes with the set.
    pub(super) fn epoch(&self) -> u64 {
        self.at.epoch.load(Ordering::Acquire)
    }

    /// The keys to check a token with that names this key.
    ///
    /// # Errors
    /// When there are none yet; when the named one is not among them, and the issuer does not answer.
    pub(super) async fn set(&self, id: Option<&str>) -> Result<Arc<Set>, Refusal> {
        let away = || Refusal::away("the keys that check tokens cannot be read now");
        let Some(set) = self.at.set.load_full() else {
            self.read(PAUSE_WITHOUT).await;
            return self.at.set.load_full().ok_or_else(away);
        };

        let is_known = |set: &Set| id.is_none_or(|id| set.has(id));
        let age = set.read.elapsed();
        if is_known(&set) && age <= OLD {
            if age > AGE {
                drop(self.begin_read(PAUSE));
            }
            return Ok(set);
        }

        // If that fails, the old keys go on.
        self.read(PAUSE).await;
        let set = self.at.set.load_full().unwrap_or(set);
        let may_be_checked = is_known(&set) || set.has_nameless();
        if !may_be_checked && self.at.away.is_away() {
            return Err(away());
        }
        Ok(set)
    }

    /// The keys that have come after these, for a token that names none and that these do not
    /// check; `None` if there are no others.
    pub(super) async fn set_after(&self, old: &Arc<Set>) -> Option<Arc<Set>> {
        self.read(PAUSE).await;
        self.at.set.load_full().filter(|set| !Arc::ptr_eq(set, old))
    }

    /// Reads the keys, unless that was tried within `pause`; waits for a read that is under way.
    async fn read(&self, pause: Duration) {
        if let Some(mut ended) = self.begin_read(pause) {
            // An error says that the sender is gone, and so the read.
            let _ = ended.changed().await;
        }
    }

    fn begin_read(&self, pause: Duration) -> Option<watch::Receiver<()>> {
        let mut reads = self.reads.lock().unpoisoned();
        while reads.tasks.try_join_next().is_some() {}
        if reads.tasks.is_empty() {
            if reads.began.is_some_and(|began| began.elapsed() < pause) {
                return None;
            }

            let (ends, ended) = watch::channel(());
            let at = Arc::clone(&self.at);
            reads.began = Some(Instant::now());
            reads.ended = ended;
            reads.tasks.spawn(async move {
                at.read().await;
                drop(ends);
            });
        }
        Some(reads.ended.clone())
    }
}

impl At {
    /// Reads the set. If that fails, the old one stays.
    async fn read(&self) {
        let read = asked(&self.endpoint).await;
        let line = match &read {
            Ok(_) => self.away.answered(),
            Err(_) => self.away.failed(),
        };

        let jwks = &self.endpoint;
        match (line, &read) {
            (Some(Line::Away), Err(why)) => {
                let has_old = self.set.load().is_some();
                tracing::warn!(%jwks, has_old, "the keys that check tokens cannot be read: {why}");
            }
            (Some(Line::Back { failed }), _) => {
                tracing::info!(%jwks, failed, "the keys that check tokens are read again");
            }
            _ => {}
        }

        if let Ok(set) = read {
            // In this order: a token that is remembered under the new number was checked by the new
            // set.
            self.set.store(Some(Arc::new(set)));
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }
}

/// Asks for the set.
async fn asked(endpoint: &Endpoint) -> Result<Set, String> {
    let answer = timeout(PATIENCE, endpoint.get(HeaderMap::new(), LARGEST)).await;
    let answer = answer.map_err(|_| format!("no answer within {PATIENCE:?}"))??;
    if answer.status != StatusCode::OK {
        return Err(format!("the answer is {}", answer.status));
    }
    Set::of_json(&answer.body)
}

/// Checks that there are keys at this address.
///
/// # Errors
/// Why there are none.
pub(crate) async fn check(endpoint: &Endpoint) -> Result<(), String> {
    match asked(endpoint).await {
        Ok(_) => Ok(()),
        Err(why) => Err(format!("the keys that check tokens cannot be read: {why}")),
    }
}

#[cfg(test)]
mod tests;
