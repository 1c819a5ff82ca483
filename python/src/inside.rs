//! Threads of Python that are in native code while others have the interpreter.
//!
//! When Python ends, it ends each thread of a daemon that asks for the interpreter again. Where that
//! happens below code in Rust, the process is aborted, since Rust lets nothing unwind it. So such
//! threads are counted, and Python's exit waits until they are back.

use std::{
    process,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};

/// How long Python's exit waits for its threads.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

static STATE: Mutex<State> = Mutex::new(State { pid: 0, inside: 0, is_ending: false });
static LEFT: Condvar = Condvar::new();

struct State {
    /// The process that counts; one that was forked has none of its other threads.
    pid: u32,
    inside: usize,
    is_ending: bool,
}

fn state() -> MutexGuard<'static, State> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if state.pid != process::id() {
        *state = State { pid: process::id(), inside: 0, is_ending: false };
    }
    state
}

/// Counts a thread as long as it exists.
pub(crate) struct Inside;

impl Inside {
    /// # Errors
    /// When Python is ending.
    pub(crate) fn new() -> PyResult<Inside> {
        let mut state = state();
        if state.is_ending {
            return Err(PyRuntimeError::new_err("Python is about to end"));
        }
        state.inside += 1;
        Ok(Inside)
    }

    /// The same for a thread of this crate's own, whose wait ends with its flow.
    pub(crate) fn at_any_time() -> Inside {
        state().inside += 1;
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut state = state();
        state.inside = state.inside.saturating_sub(1);
        LEFT.notify_all();
    }
}

/// Lets no thread in any more; for Python's exit.
#[pyfunction]
pub(crate) fn end() {
    state().is_ending = true;
}

/// Waits until all threads are back, but not for ever.
#[pyfunction]
pub(crate) fn left(py: Python<'_>) {
    py.detach(|| drop(LEFT.wait_timeout_while(state(), PATIENCE, |state| state.inside > 0)));
}
