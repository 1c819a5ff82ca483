//! Writes the rows of a resource in one format.

use bytes::Bytes;

use crate::{coding::Coding, format::Encoder};

/// A format's encoder for the rows of one resource, with the bytes that never change: uncompressed
/// and in each coding.
pub(crate) struct Writer {
    pub(crate) encoder: Box<dyn Encoder>,
    plain: Frame,
    /// By coding.
    coded: Vec<Frame>,
}

/// The bytes before the first row of a body, and between two rows.
pub(crate) struct Frame {
    pub(crate) begin: Bytes,
    pub(crate) between: Bytes,
}

impl Writer {
    pub(super) fn new(encoder: Box<dyn Encoder>) -> Writer {
        let plain = Frame { begin: encoder.begin(), between: encoder.between() };
        let coded = |coding: Coding| Frame {
            begin: coding.codec().begin(&plain.begin),
            between: coding.codec().stored(&plain.between),
        };
        Writer { coded: Coding::all().map(coded).collect(), plain, encoder }
    }

    /// The bytes that never change, in a coding.
    pub(crate) fn frame(&self, coding: Option<Coding>) -> &Frame {
        coding.map_or(&self.plain, |coding| &self.coded[coding.index()])
    }
}
