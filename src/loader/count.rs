//! How many changes were heard: by this process's count, and by the store's.
//!
//! A store that is shared counts in epochs of its own; chunks carry its positions. This process
//! counts on when the store begins another epoch, and when something is entered once more. A
//! position of the store is never taken for a later one here than it was: a chunk may be judged by a
//! change twice, but is never spared one.

use std::collections::VecDeque;

use crate::{change::Token, chunk::Position};

/// The count before the first change: 0 is the count of a chunk that was not judged.
pub(super) const FIRST: u64 = 1;
/// How many times that something was entered once more are remembered.
const REPEATS: usize = 4_096;

/// How many changes were heard.
pub(super) struct Count {
    /// The last change, by the store's count.
    last: Token,
    /// How many this process had heard when it came to `last`.
    at: u64,
    /// How many it has heard.
    head: u64,
    /// How many it had heard when this epoch began.
    began: u64,
    /// The count of a chunk that says nothing of changes: it was made before any was told. 0 if
    /// changes were told before this process heard of them.
    origin: u64,
    /// The store's numbers after which something was entered once more, in order: this process
    /// counts one more for each.
    repeats: VecDeque<u64>,
    /// Smaller numbers of the store cannot be converted.
    certain_from: u64,
}

impl Count {
    /// `is_alone`: no other process shares the chunks, so this one counts by itself.
    pub(super) fn new(is_alone: bool) -> Count {
        let last = if is_alone { Token { epoch: fastrand::u64(1..), number: 0 } } else { Token::default() };
        Count { last, at: FIRST, head: FIRST, began: FIRST, origin: FIRST, repeats: VecDeque::new(), certain_from: 0 }
    }

    /// How many this process has heard.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// The last change, by the store's count.
    pub(super) fn last(&self) -> Token {
        self.last
    }

    /// The position of a read that begins now.
    pub(super) fn position(&self) -> Position {
        Position { token: self.last, number: self.head }
    }

    /// Counts changes, the last of which has this position; `None` if only this process counts.
    pub(super) fn add(&mut self, told: Option<Token>) {
        let last = told.unwrap_or(Token { number: self.last.number + 1, ..self.last });
        // As many as the store counts, so that its positions can be converted.
        self.head += last.number.saturating_sub(self.last.number).max(1);
        self.come_to(last);
    }

    /// Counts what is entered once more.
    pub(super) fn repeat(&mut self) {
        self.head += 1;
        self.repeats.push_back(self.last.number);
        if self.repeats.len() > REPEATS
            && let Some(forgotten) = self.repeats.pop_front()
        {
            self.certain_from = forgotten + 1;
        }
    }

    /// Begins at the beginning of an epoch: nothing was told in it yet.
    pub(super) fn begin(&mut self, epoch: Token) {
        self.last = epoch;
    }

    /// Counts a loss: what was told before this position is not known.
    pub(super) fn lose(&mut self, told: Token) {
        self.head += 1;
        self.began = self.head;
        self.origin = 0;
        self.repeats.clear();
        // What was read at this same position may be older than the loss, also once the store counts
        // on.
        self.certain_from = if told == self.last { told.number + 1 } else { 0 };
        self.come_to(told);
    }

    /// Comes to a position. If that is the last one again, what was read there before is older.
    fn come_to(&mut self, last: Token) {
        if last != self.last {
            self.at = self.head;
        }
        self.last = last;
    }

    /// A position by this process's count; 0 if it is of an epoch that is over, or too old to be
    /// counted.
    pub(super) fn number_of(&self, token: Token) -> u64 {
        if token == Token::default() {
            return self.origin;
        }
        if token.epoch != self.last.epoch || token.number < self.certain_from {
            return 0;
        }

        // It may hold changes that were not heard here yet.
        let Some(behind) = self.last.number.checked_sub(token.number) else { return self.head };
        let number = self.at.checked_sub(behind + self.repeats_behind(token));
        number.filter(|number| *number >= self.began).unwrap_or(0)
    }

    /// How often something was entered once more behind a position, before the store counted on.
    fn repeats_behind(&self, token: Token) -> u64 {
        let from = self.repeats.partition_point(|number| *number < token.number);
        let to = self.repeats.partition_point(|number| *number < self.last.number);
        to.saturating_sub(from) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_by_the_store_s_count_is_never_taken_for_a_later_one_here() {
        for is_alone in [true, false] {
            let mut count = Count::new(is_alone);
            if !is_alone {
                count.begin(Token { epoch: 7, number: 0 });
            }

            let mut positions = vec![count.position()];
            for step in 0..60_u64 {
                match step % 5 {
                    0 | 3 => count.repeat(),
                    by => {
                        let last = count.last();
                        count.add((!is_alone).then_some(Token { number: last.number + by, ..last }));
                    }
                }
                positions.push(count.position());

                for position in &positions {
                    let number = count.number_of(position.token);
                    assert!(number <= position.number, "{position:?} is {number} at step {step}");
                    assert!(number > 0 && position.number - number <= 2, "{position:?} is {number} at step {step}");
                }
            }
        }
    }

    #[test]
    fn what_was_read_before_changes_were_lost_counts_as_before_all_of_them() {
        let mut count = Count::new(false);
        count.begin(Token { epoch: 7, number: 0 });
        assert_eq!(count.number_of(Token::default()), FIRST, "before anything was told");

        let before = count.position();
        count.lose(Token { epoch: 7, number: 5 });
        assert_eq!(count.number_of(before.token), 0);
        assert_eq!(count.number_of(Token::default()), 0);

        let after = count.position();
        assert_eq!(count.number_of(after.token), after.number);
        count.lose(count.last());
        assert!(count.number_of(after.token) < count.head(), "the same position again");
        count.add(Some(Token { epoch: 7, number: 6 }));
        assert_eq!(count.number_of(after.token), 0, "the same position, after a change");
        let later = count.position();
        assert_eq!(count.number_of(later.token), later.number);
        count.lose(Token { epoch: 8, number: 1 });
        assert_eq!(count.number_of(later.token), 0, "of another epoch");
    }

    #[test]
    fn positions_from_before_the_repeats_that_are_remembered_are_not_converted() {
        let mut count = Count::new(true);
        let first = count.position();
        for _ in 0..=REPEATS {
            count.repeat();
            count.add(None);
        }
        assert_eq!(count.number_of(first.token), 0);
        let last = count.position();
        assert_eq!(count.number_of(last.token), last.number);
    }
}
