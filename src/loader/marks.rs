//! The marks of a store's last positions, without a gap, in a ring of a bounded size.

use std::{collections::VecDeque, iter};

/// How many marks are remembered: 4 MiB of them, or an hour and a half at a hundred entries a
/// second. What is touched is remembered for 65,536 tells, so older positions are rarely of use.
pub(super) const MARKS: usize = 524_288;

/// The marks of the last positions. It never has room for more than [`MARKS`].
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<u64>);

impl Marks {
    /// Knows this mark, and none before.
    pub(super) fn begin(&mut self, mark: u64) {
        self.0.clear();
        self.0.push_back(mark);
    }

    /// Adds as many marks, the last of which is `last`. `said` are the last of them, perhaps behind
    /// earlier ones, or none where the store has no marks.
    pub(super) fn add(&mut self, last: u64, said: &[u64], count: u64) {
        let count = usize::try_from(count).unwrap_or(MARKS).min(MARKS);
        let said = &said[said.len().saturating_sub(count)..];
        // First, so that the ring need not grow beyond its bound.
        let too_many = (self.0.len() + count).saturating_sub(MARKS);
        self.0.drain(..too_many);
        self.grow_by(count);

        self.0.extend(iter::repeat_n(0, count - said.len()));
        self.0.extend(said);
        if let Some(end) = self.0.back_mut() {
            *end = last;
        }
    }

    /// Makes room. By itself the ring would double it, also beyond the bound.
    fn grow_by(&mut self, count: usize) {
        let needed = self.0.len() + count;
        if needed > self.0.capacity() {
            let room = needed.max(2 * self.0.capacity()).min(MARKS);
            self.0.reserve_exact(room - self.0.len());
        }
    }

    /// The mark so many positions before the last; `None` if it is not remembered.
    pub(super) fn behind(&self, count: u64) -> Option<u64> {
        let count = usize::try_from(count).ok()?;
        let at = self.0.len().checked_sub(count.checked_add(1)?)?;
        self.0.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_has_room_for_its_bound_and_no_more_however_many_marks_come_at_once() {
        for steps in [&[1, 2, 3][..], &[10_000], &[7, 10_000, 64], &[MARKS as u64, 1], &[1, 3 * MARKS as u64, 10_000]] {
            let mut marks = Marks::default();
            marks.begin(1);
            let mut last = 1;
            for step in steps.iter().cycle() {
                let said: Vec<u64> = (last..=last + step).collect();
                last += step;
                marks.add(last, &said, *step);
                assert!(marks.0.capacity() <= MARKS, "{steps:?}: room for {} at {last}", marks.0.capacity());
                assert_eq!(marks.0.len(), usize::try_from(last).unwrap().min(MARKS), "{steps:?}");
                if last > 4 * MARKS as u64 || (*step < 64 && last > 100_000) {
                    break;
                }
            }

            let known = last.min(MARKS as u64);
            let ends = [0, 1, known / 2, known - 1].map(|behind| marks.behind(behind));
            assert_eq!(ends, [last, last - 1, last - known / 2, last - (known - 1)].map(Some), "{steps:?}");
            assert_eq!((marks.behind(known), marks.behind(u64::MAX)), (None, None), "{steps:?}");
        }
    }

    #[test]
    fn of_marks_that_a_store_does_not_say_only_the_last_is_known() {
        let mut marks = Marks::default();
        marks.begin(1);
        marks.add(5, &[], 3);
        assert_eq!([0, 1, 2, 3].map(|behind| marks.behind(behind)), [Some(5), Some(0), Some(0), Some(1)]);
        marks.add(6, &[5, 6], 1);
        assert_eq!(marks.behind(1), Some(5));
    }
}
