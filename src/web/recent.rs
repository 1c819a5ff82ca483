//! Lists without filters, kept so that the next request for one need not make it again.

use std::sync::{Arc, RwLock};

use crate::{
    unpoisoned::Unpoisoned,
    {coding::Coding, format::Format, list::List, resource::Resource},
};

/// How many lists are kept. Only hosts make them many; a client that invents hosts has its lists
/// made for each request.
const KEPT: usize = 64;

/// The first lists that were asked for. Nothing waits for its lock: while that is taken, requests
/// make their lists.
#[derive(Debug, Default)]
pub(super) struct Recent(RwLock<Vec<Arc<List>>>);

impl Recent {
    /// Forgets the lists of a resource that has been replaced.
    pub(super) fn forget(&self, resource: &Arc<Resource>) {
        let mut kept = self.0.write().unpoisoned();
        kept.retain(|list| !Arc::ptr_eq(list.resource(), resource));
    }

    /// The whole list of a resource in a format and coding; its links begin with `base`.
    pub(super) fn list(
        &self,
        resource: &Arc<Resource>,
        format: Format,
        coding: Option<Coding>,
        base: &str,
    ) -> Arc<List> {
        if let Ok(kept) = self.0.try_read()
            && let Some(list) = kept.iter().find(|list| list.is_whole(resource, format, coding, base))
        {
            return Arc::clone(list);
        }
        let list = Arc::new(List::new(Arc::clone(resource), format, vec![], base)).in_coding(coding);
        if let Ok(mut kept) = self.0.try_write()
            && kept.len() < KEPT
            && !resource.is_outdated()
            && !kept.iter().any(|list| list.is_whole(resource, format, coding, base))
        {
            kept.push(Arc::clone(&list));
        }
        list
    }
}
