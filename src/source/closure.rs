//! Sources over closures, which give rows of any type that serde can write, or batches of rows.

use std::{error, fmt, future::Future, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{BoxFuture, Condition, Filter, Gate, GateLimits, Operand, Query, Run, Source, Tables, TouchRules, tables};
use crate::{
    canonical::Canonical,
    error::{Error, Kind, Result},
    row::{Column, RowBatch, RowSink, Value, unwritable},
};

/// A source over a closure; made by [`closure`], or by [`Closure::of_batches`].
///
/// At most four fetches run at once and each may take ten seconds: see [`limits`](Closure::limits).
pub struct Closure {
    columns: Vec<Column>,
    order: Vec<String>,
    filters: Vec<Filter>,
    /// What it says of changes, and the columns of its key.
    follows: Option<(TouchRules, Vec<Filter>)>,
    version: String,
    places: Option<Vec<u8>>,
    longest_run: u32,
    fetch: Box<dyn Fn(Query) -> BoxFuture<'static, Result<RowBatch>> + Send + Sync>,
    gate: Gate,
    timeout: Duration,
}

/// What the closure of a list is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fetch<K> {
    /// The key of the last row that was read; `None` at the start.
    pub after: Option<K>,
    /// At most this many rows; if the closure returns fewer, the list ends.
    pub limit: usize,
    /// The conditions that each row must meet, on the columns declared by [`Closure::filters`].
    /// They may be trees; [`Condition::is_met`] says whether a row meets one.
    pub conditions: Arc<[Condition]>,
}

