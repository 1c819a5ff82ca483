//! Related lists of a run of rows: the keys that find them, how many are held, and which row each
//! belongs to.

use std::sync::Arc;

use super::{
    catalogue::fill,
    dialect::Dialect,
    plan::{JOIN, RELATED, Relation, Select},
    rewrite::Rewrite,
    width::Wide,
};
use crate::{
    cursor,
    error::Error,
    row::{Form, Slot, Value, ValueBuffer, unreadable_key},
};

/// The most memory for a run's related rows, in bytes. A run with more is made shorter.
const RELATED_BYTES: usize = 4 * 1024 * 1024;
/// Keys lie close if their range is at most this many times their number.
const CLOSE: i64 = 4;

/// The related lists of a run: which related rows belong to which row.
pub(in crate::source) struct Lists {
    rows: Arc<ValueBuffer>,
    /// The row of the run in the upper half, the index of the related row in the lower half;
    /// sorted.
    pairs: Vec<u64>,
    /// Where each row's values begin, and where the last row's end.
    starts: Vec<usize>,
    /// Whether nothing was read, since the only list is too large.
    pub(in crate::source) is_too_large: bool,
}

impl Lists {
    /// The lists of `count` rows, from [`pair`]s.
    pub(in crate::source) fn new(rows: Arc<ValueBuffer>, mut pairs: Vec<u64>, count: usize) -> Lists {
        if !pairs.is_sorted() {
            pairs.sort_unstable();
        }
        let mut starts = Vec::with_capacity(count + 1);
        let mut at = 0;
        for row in 0..=count as u64 {
            while pairs.get(at).is_some_and(|pair| pair >> 32 < row) {
                at += 1;
            }
            starts.push(at * rows.width);
        }
        Lists { rows, pairs, starts, is_too_large: false }
    }

    /// The list of one row, which is too large.
    pub(in crate::source) fn too_large() -> Lists {
        Lists { is_too_large: true, ..Lists::new(Arc::new(ValueBuffer::new(1)), vec![], 1) }
    }

    /// For a relation of [sums](Relation::is_sum): the sums of one row's list; `None` if it is
    /// empty.
    pub(in crate::source) fn sums(&self, row: usize) -> Option<impl Iterator<Item = u64>> {
        let pair = self.pairs.get(self.starts[row] / self.rows.width).filter(|pair| *pair >> 32 == row as u64)?;
        Some(self.rows.row(*pair as u32 as usize).map(|value| match value {
            Value::Integer(sum) => u64::try_from(sum).unwrap_or(0),
            _ => 0,
        }))
    }

    /// The range of one row's list among all [`slots`](Lists::slots), if so many of a related row's
    /// values are shown.
    pub(in crate::source) fn range(&self, row: usize, shown: usize) -> std::ops::Range<usize> {
        self.starts[row] / self.rows.width * shown..self.starts[row + 1] / self.rows.width * shown
    }

    /// A hash of each related row's values behind those that are shown; `None` if one of them cannot
    /// be read.
    pub(in crate::source) fn hashes(&self, shown: usize, hash: impl Fn(&[u8]) -> u32) -> Option<Vec<u32>> {
        let mut canonical = vec![];
        let rows = self.rows.slots.chunks_exact(self.rows.width);
        rows.map(|slots| {
            canonical.clear();
            let values = slots[shown..].iter().map(|slot| self.rows.value(json_as_text(*slot)));
            values.map(|value| cursor::encode(&[value], &mut canonical).ok()).collect::<Option<()>>()?;
            Some(hash(&canonical))
        })
        .collect()
    }

    /// The indexes of one row's related rows.
    pub(in crate::source) fn places(&self, row: usize) -> impl Iterator<Item = usize> {
        let range = self.starts[row] / self.rows.width..self.starts[row + 1] / self.rows.width;
        self.pairs[range].iter().map(|pair| *pair as u32 as usize)
    }

    /// Roughly how many bytes they take in a list.
    pub(in crate::source) fn weight(&self) -> usize {
        self.pairs.len() * (size_of::<u64>() + self.rows.weight() / self.rows.count().max(1))
    }

