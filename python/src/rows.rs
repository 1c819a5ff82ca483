//! Calls of the functions that give rows: in a bounded pool of threads, or on an event loop.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use chunkflow::{
    Error, Kind,
    source::{Column, Query, RowBatch, Value},
};
use pyo3::{
    create_exception,
    exceptions::{PyConnectionError, PyTimeoutError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyString, PyTuple},
};
use tokio::sync::{Semaphore, oneshot};

use crate::{fetch::Fetch, line::Waiting, live::Threads, scalar::Scalar};

create_exception!(chunkflow, Invalid, PyValueError, "What a request asks for cannot be.");

/// Calls that wait at most; one more is answered with 503.
const MOST_WAITING: usize = 1000;

/// A function of rows, and where it runs.
#[derive(Clone)]
pub(crate) struct Rows {
    /// The list's name, for the log.
    pub(crate) name: Arc<str>,
    pub(crate) function: Arc<Py<PyAny>>,
    /// The event loop for a coroutine function; `None`: a thread of the pool.
    pub(crate) event_loop: Option<Arc<Py<PyAny>>>,
    /// How many values a key has.
    pub(crate) key: usize,
}

/// A call that waits for a thread.
pub(crate) struct Asked {
    rows: Rows,
    query: Query,
    given_up: Arc<GivenUp>,
    answer: oneshot::Sender<Result<Gathered, Error>>,
}

/// Whether nobody waits for a call's rows any more, and the task that is then cancelled.
#[derive(Default)]
struct GivenUp {
    is: AtomicBool,
    task: Mutex<Option<Py<PyAny>>>,
}

/// The threads that call functions of rows, started as they are needed.
pub(crate) struct Pool {
    line: Arc<Waiting<Asked>>,
    threads: Arc<Threads>,
    started: AtomicUsize,
    most: usize,
    /// Turns on event loops.
    turns: Semaphore,
}

impl Pool {
    /// At most so many calls at once.
    pub(crate) fn new(most: usize, threads: &Arc<Threads>) -> Arc<Pool> {
        let line = Waiting::new(MOST_WAITING);
        let turns = Semaphore::new(most);
        Arc::new(Pool { line, threads: Arc::clone(threads), started: AtomicUsize::new(0), most, turns })
    }

    /// Calls a function of rows. Dropping the future gives the call up.
    pub(crate) async fn rows(&self, rows: Rows, query: Query) -> Result<Gathered, Error> {
        let (answer, answered) = oneshot::channel();
        let given_up = Arc::new(GivenUp::default());
        let event_loop = rows.event_loop.clone();
        let asked = Asked { rows, query, given_up: Arc::clone(&given_up), answer };
        let mut leaving = Leaving { given_up, event_loop: event_loop.clone(), threads: Some(&self.threads) };

        let _turn = match event_loop {
            None => {
                self.line.put(asked).map_err(|_| busy())?;
                self.start();
                None
            }
            Some(event_loop) => {
                let turn = self.turns.acquire().await.map_err(|_| closed())?;
                let threads = Arc::clone(&self.threads);
                self.threads.wake(Box::new(move |py| match Call::new(py, asked) {
                    Some(call) => (threads.function(py, "begin")?, event_loop.clone_ref(py), call).into_pyobject(py),
                    None => (threads.function(py, "rest")?,).into_pyobject(py),
                }));
                Some(turn)
            }
        };

        let gathered = answered.await.map_err(|_| closed());
        leaving.threads = None;
        gathered?
    }

    /// Starts a thread if one is missing.
    fn start(&self) {
        if !self.line.is_short_of_takers() {
            return;
        }
        let more = |started: usize| (started < self.most).then_some(started + 1);
        if let Ok(number) = self.started.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            let threads = Arc::clone(&self.threads);
            let calls = Calls(Arc::clone(&self.line));
            self.threads.wake(Box::new(move |py| {
                let name = format!("chunkflow-rows-{number}");
                (threads.function(py, "start")?, name, threads.function(py, "work")?, calls).into_pyobject(py)
            }));
        }
    }

    /// Lets no further call begin.
    pub(crate) fn close(&self) {
        self.line.close_now();
        self.turns.close();
    }
}

