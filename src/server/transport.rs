//! The transport of a connection: TCP, or a Unix socket.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::ioctl_fionread,
    net::{RecvFlags, recv},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// A connection's socket.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixSocket),
}

impl Transport {
    /// The size of a TCP segment to the client, in bytes; `None` for a Unix socket.
    pub(super) fn segment(&self) -> Option<usize> {
        match self {
            Transport::Tcp(stream) => SockRef::from(stream).tcp_mss().ok().map(|bytes| bytes as usize),
            Transport::Unix(_) => None,
        }
    }
}

/// A connection's reads and writes.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The size of a TCP segment to the client, in bytes; 1 where there are none.
    fn segment(&mut self) -> usize {
        1
    }

    /// The socket below.
    fn transport(&self) -> &Transport;
}

/// A Unix socket whose closing is a reset until [`take_kept`](UnixSocket::take_kept) is called.
///
/// The kernel has no `SO_LINGER` for it. But when a socket is closed with unread bytes, its client
/// gets `ECONNRESET` behind what was written (`unix_release_sock`, Linux), and otherwise an end of
/// file. So the last byte that came is left in the kernel. Even if the process is killed in the
/// middle of an answer, the client sees that it is cut.
#[derive(Debug)]
pub(super) struct UnixSocket {
    stream: UnixStream,
    /// Whether the first byte in the kernel was handed on already.
    kept: bool,
}

impl UnixSocket {
    pub(super) fn new(stream: UnixStream) -> UnixSocket {
        UnixSocket { stream, kept: false }
    }

    /// Takes the byte that was left, so that closing the socket is an end of file.
    pub(super) fn take_kept(&mut self) {
        if std::mem::take(&mut self.kept) {
            let _ = recv(&self.stream, &mut [0], RecvFlags::DONTWAIT);
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let UnixSocket { stream, kept } = self;
            match stream.try_io(Interest::READABLE, || receive(stream, kept, buffer.initialize_unfilled())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

/// Reads the bytes that came since, and leaves the last one in the kernel. 0 at the end; the last
/// byte then stays.
fn receive(stream: &UnixStream, kept: &mut bool, buffer: &mut [u8]) -> io::Result<usize> {
    let there = ioctl_fionread(stream)?;
    let new = usize::try_from(there).unwrap_or(usize::MAX).saturating_sub(usize::from(*kept));
    if new == 0 {
        return if has_ended(stream)? { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
    }
    let Some(behind) = new.min(buffer.len()).checked_sub(1) else { return Ok(0) };

    if std::mem::take(kept) {
        recv(stream, &mut [0], RecvFlags::DONTWAIT)?;
    }
    let read = if behind == 0 { 0 } else { recv(stream, &mut buffer[..behind], RecvFlags::DONTWAIT)?.1 };
    recv(stream, &mut buffer[read..read + 1], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    *kept = true;
    Ok(read + 1)
}

/// Whether nothing more comes: the client has closed its half, or both.
fn has_ended(stream: &UnixStream) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut looked = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut looked, Some(&now))?;
    Ok(looked[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR))
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Transport::Tcp(stream) => stream.as_fd(),
            Transport::Unix(socket) => socket.stream.as_fd(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Unix(socket) => socket.poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Unix(socket) => Pin::new(&mut socket.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Unix(socket) => Pin::new(&mut socket.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Tcp(stream) => stream.is_write_vectored(),
            Transport::Unix(socket) => socket.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Transport::Unix(socket) => Pin::new(&mut socket.stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Unix(socket) => Pin::new(&mut socket.stream).poll_shutdown(context),
        }
    }
}
