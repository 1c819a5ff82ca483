//! How many changes were heard: by this process's count, and by the store's.
//!
//! A store that is shared counts in epochs of its own; chunks carry its positions. This process
//! counts on when the store begins another epoch, and when something is entered once more. A
//! position of the store is never taken for a later one here than it was: a chunk may be judged by
//! a change twice, but is never spared one.
//!
//! After a failover a store may count other changes under numbers that it has used before. So a
//! position is believed only if its mark is the one that was heard with its number. A mark stands
//! for everything before it too, since each entry of the journal names the mark before its own.

use std::collections::VecDeque;

use super::marks::Marks;
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
    /// The count of a chunk without a position, if only this process counts: it was made before any
    /// change was told. 0 if changes were lost. Chunks of a store without one are never believed.
    origin: u64,
    /// The store's numbers after which something was entered once more, in order: this process
    /// counts one more for each.
    repeats: VecDeque<u64>,
    /// Smaller numbers of the store cannot be converted.
    certain_from: u64,
    /// The marks of the store's last numbers, up to that of `last`; none before the first look, and
    /// `None` if only this process counts. They have no gap: each was heard right behind the one
    /// before.
    marks: Option<Marks>,
}

/// The end of what was told together, by the store's count.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    /// The position of the last change.
    pub(crate) at: Token,
    /// The mark of each change, perhaps behind earlier ones; none where the store has none.
    pub(crate) marks: &'a [u64],
}

