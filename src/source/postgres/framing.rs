//! Looks at the messages of a connection as they arrive, to refuse a row before it is in memory.
//!
//! The driver holds each message whole before anybody can see its length. A message begins with its
//! kind, a byte, and its length
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>). This module reads
//! both as the bytes come from the socket, after TLS, and fails the connection at the first message
//! that is too long.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::source::BoxFuture;

/// How long the messages of a connection may be, and whether one was longer. The reader and the
/// task that drives the connection share it.
#[derive(Debug)]
pub(super) struct MessageBound {
    most: AtomicU64,
    is_exceeded: AtomicBool,
}

impl MessageBound {
    pub(super) fn new(bytes: u64) -> Arc<MessageBound> {
        Arc::new(MessageBound { most: AtomicU64::new(bytes), is_exceeded: AtomicBool::new(false) })
    }

    /// From now on a message may have this many bytes.
    pub(super) fn set(&self, bytes: u64) {
        self.most.store(bytes, Ordering::Relaxed);
    }

    /// Whether a message was longer. The connection has then ended.
    pub(super) fn is_exceeded(&self) -> bool {
        self.is_exceeded.load(Ordering::Acquire)
    }
}

/// Finds where messages begin in the bytes that arrive.
#[derive(Debug)]
pub(super) struct Framing {
    bound: Arc<MessageBound>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Not looked at: the bytes are TLS's, not PostgreSQL's.
    Off,
    /// The next byte is the server's answer whether it speaks TLS.
    Answer,
    /// This many bytes of a message's head have arrived.
    Head([u8; 5], usize),
    /// This many bytes of a message are still to come.
    Body(u64),
    /// A message was too long; nothing more is read.
    Failed,
}

/// The head of a message: its kind, then its length, which includes the length field.
const HEAD: usize = 5;
const LENGTH: u64 = 4;

/// How many bytes follow the head of a message.
fn body_of(length: [u8; 4]) -> u64 {
    u64::from(u32::from_be_bytes(length)).saturating_sub(LENGTH)
}

impl Framing {
    pub(super) fn off(bound: &Arc<MessageBound>) -> Framing {
        Framing { bound: Arc::clone(bound), state: State::Off }
    }

    /// For a connection that begins with messages.
    pub(super) fn at_once(bound: &Arc<MessageBound>) -> Framing {
        Framing { state: State::Head([0; HEAD], 0), ..Framing::off(bound) }
    }

    /// For a connection that begins with the server's answer about TLS.
    pub(super) fn behind_answer(bound: &Arc<MessageBound>) -> Framing {
        Framing { state: State::Answer, ..Framing::off(bound) }
    }

    /// Looks at bytes that have arrived. Returns how many of them may be read: all, or those before
    /// a message that is too long.
    fn pass(&mut self, all: &[u8]) -> usize {
        let mut bytes = all;
        // Where the current message's head begins, if it does in these bytes.
        let mut begin = 0;
        while let Some(&first) = bytes.first() {
            if matches!(self.state, State::Head(_, 0)) {
                bytes = self.behind_whole(bytes);
            }
            match &mut self.state {
                State::Off => break,
                State::Failed => return begin,
                State::Answer => {
                    self.state = if first == b'S' { State::Off } else { State::Head([0; HEAD], 0) };
                    bytes = &bytes[1..];
                }
                State::Head(head, here) => {
                    if *here == 0 {
                        begin = all.len() - bytes.len();
                    }
                    let taken = bytes.len().min(HEAD - *here);
                    head[*here..*here + taken].copy_from_slice(&bytes[..taken]);
                    *here += taken;
                    bytes = &bytes[taken..];
                    if *here == HEAD {
                        let [_, length @ ..] = *head;
                        let body = body_of(length);
                        self.state = if self.is_within(body) { State::Body(body) } else { State::Failed };
                    }
                }
                State::Body(left) => {
                    let taken = (*left).min(bytes.len() as u64);
                    *left -= taken;
                    bytes = &bytes[taken as usize..];
                }
            }
            if matches!(self.state, State::Body(0)) {
                self.state = State::Head([0; HEAD], 0);
            }
        }

        if matches!(self.state, State::Failed) { begin } else { all.len() }
    }

