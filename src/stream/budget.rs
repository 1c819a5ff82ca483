//! A bound on the bytes that streams hold together. Nothing waits for room: a stream that finds
//! none holds less.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many bytes are still free.
#[derive(Debug)]
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Arc<Budget> {
        Arc::new(Budget(AtomicUsize::new(bytes)))
    }
}

/// The part that one stream has taken; given back on drop.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// A share of no bytes.
    pub(super) fn new(budget: &Arc<Budget>) -> Share {
        Share { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Takes this many bytes more. False, with nothing taken, if fewer are free.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        let taken = self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_all_is_given_back() {
        let budget = Budget::new(100);
        let mut one = Share::new(&budget);
        let mut other = Share::new(&budget);
        assert!(one.take(60) && !other.take(41) && other.take(40) && !one.take(1));
        drop(one);
        assert!(other.take(60));
        drop(other);
        assert!(Share::new(&budget).take(100));
    }
}
