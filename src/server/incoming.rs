//! Bodies of requests in HTTP/1: takes them off the bytes that come (RFC 9112 §6 and §7.1).

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Version, header};

use super::{head, upload::Unread};

/// How the end of a body is told, and how far it has come.
#[derive(Debug)]
pub(super) struct Incoming {
    left: Left,
    body: Vec<u8>,
    /// The largest body, in bytes.
    most: usize,
    /// How many bytes of lines of chunks and of trailers may still come.
    lines: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// So many bytes, and then the body ends.
    Length(usize),
    /// The line that begins a chunk.
    Chunk,
    /// So many bytes of a chunk, and the end of its line.
    Data(usize),
    /// A line of trailers, which nobody reads; the last one is empty.
    Trailers,
    Nothing,
}

/// How a request says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Length(u64),
    Chunked,
}

impl Extent {
    /// # Errors
    /// When the fields say it in two ways or in none: a proxy may have read them otherwise
    /// (RFC 9112 §11.2).
    pub(super) fn of(headers: &HeaderMap, version: Version) -> Result<Extent, Unread> {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        match (codings.next(), codings.next(), lengths.next(), lengths.next()) {
            (Some(coding), None, None, None)
                if version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
            {
                Ok(Extent::Chunked)
            }
            (None, None, Some(length), None) => {
                let digits = length.to_str().ok().filter(|length| length.bytes().all(|byte| byte.is_ascii_digit()));
                digits.and_then(|digits| digits.parse().ok()).map(Extent::Length).ok_or(Unread::Malformed)
            }
            _ => Err(Unread::Malformed),
        }
    }
}

impl Incoming {
    /// # Errors
    /// When the body is said to be larger than `most`.
    pub(super) fn new(extent: Extent, most: usize) -> Result<Incoming, Unread> {
        let left = match extent {
            Extent::Length(length) if length > most as u64 => return Err(Unread::TooLarge(most)),
            Extent::Length(length) => Left::Length(length as usize),
            Extent::Chunked => Left::Chunk,
        };
        // Lines of chunks with a byte each take no more than four times the body.
        Ok(Incoming { left, body: vec![], most, lines: head::BYTES + 4 * most })
    }

    /// Takes what has come; true when the body is whole. What follows it stays.
    ///
    /// # Errors
    /// When it is malformed or too large.
    pub(super) fn take(&mut self, came: &mut BytesMut) -> Result<bool, Unread> {
        loop {
            match self.left {
                Left::Nothing => return Ok(true),
                Left::Length(0) => self.left = Left::Nothing,
                Left::Length(left) => {
                    let taken = self.append(came, left);
                    self.left = Left::Length(left - taken);
                    if taken == 0 {
                        return Ok(false);
                    }
                }
                Left::Chunk => {
                    let Some(line) = self.line(came)? else { return Ok(false) };
                    self.left = match chunk_size(&line)? {
                        0 => Left::Trailers,
                        size if size > (self.most - self.body.len()) as u64 => return Err(Unread::TooLarge(self.most)),
                        size => Left::Data(size as usize),
                    };
                }
                Left::Data(0) => {
                    let Some(end) = came.get(..2) else { return Ok(false) };
                    if end != b"\r\n" {
                        return Err(Unread::Malformed);
                    }
                    came.advance(2);
                    self.left = Left::Chunk;
                }
                Left::Data(left) => {
                    let taken = self.append(came, left);
                    self.left = Left::Data(left - taken);
                    if taken == 0 {
                        return Ok(false);
                    }
                }
                Left::Trailers => {
                    let Some(line) = self.line(came)? else { return Ok(false) };
                    if line.len() == 2 {
                        self.left = Left::Nothing;
                    }
                }
            }
        }
    }

    /// The whole body.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Moves at most `most` bytes to the body; says how many.
    fn append(&mut self, came: &mut BytesMut, most: usize) -> usize {
        let taken = most.min(came.len());
        self.body.extend_from_slice(&came[..taken]);
        came.advance(taken);
        taken
    }

    /// Takes a line with its end; `None` while it is not complete.
    fn line(&mut self, came: &mut BytesMut) -> Result<Option<BytesMut>, Unread> {
        let Some(end) = came.iter().position(|byte| *byte == b'\n') else {
            return if came.len() < head::BYTES { Ok(None) } else { Err(Unread::Malformed) };
        };

        let line = came.split_to(end + 1);
        self.lines = self.lines.checked_sub(line.len()).ok_or(Unread::Malformed)?;
        if line.ends_with(b"\r\n") { Ok(Some(line)) } else { Err(Unread::Malformed) }
    }
}

