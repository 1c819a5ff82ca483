//! One connection: what it speaks. HTTP/1 and HTTP/2 have files of their own.

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    http1, http2,
    live::Live,
    origin::Peer,
    watch::{Watch, Watched},
};

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
    // rustls has no limit on this wait.
    match timeout(config.header_timeout, greet(stream, tls, &watch)).await {
        Ok(Ok(Spoken::Http1(io))) => http1::serve(io, peer, live, config, watch, draining).await,
        Ok(Ok(Spoken::Http2(io))) => http2::serve(io, peer, live, config, watch, draining).await,
        Ok(Ok(Spoken::Http1OverTls(io))) => http1::serve(io, peer, live, config, watch, draining).await,
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
