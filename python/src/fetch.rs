//! What a function of rows is asked for.

use chunkflow::source::{Comparison as Compared, Condition, Operator, Query};
use pyo3::{exceptions::PyNotImplementedError, prelude::*, types::PyTuple};

use crate::scalar;

/// What `rows` is asked for.
#[pyclass(frozen, get_all, module = "chunkflow._native")]
pub(crate) struct Fetch {
    after: Option<Py<PyTuple>>,
    limit: u32,
    conditions: Py<PyTuple>,
}

impl Fetch {
    pub(crate) fn of(py: Python<'_>, query: &Query) -> PyResult<Fetch> {
        let after = if query.after.is_start() { None } else { Some(scalar::key(py, &query.after)?.unbind()) };
        Ok(Fetch { after, limit: query.limit, conditions: all(py, &query.conditions)? })
    }
}

#[pymethods]
impl Fetch {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let after = self.after.as_ref().map_or_else(|| Ok("None".to_owned()), |after| said(after.bind(py)))?;
        Ok(format!("Fetch(after={after}, limit={}, conditions={})", self.limit, said(self.conditions.bind(py))?))
    }
}

/// A column compares like this.
#[pyclass(frozen, get_all, module = "chunkflow._native")]
pub(crate) struct Comparison {
    column: String,
    operator: &'static str,
    values: Py<PyTuple>,
}

/// Each of these holds.
#[pyclass(frozen, get_all, module = "chunkflow._native")]
pub(crate) struct AllOf {
    parts: Py<PyTuple>,
}

/// At least one of these holds.
#[pyclass(frozen, get_all, module = "chunkflow._native")]
pub(crate) struct AnyOf {
    parts: Py<PyTuple>,
}

#[pymethods]
impl Comparison {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    const MATCH_ARGS: (&'static str, &'static str, &'static str) = ("column", "operator", "values");

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let values = said(self.values.bind(py))?;
        Ok(format!("Comparison({:?}, {:?}, {values})", self.column, self.operator))
    }
}

#[pymethods]
impl AllOf {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    const MATCH_ARGS: (&'static str,) = ("parts",);

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("AllOf({})", said(self.parts.bind(py))?))
    }
}

#[pymethods]
impl AnyOf {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    const MATCH_ARGS: (&'static str,) = ("parts",);

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("AnyOf({})", said(self.parts.bind(py))?))
    }
}

fn all(py: Python<'_>, conditions: &[Condition]) -> PyResult<Py<PyTuple>> {
    let conditions = conditions.iter().map(|condition| given(py, condition)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyTuple::new(py, conditions)?.unbind())
}

fn given(py: Python<'_>, condition: &Condition) -> PyResult<Py<PyAny>> {
    Ok(match condition {
        Condition::Is(Compared { column, operator, values, .. }) => {
            let values = PyTuple::new(py, values)?.unbind();
            Py::new(py, Comparison { column: column.clone(), operator: word(*operator)?, values })?.into_any()
        }
        Condition::All(parts) => Py::new(py, AllOf { parts: all(py, parts)? })?.into_any(),
        Condition::Any(parts) => Py::new(py, AnyOf { parts: all(py, parts)? })?.into_any(),
    })
}

/// An operator as requests spell it.
fn word(operator: Operator) -> PyResult<&'static str> {
    Ok(match operator {
        Operator::Eq => "eq",
        Operator::Neq => "neq",
        Operator::Gt => "gt",
        Operator::Gte => "gte",
        Operator::Lt => "lt",
        Operator::Lte => "lte",
        Operator::In => "in",
        Operator::NotIn => "not.in",
        Operator::IsNull => "is.null",
        Operator::IsNotNull => "is.not_null",
        Operator::Like => "like",
        Operator::NotLike => "not.like",
        Operator::Ilike => "ilike",
        Operator::NotIlike => "not.ilike",
        // Rows that nobody asked for would be shown if it was passed over.
        other => return Err(PyNotImplementedError::new_err(format!("the operator {other:?}"))),
    })
}

fn said(value: &Bound<'_, PyTuple>) -> PyResult<String> {
    Ok(value.repr()?.to_cow()?.into_owned())
}
