//! A flow: answers requests, and hears of changes.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use chunkflow::{
    Body, Error, Format, Kind, Origin, Secret, Token, metrics::MetricsFormat, problem, store::StoreOptions,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use pyo3::{
    exceptions::{PyConnectionError, PyRuntimeError, PyValueError},
    prelude::*,
};

use crate::{
    change::Change,
    inside::Inside,
    live::{Live, Settings, refused},
    reply::Reply,
    source::Source,
    wait,
};

/// The lists of a process.
#[pyclass(frozen, weakref, module = "chunkflow._native")]
pub(crate) struct Flow {
    settings: Settings,
    live: ArcSwapOption<Live>,
}

/// One secret, or several, the newest first.
#[derive(FromPyObject)]
enum Secrets {
    One(String),
    Several(Vec<String>),
}

#[pymethods]
impl Flow {
    #[new]
    #[pyo3(signature = (
        store = "memory:", *, memory = 64 << 20, prefix = "chunkflow:", secret = None, pool = 2, timeout = 10.0,
        databases = vec!["default".to_owned()],
    ))]
    #[allow(clippy::too_many_arguments, reason = "Python names each of them")]
    fn new(
        store: &str,
        memory: u64,
        prefix: &str,
        secret: Option<Secrets>,
        pool: usize,
        timeout: f64,
        databases: Vec<String>,
    ) -> PyResult<Flow> {
        let secret = match secret {
            None => None,
            Some(Secrets::One(text)) => Some(Secret::new(&[text]).map_err(refused)?),
            Some(Secrets::Several(texts)) => Some(Secret::new(&texts).map_err(refused)?),
        };
        if pool == 0 {
            return Err(PyValueError::new_err("`pool` is 0: give the number of calls of `rows` at once"));
        }
        let timeout = Duration::try_from_secs_f64(timeout)
            .map_err(|_| PyValueError::new_err("`timeout` is no number of seconds"))?;
        let url = if store == "memory:" { format!("memory:{memory}") } else { store.to_owned() };
        let store = StoreOptions::new(url).with(|options| {
            options.near = memory;
            options.prefix = prefix.to_owned();
            options.secret.clone_from(&secret);
        });
        let settings = Settings { store, secret, pool, timeout, databases };
        Ok(Flow { settings, live: ArcSwapOption::empty() })
    }

    #[pyo3(signature = (source, target, headers, *, method = "GET", base = None, format = None))]
    #[allow(clippy::too_many_arguments, reason = "Python names each of them")]
    fn open(
        own: Bound<'_, Self>,
        source: &Source,
        target: &str,
        headers: &Bound<'_, PyAny>,
        method: &str,
        base: Option<&str>,
        format: Option<&str>,
    ) -> PyResult<Py<PyAny>> {
        let py = own.py();
        let live = live(&own)?;
        let request = request(target, headers, method, base, format)?;
        match answer(py, &live, source, request, true)? {
            Ok(response) => wait::ready(py, made(py, (live, response))),
            Err(work) => {
                let of = Arc::clone(&live);
                wait::in_loop(py, &live, async move { (of, work.await) }, made)
            }
        }
    }

    #[pyo3(signature = (source, target, headers, *, method = "GET", base = None, format = None))]
    #[allow(clippy::too_many_arguments, reason = "Python names each of them")]
    fn open_sync(
        own: Bound<'_, Self>,
        source: &Source,
        target: &str,
        headers: &Bound<'_, PyAny>,
        method: &str,
        base: Option<&str>,
        format: Option<&str>,
    ) -> PyResult<Reply> {
        let py = own.py();
        let live = live(&own)?;
        let request = request(target, headers, method, base, format)?;
        let response = match answer(py, &live, source, request, false)? {
            Ok(response) => response,
            Err(work) => wait::in_thread(py, &live, work)?,
        };
        Ok(Reply::new(&live, response))
    }

    fn changed(own: Bound<'_, Self>, changes: Vec<PyRef<'_, Change>>) -> PyResult<Py<PyAny>> {
        let live = live(&own)?;
        let work = tell(own.py(), &live, &changes)?;
        wait::in_loop(own.py(), &live, work, |py, token| Ok(told(token)?.into_pyobject(py)?.into_any().unbind()))
    }

    fn changed_sync(own: Bound<'_, Self>, changes: Vec<PyRef<'_, Change>>) -> PyResult<String> {
        let live = live(&own)?;
        let work = tell(own.py(), &live, &changes)?;
        told(wait::in_thread(own.py(), &live, work)?)
    }

    #[pyo3(signature = (table, *, database = "default"))]
    fn purge(own: Bound<'_, Self>, table: &str, database: &str) -> PyResult<Py<PyAny>> {
        let live = live(&own)?;
        let work = tell_all(&live, vec![all_of(database, table)]);
        wait::in_loop(own.py(), &live, work, |py, token| Ok(told(token)?.into_pyobject(py)?.into_any().unbind()))
    }

    #[pyo3(signature = (table, *, database = "default"))]
    fn purge_sync(own: Bound<'_, Self>, table: &str, database: &str) -> PyResult<String> {
        let live = live(&own)?;
        told(wait::in_thread(own.py(), &live, tell_all(&live, vec![all_of(database, table)]))?)
    }

    fn metrics(own: Bound<'_, Self>) -> PyResult<String> {
        Ok(live(&own)?.chunkflow().exposition(MetricsFormat::Text))
    }

    fn close(&self, py: Python<'_>) {
        if let Some(live) = self.live.swap(None) {
            live.keep_if_forked();
            live.close(py);
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if let Some(live) = self.live.swap(None) {
            live.keep_if_forked();
        }
    }
}

