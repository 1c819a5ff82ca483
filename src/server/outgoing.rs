//! What is on its way to a socket: a body's frames, not copied, and the framing between them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::Body as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{head::Framing, watch::Watched};
use crate::{error::Result, web::Body};

/// Bytes of one write, about. Fewer cost more calls of the kernel, and turns between it and the client; with more, a client that stalls would hold more.
const WRITE: usize = 512 * 1024;
/// Bytes that are lined up for a client that takes less.
const LEAST: usize = 128 * 1024;
/// As many bytes are copied: a buffer of its own costs the kernel more.
const SMALL: usize = 256;
/// Buffers of one write.
const SLICES: usize = 64;

/// What a connection is written to and read from.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The bytes of a segment on the way to the client; 1 where that means nothing.
    fn segment(&self) -> usize {
        1
    }
}

impl Socket for TcpStream {}

impl Socket for Box<TlsStream<Watched>> {}

impl Socket for Watched {
    fn segment(&self) -> usize {
        Watched::segment(self)
    }
}

/// A queue of buffers, written many at a time. Dropping it loses what is not written.
pub(super) struct Outgoing {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// As many bytes are lined up, and one frame: after a write that the socket did not take whole, no more than twice what it took.
    room: usize,
}

impl Outgoing {
    pub(super) fn new() -> Outgoing {
        Outgoing { queue: VecDeque::new(), bytes: 0, room: WRITE }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Lines up what a body has at hand behind `lead`, each frame as a chunk where it goes out in chunks: some clients look at a chunk only when all of
    /// it is there. Says how the body ended, once it has.
    pub(super) fn gather(
        &mut self,
        context: &mut Context<'_>,
        body: &mut Body,
        framing: Framing,
        lead: &mut Vec<u8>,
    ) -> Option<Result<()>> {
        let mut open = false;
        let ended = loop {
            if self.bytes > self.room || self.queue.len() >= SLICES {
                break None;
            }
            match Pin::new(&mut *body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Some(bytes) = frame.into_data().ok().filter(|bytes| !bytes.is_empty()) else { continue };
                    if framing == Framing::Chunked {
                        let between = if std::mem::replace(&mut open, true) { "\r\n" } else { "" };
                        let _ = write!(lead, "{between}{:x}\r\n", bytes.len());
                    }
                    if bytes.len() <= SMALL {
                        lead.extend_from_slice(&bytes);
                        continue;
                    }
                    self.push(lead);
                    self.bytes += bytes.len();
                    self.queue.push_back(bytes);
                }
                Poll::Ready(Some(Err(error))) => break Some(Err(error)),
                Poll::Ready(None) => break Some(Ok(())),
                Poll::Pending => break None,
            }
        };
        if open {
            lead.extend_from_slice(b"\r\n");
        }
        if framing == Framing::Chunked && matches!(ended, Some(Ok(()))) {
            lead.extend_from_slice(b"0\r\n\r\n");
        }
        self.push(lead);
        ended
    }

    /// Lines up a copy of some bytes, if there are any.
    fn push(&mut self, lead: &mut Vec<u8>) {
        if !lead.is_empty() {
            self.bytes += lead.len();
            self.queue.push_back(Bytes::copy_from_slice(lead));
            lead.clear();
        }
    }

    /// Writes as much as the socket takes at once.
    pub(super) fn poll_write(&mut self, io: &mut impl Socket, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        // Whole segments, where more is to follow: the rest of one would go out by itself.
        let segment = if self.bytes > WRITE { io.segment().clamp(1, WRITE) } else { 1 };
        let (mut count, mut left) = (0, WRITE / segment * segment);
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            if left == 0 {
                break;
            }
            let taken = bytes.len().min(left);
            *slice = IoSlice::new(&bytes[..taken]);
            left -= taken;
            count += 1;
        }
        let asked = WRITE / segment * segment - left;
        let mut sent = ready!(Pin::new(io).poll_write_vectored(context, &slices[..count]))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.room = if sent < asked { (2 * sent).clamp(LEAST, WRITE) } else { WRITE };
        self.bytes -= sent;
        while let Some(first) = self.queue.front_mut() {
            if sent < first.len() {
                first.advance(sent);
                break;
            }
            sent -= first.len();
            self.queue.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}
