//! What stands around the rows of a JSON list.

use bytes::Bytes;

use crate::text::{self, Output};

/// What stands around the rows of a list in JSON; other formats have no such thing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Envelope {
    /// An object whose member of this name holds the rows.
    Member(String),
    /// Nothing: the list is an array.
    None,
}

impl Default for Envelope {
    /// `{"results":[…]}`
    fn default() -> Envelope {
        Envelope::Member("results".to_owned())
    }
}

impl Envelope {
    /// The member for the number of rows.
    pub(crate) const COUNT: &str = "count";

    /// Whether a counted list has a place for the number of its rows.
    pub(crate) fn can_count(&self) -> bool {
        matches!(self, Envelope::Member(name) if name != Envelope::COUNT)
    }

    /// The bytes before the first row.
    pub(super) fn begin(&self) -> Bytes {
        match self {
            Envelope::Member(name) => {
                let mut out = Output::default();
                out.bytes.push(b'{');
                text::string(name.as_bytes(), &mut out);
                out.bytes.extend_from_slice(b":[");
                out.bytes.into()
            }
            Envelope::None => Bytes::from_static(b"["),
        }
    }

    /// The bytes after the last row.
    pub(super) fn end(&self, count: Option<u64>) -> Bytes {
        match (self, count) {
            (Envelope::Member(_), Some(count)) => format!("],\"{}\":{count}}}", Envelope::COUNT).into(),
            (Envelope::Member(_), None) => Bytes::from_static(b"]}"),
            (Envelope::None, _) => Bytes::from_static(b"]"),
        }
    }
}