/// Gives a call up when it is dropped, unless the call has ended.
struct Leaving<'p> {
    given_up: Arc<GivenUp>,
    event_loop: Option<Arc<Py<PyAny>>>,
    threads: Option<&'p Arc<Threads>>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let Some(threads) = self.threads else { return };
        self.given_up.is.store(true, Ordering::Release);
        let Some(event_loop) = self.event_loop.take() else { return };
        let given_up = Arc::clone(&self.given_up);
        let functions = Arc::clone(threads);
        threads.wake(Box::new(move |py| {
            let task = given_up.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            (functions.function(py, "give_up")?, event_loop.clone_ref(py), task).into_pyobject(py)
        }));
    }
}

/// The calls that wait for a thread.
#[pyclass(frozen, module = "chunkflow._native")]
pub(crate) struct Calls(Arc<Waiting<Asked>>);

#[pymethods]
impl Calls {
    /// Waits for the next call; `None`: there will be none.
    fn take(&self, py: Python<'_>) -> Option<Call> {
        loop {
            let asked = self.0.take(py)?;
            if asked.given_up.is.load(Ordering::Acquire) {
                continue;
            }
            if let Some(call) = Call::new(py, asked) {
                return Some(call);
            }
        }
    }
}

/// A call of a function of rows, and the rows that it has given.
#[pyclass(module = "chunkflow._native")]
pub(crate) struct Call {
    rows: Rows,
    fetch: Py<Fetch>,
    limit: usize,
    gathered: Gathered,
    given_up: Arc<GivenUp>,
    answer: Option<oneshot::Sender<Result<Gathered, Error>>>,
}

impl Call {
    /// `None`: Python cannot be asked for this, and who waits has been told. The place behind which
    /// rows are read may be a client's own.
    fn new(py: Python<'_>, asked: Asked) -> Option<Call> {
        let Asked { rows, query, given_up, answer } = asked;
        match Fetch::of(py, &query).and_then(|fetch| Py::new(py, fetch)) {
            Ok(fetch) => {
                let limit = query.limit as usize;
                Some(Call { rows, fetch, limit, gathered: Gathered::default(), given_up, answer: Some(answer) })
            }
            Err(error) => {
                drop(answer.send(Err(failed(py, &error))));
                None
            }
        }
    }

    fn end(&mut self, result: Result<Gathered, Error>) {
        // If nobody waits any more, the rows are thrown away.
        drop(self.answer.take().map(|answer| answer.send(result)));
    }
}

#[pymethods]
impl Call {
    #[getter]
    fn name(&self) -> &str {
        &self.rows.name
    }

    #[getter]
    fn rows(&self, py: Python<'_>) -> Py<PyAny> {
        self.rows.function.clone_ref(py)
    }

    #[getter]
    fn fetch(&self, py: Python<'_>) -> Py<Fetch> {
        self.fetch.clone_ref(py)
    }

