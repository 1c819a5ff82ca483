//! The lists that clients ask for.

use super::{
    history::Only,
    plan::{GROUPS, RANKS},
};

/// A list that clients may ask for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) only: Only,
    filter: Option<String>,
    pub(super) limit: Option<u64>,
    pub(super) coding: &'static str,
}

impl Wanted {
    /// Any list of the resources.
    pub(super) fn any(is_collated: bool) -> Wanted {
        let group = fastrand::i64(0..GROUPS);
        let rank = fastrand::i64(0..RANKS);
        let (only, filter) = match fastrand::u32(0..8) {
            0..2 => (Only::All, None),
            2..4 => (Only::Group(group), Some(format!("grp=eq.{group}"))),
            4 if is_collated => (Only::Group(group), Some(format!("kin=eq.KIN%20{group}"))),
            5 => (Only::GroupOrFromRank(group, rank), Some(format!("or=(grp.eq.{group},rank.not.lt.{rank})"))),
            6 => (Only::AuthorsOfParity(group % 2), Some(format!("author.parity=eq.{}", group % 2))),
            _ => (Only::FromRank(rank), Some(format!("rank=gte.{rank}"))),
        };
        let name = if is_collated && fastrand::bool() { "names" } else { "list" };
        let format = if fastrand::bool() { ".json" } else { ".ndjson" };
        let limit = fastrand::bool().then(|| fastrand::u64(1..12));
        let coding = ["identity", "identity", "gzip"][fastrand::usize(0..3)];
        Wanted { path: format!("/{name}{format}"), only, filter, limit, coding }
    }

    /// Its query, without a cursor.
    pub(super) fn query(&self) -> String {
        let limit = self.limit.map(|limit| format!("limit={limit}"));
        self.filter.iter().cloned().chain(limit).collect::<Vec<_>>().join("&")
    }
}
