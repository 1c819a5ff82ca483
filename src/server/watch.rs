//! Limits on a connection's waits for its client, when that takes no bytes or does not end its
//! request.
//!
//! A timer for each wait would cost more than a warm chunk. Instead the connection and its socket
//! note when they began to wait, and a watchdog beside the connection reads these notes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ending, transport::Transport};
use crate::{
    config::ServerConfig,
    metrics::{Fate, Outcome},
};

/// What a connection may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The next request.
    Idle,
    /// The rest of a request's head.
    Head,
    /// The socket, to take more bytes.
    Socket,
    /// The client, which took fewer bytes than the minimum rate all the time.
    Rate,
}

/// The notes of one connection.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    /// The start of each [`Wait`] in milliseconds since `began`, plus one; 0: not waiting.
    waits: [AtomicU64; 3],
    /// Whether the next write that finds the socket full asks the kernel itself.
    ask: AtomicBool,
    /// Whether the client has not yet got all of an answer.
    owes: AtomicBool,
    /// Whether the connection is HTTP/2, whose reads are checked by [`Watch::fair`].
    many: AtomicBool,
    read: AtomicU64,
    written: AtomicU64,
    requests: AtomicU64,
    /// Whether a wait was too long, so that the connection must end.
    expired: AtomicBool,
    /// Whether the server's shutdown cuts what still runs.
    cuts: Arc<AtomicBool>,
}

impl Fate for Watch {
    fn now(&self) -> Outcome {
        if self.cuts.load(Ordering::Relaxed) {
            Outcome::Shutdown
        } else if self.expired.load(Ordering::Relaxed) {
            Outcome::Stalled
        } else {
            Outcome::Left
        }
    }
}

impl Watch {
    /// `cuts`: whether the server's shutdown cuts what still runs.
    pub(super) fn new(cuts: &Arc<AtomicBool>) -> Arc<Watch> {
        Arc::new(Watch {
            expired: AtomicBool::new(false),
            cuts: Arc::clone(cuts),
            began: Instant::now(),
            waits: Default::default(),
            ask: AtomicBool::new(false),
            owes: AtomicBool::new(false),
            many: AtomicBool::new(false),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        })
    }

    /// Notes that the connection speaks HTTP/2.
    pub(super) fn many(&self) {
        self.many.store(true, Ordering::Relaxed);
    }

    pub(super) fn lasts(&self, wait: Wait) -> bool {
        self.waits[wait as usize].load(Ordering::Relaxed) != 0
    }

    /// Counts bytes that were read. On HTTP/2, false if they are far more than the client's
    /// requests and acknowledgements can need. They are then a flood of pings, settings, empty
    /// frames or the like, each of which costs work and asks for nothing.
    fn fair(&self, read: usize) -> bool {
        const FREE: u64 = 256 * 1024;
        const EACH: u64 = 96 * 1024;
        let read = self.read.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        if read <= FREE || !self.many.load(Ordering::Relaxed) {
            return true;
        }
        let requests = self.requests.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        // Clients may open windows for each KiB or so, and some send pings every few seconds; these
        // get one byte for each millisecond.
        read <= FREE + requests * EACH + written / 8 + self.now()
    }

