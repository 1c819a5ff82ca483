//! One JSON object a line, each line ended by `\n`.

use bytes::Bytes;

use super::{Encoder, Output};
use crate::{
    row::{Column, Value},
    text::Objects,
};

struct Ndjson(Objects);

pub(super) fn encoder(columns: &[Column]) -> Box<dyn Encoder> {
    Box::new(Ndjson(Objects::new(columns)))
}

impl Encoder for Ndjson {
    fn begin(&self) -> Bytes {
        Bytes::new()
    }

    fn writes_json(&self) -> bool {
        true
    }

    fn field(&self, index: usize, value: Value<'_>, out: &mut Output) {
        self.0.field(index, value, out);
    }

    fn end_row(&self, out: &mut Output) {
        out.bytes.extend_from_slice(b"}\n");
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
