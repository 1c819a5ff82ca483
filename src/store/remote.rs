//! What a server over the network must do, to be made a store: keep bytes under names for a time.

use std::time::Duration;

use bytes::Bytes;

use super::FarState;
use crate::{error::Result, source::BoxFuture};

/// The time limit of a call, but for one that writes a chunk: no request waits for that.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// Keeps bytes for many servers. Names are ASCII and at most 250 bytes long; names with the same
/// text in braces belong on one machine. Each call ends within [`PATIENCE`], and at once if its
/// machine failed lately. Only [`set`](Remote::set) may take longer: it waits its turn first. A
/// connection on which a call failed is not used again.
pub(super) trait Remote: Send + Sync + 'static {
    /// The bytes under a name.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// Keeps bytes under a name for at most `keep`. Waits behind earlier calls of this method.
    fn set<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration) -> BoxFuture<'a, Result<()>>;

    /// Keeps bytes under a name if it has none, and then reads another name on the same machine.
    fn take<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration, other: &'a str) -> BoxFuture<'a, Result<Taken>>;

    /// Deletes a name if its value is exactly these bytes.
    fn give_back<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>>;

    /// For each of these names its value in each place that keeps a copy of its own, from those that
    /// answer; an error if none does. All of it is one call, which fails only if nothing answers: the
    /// machines of the names may be different ones.
    fn copies<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Vec<Result<Vec<Option<Bytes>>>>>;

    /// Keeps a number under a name without end, in each of those places that has none or a smaller
    /// one. An error if none takes it. Of two writes at once, the larger number stays.
    fn raise_copies<'a>(&'a self, name: &'a str, number: u64) -> BoxFuture<'a, Result<()>>;

    /// The values of names that belong together, from the machine where they belong; an error if
    /// that machine is away.
    fn read_together<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>>;

    /// Moves the head of a journal if it is still as it should be, on the machine where it belongs.
    /// Keeps the entry first, unless another one is there whose head has yet to be moved.
    fn step<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<Stepped>>;

    /// The largest value that it takes, in bytes.
    fn largest(&self) -> usize;

    /// The state of its machines.
    fn state(&self) -> FarState;
}

/// The outcome of [`Remote::take`].
pub(super) struct Taken {
    /// Whether the name had no value and has this one now.
    pub(super) ours: bool,
    /// The value of the other name.
    pub(super) there: Option<Bytes>,
}

/// A step of a journal in a store: from one head to the next.
pub(super) struct Step<'a> {
    /// The name of the head.
    pub(super) name: &'a str,
    /// The head as it should be; empty if there is none.
    pub(super) from: Bytes,
    pub(super) to: Bytes,
    /// A name on the same machine, and what is kept there before the head is moved.
    pub(super) entry: Option<(&'a str, Bytes)>,
    /// How long the entry is kept.
    pub(super) keep: Duration,
}

/// The outcome of a step.
pub(super) enum Stepped {
    /// The head is the one that it was to become.
    Done,
    /// The head is another. `kept` says whether the entry is there all the same, exactly as given.
    Other { head: Bytes, kept: bool },
    /// The head is as it should be, but another server keeps this entry under the name, and has yet
    /// to move the head.
    #[cfg_attr(not(feature = "memcached"), expect(dead_code, reason = "Redis takes a step in one piece"))]
    Taken(Bytes),
}

/// The number in this text, if it is below 2⁵³: a Redis script is exact up to there. 0 for any
/// other bytes.
pub(super) fn number_in(bytes: &[u8]) -> u64 {
    let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    number.filter(|number| *number < 1 << 53).unwrap_or(0)
}
