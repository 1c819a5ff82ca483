//! A source over a closure: rows of any type that serde can write.

use std::{error, fmt, future::Future, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{BoxFuture, Gate, GateLimits, Query, Run, Source};
use crate::{
    canonical::Canonical,
    error::{Error, Kind, Result},
    row::{Column, RowBatch, RowSink, Value},
};

/// A source over a closure; made by [`closure`].
pub struct Closure<T, K, F> {
    columns: Vec<Column>,
    order: Vec<String>,
    version: String,
    key: fn(&T) -> K,
    fetch: F,
    gate: Gate,
    timeout: Duration,
    rows: PhantomData<fn() -> (T, K)>,
}

/// A source over a closure.
///
/// `fetch` is given the key of the last row that was seen (`None` at the start) and a number of rows, and
/// returns the rows behind that key, at most so many, in the order of the keys; fewer mean that the list ends.
/// `key` says what identifies a row: no two rows may have the same, and the closure's order must be theirs. A
/// row is written as the object that serde makes of it: the members named in `columns`, null where one is
/// missing.
///
/// An error of `fetch` fails the load: the request is answered with 500, and its text is in the log. One that is an
/// [`Error`] of this crate says by its kind what the client is told: [`Kind::Unavailable`] that the source cannot be
/// reached, for instance.
///
/// At most four fetches run at once and each may take ten seconds; see [`Closure::limits`].
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Square { id: u64, square: u64 }
///
/// let source = chunkflow::closure(&["id", "square"], |row: &Square| row.id, |after: Option<u64>, limit| async move {
///     let from = after.map_or(0, |id| id + 1);
///     let rows = (from..1000).take(limit).map(|id| Square { id, square: id * id });
///     Ok::<_, std::io::Error>(rows.collect())
/// });
/// ```
pub fn closure<T, K, F, Fut, E>(columns: &[&str], key: fn(&T) -> K, fetch: F) -> Closure<T, K, F>
where
    F: Fn(Option<K>, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<T>, E>> + Send,
{
    Closure {
        columns: columns.iter().map(|name| Column::scalar(*name)).collect(),
        order: vec!["key".to_owned()],
        version: String::new(),
        key,
        fetch,
        gate: Gate::new(GateLimits::default()),
        timeout: Duration::from_secs(10),
        rows: PhantomData,
    }
}

impl<T, K, F> Closure<T, K, F> {
    /// The same source with other limits on fetches at once, on those who wait, and on the time of one.
    #[must_use]
    pub fn limits(self, limits: GateLimits, timeout: Duration) -> Self {
        Closure { gate: Gate::new(limits), timeout, ..self }
    }

    /// The same source with a version, which is empty at first: chunks of another version are not read. Change it
    /// when what the closure gives changes: its code is known to nobody else.
    #[must_use]
    pub fn version(self, version: impl Into<String>) -> Self {
        Closure { version: version.into(), ..self }
    }
}

impl<T, K, F, Fut, E> Source for Closure<T, K, F>
where
    T: Serialize + Send + 'static,
    K: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(Option<K>, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<T>, E>> + Send,
    E: Into<Box<dyn error::Error + Send + Sync>> + Send,
{
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn order(&self) -> &[String] {
        &self.order
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut bytes = Canonical::of("closure 1");
        bytes.text(&self.version);
        bytes.each(self.columns.iter(), |bytes, column| bytes.text(&column.name));
        bytes.into_bytes()
    }

    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>> {
        Box::pin(async move {
            let _turn = self.gate.turn(query.claim()).await?;
            let after = match query.after.values().next() {
                Some(Value::Text(key)) => Some(serde_json::from_slice(key).map_err(|error| {
                    Error::new(Kind::Invalid, "the cursor holds no key of this list").caused_by(error)
                })?),
                _ => None,
            };
            let limit = query.limit as usize;
            let fetched = tokio::time::timeout(self.timeout, (self.fetch)(after, limit)).await;
            let fetched = fetched
                .map_err(|_| Error::new(Kind::Timeout, format!("the source took longer than {:?}", self.timeout)))?;
            let rows = fetched.map_err(failed)?;
            let ended = rows.len() < limit;
            let mut batch = RowBatch::new(1, self.columns.len());
            for row in rows.iter().take(limit) {
                let key = serde_json::to_vec(&(self.key)(row)).map_err(unwritable)?;
                self.push(&key, row, &mut batch)?;
            }
            sink.take(batch)?;
            Ok(Run::new(ended))
        })
    }
}

impl<T: Serialize, K, F> Closure<T, K, F> {
    fn push(&self, key: &[u8], row: &T, batch: &mut RowBatch) -> Result<()> {
        let json = serde_json::to_string(row).map_err(unwritable)?;
        let members: Members<'_> = serde_json::from_str(&json).map_err(unwritable)?;
        let raw: Vec<Option<&str>> = self.columns.iter().map(|column| members.raw(&column.name)).collect();
        // A string is text, so that CSV shows it bare; everything else is JSON as it stands.
        let text =
            |raw: &Option<&str>| raw.filter(|raw| raw.starts_with('"')).and_then(|raw| serde_json::from_str(raw).ok());
        let texts: Vec<Option<String>> = raw.iter().map(text).collect();
        let values = raw.iter().zip(&texts).map(|(raw, text)| match (raw, text) {
            (_, Some(text)) => Value::Text(text.as_bytes()),
            (None | Some("null"), None) => Value::Null,
            (Some(raw), None) => Value::Json(raw.as_bytes()),
        });
        batch.push(&[Value::Text(key)], &values.collect::<Vec<_>>())
    }
}

/// The failure of a fetch, in its own words unless it is one of this crate's.
fn failed(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(own) => *own,
        Err(cause) => Error::new(Kind::Internal, "the closure failed").caused_by(cause),
    }
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::new(Kind::Data, "a row cannot be written as a JSON object").caused_by(error)
}

/// The members of a JSON object, as they stand in its text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl Members<'_> {
    fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, raw)| raw.get())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'a>, M::Error> {
                let mut members = vec![];
                while let Some((name, raw)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, raw));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}
