//! What is not at hand yet: work goes on in the runtime, and a thread or a task of Python waits.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use pyo3::{
    exceptions::{PyRuntimeError, PyStopIteration},
    prelude::*,
};
use tokio::task::AbortHandle;

use crate::{
    inside::Inside,
    live::{Live, Threads, closed},
};

/// How long a thread waits before it looks whether a signal came (Ctrl-C).
const LOOK: Duration = Duration::from_millis(100);

/// Makes an object of Python of what the work came to.
pub(crate) type Make<T> = fn(Python<'_>, T) -> PyResult<Py<PyAny>>;

/// An awaitable that is ready: nothing is scheduled for it.
#[pyclass(module = "chunkflow._native")]
pub(crate) struct Ready(Option<PyResult<Py<PyAny>>>);

/// An awaitable with this result.
pub(crate) fn ready(py: Python<'_>, result: PyResult<Py<PyAny>>) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, Ready(Some(result)))?.into_any())
}

#[pymethods]
impl Ready {
    fn __await__(own: PyRef<'_, Self>) -> PyRef<'_, Self> {
        own
    }

    fn __iter__(own: PyRef<'_, Self>) -> PyRef<'_, Self> {
        own
    }

    fn __next__(&mut self) -> PyResult<()> {
        match self.0.take() {
            Some(Ok(value)) => Err(PyStopIteration::new_err((value,))),
            Some(Err(error)) => Err(error),
            None => Err(PyRuntimeError::new_err("this was awaited already")),
        }
    }
}

/// Stops work when the future that it is for is cancelled.
#[pyclass(frozen, module = "chunkflow._native")]
pub(crate) struct Abort(AbortHandle);

#[pymethods]
impl Abort {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        self.0.abort();
    }
}

/// Calls its function with what the work came to; with `None` if it was dropped before.
struct End<T, F: FnOnce(Option<T>)>(Option<F>, std::marker::PhantomData<fn(T)>);

impl<T, F: FnOnce(Option<T>)> Drop for End<T, F> {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(None);
        }
    }
}

fn spawn<T: Send + 'static>(
    live: &Arc<Live>,
    work: impl Future<Output = T> + Send + 'static,
    then: impl FnOnce(Option<T>) + Send + 'static,
) -> AbortHandle {
    let mut end = End(Some(then), std::marker::PhantomData);
    // The flow may be gone from Python before the work is done.
    let held = Arc::clone(live);
    let task = live.handle().spawn(async move {
        let _held = held;
        let result = work.await;
        if let Some(then) = end.0.take() {
            then(Some(result));
        }
    });
    task.abort_handle()
}

/// Waits for work in the thread that calls. `Ctrl-C` ends the wait and the work.
pub(crate) fn in_thread<T: Send + 'static>(
    py: Python<'_>,
    live: &Arc<Live>,
    work: impl Future<Output = T> + Send + 'static,
) -> PyResult<T> {
    let _inside = Inside::new()?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let receiver = Mutex::new(receiver);
    let abort = spawn(live, work, move |result| drop(sender.send(result)));
    loop {
        match py.detach(|| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(LOOK)) {
            Ok(Some(result)) => return Ok(result),
            Ok(None) | Err(mpsc::RecvTimeoutError::Disconnected) => return Err(closed()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if let Err(interrupt) = py.check_signals() {
                    abort.abort();
                    return Err(interrupt);
                }
            }
        }
    }
}

/// A future of the running event loop, which the work completes.
pub(crate) fn in_loop<T: Send + 'static>(
    py: Python<'_>,
    live: &Arc<Live>,
    work: impl Future<Output = T> + Send + 'static,
    make: Make<T>,
) -> PyResult<Py<PyAny>> {
    let threads = live.threads();
    let event_loop = threads.running_loop(py)?;
    let future = event_loop.call_method0("create_future")?;

    let told = (event_loop.unbind(), future.clone().unbind());
    let wakes = Arc::clone(threads);
    let abort = spawn(live, work, move |result| settle(&wakes, told, result, make));
    future.call_method1("add_done_callback", (Abort(abort),))?;
    Ok(future.unbind())
}

/// Has the event loop complete a future. If it is closed, nobody waits.
fn settle<T: Send + 'static>(threads: &Arc<Threads>, told: (Py<PyAny>, Py<PyAny>), result: Option<T>, make: Make<T>) {
    let functions = Arc::clone(threads);
    threads.wake(Box::new(move |py| {
        let (event_loop, future) = told;
        let result: Result = Box::new(move |py| result.map_or_else(|| Err(closed()), |result| make(py, result)));
        (functions.function(py, "settle")?, event_loop, future, Outcome(Some(result).into())).into_pyobject(py)
    }));
}

type Result = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// What some work came to. If it is not taken, since nobody waits any more, it is thrown away.
#[pyclass(frozen, module = "chunkflow._native")]
pub(crate) struct Outcome(Mutex<Option<Result>>);

#[pymethods]
impl Outcome {
    fn take(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let taken = taken.ok_or_else(|| PyRuntimeError::new_err("this was taken already"))?;
        taken(py)
    }
}
