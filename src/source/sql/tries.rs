//! Reads that the database itself says may be tried again: a conflict with what a standby replays,
//! a deadlock, a file that is locked for a moment.
//!
//! A read is tried again as long as no row of it was handed on; where rows were, it ends behind
//! them, and the next run of the list is the next try.

use std::{ops::Range, time::Duration};

/// How often one read is tried again.
const AGAIN: u32 = 2;
/// Between two tries, in milliseconds: any of these, so that reads which failed together do not
/// come back together.
const PAUSE: Range<u64> = 20..100;

/// The tries that a read has left.
#[derive(Debug)]
pub(in crate::source) struct Tries(u32);

impl Default for Tries {
    fn default() -> Tries {
        Tries(AGAIN)
    }
}

impl Iterator for Tries {
    type Item = Duration;

    /// How long to wait before the next try; `None` where there were enough.
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
