//! Lists without filters, kept so that the next request for one need not make it again.

use std::{
    fmt,
    sync::{Arc, RwLock},
};

use quick_cache::sync::Cache;

use crate::{
    coding::Coding,
    format::Format,
    list::List,
    resource::{Resource, Scope},
    unpoisoned::Unpoisoned,
};

/// How many lists are kept. Only hosts make them many; a client that invents hosts has its lists
/// made for each request.
const KEPT: usize = 64;

/// How many lists of identities are kept: of small scopes, and of hidden members. Each may know of up
/// to a thousand chunks.
const SCOPED: usize = 256;

/// Lists that were asked for.
pub(super) struct Recent {
    /// The first lists of all rows. Nothing waits for its lock: while that is taken, requests make
    /// their lists.
    whole: RwLock<Vec<Arc<List>>>,
    /// The last lists of scopes.
    scoped: Cache<ScopedKey, Arc<List>>,
}

/// Identifies the list of a scope.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ScopedKey {
    /// The address of the resource, which the kept list keeps alive.
    resource: usize,
    scope: Scope,
    format: usize,
    coding: Option<usize>,
    base: String,
}

impl Default for Recent {
    fn default() -> Recent {
        Recent { whole: RwLock::default(), scoped: Cache::new(SCOPED) }
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

impl Recent {
    /// Forgets the lists of a resource that has been replaced.
    pub(super) fn forget(&self, resource: &Arc<Resource>) {
        let mut kept = self.whole.write().unpoisoned();
        kept.retain(|list| !Arc::ptr_eq(list.resource(), resource));
        // Lists of its parts are among them too.
        self.scoped.clear();
    }

    /// The list of a scope in a format and coding; its links begin with `base`.
    pub(super) fn scoped(
        &self,
        resource: &Arc<Resource>,
        scope: &Scope,
        format: Format,
        coding: Option<Coding>,
        base: &str,
    ) -> Arc<List> {
        let key = ScopedKey {
            resource: Arc::as_ptr(resource).addr(),
            scope: scope.clone(),
            format: format.index(),
            coding: coding.map(Coding::index),
            base: base.to_owned(),
        };
        if let Some(list) = self.scoped.get(&key).filter(|list| Arc::ptr_eq(list.resource(), resource)) {
            return list;
        }

        let list = Arc::new(List::scoped(Arc::clone(resource), scope, format, vec![], base)).in_coding(coding);
        if !resource.is_outdated() {
            self.scoped.insert(key, Arc::clone(&list));
        }
        list
    }

    /// The whole list of a resource in a format and coding; its links begin with `base`.
    pub(super) fn list(
        &self,
        resource: &Arc<Resource>,
        format: Format,
        coding: Option<Coding>,
        base: &str,
    ) -> Arc<List> {
        if let Ok(kept) = self.whole.try_read()
            && let Some(list) = kept.iter().find(|list| list.is_whole(resource, format, coding, base))
        {
            return Arc::clone(list);
        }
        let list = Arc::new(List::new(Arc::clone(resource), format, vec![], base)).in_coding(coding);
        if let Ok(mut kept) = self.whole.try_write()
            && kept.len() < KEPT
            && !resource.is_outdated()
            && !kept.iter().any(|list| list.is_whole(resource, format, coding, base))
        {
            kept.push(Arc::clone(&list));
        }
        list
    }
}
