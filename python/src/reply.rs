//! The answer to a request, whose body Python iterates.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use chunkflow::Body;
use http::{HeaderValue, Response, header};
use http_body::Body as _;
use pyo3::{
    create_exception,
    exceptions::{PyException, PyRuntimeError, PyStopAsyncIteration},
    prelude::*,
    types::PyBytes,
};

use crate::{
    live::{Live, closed},
    wait,
};

create_exception!(chunkflow, Cut, PyException, "A list broke off behind its first byte.");

/// Frames are joined, and divided, into pieces of so many bytes. Django divides longer ones, and
/// copies them once more for it.
const PIECE: usize = 64 * 1024;

/// The answer to a request.
#[pyclass(frozen, module = "chunkflow._native")]
pub(crate) struct Reply {
    #[pyo3(get)]
    status: u16,
    headers: Vec<(String, String)>,
    #[pyo3(get)]
    length: Option<u64>,
    #[pyo3(get)]
    is_stream: bool,
    rest: Shared,
    live: Arc<Live>,
}

/// What is left of a body; shared with the work that waits for more.
#[derive(Clone)]
struct Shared(Arc<Mutex<Rest>>);

enum Rest {
    Body(Box<Held>),
    /// Somebody waits for its next frame.
    Away,
    Ended,
    /// It was closed, or its wait was given up.
    Closed,
    Cut(String),
}

/// A body, and what of its last frame did not fit into the last piece.
struct Held {
    body: Body,
    over: Bytes,
}

/// The frames of the next piece, and the body behind them.
struct Next {
    frames: Vec<Bytes>,
    rest: Rest,
}

impl Shared {
    fn replace(&self, rest: Rest) -> Rest {
        mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), rest)
    }

    /// Takes the body, if there is one and nobody has it.
    fn body(&self) -> PyResult<Option<Box<Held>>> {
        let rest = match self.replace(Rest::Away) {
            Rest::Body(body) => return Ok(Some(body)),
            rest => rest,
        };
        let error = match &rest {
            Rest::Away => Some(PyRuntimeError::new_err("another task waits for this reply already")),
            Rest::Closed => Some(Cut::new_err("the reply was closed before its end")),
            Rest::Cut(why) => Some(Cut::new_err(why.clone())),
            Rest::Ended | Rest::Body(_) => None,
        };
        self.replace(rest);
        error.map_or(Ok(None), Err)
    }

    /// Notes what is left, and gives what comes next; `None` at the end.
    fn give<'py>(&self, py: Python<'py>, next: Next) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Next { frames, rest } = next;
        let cut = match &rest {
            Rest::Cut(why) if frames.is_empty() => Some(Cut::new_err(why.clone())),
            _ => None,
        };
        self.replace(rest);
        if let Some(cut) = cut {
            return Err(cut);
        }

        match &frames[..] {
            [] => Ok(None),
            [frame] => Ok(Some(PyBytes::new(py, frame))),
            frames => {
                let length = frames.iter().map(Bytes::len).sum();
                let joined = PyBytes::new_with(py, length, |mut into| {
                    for frame in frames {
                        let (here, behind) = mem::take(&mut into).split_at_mut(frame.len());
                        here.copy_from_slice(frame);
                        into = behind;
                    }
                    Ok(())
                });
                joined.map(Some)
            }
        }
    }
}

/// Closes a reply whose next frames were waited for, and never came to Python: behind them others
/// would follow, and nobody would see that some are missing.
struct Lost(Option<Shared>);

impl Drop for Lost {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.replace(Rest::Closed);
        }
    }
}

/// Gives frames to Python that were waited for.
fn give_waited<'py>(py: Python<'py>, (next, mut lost): (Next, Lost)) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let shared = lost.0.take().ok_or_else(closed)?;
    shared.give(py, next)
}

fn at_end() -> PyErr {
    PyStopAsyncIteration::new_err(())
}

