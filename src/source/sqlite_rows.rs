//! One read of a SQLite file: a run of rows with their related lists, as they stood at one moment.
//!
//! The rows come first, by one query for each key range; then each related list by one query for the whole run, by
//! `BETWEEN` the first and last key where the keys lie close, else by the keys themselves. A small related table is held
//! with its connection for as long as `PRAGMA data_version` says that nobody has changed the file, so that a join
//! table's ids become names without a look-up in SQLite: never a name of another moment.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use rusqlite::{
    CachedStatement, Connection,
    types::{ToSql, ToSqlOutput, ValueRef},
};

use super::{
    Condition, Operand, Operator, Query,
    keyset::{self, quote},
    plan::{JOIN, Output, Plan, RELATED, Relation},
};
use crate::{
    error::{Error, Kind},
    row::{RowSink, Value},
};

/// A run ends early when its rows hold so many bytes.
const RUN_BYTES: usize = 1024 * 1024;
/// A related table with more rows, or ids above [`DENSE`], is joined instead of held.
const SMALL_TABLE: usize = 4096;
const DENSE: i64 = 65_536;
/// Keys lie close when their range is at most so many times their number.
const CLOSE: i64 = 4;

/// Why a read failed.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Own(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Own(error)
    }
}

/// A connection and the small related tables it holds.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) held: HashMap<String, (i64, Option<Arc<SmallTable>>)>,
}

/// Reads one run into the sink; says whether the list ends with it.
pub(super) fn read(session: &mut Session, plan: &Plan, query: &Query, sink: &mut dyn RowSink) -> Result<bool, Failure> {
    session.connection.execute_batch("BEGIN")?;
    let result = read_in_transaction(session, plan, query, sink);
    // Nothing was written, so how the transaction ends makes no difference; that it ends does.
    let ended = session.connection.execute_batch("COMMIT");
    let result = result?;
    ended?;
    Ok(result)
}

fn read_in_transaction(
    session: &mut Session,
    plan: &Plan,
    query: &Query,
    sink: &mut dyn RowSink,
) -> Result<bool, Failure> {
    let (rows, ended) = main_rows(&session.connection, plan, query)?;
    if rows.count() == 0 {
        return Ok(ended);
    }
    let mut lists = Vec::with_capacity(plan.relations.len());
    for relation in &plan.relations {
        lists.push(related(session, relation, &rows)?);
    }
    hand_over(plan, &rows, &lists, sink)?;
    Ok(ended)
}

/// Gives each row, with its related lists, to the sink.
fn hand_over(plan: &Plan, rows: &Held, lists: &[Lists], sink: &mut dyn RowSink) -> Result<(), Error> {
    let values: Vec<Value<'_>> = rows.slots.iter().map(|slot| rows.value(*slot)).collect();
    let related: Vec<Vec<Value<'_>>> = lists.iter().map(Lists::values).collect();
    let mut key = Vec::with_capacity(plan.key.len());
    let mut out = Vec::with_capacity(plan.outputs.len());
    for (index, row) in values.chunks_exact(rows.width).enumerate() {
        key.clear();
        key.extend(plan.key.iter().map(|&select| match row[select] {
            Value::Json(text) => Value::Text(text),
            value => value,
        }));
        out.clear();
        out.extend(plan.outputs.iter().map(|output| match *output {
            Output::Select(select) => row[select],
            Output::Object { first, .. } if row[first - 1] == Value::Null => Value::Null,
            Output::Object { first, len } => Value::List(&row[first..first + len]),
            Output::Relation(relation) => Value::List(&related[relation][lists[relation].range(index)]),
        }));
        sink.row(&key, &out)?;
    }
    Ok(())
}

