//! HTTP/1: one connection, one response after the other (RFC 9112).
//!
//! Heads are parsed by `httparse`. The rest is here and not hyper's, since every warm chunk takes
//! this path: one system call sends as many chunks as the socket takes, and each wait for the
//! client has a time limit.

use std::{
    future::{Future, pending, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    NOTICE,
    bounds::StreamPermit,
    ending::{self, PATIENCE},
    head::{self, Asked, Framing, Refusal},
    incoming::{Extent, Incoming},
    live::Live,
    origin::Peer,
    outgoing::Outgoing,
    transport::{Socket, Transport},
    upload::{self, Unread, Wanted},
    watch::{Wait, Watch, Watched},
};
use crate::{
    config::ServerConfig,
    error::Error,
    metrics::Way,
    web::{Body, problem, refusal},
};

/// Bytes of one read.
const READ: usize = 2 * 1024;
/// Room for a head, and for the framing of many frames.
const LEAD: usize = 1024;
/// Serves a connection; ends as [`super::connection::serve`] says.
pub(super) async fn serve(
    io: impl Socket,
    peer: Peer,
    live: Arc<Live>,
    config: Arc<ServerConfig>,
    watch: Arc<Watch>,
    draining: impl Future<Output = ()>,
) {
    let mut watchdog = pin!(watch.expired(&config));
    let connection = Connection::new(io, Arc::clone(&watch));
    tokio::select! {
        // In this order: the watchdog may let the connection ask the kernel, and the connection
        // must do so in the same poll.
        biased;
        wait = &mut watchdog => match wait {
            Wait::Idle => {}
            wait => tracing::info!(peer = %peer.address, ?wait, "a client took too long and is cut"),
        },
        ended = connection.serve(peer, &live, draining) => if let Err(error) = ended {
            tracing::debug!(peer = %peer.address, %error, "a connection ended");
        },
    }
}

/// Refuses a connection without reading its request.
pub(super) async fn reject(stream: Transport, why: Error) {
    let watch = Watch::new(&Arc::default());
    let connection = Connection::new(Watched::new(stream, Arc::clone(&watch)), watch);
    let _ = timeout(2 * PATIENCE, connection.refuse(problem(why))).await;
}

/// Completes when the operator cuts the stream.
pub(super) async fn cut(way: Option<Arc<Way>>) {
    match way {
        Some(way) => way.is_cut().await,
        None => pending().await,
    }
}

/// An answer that is being sent.
struct Answer {
    /// `None` once the body has ended.
    running: Option<(Body, Option<StreamPermit>)>,
    framing: Framing,
    /// Bytes to send before the body's next bytes.
    lead: BytesMut,
    cut: bool,
}

/// A body that may come behind a head.
struct Coming {
    extent: Result<Extent, Unread>,
    /// Whether the client sends it only once it is told to.
    expects_word: bool,
}

impl Coming {
    fn of<B>(request: &Request<B>) -> Coming {
        let version = request.version();
        Coming {
            extent: Extent::of(request.headers(), version),
            expects_word: version == Version::HTTP_11 && upload::expects_word(request.headers()),
        }
    }
}

struct Connection<IO> {
    io: IO,
    watch: Arc<Watch>,
    /// Bytes from the client that are not parsed yet; at most a head.
    came: BytesMut,
    /// Whether the client has closed its half, so that nothing more comes.
    closed: bool,
    outgoing: Outgoing,
}

impl<IO: Socket> Connection<IO> {
    fn new(io: IO, watch: Arc<Watch>) -> Connection<IO> {
        Connection { io, watch, came: BytesMut::new(), closed: false, outgoing: Outgoing::new() }
    }

    /// Answers requests until there are no more.
    async fn serve(mut self, peer: Peer, live: &Live, draining: impl Future<Output = ()>) -> io::Result<()> {
        let mut draining = pin!(draining);
        let mut drains = false;
        let mut first = true;
        loop {
            let asked = match self.ask(draining.as_mut(), &mut drains, std::mem::take(&mut first)).await? {
                Some(Ok(asked)) => asked,
                Some(Err((status, error))) => return self.refuse(refusal(status, error)).await,
                None => return self.finish().await,
            };
            let Asked { request, keeps, bodied } = asked;
            self.watch.request();
            self.watch.owe(true);

            let version = request.version();
            let bodiless = request.method() == Method::HEAD;
            let site = live.site();
            let watch = Arc::clone(&self.watch);
            let (upload, wanted) = bodied.then(upload::offer).unzip();
            let coming = wanted.map(|wanted| (wanted, Coming::of(&request)));
            let answer = pin!(site.answer(request, peer, &watch, upload));
            let limit = site.config.header_timeout;
            let ((response, permit), is_read) = self.wait_and_give(answer, coming, limit).await?;

            let stays = !drains && live.shared.ready.load(Ordering::Relaxed);
            let last = self.closed && self.came.is_empty();
            if !self.respond(response, permit, version, bodiless, keeps && is_read && stays && !last).await? {
                return self.finish().await;
            }
        }
    }

    /// Waits for an answer as long as the client does.
    async fn wait<T>(&mut self, answer: impl Future<Output = T>) -> io::Result<T> {
        let mut answer = pin!(answer);
        let mut patience = None;
        poll_fn(|context| {
            if let Poll::Ready(answered) = answer.as_mut().poll(context) {
                return Poll::Ready(Ok(answered));
            }
            if let Poll::Ready(left) = self.poll_left(context) {
                return Poll::Ready(Err(left));
            }
            if !self.closed {
                return Poll::Pending;
            }
            let patience = patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            ready!(patience.as_mut().poll(context));
            Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client closed its half and left")))
        })
        .await
    }

    /// Waits for an answer, and gives it the body if one comes and the answer asks for it. Says
    /// whether the whole request was read, so that the next one can be found.
    async fn wait_and_give<T>(
        &mut self,
        mut answer: Pin<&mut impl Future<Output = T>>,
        coming: Option<(oneshot::Receiver<Wanted>, Coming)>,
        limit: Duration,
    ) -> io::Result<(T, bool)> {
        let Some((wanted, coming)) = coming else {
            return Ok((self.wait(answer).await?, true));
        };

        let asked = tokio::select! {
            biased;
            answered = self.wait(answer.as_mut()) => return Ok((answered?, false)),
            asked = wanted => asked,
        };

        let mut is_read = false;
        if let Ok(wanted) = asked {
            let read = timeout(limit, self.read_body(coming, wanted.most)).await;
            let read = read.unwrap_or(Ok(Err(Unread::Late)))?;
            is_read = read.is_ok();
            wanted.tell(read);
        }

        Ok((self.wait(answer).await?, is_read))
    }

    /// Reads a body to its end.
    async fn read_body(&mut self, coming: Coming, most: usize) -> io::Result<Result<Bytes, Unread>> {
        let mut incoming = match coming.extent.and_then(|extent| Incoming::new(extent, most)) {
            Ok(incoming) => incoming,
            Err(unread) => return Ok(Err(unread)),
        };

        // A client that has begun to send waits for nothing (RFC 9110 §10.1.1).
        if coming.expects_word && self.came.is_empty() {
            self.io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            self.io.flush().await?;
        }

        self.came.reserve(head::BYTES);
        loop {
            match incoming.take(&mut self.came) {
                Ok(true) => return Ok(Ok(incoming.into_body().into())),
                Err(unread) => return Ok(Err(unread)),
                Ok(false) if self.closed => return Ok(Err(Unread::Cut)),
                Ok(false) if self.read().await? == 0 => self.closed = true,
                Ok(false) => {}
            }
        }
    }

    /// Waits for the next request. `None` if none will come, or the server is about to stop; a new
    /// connection still has a moment for its `first` request.
    async fn ask(
        &mut self,
        mut draining: Pin<&mut impl Future<Output = ()>>,
        drains: &mut bool,
        first: bool,
    ) -> io::Result<Option<Result<Asked, Refusal>>> {
        self.watch.begin(if self.came.is_empty() { Wait::Idle } else { Wait::Head });
        loop {
            match head::take(&mut self.came).transpose() {
                None if self.came.is_empty() && (*drains || self.closed) => return Ok(None),
                None if self.closed => return Ok(Some(Err(head::unfinished()))),
                None => {}
                asked => return Ok(asked),
            }
            let read = tokio::select! {
                biased;
                read = self.read() => read?,
                () = &mut draining, if !*drains => {
                    *drains = true;
                    if first && self.came.is_empty() {
                        timeout(NOTICE, self.read()).await.unwrap_or(Ok(0))?
                    } else {
                        continue
                    }
                }
            };
            if read == 0 {
                self.closed = true;
                continue;
            }
            self.watch.end(Wait::Idle);
            self.watch.begin(Wait::Head);
        }
    }

    /// Reads more from the client; 0 at the end.
    async fn read(&mut self) -> io::Result<usize> {
        if self.came.capacity() - self.came.len() < READ / 4 {
            self.came.reserve(READ);
        }
        let room = head::BYTES - self.came.len();
        match self.io.read_buf(&mut (&mut self.came).limit(room)).await {
            // Over TLS many clients close without `close_notify`.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }

    /// Ready when the client has left. Meanwhile its next requests are read, up to the size of a
    /// head. After the client's FIN a failing read tells that it has left since.
    fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        while self.came.len() < head::BYTES {
            let read = pin!(self.read()).poll(context);
            match ready!(read) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }

    /// Sends a response, and drops the permit when its body has ended. Returns whether the
    /// connection can be used again.
    async fn respond(
        &mut self,
        response: Response<Body>,
        permit: Option<StreamPermit>,
        version: Version,
        bodiless: bool,
        keeps: bool,
    ) -> io::Result<bool> {
        self.watch.owe(true);
        let (mut head, body) = response.into_parts();
        let framing = match body.size_hint().exact() {
            _ if head.status == StatusCode::NO_CONTENT => Framing::Empty,
            Some(0) if bodiless => Framing::Empty,
            Some(length) => {
                head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
                if bodiless { Framing::Empty } else { Framing::Length }
            }
            None if version == Version::HTTP_10 => Framing::Close,
            None => Framing::Chunked,
        };

        let keeps = keeps && framing != Framing::Close;
        let mut lead = BytesMut::with_capacity(LEAD);
        head::write(&mut lead, &head, version, framing, keeps);
        drop(head);
        let mut body = if framing == Framing::Empty { Body::empty() } else { body };
        if self.closed {
            body.probe(PATIENCE);
        }

        let mut answer = Answer { running: Some((body, permit)), framing, lead, cut: false };

        // If the connection's FIN ends the body, a killed process must not send one: its sockets
        // are reset.
        let by_close = framing == Framing::Close;
        if by_close {
            ending::reset_at_close(self.io.transport(), true);
        }

        // An answer that goes out at once would be over before the operator could see it.
        if let Poll::Ready(sent) = poll_fn(|context| Poll::Ready(self.poll_send(context, &mut answer))).await {
            sent?;
        } else {
            let under_way = answer.running.as_mut().and_then(|(body, _)| body.under_way());
            let mut cut = pin!(cut(under_way));
            let by_operator = || Err(io::Error::other("the operator cuts the list"));
            poll_fn(|context| match self.poll_send(context, &mut answer) {
                Poll::Pending => cut.as_mut().poll(context).map(|()| by_operator()),
                sent => sent,
            })
            .await?;
        }

        if answer.cut {
            ending::leaves(self.io.transport()).await;
            return Err(io::Error::other("the list is cut"));
        }

        if by_close {
            ending::reset_at_close(self.io.transport(), false);
        }

        self.watch.owe(false);
        Ok(keeps)
    }

    /// Sends an answer to its end, as fast as the client takes it.
    fn poll_send(&mut self, context: &mut Context<'_>, answer: &mut Answer) -> Poll<io::Result<()>> {
        loop {
            if let Some((body, _)) = &mut answer.running
                && let Some(ended) = self.outgoing.gather(context, body, answer.framing, &mut answer.lead)
            {
                answer.cut = ended.is_err();
                answer.running = None;
            }
            if self.outgoing.is_empty() {
                let flushed = Pin::new(&mut self.io).poll_flush(context)?;
                if answer.running.is_none() && flushed.is_ready() {
                    return Poll::Ready(Ok(()));
                }
                break;
            }
            if self.outgoing.poll_write(&mut self.io, context)?.is_pending() {
                break;
            }
        }

        let was_closed = self.closed;
        let left = self.poll_left(context);
        if self.closed
            && !was_closed
            && let Some((body, _)) = &mut answer.running
        {
            body.probe(PATIENCE);
            context.waker().wake_by_ref();
        }

        left.map(Err)
    }

    /// Answers a malformed request, or none, and ends the connection.
    async fn refuse(mut self, response: Response<Body>) -> io::Result<()> {
        self.respond(response, None, Version::HTTP_11, false, false).await?;
        self.finish().await
    }

    /// Ends the connection after its last answer.
    async fn finish(mut self) -> io::Result<()> {
        self.watch.end(Wait::Head);
        ending::finish(&mut self.io).await
    }
}
