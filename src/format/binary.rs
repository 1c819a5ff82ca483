//! A binary format for tests. It keeps the rows of a chunk, and writes them after the last one as a
//! batch, column by column. A batch begins with the number of its rows; each value follows its
//! length. Both are four bytes long.

use bytes::Bytes;

use super::{ChunkWriter, Encoder, Envelope, Member, Output};
use crate::{row::Value, text};

struct Binary {
    columns: usize,
}

pub(super) fn encoder(members: &[Member], _: &Envelope) -> Box<dyn Encoder> {
    Box::new(Binary { columns: members.len() })
}

impl Encoder for Binary {
    fn begin(&self) -> Bytes {
        Bytes::from_static(b"BIN\0")
    }

    fn rows(&self) -> Box<dyn ChunkWriter> {
        Box::new(Batch { rows: 0, columns: vec![vec![]; self.columns] })
    }

    fn between(&self) -> Bytes {
        Bytes::new()
    }

    fn end(&self, _count: Option<u64>) -> Bytes {
        0_u32.to_le_bytes().to_vec().into()
    }
}

/// The rows of a chunk.
struct Batch {
    rows: u32,
    columns: Vec<Vec<u8>>,
}

impl ChunkWriter for Batch {
    fn field(&mut self, index: usize, value: Value<'_>, _out: &mut Output) {
        let mut json = Output::default();
        text::scalar(value, &mut json);
        self.columns[index].extend((json.bytes.len() as u32).to_le_bytes());
        self.columns[index].extend(json.bytes);
    }

    fn end_row(&mut self, _out: &mut Output) {
        self.rows += 1;
    }

    fn finish(&mut self, out: &mut Output) {
        if self.rows > 0 {
            out.bytes.extend(std::mem::take(&mut self.rows).to_le_bytes());
            self.columns.iter_mut().for_each(|column| out.bytes.append(column));
        }
    }
}

/// The rows of a body, each as the JSON of its values; `None` if the body is cut.
pub(crate) fn read(body: &[u8], columns: usize) -> Option<Vec<Vec<String>>> {
    fn number(rest: &mut &[u8]) -> Option<usize> {
        let (number, behind) = rest.split_first_chunk()?;
        *rest = behind;
        usize::try_from(u32::from_le_bytes(*number)).ok()
    }

    let mut rest = body.strip_prefix(b"BIN\0")?;
    let mut all: Vec<Vec<String>> = vec![];
    loop {
        let rows = number(&mut rest)?;
        if rows == 0 {
            return rest.is_empty().then_some(all);
        }

        let from = all.len();
        all.resize(from + rows, vec![]);
        for _ in 0..columns {
            for row in &mut all[from..] {
                let length = number(&mut rest)?;
                row.push(String::from_utf8(rest.split_off(..length)?.to_vec()).ok()?);
            }
        }
    }
}
