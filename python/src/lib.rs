//! The native half of the Python package: what Python gives to the library, and what it gets back.
//!
//! - [`flow`] answers requests, in the runtime that [`live`] keeps;
//! - [`source`] makes a resource of a Python function, and [`rows`] calls it;
//! - [`reply`] gives a body to Python, and [`wait`] what is not at hand yet;
//! - [`line`] is how threads of Python get their work, and [`inside`] what Python's exit waits for.
//!
//! **No thread but Python's own ever runs Python.** The runtime's threads put work into a
//! [`Line`](line::Line), and threads that Python has started take it from there. So nothing of the
//! runtime waits for the interpreter's lock, none of its threads is caught by the interpreter's
//! end, and a lock of the library is never held while the interpreter's is asked for. Only what ends
//! behind the close of its flow wakes by itself who waits for it: no thread is left that would.

mod change;
mod fetch;
mod flow;
mod inside;
mod line;
mod live;
mod logs;
mod reply;
mod rows;
mod scalar;
mod source;
mod wait;

use std::ffi::OsString;

use pyo3::{exceptions::PyImportError, prelude::*};

/// Runs the command `chunkflow`, and returns its exit code.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| chunkflow::command::main(arguments))
}

/// PyO3 keeps types in statics, which belong to one interpreter.
fn refuse_sub_interpreters() -> PyResult<()> {
    #[allow(unsafe_code, reason = "PyO3 has no safe name for it; both take the interpreter of this thread")]
    let interpreter = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    if interpreter == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "chunkflow does not run in a sub-interpreter: import it in the main interpreter (with mod_wsgi: \
         `WSGIApplicationGroup %{GLOBAL}`)",
    ))
}

/// The module `chunkflow._native`.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::{
        change::{Change, Follows, Related},
        command,
        fetch::{AllOf, AnyOf, Comparison, Fetch},
        flow::Flow,
        inside::{end, left},
        line::Line,
        reply::{Cut, Reply},
        rows::{Call, Calls, Invalid},
        source::Source,
        wait::{Abort, Outcome, Ready},
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::refuse_sub_interpreters()?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
