//! Reads that the database itself says may be tried again, after a conflict with a standby's
//! replay, a deadlock, or a file that was locked for a moment.
//!
//! A read is tried again only if none of its rows was handed on. Otherwise it ends behind those
//! rows, and the next run of the list is the next try.

use std::{ops::Range, time::Duration};

/// How many times one read is tried again.
const AGAIN: u32 = 2;
/// The pause between two tries, in milliseconds; random, so that reads that failed together do not
/// return together.
const PAUSE: Range<u64> = 20..100;

/// How many tries a read has left.
#[derive(Debug)]
pub(in crate::source) struct Tries(u32);

impl Default for Tries {
    fn default() -> Tries {
        Tries(AGAIN)
    }
}

impl Iterator for Tries {
    type Item = Duration;

    /// How long to wait before the next try; `None` after the last one.
    fn next(&mut self) -> Option<Duration> {
        self.0 = self.0.checked_sub(1)?;
        Some(Duration::from_millis(fastrand::u64(PAUSE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_tried_again_twice() {
        assert_eq!(Tries::default().count(), 2);
    }
}
