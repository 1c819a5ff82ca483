//! The lengths of some rows' values: how many rows are read at once, what is left out, and how much
//! memory that takes.

use super::{plan::Plan, width::RUN_BYTES};

/// A value of a related row counts as at least this many bytes, since a list may have millions of
/// small values.
const RELATED_VALUE: u64 = 16;

/// The bytes of some rows' values: for each row those of its selects, then those of its related
/// lists.
pub(in crate::source) struct Lengths {
    width: usize,
    bytes: Vec<u64>,
    /// Which of a row's values the database could not measure.
    pub(in crate::source) unknown: Vec<bool>,
}

impl Lengths {
    /// The lengths of `rows` rows, all zero so far.
    pub(in crate::source) fn new(plan: &Plan, rows: usize) -> Lengths {
        let width = plan.selects.len() + plan.relations.len();
        Lengths { width, bytes: vec![0; rows * width], unknown: vec![false; width] }
    }

    pub(in crate::source) fn of(&self, row: usize) -> &[u64] {
        &self.bytes[row * self.width..][..self.width]
    }

    pub(in crate::source) fn note(&mut self, row: usize, at: usize, bytes: u64) {
        self.bytes[row * self.width + at] = bytes;
    }

    /// Notes the size of a row's related list: its bytes, and how many values it has.
    pub(in crate::source) fn note_list(&mut self, row: usize, at: usize, bytes: u64, values: u64) {
        self.note(row, at, bytes.max(values.saturating_mul(RELATED_VALUE)));
    }

    pub(in crate::source) fn sum(&self, row: usize) -> u64 {
        self.of(row).iter().sum()
    }

    /// How many of the first rows to read at once: only one if it is wide or a value of it is left
    /// out.
    pub(in crate::source) fn batch(&self, plan: &Plan, rows: usize) -> usize {
        let is_whole = |row: usize| plan.bounds.left_out(self.of(row)).is_empty();
        let mut bytes = 0;
        let fits = |&row: &usize| {
            bytes += self.sum(row);
            row == 0 || (bytes <= RUN_BYTES as u64 && is_whole(0) && is_whole(row))
        };
        (0..rows).take_while(fits).count()
    }

    /// Which values of the first row to leave out.
    pub(in crate::source) fn left_out(&self, plan: &Plan, rows: usize) -> Vec<usize> {
        if rows == 0 { vec![] } else { plan.bounds.left_out(self.of(0)) }
    }

    /// How many bytes the first rows take, without these values of the first.
    pub(in crate::source) fn weight(&self, rows: usize, left_out: &[usize]) -> u64 {
        let all: u64 = (0..rows).map(|row| self.sum(row)).sum();
        let out: u64 = left_out.iter().map(|&at| self.of(0)[at]).sum();
        all - out
    }
}
