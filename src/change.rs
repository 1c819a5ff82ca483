//! What programs and operators tell: which rows have changed, and which are to be forgotten.

pub(crate) mod entry;
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server reads bodies"))]
pub(crate) mod json;

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use crate::error::{Error, Kind};

/// A row of a table has changed: it was inserted, updated or deleted.
///
/// A change names the row by the values of its table's primary key, as texts: `7`, `dahlia`, or for
/// a key of several columns each of them. It is told after its transaction has been committed.
///
/// ```
/// use chunkflow::Change;
///
/// let trick = Change::of("tricks", ["7"]);
/// let category = Change::of("tricks", ["3"]).in_table("tricks_category");
/// let joined = Change::of("tricks", ["12"]).in_table("tricks_trick_categories").was("trick_id", Some("7"));
/// # let _ = (trick, category, joined);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The name of a resource, which stands for its table and its database. Changes that are told
    /// together share it.
    pub resource: Arc<str>,
    /// Another table of that database, if the row is not one of the resource's own table.
    pub table: Option<Arc<str>>,
    /// The values of the primary key's columns, in their order. None, where the table's rows are
    /// read by closures ([`Closure::follows`](crate::source::Closure::follows)): any of its rows may
    /// have changed.
    pub key: Vec<String>,
    /// Values before the change, by the names of their columns, as far as they are known. `None` is
    /// NULL.
    pub old: BTreeMap<String, Option<String>>,
    /// Values after the change, in the same way.
    pub new: BTreeMap<String, Option<String>>,
    /// The position of its commit in the database's log, as the database writes it, where reads go to
    /// a standby: a list is then right as soon as the standby shows the commit. PostgreSQL:
    /// `pg_current_wal_insert_lsn()` behind the commit, or `pg_current_xact_id()` within the
    /// transaction. MySQL: `@@GLOBAL.gtid_executed`, MariaDB: `@@last_gtid`, behind the commit.
    pub at: Option<Arc<str>>,
}

impl Change {
    /// A change of the row with this key in the table of a resource.
    pub fn of<K: Into<String>>(resource: impl Into<Arc<str>>, key: impl IntoIterator<Item = K>) -> Change {
        Change {
            resource: resource.into(),
            table: None,
            key: key.into_iter().map(Into::into).collect(),
            old: BTreeMap::new(),
            new: BTreeMap::new(),
            at: None,
        }
    }

    /// The same for a row of another table of the resource's database.
    #[must_use]
    pub fn in_table(self, table: impl Into<Arc<str>>) -> Change {
        Change { table: Some(table.into()), ..self }
    }

    /// The same, with the position of its commit.
    #[must_use]
    pub fn at(self, commit: impl Into<Arc<str>>) -> Change {
        Change { at: Some(commit.into()), ..self }
    }

    /// The same, with the value of a column before the change.
    #[must_use]
    pub fn was<V: Into<String>>(mut self, column: impl Into<String>, value: Option<V>) -> Change {
        self.old.insert(column.into(), value.map(Into::into));
        self
    }

    /// The same, with the value of a column after the change.
    #[must_use]
    pub fn is<V: Into<String>>(mut self, column: impl Into<String>, value: Option<V>) -> Change {
        self.new.insert(column.into(), value.map(Into::into));
        self
    }
}

/// The value of a column among those of a change; the name may be written in another case.
pub(crate) fn value_of<'c>(values: &'c BTreeMap<String, Option<String>>, column: &str) -> Option<Option<&'c str>> {
    let found = values.iter().find(|(name, _)| name.eq_ignore_ascii_case(column));
    found.map(|(_, value)| value.as_deref())
}

/// Rows of a resource that are to be read again, changed or not: those that meet some conditions.
/// Whole lists with these conditions are read again too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purge {
    /// The name of the resource.
    pub(crate) resource: Arc<str>,
    /// Names and values of parameters, as a request for the list has them: `organisation_id`,
    /// `eq.1`.
    pub(crate) conditions: Vec<(String, String)>,
}

/// What is told at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tell {
    pub(crate) changes: Vec<Change>,
    pub(crate) purges: Vec<Purge>,
}

impl Tell {
    /// That rows have changed.
    pub(crate) fn of(changes: &[Change]) -> Tell {
        Tell { changes: changes.to_vec(), purges: vec![] }
    }

