//! Connections to Redis, shared by all callers. A connection is replaced once a call on it failed.
//!
//! The driver's own connection manager replaces a connection only when the socket reports its end
//! (redis 1.8.1). One that fell silent, for instance behind a firewall that forgot it, would be
//! used for ever.

use std::{
    future::ready,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, Shared},
};
use redis::{
    AsyncConnectionConfig, Client, Pipeline, RedisError, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::SentinelClient,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer;
use crate::{
    error::{Error, Kind, Result},
    store::remote::PATIENCE,
    unpoisoned::Unpoisoned,
};

/// Calls that somebody waits for take turns on this many connections, since a large value on one
/// delays the other answers there.
const ASKS: usize = 3;
/// The time limit for making a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// The same for a cluster or Sentinel, whose machines are tried one after the other.
const CONNECT_TO_ANY: Duration = Duration::from_secs(10);
/// The time limit for writing a chunk. It is longer, since no request waits for the write and the
/// network may be slow.
const CHUNK: Duration = Duration::from_secs(2);

/// Makes connections.
pub(super) enum Connector {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
    Sentinel(Arc<tokio::sync::Mutex<SentinelClient>>),
}

/// A connection to one server or to a cluster.
#[derive(Clone)]
enum Connection {
    Plain(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn ask(&mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let answers = match self {
            Connection::Plain(connection) => connection.req_packed_commands(commands, 0, commands.len()),
            Connection::Cluster(connection) => connection.req_packed_commands(commands, 0, commands.len()),
        };
        answers.await?.into_iter().map(Value::extract_error).collect()
    }
}

impl Connector {
    fn connect(&self) -> BoxFuture<'static, Result<Connection>> {
        // The driver sets no limit for answers: each call has its own.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        let connecting = match self {
            Connector::Single(client) => {
                let client = client.clone();
                async move { client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Plain) }
                    .boxed()
            }
            Connector::Cluster(client) => {
                let client = client.clone();
                async move { client.get_async_connection().await.map(Connection::Cluster) }.boxed()
            }
            Connector::Sentinel(client) => {
                let client = Arc::clone(client);
                async move {
                    client.lock().await.get_async_connection_with_config(&config).await.map(Connection::Plain)
                }
                .boxed()
            }
        };

        async move {
            match timeout(CONNECT_TO_ANY, connecting).await {
                Ok(made) => made.map_err(|error| answer::explained(error, false)),
                Err(_) => Err(Error::new(Kind::Timeout, "no machine of the store answered in time")),
            }
        }
        .boxed()
    }
}

/// A connection and its state.
struct Live {
    connection: Connection,
    /// When it last answered, in milliseconds since the link was made.
    answered: AtomicU64,
    /// Whether it must not be used again.
    ended: AtomicBool,
}

/// A connection that is being made or is there. It is completed even if no call waits any more,
/// since it may take long to pass over machines that do not answer.
type Attempt = Shared<BoxFuture<'static, Result<Arc<Live>>>>;

/// One of the connections of a link.
#[derive(Default)]
struct Line(Mutex<Ends>);

#[derive(Default)]
struct Ends {
    newest: Option<Attempt>,
    /// For a cluster: the connection that is being replaced. Calls use it meanwhile, since most of
    /// the cluster's nodes may be well.
    former: Option<Arc<Live>>,
}

impl Line {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unpoisoned()
    }

    /// The connection, if it is made and was not given up.
    fn live(&self) -> Option<Arc<Live>> {
        let live = self.ends().newest.as_ref()?.peek()?.as_ref().ok()?.clone();
        (!live.ended.load(Ordering::Relaxed)).then_some(live)
    }
}

/// The purpose of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
    /// Writes a chunk; no request waits for it.
    Chunk,
}

impl Call {
    fn patience(self) -> Duration {
        if self == Call::Chunk { CHUNK } else { PATIENCE }
    }
}

/// Connections to a Redis: several that take turns, and one only for writing chunks, so that no
/// request waits behind those.
pub(super) struct Link {
    connector: Connector,
    asks: Vec<Line>,
    writes: Line,
    turn: AtomicUsize,
    began: Instant,
}

