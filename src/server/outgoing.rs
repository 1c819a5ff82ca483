//! Bytes on their way to a socket: a body's frames, not copied, and the framing between them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use tokio_rustls::server::TlsStream;

use super::{
    head::Framing,
    transport::{Socket, Transport},
    watch::Watched,
};
use crate::error::{Error, Result};

/// Roughly the bytes of one write. With fewer there are more system calls, and more switches
/// between the server and its client; with more, a stalled client would hold more memory.
const WRITE: usize = 512 * 1024;
/// How many bytes are lined up for a slow client.
const LEAST: usize = 128 * 1024;
/// Frames of up to this many bytes are copied: one more buffer costs the kernel more.
const SMALL: usize = 256;
/// How many buffers one write may have.
const SLICES: usize = 64;

impl Socket for Box<TlsStream<Watched>> {
    fn transport(&self) -> &Transport {
        self.get_ref().0.transport()
    }
}

impl Socket for Watched {
    fn segment(&mut self) -> usize {
        Watched::segment(self)
    }

    fn transport(&self) -> &Transport {
        Watched::transport(self)
    }
}

/// A queue of buffers, written many at a time. Dropping it loses what is not written.
pub(super) struct Outgoing {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// How many bytes are lined up, plus one frame. After a write that the socket did not take
    /// whole: at most twice what it took.
    room: usize,
}