    /// Skips the messages that are whole in these bytes, which begin with a message. Returns the
    /// rest.
    fn behind_whole<'a>(&self, mut bytes: &'a [u8]) -> &'a [u8] {
        let most = self.bound.most.load(Ordering::Relaxed);
        while let Some(([_, length @ ..], rest)) = bytes.split_first_chunk::<HEAD>() {
            let body = body_of(*length);
            if body > most || body > rest.len() as u64 {
                break;
            }
            bytes = &rest[body as usize..];
        }
        bytes
    }

    fn is_within(&self, body: u64) -> bool {
        let within = body <= self.bound.most.load(Ordering::Relaxed);
        if !within {
            self.bound.is_exceeded.store(true, Ordering::Release);
        }
        within
    }

    /// Reads from a stream and looks at the bytes. Those before a message that is too long are
    /// still delivered.
    pub(super) fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !matches!(self.state, State::Failed) {
            let from = buffer.filled().len();
            ready!(stream.poll_read(context, buffer))?;
            let read = self.pass(&buffer.filled()[from..]);
            buffer.set_filled(from + read);
            if read > 0 || !matches!(self.state, State::Failed) {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Err(io::Error::other("a row is wider than is read without being measured")))
    }
}

/// A TLS stream with bounded messages.
pub(super) struct Bounded<T> {
    stream: T,
    framing: Framing,
}

impl<T: AsyncRead + Unpin> AsyncRead for Bounded<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Bounded { stream, framing } = self.get_mut();
        framing.poll_read(Pin::new(stream), context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Bounded<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<T: TlsStream + Unpin> TlsStream for Bounded<T> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// Makes TLS connections with bounded messages.
pub(super) struct BoundedTls<C> {
    pub(super) connect: C,
    pub(super) bound: Arc<MessageBound>,
}

impl<S, C> TlsConnect<S> for BoundedTls<C>
where
    C: TlsConnect<S>,
    C::Stream: Send,
    C::Future: Send + 'static,
{
    type Stream = Bounded<C::Stream>;
    type Error = C::Error;
    type Future = BoxFuture<'static, Result<Self::Stream, C::Error>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.connect.connect(stream);
        let framing = Framing::at_once(&self.bound);
        Box::pin(async move { Ok(Bounded { stream: connecting.await?, framing }) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![b'D'];
        bytes.extend((length as u32 + 4).to_be_bytes());
        bytes.resize(HEAD + length, b'S');
        bytes
    }

    proptest! {
        #[test]
        fn the_first_message_that_is_too_long_is_found_by_its_head_however_the_bytes_come(
            lengths in prop::collection::vec(0..40_usize, 0..20),
            cuts in prop::collection::vec(1..30_usize, 0..60),
            answers: bool,
        ) {
            let bound = MessageBound::new(30);
            let mut framing = if answers { Framing::behind_answer(&bound) } else { Framing::at_once(&bound) };
            let mut bytes = if answers { vec![b'N'] } else { vec![] };
            let mut head = None;
            for length in &lengths {
                head = head.or((*length > 30).then_some(bytes.len()));
                bytes.extend(&message(*length));
            }

            let mut read = 0;
            let mut cuts = cuts.into_iter().chain(std::iter::repeat(7));
            while read < bytes.len() && !bound.is_exceeded() {
                let end = (read + cuts.next().unwrap()).min(bytes.len());
                read += framing.pass(&bytes[read..end]);
            }

            prop_assert_eq!(bound.is_exceeded(), head.is_some());
            match head {
                Some(head) => prop_assert!((head..head + HEAD).contains(&read), "all before it, and of it less than its head"),
                None => prop_assert_eq!(read, bytes.len()),
            }
        }
    }

    #[test]
    fn behind_an_answer_that_there_is_tls_nothing_is_looked_at() {
        let bound = MessageBound::new(1);
        let mut framing = Framing::behind_answer(&bound);
        assert_eq!((framing.pass(b"S"), framing.pass(&message(9))), (1, HEAD + 9));
        assert!(!bound.is_exceeded());
    }
}