    /// Marks a column of the related rows: its texts are of values without a form, or it was not
    /// read (`unread`).
    pub(in crate::source) fn mark_formless(&mut self, column: usize, unread: bool) {
        let rows = Arc::make_mut(&mut self.rows);
        if unread {
            rows.mark_unreadable(column);
        } else {
            rows.mark_formless(column);
        }
    }

    /// The bytes of the related rows.
    pub(in crate::source) fn bytes(&self) -> &[u8] {
        &self.rows.bytes
    }

    /// The first values of each related row, as many as are shown, row after row.
    pub(in crate::source) fn slots(&self, shown: usize) -> impl Iterator<Item = Slot> {
        let width = self.rows.width;
        let row = move |pair: &u64| &self.rows.slots[*pair as u32 as usize * width..][..shown];
        self.pairs.iter().flat_map(row).copied()
    }

    /// The values that are shown, rewritten.
    ///
    /// # Errors
    /// As [`ValueBuffer::close`].
    pub(in crate::source) fn rewritten(&self, rewrites: &[(usize, Rewrite)]) -> Result<ValueBuffer, Error> {
        let mut held = ValueBuffer::new(rewrites.len());
        for pair in &self.pairs {
            let row = *pair as u32 as usize;
            for (column, rewrite) in rewrites {
                rewrite.write(self.rows.value(self.rows.slots[row * self.rows.width + column]), &mut held)?;
            }
        }
        Ok(held)
    }
}

/// In a key a JSON text is compared as text.
pub(in crate::source) fn json_as_text(slot: Slot) -> Slot {
    match slot {
        Slot::Bytes(Form::Json, from, to) => Slot::Bytes(Form::Text, from, to),
        slot => slot,
    }
}

/// The related row at `place` belongs to the row `row` of the run.
pub(in crate::source) fn pair(row: u64, place: usize) -> u64 {
    row << 32 | place as u64
}

/// Whether this many bytes of related rows may be held for a run of `rows` rows. If not, the run is
/// made shorter.
///
/// # Errors
/// When there is only one row, and its related rows are wider than a read without measuring may be.
pub(in crate::source) fn fits(relation: &Relation, bytes: usize, rows: usize) -> Result<bool, Wide> {
    match rows {
        _ if bytes <= RELATED_BYTES.min(relation.most) => Ok(true),
        1 if bytes > relation.most => Err(Wide),
        rows => Ok(rows == 1),
    }
}

/// A relation that measures the lists of another: for each list the bytes of its rows, and how many
/// rows it has.
pub(in crate::source) fn measure(dialect: &Dialect, relation: &Relation) -> Relation {
    let lengths = relation.columns.iter().map(|select| match &*select.length {
        "" => "0".to_owned(),
        length => format!("coalesce({length}, 0)"),
    });
    let bytes = lengths.collect::<Vec<_>>().join(" + ");
    let column = |sql: String| Select { sql, ..Select::default() };
    Relation {
        columns: vec![column(fill(dialect.sum, &bytes)), column("count(*)".to_owned())],
        order: vec![],
        small: false,
        is_sum: true,
        ..relation.clone()
    }
}

/// The keys of a run's rows, sorted, each with its row. Only for whole numbers that can be compared
/// outside SQL, no two of them equal: only SQL's join gives the same related rows to several rows
/// with one key.
pub(in crate::source) struct WholeKeys(Vec<(i64, u64)>);

impl WholeKeys {
    /// # Errors
    /// As [`keys_of`].
    pub(in crate::source) fn new(relation: &Relation, rows: &ValueBuffer) -> Result<Option<WholeKeys>, Error> {
        let slots = keys_of(relation, rows)?;
        if !relation.whole {
            return Ok(None);
        }

        let mut keys: Vec<(i64, u64)> = Vec::with_capacity(rows.count());
        for (row, slot) in slots {
            match slot {
                Slot::Integer(key) => keys.push((key, row as u64)),
                _ => return Ok(None),
            }
        }

        if !keys.is_sorted() {
            keys.sort_unstable();
        }

        let tell_apart = !keys.is_empty() && !keys.windows(2).any(|pair| pair[0].0 == pair[1].0);
        Ok(tell_apart.then_some(WholeKeys(keys)))
    }

