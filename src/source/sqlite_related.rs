//! Related lists for a run of rows, each by one query.
//!
//! By `BETWEEN` the first and last key where the keys lie close, else by the keys themselves. A small related table is held
//! with its connection for as long as `PRAGMA data_version` says that nobody has changed the file, so that a join
//! table's ids become names without a look-up in SQLite: never a name of another moment.

use std::{rc::Rc, sync::Arc};

use rusqlite::{Connection, types::ValueRef};

use super::{
    catalogue::TableColumn,
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
/// And those of one row at most so much.
const ONE_ROW_BYTES: usize = 64 * 1024 * 1024;

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
    let parents = Parents::new(relation, rows);
    let fits = |bytes: usize| match bytes {
        ..=RELATED_BYTES => Ok(true),
        ONE_ROW_BYTES.. if rows.count() == 1 => Err(Failure::Own(
            Error::new(Kind::Data, format!("one row has more than 64 MiB of related rows in `{}`", relation.table))
                .remedy("leave the relation out, and make a list of the related table"),
        )),
        _ => Ok(rows.count() == 1),
    };
    if let Some(table) = small_table(session, relation)? {
        let join = relation.join.as_ref().expect("only a join table's ids are looked up");
        let alias = quote(JOIN);
        let source = format!("{} AS {alias}", quote(&join.table));
        let on = format!("{alias}.{}", quote(&join.on));
        let columns = format!("{alias}.{}", quote(&join.to));
        let wanted = Wanted { relation, source: &source, on: &on, columns: &columns, order: "" };
        let each = size_of::<u64>() + table.rows.weight() / table.rows.count().max(1);
        let mut pairs = vec![];
        let whole = parents.each(&session.connection, &wanted, |row, found| {
            if let ValueRef::Integer(id) = found.get_ref(1)? {
                pairs.extend(table.place(id).map(|place| row << 32 | u64::from(place)));
            }
            fits(pairs.len() * each)
        })?;
        return Ok(whole.then(|| Lists::new(RelatedRows::Small(table), pairs, rows.count())));
    }
    let (source, on) = source(relation);
    let related = quote(RELATED);
    let columns: Vec<String> = relation.columns.iter().map(|(name, _)| format!("{related}.{}", quote(name))).collect();
    let (columns, order) = (columns.join(", "), keyset::order_by(&relation.order));
    let wanted = Wanted { relation, source: &source, on: &on, columns: &columns, order: &order };
    let mut read = Held::new(relation.columns.len());
    let mut pairs = vec![];
    let whole = parents.each(&session.connection, &wanted, |row, found| {
        pairs.push(row << 32 | read.count() as u64);
        for (index, (_, json)) in relation.columns.iter().enumerate() {
            read.push(found.get_ref(index + 1)?, *json)?;
        }
        fits(pairs.len() * size_of::<u64>() + read.weight())
    })?;
    Ok(whole.then(|| Lists::new(RelatedRows::Read(read), pairs, rows.count())))
}

/// The query by which a relation's rows are found for keys that lie close, for `EXPLAIN`.
pub(super) fn sql_for_close_keys(relation: &Relation) -> String {
    let (source, on) = source(relation);
    Wanted { relation, source: &source, on: &on, columns: "1", order: "" }.close()
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
    /// Anything else: by the classes of values, since SQL compares each in its own way.
    Apart(Vec<Class>),
}

