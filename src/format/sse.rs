//! Server-sent events (WHATWG HTML §9.2). Each row is an event with the row's cursor as its id, so
//! that a client that lost its connection goes on behind the last row it got. The list ends with an
//! event `end`; a client that comes back with its id is told that there is nothing more. A page
//! that could not hold all rows of its limit ends with an id alone, with which the client gets the
//! rest.

use std::sync::Arc;

use bytes::Bytes;

use super::{ChunkWriter, Encoder, Envelope, Member, Output};
use crate::{row::Value, text::Objects};

#[derive(Clone)]
struct Sse(Arc<Objects>);

pub(super) fn encoder(members: &[Member], _: &Envelope) -> Box<dyn Encoder> {
    let objects = Objects::new(members.iter().map(|member| &member.column));
    Box::new(Sse(Arc::new(objects)))
}

impl Encoder for Sse {
    fn begin(&self) -> Bytes {
        Bytes::new()
    }

    fn rows(&self) -> Box<dyn ChunkWriter> {
        Box::new(self.clone())
    }

    fn names_rows(&self) -> bool {
        true
    }

    fn writes_json(&self) -> bool {
        true
    }

    fn between(&self) -> Bytes {
        Bytes::new()
    }

    fn idle(&self) -> &'static [u8] {
        b":\n\n"
    }

    /// An id without an event; `EventSource` comes back with it on its own.
    fn pause(&self, cursor: &str, left: u64) -> Bytes {
        format!("id: {cursor}{LEFT}{left}\n\n", LEFT = super::LEFT).into()
    }

    fn end(&self, count: Option<u64>) -> Bytes {
        let data = count.map_or_else(|| "{}".to_owned(), |count| format!("{{\"count\":{count}}}"));
        format!("event: end\nid: {END}\ndata: {data}\n\n", END = super::END_OF_LIST).into()
    }
}

impl ChunkWriter for Sse {
    fn begin_row(&mut self, cursor: &str, out: &mut Output) {
        out.bytes.extend_from_slice(b"id: ");
        out.bytes.extend_from_slice(cursor.as_bytes());
        out.bytes.extend_from_slice(b"\ndata: ");
    }

    fn field(&mut self, index: usize, value: Value<'_>, out: &mut Output) {
        self.0.field(index, value, out);
    }

    fn end_row(&mut self, out: &mut Output) {
        out.bytes.extend_from_slice(b"}\n\n");
    }
}
