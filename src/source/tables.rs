//! The tables that the rows of a closure come from, so that told changes are judged.

use std::{sync::Arc, time::Duration};

use super::touch::{KeyKind, KeyRule, OrderRule, PointingRule, RelatedRule, RelatedTable, Texts, TouchRules};
use crate::{
    chunk::related_key_hash,
    cursor::Cursor,
    error::{Error, Kind, Result},
    row::{RowBatch, Value},
};

/// The tables that the rows of a [`Closure`](super::Closure) come from.
///
/// With them, a change that a program tells touches the chunks that show its row, and those where
/// the row belongs now. For the latter the closure itself is asked, when such a chunk is next
/// requested: it is called with a condition on the columns of the key, for those of some changed
/// rows that the list has. What is not told here is not seen: a table that shapes the rows and is
/// named nowhere.
///
/// Keys are integers or texts, in the batch and where they are told; a UUID is its text in lower
/// case, with hyphens. A table has one key, of one or several columns.
///
/// ```
/// use chunkflow::source::Tables;
///
/// let tables = Tables::of("shop", "tricks_trick", ["id"])
///     .pointing_to("tricks_author", ["id"])
///     .with_children("tricks_comment", ["id"], "trick_id")
///     .joined("tricks_category", ["id"], "tricks_trick_categories", ["id"], "trick_id")
///     .shaped_by("tricks_price");
/// # let _ = tables;
/// ```
#[derive(Clone, Debug)]
pub struct Tables {
    database: String,
    table: Vec<String>,
    key: Vec<String>,
    related: Vec<RelatedRule>,
    others: Vec<String>,
}

impl Tables {
    /// A list's own table and the columns of its key, which are among those of the list's order.
    /// `database` is any name for the database, the same in every process that tells changes.
    pub fn of<K: Into<String>>(
        database: impl Into<String>,
        table: impl Into<String>,
        key: impl IntoIterator<Item = K>,
    ) -> Tables {
        Tables { table: vec![table.into()], key: strings(key), ..Tables::of_database(database) }
    }

    /// No table of its own: for a resource by whose name changes of any table of this database are
    /// told ([`Change::in_table`](crate::Change::in_table)). Nobody requests its rows.
    pub fn of_database(database: impl Into<String>) -> Tables {
        Tables { database: database.into(), table: vec![], key: vec![], related: vec![], others: vec![] }
    }

    /// The same, with rows of another table that own rows point to by a foreign key. The relation's
    /// index for [`note_related`](RowBatch::note_related) is that of this call among those that add
    /// one.
    #[must_use]
    pub fn pointing_to<K: Into<String>>(self, table: impl Into<String>, key: impl IntoIterator<Item = K>) -> Tables {
        self.relation(related(table, key), None)
    }

    /// The same, with rows of another table that point to own rows by `column`.
    #[must_use]
    pub fn with_children<K: Into<String>>(
        self,
        table: impl Into<String>,
        key: impl IntoIterator<Item = K>,
        column: impl Into<String>,
    ) -> Tables {
        self.relation(related(table, key), Some((None, column.into())))
    }

    /// The same, with rows of another table, found through a join table that points to own rows by
    /// `column`.
    #[must_use]
    pub fn joined<K: Into<String>, J: Into<String>>(
        self,
        table: impl Into<String>,
        key: impl IntoIterator<Item = K>,
        join: impl Into<String>,
        join_key: impl IntoIterator<Item = J>,
        column: impl Into<String>,
    ) -> Tables {
        self.relation(related(table, key), Some((Some(related(join, join_key)), column.into())))
    }

    /// The same, with a table that shapes the rows in a way that is not followed: any change there
    /// touches every chunk.
    #[must_use]
    pub fn shaped_by(mut self, table: impl Into<String>) -> Tables {
        self.others.push(table.into());
        self
    }

    fn relation(mut self, table: RelatedTable, pointing: Option<(Option<RelatedTable>, String)>) -> Tables {
        let pointing = pointing.map(|(join, column)| PointingRule { join, column, kind: KeyKind::Other });
        self.related.push(RelatedRule { table, pointing });
        self
    }

    /// The columns of the key.
    pub(super) fn key(&self) -> &[String] {
        &self.key
    }