/// Takes all frames that are ready, up to the size of a piece; pending if none is.
fn poll(held: &mut Option<Box<Held>>, context: &mut Context<'_>) -> Poll<Next> {
    let Some(body) = held else { return Poll::Ready(Next { frames: vec![], rest: Rest::Closed }) };
    let mut frames = vec![];
    let mut room = PIECE;
    let rest = loop {
        if !body.over.is_empty() {
            let fits = body.over.split_to(room.min(body.over.len()));
            room -= fits.len();
            frames.push(fits);
            if room == 0 {
                break None;
            }
        }
        match Pin::new(&mut body.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => body.over = frame.into_data().unwrap_or_default(),
            Poll::Ready(Some(Err(error))) => break Some(Rest::Cut(error.to_string())),
            Poll::Ready(None) => break Some(Rest::Ended),
            Poll::Pending if frames.is_empty() => return Poll::Pending,
            Poll::Pending => break None,
        }
    };
    let body = held.take();
    let left = || body.map_or(Rest::Ended, Rest::Body);
    Poll::Ready(Next { frames, rest: rest.unwrap_or_else(left) })
}

impl Reply {
    pub(crate) fn new(live: &Arc<Live>, response: Response<Body>) -> Reply {
        let (parts, body) = response.into_parts();
        let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        let headers = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let stated = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Reply {
            status: parts.status.as_u16(),
            headers,
            length: stated.or_else(|| body.size_hint().exact()),
            is_stream: body.is_stream(),
            rest: Shared(Arc::new(Rest::Body(Box::new(Held { body, over: Bytes::new() })).into())),
            live: Arc::clone(live),
        }
    }

    /// What is at hand of the rest; or the rest itself, if nothing is.
    fn next(&self) -> PyResult<Result<Next, Option<Box<Held>>>> {
        let mut body = self.rest.body()?;
        if body.is_none() {
            return Ok(Ok(Next { frames: vec![], rest: Rest::Ended }));
        }

        if !self.live.is_usable() {
            self.rest.replace(Rest::Closed);
            if self.live.is_ours() {
                return Err(closed());
            }
            // What it would tell are threads that are not in this process.
            mem::forget(body);
            return Err(PyRuntimeError::new_err("this reply was made before the process was forked"));
        }
        let _inside = self.live.handle().enter();
        Ok(match poll(&mut body, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => Ok(next),
            Poll::Pending => Err(body),
        })
    }

    /// Waits for what comes next.
    fn waiting(&self, mut body: Option<Box<Held>>) -> impl Future<Output = (Next, Lost)> + Send + use<> {
        let lost = Lost(Some(self.rest.clone()));
        async move { (std::future::poll_fn(|context| poll(&mut body, context)).await, lost) }
    }

    /// Closes it: the work that was done for it stops.
    fn end(&self) {
        let rest = self.rest.replace(Rest::Closed);
        match rest {
            Rest::Ended | Rest::Cut(_) => drop(self.rest.replace(rest)),
            _ if self.live.is_ours() => {
                let _inside = self.live.handle().enter();
                drop(rest);
            }
            _ => mem::forget(rest),
        }
    }
}

#[pymethods]
impl Reply {
    #[getter]
    fn headers(&self) -> Vec<(String, String)> {
        self.headers.clone()
    }

    fn __iter__(own: PyRef<'_, Self>) -> PyRef<'_, Self> {
        own
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match self.next()? {
            Ok(next) => self.rest.give(py, next),
            Err(body) => give_waited(py, wait::in_thread(py, &self.live, self.waiting(body))?),
        }
    }

    fn __aiter__(own: PyRef<'_, Self>) -> PyRef<'_, Self> {
        own
    }

    fn __anext__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.next()? {
            Ok(next) => {
                let given = self.rest.give(py, next)?.ok_or_else(at_end)?;
                wait::ready(py, Ok(given.into_any().unbind()))
            }
            Err(body) => wait::in_loop(py, &self.live, self.waiting(body), |py, waited| {
                Ok(give_waited(py, waited)?.ok_or_else(at_end)?.into_any().unbind())
            }),
        }
    }

    /// Stops the work that is done for it.
    fn close(&self) {
        self.end();
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.end();
        self.live.keep_if_forked();
    }
}
