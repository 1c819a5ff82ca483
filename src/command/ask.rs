//! Requests to the running server, through its `[admin]` listener.

use std::{future::poll_fn, pin::Pin, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{
    config::{AdminConfig, Listen},
    web::Body,
};

/// More than any answer of the running server, in bytes.
const LONGEST: usize = 1024 * 1024;

/// Longer than the server needs to read a configuration with databases that do not answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// Posts to a path. Returns the status and body of the response.
pub(super) async fn post(admin: &AdminConfig, path: &str) -> Result<(StatusCode, Vec<u8>)> {
    let late = || format!("the server at {}, the address of [admin], does not answer in time", admin.listen);
    timeout(PATIENCE, exchange(admin, path)).await.with_context(late)?
}

async fn exchange(admin: &AdminConfig, path: &str) -> Result<(StatusCode, Vec<u8>)> {
    let reached = || format!("no server answers at {}, the address of [admin]", admin.listen);
    let mut sender = match &admin.listen {
        Listen::Ip(address) => begin(TcpStream::connect(address).await.with_context(reached)?).await,
        Listen::Unix { path, .. } => begin(UnixStream::connect(path).await.with_context(reached)?).await,
    }
    .with_context(reached)?;
    let mut request = Request::builder().method(Method::POST).uri(path).header(header::HOST, admin.listen.host());
    if let Some(token) = &admin.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }

    let response = sender.send_request(request.body(Body::from(Bytes::new()))?).await.with_context(reached)?;
    if response.status() == StatusCode::UNAUTHORIZED {
        bail!("the running server has another token in [admin]")
    }

    let (head, mut body) = response.into_parts();
    let mut bytes = vec![];
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        bytes.extend(frame.with_context(reached)?.into_data().unwrap_or_default());
        if bytes.len() > LONGEST {
            bail!("the running server says far more than it should: is it the server of this configuration?")
        }
    }

    Ok((head.status, bytes))
}

/// Begins a connection; a task of its own drives it.
async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<http1::SendRequest<Body>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
