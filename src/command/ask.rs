//! Requests to the running server, through its `[admin]` listener.

use std::{future::poll_fn, io, pin::Pin, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{
    config::{AdminConfig, Listen},
    paths::{Own, of_operator},
    web::{Body, path_of},
};

/// More than any answer of the running server, in bytes.
const LONGEST: usize = 1024 * 1024;

/// The time for a connection.
const REACH: Duration = Duration::from_secs(2);

/// Longer than the server needs to read a configuration with databases that do not answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is asked of the running server.
pub(super) struct Post<'a> {
    own: Own,
    named: &'a str,
    query: String,
    body: Bytes,
}

impl<'a> Post<'a> {
    /// The path for this purpose, without a body.
    pub(super) fn to(own: Own) -> Post<'a> {
        Post { own, named: "", query: String::new(), body: Bytes::new() }
    }

    /// The same for the resource of this name.
    pub(super) fn of(self, resource: &'a str) -> Post<'a> {
        Post { named: resource, ..self }
    }

    /// The same with these parameters.
    pub(super) fn with_query(self, parameters: &[(&str, &str)]) -> Post<'a> {
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs = parameters.iter().map(|(name, value)| encoded(name) + "=" + &encoded(value));
        Post { query: pairs.collect::<Vec<_>>().join("&"), ..self }
    }

    /// The same with JSON.
    pub(super) fn with(self, json: impl Into<Bytes>) -> Post<'a> {
        Post { body: json.into(), ..self }
    }

    /// Sends it. Returns the status and body of the response.
    pub(super) async fn send(self, admin: &AdminConfig) -> Result<(StatusCode, Vec<u8>)> {
        let late = || format!("the server at {}, the address of [admin], does not answer in time", admin.listen);
        timeout(PATIENCE, self.exchange(admin)).await.with_context(late)?
    }

    async fn exchange(self, admin: &AdminConfig) -> Result<(StatusCode, Vec<u8>)> {
        let reached = || not_reached(admin);
        let mut sender = reach(admin).await.with_context(reached)?;
        let response = sender.send_request(self.request(admin)?).await.with_context(reached)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            bail!("the running server has other tokens in [admin], or none of this configuration may do this")
        }

        let (head, mut body) = response.into_parts();
        let mut bytes = vec![];
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            bytes.extend(frame.with_context(reached)?.into_data().unwrap_or_default());
            if bytes.len() > LONGEST {
                bail!("the running server says far more than it should: is it the server of this configuration?")
            }
        }

        if head.status == StatusCode::FORBIDDEN {
            let why = told(&bytes).unwrap_or_else(|| "it is another server".to_owned());
            bail!("the running server does not let this configuration do that: {why}")
        }
        Ok((head.status, bytes))
    }

    fn request(self, admin: &AdminConfig) -> Result<Request<Body>> {
        let mut path = of_operator(self.own).path.to_owned();
        if !self.named.is_empty() {
            path += &path_of(self.named);
        }
        if !self.query.is_empty() {
            path += "?";
            path += &self.query;
        }

        let mut request = Request::builder().method(Method::POST).uri(path).header(header::HOST, admin.listen.host());
        if let Some(token) = admin.token_for(self.own) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !self.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }

        Ok(request.body(Body::from(self.body))?)
    }
}

/// Whether something listens at the address of `[admin]`.
///
/// # Errors
/// When that cannot be told, for instance because the socket may not be opened.
pub(super) async fn is_there(admin: &AdminConfig) -> Result<bool> {
    use io::ErrorKind::{ConnectionRefused, NotFound, TimedOut};
    match reach(admin).await {
        Ok(_) => Ok(true),
        Err(error) => match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(ConnectionRefused | NotFound | TimedOut) => Ok(false),
            _ => Err(error.context(not_reached(admin))),
        },
    }
}

/// What a problem of the running server says, with its remedy; `None` if it is none.
pub(super) fn told(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
        remedy: Option<String>,
    }

    let Problem { detail, remedy } = serde_json::from_slice(answer).ok()?;
    Some(match remedy {
        Some(remedy) => format!("{detail}; {remedy}"),
        None => detail,
    })
}

fn not_reached(admin: &AdminConfig) -> String {
    format!("no server answers at {}, the address of [admin]", admin.listen)
}

async fn reach(admin: &AdminConfig) -> Result<http1::SendRequest<Body>> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    match &admin.listen {
        Listen::Ip(address) => {
            let connected = timeout(REACH, TcpStream::connect(address)).await;
            Ok(begin(connected.map_err(|_| late())??).await?)
        }
        Listen::Unix { path, .. } => {
            let connected = timeout(REACH, UnixStream::connect(path)).await;
            Ok(begin(connected.map_err(|_| late())??).await?)
        }
    }
}

/// Begins a connection; a task of its own drives it.
async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<http1::SendRequest<Body>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
