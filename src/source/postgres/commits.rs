//! Commits by their positions: in the write-ahead log, or by the transaction's id.
//!
//! PostgreSQL manual, 9.27.5 (WAL) and 9.27.10 (transaction ids): `pg_current_wal_insert_lsn()`
//! behind a commit is a position at or behind it; `pg_current_xact_id()` within a transaction is its
//! id. Ids need PostgreSQL 13.

use tokio_postgres::{Client, types::Type};

use crate::error::{Error, Kind, Result};

/// The end of the log that reads see: on a standby, what was replayed.
const LOG: &str = "
SELECT coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END
    >= $1::text::pg_lsn, false)";

/// Whether none of the transactions is under way, or still to come. A standby's snapshot does not
/// list those that are under way, but it knows the status of each.
const TRANSACTIONS: &str = "
SELECT coalesce(bool_and(CASE WHEN id < pg_snapshot_xmax(pg_current_snapshot())
    THEN coalesce(pg_xact_status(id), 'forgotten') <> 'in progress' ELSE false END), true)
FROM (SELECT text::xid8 AS id FROM unnest($1::text[]) AS text) AS told";

/// The position of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    /// In the log: a byte.
    Log(u64),
    /// The id of its transaction.
    Transaction(u64),
}

impl Commit {
    fn read(text: &str) -> Result<Commit> {
        let commit = match text.split_once('/') {
            Some((high, low)) => half(high).zip(half(low)).map(|(high, low)| Commit::Log(high << 32 | low)),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().map(Commit::Transaction),
            None => None,
        };
        commit.ok_or_else(|| {
            Error::new(Kind::Invalid, "this is no position of a commit in PostgreSQL").remedy(
                "give what `SELECT pg_current_wal_insert_lsn()` returns behind the commit (0/16B3748), or \
                 `SELECT pg_current_xact_id()` within the transaction (7341)",
            )
        })
    }
}

/// One half of a position in the log, in hexadecimal digits.
fn half(text: &str) -> Option<u64> {
    let is_plain = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_plain)
}

/// Checks that a text is the position of a commit.
///
/// # Errors
/// [`Kind::Invalid`] if it is none.
pub(super) fn check(text: &str) -> Result<()> {
    Commit::read(text).map(drop)
}

/// The questions whose answers must all be true if reads see these commits: the SQL, and its one
/// parameter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Questions {
    log: Option<String>,
    transactions: Vec<String>,
}

impl Questions {
    /// # Errors
    /// [`Kind::Invalid`] if one of them is no commit.
    pub(super) fn of(commits: &[&str]) -> Result<Questions> {
        let mut end = None;
        let mut transactions = vec![];
        for commit in commits {
            match Commit::read(commit)? {
                // Who sees the last of them sees them all.
                Commit::Log(at) => end = end.max(Some(at)),
                Commit::Transaction(id) => transactions.push(id.to_string()),
            }
        }
        Ok(Questions { log: end.map(|at| format!("{:X}/{:X}", at >> 32, at & 0xffff_ffff)), transactions })
    }

    /// Whether all answers are true.
    pub(super) async fn ask(&self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        if let Some(end) = &self.log
            && !client.query_typed(LOG, &[(end, Type::TEXT)]).await?.iter().all(|row| row.get(0))
        {
            return Ok(false);
        }
        if self.transactions.is_empty() {
            return Ok(true);
        }
        let rows = client.query_typed(TRANSACTIONS, &[(&self.transactions, Type::TEXT_ARRAY)]).await?;
        Ok(rows.iter().all(|row| row.get(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_a_position_in_the_log_or_the_id_of_a_transaction() {
        assert_eq!(Commit::read("0/16B3748").unwrap(), Commit::Log(0x016b_3748));
        assert_eq!(Commit::read("1/ffffffff").unwrap(), Commit::Log(0x1_ffff_ffff));
        assert_eq!(Commit::read("7341").unwrap(), Commit::Transaction(7341));
        for wrong in ["", "/", "0/", "/1", "0/1/2", "0/123456789", "+1", "-1", "1.5", "x", "0/-1", " 1", "1' OR '1"] {
            assert_eq!(Commit::read(wrong).unwrap_err().kind(), Kind::Invalid, "{wrong}");
        }
        assert!(Commit::read(&"9".repeat(21)).is_err());
    }

    #[test]
    fn of_positions_in_the_log_the_last_is_asked_about_and_of_transactions_each() {
        let questions = Questions::of(&["0/16B3748", "12", "1/A", "0/FF", "7"]).unwrap();
        let expected = Questions { log: Some("1/A".into()), transactions: vec!["12".into(), "7".into()] };
        assert_eq!(questions, expected);
        assert_eq!(Questions::of(&[]).unwrap(), Questions::default());
    }
}