/// The rows themselves, and whether the list ends with them.
fn main_rows(connection: &Connection, plan: &Plan, query: &Query) -> Result<(Held, bool), Failure> {
    let after: Vec<Value<'_>> = query.after.values().collect();
    let mut rows = Held::new(plan.selects.len());
    for range in keyset::ranges(&plan.order, &after) {
        let left = query.limit as usize - rows.count();
        if left == 0 {
            return Ok((rows, false));
        }
        let mut statement = connection.prepare_cached(&main_sql(plan, &range.condition, &query.conditions))?;
        let mut binder = Binder { statement: &mut statement, next: 1 };
        for &index in &range.binds {
            binder.bind(Bound(after[index]))?;
        }
        bind_conditions(&mut binder, plan, &query.conditions)?;
        binder.bind(left as i64)?;
        let mut found = statement.raw_query();
        while let Some(row) = found.next()? {
            for (index, select) in plan.selects.iter().enumerate() {
                rows.push(row.get_ref(index)?, select.json)?;
            }
            if rows.bytes.len() > RUN_BYTES {
                return Ok((rows, false));
            }
        }
    }
    let ended = rows.count() < query.limit as usize;
    Ok((rows, ended))
}

/// The main query for one key range.
pub(super) fn main_sql(plan: &Plan, range: &str, conditions: &[Condition]) -> String {
    let selects: Vec<&str> = plan.selects.iter().map(|select| &*select.sql).collect();
    let mut sql = format!("SELECT {} FROM {}", selects.join(", "), plan.table);
    push_conditions(&mut sql, plan, range, conditions);
    sql.push_str(" ORDER BY ");
    sql.push_str(&keyset::order_by(&plan.order));
    sql.push_str(" LIMIT ?");
    sql
}

/// How many rows fulfil the conditions.
pub(super) fn count(connection: &Connection, plan: &Plan, conditions: &[Condition]) -> Result<u64, Failure> {
    let mut sql = format!("SELECT count(*) FROM {}", plan.table);
    push_conditions(&mut sql, plan, "", conditions);
    let mut statement = connection.prepare_cached(&sql)?;
    bind_conditions(&mut Binder { statement: &mut statement, next: 1 }, plan, conditions)?;
    let mut rows = statement.raw_query();
    Ok(rows.next()?.map_or(Ok(0), |row| row.get::<_, i64>(0))? as u64)
}

fn push_conditions(sql: &mut String, plan: &Plan, range: &str, conditions: &[Condition]) {
    let mut all = vec![];
    if let Some(condition) = &plan.condition {
        // On lines of its own, so that a comment at its end hides nothing.
        all.push(format!("(\n{condition}\n)"));
    }
    if !range.is_empty() {
        all.push(range.to_owned());
    }
    for condition in conditions {
        let column = format!("{}.{}", plan.table, quote(&condition.column));
        all.push(match condition.operator {
            Operator::Eq => format!("{column} = ?"),
            Operator::Neq => format!("{column} <> ?"),
            Operator::Gt => format!("{column} > ?"),
            Operator::Gte => format!("{column} >= ?"),
            Operator::Lt => format!("{column} < ?"),
            Operator::Lte => format!("{column} <= ?"),
            Operator::In => format!("{column} IN ({})", vec!["?"; condition.values.len()].join(", ")),
            Operator::IsNull => format!("{column} IS NULL"),
            Operator::IsNotNull => format!("{column} IS NOT NULL"),
            Operator::Like => format!("{column} LIKE ?"),
        });
    }
    if !all.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&all.join(" AND "));
    }
}

fn bind_conditions(binder: &mut Binder<'_, '_>, plan: &Plan, conditions: &[Condition]) -> rusqlite::Result<()> {
    for condition in conditions {
        let filter = plan.filters.iter().find(|filter| filter.column == condition.column);
        for text in &condition.values {
            match (condition.operator, filter.map(|filter| filter.operand)) {
                (Operator::Like, _) => binder.bind(text.replace('*', "%"))?,
                (_, Some(Operand::Integer | Operand::Number)) => match (text.parse::<i64>(), text.parse::<f64>()) {
                    (Ok(number), _) => binder.bind(number)?,
                    (_, Ok(number)) => binder.bind(number)?,
                    _ => binder.bind(text)?,
                },
                _ => binder.bind(text)?,
            }
        }
    }
    Ok(())
}

