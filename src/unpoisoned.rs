//! Locks whose data stays valid even after a thread has panicked while holding one.

use std::sync::{LockResult, PoisonError};

/// Ignores a lock's poison: the data that this crate guards is valid between any two statements.
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