impl Count {
    /// `is_alone`: no other process shares the chunks, so this one counts by itself.
    pub(super) fn new(is_alone: bool) -> Count {
        let epoch = if is_alone { fastrand::u64(1..) } else { 0 };
        Count {
            last: Token { epoch, ..Token::default() },
            at: FIRST,
            head: FIRST,
            began: FIRST,
            origin: if is_alone { FIRST } else { 0 },
            repeats: VecDeque::new(),
            certain_from: 0,
            marks: (!is_alone).then(Marks::default),
        }
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

    /// Counts changes, the last of which is at this end; `None` if only this process counts.
    pub(super) fn add(&mut self, told: Option<End<'_>>) {
        let last = told.map_or(Token { number: self.last.number + 1, ..self.last }, |end| end.at);
        let more = last.number.saturating_sub(self.last.number);
        // As many as the store counts, so that its positions can be converted.
        self.head += more.max(1);
        if let Some(End { at, marks }) = told
            && let Some(known) = &mut self.marks
        {
            known.add(at.mark, marks, more);
        }
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
        self.know_only(epoch.mark);
    }

    /// Knows the mark of the last change, and none before.
    fn know_only(&mut self, mark: u64) {
        if let Some(known) = &mut self.marks {
            known.begin(mark);
        }
    }

    /// Counts a loss: what was told before this position is not known.
    pub(super) fn lose(&mut self, told: Token) {
        self.head += 1;
        self.began = self.head;
        self.origin = 0;
        self.repeats.clear();
        // What was read at this same position may be older than the loss, also once the store
        // counts on.
        self.certain_from = if told == self.last { told.number + 1 } else { 0 };
        self.know_only(told.mark);
        self.come_to(told);
    }

    /// Comes to a position. If that is the last one again, what was read there before is older.
    fn come_to(&mut self, last: Token) {
        if last != self.last {
            self.at = self.head;
        }
        self.last = last;
    }

    /// A position by this process's count; 0 if it is of an epoch that is over, of changes that the
    /// store has lost or that were not heard here yet, or too old to be counted.
    pub(super) fn number_of(&self, token: Token) -> u64 {
        if token == Token::default() && self.marks.is_none() {
            return self.origin;
        }
        if token.number < self.certain_from || !self.is_ours(token) {
            return 0;
        }

        let behind = self.last.number - token.number;
        let number = self.at.checked_sub(behind + self.repeats_behind(token));
        number.filter(|number| *number >= self.began).unwrap_or(0)
    }

    /// Whether everything up to this position was heard here, and is remembered.
    fn is_ours(&self, token: Token) -> bool {
        token.epoch == self.last.epoch && self.mark_at(token.number) == Some(token.mark)
    }

    /// The mark of a number in this epoch, if it was heard here and is remembered.
    fn mark_at(&self, number: u64) -> Option<u64> {
        let behind = self.last.number.checked_sub(number)?;
        match &self.marks {
            Some(known) => known.behind(behind),
            None => Some(0),
        }
    }

    /// The position of a number in this epoch, if it was heard here and is remembered.
    pub(super) fn token_at(&self, number: u64) -> Option<Token> {
        let mark = self.mark_at(number)?;
        Some(Token { number, mark, ..self.last })
    }

    /// Whether a position is of changes that were not heard here yet.
    pub(super) fn is_ahead(&self, token: Token) -> bool {
        token.epoch == self.last.epoch && token.number > self.last.number
    }

    /// Whether the change at this position was heard here, and everything before it; `None` if it
    /// is too old for that to be known. Without a mark, its number decides.
    pub(super) fn has(&self, at: Token) -> Option<bool> {
        if at.epoch != self.last.epoch || at.number > self.last.number {
            return Some(false);
        }
        if at.mark == 0 {
            return Some(true);
        }
        Some(self.mark_at(at.number)? == at.mark)
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
    use super::{super::marks::MARKS, *};

    /// The position with this number. Each has a mark of its own.
    fn token(epoch: u64, number: u64) -> Token {
        Token { epoch, number, mark: 100 * epoch + number }
    }

    /// A count that has begun with an epoch.
    fn begun() -> Count {
        let mut count = Count::new(false);
        count.begin(token(7, 0));
        count
    }

    /// Counts so many changes, whose marks come behind that of the last position, as from a
    /// journal.
    fn add(count: &mut Count, by: u64) {
        let Token { epoch, number, .. } = count.last();
        let marks: Vec<u64> = (number..=number + by).map(|number| token(epoch, number).mark).collect();
        count.add(Some(End { at: token(epoch, number + by), marks: &marks }));
    }

    #[test]
    fn only_a_position_whose_mark_was_heard_with_its_number_is_believed() {
        let mut count = begun();
        let mut positions = vec![count.position()];
        for by in [3, 1, 2] {
            add(&mut count, by);
            positions.push(count.position());
        }

        for Position { token, number } in positions {
            assert_eq!((count.number_of(token), count.has(token)), (number, Some(true)));
            let other = Token { mark: token.mark + 1, ..token };
            assert_eq!((count.number_of(other), count.has(other)), (0, Some(false)), "of another history");
            let unmarked = token.unmarked();
            assert_eq!((count.number_of(unmarked), count.has(unmarked)), (0, Some(true)), "by an older server");
        }

        // Positions at which this server was not itself.
        for number in 0..=6 {
            let between = token(7, number);
            assert_eq!(count.token_at(number), Some(between));
            assert!(count.number_of(between) > 0 && count.has(between) == Some(true));
        }

        let ahead = token(7, 7);
        assert!(count.is_ahead(ahead) && !count.is_ahead(token(7, 6)) && !count.is_ahead(token(8, 7)));
        assert_eq!((count.number_of(ahead), count.has(ahead)), (0, Some(false)), "not heard yet");
        assert_eq!((count.number_of(token(8, 3)), count.has(token(8, 3))), (0, Some(false)), "of another epoch");
    }

    #[test]
    fn a_position_from_before_the_first_that_was_heard_is_not_believed_and_a_token_of_it_not_denied() {
        let mut count = Count::new(false);
        count.lose(token(7, 5));
        add(&mut count, 2);
        assert_eq!((count.number_of(token(7, 4)), count.has(token(7, 4))), (0, None));
        let first = count.number_of(token(7, 5));
        assert!(first > 0 && count.head() - first == 2);
        assert_eq!(count.has(Token { mark: 1, ..token(7, 5) }), Some(false));
    }

    #[test]
    fn positions_whose_marks_are_forgotten_are_not_believed_and_all_later_ones_are() {
        let mut count = begun();
        for _ in 0..10 {
            add(&mut count, MARKS as u64 / 8);
        }

        let last = count.last().number;
        let oldest = last - (MARKS as u64 - 1);
        for number in [0, oldest - 1] {
            assert_eq!((count.number_of(token(7, number)), count.has(token(7, number))), (0, None));
        }
        for number in [oldest, last / 2 + oldest / 2, last] {
            let position = token(7, number);
            assert_eq!((count.number_of(position), count.has(position)), (count.head() - (last - number), Some(true)));
        }
    }

    #[test]
    fn the_positions_of_a_store_without_marks_are_believed() {
        let mut count = Count::new(false);
        count.begin(Token { epoch: 7, ..Token::default() });
        for number in [2, 3, 9] {
            count.add(Some(End { at: Token { epoch: 7, number, mark: 0 }, marks: &[] }));
        }
        for number in 0..=9 {
            assert_eq!(count.number_of(Token { epoch: 7, number, mark: 0 }), FIRST + number);
        }
    }

    #[test]
    fn a_position_by_the_store_s_count_is_never_taken_for_a_later_one_here() {
        for is_alone in [true, false] {
            let mut count = Count::new(is_alone);
            if !is_alone {
                count.begin(token(7, 0));
            }

            let mut positions = vec![count.position()];
            for step in 0..60_u64 {
                match step % 5 {
                    0 | 3 => count.repeat(),
                    _ if is_alone => count.add(None),
                    by => add(&mut count, by),
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
        let mut count = begun();
        let before = count.position();
        count.lose(token(7, 5));
        assert_eq!(count.number_of(before.token), 0);

        let after = count.position();
        assert_eq!(count.number_of(after.token), after.number);
        count.lose(count.last());
        assert!(count.number_of(after.token) < count.head(), "the same position again");
        add(&mut count, 1);
        assert_eq!(count.number_of(after.token), 0, "the same position, after a change");
        let later = count.position();
        assert_eq!(count.number_of(later.token), later.number);
        count.lose(token(8, 1));
        assert_eq!(count.number_of(later.token), 0, "of another epoch");
    }

    #[test]
    fn a_chunk_without_a_position_is_believed_only_where_one_process_counts_alone_and_has_lost_nothing() {
        let nowhere = Token::default();
        let mut alone = Count::new(true);
        alone.add(None);
        assert_eq!(alone.number_of(nowhere), FIRST, "before anything was told");
        alone.lose(alone.last());
        assert_eq!(alone.number_of(nowhere), 0);

        let mut count = Count::new(false);
        assert_eq!(count.number_of(nowhere), 0, "before the first look");
        for epoch in [7, 8] {
            // The second is there because the store has lost the first.
            count.begin(token(epoch, 0));
            assert_eq!(count.number_of(nowhere), 0);
            add(&mut count, 1);
            assert_eq!(count.number_of(nowhere), 0);
            assert!(count.number_of(token(epoch, 0)) > 0 && count.number_of(token(epoch, 0).unmarked()) == 0);
        }
    }

    #[test]
    fn the_positions_of_a_store_in_which_nobody_has_told_anything_are_believed_after_the_first_look() {
        let mut count = Count::new(false);
        count.begin(Token::default());
        assert_eq!(count.number_of(Token::default()), FIRST);
        count.lose(Token { epoch: 7, number: 1, mark: 0 });
        assert_eq!(count.number_of(Token::default()), 0);
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