/// What this process has of a flow.
fn live(flow: &Bound<'_, Flow>) -> PyResult<Arc<Live>> {
    let own = flow.get();
    if let Some(live) = own.live.load_full()
        && live.is_usable()
    {
        return Ok(live);
    }

    let _inside = Inside::new()?;
    // Nothing here gives the interpreter to another thread before it is stored.
    let live = Arc::new(Live::open(&own.settings)?);
    if let Some(before) = own.live.swap(Some(Arc::clone(&live))) {
        before.keep_if_forked();
    }
    if let Err(error) = started(flow, &live) {
        // Nobody would answer what is asked of it; the next request tries again.
        own.live.store(None);
        live.close(flow.py());
        return Err(error);
    }
    Ok(live)
}

fn started(flow: &Bound<'_, Flow>, live: &Live) -> PyResult<()> {
    live.start(flow.py())?;
    let remember = live.threads().function(flow.py(), "remember")?;
    remember.bind(flow.py()).call1((flow,))?;
    Ok(())
}

type Work = std::pin::Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The answer, if it is at hand; else the work that makes it.
///
/// # Errors
/// In a thread of the pool, which would wait for another of it.
fn answer(
    py: Python<'_>,
    live: &Arc<Live>,
    source: &Source,
    request: Result<Request<()>, Error>,
    on_loop: bool,
) -> PyResult<Result<Response<Body>, Work>> {
    live.threads().function(py, "refuse_within_rows")?.bind(py).call0()?;
    let request = match request {
        Ok(request) => request,
        Err(error) => return Ok(Ok(problem(error))),
    };
    let resource = source.resource(py, live, on_loop)?;
    let _inside = live.handle().enter();
    let mut work: Work = Box::pin(live.chunkflow().respond_to(&resource, &request));
    Ok(match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => Ok(response),
        Poll::Pending => Err(work),
    })
}

fn made(py: Python<'_>, (live, response): (Arc<Live>, Response<Body>)) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, Reply::new(&live, response))?.into_any())
}

/// The request as the library takes it.
fn request(
    target: &str,
    headers: &Bound<'_, PyAny>,
    method: &str,
    base: Option<&str>,
    format: Option<&str>,
) -> PyResult<Result<Request<()>, Error>> {
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return Ok(Err(Error::new(Kind::Invalid, "this is no method")));
    };
    let Some(uri) = uri(target) else {
        let error = Error::new(Kind::Invalid, "the address cannot be read");
        return Ok(Err(error.remedy("percent-encode all but letters, digits and `-._~` in its parameters")));
    };

    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for pair in headers.try_iter()? {
        let (name, value): (String, String) = pair?.extract()?;
        // A server has let through what is no header; nothing here reads it.
        if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), latin(&value)) {
            request.headers_mut().append(name, value);
        }
    }

    if let Some(base) = base {
        request.extensions_mut().insert(Origin(base.to_owned()));
    }
    if let Some(name) = format {
        let format = Format::named(name);
        let unknown = || PyValueError::new_err(format!("there is no format `{name}`"));
        request.extensions_mut().insert(format.ok_or_else(unknown)?);
    }
    Ok(Ok(request))
}

/// The path and query of a target. What is not ASCII is percent-encoded, as clients should have.
fn uri(target: &str) -> Option<Uri> {
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut text = String::with_capacity(target.len() + 1);
    text.push_str(slash);
    for byte in target.bytes() {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    Uri::from_maybe_shared(Bytes::from(text)).ok()
}

/// A header's value from the text that servers make of it, one character for each byte.
fn latin(value: &str) -> Option<HeaderValue> {
    let bytes: Option<Vec<u8>> = value.chars().map(|one| u8::try_from(u32::from(one)).ok()).collect();
    HeaderValue::from_maybe_shared(Bytes::from(bytes?)).ok()
}

/// Tells of changes.
fn tell(
    py: Python<'_>,
    live: &Arc<Live>,
    changes: &[PyRef<'_, Change>],
) -> PyResult<impl Future<Output = Result<Token, Error>> + Send + use<>> {
    let changes = changes.iter().map(|change| change.told(py)).collect::<PyResult<Vec<_>>>()?;
    Ok(tell_all(live, changes))
}

fn tell_all(
    live: &Arc<Live>,
    changes: Vec<chunkflow::Change>,
) -> impl Future<Output = Result<Token, Error>> + Send + use<> {
    let chunkflow = live.chunkflow().clone();
    async move { chunkflow.changed(&changes).await }
}

/// The change of all rows of a table: it has no key.
fn all_of(database: &str, table: &str) -> chunkflow::Change {
    chunkflow::Change::of(database, [""; 0]).in_table(table)
}

fn told(token: Result<Token, Error>) -> PyResult<String> {
    token.map(|token| token.to_string()).map_err(|error| match error.kind() {
        Kind::Invalid | Kind::Missing | Kind::Config => PyValueError::new_err(error.to_string()),
        Kind::Unavailable | Kind::Timeout | Kind::Busy | Kind::Refused => PyConnectionError::new_err(error.to_string()),
        _ => PyRuntimeError::new_err(error.to_string()),
    })
}
