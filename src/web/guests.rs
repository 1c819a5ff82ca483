//! Resources without a name here, each made for one request or a few. What is kept of them serves
//! the next request for an equal one; it is bounded, and does not keep the resource alive.

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

/// For how many resources their counters are kept.
const RESOURCES: usize = 1000;

/// For how many lists it is kept which of their chunks are in memory.
const LISTS: usize = 64;

/// What is kept of resources without a name here.
pub(super) struct Guests {
    counts: Cache<[u8; 16], Counts>,
    /// The `ttl` is part of this key but not of a chunk's: it shapes no bytes.
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
    /// Makes a resource count where equal ones do.
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

    /// The whole list of a resource in a format and coding; its links begin with `base`.
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