/// The size in a line that begins a chunk.
fn chunk_size(line: &[u8]) -> Result<u64, Unread> {
    // `httparse` reads a line without digits as 0, the end of the body.
    if !line.first().is_some_and(u8::is_ascii_hexdigit) {
        return Err(Unread::Malformed);
    }
    match httparse::parse_chunk_size(line) {
        Ok(httparse::Status::Complete((_, size))) => Ok(size),
        _ => Err(Unread::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 64;

    /// The body and what follows it, if these bytes come in pieces of `step`.
    fn read(extent: Extent, bytes: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, Unread> {
        let mut incoming = Incoming::new(extent, MOST)?;
        let mut came = BytesMut::new();
        let mut pieces = bytes.chunks(step.max(1));
        let mut given = 0;
        loop {
            if incoming.take(&mut came)? {
                return Ok(Some((incoming.into_body(), given - came.len())));
            }
            let Some(piece) = pieces.next() else { return Ok(None) };
            given += piece.len();
            came.extend_from_slice(piece);
        }
    }

    #[test]
    fn where_a_body_ends_is_told_in_one_way_or_it_is_refused() {
        let of = |fields: &[(&'static str, &'static str)], version| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            Extent::of(&headers, version).ok()
        };

        let new = Version::HTTP_11;
        assert_eq!(of(&[("content-length", "12")], new), Some(Extent::Length(12)));
        assert_eq!(of(&[("content-length", "12")], Version::HTTP_10), Some(Extent::Length(12)));
        assert_eq!(of(&[("transfer-encoding", "Chunked")], new), Some(Extent::Chunked));
        for wrong in [
            &[][..],
            &[("content-length", "+1")],
            &[("content-length", "")],
            &[("content-length", "5, 5")],
            &[("content-length", "99999999999999999999")],
            &[("content-length", "5"), ("content-length", "5")],
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "identity")],
        ] {
            assert_eq!(of(wrong, new), None, "{wrong:?}");
        }
        assert_eq!(of(&[("transfer-encoding", "chunked")], Version::HTTP_10), None);
    }

    #[test]
    fn a_body_of_the_largest_size_is_read_and_one_byte_more_is_not() {
        for (size, fits) in [(MOST, true), (MOST + 1, false)] {
            let body = vec![b'x'; size];
            let chunked = [format!("{size:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
            let small: Vec<u8> = [b"1\r\nx\r\n".repeat(size), b"0\r\n\r\n".to_vec()].concat();
            for (extent, bytes) in
                [(Extent::Length(size as u64), &body), (Extent::Chunked, &chunked), (Extent::Chunked, &small)]
            {
                let wanted = if fits { Ok(Some((body.clone(), bytes.len()))) } else { Err(Unread::TooLarge(MOST)) };
                assert_eq!(read(extent, bytes, bytes.len()), wanted);
                assert_eq!(read(extent, bytes, 1), wanted);
            }
        }
    }

    #[test]
    fn chunks_may_have_extensions_and_trailers_and_nothing_else() {
        let text = b"3;a=b\r\nabc\r\n0a ;x\r\n0123456789\r\n000\r\nx: y\r\n\r\nGET";
        assert_eq!(read(Extent::Chunked, text, 1), Ok(Some((b"abc0123456789".to_vec(), text.len() - 3))));
        for wrong in ["\r\n", "3\nabc\r\n", "3\r\nabcd\r\n", "-1\r\n", "x\r\n", "ffffffffffffffffff\r\n", "0\r\nx: y\n"]
        {
            assert_eq!(read(Extent::Chunked, wrong.as_bytes(), 1), Err(Unread::Malformed), "{wrong:?}");
        }
        for cut in ["3\r\nabc", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n", "3"] {
            assert_eq!(read(Extent::Chunked, cut.as_bytes(), 1), Ok(None), "{cut:?}");
        }
        let endless = format!("1;{}\r\n", "x".repeat(head::BYTES));
        assert_eq!(read(Extent::Chunked, endless.as_bytes(), 1), Err(Unread::Malformed));
        let extended = format!("1;{}\r\nx\r\n", "x".repeat(2_000)).repeat(20);
        assert_eq!(read(Extent::Chunked, extended.as_bytes(), 1), Err(Unread::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_the_same_body_in_one_piece_and_in_many(
            text in "([0-9a-f]{1,2}\r\n[a-c]{0,9}\r\n|0\r\n|\r\n|[;a-z]\r?\n?){0,12}", bytes: Vec<u8>,
        ) {
            for bytes in [text.as_bytes(), &bytes] {
                prop_assert_eq!(read(Extent::Chunked, bytes, bytes.len()), read(Extent::Chunked, bytes, 1));
                prop_assert_eq!(read(Extent::Length(9), bytes, bytes.len()), read(Extent::Length(9), bytes, 1));
            }
        }
    }
}
