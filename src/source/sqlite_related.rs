//! Related lists for a run of rows, each by one query.
//!
//! By `BETWEEN` the first and last key where the keys lie close, else by the keys themselves. A small related table is held
//! with its connection for as long as `PRAGMA data_version` says that nobody has changed the file, so that a join
//! table's ids become names without a look-up in SQLite: never a name of another moment.

use std::{rc::Rc, sync::Arc};

use rusqlite::{Connection, types::ValueRef};

use super::{
    keyset::{self, quote},
    plan::{JOIN, RELATED, Relation},
    sqlite_session::{Binder, Failure, Held, Session, Slot},
};
use crate::{
    error::{Error, Kind},
    row::Value,
};

/// A related table with more rows or bytes, or ids above [`DENSE`], is joined instead of held.
const SMALL_TABLE: usize = 4096;
const SMALL_BYTES: usize = 1024 * 1024;
const DENSE: i64 = 65_536;
/// Keys lie close when their range is at most so many times their number.
const CLOSE: i64 = 4;
/// The related rows of a run take so much memory; where there are more, the run is made shorter.
const RELATED_BYTES: usize = 4 * 1024 * 1024;

/// A related table that is small enough to be held: its rows in the relation's order.
pub(super) struct SmallTable {
    rows: Held,
    /// The place of the row with this id, plus one; 0 where there is none.
    places: Vec<u32>,
}

impl SmallTable {
    fn place(&self, id: i64) -> Option<u32> {
        self.places.get(usize::try_from(id).ok()?).and_then(|place| place.checked_sub(1))
    }
}

/// The related lists of a run: which related rows belong to which row.
pub(super) struct Lists {
    rows: RelatedRows,
    /// Row of the run in the upper half, place among the related rows in the lower; sorted.
    pairs: Vec<u64>,
    /// Where each row's values begin; one more than there are rows.
    starts: Vec<usize>,
}

enum RelatedRows {
    Read(Held),
    Small(Arc<SmallTable>),
}

impl Lists {
    fn new(rows: RelatedRows, mut pairs: Vec<u64>, count: usize) -> Lists {
        if !pairs.is_sorted() {
            pairs.sort_unstable();
        }
        let width = match &rows {
            RelatedRows::Read(held) => held.width,
            RelatedRows::Small(table) => table.rows.width,
        };
        let mut starts = Vec::with_capacity(count + 1);
        let mut at = 0;
        for row in 0..=count as u64 {
            while pairs.get(at).is_some_and(|pair| pair >> 32 < row) {
                at += 1;
            }
            starts.push(at * width);
        }
        Lists { rows, pairs, starts }
    }

    pub(super) fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// All values, row after row.
    pub(super) fn values(&self) -> Vec<Value<'_>> {
        let held = match &self.rows {
            RelatedRows::Read(held) => held,
            RelatedRows::Small(table) => &table.rows,
        };
        let mut values = Vec::with_capacity(self.pairs.len() * held.width);
        for pair in &self.pairs {
            values.extend(held.row(*pair as u32 as usize));
        }
        values
    }
}

/// Reads one related list for a run of rows; `None` when it is more than a run may hold, and there is more than one row to
/// leave out.
pub(super) fn read(session: &mut Session, relation: &Relation, rows: &Held) -> Result<Option<Lists>, Failure> {
    let parents = Parents::new(relation, rows)?;
    let fits = |bytes: usize| bytes <= RELATED_BYTES || rows.count() == 1;
    if let Some(table) = small_table(session, relation)? {
        let join = relation.join.as_ref().expect("only a join table's ids are looked up");
        let alias = quote(JOIN);
        let source = format!("{} AS {alias}", quote(&join.table));
        let on = format!("{alias}.{}", quote(&join.on));
        let sql = parents.sql(relation, &on, &format!("{alias}.{}", quote(&join.to)), &source, "");
        let each = size_of::<u64>() + table.rows.weight() / table.rows.count().max(1);
        let mut pairs = vec![];
        let whole = parents.each(&session.connection, &sql, |row, found| {
            if let ValueRef::Integer(id) = found.get_ref(1)? {
                pairs.extend(table.place(id).map(|place| row << 32 | u64::from(place)));
            }
            Ok(fits(pairs.len() * each))
        })?;
        return Ok(whole.then(|| Lists::new(RelatedRows::Small(table), pairs, rows.count())));
    }
    let (source, on) = source(relation);
    let related = quote(RELATED);
    let columns: Vec<String> = relation.columns.iter().map(|(name, _)| format!("{related}.{}", quote(name))).collect();
    let sql = parents.sql(relation, &on, &columns.join(", "), &source, &keyset::order_by(&relation.order));
    let mut read = Held::new(relation.columns.len());
    let mut pairs = vec![];
    let whole = parents.each(&session.connection, &sql, |row, found| {
        pairs.push(row << 32 | read.count() as u64);
        for (index, (_, json)) in relation.columns.iter().enumerate() {
            read.push(found.get_ref(index + 1)?, *json)?;
        }
        Ok(fits(pairs.len() * size_of::<u64>() + read.weight()))
    })?;
    Ok(whole.then(|| Lists::new(RelatedRows::Read(read), pairs, rows.count())))
}

