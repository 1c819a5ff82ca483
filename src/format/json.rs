//! `{"results":[…]}`, or in another envelope: one JSON text (RFC 8259).

use std::sync::Arc;

use bytes::Bytes;

use super::{ChunkWriter, Encoder, Envelope, Member, Output};
use crate::{row::Value, text::Objects};

struct Json {
    rows: Rows,
    envelope: Envelope,
}

#[derive(Clone)]
struct Rows(Arc<Objects>);

pub(super) fn encoder(members: &[Member], envelope: &Envelope) -> Box<dyn Encoder> {
    let objects = Objects::new(members.iter().map(|member| &member.column));
    Box::new(Json { rows: Rows(Arc::new(objects)), envelope: envelope.clone() })
}

impl Encoder for Json {
    fn begin(&self) -> Bytes {
        self.envelope.begin()
    }

    fn rows(&self) -> Box<dyn ChunkWriter> {
        Box::new(self.rows.clone())
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
        self.envelope.end(count)
    }
}

impl ChunkWriter for Rows {
    fn field(&mut self, index: usize, value: Value<'_>, out: &mut Output) {
        self.0.field(index, value, out);
    }

    fn end_row(&mut self, out: &mut Output) {
        out.bytes.push(b'}');
    }
}
