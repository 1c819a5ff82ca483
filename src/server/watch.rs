//! Limits on a connection that hyper does not have: a client that takes nothing, a request that does not end.
//!
//! Under back pressure hyper stops polling the body, so a timer in the body never fires. Here the body and the socket note
//! when something began to wait for the client, and a watchdog beside the connection looks at the notes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http_body::{Frame, SizeHint};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{config::ServerConfig, error::Result, web::Body};

/// What a connection can wait for the client with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The rest of a request's head.
    Head,
    /// A frame that was handed out, while nothing is sent.
    Frame,
    /// Bytes that the socket did not take.
    Socket,
    /// More bytes than the client took, all the time.
    Rate,
}

/// The notes of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    /// Since when each [`Wait`] lasts, in milliseconds since `began` plus one; 0: it does not.
    waits: [AtomicU64; 3],
    /// Whether a request is being answered; with HTTP/2, always.
    answering: AtomicBool,
    /// Whether bytes of a further request came meanwhile.
    further: AtomicBool,
    /// Whether the next write that finds the socket full asks the kernel itself.
    ask: AtomicBool,
    /// Whether the connection must end with a reset, because a plain close would look like the end of the body.
    reset: AtomicBool,
    /// Whether the connection carries many streams, so that what is read has a [`Watch::fair`] measure.
    many: AtomicBool,
    read: AtomicU64,
    written: AtomicU64,
    requests: AtomicU64,
}

impl Watch {
    pub(super) fn new() -> Arc<Watch> {
        Arc::new(Watch {
            began: Instant::now(),
            waits: Default::default(),
            answering: AtomicBool::new(false),
            further: AtomicBool::new(false),
            ask: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            many: AtomicBool::new(false),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        })
    }