/// The query by which a relation's rows are found for keys that lie close, for `EXPLAIN`.
pub(super) fn sql_for_close_keys(relation: &Relation) -> String {
    let (source, on) = source(relation);
    Parents::Close(vec![]).sql(relation, &on, "1", &source, "")
}

/// What related rows are selected from, and its column that points to the parent.
fn source(relation: &Relation) -> (String, String) {
    let related = quote(RELATED);
    let target = format!("{} AS {related}", quote(&relation.table));
    match &relation.join {
        Some(join) => {
            let alias = quote(JOIN);
            let matched = format!("{related}.{} = {alias}.{}", quote(&relation.column), quote(&join.to));
            let source = format!("{} AS {alias} CROSS JOIN {target} ON {matched}", quote(&join.table));
            (source, format!("{alias}.{}", quote(&join.on)))
        }
        None => (target, format!("{related}.{}", quote(&relation.column))),
    }
}

/// The keys of a run's rows, by which related rows are found.
enum Parents {
    /// Whole numbers that lie close: sorted, each with its row.
    Close(Vec<(i64, u64)>),
    /// Anything else: the values, and the row of each.
    Apart(Vec<rusqlite::types::Value>, Vec<u64>),
}

impl Parents {
    fn new(relation: &Relation, rows: &Held) -> Result<Parents, Error> {
        let keys = || rows.slots.iter().skip(relation.parent).step_by(rows.width).enumerate();
        if !relation.whole {
            return Parents::apart(relation, rows, keys());
        }
        let mut whole: Vec<(i64, u64)> = vec![];
        for (row, slot) in keys() {
            match slot {
                Slot::Integer(key) => whole.push((*key, row as u64)),
                _ => return Parents::apart(relation, rows, keys()),
            }
        }
        if !whole.is_sorted() {
            whole.sort_unstable();
        }
        let span = whole.last().and_then(|last| last.0.checked_sub(whole[0].0));
        match span {
            // Rows with the same key each have the same related rows; only SQL's join says so.
            _ if whole.windows(2).any(|pair| pair[0].0 == pair[1].0) => Parents::apart(relation, rows, keys()),
            Some(span) if span <= CLOSE * whole.len() as i64 => Ok(Parents::Close(whole)),
            _ => Parents::apart(relation, rows, keys()),
        }
    }

    fn apart<'a>(
        relation: &Relation,
        rows: &Held,
        keys: impl Iterator<Item = (usize, &'a Slot)>,
    ) -> Result<Parents, Error> {
        use rusqlite::types::Value as Owned;
        let (mut values, mut places) = (vec![], vec![]);
        let number = ["INTEGER", "REAL", "NUMERIC"].contains(&relation.parent_column.affinity);
        for (row, slot) in keys {
            values.push(match rows.value(*slot) {
                Value::Integer(n) => Owned::Integer(n),
                Value::Real(n) => Owned::Real(n),
                Value::Text(_) | Value::Blob(_) | Value::Json(_) if number => {
                    let message = format!("a key in the number column `{}` is no number", relation.parent_column.name);
                    return Err(Error::new(Kind::Data, message).remedy("mend the key, or leave the relation out"));
                }
                Value::Blob(bytes) => Owned::Blob(bytes.to_vec()),
                Value::Text(text) | Value::Json(text) => match std::str::from_utf8(text) {
                    Ok(text) => Owned::Text(text.to_owned()),
                    Err(_) => {
                        return Err(Error::new(Kind::Data, "the key of a row with related rows is not UTF-8")
                            .remedy("mend the key"));
                    }
                },
                Value::Null | Value::Bool(_) | Value::List(_) => continue,
            });
            places.push(row as u64);
        }
        Ok(Parents::Apart(values, places))
    }

