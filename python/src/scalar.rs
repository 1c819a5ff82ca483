//! The values of a key, from Python and back.

use chunkflow::source::{Cursor, Value};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple},
};

use crate::rows::Invalid;

/// A value of a key; long ones stand in the bytes of all rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Decimal(usize, usize),
    Text(usize, usize),
    Blob(usize, usize),
}

impl Scalar {
    /// Reads a value; its bytes are added to `bytes`.
    pub(crate) fn read(value: &Bound<'_, PyAny>, bytes: &mut Vec<u8>) -> PyResult<Scalar> {
        let mut add = |text: &[u8]| {
            let from = bytes.len();
            bytes.extend_from_slice(text);
            (from, bytes.len())
        };

        if value.is_none() {
            return Ok(Scalar::Null);
        }
        if let Ok(text) = value.cast::<PyString>() {
            let (from, to) = add(text.to_cow()?.as_bytes());
            return Ok(Scalar::Text(from, to));
        }
        if let Ok(truth) = value.cast::<PyBool>() {
            return Ok(Scalar::Bool(truth.is_true()));
        }
        if value.is_instance_of::<PyInt>() {
            if let Ok(number) = value.extract::<i64>() {
                return Ok(Scalar::Integer(number));
            }
            let (from, to) = add(value.str()?.to_cow()?.as_bytes());
            return Ok(Scalar::Decimal(from, to));
        }
        if let Ok(number) = value.cast::<PyFloat>() {
            return Ok(Scalar::Real(number.value()));
        }
        if let Ok(blob) = value.cast::<PyBytes>() {
            let (from, to) = add(blob.as_bytes());
            return Ok(Scalar::Blob(from, to));
        }
        if value.is_instance(decimal(value.py())?)? {
            let (from, to) = add(value.str()?.to_cow()?.as_bytes());
            return Ok(Scalar::Decimal(from, to));
        }
        let name = value.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "a key has a value of type {name}; give None, bool, int, float, str, bytes or Decimal: of a date or a UUID \
             the text that sorts as the database sorts it"
        )))
    }

    pub(crate) fn value(self, bytes: &[u8]) -> Value<'_> {
        match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(truth) => Value::Bool(truth),
            Scalar::Integer(number) => Value::Integer(number),
            Scalar::Real(number) => Value::Real(number),
            Scalar::Decimal(from, to) => Value::Decimal(&bytes[from..to]),
            Scalar::Text(from, to) => Value::Text(&bytes[from..to]),
            Scalar::Blob(from, to) => Value::Blob(&bytes[from..to]),
        }
    }
}

/// The key that a cursor holds.
pub(crate) fn key<'py>(py: Python<'py>, cursor: &Cursor) -> PyResult<Bound<'py, PyTuple>> {
    let values = cursor.values().map(|value| {
        Ok(match value {
            Value::Bool(truth) => truth.into_pyobject(py)?.to_owned().into_any(),
            Value::Integer(number) => number.into_pyobject(py)?.into_any(),
            Value::Real(number) => number.into_pyobject(py)?.into_any(),
            // A client may have forged it.
            Value::Decimal(digits) => number(py, &String::from_utf8_lossy(digits))
                .map_err(|_| Invalid::new_err("`after` holds a number that is none"))?,
            Value::Text(text) => String::from_utf8_lossy(text).into_pyobject(py)?.into_any(),
            Value::Blob(blob) => PyBytes::new(py, blob).into_any(),
            _ => py.None().into_bound(py),
        })
    });
    PyTuple::new(py, values.collect::<PyResult<Vec<_>>>()?)
}

/// The number of a text: an int beyond 64 bits was given as one, and a Decimal as that.
fn number<'py>(py: Python<'py>, digits: &str) -> PyResult<Bound<'py, PyAny>> {
    let is_int =
        digits.parse::<i64>().is_err() && digits.trim_start_matches('-').bytes().all(|one| one.is_ascii_digit());
    if is_int { py.get_type::<PyInt>().call1((digits,)) } else { decimal(py)?.call1((digits,)) }
}

fn decimal(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static DECIMAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let decimal = DECIMAL.get_or_try_init(py, || PyResult::Ok(py.import("decimal")?.getattr("Decimal")?.unbind()))?;
    Ok(decimal.bind(py))
}
