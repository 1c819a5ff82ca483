//! The native half of the Python package.

use pyo3::prelude::*;

/// Runs the command `chunkflow`, and returns its exit code.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| chunkflow::command::main(arguments))
}

/// The module `chunkflow._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::command;
}
