//! A client that is never the limit: keep-alive connections, reads of up to 256 KiB, and no look at the bytes
//! but for HTTP's framing.
//!
//! `drain PORT TARGET CONNECTIONS SECONDS`: prints bytes of bodies read and seconds gone, so that a server too
//! slow for one whole list in that time has a rate too. `drain PORT TARGET first SECONDS`: one request after
//! the other; prints the microseconds to the first row of each.

use std::{
    cell::Cell,
    io,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout_at,
};

const BUFFER: usize = 256 * 1024;
/// Bytes of a body that have a row in them: some servers send the envelope before they have one.
const FIRST_ROW: usize = 200;
/// First rows to measure at most, and at least, however long these take.
const FIRST_ROWS: (usize, usize) = (2_000, 5);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [port, target, connections, seconds] = &arguments[..] else {
        eprintln!("usage: drain PORT TARGET CONNECTIONS|first SECONDS (benches/peers/run runs it)");
        return;
    };

    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (port, seconds) = (port.parse().expect("a port"), Duration::from_secs_f64(seconds.parse().expect("seconds")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if connections == "first" {
        runtime.block_on(async {
            let mut client = Client::connect(port).await;
            let (began, mut times) = (Instant::now(), vec![]);
            while times.len() < FIRST_ROWS.0 && (began.elapsed() < seconds || times.len() < FIRST_ROWS.1) {
                let sent = Instant::now();
                let (mut size, mut first) = (0, None);
                let read = |read| {
                    size += read;
                    if size >= FIRST_ROW && first.is_none() {
                        first = Some(sent.elapsed());
                    }
                };
                client.get(&request, read).await;
                times.push(first.expect("a row").as_micros().to_string());
            }
            println!("{}", times.join(" "));
        });
        return;
    }

    let bytes = Cell::new(0_u64);
    let client = async |_| {
        let mut client = Client::connect(port).await;
        loop {
            client.get(&request, |read| bytes.set(bytes.get() + read as u64)).await;
        }
    };

    let connections: usize = connections.parse().expect("a number of connections");
    let began = Instant::now();
    // Not tasks of their own: a panic must end the program.
    let clients = join_all((0..connections).map(client));
    let ended: Result<Vec<()>, _> = runtime.block_on(async { timeout_at((began + seconds).into(), clients).await });
    assert!(ended.is_err(), "clients go on until they are stopped");
    println!("{} {}", bytes.get(), began.elapsed().as_secs_f64());
}

struct Client {
    port: u16,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The bytes of the buffer that are read and not looked at.
    pending: std::ops::Range<usize>,
}

/// How much of a body is still to come.
enum Body {
    Length(u64),
    Chunked,
    ToTheEnd,
}

impl Client {
    async fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server takes connections");
        stream.set_nodelay(true).expect("a socket");
        Client { port, stream, buffer: vec![0; BUFFER], pending: 0..0 }
    }

    /// Reads a whole response; tells of each part of its body as it comes.
    async fn get(&mut self, request: &str, mut read: impl FnMut(usize)) {
        // A server may close a connection that was idle, or used often enough: then once more on a new one.
        let sent = self.stream.write_all(request.as_bytes()).await.is_ok();
        if !sent || !self.fill().await.unwrap_or(false) {
            *self = Client::connect(self.port).await;
            self.stream.write_all(request.as_bytes()).await.expect("a new connection takes a request");
            assert!(self.fill().await.expect("a server that answers"), "the server closed a new connection");
        }

        match self.head().await {
            Body::Length(mut left) => {
                while left > 0 {
                    left -= self.take(left, &mut read).await;
                }
            }
            Body::Chunked => loop {
                let line = self.line().await;
                let mut left = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16).expect("a size");
                let last = left == 0;
                while left > 0 {
                    left -= self.take(left, &mut read).await;
                }
                self.line().await;
                if last {
                    break;
                }
            },
            Body::ToTheEnd => {
                while !self.pending.is_empty() || self.fill().await.expect("an end without an error") {
                    self.take(u64::MAX, &mut read).await;
                }
                *self = Client::connect(self.port).await;
            }
        }
    }

    /// Reads once more; false at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.pending.is_empty() {
            self.pending = 0..0;
        } else if self.pending.end == BUFFER {
            self.buffer.copy_within(self.pending.clone(), 0);
            self.pending = 0..self.pending.len();
        }
        let read = self.stream.read(&mut self.buffer[self.pending.end..]).await?;
        self.pending.end += read;
        Ok(read > 0)
    }

    /// Passes over up to so many bytes of a body.
    async fn take(&mut self, most: u64, read: &mut impl FnMut(usize)) -> u64 {
        if self.pending.is_empty() {
            assert!(self.fill().await.expect("a body without an error"), "a cut body");
        }
        let taken = most.min(self.pending.len() as u64);
        self.pending.start += taken as usize;
        read(taken as usize);
        taken
    }

    async fn line(&mut self) -> String {
        loop {
            let pending = &self.buffer[self.pending.clone()];
            if let Some(at) = pending.windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8_lossy(&pending[..at]).into_owned();
                self.pending.start += at + 2;
                return line;
            }
            assert!(self.fill().await.expect("a head without an error"), "a cut head");
        }
    }

    async fn head(&mut self) -> Body {
        let status = self.line().await;
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        let mut body = Body::ToTheEnd;
        loop {
            let line = self.line().await.to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                None => return body,
                Some(("content-length", length)) => body = Body::Length(length.parse().expect("a length")),
                Some(("transfer-encoding", "chunked")) => body = Body::Chunked,
                Some(_) => {}
            }
        }
    }
}
