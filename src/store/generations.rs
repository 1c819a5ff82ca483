//! Generations, as one process remembers them.
//!
//! The rule, for each place that remembers one: **a generation is forgotten only when no chunk of
//! an older one can be found under it**. Otherwise a purge would be undone.
//!
//! - In a store that servers share its name is kept without end: no server knows for how long the
//!   others keep chunks. A store that loses the name all the same is told again by a server that
//!   remembers it.
//! - A server remembers it ([`Known`]) until the longest `keep` of the resource's chunks has gone
//!   by since it was last asked for or last changed. By then chunks of an older generation have
//!   faded, so that it may be lost in the store too; what the server holds near of the resource is
//!   forgotten with it, since a purge would not be seen any more.
//! - In memory (`Purges`, in `memory.rs`) a purge removes the chunks themselves. Only a load under
//!   way could bring an older one back, and its generation is older than any that was forgotten.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::{Generation, OnPurge};
use crate::unpoisoned::Unpoisoned;

/// For so long at least a resource is remembered: also one that is purged by a server which does
/// not serve it.
const LEAST: Duration = Duration::from_secs(600);

/// The generations that a server knows of a store that it shares with others.
#[derive(Default)]
pub(super) struct Known {
    of: Mutex<HashMap<[u8; 16], Asked>>,
    on_purge: Mutex<Vec<OnPurge>>,
}

/// A resource that was asked for.
struct Asked {
    /// `None` where the store has not said it yet.
    generation: Option<Generation>,
    /// The longest that chunks of it are kept.
    keep: Duration,
    /// When it was last asked for, or changed.
    last: Instant,
}

impl Known {
    fn of(&self) -> MutexGuard<'_, HashMap<[u8; 16], Asked>> {
        self.of.lock().unpoisoned()
    }

    /// Calls `tell` with each resource whose generation becomes another or is forgotten.
    pub(super) fn on_purge(&self, tell: OnPurge) {
        self.on_purge.lock().unpoisoned().push(tell);
    }

    fn tell(&self, resource: &[u8; 16]) {
        for tell in self.on_purge.lock().unpoisoned().iter() {
            tell(resource);
        }
    }

    /// The generation that somebody asks for, if the store has said it.
    pub(super) fn get(&self, resource: &[u8; 16]) -> Option<Generation> {
        let mut of = self.of();
        let asked = of.get_mut(resource)?;
        asked.last = Instant::now();
        asked.generation
    }

    /// Remembers a resource, whose chunks are kept for so long, though the store may not answer
    /// now.
    pub(super) fn remember(&self, resource: &[u8; 16], keep: Duration) {
        let mut of = self.of();
        let asked = of.entry(*resource).or_insert_with(Asked::now);
        asked.keep = asked.keep.max(keep);
        asked.last = Instant::now();
    }

    /// The larger of this generation and the one that is known.
    pub(super) fn at_least(&self, resource: &[u8; 16], said: Generation) -> Generation {
        let known = self.of().get(resource).and_then(|asked| asked.generation);
        known.map_or(said, |known| known.max(said))
    }

    /// Takes note of a generation. A later one than was known is a purge. So may be the first: what
    /// was kept near before it was known is of no generation that anybody knows. An older one is of
    /// a store that forgot.
    pub(super) fn learn(&self, resource: &[u8; 16], generation: Generation) {
        let is_news = {
            let mut of = self.of();
            let asked = of.entry(*resource).or_insert_with(Asked::now);
            let is_news = asked.generation.is_none_or(|before| generation > before);
            if is_news {
                asked.generation = Some(generation);
                asked.last = Instant::now();
            }
            is_news
        };
        if is_news {
            self.tell(resource);
        }
    }

    /// The resources that are remembered at this moment; the others are forgotten.
    pub(super) fn resources(&self, now: Instant) -> Vec<[u8; 16]> {
        let is_over = |asked: &mut Asked| now.saturating_duration_since(asked.last) >= asked.keep;
        let (forgotten, resources) = {
            let mut of = self.of();
            let forgotten: Vec<_> = of.extract_if(|_, asked| is_over(asked)).map(|(resource, _)| resource).collect();
            (forgotten, of.keys().copied().collect())
        };
        forgotten.iter().for_each(|resource| self.tell(resource));
        resources
    }
}

impl Asked {
    fn now() -> Asked {
        Asked { generation: None, keep: LEAST, last: Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    const LIST: [u8; 16] = [1; 16];
    const OTHER: [u8; 16] = [2; 16];

    #[test]
    fn a_generation_is_forgotten_when_the_chunks_of_the_one_before_have_faded_and_those_that_keep_chunks_are_told() {
        let known = Known::default();
        let told = Arc::new(AtomicU32::new(0));
        let tells = Arc::clone(&told);
        known.on_purge(Box::new(move |_| {
            tells.fetch_add(1, Ordering::Relaxed);
        }));
        let keep = Duration::from_secs(3600);
        known.remember(&LIST, keep);
        known.remember(&LIST, Duration::from_secs(60));
        known.learn(&LIST, Generation(7));
        assert_eq!(told.load(Ordering::Relaxed), 1, "the first may be a purge");
        // By a server that does not serve it.
        known.learn(&OTHER, Generation(9));

        let then = Instant::now() + keep - Duration::from_secs(60);
        assert_eq!(known.resources(then), [LIST], "the longest keep counts");
        assert_eq!(known.get(&LIST), Some(Generation(7)));
        assert_eq!(told.load(Ordering::Relaxed), 3, "of the other that it is forgotten");
        known.learn(&LIST, Generation(5));
        assert_eq!(known.get(&LIST), Some(Generation(7)), "it never goes back");

        assert!(known.resources(Instant::now() + keep).is_empty());
        assert_eq!(known.get(&LIST), None);
        assert_eq!(told.load(Ordering::Relaxed), 4);
    }
}