    /// The first and the last key.
    pub(in crate::source) fn ends(&self) -> (i64, i64) {
        (self.0[0].0, self.0[self.0.len() - 1].0)
    }

    /// Whether the range between the first and the last key holds few other keys.
    pub(in crate::source) fn are_close(&self) -> bool {
        let (first, last) = self.ends();
        last.checked_sub(first).is_some_and(|span| span <= CLOSE * self.0.len() as i64)
    }

    /// All keys.
    pub(in crate::source) fn all(&self) -> impl Iterator<Item = i64> {
        self.0.iter().map(|known| known.0)
    }

    /// Finds the rows of keys that mostly come in order.
    pub(in crate::source) fn finder(&self) -> impl FnMut(i64) -> Option<u64> {
        let keys = &self.0;
        let mut at = 0;
        move |key| {
            // Mostly the same row as before, or the next one.
            while keys.get(at).is_some_and(|known| known.0 < key) {
                at += 1;
            }
            if keys.get(at).is_none_or(|known| known.0 != key) {
                at = keys.partition_point(|known| known.0 < key);
            }
            keys.get(at).filter(|known| known.0 == key).map(|known| known.1)
        }
    }
}

/// The values that a run's related rows point to, each with its row.
///
/// # Errors
/// [`Kind::Data`] if one of them cannot be read: its row would seem to have no related rows.
pub(in crate::source) fn keys_of(
    relation: &Relation,
    rows: &ValueBuffer,
) -> Result<impl Iterator<Item = (usize, Slot)> + Clone, Error> {
    let slots = rows.slots.iter().skip(relation.parent).step_by(rows.width).copied();
    let unreadable = |slot: Slot| matches!(slot, Slot::Unreadable | Slot::TooLarge | Slot::Bytes(Form::Formless, ..));
    if slots.clone().any(unreadable) {
        return Err(unreadable_key());
    }
    Ok(slots.enumerate())
}

/// What to select of related rows, as SQL.
pub(in crate::source) struct Wanted {
    /// The related table, joined to its join table if there is one.
    pub(in crate::source) source: String,
    /// Its column that points to the parent.
    pub(in crate::source) on: String,
    pub(in crate::source) columns: String,
    pub(in crate::source) order: String,
    /// Whether the columns are sums.
    pub(in crate::source) is_sum: bool,
}

impl Wanted {
    /// The related rows themselves.
    pub(in crate::source) fn rows(dialect: &Dialect, relation: &Relation) -> Wanted {
        let related = dialect.quote(RELATED);
        let target = format!("{} AS {related}", relation.table);
        let columns: Vec<&str> = relation.columns.iter().map(|select| &*select.sql).collect();
        let (source, on) = match &relation.join {
            Some(join) => {
                let alias = dialect.quote(JOIN);
                let (to, from) = (dialect.column(&related, &relation.column), dialect.column(&alias, &join.to));
                let matched = format!("{to} = {from}{}", join.collate);
                let source = format!("{} AS {alias} {} {target} ON {matched}", join.table, dialect.join);
                (source, dialect.column(&alias, &join.on))
            }
            None => (target, dialect.column(&related, &relation.column)),
        };

        let order = super::keyset::order_by(&relation.order);
        Wanted { source, on, columns: columns.join(", "), order, is_sum: relation.is_sum }
    }

    /// The ids of related rows, from the join table.
    pub(in crate::source) fn ids(dialect: &Dialect, relation: &Relation) -> Option<Wanted> {
        let join = relation.join.as_ref()?;
        let alias = dialect.quote(JOIN);
        Some(Wanted {
            source: format!("{} AS {alias}", join.table),
            on: dialect.column(&alias, &join.on),
            columns: dialect.column(&alias, &join.to),
            order: String::new(),
            is_sum: false,
        })
    }

