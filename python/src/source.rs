//! A list as Python gives it.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use chunkflow::{
    Envelope, Resource, ResourceOptions, Sizes,
    source::{Closure, Column, Filter, GateLimits, Operand, Query, RowBatch, Tables},
};
use pyo3::{exceptions::PyValueError, prelude::*};

use crate::{
    change::Follows,
    live::{Live, refused},
    rows::Rows,
};

/// The most rows that a function is asked for at once, so that it holds the interpreter's lock for a
/// short time only.
const LONGEST_RUN: u32 = 500;

/// A list.
#[pyclass(frozen, module = "chunkflow._native")]
pub(crate) struct Source {
    #[pyo3(get)]
    name: String,
    version: String,
    function: Arc<Py<PyAny>>,
    /// Whether the function is one of coroutines.
    is_async: bool,
    order: Vec<String>,
    columns: Option<Arc<[Column]>>,
    filters: Vec<Filter>,
    follows: Option<Tables>,
    /// What its cursors mean, if that is not all that shapes its rows.
    places: Option<Vec<u8>>,
    options: ResourceOptions,
    /// The resource of this list, and what it was made for.
    made: Mutex<Option<(Weak<Live>, Arc<Resource>)>>,
}

#[pymethods]
impl Source {
    #[new]
    #[pyo3(signature = (
        name, version, rows, *, order, columns = None, filters = vec![], ttl = 300.0, stale = 3600.0,
        envelope = Some("results".to_owned()), count = false, compress = true, chunk_rows = 50, chunk_bytes = 65536,
        follows = None, places = None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python names each of them")]
    fn new(
        py: Python<'_>,
        name: String,
        version: &[u8],
        rows: Py<PyAny>,
        order: Vec<String>,
        columns: Option<Vec<String>>,
        filters: Vec<(String, String)>,
        ttl: f64,
        stale: f64,
        envelope: Option<String>,
        count: bool,
        compress: bool,
        chunk_rows: u32,
        chunk_bytes: u32,
        follows: Option<PyRef<'_, Follows>>,
        places: Option<&[u8]>,
    ) -> PyResult<Source> {
        if order.is_empty() {
            return Err(PyValueError::new_err("`order` names no column: rows need a key that tells them apart"));
        }
        let duration = |name: &str, seconds: f64| {
            let message = || PyValueError::new_err(format!("`{name}` is no number of seconds"));
            Duration::try_from_secs_f64(seconds).map_err(|_| message())
        };
        let ttl = duration("ttl", ttl)?;
        let stale = duration("stale", stale)?;
        let options = ResourceOptions::default().with(|options| {
            options.ttl = ttl;
            options.stale = stale;
            options.sizes = Sizes { rows: chunk_rows.max(1), bytes: chunk_bytes.max(1) };
            options.count = count;
            options.compress = compress;
            options.envelope = envelope.map_or(Envelope::None, Envelope::Member);
        });
        let is_async = py.import("chunkflow._threads")?.getattr("is_async")?.call1((&rows,))?.is_truthy()?;
        Ok(Source {
            name,
            version: version.iter().map(|byte| format!("{byte:02x}")).collect(),
            function: Arc::new(rows),
            is_async,
            order,
            columns: columns.map(|columns| columns.into_iter().map(Column::scalar).collect()),
            filters: filters.into_iter().map(filter).collect::<PyResult<_>>()?,
            follows: follows.map(|follows| follows.tables.clone()),
            places: places.map(<[u8]>::to_vec),
            options,
            made: Mutex::default(),
        })
    }

    fn __repr__(&self) -> String {
        format!("Source({:?})", self.name)
    }
}

impl Source {
    /// The resource of this list, whose function runs on the event loop of the task that calls if it
    /// is one of coroutines (`on_loop`), else in a thread.
    pub(crate) fn resource(&self, py: Python<'_>, live: &Arc<Live>, on_loop: bool) -> PyResult<Arc<Resource>> {
        if self.is_async && on_loop {
            let event_loop = live.threads().running_loop(py)?.unbind();
            return self.make(live, Some(Arc::new(event_loop)));
        }

        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((of, resource)) = made
            && of.as_ptr() == Arc::as_ptr(live)
        {
            return Ok(resource);
        }
        let resource = self.make(live, None)?;
        let made = (Arc::downgrade(live), Arc::clone(&resource));
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        Ok(resource)
    }

    fn make(&self, live: &Arc<Live>, event_loop: Option<Arc<Py<PyAny>>>) -> PyResult<Arc<Resource>> {
        let rows = Rows {
            name: self.name.as_str().into(),
            function: Arc::clone(&self.function),
            event_loop,
            key: self.order.len(),
        };
        let columns = self.columns.clone();
        let pool = Arc::downgrade(live.pool());
        let fetch = move |query: Query| -> Fetched {
            let (rows, columns, pool) = (rows.clone(), columns.clone(), pool.clone());
            Box::pin(async move {
                let closed = || chunkflow::Error::new(chunkflow::Kind::Unavailable, "the flow was closed");
                let pool = pool.upgrade().ok_or_else(closed)?;
                let key = rows.key;
                pool.rows(rows, query).await?.batch(key, columns.as_deref())
            })
        };

        let order: Vec<&str> = self.order.iter().map(String::as_str).collect();
        let closure = match &self.columns {
            Some(columns) => Closure::of_batches(columns.to_vec(), &order, fetch),
            None => Closure::of_objects(&order, fetch),
        };
        // The pool bounds the calls of all lists together.
        let mut limits = GateLimits::default();
        limits.reads = usize::MAX >> 3;
        let closure = closure.version(self.version.clone()).filters(self.filters.clone()).longest_run(LONGEST_RUN);
        let closure = closure.limits(limits, live.settings().timeout);
        let closure = match &self.places {
            Some(places) => closure.places(places.clone()),
            None => closure,
        };
        let closure = match &self.follows {
            Some(tables) => closure.follows(tables).map_err(refused)?,
            None => closure,
        };
        let options = self.options.clone().with(|options| options.secret.clone_from(&live.settings().secret));
        Resource::new(&self.name, Arc::new(closure), options).map(Arc::new).map_err(refused)
    }
}

type Fetched = std::pin::Pin<Box<dyn Future<Output = chunkflow::Result<RowBatch>> + Send>>;

fn filter((column, operand): (String, String)) -> PyResult<Filter> {
    let operand = match &*operand {
        "integer" => Operand::Integer,
        "number" => Operand::Number,
        "text" => Operand::Text,
        other => {
            let message =
                format!("the values of the filter `{column}` cannot be `{other}`: use integer, number or text");
            return Err(PyValueError::new_err(message));
        }
    };
    Ok(Filter::new(column, operand))
}