    /// What a list in this order says of changes.
    ///
    /// # Errors
    /// [`Kind::Config`] if a column of the key is none of the order's.
    pub(super) fn rules(&self, order: &[String]) -> Result<TouchRules> {
        let name = |column: &String| column.strip_prefix('-').unwrap_or(column).to_owned();
        let key = self.key.iter().map(|column| {
            let at = order.iter().position(|one| name(one) == *column);
            let at = at.ok_or_else(|| {
                Error::new(Kind::Config, format!("the key's column `{column}` is none of the order's"))
                    .remedy("end the order with the columns of the key")
            })?;
            Ok(KeyRule { column: column.clone(), at, kind: KeyKind::Other })
        });
        let order = order.iter().map(|column| OrderRule {
            column: name(column),
            texts: Texts::Unknown,
            descending: column.starts_with('-'),
            null_is_greatest: false,
        });
        Ok(TouchRules {
            database: Arc::from(self.database.as_bytes()),
            settle: Duration::ZERO,
            table: self.table.clone(),
            key: key.collect::<Result<_>>()?,
            order: order.collect(),
            filters: vec![],
            pointed: vec![],
            related: self.related.clone(),
            others: self.others.clone(),
            reads_any: false,
            asks_later: true,
        })
    }
}

fn related<K: Into<String>>(table: impl Into<String>, key: impl IntoIterator<Item = K>) -> RelatedTable {
    let name = table.into();
    let key = strings(key).into_iter().map(|column| (column, KeyKind::Other)).collect();
    RelatedTable { names: vec![name.clone()], name, key }
}

fn strings<K: Into<String>>(names: impl IntoIterator<Item = K>) -> Vec<String> {
    names.into_iter().map(Into::into).collect()
}

impl RowBatch {
    /// Notes that a related row was looked up for the row that was added last: the index of the
    /// relation, and the key, whether a row was found under it or not. A change of that row then
    /// touches the chunk. For closures that [follow](super::Closure::follows) tables.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the batch has no row; [`Kind::Data`] for a value that no key has.
    pub fn note_related(&mut self, relation: usize, key: &[Value<'_>]) -> Result<()> {
        self.note_key(related_key_hash(relation, Cursor::after(key)?.canonical()))
    }
}

/// Checks that the keys of a batch's rows can be told.
///
/// # Errors
/// [`Kind::Data`] if one is neither an integer nor a text.
pub(super) fn check_keys(batch: &RowBatch, rules: &TouchRules) -> Result<()> {
    batch.each(0..batch.len(), |key, _| {
        let is_told = |rule: &KeyRule| matches!(key[rule.at], Value::Integer(_) | Value::Text(_));
        match rules.key.iter().find(|rule| !is_told(rule)) {
            None => Ok(()),
            Some(rule) => {
                Err(Error::new(Kind::Data, format!("a key in `{}` is neither an integer nor a text", rule.column))
                    .remedy("give the key as the text that changes of it are told by"))
            }
        }
    })
}

/// The values that a told key may stand for, where nobody said of which types they are: a number,
/// the text itself, or a UUID. None if there are too many.
pub(crate) fn candidates(key: &[String]) -> Vec<Cursor> {
    /// More than any key of four columns has.
    const MOST: usize = 81;
    let mut all: Vec<Vec<KeyKind>> = vec![vec![]];
    for _ in key {
        let kinds = [KeyKind::Integer, KeyKind::Text, KeyKind::Uuid];
        all = all.iter().flat_map(|before| kinds.map(|kind| [&before[..], &[kind]].concat())).collect();
        if all.len() > MOST {
            return vec![];
        }
    }

    let mut candidates: Vec<Cursor> = all.iter().filter_map(|kinds| super::touch::told_key(kinds, key)).collect();
    candidates.sort_by(|one, other| one.canonical().cmp(other.canonical()));
    candidates.dedup();
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_told_key_may_be_a_number_a_text_or_a_uuid() {
        let cursor = |values: &[Value<'_>]| Cursor::after(values).unwrap();
        let are = |key: &[&str], expected: &[&[Value<'_>]]| {
            let key: Vec<String> = key.iter().map(|text| (*text).to_owned()).collect();
            let candidates = candidates(&key);
            assert_eq!(candidates.len(), expected.len(), "{key:?}: {candidates:?}");
            assert!(expected.iter().all(|values| candidates.contains(&cursor(values))), "{key:?}: {candidates:?}");
        };
        are(&["7"], &[&[Value::Integer(7)], &[Value::Text(b"7")]]);
        are(&["07"], &[&[Value::Integer(7)], &[Value::Text(b"07")]]);
        are(&["a"], &[&[Value::Text(b"a")]]);
        are(
            &["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"],
            &[
                &[Value::Text(b"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")],
                &[Value::Text(b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")],
            ],
        );
        are(&["1", "b"], &[&[Value::Integer(1), Value::Text(b"b")], &[Value::Text(b"1"), Value::Text(b"b")]]);
        are(&["1", "2", "3", "4", "5"], &[]);
    }
}
