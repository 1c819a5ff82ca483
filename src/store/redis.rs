//! Redis and Valkey: one server, several behind Sentinel, or a cluster.
//!
//! `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `redis+cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT`,
//! `redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/NAME[/DB]`; with `rediss` for `redis` over TLS, certificates checked against the
//! system's roots (or `SSL_CERT_FILE`).

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use redis::{
    Client, Cmd, ConnectionAddr, Pipeline, RedisError, RedisResult, TlsMode, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

use super::{
    Store, StoreOptions,
    breaker::Breaker,
    share,
    shared::{Remote, Taken},
};
use crate::{
    error::{Error, Kind, Result},
    source::BoxFuture,
};

/// One connection with a large value on it holds up the others' answers: so many take turns where somebody waits for them, and one has the chunks that
/// are written.
const CONNECTIONS: [usize; 2] = [3, 1];
const CONNECT: Duration = Duration::from_secs(1);
/// A cluster's or Sentinel's machines are asked one after the other.
const CONNECT_TO_ANY: Duration = Duration::from_secs(10);
/// Larger values hold up a server that does one thing at a time.
const LARGEST: usize = 8 * 1024 * 1024;
/// Of two who write a number at once, the larger stays. What is none, or larger than [`number_in`](super::shared::number_in) takes, is garbage and goes.
const RAISE: &str = "local there = redis.call('get', KEYS[1])
    there = there and there:match('^%d+$') and tonumber(there) or 0
    if there < tonumber(ARGV[1]) or there >= 9007199254740992 then redis.call('set', KEYS[1], ARGV[1]) end
    return 0";
const TAKE_BACK: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

struct Redis {
    asks: Link,
    /// What is asked waits behind no chunk that is written.
    writes: Link,
    breaker: Breaker,
}

enum Link {
    Single { managers: Vec<ConnectionManager>, turn: AtomicUsize },
    Cluster { client: Box<ClusterClient>, slot: Slot<ClusterConnection> },
    Sentinel { client: Arc<Mutex<SentinelClient>>, slot: Slot<MultiplexedConnection> },
}

/// A connection that all share, once it is there.
type Slot<C> = Arc<Mutex<Option<C>>>;

/// The connection in the slot; made first where there is none. That goes on though whoever asked stops waiting: there may be machines to
/// be passed over that do not answer.
async fn shared<C: Clone + Send + 'static>(
    slot: &Slot<C>,
    connect: impl Future<Output = RedisResult<C>> + Send + 'static,
) -> Result<C> {
    if let Some(known) = slot.try_lock().ok().and_then(|slot| slot.clone()) {
        return Ok(known);
    }
    let slot = Arc::clone(slot);
    let connecting = tokio::spawn(async move {
        let mut slot = slot.lock().await;
        if let Some(known) = &*slot {
            return Ok(known.clone());
        }
        let made = tokio::time::timeout(CONNECT_TO_ANY, connect).await;
        let made = made.map_err(|_| Error::new(Kind::Timeout, "no machine of the store answered in time"))?;
        Ok(slot.insert(made.map_err(failed)?).clone())
    });
    connecting.await.map_err(|_| Error::new(Kind::Internal, "connecting ended without a word"))?
}

pub(super) fn open(options: &StoreOptions) -> Result<Arc<dyn Store>> {
    // rediss asks for the process's; another may have been chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let [asks, writes] = CONNECTIONS.map(|connections| link(&options.url, connections));
    let links = asks.and_then(|asks| Ok((asks, writes?)));
    let (asks, writes) = links.map_err(|why| {
        Error::new(Kind::Config, format!("the URL of the store cannot be read: {why}")).remedy(
            "write redis://HOST:PORT/DB, redis+cluster://HOST:PORT,HOST:PORT or redis+sentinel://HOST:PORT,HOST:PORT/NAME, \
             with `rediss` for TLS, and with USER:PASSWORD@ before the hosts where they are needed",
        )
    })?;
    Ok(share(Redis { asks, writes, breaker: Breaker::default() }, options))
}

