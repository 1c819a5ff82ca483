//! Related lists for a run of rows, each by one query.
//!
//! The query uses `BETWEEN` the first and last key if the keys lie close, else the keys themselves.
//! A connection keeps a small related table in memory until `PRAGMA data_version` says that the
//! file has changed. So the ids of a join table become names without a look-up in SQLite, and
//! always names of the same snapshot.

use std::{rc::Rc, sync::Arc};

use rusqlite::{
    Connection,
    types::{Value as Owned, ValueRef},
};

use super::{
    DIALECT,
    session::{Binder, Failure, Session, push},
};
use crate::{
    row::{Value, ValueBuffer},
    source::sql::{
        catalogue::TableColumn,
        plan::Relation,
        related::{Lists, SmallTable, Wanted, WholeKeys, fits, keys_of, pair},
    },
};

/// A related table with more rows or bytes is joined, not kept.
const SMALL_TABLE: usize = 4096;
const SMALL_BYTES: usize = 1024 * 1024;

/// Reads one related list for a run of rows. `None` if it is more than a run may hold, and the run
/// can be made shorter.
pub(super) fn read(session: &mut Session, relation: &Relation, rows: &ValueBuffer) -> Result<Option<Lists>, Failure> {
    let parents = Parents::new(relation, rows)?;
    let mut pairs = vec![];
    if let Some(table) = small_table(session, relation)?
        && let Some(wanted) = Wanted::ids(&DIALECT, relation)
    {
        let each = table.row_weight();
        let whole = parents.each(&session.connection, relation, &wanted, |row, found| {
            if let ValueRef::Integer(id) = found.get_ref(1)? {
                pairs.extend(table.place(id).map(|place| pair(row, place)));
            }
            Ok(fits(relation, pairs.len() * each, rows.count())?)
        })?;
        return Ok(whole.then(|| Lists::new(Arc::clone(&table.rows), pairs, rows.count())));
    }

    let mut read = ValueBuffer::new(relation.columns.len());
    let wanted = Wanted::rows(&DIALECT, relation);
    let whole = parents.each(&session.connection, relation, &wanted, |row, found| {
        pairs.push(pair(row, read.count()));
        for (index, select) in relation.columns.iter().enumerate() {
            push(&mut read, found.get_ref(index + 1)?, select.json)?;
        }
        Ok(fits(relation, pairs.len() * size_of::<u64>() + read.weight(), rows.count())?)
    })?;

    Ok(whole.then(|| Lists::new(Arc::new(read), pairs, rows.count())))
}

/// The query for related rows of keys that lie close, for `EXPLAIN`.
pub(super) fn sql_for_close_keys(relation: &Relation) -> String {
    Wanted { order: String::new(), ..Wanted::rows(&DIALECT, relation) }.by(BETWEEN)
}

const BETWEEN: &str = "BETWEEN ?1 AND ?2";

/// The keys of a run's rows.
enum Parents {
    /// Whole numbers that lie close.
    Close(WholeKeys),
    /// Other keys, by the class of their values, since SQL compares each class in its own way.
    Apart(Vec<Class>),
}

/// Keys of one class, and the row of each. Texts are kept as blobs, since they need not be UTF-8;
/// the SQL turns them into texts again.
struct Class {
    kind: ClassKind,
    values: Vec<Owned>,
    places: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClassKind {
    Number,
    Text,
    Blob,
}

impl Class {
    /// A key as SQL, with the affinity of the parent's column and its value unchanged. `CAST` to
    /// the affinity's own type would turn 5.5 into 5, and a blob into a text.
    fn key(&self, column: &TableColumn) -> String {
        let value = "chunkflow_keys.value";
        let key = match (self.kind, &*column.kind) {
            (ClassKind::Number, "INTEGER" | "REAL" | "NUMERIC") => format!("CAST({value} AS NUMERIC)"),
            (ClassKind::Text, "") => format!("+CAST({value} AS TEXT)"),
            (ClassKind::Text, _) => format!("CAST({value} AS TEXT)"),
            (ClassKind::Number | ClassKind::Blob, _) => value.to_owned(),
        };
        format!("({key}) COLLATE {}", column.collation.as_deref().unwrap_or("BINARY"))
    }

