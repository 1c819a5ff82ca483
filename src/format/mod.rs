//! Formats: how rows become bytes.
//!
//! A format keeps nothing from one chunk to the next, so that readers get the same list no matter
//! how its rows are cut into chunks. To add a format, write a file like `ndjson.rs` and add its row
//! to [`FORMATS`].

#[cfg(test)]
pub(crate) mod binary;
mod csv;
mod envelope;
mod json;
mod ndjson;
mod sse;

use std::fmt;

use bytes::Bytes;

pub use self::envelope::Envelope;
pub(crate) use crate::text::Output;
use crate::{
    described::Described,
    kind::Kind,
    row::{Column, Value},
};

/// Writes the lists of one resource as bytes.
///
/// # Contract
/// A list's body is `begin`, the rows of its chunks with `between` between them, and `end`. The
/// bytes of each method depend only on its arguments. While rows are slow to come, `idle` may be
/// sent anywhere between `begin` and `end` where no chunk is open.
pub(crate) trait Encoder: Send + Sync + 'static {
    /// The bytes before the first row.
    fn begin(&self) -> Bytes;

    /// A writer of rows, used for one chunk after the other.
    fn rows(&self) -> Box<dyn ChunkWriter>;

    /// Whether a row contains its cursor; [`begin_row`](ChunkWriter::begin_row) then gets it.
    fn names_rows(&self) -> bool {
        false
    }

    /// Whether a row is a JSON object to which [`field`](ChunkWriter::field) appends only the
    /// member, its name and the punctuation before it. The bytes that it appends are then the row's
    /// weight for cutting chunks.
    fn writes_json(&self) -> bool {
        false
    }

    /// The bytes between two rows; empty if each row ends itself.
    fn between(&self) -> Bytes;

    /// Bytes without a meaning, sent to show readers and proxies that the list goes on; empty if
    /// the format has none.
    fn idle(&self) -> &'static [u8] {
        b""
    }

    /// The bytes after the last row; `count` is the number of rows, if the resource is counted.
    fn end(&self, count: Option<u64>) -> Bytes;

    /// The bytes in place of `end` if rows have ids and a page could not hold all rows of its
    /// limit. A client comes back with this cursor for the `left` rows.
    fn pause(&self, _cursor: &str, _left: u64) -> Bytes {
        self.end(None)
    }
}

/// Writes the rows of a chunk.
///
/// # Contract
/// A row is `begin_row`, a call of `field` for each member in order, then `end_row`. After the last
/// row of each chunk comes `finish`. A writer may hold rows back until `finish`, as a format with
/// batches does. It keeps nothing from one chunk to the next. With batches the bytes show where
/// chunks were cut, but readers must not notice.
pub(crate) trait ChunkWriter: Send + 'static {
    /// Begins a row. `cursor` is sealed; empty if the format does not need it.
    fn begin_row(&mut self, _cursor: &str, _out: &mut Output) {}

    /// Writes the member `index` of a row.
    fn field(&mut self, index: usize, value: Value<'_>, out: &mut Output);

    /// Ends a row.
    fn end_row(&mut self, out: &mut Output);

    /// Writes the rest of the chunk.
    fn finish(&mut self, _out: &mut Output) {}
}

/// A member of each row, as a format sees it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its name, and the shape of its values.
    pub(crate) column: Column,
    /// What its values are, as far as the source knows before it reads.
    #[allow(dead_code, reason = "a format of text writes each value by its own type")]
    pub(crate) described: Described,
}

impl Member {
    pub(crate) fn new(column: Column, described: Described) -> Member {
        Member { column, described }
    }
}

/// The id of the event that ends a list, in formats with ids.
pub(crate) const END_OF_LIST: &str = "end";

/// Separates, in an id, a cursor from the number of rows that are left of a limit; no cursor
/// contains it.
pub(crate) const LEFT: char = '~';

/// A format of this build, as the index of its row in `FORMATS`, by which formats are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Format(u8);

impl Format {
    /// JSON, for clients that ask for no format.
    pub const JSON: Format = Format(0);

    /// All formats.
    pub fn all() -> impl ExactSizeIterator<Item = Format> {
        (0..FORMATS.len() as u8).map(Format)
    }

    /// The format with this name, which is also a path's extension.
    pub fn named(name: &str) -> Option<Format> {
        Format::all().find(|format| format.name() == name)
    }

    /// Its name: `json`.
    pub fn name(self) -> &'static str {
        FORMATS[self.index()].name
    }

    /// Its media type, names and encoder.
    pub(crate) fn spec(self) -> &'static FormatSpec {
        &FORMATS[self.index()].open
    }

    /// Its row in [`FORMATS`].
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A format's media type, the other names that clients use for it, and its encoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormatSpec {
    /// `Content-Type`, with its charset.
    pub content_type: &'static str,
    /// Media types of `Accept` that mean this format, the registered one first.
    pub accepts: &'static [&'static str],
    /// How a body lays out its rows.
    pub layout: Layout,
    /// Whether it names the members before the first row, so that all must be known.
    pub has_header: bool,
    /// Makes the encoder for rows with these members, in this envelope if the format has one.
    pub encoder: fn(&[Member], &Envelope) -> Box<dyn Encoder>,
}

