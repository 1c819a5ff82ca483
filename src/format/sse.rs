//! Server-sent events (WHATWG HTML §9.2): each row is an event whose id is the row's cursor, so that a client
//! which lost its connection goes on behind the last row it got. The list ends in an event `end`; whoever comes
//! back with its id is told that there is nothing more. A page that had no room for all rows of its limit ends
//! in an id alone, by which the client gets the rest.

use bytes::Bytes;

use super::{Encoder, Output};
use crate::{
    row::{Column, Value},
    text::Objects,
};

struct Sse(Objects);

pub(super) fn encoder(columns: &[Column]) -> Box<dyn Encoder> {
    Box::new(Sse(Objects::new(columns)))
}

impl Encoder for Sse {
    fn begin(&self) -> Bytes {
        Bytes::new()
    }

    fn begin_row(&self, cursor: &str, out: &mut Output) {
        out.bytes.extend_from_slice(b"id: ");
        out.bytes.extend_from_slice(cursor.as_bytes());
        out.bytes.extend_from_slice(b"\ndata: ");
    }

    fn names_rows(&self) -> bool {
        true
    }

    fn writes_json(&self) -> bool {
        true
    }

    fn field(&self, index: usize, value: Value<'_>, out: &mut Output) {
        self.0.field(index, value, out);
    }

    fn end_row(&self, out: &mut Output) {
        out.bytes.extend_from_slice(b"}\n\n");
    }

    fn between(&self) -> Bytes {
        Bytes::new()
    }

    fn idle(&self) -> &'static [u8] {
        b":\n\n"
    }

    /// An id without an event: `EventSource` comes back with it by itself.
    fn pause(&self, cursor: &str, left: u64) -> Bytes {
        format!("id: {cursor}{LEFT}{left}\n\n", LEFT = super::LEFT).into()
    }

    fn end(&self, count: Option<u64>) -> Bytes {
        let data = count.map_or_else(|| "{}".to_owned(), |count| format!("{{\"count\":{count}}}"));
        format!("event: end\nid: {END}\ndata: {data}\n\n", END = super::END_OF_LIST).into()
    }
}