    /// What several entries tell together.
    pub(crate) fn all(entries: &[Tell]) -> Tell {
        let mut all = Tell::default();
        entries.iter().for_each(|entry| all.add(entry.clone()));
        all
    }

    /// Tells this too.
    pub(crate) fn add(&mut self, other: Tell) {
        self.changes.extend(other.changes);
        self.purges.extend(other.purges);
    }
}

/// A position among all changes that were told. A list that is asked for with it
/// (`?at_least=TOKEN`) shows all changes up to there, on every server.
///
/// Two tokens of one epoch with one mark have the same changes before them. With another mark they
/// do not: the store went back to an earlier state, and has gone on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Token {
    /// Which series of changes it belongs to: a store that has lost its changes begins another.
    pub epoch: u64,
    /// How many changes were told before and at this one.
    pub number: u64,
    /// Random, another for each change that was told; 0 where the store has no marks.
    pub mark: u64,
}

impl Token {
    /// Epoch and number alone, as they stand in a token's text: `3f60c1a29b7e4d08.17`.
    pub(crate) fn place(&self) -> String {
        format!("{:016x}.{}", self.epoch, self.number)
    }

    /// The same without the mark, where that is of no use.
    pub(crate) fn unmarked(self) -> Token {
        Token { mark: 0, ..self }
    }
}

impl fmt::Display for Token {
    /// The epoch in hexadecimal digits, the number, and the mark in hexadecimal digits, if there is
    /// one, with dots between them: `3f60c1a29b7e4d08.17.9ac04f1be2210d63`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        if self.mark == 0 { Ok(()) } else { write!(f, ".{:016x}", self.mark) }
    }
}

impl FromStr for Token {
    type Err = Error;

    /// Reads that text, with or without a mark.
    fn from_str(text: &str) -> Result<Token, Error> {
        let digits = |text: &str| {
            let is_plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            u64::from_str_radix(text, 16).ok().filter(|_| is_plain)
        };
        let read = || {
            let (epoch, rest) = text.split_once('.')?;
            let (number, mark) = rest.split_once('.').map_or((rest, None), |(number, mark)| (number, Some(mark)));
            let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
            let number = number.parse().ok().filter(|_| is_plain)?;
            Some(Token { epoch: digits(epoch)?, number, mark: mark.map_or(Some(0), digits)? })
        };
        read().ok_or_else(|| {
            Error::new(Kind::Invalid, "this is no token of a change")
                .remedy("give the token that `changed` has returned, unchanged")
        })
    }
}

/// Any text is refused as a token, or is one whose own text is read back.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_token(text: &str) {
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.to_string().parse::<Token>().expect("its own text"), token);
        assert_eq!(token.epoch, u64::from_str_radix(&text[..16], 16).expect("it begins with the epoch"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_s_text_is_read_back_with_and_without_its_mark(epoch: u64, number: u64, mark: u64) {
            for token in [Token { epoch, number, mark }, Token { epoch, number, mark: 0 }] {
                prop_assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
            }
        }

        #[test]
        fn any_text_is_a_token_or_is_refused(
            text in "[0-9a-f+. -]{0,48}|[0-9a-f]{15,17}\\.[0-9]{1,21}(\\.[0-9a-f]{15,17})?|.*",
        ) {
            fuzz_token(&text);
        }
    }

    #[test]
    fn a_token_s_text_is_this() {
        let token = Token { epoch: 0x3f60_c1a2_9b7e_4d08, number: 17, mark: 0x0ac0_4f1b_e221_0d63 };
        assert_eq!(token.to_string(), "3f60c1a29b7e4d08.17.0ac04f1be2210d63");
        assert_eq!(token.unmarked().to_string(), "3f60c1a29b7e4d08.17");
        for wrong in [
            "3f60c1a29b7e4d08.17.",
            "3f60c1a29b7e4d08.17.0ac04f1be2210d6",
            "3f60c1a29b7e4d08.17.+ac04f1be2210d63",
            "3f60c1a29b7e4d08.17.0ac04f1be2210d63.",
            "3f60c1a29b7e4d08..0ac04f1be2210d63",
            "3f60c1a29b7e4d08.+1.0ac04f1be2210d63",
            "3f60c1a29b7e4d08",
        ] {
            wrong.parse::<Token>().expect_err(wrong);
        }
    }
}