/// How a body lays out its rows. The OpenAPI description shows it to clients, and the server
/// answers clients of event streams in their own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One JSON object holds all rows.
    Envelope,
    /// Each line is a row as JSON.
    Lines,
    /// Each server-sent event holds a row as JSON.
    Events,
    /// The format has a layout of its own.
    Own,
}

/// The formats of this build by extension; the first is the default.
pub(crate) const FORMATS: &[Kind<FormatSpec>] = &[
    Kind {
        name: "json",
        example: "/tricks.json",
        open: FormatSpec {
            content_type: "application/json; charset=utf-8",
            accepts: &["application/json"],
            layout: Layout::Envelope,
            has_header: false,
            encoder: json::encoder,
        },
    },
    Kind {
        name: "ndjson",
        example: "/tricks.ndjson",
        open: FormatSpec {
            content_type: "application/x-ndjson; charset=utf-8",
            accepts: &["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"],
            layout: Layout::Lines,
            has_header: false,
            encoder: ndjson::encoder,
        },
    },
    Kind {
        name: "csv",
        example: "/tricks.csv",
        open: FormatSpec {
            content_type: "text/csv; charset=utf-8; header=present",
            accepts: &["text/csv"],
            layout: Layout::Own,
            has_header: true,
            encoder: csv::encoder,
        },
    },
    Kind {
        name: "sse",
        example: "/tricks.sse",
        open: FormatSpec {
            content_type: "text/event-stream; charset=utf-8",
            accepts: &["text/event-stream"],
            layout: Layout::Events,
            has_header: false,
            encoder: sse::encoder,
        },
    },
    #[cfg(test)]
    Kind {
        name: "bin",
        example: "/tricks.bin",
        open: FormatSpec {
            content_type: "application/octet-stream",
            accepts: &["application/octet-stream"],
            layout: Layout::Own,
            has_header: false,
            encoder: binary::encoder,
        },
    },
];

/// The format that an `Accept` header asks for (RFC 9110 §12.5.1): the one with the highest weight,
/// and of equal ones the first. `None` if none is acceptable.
pub(crate) fn negotiate(accept: &str) -> Option<Format> {
    let ranges: Vec<(&str, u16)> = accept.split(',').filter_map(range).collect();
    if ranges.is_empty() {
        return Some(Format::JSON);
    }
    let weight =
        |kind: &Kind<FormatSpec>| kind.open.accepts.iter().map(|name| weight_of(name, &ranges)).max().unwrap_or(0);
    let weighed = Format::all().zip(FORMATS.iter().map(weight));
    let (format, best) = weighed.min_by_key(|&(format, weight)| (u16::MAX - weight, format))?;
    (best > 0).then_some(format)
}

/// The weight that an `Accept` header gives a media type, in thousandths; without a header, the
/// same for all.
pub(crate) fn weight(accept: &str, name: &str) -> u16 {
    let ranges: Vec<(&str, u16)> = accept.split(',').filter_map(range).collect();
    if ranges.is_empty() { 1000 } else { weight_of(name, &ranges) }
}

/// A media range and its weight in thousandths.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| name.contains('/'))?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = weight.map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0)).clamp(0.0, 1.0);
    Some((name, (weight * 1000.0) as u16))
}

/// The weight of a media type, from the most specific range that matches.
fn weight_of(name: &str, ranges: &[(&str, u16)]) -> u16 {
    let kind = name.split('/').next().unwrap_or_default();
    let specific = |range: &str| match range.split_once('/') {
        _ if range.eq_ignore_ascii_case(name) => 3,
        Some((left, "*")) if left.eq_ignore_ascii_case(kind) => 2,
        Some(("*", "*")) => 1,
        _ => 0,
    };
    let best = ranges.iter().map(|&(range, weight)| (specific(range), weight)).max();
    best.filter(|best| best.0 > 0).map_or(0, |best| best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_format_with_the_highest_weight() {
        let chosen = |accept| negotiate(accept).map(Format::name);
        assert_eq!(chosen(""), Some("json"));
        assert_eq!(chosen("*/*"), Some("json"));
        assert_eq!(chosen("text/html,application/xhtml+xml,*/*;q=0.8"), Some("json"));
        assert_eq!(chosen("text/csv"), Some("csv"));
        assert_eq!(chosen("application/json;q=0.5, application/x-ndjson"), Some("ndjson"));
        assert_eq!(chosen("application/jsonl"), Some("ndjson"));
        assert_eq!(chosen("text/*"), Some("csv"));
        assert_eq!(chosen("application/json;q=0, */*"), Some("ndjson"));
        assert_eq!(chosen("text/html"), None);
        assert_eq!(chosen("application/json;q=0"), None);
        assert_eq!(chosen("application/json;q=nonsense"), None);
    }
}
