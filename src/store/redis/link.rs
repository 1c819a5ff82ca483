//! Connections to Redis, shared by all callers and replaced once a call over one of them failed.
//!
//! The driver's own manager of connections replaces one only when the socket says that it is closed
//! (redis 1.8.1): one that fell silent, as behind a firewall that forgot it, would be used for
//! ever.

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
    store::shared::PATIENCE,
    unpoisoned::Unpoisoned,
};

/// One connection with a large value on it holds up the others' answers: so many take turns where
/// somebody waits for them.
const ASKS: usize = 3;
/// How long a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// A cluster's or Sentinel's machines are asked one after the other.
const CONNECT_TO_ANY: Duration = Duration::from_secs(10);
/// A chunk that is written is waited for so long: nobody waits for it, and the way to the store may
/// be slow.
const CHUNK: Duration = Duration::from_secs(2);

/// What a connection is made by.
pub(super) enum Connector {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
    Sentinel(Arc<tokio::sync::Mutex<SentinelClient>>),
}

/// A connection of one kind or the other.
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
        // An answer is waited for as long as each call says.
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

/// A connection, and what became of it.
struct Live {
    connection: Connection,
    /// When it last answered, in milliseconds since the link began.
    answered: AtomicU64,
    /// Whether it is not to be used any more.
    ended: AtomicBool,
}

/// A connection that comes about or is there. It comes about though nobody waits for it any more:
/// there may be machines to be passed over that do not answer.
type Attempt = Shared<BoxFuture<'static, Result<Arc<Live>>>>;

/// One of the connections of a link.
#[derive(Default)]
struct Line(Mutex<Ends>);

#[derive(Default)]
struct Ends {
    newest: Option<Attempt>,
    /// A cluster's connection that is being replaced. Most of its nodes may be well, and are asked
    /// over it meanwhile.
    former: Option<Arc<Live>>,
}

impl Line {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unpoisoned()
    }

    /// The connection, if it is there and was not given up.
    fn live(&self) -> Option<Arc<Live>> {
        let live = self.ends().newest.as_ref()?.peek()?.as_ref().ok()?.clone();
        (!live.ended.load(Ordering::Relaxed)).then_some(live)
    }
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
    /// Writes a chunk, for which nobody waits.
    Chunk,
}

impl Call {
    fn patience(self) -> Duration {
        if self == Call::Chunk { CHUNK } else { PATIENCE }
    }
}

/// The way to a Redis: connections that take turns, and one for the chunks that are written, so
/// that nobody waits behind those.
pub(super) struct Link {
    connector: Connector,
    asks: Vec<Line>,
    writes: Line,
    turn: AtomicUsize,
    began: Instant,
}

impl Link {
    pub(super) fn new(connector: Connector) -> Link {
        // A cluster's connection is one for each of its nodes, and Sentinel is asked for each anew.
        let asks = if matches!(connector, Connector::Single(_)) { ASKS } else { 1 };
        Link {
            connector,
            asks: (0..asks).map(|_| Line::default()).collect(),
            writes: Line::default(),
            turn: AtomicUsize::new(0),
            began: Instant::now(),
        }
    }

    /// The answers to commands that go out together, within the call's time limit.
    ///
    /// # Errors
    /// [`Kind::Refused`] where Redis refused to write, and can be read all the same. What was asked
    /// may have been done if there was no answer.
    pub(super) async fn exchange(&self, commands: &Pipeline, call: Call) -> Result<Vec<Value>> {
        let deadline = Instant::now() + call.patience();
        let line = self.line(call);
        let late = || Error::new(Kind::Timeout, "the store did not answer in time");

        // A connection that was lost while it was idle is replaced without a word, once.
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
                        // A server that is not what it was is that for every connection to it.
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

    /// The connection of a line, made first where there is none.
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

    /// Nobody uses this connection again, nor any other that has not answered since then: what this
    /// one met, they did too.
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
    /// The connection that is being replaced, if it may serve until the new one is there; else
    /// that.
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

/// Whether the connection broke, rather than an answer came.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped()
}
