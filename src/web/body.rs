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

/// The body of a response. If it ends with an error, the list is cut; the server must make that
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

    /// For a stream: calls `then` with what the stream did when the body is dropped, at its end or
    /// before.
    pub fn on_end(&mut self, then: impl FnOnce(&Tally) + Send + 'static) {
        if let Inner::Stream(stream) = &mut self.0 {
            stream.on_end(then);
        }
    }

    /// Makes a stream send a heartbeat after at most `every`, if its format has one. Of some
    /// clients only the answer to a write tells whether they are still there.
    #[cfg(feature = "server")]
    pub(crate) fn probe(&mut self, every: Duration) {
        if let Inner::Stream(stream) = &mut self.0 {
            stream.probe(every);
        }
    }

    /// The stream as the operator sees it from now on, if the body is one that is shown.
    #[cfg(feature = "server")]
    pub(crate) fn under_way(&mut self) -> Option<Arc<UnderWay>> {
        match &mut self.0 {
            Inner::Bytes(_) => None,
            Inner::Stream(stream) => stream.under_way(),
        }
    }

    /// Shows a stream to the operator once it lasts long enough. `fate` knows why it is dropped
    /// before its end.
    #[cfg(feature = "server")]
    pub(crate) fn show(&mut self, client: Option<IpAddr>, fate: Option<Arc<dyn Fate>>) {
        if let Inner::Stream(stream) = &mut self.0 {
            stream.show(client, fate);
        }
    }

    /// The name of the stream's format.
    #[cfg(feature = "server")]
    pub(crate) fn format(&self) -> Option<&'static str> {
        match &self.0 {
            Inner::Bytes(_) => None,
            Inner::Stream(stream) => Some(stream.list().format_name()),
        }
    }

    /// Where its first chunk came from, if it is a stream.
    #[cfg(feature = "server")]
    pub(crate) fn first(&self) -> Option<Provenance> {
        match &self.0 {
            Inner::Bytes(_) => None,
            Inner::Stream(stream) => stream.first(),
        }
    }

    /// How many rows were sent so far, with those of the chunk that is being sent; 0 if the body is
    /// no list.
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
