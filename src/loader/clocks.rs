//! Whether the clocks of servers that share a store agree. One server notes the time of a load by
//! its clock, and another takes the chunk's age by its own.

use std::sync::atomic::Ordering;

use super::{Loader, Place};
use crate::chunk::Chunk;

impl Loader {
    /// Warns when a chunk in the shared store is refused because its load is noted as later than
    /// now. The server that loaded it refuses this server's chunks too, as too old, but cannot tell
    /// that a clock is the cause. So this server warns.
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
