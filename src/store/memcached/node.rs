//! One Memcached: connections to it, each for one exchange at a time, and what becomes of them.

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
    store::{breaker::Health, shared::PATIENCE},
    unpoisoned::Unpoisoned,
};

const CONNECT: Duration = Duration::from_millis(300);
const CONNECTIONS: usize = 16;
/// So many chunks are on their way to a node at once; the time limit of the others begins when it
/// is their turn,
const WRITES: usize = 4;
/// and is this, since nobody waits for them and the way may be slow.
const CHUNK: Duration = Duration::from_secs(2);

const META: &str = "it must be Memcached 1.6 or later, without a proxy that does not pass meta commands on";

pub(super) struct Node {
    pub(super) address: String,
    /// Connections on which nothing is asked. The address is looked up for each: it may have moved.
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

    /// Whether it is left alone for now. After each rest somebody who asks this has it tried, and
    /// waits for that no more than anybody else.
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

    pub(super) async fn write(&self, command: Command) -> Result<Reply> {
        let [reply] = self.health.write(self.exchange([command], PATIENCE)).await?;
        Ok(reply)
    }

    /// Writes though other writes were refused lately.
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

    /// One exchange, within its time limit. A connection over which it fails is ended, and with it
    /// all that are idle: they may be as silent, and the address may lead elsewhere by now.
    async fn exchange<const N: usize>(&self, commands: [Command; N], patience: Duration) -> Result<[Reply; N]> {
        let deadline = Instant::now() + patience;
        let asked = async {
            let _room = self.room.acquire().await;
            let known = self.idle().pop();
            if let Some(mut connection) = known {
                match connection.exchange(&commands).await {
                    // It was closed while it was idle: that is no failure of the node.
                    Err(Failure::Broken(_)) => self.idle().clear(),
                    outcome => return self.kept(connection, outcome),
                }
            }
            let mut connection = self.connect().await?;
            let outcome = connection.exchange(&commands).await;
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

    /// Keeps a connection on which nothing is under way for the next exchange.
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

/// The error for a call.
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
