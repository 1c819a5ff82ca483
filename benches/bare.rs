//! A bare hyper server that sends pre-built buffers: what there is to reach. Used by `benches/run`.
//!
//! `bare PORT FILE`: sends FILE, cut into buffers of 80 KiB as chunks are on average, for every request; with a
//! length up to 4 MiB.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

const BUFFER: usize = 80 * 1024;
const WHOLE: usize = 4 * 1024 * 1024;

struct Buffers(VecDeque<Bytes>, Option<u64>);

impl Body for Buffers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.1.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [port, file] = &arguments[..] else {
        eprintln!("usage: bare PORT FILE (benches/run runs it)");
        return;
    };

    let body = Bytes::from(std::fs::read(file).expect("the file is there"));
    let length = (body.len() <= WHOLE).then_some(body.len() as u64);
    let buffers: VecDeque<Bytes> =
        // Each in memory of its own, as chunks are.
        body.chunks(BUFFER).map(Bytes::copy_from_slice).collect();
    let buffers = Arc::new(buffers);
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let listener = TcpListener::bind(address).await.expect("a free port");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            // As Chunkflow does: what is compared is the work above the socket.
            #[cfg(target_os = "linux")]
            socket2::SockRef::from(&stream).set_tcp_congestion(b"reno").expect("every Linux has it");
            let buffers = Arc::clone(&buffers);
            tokio::spawn(async move {
                let service = service_fn(|_: Request<Incoming>| {
                    let mut response = Response::new(Buffers(VecDeque::clone(&buffers), length));
                    let headers = response.headers_mut();
                    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
                    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection =
                    http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            });
        }
    });
}