    /// Related rows of these keys, compared as the parent's column is.
    fn sql(&self, relation: &Relation, wanted: &Wanted) -> String {
        let Wanted { source, on, columns, .. } = wanted;
        format!(
            "SELECT chunkflow_keys.rowid, {columns} FROM rarray(?1) AS chunkflow_keys CROSS JOIN {source} \
             WHERE {} = {on}{}",
            self.key(&relation.parent_column),
            wanted.end("chunkflow_keys.rowid")
        )
    }
}

impl Parents {
    fn new(relation: &Relation, rows: &ValueBuffer) -> Result<Parents, Failure> {
        match WholeKeys::new(relation, rows)? {
            Some(keys) if keys.are_close() => Ok(Parents::Close(keys)),
            _ => Parents::apart(relation, rows),
        }
    }

    fn apart(relation: &Relation, rows: &ValueBuffer) -> Result<Parents, Failure> {
        let mut classes: Vec<Class> = vec![];
        for (row, slot) in keys_of(relation, rows)? {
            let (kind, value) = match rows.value(slot) {
                Value::Integer(n) => (ClassKind::Number, Owned::Integer(n)),
                Value::Real(n) => (ClassKind::Number, Owned::Real(n)),
                Value::Text(text) | Value::Json(text) => (ClassKind::Text, Owned::Blob(text.to_vec())),
                Value::Blob(bytes) => (ClassKind::Blob, Owned::Blob(bytes.to_vec())),
                _ => continue,
            };
            let known = classes.iter().position(|class| class.kind == kind).unwrap_or_else(|| {
                classes.push(Class { kind, values: vec![], places: vec![] });
                classes.len() - 1
            });
            classes[known].values.push(value);
            classes[known].places.push(row as u64);
        }

        Ok(Parents::Apart(classes))
    }

    /// Gives `take` each related row, with the index of its row in the run, until it returns false.
    /// Returns whether it never did. The queries select what tells the parent first, then the
    /// columns.
    fn each(
        &self,
        connection: &Connection,
        relation: &Relation,
        wanted: &Wanted,
        mut take: impl FnMut(u64, &rusqlite::Row<'_>) -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        match self {
            Parents::Close(keys) => {
                let mut find = keys.finder();
                let (first, last) = keys.ends();
                let mut statement = connection.prepare_cached(&wanted.by(BETWEEN))?;
                let mut binder = Binder::new(&mut statement);
                binder.bind(first)?;
                binder.bind(last)?;
                let mut found = statement.raw_query();
                while let Some(row) = found.next()? {
                    let ValueRef::Integer(key) = row.get_ref(0)? else { continue };
                    let Some(parent) = find(key) else { continue };
                    if !take(parent, row)? {
                        return Ok(false);
                    }
                }
            }
            Parents::Apart(classes) => {
                for class in classes {
                    let mut statement = connection.prepare_cached(&class.sql(relation, wanted))?;
                    Binder::new(&mut statement).bind(Rc::new(class.values.clone()))?;
                    let mut found = statement.raw_query();
                    while let Some(row) = found.next()? {
                        let place = row.get::<_, i64>(0)? as usize - 1;
                        if !take(class.places[place], row)? {
                            return Ok(false);
                        }
                    }
                }
            }
        }

        Ok(true)
    }
}

/// The related table in this transaction's snapshot, if it is small and has usable ids. Kept until
/// the file changes.
fn small_table(session: &mut Session, relation: &Relation) -> Result<Option<Arc<SmallTable>>, Failure> {
    if !relation.small || relation.join.is_none() || !relation.own_order || !relation.whole {
        return Ok(None);
    }
    let sql = Wanted::all(&DIALECT, relation, SMALL_TABLE + 1);
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
    let mut rows = ValueBuffer::new(relation.columns.len());
    let mut ids = vec![];
    while let Some(row) = found.next()? {
        if rows.count() == SMALL_TABLE || rows.weight() > SMALL_BYTES {
            return Ok(None);
        }
        ids.push(match row.get_ref(0)? {
            ValueRef::Integer(id) => Some(id),
            _ => None,
        });
        for (index, select) in relation.columns.iter().enumerate() {
            push(&mut rows, row.get_ref(index + 1)?, select.json)?;
        }
    }

    Ok(SmallTable::new(rows, &ids))
}