impl Outgoing {
    pub(super) fn new() -> Outgoing {
        Outgoing { queue: VecDeque::new(), bytes: 0, room: WRITE }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Lines up the frames that a body has at hand, behind `lead`. In chunked framing each frame is
    /// one chunk: some clients look at a chunk only when it is complete. Returns how the body
    /// ended, once it has.
    pub(super) fn gather(
        &mut self,
        context: &mut Context<'_>,
        body: &mut (impl Body<Data = Bytes, Error = Error> + Unpin),
        framing: Framing,
        lead: &mut BytesMut,
    ) -> Option<Result<()>> {
        let mut open = false;
        let ended = loop {
            if self.bytes + lead.len() > self.room || self.queue.len() >= SLICES {
                break None;
            }
            match Pin::new(&mut *body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Some(bytes) = frame.into_data().ok().filter(|bytes| !bytes.is_empty()) else { continue };
                    if framing == Framing::Chunked {
                        if std::mem::replace(&mut open, true) {
                            lead.extend_from_slice(b"\r\n");
                        }
                        write_size(lead, bytes.len());
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

    /// Lines up these bytes, if there are any, without a copy: many leads share one buffer, which
    /// is used again once they are written.
    fn push(&mut self, lead: &mut BytesMut) {
        if !lead.is_empty() {
            self.bytes += lead.len();
            self.queue.push_back(lead.split().freeze());
        }
    }

    /// Writes as much as the socket takes at once.
    pub(super) fn poll_write(&mut self, io: &mut impl Socket, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        // If more follows, only whole segments: the rest would be sent as a segment of its own.
        let segment = if self.bytes > WRITE { io.segment().clamp(1, WRITE) } else { 1 };
        let mut count = 0;
        let mut left = WRITE / segment * segment;
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

/// Appends the line that begins a chunk of this many bytes (RFC 9112 §7.1). Written by hand:
/// `write!` took a sixth of a long list's time outside the kernel.
fn write_size(lead: &mut BytesMut, bytes: usize) {
    let digits = (usize::BITS - bytes.leading_zeros()).div_ceil(4).max(1) as usize;
    let mut line = [0; usize::BITS as usize / 4 + 2];
    for (at, digit) in line[..digits].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[bytes >> (4 * at) & 15];
    }
    line[digits..digits + 2].copy_from_slice(b"\r\n");
    lead.extend_from_slice(&line[..digits + 2]);
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body::Frame;
    use proptest::prelude::*;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;
    use crate::error::Kind;

    /// A body of these frames; `None`: the next one is not ready yet.
    struct Frames(VecDeque<Option<Result<Bytes>>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
            match self.0.pop_front() {
                Some(None) => Poll::Pending,
                Some(Some(frame)) => Poll::Ready(Some(frame.map(Frame::data))),
                None => Poll::Ready(None),
            }
        }
    }

    /// A socket that takes these numbers of bytes, over and over; 0: none now. It notes what it was
    /// given and what it took.
    struct Taking(Vec<usize>, Vec<u8>, Vec<(usize, usize)>);

    impl Taking {
        fn new(takes: &[usize]) -> Taking {
            Taking(takes.into(), vec![], vec![])
        }
    }

    impl Socket for Taking {
        fn segment(&mut self) -> usize {
            1000
        }

        fn transport(&self) -> &Transport {
            unreachable!("there is none")
        }
    }

    impl AsyncRead for Taking {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Taking {
        fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let given: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.0.rotate_left(1);
            let taken = given.len().min(self.0[self.0.len() - 1]);
            self.1.extend_from_slice(&given[..taken]);
            self.2.push((given.len(), taken));
            if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Sends a body to its end as a connection does. Returns whether it ended well.
    fn send(mut body: Frames, framing: Framing, lead: &str, socket: &mut Taking) -> bool {
        let mut outgoing = Outgoing::new();
        let mut lead = BytesMut::from(lead);
        let mut ended = None;
        let context = &mut Context::from_waker(Waker::noop());
        while ended.is_none() || !outgoing.is_empty() {
            if ended.is_none() {
                ended = outgoing.gather(context, &mut body, framing, &mut lead);
            }
            if !outgoing.is_empty() {
                let _ = outgoing.poll_write(socket, context);
            }
            assert!(outgoing.queue.iter().map(Bytes::len).sum::<usize>() == outgoing.bytes);
        }
        ended.is_some_and(|ended| ended.is_ok())
    }

    /// Decodes a chunked body. Returns whether its last chunk is there, too.
    fn decoded(mut bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut body = vec![];
        while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
            let (chunk, rest) = bytes[end + 2..].split_at(size);
            body.extend_from_slice(chunk);
            bytes = rest.strip_prefix(b"\r\n").unwrap();
            if size == 0 {
                assert!(bytes.is_empty());
                return (body, true);
            }
        }
        (body, false)
    }

    proptest! {
        #[test]
        fn a_body_arrives_as_it_is_however_it_is_cut_and_taken_and_a_cut_one_has_no_end(
            frames in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..1_000)), 0..100),
            takes in prop::collection::vec(0..5_000_usize, 1..9),
            fails: bool,
        ) {
            prop_assume!(takes.iter().any(|taken| *taken > 0));
            let body: Vec<u8> = frames.iter().flatten().flatten().copied().collect();
            for framing in [Framing::Chunked, Framing::Length, Framing::Close] {
                let all = frames.iter().map(|frame| frame.clone().map(|frame| Ok(frame.into())));
                let failure = fails.then(|| Some(Err(Error::new(Kind::Internal, "half-way"))));
                let mut socket = Taking::new(&takes);
                prop_assert_eq!(send(Frames(all.chain(failure).collect()), framing, "head;", &mut socket), !fails);
                let sent = socket.1.strip_prefix(b"head;").unwrap();
                let (seen, ended) = if framing == Framing::Chunked { decoded(sent) } else { (sent.to_vec(), !fails) };
                prop_assert_eq!((seen, ended), (body.clone(), !fails));
            }
        }
    }

    proptest! {
        #[test]
        fn the_size_of_a_chunk_is_hexadecimal(bits in 0..=usize::BITS, any: usize) {
            let bytes = any.checked_shr(bits).unwrap_or(0);
            let mut line = BytesMut::new();
            write_size(&mut line, bytes);
            prop_assert_eq!(line, format!("{bytes:x}\r\n"));
        }
    }

    fn long(frame: usize) -> Frames {
        Frames(std::iter::repeat_n(Some(Ok(vec![7; frame].into())), 4_000_000 / frame).collect())
    }

    #[test]
    fn writes_that_others_follow_are_whole_segments() {
        let mut socket = Taking::new(&[usize::MAX]);
        send(long(70_001), Framing::Chunked, "head", &mut socket);
        let (last, others) = socket.2.split_last().unwrap();
        assert!(others.len() > 5 && others.iter().all(|write| write.0 == 524_000), "{:?}", socket.2);
        assert!(last.0 <= WRITE);
    }

    #[test]
    fn for_a_client_that_takes_little_little_is_lined_up() {
        let mut socket = Taking::new(&[10_000, 0]);
        send(long(50_000), Framing::Length, "", &mut socket);
        let mut given = socket.2.iter().map(|write| write.0);
        assert!(given.by_ref().next().is_some_and(|first| first > 500_000));
        assert!(given.skip(120).all(|given| given <= LEAST + 50_000), "{:?}", socket.2);
        assert_eq!(socket.1.len(), 4_000_000);
    }

    #[test]
    fn of_a_body_of_small_frames_no_more_is_lined_up_than_of_another() {
        let mut outgoing = Outgoing::new();
        let mut lead = BytesMut::new();
        let context = &mut Context::from_waker(Waker::noop());
        assert!(outgoing.gather(context, &mut long(100), Framing::Length, &mut lead).is_none());
        assert!((WRITE..=WRITE + 100).contains(&outgoing.bytes), "{}", outgoing.bytes);
    }
}
