//! How a connection ends: decided here, and nowhere else.
//!
//! A client must be able to tell a whole answer from one that is cut, also where the end of the
//! connection is the end of the answer. So there are two ends:
//!
//! - A connection that owes its client the rest of an answer ends with a reset, whatever ends it: a
//!   source that fails, a time limit, the end of the server, a panic.
//! - Any other ends with a FIN, and what the client still sends is read for a while.
//!
//! A FIN from the client says that no more requests come, and nothing else: what it has asked for
//! it gets. Only an answer that has not begun is given up a moment later, since most clients that
//! close before the first byte have left. One that has begun goes on for as long as writes succeed:
//! the system of a client that has left answers them with a reset.

use std::{io, time::Duration};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::TcpStream,
    time::timeout,
};

use super::transport::{Socket, Transport};

/// So long a client that has closed its half waits for the first byte of an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A client that still sends has so long to take the end of its answer, and so many bytes are read.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 256 * 1024;

/// Before a reset, what is written has so long to leave this machine, and is looked at so often.
const LEAVES: Duration = Duration::from_secs(1);
#[cfg(target_os = "linux")]
const LOOK: Duration = Duration::from_millis(2);

/// Ends a connection that owes nothing.
///
/// Closing it with bytes unread would reset it, and the client could lose the end of its answer
/// (RFC 9112 §9.6): so they are read until the client closes its half too.
///
/// # Errors
/// When the client has left.
pub(super) async fn finish(io: &mut impl Socket) -> io::Result<()> {
    io.shutdown().await?;
    let mut rest = io.take(LINGER_BYTES);
    let _ = timeout(LINGER, copy(&mut rest, &mut sink())).await;
    Ok(())
}

/// Closes the socket as its connection must end: where it `owes` something, with a reset.
pub(super) fn close(transport: &mut Transport, owes: bool) {
    match transport {
        Transport::Tcp(_) if owes => reset_at_close(transport, true),
        Transport::Tcp(_) => {}
        // It resets by itself, for as long as what the client asked for is in it.
        Transport::Unix(_) if owes => {}
        Transport::Unix(socket) => socket.take_kept(),
    }
}

/// Whether the system resets the connection when the socket is closed, by whoever: a process that
/// is killed closes its sockets too.
pub(super) fn reset_at_close(transport: &Transport, resets: bool) {
    if let Transport::Tcp(socket) = transport {
        let _ = SockRef::from(socket).set_linger(resets.then_some(Duration::ZERO));
    }
}

/// Waits until all that was written has left, or the client has not taken it for too long: a reset
/// discards what has not. At a Unix socket it is with the client at once.
pub(super) async fn leaves(transport: &Transport) {
    if let Transport::Tcp(socket) = transport {
        let _ = timeout(LEAVES, has_left(socket)).await;
    }
}

#[cfg(target_os = "linux")]
async fn has_left(socket: &TcpStream) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    // Then a socket is writable once nothing waits in it (tcp(7)).
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
