//! The part of Memcached's meta protocol that is used here
//! (<https://github.com/memcached/memcached/blob/master/doc/protocol.txt>).

use std::{fmt::Write as _, io, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// The longest line of an answer, in bytes.
const LINE: u64 = 4096;
/// The longest value, in bytes: no server writes a longer one.
const VALUE: usize = 64 * 1024 * 1024;
/// The longest time in seconds; the protocol reads larger numbers as dates.
const LONGEST: u64 = 30 * 24 * 3600;

/// A command: its line, and the value that comes with it.
pub(super) struct Command {
    line: String,
    value: Option<Bytes>,
}

impl Command {
    /// Asks for the value under a name, and its version.
    pub(super) fn get(name: &str) -> Command {
        Command { line: format!("mg {name} v c"), value: None }
    }

    /// Keeps a value for `keep`, in whole seconds and at least one; zero means without end.
    pub(super) fn set(name: &str, value: Bytes, keep: Duration) -> Command {
        let seconds = if keep.is_zero() { 0 } else { keep.as_secs().clamp(1, LONGEST) };
        Command { line: format!("ms {name} {} T{seconds}", value.len()), value: Some(value) }
    }

    /// The same, only if the name has no value yet.
    pub(super) fn where_none(mut self) -> Command {
        self.line.push_str(" ME");
        self
    }

    /// The same, only if the value still has this version.
    pub(super) fn where_still(mut self, version: u64) -> Command {
        let _ = write!(self.line, " C{version}");
        self
    }

    /// Deletes a value, if it has this version.
    pub(super) fn delete(name: &str, version: u64) -> Command {
        Command { line: format!("md {name} C{version}"), value: None }
    }

    /// Asks for an answer and does nothing else.
    pub(super) fn nothing() -> Command {
        Command { line: "mn".into(), value: None }
    }
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// Whether the write or the delete was done.
    pub(super) is_done: bool,
    pub(super) value: Option<Bytes>,
    pub(super) version: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection broke, or no answer came in time.
    Broken(io::Error),
    /// The answer is not of this protocol.
    Garbled,
    /// The node does not know the command.
    Unknown(String),
    /// The node cannot do it now.
    Refused(String),
}

impl Failure {
    /// Whether connections to this node must be closed.
    pub(super) fn ends_the_connection(&self) -> bool {
        !matches!(self, Failure::Refused(_))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Broken(error)
    }
}

/// A connection. It must not be used again after a failure: late answers may still come.
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(super) fn over(stream: TcpStream) -> Connection {
        Connection(BufReader::new(stream))
    }

    /// Sends these commands together and reads an answer to each.
    pub(super) async fn exchange(&mut self, commands: &[Command]) -> Result<Vec<Reply>, Failure> {
        let length: usize =
            commands.iter().map(|one| one.line.len() + one.value.as_ref().map_or(0, Bytes::len) + 4).sum();
        let mut request = Vec::with_capacity(length);
        for command in commands {
            request.extend_from_slice(command.line.as_bytes());
            request.extend_from_slice(b"\r\n");
            if let Some(value) = &command.value {
                request.extend_from_slice(value);
                request.extend_from_slice(b"\r\n");
            }
        }

        self.0.write_all(&request).await?;

        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            replies.push(self.reply().await?);
        }

        Ok(replies)
    }

    async fn reply(&mut self) -> Result<Reply, Failure> {
        let mut line = vec![];
        (&mut self.0).take(LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }

        let line =
            line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or(Failure::Garbled)?;

        let (code, rest) = line.split_once(' ').unwrap_or((line, ""));
        match code {
            "HD" | "OK" | "MN" => Ok(Reply { is_done: true, ..Reply::default() }),
            "EN" | "NS" | "EX" | "NF" => Ok(Reply::default()),
            "VA" => self.value(rest).await,
            "SERVER_ERROR" => Err(Failure::Refused(line.to_owned())),
            "CLIENT_ERROR" | "ERROR" => Err(Failure::Unknown(line.to_owned())),
            _ => Err(Failure::Garbled),
        }
    }

    async fn value(&mut self, head: &str) -> Result<Reply, Failure> {
        let mut words = head.split(' ');
        let length: usize = words.next().and_then(|word| word.parse().ok()).ok_or(Failure::Garbled)?;
        let version = words.find_map(|word| word.strip_prefix('c')).and_then(|version| version.parse().ok());
        if length > VALUE {
            return Err(Failure::Garbled);
        }

        let mut value = vec![0; length + 2];
        self.0.read_exact(&mut value).await?;
        if !value.ends_with(b"\r\n") {
            return Err(Failure::Garbled);
        }
        value.truncate(length);
        Ok(Reply { is_done: true, value: Some(value.into()), version })
    }
}
