//! HTTP/2: one connection, many streams, and limits on each of them.
//!
//! Built on `h2` directly: hyper waits for a client's window without a time limit, and cannot reset
//! a single stream that stalls.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::{Duration, Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use h2::{
    Reason, RecvStream, SendStream,
    server::{Builder, SendResponse},
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{oneshot, watch as signal},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    coalesced::Coalesced,
    ending::PATIENCE,
    head, http1,
    live::Live,
    origin::Peer,
    route::Site,
    upload::{self, Unread, Wanted},
    watch::{Wait, Watch},
};
use crate::{config::ServerConfig, metrics::Way, unpoisoned::Unpoisoned, web::Body};

/// The first bytes of a client that knows the server speaks HTTP/2.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How many streams of one connection may be open at once.
const STREAMS: u32 = 100;
/// The window for clients' bytes, in bytes. The server reads hardly any bodies, so it is as small as
/// the protocol allows.
const WINDOW: u32 = 65_535;
/// How many bytes of a request's body are waited for before the request is answered.
const PASSED_OVER: usize = 16 * 1024;
/// How many bytes of a stream are lined up for the socket. They are the store's own memory, not
/// copies.
const LINED_UP: usize = 256 * 1024;
/// How many streams a client may send malformed (`NONSENSE`), or reset before they are looked at
/// (`TAKEN_BACK`); one more ends the connection.
const NONSENSE: usize = 64;
const TAKEN_BACK: usize = 20;
/// How long bytes that were lined up before a failure have to reach the socket; the reset would
/// overtake them.
const FLUSH: Duration = Duration::from_millis(1);

/// Serves a connection; ends as [`super::connection::serve`] says.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    live: Arc<Live>,
    config: Arc<ServerConfig>,
    watch: Arc<Watch>,
    draining: impl Future<Output = ()>,
) {
    watch.many();
    let mut io = Coalesced::new(io);
    let handshake = io.sending(settings().handshake::<_, Bytes>(io.clone()));
    let Ok(Ok(mut connection)) = timeout(config.header_timeout, handshake).await else { return };
    io.go_on();
    let mut open = Open { streams: JoinSet::new(), io: io.clone(), watch: Arc::clone(&watch) };
    let (closed, is_closed) = signal::channel(false);
    let mut draining = std::pin::pin!(draining);
    let mut watchdog = std::pin::pin!(watch.expired(&config));
    let mut ends = false;
    let mut quiet_since = Instant::now();
    loop {
        let quiet = if ends { config.header_timeout } else { config.idle_timeout };
        tokio::select! {
            biased;
            wait = &mut watchdog => {
                tracing::info!(peer = %peer.address, ?wait, "a client took too long and is cut");
                return;
            }
            accepted = io.sending(connection.accept()) => match accepted {
                Some(Ok((request, respond))) => {
                    watch.request();
                    let stream = Stream {
                        peer,
                        config: Arc::clone(&config),
                        watch: Arc::clone(&watch),
                        closed: is_closed.clone(),
                    };
                    open.streams.spawn(stream.answer(live.site(), request, respond));
                }
                Some(Err(error)) => {
                    tracing::debug!(peer = %peer.address, %error, "a connection ended");
                    return;
                }
                None => return,
            },
            Some(_) = open.streams.join_next(), if !open.streams.is_empty() => quiet_since = Instant::now(),
            () = until(|| io.is_closed()), if !*closed.borrow() => {
                closed.send_replace(true);
            }
            // The client sends no more, and all answers are sent.
            () = until(|| io.is_closed() && is_sent(&io, &watch)), if open.streams.is_empty() => {
                drop(open);
                let _ = io.shutdown().await;
                return;
            }
            () = &mut draining, if !ends => {
                ends = true;
                quiet_since = Instant::now();
                connection.graceful_shutdown();
            }
            () = sleep((quiet_since + quiet).saturating_duration_since(Instant::now())), if open.streams.is_empty() => {
                if ends {
                    return;
                }
                ends = true;
                quiet_since = Instant::now();
                connection.graceful_shutdown();
            }
        }
    }
}