    /// The task that runs it, so that it can be cancelled.
    fn runs_in(&self, task: Py<PyAny>) {
        *self.given_up.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Whether somebody waits for its rows.
    fn is_wanted(&self) -> bool {
        !self.given_up.is.load(Ordering::Acquire)
    }

    /// Takes a row. Returns whether more are wanted.
    fn add(&mut self, row: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.gathered.add(row, self.rows.key)?;
        Ok(self.gathered.rows.len() < self.limit && self.is_wanted())
    }

    /// Ends it: its rows are those that were added.
    fn done(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        self.end(Ok(gathered));
    }

    /// Ends it with an exception.
    fn fail(&mut self, py: Python<'_>, error: &Bound<'_, PyAny>) {
        self.end(Err(failed(py, &PyErr::from_value(error.clone()))));
    }
}

/// What a failed call is for the library.
fn failed(py: Python<'_>, error: &PyErr) -> Error {
    if error.is_instance_of::<Invalid>(py) {
        // The fault is the request's, so its client is told.
        return Error::new(Kind::Invalid, error.value(py).to_string());
    }

    let kind = if error.is_instance_of::<PyConnectionError>(py) {
        Kind::Unavailable
    } else if error.is_instance_of::<PyTimeoutError>(py) {
        Kind::Timeout
    } else {
        Kind::Internal
    };
    let told = format!("{}: {}", error.get_type(py), error.value(py));
    Error::new(kind, "the function of rows has failed").caused_by(told)
}

/// Rows as Python gave them, in one piece of memory that needs no interpreter.
#[derive(Default)]
pub(crate) struct Gathered {
    bytes: Vec<u8>,
    scalars: Vec<Scalar>,
    rows: Vec<Row>,
    /// Keys of related rows: the index of the relation, and the end of the key's values.
    related: Vec<(usize, usize)>,
}

/// A row: where its object is, and where its values and related keys end.
struct Row {
    object: (usize, usize),
    key: (usize, usize),
    related: usize,
}

impl Gathered {
    fn add(&mut self, row: &Bound<'_, PyAny>, width: usize) -> PyResult<()> {
        let shape = || PyTypeError::new_err("a row is a tuple of its key, its JSON object and, perhaps, related keys");
        let row = row.cast::<PyTuple>().map_err(|_| shape())?;
        if !(2..=3).contains(&row.len()) {
            return Err(shape());
        }

        let key = self.key(&row.get_item(0)?)?;
        if key.1 - key.0 != width {
            let message = format!("a key has {} values, and the order {width} columns", key.1 - key.0);
            return Err(PyValueError::new_err(message));
        }

        let object = row.get_item(1)?;
        let from = self.bytes.len();
        if let Ok(bytes) = object.cast::<PyBytes>() {
            self.bytes.extend_from_slice(bytes.as_bytes());
        } else if let Ok(text) = object.cast::<PyString>() {
            self.bytes.extend_from_slice(text.to_cow()?.as_bytes());
        } else {
            let name = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("a row is of type {name}: give its JSON object as bytes or str")));
        }
        let object = (from, self.bytes.len());

        if row.len() == 3 {
            for related in row.get_item(2)?.try_iter()? {
                let (relation, key): (usize, Bound<'_, PyAny>) = related?.extract()?;
                let (_, end) = self.key(&key)?;
                self.related.push((relation, end));
            }
        }
        self.rows.push(Row { object, key, related: self.related.len() });
        Ok(())
    }

    /// Reads a key; returns where its values are.
    fn key(&mut self, key: &Bound<'_, PyAny>) -> PyResult<(usize, usize)> {
        let key = key.cast::<PyTuple>().map_err(|_| PyTypeError::new_err("a key is a tuple of its values"))?;
        let from = self.scalars.len();
        for value in key.iter_borrowed() {
            self.scalars.push(Scalar::read(&value, &mut self.bytes)?);
        }
        Ok((from, self.scalars.len()))
    }

    /// The rows as the library takes them: objects with these columns, or with all of their members.
    pub(crate) fn batch(&self, key: usize, columns: Option<&[Column]>) -> Result<RowBatch, Error> {
        let mut batch = RowBatch::new(key, columns.map_or(1, <[Column]>::len));
        let mut values: Vec<Value<'_>> = vec![];
        let mut related = 0;
        for row in &self.rows {
            let object = &self.bytes[row.object.0..row.object.1];
            let object = std::str::from_utf8(object)
                .map_err(|error| Error::new(Kind::Data, "a row is no text in UTF-8").caused_by(error))?;
            self.values(row.key, &mut values);
            match columns {
                Some(columns) => batch.push_object(&values, columns, object)?,
                None => batch.push_members(&values, object)?,
            }

            let mut from = row.key.1;
            for (relation, end) in &self.related[related..row.related] {
                self.values((from, *end), &mut values);
                batch.note_related(*relation, &values)?;
                from = *end;
            }
            related = row.related;
        }
        Ok(batch)
    }

    fn values<'a>(&'a self, (from, to): (usize, usize), values: &mut Vec<Value<'a>>) {
        values.clear();
        values.extend(self.scalars[from..to].iter().map(|scalar| scalar.value(&self.bytes)));
    }
}

fn busy() -> Error {
    Error::new(Kind::Busy, "too many calls for rows wait already")
}

fn closed() -> Error {
    Error::new(Kind::Unavailable, "the flow was closed")
}
