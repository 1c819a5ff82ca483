//! Locks whose data stays right though a thread that held them has panicked.

use std::sync::{LockResult, PoisonError};

/// Passes over a lock's poison: what this crate guards is whole between any two statements.
pub(crate) trait Unpoisoned {
    /// The guard, whether or not the lock is poisoned.
    type Guard;

    fn unpoisoned(self) -> Self::Guard;
}

impl<G> Unpoisoned for LockResult<G> {
    type Guard = G;

    fn unpoisoned(self) -> G {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}