/// Keys of one class, and the row of each. Texts are held as blobs, which need not be UTF-8, and become texts again in SQL.
struct Class {
    kind: ClassKind,
    values: Vec<rusqlite::types::Value>,
    places: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClassKind {
    Number,
    Text,
    Blob,
}

impl Class {
    /// A key as SQL, with the affinity of the parent's column and without changing the value: `CAST` to the affinity's own type would
    /// make 5 of 5.5 and a text of a blob.
    fn key(&self, column: &TableColumn) -> String {
        let value = "chunkflow_keys.value";
        let key = match (self.kind, column.affinity) {
            (ClassKind::Number, "INTEGER" | "REAL" | "NUMERIC") => format!("CAST({value} AS NUMERIC)"),
            (ClassKind::Text, "") => format!("+CAST({value} AS TEXT)"),
            (ClassKind::Text, _) => format!("CAST({value} AS TEXT)"),
            (ClassKind::Number | ClassKind::Blob, _) => value.to_owned(),
        };
        format!("({key}) COLLATE {}", quote(&column.collation))
    }
}

impl Parents {
    fn new(relation: &Relation, rows: &Held) -> Parents {
        let keys = || rows.slots.iter().skip(relation.parent).step_by(rows.width).enumerate();
        if !relation.whole {
            return Parents::apart(rows, keys());
        }
        let mut whole: Vec<(i64, u64)> = vec![];
        for (row, slot) in keys() {
            match slot {
                Slot::Integer(key) => whole.push((*key, row as u64)),
                _ => return Parents::apart(rows, keys()),
            }
        }
        if !whole.is_sorted() {
            whole.sort_unstable();
        }
        let span = whole.last().and_then(|last| last.0.checked_sub(whole[0].0));
        match span {
            // Rows with the same key each have the same related rows; only SQL's join says so.
            _ if whole.windows(2).any(|pair| pair[0].0 == pair[1].0) => Parents::apart(rows, keys()),
            Some(span) if span <= CLOSE * whole.len() as i64 => Parents::Close(whole),
            _ => Parents::apart(rows, keys()),
        }
    }

    fn apart<'a>(rows: &Held, keys: impl Iterator<Item = (usize, &'a Slot)>) -> Parents {
        use rusqlite::types::Value as Owned;
        let mut classes: Vec<Class> = vec![];
        for (row, slot) in keys {
            let (kind, value) = match rows.value(*slot) {
                Value::Integer(n) => (ClassKind::Number, Owned::Integer(n)),
                Value::Real(n) => (ClassKind::Number, Owned::Real(n)),
                Value::Text(text) | Value::Json(text) => (ClassKind::Text, Owned::Blob(text.to_vec())),
                Value::Blob(bytes) => (ClassKind::Blob, Owned::Blob(bytes.to_vec())),
                Value::Null | Value::Bool(_) | Value::List(_) => continue,
            };
            let known = classes.iter().position(|class| class.kind == kind).unwrap_or_else(|| {
                classes.push(Class { kind, values: vec![], places: vec![] });
                classes.len() - 1
            });
            classes[known].values.push(value);
            classes[known].places.push(row as u64);
        }
        Parents::Apart(classes)
    }

    /// Gives each related row with the row of the run it belongs to, for as long as `take` says true; says whether it did to the
    /// end. The queries name first what tells the parent, then the columns.
    fn each(
        &self,
        connection: &Connection,
        wanted: &Wanted<'_>,
        mut take: impl FnMut(u64, &rusqlite::Row<'_>) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        match self {
            Parents::Close(keys) => each_close(connection, &wanted.close(), keys, take),
            Parents::Apart(classes) => {
                for class in classes {
                    let mut statement = connection.prepare_cached(&wanted.apart(class))?;
                    Binder::new(&mut statement).bind(Rc::new(class.values.clone()))?;
                    let mut found = statement.raw_query();
                    while let Some(row) = found.next()? {
                        let place = row.get::<_, i64>(0)? as usize - 1;
                        if !take(class.places[place], row)? {
                            return Ok(false);
                        }
                    }
                }
                Ok(true)
            }
        }
    }
}

fn each_close(
    connection: &Connection,
    sql: &str,
    keys: &[(i64, u64)],
    mut take: impl FnMut(u64, &rusqlite::Row<'_>) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
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
    Ok(true)
}

/// What is selected of related rows.
struct Wanted<'a> {
    relation: &'a Relation,
    source: &'a str,
    /// The column of the source that points to the parent.
    on: &'a str,
    columns: &'a str,
    order: &'a str,
}

impl Wanted<'_> {
    fn close(&self) -> String {
        let Wanted { source, on, columns, order, .. } = self;
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {on}, {order}") };
        format!("SELECT {on}, {columns} FROM {source} WHERE {on} BETWEEN ?1 AND ?2{order}")
    }

    /// Compared as the parent's column would be.
    fn apart(&self, class: &Class) -> String {
        let Wanted { source, on, columns, order, .. } = self;
        let comma = if order.is_empty() { "" } else { ", " };
        format!(
            "SELECT chunkflow_keys.rowid, {columns} FROM rarray(?1) AS chunkflow_keys CROSS JOIN {source} \
             WHERE {} = {on} ORDER BY chunkflow_keys.rowid{comma}{order}",
            class.key(&self.relation.parent_column)
        )
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
