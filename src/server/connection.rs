//! One connection: what it speaks, HTTP/1 by hyper with a watchdog beside it, and HTTP/2 by its own file.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use http_body::Body as _;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    http2,
    live::Live,
    origin::Peer,
    watch::{Watch, Watched, WatchedBody},
};
use crate::{config::ServerConfig, error::Error, web::problem};

/// The largest request head, in bytes; hyper's default of 100 fields stands.
pub(super) const HEAD_BYTES: usize = 16 * 1024;
/// Between two looks at a connection that began like HTTP/2 and is not there yet.
const LOOK: Duration = Duration::from_millis(5);

/// What a connection speaks, as its first bytes or ALPN tell.
enum Spoken {
    Http1(Watched),
    Http2(Watched),
    Http1OverTls(Box<TlsStream<Watched>>),
    Http2OverTls(Box<TlsStream<Watched>>),
}

/// Serves a connection until it ends, is idle for too long, waits for its client for too long, or `draining` comes and its
/// last response is out. Dropping the future cuts it, visibly.
pub(super) async fn serve(
    stream: TcpStream,
    peer: Peer,
    tls: Option<TlsAcceptor>,
    live: Arc<Live>,
    draining: impl Future<Output = ()>,
) {
    let watch = Watch::new();
    let config = Arc::clone(&live.site().config);
    // Neither hyper nor rustls has a limit on these waits.
    match timeout(config.header_timeout, greet(stream, tls, &watch)).await {
        Ok(Ok(Spoken::Http1(io))) => http1(io, peer, live, config, watch, draining).await,
        Ok(Ok(Spoken::Http2(io))) => http2::serve(io, peer, live, config, watch, draining).await,
        Ok(Ok(Spoken::Http1OverTls(io))) => http1(io, peer, live, config, watch, draining).await,
        Ok(Ok(Spoken::Http2OverTls(io))) => http2::serve(io, peer, live, config, watch, draining).await,
        Ok(Err(error)) => tracing::debug!(peer = %peer.address, %error, "a connection ended before its first request"),
        Err(_) => {}
    }
}

/// Waits for the first bytes, and with TLS for the handshake.
async fn greet(stream: TcpStream, tls: Option<TlsAcceptor>, watch: &Arc<Watch>) -> io::Result<Spoken> {
    let Some(tls) = tls else {
        let http2 = begins_http2(&stream).await?;
        let io = Watched::new(stream, Arc::clone(watch));
        return Ok(if http2 { Spoken::Http2(io) } else { Spoken::Http1(io) });
    };
    let io = Box::new(tls.accept(Watched::new(stream, Arc::clone(watch))).await?);
    watch.greeted();
    let http2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(if http2 { Spoken::Http2OverTls(io) } else { Spoken::Http1OverTls(io) })
}

/// Whether the client begins with HTTP/2's preface, as one does that knows what is spoken here.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut begin = [0; http2::PREFACE.len()];
    loop {
        let came = stream.peek(&mut begin).await?;
        match http2::PREFACE.starts_with(&begin[..came]) {
            true if came == begin.len() => return Ok(true),
            // The socket is readable already, so nothing would tell that more came.
            true if came > 0 => sleep(LOOK).await,
            _ => return Ok(false),
        }
    }
}

async fn http1(
    io: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    live: Arc<Live>,
    config: Arc<ServerConfig>,
    watch: Arc<Watch>,
    draining: impl Future<Output = ()>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (site, watch) = (live.site(), Arc::clone(&watch));
        async move {
            watch.request();
            let old = request.version() == http::Version::HTTP_10;
            let (response, permit) = site.answer(request, peer).await;
            let (head, body) = response.into_parts();
            let ends_by_close = old && body.is_stream() && !head.headers.contains_key(http::header::CONTENT_LENGTH);
            Ok::<_, Infallible>(Response::from_parts(head, WatchedBody::new(body, watch, ends_by_close, permit)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.idle_timeout)
        .max_header_size(HEAD_BYTES)
        .half_close(false)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let mut draining = std::pin::pin!(draining);
    let mut watchdog = std::pin::pin!(watch.expired(&config));
    let mut drains = false;
    // Declared last, so dropped first: before the socket.
    let mut cut = CutOnDrop { watch: Arc::clone(&watch), needed: true };
    loop {
        tokio::select! {
            // In this order: what the watchdog lets the connection ask the kernel is asked in the same turn.
            biased;
            wait = &mut watchdog => {
                tracing::info!(peer = %peer.address, ?wait, "a client took too long and is cut");
                return;
            }
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %peer.address, %error, "a connection ended");
                }
                cut.needed = false;
                return;
            }
            () = &mut draining, if !drains => {
                drains = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Refuses a connection, without reading what was asked.
pub(super) async fn reject(mut stream: TcpStream, why: Error) {
    let (head, mut body) = problem(why).into_parts();
    let length = body.size_hint().exact().unwrap_or_default();
    let mut answer =
        format!("HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {length}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    answer.extend(b"\r\n");
    if let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        answer.extend(frame.into_data().unwrap_or_default());
    }
    let answering = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        // Until the client has closed: closing with its request unread would reset the connection and lose the answer.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(Duration::from_secs(1), answering).await;
}

/// Makes a connection that is dropped before its end, end with a reset: a plain close could look like the end of a body.
struct CutOnDrop {
    watch: Arc<Watch>,
    needed: bool,
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if self.needed {
            self.watch.end_with_reset(true);
        }
    }
}
