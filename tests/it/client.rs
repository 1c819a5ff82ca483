//! A client that sees every byte, and when it arrives.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::support::{Running, STUCK};

/// A response, as far as it arrived.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Whether the body ended as HTTP requires.
    pub whole: bool,
    /// Whether the connection ended with a reset.
    pub reset: bool,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        assert!(self.whole, "a cut body: {:?}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn results(&self) -> Vec<serde_json::Value> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()["results"].as_array().unwrap().clone()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value)
    }

    /// Where `Link` says that the list at this path goes on.
    pub fn next(&self, path: &str) -> Option<String> {
        let link = self.headers.get("link")?;
        let query = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"").unwrap();
        Some(format!("{path}{query}"))
    }
}

pub fn ask(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
    let mut client = Client::connect(address);
    let mut all = vec![("host", "localhost"), ("connection", "close")];
    all.extend(headers);
    client.send(method, target, "HTTP/1.1", &all);
    client.read_reply(method)
}

/// Asks over HTTP/2, by prior knowledge.
pub fn ask2(server: &Running, target: &str, headers: &[(&str, &str)]) -> Reply {
    server.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let mut windows = h2::client::Builder::new();
        windows.initial_window_size(1 << 24).initial_connection_window_size(1 << 24);
        let (mut client, connection) = windows.handshake::<_, bytes::Bytes>(stream).await.unwrap();
        tokio::spawn(connection);

        let mut request = http::Request::get(format!("http://localhost{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        read2(response).await
    })
}

/// A response over HTTP/2, as far as it arrives.
pub async fn read2(response: h2::client::ResponseFuture) -> Reply {
    let (head, mut rest) = response.await.unwrap().into_parts();
    let mut body = vec![];
    let mut whole = true;
    while let Some(bytes) = rest.data().await {
        let Ok(bytes) = bytes else {
            whole = false;
            break;
        };
        body.extend_from_slice(&bytes);
        let _ = rest.flow_control().release_capacity(bytes.len());
    }

    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Reply { status: head.status.as_u16(), headers, body, whole, reset: !whole }
}

/// A connection on which a test reads as much as it wants, when it wants.
pub struct Client {
    pub stream: TcpStream,
    pending: Vec<u8>,
    reset: bool,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).unwrap())
    }

    /// A client with a small receive buffer.
    pub fn with_buffer(address: SocketAddr, bytes: usize) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        // As on a network: a segment of loopback has 64 KiB, and would be sent only when the buffer
        // has room for all of it.
        socket.set_tcp_mss(1448).unwrap();
        socket.connect(&address.into()).unwrap();
        Client::over(socket.into())
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(STUCK)).unwrap();
        Client { stream, pending: vec![], reset: false }
    }

    pub fn send(&mut self, method: &str, target: &str, version: &str, headers: &[(&str, &str)]) {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.stream.write_all(format!("{method} {target} {version}\r\n{headers}\r\n").as_bytes()).unwrap();
    }

    pub fn get(address: SocketAddr, target: &str) -> Client {
        let mut client = Client::connect(address);
        client.send("GET", target, "HTTP/1.1", &[("host", "localhost")]);
        client
    }

    /// Reads once; false at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.pending.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                self.reset = true;
                false
            }
            Err(error) => panic!("the server said nothing for too long: {error}"),
        }
    }

    /// Waits until `text` has arrived, at any position; false if the connection ended first.
    pub fn wait_for(&mut self, text: &str) -> bool {
        loop {
            if self.pending.windows(text.len()).any(|window| window == text.as_bytes()) {
                return true;
            }
            if !self.fill() {
                return false;
            }
        }
    }

    /// Waits until the arrived part of a chunked body passes; false if the connection ended first.
    /// Consumes nothing.
    pub fn wait_for_body(&mut self, passes: impl Fn(&[u8]) -> bool) -> bool {
        loop {
            let head = self.pending.windows(4).position(|window| window == b"\r\n\r\n");
            if head.is_some_and(|head| passes(&chunks_of(&self.pending[head + 4..]))) {
                return true;
            }
            if !self.fill() {
                return false;
            }
        }
    }

    /// Everything that arrives up to the end of the connection.
    pub fn read_to_end(&mut self) -> (Vec<u8>, bool) {
        while self.fill() {}
        (std::mem::take(&mut self.pending), self.reset)
    }

    pub fn read_reply(&mut self, method: &str) -> Reply {
        let head_end = loop {
            if let Some(at) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "no head came: {:?}", String::from_utf8_lossy(&self.pending));
        };

        let rest = self.pending.split_off(head_end);
        let head = String::from_utf8(std::mem::replace(&mut self.pending, rest)).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map(|length| length.parse::<usize>().unwrap());
        let chunked = headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
        let (body, whole) = match (method, status, length, chunked) {
            ("HEAD", ..) | (_, 100 | 204 | 304, ..) => (vec![], true),
            (_, _, Some(length), _) => self.read_length(length),
            (_, _, None, true) => self.read_chunked(),
            _ => {
                let (body, reset) = self.read_to_end();
                (body, !reset)
            }
        };

        Reply { status, headers, body, whole, reset: self.reset }
    }

    fn read_length(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.pending.len() < length && self.fill() {}
        let whole = self.pending.len() >= length;
        let rest = self.pending.split_off(length.min(self.pending.len()));
        (std::mem::replace(&mut self.pending, rest), whole)
    }

    fn read_chunked(&mut self) -> (Vec<u8>, bool) {
        let mut body = vec![];
        loop {
            let Some(at) = self.pending.windows(2).position(|window| window == b"\r\n") else {
                if self.fill() {
                    continue;
                }
                return (body, false);
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.pending[..at]).unwrap(), 16).unwrap();
            let from = at + 2;
            let to = at + 2 + size;
            while self.pending.len() < to + 2 {
                if !self.fill() {
                    body.extend_from_slice(&self.pending[from.min(self.pending.len())..to.min(self.pending.len())]);
                    return (body, false);
                }
            }
            body.extend_from_slice(&self.pending[from..to]);
            self.pending.drain(..to + 2);
            if size == 0 {
                return (body, true);
            }
        }
    }
}

/// The data of a chunked body, as far as it arrived.
fn chunks_of(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = vec![];
    while let Some(at) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..at]).unwrap(), 16).unwrap();
        let data = &bytes[at + 2..];
        body.extend_from_slice(&data[..size.min(data.len())]);
        bytes = data.get(size + 2..).unwrap_or_default();
    }
    body
}
