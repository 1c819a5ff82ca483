//! Resources that no name leads to: they are made for one request, or for some. What is kept of
//! them is for the next that is equal, and has a bound; nothing of it keeps the resource.

use std::{fmt, sync::Arc, time::Duration};

use quick_cache::sync::Cache;

use crate::{
    chunk::ListKey,
    coding::Coding,
    format::Format,
    list::List,
    metrics::{Counts, Metrics},
    resource::Resource,
    survey::Survey,
};

/// Resources of which it is kept where they are counted.
const RESOURCES: usize = 1000;

/// Lists of which it is kept what is known of their chunks in memory.
const LISTS: usize = 64;

/// What is kept of resources that no name leads to.
pub(super) struct Guests {
    counts: Cache<[u8; 16], Counts>,
    /// By the `ttl` too: for how long a chunk is fresh shapes no bytes, and so is no part of a key.
    surveys: Cache<(ListKey, Duration), Arc<Survey>>,
}

impl Default for Guests {
    fn default() -> Guests {
        Guests { counts: Cache::new(RESOURCES), surveys: Cache::new(LISTS) }
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").finish_non_exhaustive()
    }
}

impl Guests {
    /// Has a resource counted where those are that are equal to it.
    pub(super) fn count(&self, resource: &Resource, metrics: &Metrics) {
        resource.count_in(|| {
            let digest = resource.digest();
            self.counts.get(&digest).unwrap_or_else(|| {
                let counts = resource.counts_among(metrics, false);
                self.counts.insert(digest, counts.clone());
                counts
            })
        });
    }

    /// The whole list of a resource in a format and coding, with this base of its links.
    pub(super) fn list(
        &self,
        resource: &Arc<Resource>,
        format: Format,
        coding: Option<Coding>,
        base: &str,
    ) -> Arc<List> {
        let list = Arc::new(List::new(Arc::clone(resource), format, vec![], base)).in_coding(coding);
        let key = (*list.key(), resource.options().ttl);

        let survey = self.surveys.get(&key).unwrap_or_else(|| {
            let survey = Arc::<Survey>::default();
            self.surveys.insert(key, Arc::clone(&survey));
            survey
        });
        list.share_survey(survey);
        list
    }
}