/// The way to what a URL names: so many connections, where that is a single server.
fn link(url: &str, connections: usize) -> Result<Link, String> {
    // What the driver says of a URL may hold the password.
    let broken = |error: RedisError| format!("{:?}", error.kind());
    let (scheme, rest) = url.split_once("://").ok_or("it has no ://")?;
    let (redis, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = redis == "rediss";
    if kind == "cluster" {
        let parts = Parts::of(rest)?;
        let hosts = parts.hosts.iter().map(|(host, port)| match host.contains(':') {
            true => format!("{redis}://[{host}]:{port}"),
            false => format!("{redis}://{host}:{port}"),
        });
        let mut builder = ClusterClientBuilder::new(hosts).connection_timeout(CONNECT).retries(2);
        if let Some(user) = parts.user {
            builder = builder.username(user);
        }
        if let Some(password) = parts.password {
            builder = builder.password(password);
        }
        return Ok(Link::Cluster { client: Box::new(builder.build().map_err(broken)?), slot: Slot::default() });
    }
    if kind == "sentinel" {
        let parts = Parts::of(rest)?;
        let (name, database) = parts.path.split_once('/').unwrap_or((parts.path, "0"));
        if name.is_empty() {
            return Err("it does not name what Sentinel watches".into());
        }
        let hosts = parts.hosts.iter().map(|(host, port)| match (host.clone(), *port) {
            (host, port) if tls => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            (host, port) => ConnectionAddr::Tcp(host, port),
        });
        let mut builder = SentinelClientBuilder::new(hosts, name, SentinelServerType::Master)
            .map_err(broken)?
            .set_client_to_redis_db(database.parse().map_err(|_| "the database is no number".to_owned())?);
        if tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(user) = parts.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = parts.password {
            builder = builder.set_client_to_redis_password(password);
        }
        let client = Arc::new(Mutex::new(builder.build().map_err(broken)?));
        return Ok(Link::Sentinel { client, slot: Slot::default() });
    }
    let client = Client::open(url).map_err(broken)?;
    let manager = || {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(CONNECT))
            // The next call tries again; this one says why it failed, in its time.
            .set_number_of_retries(0);
        ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(broken)
    };
    let managers = (0..connections).map(|_| manager()).collect::<Result<_, _>>()?;
    Ok(Link::Single { managers, turn: AtomicUsize::new(0) })
}

/// The parts of a URL with several hosts, behind its scheme.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<(String, u16)>,
    path: &'a str,
}

impl Parts<'_> {
    fn of(rest: &str) -> Result<Parts<'_>, String> {
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (user, password) = login.map_or((None, None), |login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (Some(decoded(user)), Some(decoded(password)))
        });
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = |text: &str| {
            let (host, port) = text.rsplit_once(':').ok_or("a host has no port")?;
            let port = port.parse().map_err(|_| "a port is no number")?;
            Ok::<_, &str>((host.trim_matches(['[', ']']).to_owned(), port))
        };
        let hosts = hosts.split(',').map(host).collect::<Result<Vec<_>, _>>()?;
        Ok(Parts { user: some(user), password: some(password), hosts, path })
    }
}

/// A connection of whichever kind.
enum Usable {
    Manager(ConnectionManager),
    Cluster(ClusterConnection),
    Plain(MultiplexedConnection),
}

impl Usable {
    fn connection(&mut self) -> &mut (dyn ConnectionLike + Send) {
        match self {
            Usable::Manager(connection) => connection,
            Usable::Cluster(connection) => connection,
            Usable::Plain(connection) => connection,
        }
    }
}

impl Link {
    async fn usable(&self) -> Result<Usable> {
        match self {
            Link::Single { managers, turn } => {
                let turn = turn.fetch_add(1, Ordering::Relaxed) % managers.len();
                Ok(Usable::Manager(managers[turn].clone()))
            }
            Link::Cluster { client, slot } => {
                let client = client.clone();
                Ok(Usable::Cluster(shared(slot, async move { client.get_async_connection().await }).await?))
            }
            Link::Sentinel { client, slot } => {
                let client = Arc::clone(client);
                let connect = async move { client.lock().await.get_async_connection().await };
                Ok(Usable::Plain(shared(slot, connect).await?))
            }
        }
    }

