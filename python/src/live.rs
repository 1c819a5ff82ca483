//! What a process has of a flow: a runtime, a store, and threads.

use std::{
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chunkflow::{
    Chunkflow, Resource, ResourceOptions, Secret,
    source::{Closure, RowBatch, Tables},
    store::{StoreOptions, open_store},
};
use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    sync::PyOnceLock,
    types::PyTupleMethods,
};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    inside::{Inside, PATIENCE},
    line::{Errand, Line, Waiting},
    logs,
    rows::Pool,
};

/// Lines of the log that wait at most.
const MOST: usize = 10_000;

/// What a flow is made with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) store: StoreOptions,
    pub(crate) secret: Option<Secret>,
    pub(crate) pool: usize,
    pub(crate) timeout: Duration,
    pub(crate) databases: Vec<String>,
}

/// The threads of Python that wake event loops and write the log.
pub(crate) struct Threads {
    wakes: Arc<Waiting<Errand>>,
    logs: Arc<Waiting<Errand>>,
}

/// What a process has of a flow.
pub(crate) struct Live {
    /// The process; in one that was forked from it there are none of its threads.
    pid: u32,
    is_closed: AtomicBool,
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    chunkflow: Chunkflow,
    pool: Arc<Pool>,
    threads: Arc<Threads>,
    settings: Settings,
}

impl Live {
    /// Opens all that the settings name, without threads of Python yet.
    pub(crate) fn open(settings: &Settings) -> PyResult<Live> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("chunkflow")
            .enable_all()
            .build()
            .map_err(|error| PyRuntimeError::new_err(format!("there are no threads to run on: {error}")))?;
        let inside = runtime.enter();
        let store = open_store(&settings.store).map_err(refused)?;
        let mut chunkflow = Chunkflow::new(store);
        for database in &settings.databases {
            chunkflow = chunkflow.with(anchor(database).map_err(refused)?);
        }
        drop(inside);

        let threads = Arc::new(Threads { wakes: Waiting::new(usize::MAX), logs: Waiting::new(MOST) });
        Ok(Live {
            pid: process::id(),
            is_closed: AtomicBool::new(false),
            handle: runtime.handle().clone(),
            runtime: Some(runtime).into(),
            chunkflow,
            pool: Pool::new(settings.pool, &threads),
            threads,
            settings: settings.clone(),
        })
    }

    /// Starts the threads of Python.
    pub(crate) fn start(&self, py: Python<'_>) -> PyResult<()> {
        logs::write_to(&self.threads);
        for (name, line) in [("chunkflow-wake", &self.threads.wakes), ("chunkflow-log", &self.threads.logs)] {
            let start = self.threads.function(py, "start")?;
            start.bind(py).call1((name, self.threads.function(py, "serve")?, Line::of(line)))?;
        }
        Ok(())
    }

    /// Whether this process has opened it, and has not closed it.
    pub(crate) fn is_usable(&self) -> bool {
        self.is_ours() && !self.is_closed.load(Ordering::Acquire)
    }

    /// Keeps it in a process that was forked: to drop it would be to wait for threads that are not
    /// there.
    pub(crate) fn keep_if_forked(self: &Arc<Live>) {
        if !self.is_ours() {
            std::mem::forget(Arc::clone(self));
        }
    }

    /// Whether this process has opened it.
    pub(crate) fn is_ours(&self) -> bool {
        self.pid == process::id()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn chunkflow(&self) -> &Chunkflow {
        &self.chunkflow
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn threads(&self) -> &Arc<Threads> {
        &self.threads
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Ends its threads. Each call that waits gets an error.
    pub(crate) fn close(&self, py: Python<'_>) {
        if self.is_closed.swap(true, Ordering::AcqRel) || !self.is_ours() {
            return;
        }
        self.pool.close();
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Its tasks are dropped in that time, and tell those who wait for them.
        py.detach(|| runtime.map(|runtime| runtime.shutdown_timeout(PATIENCE)));
        self.threads.wakes.close();
        self.threads.logs.close();
    }
}

impl Drop for Live {
    /// Ends the threads of a flow that nobody has any more; in a process that was forked it is never
    /// dropped.
    fn drop(&mut self) {
        self.pool.close();
        self.threads.wakes.close();
        self.threads.logs.close();
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Threads {
    /// Has the thread that wakes event loops call a function. There are no more of them than requests
    /// that wait.
    ///
    /// Where that thread has ended with its flow, this one calls it, so that nobody waits for ever;
    /// unless Python is about to end.
    pub(crate) fn wake(&self, errand: Errand) {
        let Err(errand) = self.wakes.put(errand) else { return };
        let Ok(_inside) = Inside::new() else { return };
        Python::try_attach(|py| {
            let called = errand(py).and_then(|call| {
                let function = call.get_item(0)?;
                function.call1(call.get_slice(1, call.len()))
            });
            if let Err(error) = called {
                error.write_unraisable(py, None);
            }
        });
    }

    /// Has the thread that writes the log call a function.
    pub(crate) fn log(&self, errand: Errand) {
        drop(self.logs.put(errand));
    }

    /// A function of `chunkflow._threads`.
    pub(crate) fn function(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
        let module = MODULE.get_or_try_init(py, || PyResult::Ok(py.import("chunkflow._threads")?.unbind()))?;
        Ok(module.bind(py).getattr(name)?.unbind())
    }

    /// The event loop of the task that calls.
    pub(crate) fn running_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.function(py, "get_running_loop")?.into_bound(py).call0()
    }
}

/// A resource by whose name changes of a database's tables are told; nobody reads it.
fn anchor(database: &str) -> chunkflow::Result<Resource> {
    let empty = |_| std::future::ready(Ok::<_, chunkflow::Error>(RowBatch::new(1, 1)));
    let source = Closure::of_objects(&["key"], empty).follows(&Tables::of_database(database))?;
    Resource::new(database, Arc::new(source), ResourceOptions::default())
}

/// The error of a flow that is closed.
pub(crate) fn closed() -> PyErr {
    PyRuntimeError::new_err("the flow is closed")
}

/// The error for settings that cannot be.
pub(crate) fn refused(error: chunkflow::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}