    /// The query with a condition on the column that points to the parent.
    pub(in crate::source) fn by(&self, condition: &str) -> String {
        let Wanted { source, on, columns, order, .. } = self;
        let end = if order.is_empty() && !self.is_sum { String::new() } else { self.end(on) };
        format!("SELECT {on}, {columns} FROM {source} WHERE {on} {condition}{end}")
    }

    /// The end of a query in which this expression identifies the list.
    pub(in crate::source) fn end(&self, list: &str) -> String {
        match &*self.order {
            _ if self.is_sum => format!(" GROUP BY {list}"),
            "" => format!(" ORDER BY {list}"),
            order => format!(" ORDER BY {list}, {order}"),
        }
    }

    /// A query for all rows of a small related table: ids, then columns, in the relation's order.
    pub(in crate::source) fn all(dialect: &Dialect, relation: &Relation, most: usize) -> String {
        let related = dialect.quote(RELATED);
        let id = dialect.column(&related, &relation.column);
        let columns: Vec<&str> = relation.columns.iter().map(|select| &*select.sql).collect();
        let order = super::keyset::order_by(&relation.order);
        let columns = columns.join(", ");
        format!("SELECT {id}, {columns} FROM {} AS {related} ORDER BY {order} LIMIT {most}", relation.table)
    }
}

/// Larger ids are not looked up by index.
const DENSE: i64 = 65_536;

/// A related table small enough to be held: its rows in the relation's order, found by id.
pub(in crate::source) struct SmallTable {
    pub(in crate::source) rows: Arc<ValueBuffer>,
    /// The index of the row with this id, plus one; 0 for none.
    places: Vec<u32>,
}

impl SmallTable {
    /// The table of these rows; `None` unless the ids are small whole numbers that identify rows.
    pub(in crate::source) fn new(rows: ValueBuffer, ids: &[Option<i64>]) -> Option<SmallTable> {
        let mut places: Vec<u32> = vec![];
        for (place, id) in ids.iter().enumerate() {
            let id = id.filter(|id| (0..DENSE).contains(id))? as usize;
            if places.len() <= id {
                places.resize(id + 1, 0);
            }
            if places[id] != 0 {
                return None;
            }
            places[id] = place as u32 + 1;
        }
        Some(SmallTable { rows: Arc::new(rows), places })
    }

    pub(in crate::source) fn place(&self, id: i64) -> Option<usize> {
        self.places.get(usize::try_from(id).ok()?)?.checked_sub(1).map(|place| place as usize)
    }

    /// Roughly how many bytes one of its rows takes in a list.
    pub(in crate::source) fn row_weight(&self) -> usize {
        size_of::<u64>() + self.rows.weight() / self.rows.count().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sql::catalogue::TableColumn;

    #[test]
    fn a_join_column_that_cannot_be_read_fails_the_load_instead_of_having_no_related_rows() {
        let relation = |whole| Relation {
            parent: 1,
            parent_column: TableColumn::plain("id".into()),
            pointing_column: TableColumn::plain("item".into()),
            whole,
            join: None,
            table: "child".into(),
            column: "item".into(),
            columns: vec![],
            names: vec![],
            hidden: 0,
            order: vec![],
            small: false,
            own_order: true,
            most: usize::MAX,
            is_sum: false,
        };

        let mut rows = ValueBuffer::new(2);
        rows.slots.extend([Slot::Integer(1), Slot::Integer(7), Slot::Unreadable, Slot::Null]);
        for whole in [true, false] {
            let keys: Vec<usize> = keys_of(&relation(whole), &rows).unwrap().map(|(row, _)| row).collect();
            assert_eq!(keys, [0, 1], "a value beside it may be unreadable");
        }

        for unread in [Slot::Unreadable, Slot::TooLarge, Slot::Bytes(Form::Formless, 0, 0)] {
            rows.slots[3] = unread;
            for whole in [true, false] {
                assert!(keys_of(&relation(whole), &rows).is_err());
                assert!(WholeKeys::new(&relation(whole), &rows).is_err());
            }
        }
    }
}