impl Link {
    pub(super) fn new(connector: Connector) -> Link {
        // A cluster's connection has one socket for each node already, and each of Sentinel's asks
        // Sentinel anew.
        let asks = if matches!(connector, Connector::Single(_)) { ASKS } else { 1 };
        Link {
            connector,
            asks: (0..asks).map(|_| Line::default()).collect(),
            writes: Line::default(),
            turn: AtomicUsize::new(0),
            began: Instant::now(),
        }
    }

    /// Sends commands together and returns their answers, within the call's time limit.
    ///
    /// # Errors
    /// [`Kind::Refused`] if Redis refused to write but can still be read. If no answer came, the
    /// commands may have been carried out all the same.
    pub(super) async fn exchange(&self, commands: &Pipeline, call: Call) -> Result<Vec<Value>> {
        let deadline = Instant::now() + call.patience();
        let line = self.line(call);
        let late = || Error::new(Kind::Timeout, "the store did not answer in time");

        // A connection that broke while idle is replaced silently, once.
        let mut again = true;
        loop {
            let was_there = line.live().is_some();
            let Ok(live) = timeout_at(deadline, self.live(line)).await else { return Err(late()) };
            let live = live?;

            let began = self.now();
            let mut connection = live.connection.clone();
            let answers = match timeout_at(deadline, connection.ask(commands)).await {
                Ok(answers) => answers,
                Err(_) => {
                    self.give_up(&live, began);
                    return Err(late());
                }
            };

            match answers {
                Ok(answers) => {
                    live.answered.store(self.now(), Ordering::Relaxed);
                    return Ok(answers);
                }
                Err(error) => {
                    if answer::ends_the_connection(&error) {
                        // If the server has changed roles, that holds for every connection to it.
                        self.give_up(&live, if is_broken(&error) { began } else { u64::MAX });
                    }
                    if again && was_there && is_broken(&error) {
                        again = false;
                        continue;
                    }
                    return Err(answer::explained(error, call != Call::Read));
                }
            }
        }
    }

    fn line(&self, call: Call) -> &Line {
        if call == Call::Chunk {
            return &self.writes;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        &self.asks[turn % self.asks.len()]
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// The connection of a line; makes it if there is none.
    fn live(&self, line: &Line) -> impl Future<Output = Result<Arc<Live>>> + use<> {
        let mut ends = line.ends();
        let newest = ends.newest.as_ref().map(|attempt| (attempt.clone(), attempt.peek().cloned()));
        match newest {
            Some((_, Some(Ok(live)))) if !live.ended.load(Ordering::Relaxed) => {
                ends.former = None;
                return Either::Left(ready(Ok(live)));
            }
            Some((attempt, None)) => return Ends::meanwhile(&ends.former, attempt),
            Some((_, Some(Ok(given_up)))) if matches!(self.connector, Connector::Cluster(_)) => {
                ends.former = Some(given_up);
            }
            _ => {}
        }

        let connecting = self.connector.connect();
        let began = self.began;
        let attempt = async move {
            let connection = connecting.await?;
            let answered = AtomicU64::new(began.elapsed().as_millis() as u64);
            Ok(Arc::new(Live { connection, answered, ended: AtomicBool::new(false) }))
        };

        let attempt = attempt.boxed().shared();
        tokio::spawn(attempt.clone());
        ends.newest = Some(attempt.clone());
        Ends::meanwhile(&ends.former, attempt)
    }

    /// Gives up this connection, and every other that has not answered since `since`: it met the
    /// same fault.
    fn give_up(&self, live: &Live, since: u64) {
        live.ended.store(true, Ordering::Relaxed);
        for other in self.asks.iter().chain([&self.writes]).filter_map(Line::live) {
            if other.answered.load(Ordering::Relaxed) < since {
                other.ended.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Ends {
    /// The connection that is being replaced, if it may serve until the new one is made; else the
    /// new one.
    fn meanwhile(
        former: &Option<Arc<Live>>,
        attempt: Attempt,
    ) -> Either<std::future::Ready<Result<Arc<Live>>>, Attempt> {
        match former {
            Some(former) => Either::Left(ready(Ok(Arc::clone(former)))),
            None => Either::Right(attempt),
        }
    }
}

/// Whether the connection broke and no answer came.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped()
}
