//! `{"results":[…]}`: one JSON text (RFC 8259).

use std::sync::Arc;

use bytes::Bytes;

use super::{ChunkWriter, Encoder, Member, Output};
use crate::{row::Value, text::Objects};

#[derive(Clone)]
struct Json(Arc<Objects>);

pub(super) fn encoder(members: &[Member]) -> Box<dyn Encoder> {
    let objects = Objects::new(members.iter().map(|member| &member.column));
    Box::new(Json(Arc::new(objects)))
}

impl Encoder for Json {
    fn begin(&self) -> Bytes {
        Bytes::from_static(b"{\"results\":[")
    }

    fn rows(&self) -> Box<dyn ChunkWriter> {
        Box::new(self.clone())
    }

    fn writes_json(&self) -> bool {
        true
    }

    fn between(&self) -> Bytes {
        Bytes::from_static(b",")
    }

    fn idle(&self) -> &'static [u8] {
        b" "
    }

    fn end(&self, count: Option<u64>) -> Bytes {
        match count {
            Some(count) => format!("],\"count\":{count}}}").into(),
            None => Bytes::from_static(b"]}"),
        }
    }
}

impl ChunkWriter for Json {
    fn field(&mut self, index: usize, value: Value<'_>, out: &mut Output) {
        self.0.field(index, value, out);
    }

    fn end_row(&mut self, out: &mut Output) {
        out.bytes.push(b'}');
    }
}