    /// The query for related rows: first what tells the parent, then the columns.
    fn sql(&self, relation: &Relation, on: &str, columns: &str, source: &str, order: &str) -> String {
        let comma = if order.is_empty() { "" } else { ", " };
        match self {
            Parents::Close(_) => {
                let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {on}, {order}") };
                format!("SELECT {on}, {columns} FROM {source} WHERE {on} BETWEEN ?1 AND ?2{order}")
            }
            Parents::Apart(..) => {
                // Compared as the parent's column would be: by its affinity and its collation.
                let key = match relation.parent_column.affinity {
                    "" => "chunkflow_keys.value".to_owned(),
                    affinity => format!("CAST(chunkflow_keys.value AS {affinity})"),
                };
                let collation = quote(&relation.parent_column.collation);
                format!(
                    "SELECT chunkflow_keys.rowid, {columns} FROM rarray(?1) AS chunkflow_keys CROSS JOIN {source} \
                     WHERE {key} COLLATE {collation} = {on} ORDER BY chunkflow_keys.rowid{comma}{order}"
                )
            }
        }
    }

    /// Runs the query and gives each related row with the row of the run it belongs to, for as long as `take` says true; says
    /// whether it did to the end.
    fn each(
        &self,
        connection: &Connection,
        sql: &str,
        mut take: impl FnMut(u64, &rusqlite::Row<'_>) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut binder = Binder::new(&mut statement);
        match self {
            Parents::Close(keys) => {
                binder.bind(keys[0].0)?;
                binder.bind(keys[keys.len() - 1].0)?;
                let mut found = statement.raw_query();
                let mut at = 0;
                while let Some(row) = found.next()? {
                    let ValueRef::Integer(key) = row.get_ref(0)? else { continue };
                    // Mostly the same row as before or the next one.
                    while keys.get(at).is_some_and(|known| known.0 < key) {
                        at += 1;
                    }
                    if keys.get(at).is_none_or(|known| known.0 != key) {
                        at = keys.partition_point(|known| known.0 < key);
                    }
                    let Some(known) = keys.get(at).filter(|known| known.0 == key) else { continue };
                    if !take(known.1, row)? {
                        return Ok(false);
                    }
                }
            }
            Parents::Apart(values, places) => {
                binder.bind(Rc::new(values.clone()))?;
                let mut found = statement.raw_query();
                while let Some(row) = found.next()? {
                    let place = row.get::<_, i64>(0)? as usize - 1;
                    if !take(places[place], row)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }
}

/// The related table as it stands in this transaction, if it is small and its ids are; held until the file changes.
fn small_table(session: &mut Session, relation: &Relation) -> Result<Option<Arc<SmallTable>>, Failure> {
    if relation.join.is_none() || !relation.own_order || !relation.whole {
        return Ok(None);
    }
    let related = quote(RELATED);
    let columns: Vec<String> =
        relation.columns.iter().map(|(name, _)| format!(", {related}.{}", quote(name))).collect();
    let sql = format!(
        "SELECT {related}.{}{} FROM {} AS {related} ORDER BY {} LIMIT {}",
        quote(&relation.column),
        columns.concat(),
        quote(&relation.table),
        keyset::order_by(&relation.order),
        SMALL_TABLE + 1,
    );
    let version: i64 = session.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
    if let Some((held, table)) = session.held.get(&sql)
        && *held == version
    {
        return Ok(table.clone());
    }
    let table = read_small_table(&session.connection, &sql, relation)?.map(Arc::new);
    session.held.insert(sql, (version, table.clone()));
    Ok(table)
}

fn read_small_table(connection: &Connection, sql: &str, relation: &Relation) -> Result<Option<SmallTable>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query([])?;
    let mut table = SmallTable { rows: Held::new(relation.columns.len()), places: vec![] };
    while let Some(row) = found.next()? {
        let id = match row.get_ref(0)? {
            ValueRef::Integer(id) if (0..DENSE).contains(&id) => id as usize,
            _ => return Ok(None),
        };
        if table.rows.count() == SMALL_TABLE || table.rows.weight() > SMALL_BYTES {
            return Ok(None);
        }
        for (index, (_, json)) in relation.columns.iter().enumerate() {
            table.rows.push(row.get_ref(index + 1)?, *json)?;
        }
        if table.places.len() <= id {
            table.places.resize(id + 1, 0);
        }
        if table.places[id] != 0 {
            // Not a key after all: a join finds every row.
            return Ok(None);
        }
        table.places[id] = table.rows.count() as u32;
    }
    Ok(Some(table))
}
