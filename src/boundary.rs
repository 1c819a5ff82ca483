//! Where a chunk ends: a row ends a chunk when a hash of its key says so.
//!
//! If each chunk were "the next 50 rows", one insert would move every later boundary, and so rename
//! every later chunk. Here a boundary depends on the rows since the last boundary only, as in
//! content-defined chunking (FastCDC, Xia et al., USENIX ATC 2016): after an insert or delete the
//! boundaries fall into step again within a chunk or two, servers agree without talking, and
//! unchanged rows give the same bytes under the same key.
//!
//! Each row fills a share of the chunk. With `T` the text a chunk should hold and `R` its rows, the
//! share is `1/R`, but no more than `weight/T` after the first chunk, and no less than `weight/C`
//! with `C` the larger of 96 KiB and `1.5 T`: chunks hold `R` rows or `T` bytes, whichever is
//! larger, and on average never more than `C`. The chance that a row ends the chunk is its share,
//! times 3/4 until the chunk is full and 5/2 after that (FastCDC's normalisation); never before a
//! quarter is full, always at four times full. The mean of that is 1.05 of the target.

use xxhash_rust::xxh3::xxh3_64;

/// One full chunk, in fixed point: whole numbers, so that every machine agrees.
const FULL: u64 = 1 << 32;
const LEAST: u64 = FULL / 4;
const MOST: u64 = FULL * 4;
/// The most text that a chunk aims at, in bytes, no matter how many `rows` are asked for; only a
/// larger `bytes` raises it.
const CEILING: u64 = 96 * 1024;

/// The average contents of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// Rows of a list's first chunk, and the least of the others; at least 1.
    pub rows: u32,
    /// The least bytes of text of the others, on average; with 1 only `rows` counts.
    pub bytes: u32,
}

impl Default for Sizes {
    /// 50 rows first, so that the first byte is sent early; then 64 KiB, for few writes and good
    /// compression.
    fn default() -> Sizes {
        Sizes { rows: 50, bytes: 64 * 1024 }
    }
}

/// The hash of a row's key, from its canonical form. It is part of the stored form and must not
/// change without a new version.
pub(crate) fn key_hash(canonical: &[u8]) -> u64 {
    xxh3_64(canonical)
}

/// Decides, row by row, where one chunk ends.
#[derive(Clone, Debug)]
pub(crate) struct Boundary {
    sizes: Sizes,
    first: bool,
    filled: u64,
}

impl Boundary {
    /// The boundary of the chunk that starts a list (`first`) or of a later one.
    pub(crate) fn new(sizes: Sizes, first: bool) -> Boundary {
        Boundary { sizes, first, filled: 0 }
    }

    /// Takes the hash of the next row's key and the row's weight in bytes. Returns whether the row
    /// ends the chunk.
    pub(crate) fn ends(&mut self, key_hash: u64, weight: usize) -> bool {
        let rows = u64::from(self.sizes.rows.max(1));
        let text = u64::from(self.sizes.bytes.max(1));
        let ceiling = CEILING.max(text * 3 / 2);
        let weight = (weight as u64).min(ceiling * 8);
        let mut share = FULL / rows;
        if !self.first {
            share = share.min(weight * FULL / text);
        }

        let share = share.max(weight * FULL / ceiling).max(1);
        let full = self.filled >= FULL;
        self.filled += share;
        if self.filled < LEAST {
            return false;
        }

        let chance = if full { share * 5 / 2 } else { share * 3 / 4 };
        self.filled >= MOST || (key_hash >> 32) < chance
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Cuts a list of (key, bytes) into chunks, each a list of keys.
    fn cut(rows: &[(u64, usize)], sizes: Sizes) -> Vec<Vec<(u64, usize)>> {
        let mut chunks = vec![];
        let mut open = vec![];
        let mut boundary = Boundary::new(sizes, true);
        for &(key, bytes) in rows {
            open.push((key, bytes));
            if boundary.ends(key_hash(&key.to_be_bytes()), bytes) {
                chunks.push(std::mem::take(&mut open));
                boundary = Boundary::new(sizes, false);
            }
        }
        if !open.is_empty() {
            chunks.push(open);
        }
        chunks
    }

    #[test]
    fn the_mean_is_near_the_target_in_rows_and_in_bytes() {
        let rows: Vec<_> = (0..400_000).map(|key| (key, 100)).collect();
        let chunks = cut(&rows, Sizes { rows: 50, bytes: 1 });
        let mean = rows.len() as f64 / chunks.len() as f64;
        assert!((45.0..60.0).contains(&mean), "{mean} rows");
        let chunks = cut(&rows, Sizes { rows: 50, bytes: 65_536 });
        let mean = rows.len() as f64 * 100.0 / chunks.len() as f64;
        assert!((60_000.0..75_000.0).contains(&mean), "{mean} bytes");
        assert!(chunks[0].len() <= 200, "the first chunk is aimed smaller: {}", chunks[0].len());
    }

    #[test]
    fn no_chunk_is_larger_than_four_times_the_ceiling_and_a_row() {
        let rows: Vec<_> = (0..20_000u64).map(|key| (key, (key_hash(&key.to_le_bytes()) % 30_000) as usize)).collect();
        for chunk in cut(&rows, Sizes { rows: 1_000_000, bytes: 65_536 }) {
            let bytes: usize = chunk.iter().map(|row| row.1).sum();
            assert!(bytes as u64 <= 4 * CEILING + 30_000, "{bytes}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn an_edit_changes_a_bounded_few_of_a_thousand_chunks(
            seed: u64, at in 0usize..60_000, edit in 0..3, rows in 10u32..90, bytes in 20usize..400,
        ) {
            // Keys in steps of two, to leave room for an insert between any two.
            let list: Vec<_> = (0..60_000u64).map(|n| (seed / 4 + 2 * n, bytes + (n % 7) as usize)).collect();
            let sizes = Sizes { rows, bytes: (rows as usize * bytes) as u32 };
            let mut edited = list.clone();
            match edit {
                0 => edited.insert(at, (list[at].0 + 1, bytes * 3)),
                1 => { edited.remove(at); }
                _ => edited[at].0 += 1,
            }

            edited.sort_unstable();
            let before = cut(&list, sizes);
            let after = cut(&edited, sizes);
            prop_assert!(before.len() > 500);
            let kept: std::collections::HashSet<_> = before.iter().collect();
            let changed = after.iter().filter(|chunk| !kept.contains(chunk)).count();
            prop_assert!(changed <= 24, "{changed} of {} chunks changed", after.len());
            prop_assert_eq!(after.concat(), edited);
        }
    }
}