    /// Notes that bytes which were read are a body that was asked for, and no flood.
    pub(super) fn excuse(&self, bytes: usize) {
        self.read.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    pub(super) fn begin(&self, wait: Wait) {
        // Mostly the wait has begun already, and the clock need not be read.
        if self.waits[wait as usize].load(Ordering::Relaxed) != 0 {
            return;
        }
        let _ = self.waits[wait as usize].compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn end(&self, wait: Wait) {
        self.waits[wait as usize].store(0, Ordering::Relaxed);
    }

    /// Notes that a request's head is complete.
    pub(super) fn request(&self) {
        self.end(Wait::Idle);
        self.end(Wait::Head);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes whether the client must still get an answer, or the rest of one: see [`ending`].
    pub(super) fn owe(&self, owes: bool) {
        self.owes.store(owes, Ordering::Relaxed);
    }

    /// Completes when a wait has exceeded its limit, by at most a quarter.
    ///
    /// It must be awaited in the connection's own task: each check also lets a waiting write ask
    /// the kernel.
    pub(super) async fn expired(&self, config: &ServerConfig) -> Wait {
        let wait = self.longest(config).await;
        self.expired.store(true, Ordering::Relaxed);
        wait
    }

    async fn longest(&self, config: &ServerConfig) -> Wait {
        let idle = config.idle_timeout;
        let head = config.header_timeout;
        let stall = config.stall_timeout;
        let pause = idle.min(head).min(stall) / 4;
        let mut since = self.now();
        let mut before = 0;
        loop {
            tokio::time::sleep(pause).await;
            self.ask.store(true, Ordering::Relaxed);
            let now = self.now();
            for (wait, limit) in [(Wait::Idle, idle), (Wait::Head, head), (Wait::Socket, stall)] {
                let since = self.waits[wait as usize].load(Ordering::Relaxed);
                if since != 0 && now.saturating_sub(since) >= limit.as_millis() as u64 {
                    return wait;
                }
            }
            let written = self.written.load(Ordering::Relaxed);
            let elapsed = now - since;
            let waits = self.lasts(Wait::Socket);
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

/// Up to this many written bytes the kernel is asked for the segment's size at each write; after
/// that once for each further such amount.
const SETTLES: u64 = 4 * 1024 * 1024;

/// A socket that notes its waits.
pub(super) struct Watched {
    stream: Transport,
    watch: Arc<Watch>,
    /// Bytes that were read already, to be read again first.
    begun: Bytes,
    /// The segment's size, and how many bytes had been written when the kernel told it.
    segment: (usize, u64),
}

impl Watched {
    pub(super) fn new(stream: Transport, watch: Arc<Watch>) -> Watched {
        Watched { stream, watch, begun: Bytes::new(), segment: (1, 0) }
    }

    /// The same socket; these bytes are read from it first.
    pub(super) fn behind(mut self, begun: Bytes) -> Watched {
        self.begun = begun;
        self
    }

    /// What it reads from and writes to.
    pub(super) fn transport(&self) -> &Transport {
        &self.stream
    }

    /// The segment's size, as the kernel told it lately. At first it grows with the client's
    /// window.
    pub(super) fn segment(&mut self) -> usize {
        let written = self.watch.written.load(Ordering::Relaxed);
        if written < SETTLES || written >= self.segment.1 + SETTLES {
            let bytes = self.stream.segment().unwrap_or(1);
            self.segment = (bytes, written);
        }
        self.segment.0
    }

    /// Notes the outcome of a write.
    ///
    /// The kernel calls a socket writable only when a third of its buffer is free, which is
    /// hundreds of KiB. A slow but steady client would seem to take nothing for minutes. So from
    /// time to time `send` tries whether the socket takes anything at all.
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
            }
        }

        poll
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        ending::close(&mut self.stream, self.watch.owes.load(Ordering::Relaxed));
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = if self.begun.is_empty() {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        } else {
            let again = self.begun.len().min(buffer.remaining());
            buffer.put_slice(&self.begun.split_to(again));
            Poll::Ready(Ok(()))
        };
        let read = buffer.filled().len() - before;
        if !self.watch.fair(read) {
            return Poll::Ready(Err(io::Error::other("the client sends far more than it asks for")));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn each_wait_expires_by_itself_and_one_that_ends_does_not() {
        let long = Duration::from_secs(3600);
        let short = Duration::from_millis(40);
        let config = |wait| {
            let limit = |of| if wait == Some(of) { short } else { long };
            let idle = limit(Wait::Idle);
            let head = limit(Wait::Head);
            ServerConfig {
                idle_timeout: idle,
                header_timeout: head,
                stall_timeout: limit(Wait::Socket),
                ..ServerConfig::default()
            }
        };

        for wait in [Wait::Idle, Wait::Head, Wait::Socket] {
            let watch = Watch::new(&Arc::default());
            watch.begin(wait);
            assert_eq!(watch.expired(&config(Some(wait))).await, wait);
        }

        let watch = Watch::new(&Arc::default());
        let patient = ServerConfig { stall_timeout: short * 4, ..config(None) };
        let moving = async {
            for _ in 0..20 {
                watch.begin(Wait::Socket);
                tokio::time::sleep(short / 4).await;
                watch.written.fetch_add(1000, Ordering::Relaxed);
                watch.end(Wait::Socket);
            }
            tokio::time::sleep(short * 2).await;
        };

        tokio::select! {
            wait = watch.expired(&patient) => panic!("{wait:?} expired"),
            () = moving => {}
        }
    }
}