/// Ready once `so` holds. Nothing wakes it for that: it is checked whenever the connection is
/// polled.
async fn until(so: impl Fn() -> bool) {
    poll_fn(|_| if so() { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Whether the socket has taken everything written for it.
fn is_sent<IO: AsyncRead + AsyncWrite + Unpin>(io: &Coalesced<IO>, watch: &Watch) -> bool {
    io.is_sent() && !watch.lasts(Wait::Socket)
}

/// The streams under way. On drop, in every case, it notes whether they or their last bytes are
/// owed.
struct Open<IO: AsyncRead + AsyncWrite + Unpin> {
    streams: JoinSet<()>,
    io: Coalesced<IO>,
    watch: Arc<Watch>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Drop for Open<IO> {
    fn drop(&mut self) {
        while self.streams.try_join_next().is_some() {}
        self.watch.owe(!self.streams.is_empty() || !is_sent(&self.io, &self.watch));
    }
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(head::BYTES as u32)
        .max_send_buffer_size(LINED_UP)
        .max_local_error_reset_streams(Some(NONSENSE))
        .max_pending_accept_reset_streams(TAKEN_BACK);
    builder
}

/// How fast a client takes a stream while the server waits for it.
#[derive(Default)]
struct Pace {
    waited: Duration,
    taken: u64,
    /// Where it is noted why a stream ends.
    under_way: Option<Arc<Way>>,
}

/// What a stream needs from its connection.
struct Stream {
    peer: Peer,
    config: Arc<ServerConfig>,
    watch: Arc<Watch>,
    /// Whether the client has closed its half of the connection.
    closed: signal::Receiver<bool>,
}

impl Stream {
    /// Answers a request. There is no error to return: the client sees every failure as a reset of
    /// the stream.
    async fn answer(self, site: Arc<Site>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let bodiless = request.method() == Method::HEAD;
        let (head, rest) = request.into_parts();
        let (upload, wanted) = (!rest.is_end_stream()).then(upload::offer).unzip();
        let expects_word = upload::expects_word(&head.headers);
        // One branch below looks whether the client resets the stream, while another may say that it
        // may go on.
        let shared = Mutex::new(&mut respond);
        let say_word = || {
            let word = http::response::Builder::new().status(StatusCode::CONTINUE).body(());
            let _ = word.map(|word| shared.lock().unpoisoned().send_informational(word));
        };

        // Joined, so that a client that is slow to end its request keeps its permit meanwhile.
        let answered = async {
            tokio::join!(
                site.answer(Request::from_parts(head, ()), self.peer, &self.watch, upload),
                self.receive(rest, wanted, expects_word.then_some(say_word)),
            )
        };

        let (response, _permit) = tokio::select! {
            biased;
            // A client that is too slow to end its request is answered all the same. One whose
            // request is malformed gets no answer.
            (answer, received) = answered => match received {
                Err(_) => return,
                Ok(()) => answer,
            },
            // The client left.
            _ = poll_fn(|context| shared.lock().unpoisoned().poll_reset(context)) => return,
            () = forsaken(self.closed.clone()) => {
                respond.send_reset(Reason::CANCEL);
                return;
            }
        };

        let (mut parts, mut body) = response.into_parts();
        let empty = body.is_end_stream();
        let ended = empty || bodiless;
        if let Some(length) = body.size_hint().exact().filter(|_| !empty) {
            parts.headers.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
        }

        if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
            parts.headers.insert(header::DATE, date);
        }

        if let Ok(mut way) = respond.send_response(Response::from_parts(parts, ()), ended)
            && !ended
        {
            let under_way = body.under_way();
            let is_cut = tokio::select! {
                biased;
                () = self.send(body, &mut way) => false,
                () = http1::cut(under_way) => true,
            };
            if is_cut {
                way.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }

    /// Waits for the end of a request, within the time limit. The body goes to the answer, if that
    /// asks for it; else it is passed over. `say_word`: the client sends it only after this.
    ///
    /// # Errors
    /// As those of [`pass_over`].
    async fn receive(
        &self,
        mut rest: RecvStream,
        wanted: Option<oneshot::Receiver<Wanted>>,
        say_word: Option<impl Fn()>,
    ) -> Result<(), h2::Error> {
        let limit = self.config.header_timeout;
        let wanted = match wanted {
            Some(wanted) => wanted.await.ok(),
            None => None,
        };

        let Some(wanted) = wanted else {
            // Both would wait: the client waits for the answer before it sends its body.
            if say_word.is_some() {
                return Ok(());
            }
            return timeout(limit, pass_over(rest)).await.unwrap_or(Ok(()));
        };

        if let Some(say_word) = say_word {
            say_word();
        }
        match timeout(limit, self.read(&mut rest, wanted.most)).await {
            Ok(Ok(read)) => wanted.tell(read),
            Ok(Err(error)) => return Err(error),
            Err(_) => wanted.tell(Err(Unread::Late)),
        }

        Ok(())
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// As those of [`pass_over`]: it is then not whole.
    async fn read(&self, rest: &mut RecvStream, most: usize) -> Result<Result<Bytes, Unread>, h2::Error> {
        let mut body = BytesMut::new();
        while let Some(bytes) = rest.data().await {
            let bytes = bytes?;
            if bytes.len() > most - body.len() {
                return Ok(Err(Unread::TooLarge(most)));
            }
            body.extend_from_slice(&bytes);
            self.watch.excuse(bytes.len());
            rest.flow_control().release_capacity(bytes.len())?;
        }

        rest.trailers().await?;
        Ok(Ok(body.freeze()))
    }

    /// Sends a body to its end, as fast as the client takes it, or resets the stream.
    async fn send(&self, mut body: Body, way: &mut SendStream<Bytes>) {
        let mut pace = Pace { under_way: body.under_way(), ..Pace::default() };
        let mut closed = pin!(is_closed(self.closed.clone()));
        let mut probes = false;
        loop {
            let frame = tokio::select! {
                biased;
                frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)) => frame,
                _ = poll_fn(|context| way.poll_reset(context)) => return,
                () = &mut closed, if !probes => {
                    probes = true;
                    body.probe(PATIENCE);
                    continue;
                }
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => {
                    if !self.send_bytes(bytes, body.is_end_stream(), &mut pace, way).await {
                        return;
                    }
                    if body.is_end_stream() {
                        return;
                    }
                }
                Some(Ok(Err(_))) => {}
                Some(Err(_)) => {
                    sleep(FLUSH).await;
                    way.send_reset(Reason::INTERNAL_ERROR);
                    return;
                }
                None => {
                    let _ = way.send_data(Bytes::new(), true);
                    return;
                }
            }
        }
    }

    /// Sends bytes piece by piece, as the client's window allows; false when the stream is over.
    async fn send_bytes(&self, mut bytes: Bytes, last: bool, pace: &mut Pace, way: &mut SendStream<Bytes>) -> bool {
        let stall = self.config.stall_timeout;
        while !bytes.is_empty() {
            way.reserve_capacity(bytes.len());
            let began = Instant::now();
            let room = match timeout(stall, poll_fn(|context| poll_room(way, context))).await {
                Ok(None) => return false,
                Ok(Some(room)) => room.min(bytes.len()),
                Err(_) => 0,
            };
            pace.waited += began.elapsed();
            pace.taken += room as u64;
            if pace.waited >= stall || room == 0 {
                let slow =
                    room == 0 || (pace.taken as f64) < self.config.minimum_rate as f64 * pace.waited.as_secs_f64();
                // If the socket is full, the watchdog of the connection decides.
                if slow && !self.watch.lasts(Wait::Socket) {
                    tracing::info!(peer = %self.peer.address, "a stream was not taken for too long and is reset");
                    pace.under_way.iter().for_each(|under_way| under_way.stalls());
                    way.send_reset(Reason::CANCEL);
                    return false;
                }
                (pace.waited, pace.taken) = (Duration::ZERO, 0);
            }
            let piece = bytes.split_to(room);
            if room > 0 && way.send_data(piece, last && bytes.is_empty()).is_err() {
                return false;
            }
        }

        true
    }
}

/// Completes when the client has closed its half.
async fn is_closed(mut closed: signal::Receiver<bool>) {
    if closed.wait_for(|closed| *closed).await.is_err() {
        // The connection is over, and this stream with it.
        pending::<()>().await;
    }
}

/// Completes when a client that has closed its half has waited long enough.
async fn forsaken(closed: signal::Receiver<bool>) {
    is_closed(closed).await;
    sleep(PATIENCE).await;
}

/// Waits for the end of a request, or for [`PASSED_OVER`] bytes of its body, which nobody reads.
/// Only the end shows whether it is well-formed (RFC 9113 §8.1.1). The bytes are given back to the
/// windows.
///
/// # Errors
/// If it is malformed, and h2 has reset its stream; or if the client has reset it.
async fn pass_over(mut rest: RecvStream) -> Result<(), h2::Error> {
    let mut left = PASSED_OVER;
    while !rest.is_end_stream() {
        match rest.data().await {
            Some(bytes) => {
                let came = bytes?.len();
                rest.flow_control().release_capacity(came)?;
                left = left.saturating_sub(came);
            }
            None => return rest.trailers().await.map(drop),
        }
        if left == 0 {
            break;
        }
    }

    Ok(())
}

/// How many bytes may be sent now; `None` when the stream is over.
fn poll_room(way: &mut SendStream<Bytes>, context: &mut Context<'_>) -> Poll<Option<usize>> {
    loop {
        match way.capacity() {
            0 => match ready!(way.poll_capacity(context)) {
                Some(Ok(_)) => {}
                _ => return Poll::Ready(None),
            },
            room => return Poll::Ready(Some(room)),
        }
    }
}
