//! The body of a response: nothing, a few bytes, or a stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

#[cfg(feature = "server")]
use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{
    error::{Error, Result},
    metrics::Tally,
    stream::Stream,
};
#[cfg(feature = "server")]
use crate::{
    loader::Provenance,
    metrics::{Fate, Way as UnderWay},
};

/// The body of a response. A body that ends with an error is a cut list; the server must make that
/// visible.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    Bytes(Bytes),
    Stream(Box<Stream>),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Body {
        Body(Inner::Bytes(Bytes::new()))
    }

    /// Calls `then` when the body is dropped, if it is a stream: with what it did, however it
    /// ended.
    pub fn on_end(&mut self, then: impl FnOnce(&Tally) + Send + 'static) {
        if let Inner::Stream(stream) = &mut self.0 {
            stream.on_end(then);
        }
    }

    /// Has a stream break its silence after so long at most, where its format has a way to: the
    /// answer to a write is all that tells of some clients whether they are still there.
    #[cfg(feature = "server")]
    pub(crate) fn probe(&mut self, every: Duration) {
        if let Inner::Stream(stream) = &mut self.0 {
            stream.probe(every);
        }
    }

    /// What an operator sees of it from now on, if it is a stream that is shown.
    #[cfg(feature = "server")]
    pub(crate) fn under_way(&mut self) -> Option<Arc<UnderWay>> {
        match &mut self.0 {
            Inner::Bytes(_) => None,
            Inner::Stream(stream) => stream.under_way(),
        }
    }

    /// Has an operator see a stream, once there is time for that; `fate` knows why it is dropped
    /// before its end.
    #[cfg(feature = "server")]
    pub(crate) fn show(&mut self, client: Option<IpAddr>, fate: Option<Arc<dyn Fate>>) {
        if let Inner::Stream(stream) = &mut self.0 {
            stream.show(client, fate);
        }
    }

    /// The name of the format that a stream is in.
    #[cfg(feature = "server")]
    pub(crate) fn format(&self) -> Option<&'static str> {
        match &self.0 {
            Inner::Bytes(_) => None,
            Inner::Stream(stream) => Some(stream.list().format_name()),
        }
    }

    /// How its first chunk was come by, where it is a stream.
    #[cfg(feature = "server")]
    pub(crate) fn first(&self) -> Option<Provenance> {
        match &self.0 {
            Inner::Bytes(_) => None,
            Inner::Stream(stream) => stream.first(),
        }
    }

    /// How many rows the frames so far belong to, counting the chunk that goes out whole; 0 where
    /// the body is no list.
    pub fn rows(&self) -> u64 {
        match &self.0 {
            Inner::Bytes(_) => 0,
            Inner::Stream(stream) => stream.tally().rows,
        }
    }

    /// Whether the body is a stream of chunks.
    pub fn is_stream(&self) -> bool {
        matches!(self.0, Inner::Stream(_))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body(Inner::Bytes(bytes))
    }
}

impl From<Box<Stream>> for Body {
    fn from(stream: Box<Stream>) -> Body {
        Body(Inner::Stream(stream))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Inner::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Stream(stream) => Pin::new(&mut **stream).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Bytes(bytes) => bytes.is_empty(),
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}