/// Binds a statement's parameters one after the other.
struct Binder<'a, 'c> {
    statement: &'a mut CachedStatement<'c>,
    next: usize,
}

impl Binder<'_, '_> {
    fn bind(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }
}

/// A value as it was read, bound as exactly that.
struct Bound<'a>(Value<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null | Value::List(_) => ValueRef::Null,
            Value::Bool(truth) => ValueRef::Integer(truth.into()),
            Value::Integer(n) => ValueRef::Integer(n),
            Value::Real(n) => ValueRef::Real(n),
            Value::Text(text) | Value::Json(text) => ValueRef::Text(text),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Values copied out of SQLite, row after row: their bytes lie in one buffer.
pub(super) struct Held {
    width: usize,
    slots: Vec<Slot>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Slot {
    Null,
    Integer(i64),
    Real(f64),
    Text(u32, u32),
    Json(u32, u32),
    Blob(u32, u32),
}

impl Held {
    fn new(width: usize) -> Held {
        Held { width, slots: vec![], bytes: vec![] }
    }

    fn count(&self) -> usize {
        self.slots.len() / self.width
    }

    fn push(&mut self, value: ValueRef<'_>, json: bool) -> Result<(), Error> {
        let slot = match value {
            ValueRef::Null => Slot::Null,
            ValueRef::Integer(n) => Slot::Integer(n),
            ValueRef::Real(n) => Slot::Real(n),
            ValueRef::Text(text) => {
                let (from, to) = self.copy(text)?;
                if json { Slot::Json(from, to) } else { Slot::Text(from, to) }
            }
            ValueRef::Blob(bytes) => {
                let (from, to) = self.copy(bytes)?;
                Slot::Blob(from, to)
            }
        };
        self.slots.push(slot);
        Ok(())
    }

    fn copy(&mut self, bytes: &[u8]) -> Result<(u32, u32), Error> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        match (u32::try_from(from), u32::try_from(self.bytes.len())) {
            (Ok(from), Ok(to)) => Ok((from, to)),
            _ => Err(Error::new(Kind::Data, "a run of rows holds more than 4 GiB")
                .remedy("leave out the column with the huge values")),
        }
    }

