//! How a connection ends. Only this file decides it.
//!
//! A client must be able to tell a whole answer from one that is cut, even if the end of the
//! connection is the end of the answer. So there are two ways to end:
//!
//! - A connection that owes its client the rest of an answer ends with a reset, for every cause: a
//!   failed source, a time limit, the end of the server, a panic.
//! - Any other ends with a FIN, and what the client still sends is read for a while.
//!
//! A FIN from the client only says that it sends no more requests: it gets what it has asked for.
//! But an answer that has not begun is given up after a moment, since most clients that close
//! before the first byte have left. An answer that has begun goes on as long as writes succeed; if
//! the client has left, its system answers them with a reset.

use std::{io, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
    time::timeout,
};

use super::transport::{Socket, Transport};

/// How long a client that has closed its half waits for the first byte of an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How long a client that still sends has to take the end of its answer, and how many bytes are
/// read from it meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 256 * 1024;

/// How long written bytes have to leave this machine before a reset, and how often that is checked.
const LEAVES: Duration = Duration::from_secs(1);
#[cfg(target_os = "linux")]
const LOOK: Duration = Duration::from_millis(2);

/// Ends a connection that owes nothing.
///
/// Closing it with unread bytes would reset it, and the client could lose the end of its answer
/// (RFC 9112 §9.6). So bytes are read until the client closes its half too.
///
/// # Errors
/// When the client has left.
pub(super) async fn finish(io: &mut impl Socket) -> io::Result<()> {
    io.shutdown().await?;
    let mut rest = io.take(LINGER_BYTES);
    let _ = timeout(LINGER, copy(&mut rest, &mut sink())).await;
    Ok(())
}

/// Closes the socket: with a reset if the connection `owes` something.
pub(super) fn close(transport: &mut Transport, owes: bool) {
    match transport {
        Transport::Tcp(_) if owes => reset_at_close(transport, true),
        Transport::Tcp(_) => {}
        // The kernel resets it, since the client's bytes are still unread in it.
        Transport::Unix(_) if owes => {}
        Transport::Unix(socket) => socket.take_kept(),
    }
}

/// Sets whether the kernel resets the connection when the socket is closed, also when it closes the
/// sockets of a killed process.
pub(super) fn reset_at_close(transport: &Transport, resets: bool) {
    if let Transport::Tcp(socket) = transport {
        let _ = SockRef::from(socket).set_linger(resets.then_some(Duration::ZERO));
    }
}

/// Waits until all written bytes have left, for at most [`LEAVES`]: a reset discards the rest. On a
/// Unix socket they are with the client at once.
pub(super) async fn leaves(transport: &Transport) {
    if let Transport::Tcp(socket) = transport {
        let _ = timeout(LEAVES, has_left(socket)).await;
    }
}

#[cfg(target_os = "linux")]
async fn has_left(socket: &TcpStream) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    // With this the socket is writable only when nothing waits in it (tcp(7)).
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(1);
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    while poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&now)) == Ok(0) {
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(not(target_os = "linux"))]
async fn has_left(_: &TcpStream) {
    tokio::time::sleep(Duration::from_millis(50)).await;
}
