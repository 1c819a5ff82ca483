//! One Memcached node: its connections, each with one exchange at a time, and how they end.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::wire::{Command, Connection, Failure, Reply};
use crate::{
    error::{Error, Kind, Result},
    socket,
    store::{breaker::Health, remote::PATIENCE},
    unpoisoned::Unpoisoned,
};

const CONNECT: Duration = Duration::from_millis(300);
const CONNECTIONS: usize = 16;
/// At most this many chunks are on their way to a node at once. A waiting chunk's time limit begins
/// only when its turn comes,
const WRITES: usize = 4;
/// and is this long: no request waits for the write, and the network may be slow.
const CHUNK: Duration = Duration::from_secs(2);

const META: &str = "it must be Memcached 1.6 or later, without a proxy that does not pass meta commands on";

pub(super) struct Node {
    pub(super) address: String,
    /// Connections without an exchange under way. Each new one looks the address up again, since
    /// the node may have moved.
    idle: Mutex<Vec<Connection>>,
    room: Semaphore,
    writes: Semaphore,
    pub(super) health: Health,
}

impl Node {
    pub(super) fn at(address: &str) -> Arc<Node> {
        Arc::new(Node {
            address: address.to_owned(),
            idle: Mutex::default(),
            room: Semaphore::new(CONNECTIONS),
            writes: Semaphore::new(WRITES),
            health: Health::default(),
        })
    }

    /// Whether the node is left alone for now. When its rest is over, the first call of this starts
    /// a task that tries the node; the caller does not wait for that.
    pub(super) fn rests(self: &Arc<Node>) -> bool {
        if !self.health.rests() {
            return false;
        }
        if self.health.may_be_tried() {
            let node = Arc::clone(self);
            tokio::spawn(async move { node.read(Command::nothing()).await.map(drop) });
        }
        true
    }

    pub(super) async fn read(&self, command: Command) -> Result<Reply> {
        let [reply] = self.health.read(self.exchange([command], PATIENCE)).await?;
        Ok(reply)
    }

    /// Reads the values of several names in one exchange.
    pub(super) async fn read_all(&self, commands: &[Command]) -> Result<Vec<Reply>> {
        self.health.read(self.exchange_all(commands, PATIENCE)).await
    }

    pub(super) async fn write(&self, command: Command) -> Result<Reply> {
        let [reply] = self.health.write(self.exchange([command], PATIENCE)).await?;
        Ok(reply)
    }

    /// Writes, even if other writes were refused lately.
    pub(super) async fn insist(&self, command: Command) -> Result<Reply> {
        let [reply] = self.health.insist(self.exchange([command], PATIENCE)).await?;
        Ok(reply)
    }

    pub(super) async fn write_and_read(&self, write: Command, read: Command) -> Result<[Reply; 2]> {
        self.health.write(self.exchange([write, read], PATIENCE)).await
    }

    pub(super) async fn write_chunk(&self, command: Command) -> Result<()> {
        let _turn = self.writes.acquire().await;
        self.health.write(self.exchange([command], CHUNK)).await.map(drop)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unpoisoned()
    }

    async fn exchange<const N: usize>(&self, commands: [Command; N], patience: Duration) -> Result<[Reply; N]> {
        let replies = self.exchange_all(&commands, patience).await?;
        Ok(replies.try_into().expect("each command has an answer"))
    }

    /// One exchange, within its time limit. If it fails on a connection, that one and all idle ones
    /// are closed: they may be dead too, and the address may lead elsewhere by now.
    async fn exchange_all(&self, commands: &[Command], patience: Duration) -> Result<Vec<Reply>> {
        let deadline = Instant::now() + patience;
        let asked = async {
            let _room = self.room.acquire().await;
            let known = self.idle().pop();
            if let Some(mut connection) = known {
                match connection.exchange(commands).await {
                    // The node closed the connection while it was idle, which is no failure of the
                    // node.
                    Err(Failure::Broken(_)) => self.idle().clear(),
                    outcome => return self.kept(connection, outcome),
                }
            }
            let mut connection = self.connect().await?;
            let outcome = connection.exchange(commands).await;
            self.kept(connection, outcome)
        };

        let outcome = match timeout_at(deadline, asked).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Broken(io::ErrorKind::TimedOut.into())),
        };

        outcome.map_err(|failure| {
            if failure.ends_the_connection() {
                self.idle().clear();
            }
            explained(&self.address, failure)
        })
    }

    /// After a success keeps the connection for the next exchange.
    fn kept<T>(&self, connection: Connection, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if outcome.is_ok() {
            self.idle().push(connection);
        }
        outcome
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let connected = timeout(CONNECT, TcpStream::connect(&self.address)).await;
        let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        socket::prepare(&stream, Some(socket::keepalive(None)))?;
        Ok(Connection::over(stream))
    }
}

/// The error that a call returns for this failure.
fn explained(address: &str, failure: Failure) -> Error {
    let error = |kind, what: &str| Error::new(kind, format!("Memcached at {address} {what}"));
    match failure {
        Failure::Broken(why) if why.kind() == io::ErrorKind::TimedOut => error(Kind::Timeout, "did not answer in time"),
        Failure::Broken(why) if why.kind() == io::ErrorKind::UnexpectedEof => {
            error(Kind::Unavailable, "closed the connection").remedy(META)
        }
        Failure::Broken(why) => error(Kind::Unavailable, "failed").caused_by(why),
        Failure::Garbled => error(Kind::Unavailable, "answers as no Memcached does").remedy(META),
        Failure::Unknown(text) => {
            error(Kind::Unavailable, "does not know the meta protocol").remedy(META).caused_by(text)
        }
        Failure::Refused(text) if text.contains("too large") => error(Kind::Invalid, "says that a chunk is too large")
            .remedy("start it with -I 1m, its default, or set `max_entry` in [store] to what it takes")
            .caused_by(text),
        Failure::Refused(text) => error(Kind::Refused, "takes no writes")
            .remedy("give it more memory (-m), and let it drop old items (no -M)")
            .caused_by(text),
    }
}
