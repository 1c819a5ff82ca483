//! Whether the clocks of servers that share a store agree: a chunk's age is what the server that
//! reads it makes of the time that the server which loaded it noted.

use std::sync::atomic::Ordering;

use super::{Loader, Place};
use crate::chunk::Chunk;

impl Loader {
    /// Looks whether a chunk in the shared store is of no use because it was loaded later than now.
    /// The server that loaded it cannot use those of this one either, which are too old by its
    /// clock; it cannot tell that they are not, so it is this one that says so.
    pub(super) fn compare_clocks(&self, place: &Place, chunk: &Chunk) {
        let ahead = chunk.loaded_at.saturating_sub(self.now()) / 1000;
        if ahead == 0 {
            return;
        }

        self.metrics.other_clock.inc();
        if !self.clocks_differ.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                resource = place.list.resource().name(),
                "the clock of another server that uses this store is {ahead} s ahead of this one's: neither can use what \
                 the other has loaded, so the store saves nothing; keep the clocks of all servers in step, for instance \
                 with chrony"
            );
        }
    }
}
