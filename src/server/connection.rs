//! One connection: hyper, and a watchdog beside it.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::timeout};

use super::{
    route::Site,
    watch::{Watch, Watched, WatchedBody},
};
use crate::config::ServerConfig;

/// The largest request head, in bytes; hyper's default of 100 fields stands.
const HEAD_BYTES: usize = 16 * 1024;

/// Serves a connection until it ends, is idle for too long, waits for its client for too long, or `draining` comes and its
/// last response is out. Dropping the future cuts it, visibly.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    site: Arc<Site>,
    config: Arc<ServerConfig>,
    draining: impl Future<Output = ()>,
) {
    // hyper has no limit on the wait for the first byte of all that is shorter than the idle limit.
    if !matches!(timeout(config.header_timeout, stream.readable()).await, Ok(Ok(()))) {
        return;
    }
    let watch = Watch::new();
    let service = service_fn(|request: Request<Incoming>| {
        let (site, watch) = (Arc::clone(&site), Arc::clone(&watch));
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
        .serve_connection(TokioIo::new(Watched::new(stream, Arc::clone(&watch))), service);
    let mut connection = std::pin::pin!(connection);
    let mut draining = std::pin::pin!(draining);
    let mut watchdog = std::pin::pin!(watch.expired(config.header_timeout, config.stall_timeout));
    let mut drains = false;
    // Declared last, so dropped first: before the socket.
    let mut cut = CutOnDrop { watch: Arc::clone(&watch), needed: true };
    loop {
        tokio::select! {
            // In this order: what the watchdog lets the connection ask the kernel is asked in the same turn.
            biased;
            wait = &mut watchdog => {
                tracing::info!(%peer, ?wait, "a client took too long and is cut");
                return;
            }
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection ended");
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
