//! Told changes, and the tables that lists follow.

use std::collections::BTreeMap;

use chunkflow::source::Tables;
use pyo3::{exceptions::PyValueError, prelude::*, types::PyTuple};

/// Values of columns as they are told; `None` is NULL.
type Told = BTreeMap<String, Option<String>>;

/// A row of a table has changed.
#[pyclass(frozen, get_all, module = "chunkflow._native")]
pub(crate) struct Change {
    database: String,
    table: String,
    key: Py<PyTuple>,
    old: Told,
    new: Told,
    at: Option<String>,
}

#[pymethods]
impl Change {
    #[new]
    #[pyo3(signature = (table, key, *, database = "default".to_owned(), old = None, new = None, at = None))]
    fn new(
        py: Python<'_>,
        table: String,
        key: Vec<String>,
        database: String,
        old: Option<Told>,
        new: Option<Told>,
        at: Option<String>,
    ) -> PyResult<Change> {
        let key = PyTuple::new(py, key)?.unbind();
        Ok(Change { database, table, key, old: old.unwrap_or_default(), new: new.unwrap_or_default(), at })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let key = self.key.bind(py).repr()?;
        Ok(format!("Change({:?}, {}, database={:?})", self.table, key.to_cow()?, self.database))
    }
}

impl Change {
    /// The same for the library.
    pub(crate) fn told(&self, py: Python<'_>) -> PyResult<chunkflow::Change> {
        let key: Vec<String> = self.key.bind(py).extract()?;
        let mut change = chunkflow::Change::of(&*self.database, key).in_table(&*self.table);
        change.old.clone_from(&self.old);
        change.new.clone_from(&self.new);
        change.at = self.at.as_deref().map(Into::into);
        Ok(change)
    }
}

/// A table whose rows are shown with those of a list.
#[pyclass(frozen, module = "chunkflow._native")]
#[derive(Clone)]
pub(crate) struct Related {
    table: String,
    key: Vec<String>,
    points: Option<String>,
    through: Option<(String, Vec<String>)>,
}

#[pymethods]
impl Related {
    #[new]
    #[pyo3(signature = (table, key, *, points = None, through = None, through_key = vec![]))]
    fn new(
        table: String,
        key: Vec<String>,
        points: Option<String>,
        through: Option<String>,
        through_key: Vec<String>,
    ) -> PyResult<Related> {
        if through.is_some() && (points.is_none() || through_key.is_empty()) {
            return Err(PyValueError::new_err(
                "a join table needs its key and the column that points to the list's rows: give `through_key` and \
                 `points`",
            ));
        }
        Ok(Related { table, key, points, through: through.map(|table| (table, through_key)) })
    }
}

/// Where the rows of a list come from.
#[pyclass(frozen, module = "chunkflow._native")]
#[derive(Clone)]
pub(crate) struct Follows {
    pub(crate) tables: Tables,
}

#[pymethods]
impl Follows {
    #[new]
    #[pyo3(signature = (table, key, *, database = "default".to_owned(), related = vec![], others = vec![]))]
    fn new(
        table: Option<String>,
        key: Vec<String>,
        database: String,
        related: Vec<PyRef<'_, Related>>,
        others: Vec<String>,
    ) -> Follows {
        let own = match table {
            Some(table) => Tables::of(database, table, key),
            None => Tables::of_database(database),
        };
        let tables = related.iter().fold(own, |tables, related| {
            let Related { table, key, points, through } = &**related;
            match (points, through) {
                (Some(points), Some((join, join_key))) => tables.joined(table, key, join, join_key, points),
                (Some(points), None) => tables.with_children(table, key, points),
                (None, _) => tables.pointing_to(table, key),
            }
        });
        Follows { tables: others.into_iter().fold(tables, Tables::shaped_by) }
    }
}
