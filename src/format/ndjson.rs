//! One JSON object per line, each line ended by `\n`.

use std::sync::Arc;

use bytes::Bytes;

use super::{ChunkWriter, Encoder, Envelope, Member, Output};
use crate::{row::Value, text::Objects};

#[derive(Clone)]
struct Ndjson(Arc<Objects>);

pub(super) fn encoder(members: &[Member], _: &Envelope) -> Box<dyn Encoder> {
    let objects = Objects::new(members.iter().map(|member| &member.column));
    Box::new(Ndjson(Arc::new(objects)))
}

impl Encoder for Ndjson {
    fn begin(&self) -> Bytes {
        Bytes::new()
    }

    fn rows(&self) -> Box<dyn ChunkWriter> {
        Box::new(self.clone())
    }

    fn writes_json(&self) -> bool {
        true
    }

    fn between(&self) -> Bytes {
        Bytes::new()
    }

    fn idle(&self) -> &'static [u8] {
        b" "
    }

    fn end(&self, count: Option<u64>) -> Bytes {
        count.map_or_else(Bytes::new, |count| format!("{{\"_end\":{{\"count\":{count}}}}}\n").into())
    }
}

impl ChunkWriter for Ndjson {
    fn field(&mut self, index: usize, value: Value<'_>, out: &mut Output) {
        self.0.field(index, value, out);
    }

    fn end_row(&mut self, out: &mut Output) {
        out.bytes.extend_from_slice(b"}\n");
    }
}