    /// The connection speaks HTTP/2: heads have no place of their own in what is read.
    pub(super) fn many(&self) {
        self.many.store(true, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        self.end(Wait::Head);
    }

    /// A TLS handshake is over; what was read was none of a request.
    pub(super) fn greeted(&self) {
        self.end(Wait::Head);
    }

    pub(super) fn lasts(&self, wait: Wait) -> bool {
        self.waits[wait as usize].load(Ordering::Relaxed) != 0
    }

    /// Notes what was read. With HTTP/2, false when it is far more than requests and what is sent to the client can need: a flood of
    /// pings, settings, empty frames or whatever else, each of which costs work and asks for nothing.
    fn fair(&self, read: usize) -> bool {
        const FREE: u64 = 256 * 1024;
        const EACH: u64 = 96 * 1024;
        let read = self.read.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        if read <= FREE || !self.many.load(Ordering::Relaxed) {
            return true;
        }
        let (requests, written) = (self.requests.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
        // Clients open windows for each KiB or so, and some ask for signs of life every few seconds: one byte for each millisecond.
        read <= FREE + requests * EACH + written / 8 + self.now()
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    fn begin(&self, wait: Wait) {
        // Most of the time it lasts already, and the clock need not be asked.
        if self.waits[wait as usize].load(Ordering::Relaxed) != 0 {
            return;
        }
        let _ = self.waits[wait as usize].compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// What is waited for moves: it is not stuck.
    fn renew(&self, wait: Wait) {
        if self.waits[wait as usize].load(Ordering::Relaxed) != 0 {
            self.waits[wait as usize].store(self.now(), Ordering::Relaxed);
        }
    }

    fn end(&self, wait: Wait) {
        self.waits[wait as usize].store(0, Ordering::Relaxed);
    }

    /// A request's head is there.
    pub(super) fn request(&self) {
        self.end(Wait::Head);
        self.end(Wait::Frame);
        self.answering.store(true, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on the connection ends with a reset, however it ends.
    pub(super) fn end_with_reset(&self, reset: bool) {
        self.reset.store(reset, Ordering::Relaxed);
    }

    /// Ends when a wait has lasted longer than its limit, at most a quarter later.
    ///
    /// It must be awaited in the connection's own task: each of its looks also lets a write that waits ask the kernel.
    pub(super) async fn expired(&self, config: &ServerConfig) -> Wait {
        let (head, stall) = (config.header_timeout, config.stall_timeout);
        let pause = head.min(stall) / 4;
        let (mut since, mut before) = (self.now(), 0);
        loop {
            tokio::time::sleep(pause).await;
            self.ask.store(true, Ordering::Relaxed);
            let now = self.now();
            for (wait, limit) in [(Wait::Head, head), (Wait::Frame, stall), (Wait::Socket, stall)] {
                let since = self.waits[wait as usize].load(Ordering::Relaxed);
                if since != 0 && now.saturating_sub(since) >= limit.as_millis() as u64 {
                    return wait;
                }
            }
            let (written, elapsed) = (self.written.load(Ordering::Relaxed), now - since);
            let waits = self.lasts(Wait::Frame) || self.lasts(Wait::Socket);
            if waits && u128::from(elapsed) < stall.as_millis() {
                continue;
            }
            if waits && (written - before) * 1000 < config.minimum_rate.saturating_mul(elapsed) {
                return Wait::Rate;
            }
            (since, before) = (now, written);
        }
    }
}

/// A socket that notes what it waits for.
pub(super) struct Watched {
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, watch: Arc<Watch>) -> Watched {
        Watched { stream, watch }
    }

    /// Notes how a write went.
    ///
    /// The kernel calls a socket writable once a third of its buffer is free, hundreds of KiB; a client that takes steadily
    /// and slowly would seem to take nothing for minutes. So `send` asks now and then whether it takes anything at all.
    fn wrote(
        &self,
        poll: Poll<io::Result<usize>>,
        send: impl FnOnce(SockRef<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let poll = match poll {
            Poll::Pending if self.watch.ask.swap(false, Ordering::Relaxed) => match send(SockRef::from(&self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                sent => Poll::Ready(sent),
            },
            poll => poll,
        };
        match &poll {
            Poll::Pending => self.watch.begin(Wait::Socket),
            Poll::Ready(sent) => {
                let sent = sent.as_ref().map_or(0, |sent| *sent as u64);
                self.watch.written.fetch_add(sent, Ordering::Relaxed);
                self.watch.end(Wait::Socket);
                self.watch.renew(Wait::Frame);
            }
        }
        poll
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.watch.reset.load(Ordering::Relaxed) {
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 {
            if !self.watch.fair(read) {
                return Poll::Ready(Err(io::Error::other("the client sends far more than it asks for")));
            }
            match self.watch.answering.load(Ordering::Relaxed) {
                true => self.watch.further.store(true, Ordering::Relaxed),
                false => self.watch.begin(Wait::Head),
            }
        }
        poll
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(poll, |socket| socket.send(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(poll, |socket| socket.send_vectored(slices))
    }

    /// Without it hyper would copy every buffer into one.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A body that notes since when frames are handed out of which nothing is sent, and holds a permit of the bound on streams.
pub(super) struct WatchedBody<P> {
    body: Body,
    watch: Arc<Watch>,
    /// Whether only the close of the connection ends the body (HTTP/1.0), so that a cut needs a reset.
    ends_by_close: bool,
    _permit: Option<P>,
}

impl<P> WatchedBody<P> {
    pub(super) fn new(body: Body, watch: Arc<Watch>, ends_by_close: bool, permit: Option<P>) -> WatchedBody<P> {
        if ends_by_close {
            watch.end_with_reset(true);
        }
        WatchedBody { body, watch, ends_by_close, _permit: permit }
    }
}

impl<P: Unpin> http_body::Body for WatchedBody<P> {
    type Data = bytes::Bytes;
    type Error = crate::error::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<bytes::Bytes>>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        match &poll {
            // Renewed by what the socket takes.
            Poll::Ready(Some(Ok(_))) => self.watch.begin(Wait::Frame),
            // A source that is slow is not the client's fault.
            Poll::Pending => self.watch.end(Wait::Frame),
            Poll::Ready(None) if self.ends_by_close => self.watch.end_with_reset(false),
            _ => {}
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        // Where a close ends the body, hyper must ask for the end, so that the reset is taken back.
        !self.ends_by_close && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<P> Drop for WatchedBody<P> {
    fn drop(&mut self) {
        // What hyper still has to send is watched at the socket.
        self.watch.end(Wait::Frame);
        self.watch.answering.store(false, Ordering::Relaxed);
        if self.watch.further.swap(false, Ordering::Relaxed) {
            self.watch.begin(Wait::Head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_wait_expires_by_itself_and_one_that_moves_does_not() {
        let (long, short) = (Duration::from_secs(3600), Duration::from_millis(40));
        let config =
            |head, stall| ServerConfig { header_timeout: head, stall_timeout: stall, ..ServerConfig::default() };
        for (wait, head, stall) in [(Wait::Head, short, long), (Wait::Frame, long, short), (Wait::Socket, long, short)]
        {
            let watch = Watch::new();
            watch.begin(wait);
            assert_eq!(watch.expired(&config(head, stall)).await, wait);
        }
        let (watch, patient) = (Watch::new(), config(long, short * 4));
        watch.begin(Wait::Frame);
        let moving = async {
            for _ in 0..20 {
                tokio::time::sleep(short / 4).await;
                watch.written.fetch_add(1000, Ordering::Relaxed);
                watch.renew(Wait::Frame);
            }
            watch.end(Wait::Frame);
            tokio::time::sleep(short * 2).await;
        };
        tokio::select! {
            wait = watch.expired(&patient) => panic!("{wait:?} expired"),
            () = moving => {}
        }
    }
}
