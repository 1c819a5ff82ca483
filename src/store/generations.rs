//! What one process remembers of generations.
//!
//! The rule for each place that remembers a generation: **it is forgotten only when no chunk of an
//! older generation can be found any more**. Otherwise forgetting would undo a purge.
//!
//! - A shared store keeps the name of a generation without an end: no server knows for how long the
//!   others keep chunks. If the store loses the name, a server that remembers it writes it again.
//! - A server remembers it ([`Known`]) since it was last asked for or changed, for the longest
//!   `keep` of the resource's chunks. By then chunks of older generations have expired, so the
//!   store may lose the name too. The server then also drops the resource's chunks from its memory,
//!   since it would not see a purge any more.
//! - In memory (`Purges`, in `memory.rs`) a purge removes the chunks themselves. Only a load under
//!   way could bring an old chunk back, and its generation is older than any that was forgotten.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::{Generation, OnPurge};
use crate::unpoisoned::Unpoisoned;

/// A resource is remembered for at least this long, even one that this server does not serve, if it
/// is purged here.
const LEAST: Duration = Duration::from_secs(600);

/// The generations that a server knows of a shared store.
#[derive(Default)]
pub(super) struct Known {
    of: Mutex<HashMap<[u8; 16], Asked>>,
    on_purge: Mutex<Vec<OnPurge>>,
}

/// A resource that this server has asked for.
struct Asked {
    /// `None` until the store has answered.
    generation: Option<Generation>,
    /// The longest time for which its chunks are kept.
    keep: Duration,
    /// When it was last asked for, or changed.
    last: Instant,
}

impl Known {
    fn of(&self) -> MutexGuard<'_, HashMap<[u8; 16], Asked>> {
        self.of.lock().unpoisoned()
    }

    /// Calls `tell` with each resource whose generation changes or is forgotten.
    pub(super) fn on_purge(&self, tell: OnPurge) {
        self.on_purge.lock().unpoisoned().push(tell);
    }

    fn tell(&self, resource: &[u8; 16]) {
        for tell in self.on_purge.lock().unpoisoned().iter() {
            tell(resource);
        }
    }

    /// The generation of a resource, if the store has said it. Counts as asking for it.
    pub(super) fn get(&self, resource: &[u8; 16]) -> Option<Generation> {
        let mut of = self.of();
        let asked = of.get_mut(resource)?;
        asked.last = Instant::now();
        asked.generation
    }

    /// Remembers a resource whose chunks are kept for `keep`, even if the store does not answer
    /// now.
    pub(super) fn remember(&self, resource: &[u8; 16], keep: Duration) {
        let mut of = self.of();
        let asked = of.entry(*resource).or_insert_with(Asked::now);
        asked.keep = asked.keep.max(keep);
        asked.last = Instant::now();
    }

    /// The larger of `said` and the generation that is known.
    pub(super) fn at_least(&self, resource: &[u8; 16], said: Generation) -> Generation {
        let known = self.of().get(resource).and_then(|asked| asked.generation);
        known.map_or(said, |known| known.max(said))
    }

    /// Notes a generation. If it is later than the known one, the resource was purged. The first
    /// one is told as a purge too, since nobody knows the generation of chunks that were kept in
    /// memory before it. An older one comes from a store that has forgotten, and is ignored.
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

    /// The resources that are remembered at this moment. Forgets those whose time is over.
    pub(super) fn resources(&self, now: Instant) -> Vec<[u8; 16]> {
        let is_over = |asked: &mut Asked| now.saturating_duration_since(asked.last) >= asked.keep;
        let (forgotten, resources): (_, Vec<[u8; 16]>) = {
            let mut of = self.of();
            let forgotten: Vec<_> = of.extract_if(|_, asked| is_over(asked)).map(|(resource, _)| resource).collect();
            let mut resources: Vec<_> = of.keys().copied().collect();
            // In one order, so that a run of a test can be repeated.
            resources.sort_unstable();
            (forgotten, resources)
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
        // A purge by a server that does not serve the resource.
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
