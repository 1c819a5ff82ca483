//! Joins many small writes into one, for a writer that writes each frame on its own.
//!
//! HTTP/2 frames have 16 KiB unless the client takes larger ones. A system call for each costs more
//! than a copy of it. Over TLS, whose records hold 16 KiB too, a frame and its head would be two
//! records.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, ready},
};

use crate::unpoisoned::Unpoisoned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes are gathered up to this many and then written. A single write of at least this many is not
/// copied.
const FULL: usize = 64 * 1024;

/// Gathers writes until there are [`FULL`] bytes, or until [`Coalesced::sending`] has polled the
/// writer. Holds at most [`FULL`] bytes and one write; these are lost on drop.
pub(super) struct Coalesced<IO>(Arc<Mutex<Gather<IO>>>);

struct Gather<IO> {
    io: IO,
    bytes: Vec<u8>,
    /// How many of the bytes the socket has taken.
    sent: usize,
    failed: bool,
    /// Whether the client has closed its half; and (`goes_on`) whether the reader must not see
    /// that.
    closed: bool,
    goes_on: bool,
}

impl<IO> Clone for Coalesced<IO> {
    fn clone(&self) -> Self {
        Coalesced(Arc::clone(&self.0))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Coalesced<IO> {
    pub(super) fn new(io: IO) -> Coalesced<IO> {
        Coalesced(Arc::new(Mutex::new(Gather {
            io,
            bytes: vec![],
            sent: 0,
            failed: false,
            closed: false,
            goes_on: false,
        })))
    }

    /// From now on the reader never sees the end: a client that has closed its half still gets its
    /// answer, which `h2` would not send.
    pub(super) fn go_on(&self) {
        self.gather().goes_on = true;
    }

    /// Whether the client has closed its half.
    pub(super) fn is_closed(&self) -> bool {
        self.gather().closed
    }

    /// Whether the socket has taken all that was gathered.
    pub(super) fn is_sent(&self) -> bool {
        self.gather().bytes.is_empty()
    }

    /// Polls a future that writes here and does nothing else. After each poll, what it wrote is
    /// sent.
    pub(super) async fn sending<T>(&self, writes: impl Future<Output = T>) -> T {
        let mut writes = pin!(writes);
        poll_fn(|context| {
            let poll = writes.as_mut().poll(context);
            let mut gather = self.gather();
            match gather.poll_send(context) {
                // An idle connection keeps no buffer.
                Poll::Ready(Ok(())) => gather.bytes = vec![],
                // The writer sees the failure at its next read or write.
                Poll::Ready(Err(_)) if !std::mem::replace(&mut gather.failed, true) => context.waker().wake_by_ref(),
                _ => {}
            }
            poll
        })
        .await
    }

    /// The lock is free: one task both writes and sends.
    fn gather(&self) -> MutexGuard<'_, Gather<IO>> {
        self.0.lock().unpoisoned()
    }
}

impl<IO: AsyncWrite + Unpin> Gather<IO> {
    /// Sends what was gathered.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.usable()?;
        while self.sent < self.bytes.len() {
            match ready!(Pin::new(&mut self.io).poll_write(context, &self.bytes[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.sent = 0;
        self.bytes.clear();
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn usable(&self) -> io::Result<()> {
        if self.failed { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalesced<IO> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gather = &mut *self.gather();
        let before = buffer.filled().len();
        let poll = Pin::new(&mut gather.io).poll_read(context, buffer);
        let ended = match &poll {
            Poll::Ready(Ok(())) => buffer.filled().len() == before,
            // Over TLS many clients close without `close_notify`.
            Poll::Ready(Err(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            Poll::Pending => false,
        };
        gather.closed |= ended;
        // The reader is polled again when something is written, and then finds out whether the
        // client has left.
        if ended && gather.goes_on { Poll::Pending } else { poll }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Coalesced<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gather = &mut *self.gather();
        gather.usable()?;
        if gather.bytes.len() >= FULL {
            ready!(gather.poll_send(context))?;
        }

        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if gather.bytes.is_empty() && length >= FULL {
            return Pin::new(&mut gather.io).poll_write_vectored(context, slices);
        }

        if gather.bytes.is_empty() {
            gather.bytes.reserve_exact(FULL + length);
        }

        let mut room = FULL;
        for slice in slices {
            let taken = slice.len().min(room);
            gather.bytes.extend_from_slice(&slice[..taken]);
            room -= taken;
        }

        Poll::Ready(Ok(FULL - room))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: bytes are sent by `sending`, not at the end of each frame.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.gather().usable())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gather = &mut *self.gather();
        ready!(gather.poll_send(context))?;
        Pin::new(&mut gather.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A socket that counts its writes.
    struct Counted(DuplexStream, Arc<Mutex<Vec<usize>>>);

    impl AsyncRead for Counted {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let poll = Pin::new(&mut self.0).poll_write(cx, bytes);
            if let Poll::Ready(Ok(written)) = poll {
                self.1.lock().unwrap().push(written);
            }
            poll
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn pair(room: usize) -> (Coalesced<Counted>, DuplexStream, Arc<Mutex<Vec<usize>>>) {
        let (near, far) = duplex(room);
        let writes = Arc::default();
        (Coalesced::new(Counted(near, Arc::clone(&writes))), far, writes)
    }

    #[tokio::test]
    async fn frames_that_are_written_in_one_go_leave_in_large_writes_and_in_order() {
        let (gathered, mut far, writes) = pair(1 << 20);
        let frames: Vec<Vec<u8>> = (0..10u8).map(|n| vec![n; 16_393]).collect();
        let mut writer = gathered.clone();
        gathered
            .sending(async {
                for frame in &frames {
                    writer.write_all(frame).await.unwrap();
                    writer.flush().await.unwrap();
                }
            })
            .await;
        let mut got = vec![0; 163_930];
        far.read_exact(&mut got).await.unwrap();
        assert!(got == frames.concat());
        assert_eq!(*writes.lock().unwrap(), [65_572, 65_572, 32_786]);
        assert_eq!(gathered.gather().bytes.capacity(), 0, "an idle connection holds nothing");
    }

    #[tokio::test]
    async fn whoever_takes_nothing_makes_it_hold_one_full_buffer_and_no_more() {
        let (gathered, mut far, _) = pair(1000);
        let mut writer = gathered.clone();
        let taken = Cell::new(0);
        let mut writing = pin!(gathered.sending(poll_fn(|context| loop {
            match Pin::new(&mut writer).poll_write(context, &[7; 10_000]) {
                Poll::Ready(Ok(written)) => taken.set(taken.get() + written),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        })));
        let pending = poll_fn(|context| Poll::Ready(writing.as_mut().poll(context).is_pending())).await;
        assert!(pending);
        assert!(gathered.gather().bytes.len() < FULL + 10_000);
        let mut some = [0; 1000];
        far.read_exact(&mut some).await.unwrap();
        drop(far);
        // The writer sees the failure.
        writing.await;
        assert!(taken.get() >= FULL);
    }
}