/// A source over a closure.
///
/// `fetch` returns the rows behind a key, in the order of the keys. If it returns fewer than the
/// limit, the list ends. `key` returns what identifies a row: a number, a text, or a tuple of
/// several. No two rows may have the same key, and `fetch` must sort by it. A row is written as the
/// object that serde makes of it, with the members named in `columns`; a missing one is null.
///
/// An error of `fetch` fails the load: the request is answered with 500, and the log has the
/// error's text. An [`Error`] of this crate chooses the answer by its kind, for instance
/// [`Kind::Unavailable`] for a source that cannot be reached. The future is dropped when nobody
/// waits for its rows any more.
///
/// ```
/// use chunkflow::Fetch;
///
/// #[derive(serde::Serialize)]
/// struct Square { id: u64, square: u64 }
///
/// let source = chunkflow::closure(&["id", "square"], |row: &Square| row.id, |fetch: Fetch<u64>| async move {
///     let from = fetch.after.map_or(0, |id| id + 1);
///     let rows = (from..1000).take(fetch.limit).map(|id| Square { id, square: id * id });
///     Ok::<_, std::io::Error>(rows.collect())
/// });
/// ```
pub fn closure<T, K, F, Fut, E>(columns: &[&str], key: fn(&T) -> K, fetch: F) -> Closure
where
    T: Serialize + Send + 'static,
    K: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(Fetch<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<T>, E>> + Send + 'static,
    E: Into<Box<dyn error::Error + Send + Sync>> + Send + 'static,
{
    let columns: Vec<Column> = columns.iter().map(|name| Column::scalar(*name)).collect();
    let shown: Arc<[Column]> = columns.clone().into();
    Closure::over(columns, &["key"], move |query: Query| {
        let limit = query.limit as usize;
        let fetched = key_of(&query).map(|after| fetch(Fetch { after, limit, conditions: query.conditions }));
        let columns = Arc::clone(&shown);
        async move {
            let rows = fetched?.await.map_err(failed)?;
            let mut batch = RowBatch::new(1, columns.len());
            for row in rows.iter().take(limit) {
                let key = serde_json::to_vec(&key(row)).map_err(unwritable)?;
                let object = serde_json::to_string(row).map_err(unwritable)?;
                batch.push_object(&[Value::Text(&key)], &columns, &object)?;
            }
            Ok(batch)
        }
    })
}

impl Closure {
    /// A source over a closure that returns whole batches. Their rows may have values of every
    /// kind, keys of several columns, or be [JSON already](RowBatch::push_object).
    ///
    /// `columns` are the columns of its rows. `order` names the columns of the key, which come
    /// first in each row of a batch. The closure is asked as a [`Source`] is: it returns the rows
    /// behind [`Query::after`], whose values are a key. If it returns fewer than [`Query::limit`],
    /// the list ends. Its errors are treated as those of [`closure`].
    pub fn of_batches<F, Fut, E>(columns: Vec<Column>, order: &[&str], fetch: F) -> Closure
    where
        F: Fn(Query) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<RowBatch, E>> + Send + 'static,
        E: Into<Box<dyn error::Error + Send + Sync>> + Send + 'static,
    {
        Closure::over(columns, order, move |query| {
            let batch = fetch(query);
            async move { batch.await.map_err(failed) }
        })
    }

    /// A source over a closure that returns rows which are JSON objects, whose members nobody knows
    /// beforehand: batches of one column, [`Column::members`], filled by
    /// [`push_members`](RowBatch::push_members). CSV is refused, since it begins with the names of
    /// all columns. All else is as of [`of_batches`](Closure::of_batches).
    pub fn of_objects<F, Fut, E>(order: &[&str], fetch: F) -> Closure
    where
        F: Fn(Query) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<RowBatch, E>> + Send + 'static,
        E: Into<Box<dyn error::Error + Send + Sync>> + Send + 'static,
    {
        Closure::of_batches(vec![Column::members()], order, fetch)
    }

    fn over<Fut>(columns: Vec<Column>, order: &[&str], fetch: impl Fn(Query) -> Fut + Send + Sync + 'static) -> Closure
    where
        Fut: Future<Output = Result<RowBatch>> + Send + 'static,
    {
        Closure {
            columns,
            order: order.iter().map(|name| (*name).to_owned()).collect(),
            filters: vec![],
            follows: None,
            version: String::new(),
            places: None,
            longest_run: u32::MAX,
            fetch: Box::new(move |query| Box::pin(fetch(query))),
            gate: Gate::new(GateLimits::default()),
            timeout: Duration::from_secs(10),
        }
    }

    /// The same source with other limits: on fetches at once, on fetches that wait, and on the time
    /// of one.
    #[must_use]
    pub fn limits(self, limits: GateLimits, timeout: Duration) -> Closure {
        Closure { gate: Gate::new(limits), timeout, ..self }
    }

    /// The same source with a version, which is empty at first. Chunks of another version are not
    /// used. Change it when the closure's rows change: this crate cannot see the closure's code.
    #[must_use]
    pub fn version(self, version: impl Into<String>) -> Closure {
        Closure { version: version.into(), ..self }
    }

    /// The same source, whose cursors are taken by every source with the same bytes here. Without
    /// them, cursors of another version are refused. Change the bytes when the order changes, or
    /// what its columns mean.
    #[must_use]
    pub fn places(self, places: impl Into<Vec<u8>>) -> Closure {
        Closure { places: Some(places.into()), ..self }
    }

    /// The same source with columns that requests may filter by. The closure gets the conditions.
    #[must_use]
    pub fn filters(self, filters: Vec<Filter>) -> Closure {
        Closure { filters, ..self }
    }

    /// The same source, whose rows come from these tables: a change that is told of one
    /// ([`Chunkflow::changed`](crate::Chunkflow::changed)) is in the list from then on, and leaves
    /// the other chunks as they are. The closure must then take conditions on the columns of the
    /// key, and note the related rows of each row ([`RowBatch::note_related`]).
    ///
    /// # Errors
    /// [`Kind::Config`] if a column of the key is none of the order's.
    pub fn follows(self, tables: &Tables) -> Result<Closure> {
        let rules = tables.rules(&self.order)?;
        let key = tables.key().iter().map(|column| Filter::new(column.clone(), Operand::Text)).collect();
        Ok(Closure { follows: Some((rules, key)), ..self })
    }

    /// The same source, asked for at most this many rows at once. Without this bound, a list that
    /// is read on is asked for up to 4,000.
    #[must_use]
    pub fn longest_run(self, rows: u32) -> Closure {
        Closure { longest_run: rows.max(1), ..self }
    }
}

impl Source for Closure {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn order(&self) -> &[String] {
        &self.order
    }

    fn filters(&self) -> &[Filter] {
        &self.filters
    }

    fn scope(&self) -> &[Filter] {
        self.follows.as_ref().map_or(&[], |(_, key)| key)
    }

    fn touch_rules(&self) -> Option<&TouchRules> {
        self.follows.as_ref().map(|(rules, _)| rules)
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut bytes = Canonical::of("closure 2");
        bytes.text(&self.version);
        bytes.each(self.columns.iter(), |bytes, column| bytes.text(&column.name));
        bytes.each(self.order.iter(), |bytes, name| bytes.text(name));
        bytes.into_bytes()
    }

    fn places(&self) -> Vec<u8> {
        let Some(places) = &self.places else { return self.fingerprint() };
        let mut bytes = Canonical::of("closure places 1");
        bytes.bytes(places);
        bytes.each(self.order.iter(), |bytes, name| bytes.text(name));
        bytes.into_bytes()
    }

    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>> {
        Box::pin(async move {
            let _turn = self.gate.turn(query.claim()).await?;
            let limit = query.limit.min(self.longest_run);
            let fetched = tokio::time::timeout(self.timeout, (self.fetch)(Query { limit, ..query })).await;
            let batch = fetched
                .map_err(|_| Error::new(Kind::Timeout, format!("the source took longer than {:?}", self.timeout)))??;

            batch.check(self.order.len(), self.columns.len())?;
            if let Some((rules, _)) = &self.follows {
                tables::check_keys(&batch, rules)?;
            }
            let ended = batch.len() < limit as usize;
            sink.take(batch)?;
            Ok(Run::new(ended))
        })
    }
}

impl fmt::Debug for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closure").field("columns", &self.columns).field("order", &self.order).finish_non_exhaustive()
    }
}

/// The key of a query's place; `None` at the start.
fn key_of<K: DeserializeOwned>(query: &Query) -> Result<Option<K>> {
    let Some(Value::Text(key)) = query.after.values().next() else { return Ok(None) };
    let key = serde_json::from_slice(key);
    key.map(Some).map_err(|error| Error::new(Kind::Invalid, "the cursor holds no key of this list").caused_by(error))
}

/// The error of a failed fetch: this crate's own stays as it is, any other is wrapped.
fn failed(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(own) => *own,
        Err(cause) => Error::new(Kind::Internal, "the closure failed").caused_by(cause),
    }
}
