//! What a server remembers of a journal, to see that the store went back to an earlier state.
//!
//! A replica that is promoted may not have heard of the last entries. Then the head is smaller than
//! it was, or it has grown again by other entries under the same numbers. A server finds out by the
//! marks of heads that it has seen: each entry holds the mark of the head before it. A server keeps
//! the last entries too, and puts them back if nobody has written others in their place.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::form::{Entry, Head};
use crate::change::Token;

/// How many heads of the current epoch are remembered. A server sees one in each look.
const MARKS: usize = 1024;
/// How many entries of the current epoch are kept, and how many bytes of them.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// How many epochs that are over are remembered.
const EPOCHS: usize = 16;

/// The heads that a server has seen.
#[derive(Default)]
pub(super) struct Known {
    epoch: u64,
    /// The mark of each of them in this epoch, by its number.
    marks: BTreeMap<u64, u64>,
    /// The last entries of this epoch that were heard or told, by their numbers.
    kept: BTreeMap<u64, Kept>,
    kept_bytes: usize,
    /// Epochs that are over.
    left: VecDeque<u64>,
}

/// An entry that may be put back.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) head: Head,
    /// The mark of the head before.
    before: u64,
    /// Its stored form.
    pub(super) sealed: Bytes,
}

impl Kept {
    pub(super) fn new(entry: &Entry, sealed: Bytes) -> Kept {
        Kept { head: entry.head, before: entry.before, sealed }
    }
}

/// What was known at a moment. An answer of the store is compared with what was known before it was
/// asked: meanwhile another call may have learnt more.
pub(super) struct Then {
    pub(super) last: Option<Head>,
    left: VecDeque<u64>,
}

impl Known {
    pub(super) fn now(&self) -> Then {
        let last = self.marks.last_key_value();
        let last = last.map(|(&number, &mark)| Head(Token { epoch: self.epoch, number, mark }));
        Then { last, left: self.left.clone() }
    }

    /// Notes a head that the store has shown, or has just been given.
    pub(super) fn note(&mut self, head: Head) {
        let Token { epoch, number, mark } = head.0;
        if self.left.contains(&epoch) {
            return;
        }

        if self.epoch != epoch {
            self.left.push_back(self.epoch);
            if self.left.len() > EPOCHS {
                self.left.pop_front();
            }
            self.epoch = epoch;
            self.marks.clear();
            self.kept.clear();
            self.kept_bytes = 0;
        }

        self.marks.insert(number, mark);
        if self.marks.len() > MARKS {
            self.marks.pop_first();
        }
    }

    /// Keeps an entry of the current epoch, for the case that the store loses it.
    pub(super) fn keep(&mut self, entry: Kept) {
        let Token { epoch, number, .. } = entry.head.0;
        if epoch != self.epoch {
            return;
        }

        self.kept_bytes += entry.sealed.len();
        if let Some(replaced) = self.kept.insert(number, entry) {
            self.kept_bytes -= replaced.sealed.len();
        }
        while (self.kept.len() > KEPT || self.kept_bytes > KEPT_BYTES)
            && let Some((_, oldest)) = self.kept.pop_first()
        {
            self.kept_bytes -= oldest.sealed.len();
        }
    }

    /// The entries behind this head up to the last one that was seen, if all of them are kept and
    /// the first of them follows it.
    pub(super) fn lost_behind(&self, head: &Head) -> Option<Vec<Kept>> {
        let last = *self.marks.last_key_value()?.0;
        if head.0.epoch != self.epoch || head.0.number >= last {
            return None;
        }

        let mut before = *head;
        let mut lost = vec![];
        for number in head.0.number + 1..=last {
            let entry = self.kept.get(&number).filter(|entry| entry.before == before.0.mark)?;
            before = entry.head;
            lost.push(entry.clone());
        }
        Some(lost)
    }

    /// Whether an entry is not the one that this server knows at its position, or does not follow
    /// the one that it knows before that.
    pub(super) fn denies(&self, entry: &Entry) -> bool {
        let Token { epoch, number, mark } = entry.head.0;
        let is_other = |number: u64, mark: u64| self.marks.get(&number).is_some_and(|known| *known != mark);
        epoch == self.epoch && (is_other(number, mark) || is_other(number.wrapping_sub(1), entry.before))
    }
}

impl Then {
    /// Whether the store went back: this head is from before the last one, or in its place.
    pub(super) fn goes_back_to(&self, head: &Head) -> bool {
        let went_back = |last: &Head| {
            last.0.epoch == head.0.epoch
                && (head.0.number < last.0.number || head.0.number == last.0.number && head.0.mark != last.0.mark)
        };
        self.left.contains(&head.0.epoch) || self.last.as_ref().is_some_and(went_back)
    }
}