    /// The answers to commands that go out together.
    async fn answers(&self, commands: &Pipeline) -> Result<Vec<Value>> {
        let mut answers = self.ask(commands).await?;
        if let Link::Single { managers, .. } = self {
            // After an outage each connection finds out by itself that it is dead: the others are tried at once.
            for _ in 1..managers.len() {
                match &answers {
                    Err(error) if error.is_io_error() || error.is_connection_dropped() => {
                        answers = self.ask(commands).await?
                    }
                    _ => break,
                }
            }
        }
        let answers = answers.and_then(|answers| answers.into_iter().map(Value::extract_error).collect());
        if answers.is_err()
            && let Link::Sentinel { slot, .. } = self
        {
            // Whatever went wrong, Sentinel is asked anew who leads: a former master may be a replica now, which takes no writes.
            *slot.lock().await = None;
        }
        answers.map_err(failed)
    }

    async fn ask(&self, commands: &Pipeline) -> Result<Result<Vec<Value>, RedisError>> {
        Ok(self.usable().await?.connection().req_packed_commands(commands, 0, commands.len()).await)
    }
}

impl Redis {
    /// The answer to a command that somebody waits for.
    async fn run(&self, command: &mut Cmd) -> Result<Value> {
        self.run_over(&self.asks, command).await
    }

    /// The answer to a command, which is taken.
    async fn run_over(&self, link: &Link, command: &mut Cmd) -> Result<Value> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command.take());
        Ok(self.breaker.call(link.answers(&commands)).await?.pop().unwrap_or(Value::Nil))
    }
}

fn bytes_of(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

fn failed(error: RedisError) -> Error {
    match error.code() {
        Some("OOM") => Error::new(Kind::Busy, "Redis is full and forgets nothing by itself")
            .remedy("give it a maxmemory-policy, for instance volatile-lru")
            .caused_by(error),
        _ => Error::new(Kind::Unavailable, "Redis failed").caused_by(error),
    }
}

fn milliseconds(keep: Duration) -> u64 {
    keep.as_millis().clamp(1, 1 << 50) as u64
}

impl Remote for Redis {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move { self.run(redis::cmd("GET").arg(name)).await.map(bytes_of) })
    }

    fn set<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // With room for all of it, a chunk is copied once less.
            let mut command = Cmd::with_capacity(5, name.len() + bytes.len() + 32);
            command.arg("SET").arg(name).arg(&bytes[..]).arg("PX").arg(milliseconds(keep));
            self.run_over(&self.writes, &mut command).await.map(drop)
        })
    }

    fn take<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration, other: &'a str) -> BoxFuture<'a, Result<Taken>> {
        Box::pin(async move {
            let mut commands = redis::pipe();
            commands.cmd("SET").arg(name).arg(&bytes[..]).arg("NX").arg("PX").arg(milliseconds(keep));
            commands.cmd("GET").arg(other);
            let mut answers = self.breaker.call(self.asks.answers(&commands)).await?.into_iter();
            let ours = !matches!(answers.next(), None | Some(Value::Nil));
            Ok(Taken { ours, there: answers.next().and_then(bytes_of) })
        })
    }

    fn give_back<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(
            async move { self.run(redis::cmd("EVAL").arg(TAKE_BACK).arg(1).arg(name).arg(&bytes[..])).await.map(drop) },
        )
    }

    fn raise_copies<'a>(&'a self, name: &'a str, number: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.run(redis::cmd("EVAL").arg(RAISE).arg(1).arg(name).arg(number)).await.map(drop) })
    }

    fn largest(&self) -> usize {
        LARGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_several_hosts_is_read_and_a_wrong_one_says_why() {
        let parts = Parts::of("app:s%40cret@a:1,[::1]:2/mymaster/3").unwrap();
        assert_eq!(parts.hosts, [("a".to_owned(), 1), ("::1".to_owned(), 2)]);
        assert_eq!(
            (parts.user.as_deref(), parts.password.as_deref(), parts.path),
            (Some("app"), Some("s@cret"), "mymaster/3")
        );
        assert_eq!(Parts::of("a,b:1").unwrap_err(), "a host has no port");
        assert_eq!(Parts::of("a:x").unwrap_err(), "a port is no number");
        assert_eq!(Parts::of(":secret@a:1").unwrap().user, None);
    }
}
