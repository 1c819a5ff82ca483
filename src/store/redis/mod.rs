//! Redis and Valkey: one server, several behind Sentinel, or a cluster.

mod answer;
mod link;
mod url;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::Semaphore;

use self::link::{Call, Link};
use super::{
    FarState, Store, StoreOptions,
    breaker::Health,
    remote::{Remote, Step, Stepped, Taken},
    share,
};
use crate::{
    error::{Error, Kind, Result},
    source::BoxFuture,
};

/// The largest value, in bytes. Redis does one thing at a time, and a larger value holds it up.
const LARGEST: usize = 8 * 1024 * 1024;
/// At most this many chunks are on their way at once. A waiting chunk's time limit begins only when
/// its turn comes.
const WRITES: usize = 4;
/// Of two writes of a number at once, the larger number stays. A value that
/// [`number_in`](super::remote::number_in) does not take for a number is garbage and is replaced.
const RAISE: &str = "local there = redis.call('get', KEYS[1])
    there = there and there:match('^%d+$') and tonumber(there) or 0
    if there < tonumber(ARGV[1]) or there >= 9007199254740992 then redis.call('set', KEYS[1], ARGV[1]) end
    return 0";
const TAKE_BACK: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// Moves the head of a journal, and keeps its entry first. A step that was done already, and is
/// repeated because its answer was lost, changes nothing.
const STEP: &str = "local there = redis.call('get', KEYS[1]) or ''
    if there ~= ARGV[1] then
        return {there, KEYS[2] and redis.call('get', KEYS[2]) == ARGV[3] and 1 or 0}
    end
    if KEYS[2] then redis.call('set', KEYS[2], ARGV[3], 'PX', ARGV[4]) end
    redis.call('set', KEYS[1], ARGV[2])
    return {ARGV[2], 1}";

struct Redis {
    link: Link,
    health: Health,
    writes: Semaphore,
}

/// Opens `redis://…` and its kinds. Connections are made when they are first needed.
pub(super) fn open(options: &StoreOptions) -> Result<Store> {
    // `rediss` uses the process's default provider of cryptography; the program may have installed
    // one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let link = Link::new(url::connector(options)?);
    let redis = Redis { link, health: Health::default(), writes: Semaphore::new(WRITES) };
    Ok(share(redis, options))
}

/// A pipeline of one command; takes the command out of `command`.
fn alone(command: &mut Cmd) -> Pipeline {
    let mut commands = Pipeline::with_capacity(1);
    commands.add_command(command.take());
    commands
}

fn bytes_of(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

fn no_answer() -> Error {
    Error::new(Kind::Unavailable, "Redis answers a script as it never does")
}

fn milliseconds(keep: Duration) -> u64 {
    keep.as_millis().clamp(1, 1 << 50) as u64
}

impl Remote for Redis {
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            let commands = alone(redis::cmd("GET").arg(name));
            let answers = self.health.read(self.link.exchange(&commands, Call::Read)).await?;
            Ok(answers.into_iter().next().and_then(bytes_of))
        })
    }

    fn set<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // With the whole size reserved, the chunk is copied once less.
            let mut command = Cmd::with_capacity(5, name.len() + bytes.len() + 32);
            command.arg("SET").arg(name).arg(&bytes[..]).arg("PX").arg(milliseconds(keep));
            let commands = alone(&mut command);

            let _turn = self.writes.acquire().await;
            self.health.write(self.link.exchange(&commands, Call::Chunk)).await.map(drop)
        })
    }

    fn take<'a>(&'a self, name: &'a str, bytes: Bytes, keep: Duration, other: &'a str) -> BoxFuture<'a, Result<Taken>> {
        Box::pin(async move {
            let mut commands = redis::pipe();
            commands.cmd("SET").arg(name).arg(&bytes[..]).arg("NX").arg("PX").arg(milliseconds(keep));
            commands.cmd("GET").arg(other);

            let mut answers = self.health.write(self.link.exchange(&commands, Call::Write)).await?.into_iter();
            let ours = !matches!(answers.next(), None | Some(Value::Nil));
            Ok(Taken { ours, there: answers.next().and_then(bytes_of) })
        })
    }

    fn give_back<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let commands = alone(redis::cmd("EVAL").arg(TAKE_BACK).arg(1).arg(name).arg(&bytes[..]));
            self.health.write(self.link.exchange(&commands, Call::Write)).await.map(drop)
        })
    }

    fn copies<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Vec<Result<Vec<Option<Bytes>>>>> {
        Box::pin(async move {
            let mut answers = vec![];
            let all = async {
                let get = async |name| self.link.exchange(&alone(redis::cmd("GET").arg(name)), Call::Read).await;
                answers = join_all(names.iter().map(get)).await;
                match answers.iter().find_map(|answer| answer.as_ref().err()) {
                    Some(error) if !answers.iter().any(Result::is_ok) => Err(error.clone()),
                    _ => Ok(()),
                }
            };

            let called = self.health.read(all).await;
            match called {
                // The store is left alone.
                Err(error) if answers.is_empty() => vec![Err(error); names.len()],
                _ => {
                    answers.into_iter().map(|answer| Ok(vec![answer?.into_iter().next().and_then(bytes_of)])).collect()
                }
            }
        })
    }

    fn raise_copies<'a>(&'a self, name: &'a str, number: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let commands = alone(redis::cmd("EVAL").arg(RAISE).arg(1).arg(name).arg(number));
            self.health.insist(self.link.exchange(&commands, Call::Write)).await.map(drop)
        })
    }

    fn read_together<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        Box::pin(async move {
            // Not MGET, which a user with the rights of former versions may not call.
            let mut commands = Pipeline::with_capacity(names.len());
            for name in names {
                commands.cmd("GET").arg(name);
            }
            let answers = self.health.read(self.link.exchange(&commands, Call::Read)).await?;
            Ok(answers.into_iter().map(bytes_of).collect())
        })
    }

    fn step<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<Stepped>> {
        Box::pin(async move {
            let mut command = redis::cmd("EVAL");
            command.arg(STEP);
            match &step.entry {
                None => command.arg(1).arg(step.name).arg(&step.from[..]).arg(&step.to[..]),
                Some((name, bytes)) => {
                    command.arg(2).arg(step.name).arg(name).arg(&step.from[..]).arg(&step.to[..]);
                    command.arg(&bytes[..]).arg(milliseconds(step.keep))
                }
            };

            let commands = alone(&mut command);
            let mut answers = self.health.insist(self.link.exchange(&commands, Call::Write)).await?;
            let Some(Value::Array(answer)) = answers.pop() else { return Err(no_answer()) };
            let Ok([head, kept]) = <[Value; 2]>::try_from(answer) else { return Err(no_answer()) };
            let head = bytes_of(head).ok_or_else(no_answer)?;
            Ok(if head == step.to { Stepped::Done } else { Stepped::Other { head, kept: kept == Value::Int(1) } })
        })
    }

    fn largest(&self) -> usize {
        LARGEST
    }

    fn state(&self) -> FarState {
        FarState::of([&self.health])
    }
}
