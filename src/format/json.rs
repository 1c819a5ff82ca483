//! `{"results":[…]}`: one JSON text (RFC 8259).

use bytes::Bytes;

use super::{Encoder, Output};
use crate::{
    row::{Column, Value},
    text::Objects,
};

struct Json(Objects);

pub(super) fn encoder(columns: &[Column]) -> Box<dyn Encoder> {
    Box::new(Json(Objects::new(columns)))
}

impl Encoder for Json {
    fn begin(&self) -> Bytes {
        Bytes::from_static(b"{\"results\":[")
    }

    fn writes_json(&self) -> bool {
        true
    }

    fn field(&self, index: usize, value: Value<'_>, out: &mut Output) {
        self.0.field(index, value, out);
    }

    fn end_row(&self, out: &mut Output) {
        out.bytes.push(b'}');
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
