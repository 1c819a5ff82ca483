//! The bound on a row, and on the memory that reads of large rows take together.
//!
//! A read gives up as soon as a row turns out to be wider than [`RowBounds::unmeasured`]. Then the
//! database is asked how long the row's values are, what is too large is left out, and the rest is
//! read once there is [room](ReadMemory) for it. So small rows cost nothing here: neither a length
//! in their queries nor a place in a queue.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::GateLimits;
use crate::error::{Error, Kind, Result};

const MIB: u64 = 1024 * 1024;

/// How large a row may be, in bytes as SQL's `octet_length` counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowBounds {
    /// A value beyond this stands as NULL.
    pub value: u64,
    /// In a row beyond this its largest values stand as NULL, until the rest fits. A related list
    /// counts as one value.
    pub row: u64,
    /// A row up to this is read without its length being asked for, and without waiting for room.
    pub unmeasured: u64,
}

impl Default for RowBounds {
    /// 64 MiB for a value and for a related list, 128 MiB for a row; 8 MiB are read without further
    /// ado.
    fn default() -> RowBounds {
        RowBounds { value: 64 * MIB, row: 128 * MIB, unmeasured: 8 * MIB }
    }
}

impl RowBounds {
    /// The lengths of a row's values that must be left out: those beyond the bound, then the
    /// largest until the rest fits.
    #[cfg(any(feature = "sql", test))]
    pub(crate) fn left_out(&self, lengths: &[u64]) -> Vec<usize> {
        let mut out: Vec<usize> = (0..lengths.len()).filter(|&at| lengths[at] > self.value).collect();
        let mut rest: Vec<usize> = (0..lengths.len()).filter(|at| !out.contains(at)).collect();
        // Of equal ones the first stays.
        rest.sort_by_key(|&at| lengths[at]);
        while rest.iter().map(|&at| lengths[at]).sum::<u64>() > self.row {
            out.extend(rest.pop());
        }
        out
    }
}

/// The memory that reads of large rows may take together: those of all databases that are opened
/// with the same one.
///
/// A read of a row of some bytes counts as [`FACTOR`](ReadMemory::FACTOR) times that: the driver's
/// buffers, the values, their encoded form. Who finds no room waits, in the order of coming,
/// without a connection; one that needs more than there is takes all of it.
#[derive(Clone, Debug)]
pub struct ReadMemory {
    free: Arc<Semaphore>,
    bytes: u64,
    wait: Duration,
}

/// Room is given out in pieces of so many bytes, so that a semaphore can count them.
const PIECE: u64 = 4096;

/// The right to hold a large row while it is read, until it is dropped.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    _permit: OwnedSemaphorePermit,
}

impl ReadMemory {
    /// How many times a row's bytes a read of it takes.
    pub const FACTOR: u64 = 4;

    /// So many bytes, for which a read waits as long as for its turn at the database.
    pub fn new(bytes: u64) -> ReadMemory {
        let bytes = bytes.clamp(PIECE, PIECE * u64::from(u32::MAX));
        let free = Arc::new(Semaphore::new((bytes / PIECE) as usize));
        ReadMemory { free, bytes, wait: GateLimits::default().wait }
    }

    /// The same, where a read waits so long.
    pub fn waiting(self, wait: Duration) -> ReadMemory {
        ReadMemory { wait, ..self }
    }

    /// Waits for room to read rows of so many bytes. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`Kind::Busy`] when the wait was too long.
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
    /// 512 MiB: the largest row, read by one read at a time.
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
    /// For how many bytes of rows.
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