    fn value(&self, slot: Slot) -> Value<'_> {
        let bytes = |from: u32, to: u32| &self.bytes[from as usize..to as usize];
        match slot {
            Slot::Null => Value::Null,
            Slot::Integer(n) => Value::Integer(n),
            Slot::Real(n) => Value::Real(n),
            Slot::Text(from, to) => Value::Text(bytes(from, to)),
            Slot::Json(from, to) => Value::Json(bytes(from, to)),
            Slot::Blob(from, to) => Value::Blob(bytes(from, to)),
        }
    }

    /// The values of one row.
    fn row(&self, index: usize) -> impl Iterator<Item = Value<'_>> {
        self.slots[index * self.width..][..self.width].iter().map(|slot| self.value(*slot))
    }
}

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
struct Lists {
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

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// All values, row after row.
    fn values(&self) -> Vec<Value<'_>> {
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

/// Reads one related list for a run of rows.
fn related(session: &mut Session, relation: &Relation, rows: &Held) -> Result<Lists, Failure> {
    let parents = Parents::new(relation, rows)?;
    if let Some(table) = small_table(session, relation)? {
        let join = relation.join.as_ref().expect("only a join table's ids are looked up");
        let alias = quote(JOIN);
        let source = format!("{} AS {alias}", quote(&join.table));
        let on = format!("{alias}.{}", quote(&join.on));
        let sql = parents.sql(&on, &format!("{alias}.{}", quote(&join.to)), &source, "");
        let mut pairs = vec![];
        parents.each(&session.connection, &sql, |row, found| {
            if let ValueRef::Integer(id) = found.get_ref(1)? {
                pairs.extend(table.place(id).map(|place| row << 32 | u64::from(place)));
            }
            Ok(())
        })?;
        return Ok(Lists::new(RelatedRows::Small(table), pairs, rows.count()));
    }
    let related = quote(RELATED);
    let target = format!("{} AS {related}", quote(&relation.table));
    let (source, on) = match &relation.join {
        Some(join) => {
            let alias = quote(JOIN);
            let matched = format!("{related}.{} = {alias}.{}", quote(&relation.column), quote(&join.to));
            (
                format!("{} AS {alias} CROSS JOIN {target} ON {matched}", quote(&join.table)),
                format!("{alias}.{}", quote(&join.on)),
            )
        }
        None => (target, format!("{related}.{}", quote(&relation.column))),
    };
    let columns: Vec<String> = relation.columns.iter().map(|(name, _)| format!("{related}.{}", quote(name))).collect();
    let sql = parents.sql(&on, &columns.join(", "), &source, &keyset::order_by(&relation.order));
    let mut read = Held::new(relation.columns.len());
    let mut pairs = vec![];
    parents.each(&session.connection, &sql, |row, found| {
        pairs.push(row << 32 | read.count() as u64);
        for (index, (_, json)) in relation.columns.iter().enumerate() {
            read.push(found.get_ref(index + 1)?, *json)?;
        }
        Ok(())
    })?;
    Ok(Lists::new(RelatedRows::Read(read), pairs, rows.count()))
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
            Some(span) if span <= CLOSE * whole.len() as i64 => Ok(Parents::Close(whole)),
            _ => Parents::apart(rows, keys()),
        }
    }

    fn apart<'a>(rows: &Held, keys: impl Iterator<Item = (usize, &'a Slot)>) -> Result<Parents, Error> {
        use rusqlite::types::Value as Owned;
        let (mut values, mut places) = (vec![], vec![]);
        for (row, slot) in keys {
            values.push(match rows.value(*slot) {
                Value::Integer(n) => Owned::Integer(n),
                Value::Real(n) => Owned::Real(n),
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
    fn sql(&self, on: &str, columns: &str, source: &str, order: &str) -> String {
        let comma = if order.is_empty() { "" } else { ", " };
        match self {
            Parents::Close(_) => {
                let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {on}, {order}") };
                format!("SELECT {on}, {columns} FROM {source} WHERE {on} BETWEEN ?1 AND ?2{order}")
            }
            Parents::Apart(..) => format!(
                "SELECT chunkflow_keys.rowid, {columns} FROM rarray(?1) AS chunkflow_keys CROSS JOIN {source} \
                 WHERE {on} = chunkflow_keys.value ORDER BY chunkflow_keys.rowid{comma}{order}"
            ),
        }
    }

    /// Runs the query and gives each related row with the row of the run it belongs to.
    fn each(
        &self,
        connection: &Connection,
        sql: &str,
        mut take: impl FnMut(u64, &rusqlite::Row<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut binder = Binder { statement: &mut statement, next: 1 };
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
                    if let Some(known) = keys.get(at).filter(|known| known.0 == key) {
                        take(known.1, row)?;
                    }
                }
            }
            Parents::Apart(values, places) => {
                binder.bind(Rc::new(values.clone()))?;
                let mut found = statement.raw_query();
                while let Some(row) = found.next()? {
                    let place = row.get::<_, i64>(0)? as usize - 1;
                    take(places[place], row)?;
                }
            }
        }
        Ok(())
    }
}

/// The related table as it stands in this transaction, if it is small and its ids are; held until the file changes.
fn small_table(session: &mut Session, relation: &Relation) -> Result<Option<Arc<SmallTable>>, Failure> {
    if relation.join.is_none() || !relation.own_order {
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
        if table.rows.count() == SMALL_TABLE || table.rows.bytes.len() > RUN_BYTES {
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
