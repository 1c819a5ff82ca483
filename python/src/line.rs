//! A line of work for a thread that Python has started.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use pyo3::{prelude::*, types::PyTuple};

use crate::inside::Inside;

/// A function with its arguments, made by the thread that calls it.
pub(crate) type Errand = Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyTuple>> + Send>;

/// Work for a thread of Python, which takes one piece after the other.
#[pyclass(frozen, module = "chunkflow._native")]
pub(crate) struct Line(Arc<Waiting<Errand>>);

impl Line {
    pub(crate) fn of(waiting: &Arc<Waiting<Errand>>) -> Line {
        Line(Arc::clone(waiting))
    }
}

#[pymethods]
impl Line {
    /// Waits for the next piece: a function and its arguments. `None`: there will be none.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.0.take(py).map(|errand| errand(py)).transpose()
    }
}

/// Things that threads wait for, until the line is closed.
pub(crate) struct Waiting<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    most: usize,
}

struct State<T> {
    things: VecDeque<T>,
    /// How many threads wait for a thing.
    idle: usize,
    is_closed: bool,
}

impl<T: Send> Waiting<T> {
    /// A line of at most so many things.
    pub(crate) fn new(most: usize) -> Arc<Waiting<T>> {
        let state = State { things: VecDeque::new(), idle: 0, is_closed: false };
        Arc::new(Waiting { state: state.into(), changed: Condvar::new(), most })
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something at the end of the line; gives it back if the line is full or closed.
    pub(crate) fn put(&self, thing: T) -> Result<(), T> {
        let mut state = self.state();
        if state.is_closed || state.things.len() >= self.most {
            return Err(thing);
        }
        state.things.push_back(thing);
        self.changed.notify_all();
        Ok(())
    }

    /// Whether more is in the line than threads wait for it.
    pub(crate) fn is_short_of_takers(&self) -> bool {
        let state = self.state();
        state.things.len() > state.idle
    }

    /// Waits for the next thing without the interpreter's lock; `None` once the line is closed and
    /// empty.
    pub(crate) fn take(&self, py: Python<'_>) -> Option<T> {
        let _inside = Inside::at_any_time();
        py.detach(|| {
            let mut state = self.state();
            while state.things.is_empty() && !state.is_closed {
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
            state.things.pop_front()
        })
    }

    /// Closes it: what is there can still be taken.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Closes it, and throws away what is there.
    pub(crate) fn close_now(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let things = std::mem::take(&mut state.things);
        self.changed.notify_all();
        drop(state);
        drop(things);
    }
}
