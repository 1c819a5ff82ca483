//! The generations that a server knows of a store that it shares with others.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use super::{Generation, OnPurge};
use crate::unpoisoned::Unpoisoned;

/// The generations that a server knows of a store that it shares with others.
#[derive(Default)]
pub(super) struct Known {
    /// Of each resource that was asked for; `None` where the store has not said it yet.
    of: Mutex<HashMap<[u8; 16], Option<Generation>>>,
    on_purge: Mutex<Vec<OnPurge>>,
}

impl Known {
    fn of(&self) -> MutexGuard<'_, HashMap<[u8; 16], Option<Generation>>> {
        self.of.lock().unpoisoned()
    }

    /// Calls `tell` with each resource whose generation becomes another.
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
        self.of().get(resource).copied().flatten()
    }

    /// Remembers a resource, though the store may not answer now.
    pub(super) fn remember(&self, resource: &[u8; 16]) {
        self.of().entry(*resource).or_default();
    }

    /// The larger of this generation and the one that is known.
    pub(super) fn at_least(&self, resource: &[u8; 16], said: Generation) -> Generation {
        let known = self.get(resource);
        known.map_or(said, |known| known.max(said))
    }

    /// Takes note of a generation. A later one than was known is a purge. So may be the first: what
    /// was kept near before it was known is of no generation that anybody knows. An older one is of
    /// a store that forgot.
    pub(super) fn learn(&self, resource: &[u8; 16], generation: Generation) {
        let is_news = {
            let mut of = self.of();
            let known = of.entry(*resource).or_default();
            let is_news = known.is_none_or(|before| generation > before);
            if is_news {
                *known = Some(generation);
            }
            is_news
        };
        if is_news {
            self.tell(resource);
        }
    }

    /// The resources that were asked for.
    pub(super) fn resources(&self) -> Vec<[u8; 16]> {
        self.of().keys().copied().collect()
    }
}
