//! An HTTP/2 client that sends the frames a test wants, valid or not, and sees each frame that
//! arrives.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::support::STUCK;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const INTERNAL_ERROR: u32 = 2;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// `SETTINGS_INITIAL_WINDOW_SIZE`
pub const INITIAL_WINDOW: u16 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ends(&self) -> bool {
        [DATA, HEADERS].contains(&self.kind) && self.flags & END_STREAM != 0
    }

    /// The error code of a RST_STREAM or GOAWAY frame.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status, of the first response on a connection.
    pub fn status(&self) -> u16 {
        const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match *self.payload {
            [first @ 0x88..=0x8e, ..] => KNOWN[usize::from(first - 0x88)],
            // A Huffman-coded text, whose digits have five or six bits.
            [0x48, _, a, b, c, ..] => {
                let mut bits = u32::from_be_bytes([a, b, c, 0xff]);
                (0..3).fold(0, |status, _| {
                    let (digit, length) = match bits >> 27 {
                        small @ 0..=2 => (small, 5),
                        _ => ((bits >> 26) - 0x19 + 3, 6),
                    };
                    bits <<= length;
                    status * 10 + digit as u16
                })
            }
            _ => panic!("no status: {:x?}", self.payload),
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let pairs = pairs.iter().flat_map(|(name, value)| name.to_be_bytes().into_iter().chain(value.to_be_bytes()));
    frame(SETTINGS, 0, 0, &pairs.collect::<Vec<u8>>())
}

pub fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// A field as a literal that is not indexed.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        length(text.len(), &mut bytes);
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn length(length: usize, bytes: &mut Vec<u8>) {
    if length < 127 {
        return bytes.push(length as u8);
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(rest as u8 | 128);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// The head of a request.
pub fn head(method: &str, target: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "http"), (":path", target), (":authority", "localhost")];
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

pub fn get(stream: u32, target: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head("GET", target))
}

pub struct Frames {
    pub stream: TcpStream,
    pending: Vec<u8>,
    /// Whether the connection ended with a reset.
    pub reset: bool,
}

impl Frames {
    /// Connects and sends a client's preface.
    pub fn connect(address: SocketAddr, pairs: &[(u16, u32)]) -> Frames {
        let mut client = Frames::silent(address);
        client.send(&[PREFACE.to_vec(), settings(pairs)].concat());
        client
    }

    /// Connects and sends nothing.
    pub fn silent(address: SocketAddr) -> Frames {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(STUCK)).unwrap();
        stream.set_write_timeout(Some(STUCK)).unwrap();
        Frames { stream, pending: vec![], reset: false }
    }

    /// Sends any bytes; false when the server is gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame; `None` at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, flags, d, e, f, g, ..] = *self.pending {
                let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
                if self.pending.len() >= end {
                    let rest = self.pending.split_off(end);
                    let payload = std::mem::replace(&mut self.pending, rest).split_off(9);
                    return Some(Frame { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload });
                }
            }
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.pending.extend(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing came for too long"),
                Err(_) => {
                    self.reset = true;
                    return None;
                }
            }
        }
    }

    /// The next frame of one of these kinds; others are skipped.
    pub fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// The rows of a stream and its last frame, while windows are opened as they are used up.
    pub fn drain(&mut self, stream: u32) -> (Vec<u8>, Frame) {
        let mut body = vec![];
        loop {
            let frame = self.next().unwrap_or_else(|| panic!("the connection ended after {} bytes", body.len()));
            if frame.kind == DATA && frame.stream == stream {
                body.extend(&frame.payload);
                let taken = frame.payload.len() as u32;
                if taken > 0 {
                    self.send(&[window(0, taken), window(stream, taken)].concat());
                }
            }
            if frame.stream == stream && (frame.ends() || frame.kind == RST_STREAM) {
                return (body, frame);
            }
        }
    }

    /// The code with which the server ends the connection; `None` if it closes without one.
    pub fn farewell(&mut self) -> Option<u32> {
        self.next_of(&[GOAWAY]).map(|frame| frame.code())
    }

    /// Whether the server still answers, as it does in time unless the connection is over.
    pub fn lives(&mut self) -> bool {
        self.send(&frame(PING, 0, 0, b"are you?"));
        loop {
            match self.next() {
                Some(frame) if frame.kind == PING && frame.flags == 1 => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    pub fn pause(&self, pause: Duration) {
        std::thread::sleep(pause);
    }
}
