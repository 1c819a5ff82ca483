//! One connection and its protocol. HTTP/1 and HTTP/2 have files of their own.

use std::{future::Future, io, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncReadExt, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    http1, http2,
    live::Live,
    origin::Peer,
    transport::Transport,
    watch::{Watch, Watched},
};

/// Bytes of the first read.
const READ: usize = 2 * 1024;

/// The protocol, from the first bytes or ALPN.
enum Spoken {
    Http1(Watched),
    Http2(Watched),
    Http1OverTls(Box<TlsStream<Watched>>),
    Http2OverTls(Box<TlsStream<Watched>>),
}

/// Serves a connection. It ends when its client closes it, when it is idle for too long or waits
/// for its client for too long, or when `draining` completes and the last response is sent.
/// Dropping the future cuts it, visibly to the client.
pub(super) async fn serve(
    stream: Transport,
    peer: Peer,
    tls: Option<TlsAcceptor>,
    live: Arc<Live>,
    draining: impl Future<Output = ()>,
) {
    let watch = Watch::new(&live.shared.cuts);
    let config = Arc::clone(&live.site().config);
    // rustls sets no limit on this wait.
    match timeout(config.header_timeout, greet(stream, tls, &watch)).await {
        Ok(Ok(Spoken::Http1(io))) => http1::serve(io, peer, live, config, watch, draining).await,
        Ok(Ok(Spoken::Http2(io))) => http2::serve(io, peer, live, config, watch, draining).await,
        Ok(Ok(Spoken::Http1OverTls(io))) => http1::serve(io, peer, live, config, watch, draining).await,
        Ok(Ok(Spoken::Http2OverTls(io))) => http2::serve(io, peer, live, config, watch, draining).await,
        Ok(Err(error)) => tracing::debug!(peer = %peer.address, %error, "a connection ended before its first request"),
        Err(_) => {}
    }
}

/// Waits for the first bytes; with TLS, for the handshake.
async fn greet(mut stream: Transport, tls: Option<TlsAcceptor>, watch: &Arc<Watch>) -> io::Result<Spoken> {
    let Some(tls) = tls else {
        let begun = begin(&mut stream).await?;
        let http2 = begun.starts_with(http2::PREFACE);
        let io = Watched::new(stream, Arc::clone(watch)).behind(begun);
        return Ok(if http2 { Spoken::Http2(io) } else { Spoken::Http1(io) });
    };
    let io = Box::new(tls.accept(Watched::new(stream, Arc::clone(watch))).await?);
    let http2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(if http2 { Spoken::Http2OverTls(io) } else { Spoken::Http1OverTls(io) })
}

/// Reads until it is clear whether the client begins with HTTP/2's preface, as a client with prior
/// knowledge does.
async fn begin(stream: &mut Transport) -> io::Result<Bytes> {
    let mut begun = BytesMut::with_capacity(READ);
    loop {
        let read = stream.read_buf(&mut begun).await?;
        let undecided = begun.len() < http2::PREFACE.len() && http2::PREFACE.starts_with(&begun);
        if read == 0 || !undecided {
            return Ok(begun.freeze());
        }
    }
}
