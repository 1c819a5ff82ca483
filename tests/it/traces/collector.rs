//! A collector: takes OTLP over HTTP, and reads the spans off its protobuf
//! (<https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto>).

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use crate::support::until;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub state: String,
    pub name: String,
    pub kind: u64,
    /// Nanoseconds since 1970.
    pub times: [u64; 2],
    pub attributes: BTreeMap<String, String>,
    /// The spans that it links to, by their ids.
    pub links: Vec<String>,
    /// 2: it failed.
    pub status: u64,
}

impl Span {
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", |value| value)
    }
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    /// What the resource says of itself.
    resource: BTreeMap<String, String>,
    /// The heads of requests, in lower case.
    heads: Vec<String>,
}

/// Listens on a port of its own, for as long as the test runs.
#[derive(Clone)]
pub struct Collector {
    pub url: String,
    taken: Arc<Mutex<Taken>>,
}

impl Collector {
    pub fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = Collector { url: format!("http://{}", listener.local_addr().unwrap()), taken: Arc::default() };
        let taken = Arc::clone(&collector.taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || serve(stream, &taken));
            }
        });
        collector
    }

    /// The spans that fulfil something, in the order in which they began, once there are so many.
    pub fn wait_for(&self, count: usize, which: impl Fn(&Span) -> bool) -> Vec<Span> {
        let found = || self.spans().into_iter().filter(|span| which(span)).collect::<Vec<_>>();
        until("the spans", || found().len() >= count);
        found()
    }

    /// All spans that came so far, in the order in which they began.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = self.taken.lock().unwrap().spans.clone();
        spans.sort_by_key(|span| span.times[0]);
        spans
    }

    /// The only span of a name in a trace, once it is there.
    pub fn one(&self, trace: &str, name: &str) -> Span {
        let named = |span: &Span| span.trace == trace && (span.name == name || span.name.starts_with(name));
        let found = self.wait_for(1, named);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    pub fn resource(&self) -> BTreeMap<String, String> {
        self.taken.lock().unwrap().resource.clone()
    }

    pub fn heads(&self) -> Vec<String> {
        self.taken.lock().unwrap().heads.clone()
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, taken: &Mutex<Taken>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !reader.read_line(&mut head).is_ok_and(|read| read > 0) {
                return;
            }
        }
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let mut taken = taken.lock().unwrap();
        taken.heads.push(head);
        for resource in messages(&body, 1) {
            taken.resource = messages(resource, 1).next().map(|resource| attributes(resource, 1)).unwrap();
            for span in messages(resource, 2).flat_map(|scope| messages(scope, 2)) {
                taken.spans.push(self::span(span));
            }
        }
        drop(taken);
        let _ =
            writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
    }
}

fn span(message: &[u8]) -> Span {
    let number = |field| numbers(message, field).next().unwrap_or_default();
    let text = |field| messages(message, field).next().map(text).unwrap_or_default();
    let id = |field| messages(message, field).next().map(hexadecimal).unwrap_or_default();
    let status = messages(message, 15).next().and_then(|status| numbers(status, 3).next());
    Span {
        trace: id(1),
        id: id(2),
        state: text(3),
        parent: id(4),
        name: text(5),
        kind: number(6),
        times: [number(7), number(8)],
        attributes: attributes(message, 9),
        links: messages(message, 13).map(|link| messages(link, 2).next().map(hexadecimal).unwrap()).collect(),
        status: status.unwrap_or_default(),
    }
}

fn attributes(message: &[u8], field: u64) -> BTreeMap<String, String> {
    let one = |pair| {
        let value = messages(pair, 2).next().unwrap();
        let number = || numbers(value, 2).chain(numbers(value, 3)).next().unwrap_or_default().to_string();
        (messages(pair, 1).next().map(text).unwrap(), messages(value, 1).next().map_or_else(number, text))
    };
    messages(message, field).map(one).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fields of a message: each one's number, and its value as a number or as bytes.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Result<u64, &[u8]>)> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let key = varint(&mut message);
        let value = match key & 7 {
            0 => Ok(varint(&mut message)),
            1 => Ok(u64::from_le_bytes(take(&mut message, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut message) as usize;
                Err(take(&mut message, length))
            }
            5 => Ok(u32::from_le_bytes(take(&mut message, 4).try_into().unwrap()).into()),
            other => panic!("wire type {other}"),
        };
        Some((key >> 3, value))
    })
}

fn messages(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).filter(move |(number, _)| *number == field).filter_map(|(_, value)| value.err())
}

fn numbers(message: &[u8], field: u64) -> impl Iterator<Item = u64> {
    fields(message).filter(move |(number, _)| *number == field).filter_map(|(_, value)| value.ok())
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = message.split_at(length);
    *message = rest;
    taken
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}
