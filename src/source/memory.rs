//! The bound on a row, and on the memory that reads of large rows take together.
//!
//! A read gives up as soon as a row turns out to be wider than [`RowBounds::unmeasured`]. It then
//! asks the database how long the row's values are and leaves out those that are too large. Once
//! there is [room](ReadMemory) for the rest, it reads that. So small rows cost nothing here: no
//! length in their queries, and no place in a queue.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::GateLimits;
use crate::error::{Error, Kind, Result};

const MIB: u64 = 1024 * 1024;

/// How large a row may be, in bytes as counted by SQL's `octet_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowBounds {
    /// A larger value becomes NULL.
    pub value: u64,
    /// In a larger row the largest values become NULL, until the rest fits. A related list counts
    /// as one value.
    pub row: u64,
    /// A row of at most this size is read without asking for its length, and without waiting for
    /// room.
    pub unmeasured: u64,
}

impl Default for RowBounds {
    /// 64 MiB for a value and for a related list, 128 MiB for a row, and 8 MiB for a row that is
    /// read without asking.
    fn default() -> RowBounds {
        RowBounds { value: 64 * MIB, row: 128 * MIB, unmeasured: 8 * MIB }
    }
}

impl RowBounds {
    /// The indexes of the values that must be left out: those beyond the bound, then the largest
    /// until the rest fits.
    #[cfg(any(feature = "sql", test))]
    pub(crate) fn left_out(&self, lengths: &[u64]) -> Vec<usize> {
        let mut out: Vec<usize> = (0..lengths.len()).filter(|&at| lengths[at] > self.value).collect();
        let mut rest: Vec<usize> = (0..lengths.len()).filter(|at| !out.contains(at)).collect();
        // Of values of one length, the first ones stay.
        rest.sort_by_key(|&at| lengths[at]);
        while rest.iter().map(|&at| lengths[at]).sum::<u64>() > self.row {
            out.extend(rest.pop());
        }
        out
    }
}

/// The memory that reads of large rows may take together. Clones share it: it bounds all databases
/// that were opened with one of them.
///
/// A read of a row counts as [`FACTOR`](ReadMemory::FACTOR) times the row's bytes: the driver's
/// buffers, the values, their encoded form. A read without room waits its turn, and holds no
/// connection meanwhile. A read that needs more than all of it takes all of it.
#[derive(Clone, Debug)]
pub struct ReadMemory {
    free: Arc<Semaphore>,
    bytes: u64,
    wait: Duration,
}

/// Room is counted in pieces of this many bytes, so that a semaphore can hold the number.
const PIECE: u64 = 4096;

/// Room for a large row while it is read; given back on drop.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    _permit: OwnedSemaphorePermit,
}

impl ReadMemory {
    /// A read of a row takes up to this many times the row's bytes.
    pub const FACTOR: u64 = 4;

    /// A bound of this many bytes. A read waits for room as long as for its turn at the database.
    pub fn new(bytes: u64) -> ReadMemory {
        let bytes = bytes.clamp(PIECE, PIECE * u64::from(u32::MAX));
        let free = Arc::new(Semaphore::new((bytes / PIECE) as usize));
        ReadMemory { free, bytes, wait: GateLimits::default().wait }
    }

    /// The same bound; a read waits this long.
    pub fn waiting(self, wait: Duration) -> ReadMemory {
        ReadMemory { wait, ..self }
    }

    /// Waits for room to read rows of this many bytes. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`Kind::Busy`] when the wait is too long.
    pub async fn room(&self, bytes: u64) -> Result<Room> {
        let pieces = (bytes.saturating_mul(Self::FACTOR)).min(self.bytes) / PIECE;
        let permit = Arc::clone(&self.free).acquire_many_owned(pieces.max(1) as u32);
        match tokio::time::timeout(self.wait, permit).await {
            Ok(Ok(permit)) => Ok(Room { bytes, _permit: permit }),
            Ok(Err(_)) => Err(Error::new(Kind::Internal, "the memory of reads was closed")),
            Err(_) => Err(Error::new(Kind::Busy, "no memory to read a large row came free in time")
                .remedy("try again shortly; if this is frequent, give [server] a larger `read_memory`")),
        }
    }
}

impl Default for ReadMemory {
    /// 512 MiB: enough for one read of the largest row at a time.
    fn default() -> ReadMemory {
        ReadMemory::new(512 * MIB)
    }
}

impl PartialEq for ReadMemory {
    fn eq(&self, other: &ReadMemory) -> bool {
        (self.bytes, self.wait) == (other.bytes, other.wait)
    }
}

impl Eq for ReadMemory {}

impl Room {
    /// The bytes of rows that it is for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, poll};
    use proptest::prelude::*;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn large_reads_wait_for_each_other_and_in_the_end_are_refused() {
        let memory = ReadMemory::new(100 * MIB);
        let first = memory.room(20 * MIB).await.unwrap();
        let mut second = Box::pin(memory.room(10 * MIB));
        assert!(poll!(&mut second).is_pending());
        assert!(memory.room(MIB).now_or_never().is_none(), "nobody passes one who waits");
        drop(first);
        let second = second.await.unwrap();
        assert_eq!(memory.room(20 * MIB).await.unwrap_err().kind(), Kind::Busy);
        drop(second);
        let all = memory.room(1 << 60).await.unwrap();
        assert!(memory.room(1).now_or_never().is_none(), "one that needs more than there is takes all of it");
        drop(all);
        assert!(memory.room(25 * MIB).now_or_never().is_some());
    }

    proptest! {
        #[test]
        fn what_stays_of_a_row_fits_and_what_does_not_is_what_is_largest(
            lengths in prop::collection::vec(prop_oneof![0..20_u64, 8..13_u64, 0..200_u64], 0..12),
        ) {
            let bounds = RowBounds { value: 10, row: 25, unmeasured: 5 };
            let out = bounds.left_out(&lengths);
            let stays: Vec<u64> = (0..lengths.len()).filter(|at| !out.contains(at)).map(|at| lengths[at]).collect();
            prop_assert!(stays.iter().all(|&length| length <= 10) && stays.iter().sum::<u64>() <= 25);
            for &at in &out {
                let smallest_out = out.iter().map(|&at| lengths[at]).min();
                prop_assert!(stays.iter().all(|&length| Some(length) <= smallest_out));
                let with = stays.iter().sum::<u64>() + lengths[at];
                prop_assert!(lengths[at] > 10 || with > 25, "none is left out without need");
            }
        }
    }
}
