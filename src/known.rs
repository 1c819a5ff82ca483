//! Definitions of databases' lists, kept in the shared store. With these a server that starts while
//! a database is away finds the chunks of its lists.
//!
//! A definition only serves to find chunks: no SQL is ever made from it. A read beyond the stored
//! chunks opens the database, and the resource is then made again from the database's own
//! catalogue. Only databases to which the operator gave a name (`identity`) have definitions here,
//! since two deployments may use the same URL.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    canonical::Canonical,
    chunk::{Chunk, ChunkKey, ListKey},
    cursor::Cursor,
    error::{Error, Kind, Result},
    row::{Column, Field, Fields, Part, RowSink},
    source::{
        BoxFuture, Complaint, Database, DatabaseOptions, Filter, KnownBy, MadeSource, PoolState, Presence, Query, Run,
        Sealed, Source, Spec, TableInfo, open_database,
    },
    store::Store,
    unpoisoned::Unpoisoned,
};

/// How long to wait before a database that is away is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a definition is kept: Memcached allows at most thirty days.
const KEEP: Duration = Duration::from_secs(28 * 24 * 3600);
/// How often it is written again, since a store may forget it.
const AGAIN: Duration = Duration::from_secs(3600);
/// How long to wait for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens a database whose lists survive its absence, with this store. Also returns why it is away,
/// if it is.
///
/// # Errors
/// As [`open_database`]; but if it `may_be_away`, absence is no error.
pub(crate) async fn open_known(
    options: &DatabaseOptions,
    store: &Store,
    may_be_away: bool,
) -> Result<(Arc<dyn Database>, Option<Error>)> {
    let known = Known {
        options: options.clone(),
        store: store.clone(),
        database: OnceLock::new(),
        trial: tokio::sync::Mutex::default(),
        said: Mutex::default(),
    };
    let absence = known.opened().await.err();
    if let Some(error) = absence.as_ref().filter(|error| !may_be_away || !is_absence(error)) {
        return Err(error.clone());
    }
    let known = Arc::new(known);
    tokio::spawn(attend(Arc::downgrade(&known)));
    Ok((Arc::new(KnownDatabase(known)), absence))
}

/// Whether the error means that the database may answer later.
fn is_absence(error: &Error) -> bool {
    [Kind::Unavailable, Kind::Timeout, Kind::Busy].contains(&error.kind())
}

/// Tries a database that is away again and again, and rewrites its definitions, until the database
/// is dropped.
async fn attend(known: Weak<Known>) {
    let mut written = Instant::now();
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(known) = known.upgrade() else { return };
        if known.database.get().is_none() && known.opened().await.is_ok() {
            tracing::info!("a database that was away at the start answers");
        }
        if written.elapsed() >= AGAIN {
            written = Instant::now();
            let all: Vec<_> = known.said().values().cloned().collect();
            for chunk in all {
                known.write(chunk).await;
            }
        }
    }
}

/// A database that may be away, but whose lists' definitions are known.
struct KnownDatabase(Arc<Known>);

struct Known {
    options: DatabaseOptions,
    store: Store,
    /// The open database, once it has answered.
    database: OnceLock<Arc<dyn Database>>,
    /// When it was last tried without success, and the error.
    trial: tokio::sync::Mutex<Option<(Instant, Error)>>,
    /// The definitions, as they are written.
    said: Mutex<HashMap<ChunkKey, Arc<Chunk>>>,
}

impl Known {
    /// The open database. While it is away, one of the callers tries it, at most once per
    /// [`PAUSE`].
    async fn opened(&self) -> Result<&Arc<dyn Database>> {
        if let Some(database) = self.database.get() {
            return Ok(database);
        }

        let mut trial = self.trial.lock().await;
        if let Some(database) = self.database.get() {
            return Ok(database);
        }

        if let Some((_, error)) = trial.as_ref().filter(|(tried, _)| tried.elapsed() < PAUSE) {
            return Err(error.clone());
        }

        match open_database(&self.options).await {
            Ok(database) => Ok(self.database.get_or_init(|| database)),
            Err(error) => {
                *trial = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn said(&self) -> MutexGuard<'_, HashMap<ChunkKey, Arc<Chunk>>> {
        self.said.lock().unpoisoned()
    }

    /// Notes what the database says about a source, and writes it to the store.
    fn note(self: &Arc<Known>, spec: &Spec, said: &Said) {
        let Ok(body) = serde_json::to_vec(said) else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let key = key(&self.options, spec);
        let chunk = Chunk::new(key, now, 1, None, body.into());
        let chunk = Arc::new(chunk);
        self.said().insert(chunk.key.clone(), Arc::clone(&chunk));
        let known = Arc::clone(self);
        tokio::spawn(async move { known.write(chunk).await });
    }

    async fn write(&self, chunk: Arc<Chunk>) {
        let written = async {
            let chunks = self.store.chunks();
            let generation = chunks.generation(&chunk.key.resource(), KEEP).await?;
            chunks.put(chunk, KEEP, generation).await
        };
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "what a database says is not kept"),
            Err(_) => tracing::debug!("what a database says is not kept: the store is slow"),
        }
    }

    /// What the database said about a source before.
    async fn recalled(&self, spec: &Spec) -> Option<Said> {
        let key = key(&self.options, spec);
        let found = async {
            let chunks = self.store.chunks();
            let generation = chunks.generation(&key.resource(), KEEP).await?;
            chunks.get(&key, generation).await
        };
        let found = tokio::time::timeout(PATIENCE, found).await.ok()?;
        let chunk = found.ok()?.filter(|chunk| chunk.key == key)?;
        serde_json::from_slice(&chunk.body).ok().filter(Said::is_sound)
    }
}

impl Sealed for KnownDatabase {}

impl Database for KnownDatabase {
    fn source<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, MadeSource> {
        Box::pin(async move {
            if let Some(database) = self.0.database.get() {
                let (source, fields) = database.source(spec).await?;
                self.0.note(spec, &Said::of(&*source, &fields));
                return Ok((source, fields));
            }
            let said = self.0.recalled(spec).await;
            let is_known = said.is_some();
            let said = said.unwrap_or_default();
            let fields = said.fields.clone();
            Ok((Arc::new(Absent { known: Arc::clone(&self.0), said, is_known }) as Arc<dyn Source>, fields))
        })
    }

    fn look_again(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.0.opened().await?.look_again().await })
    }

    fn pool(&self) -> PoolState {
        self.0.database.get().map_or_else(PoolState::default, |database| database.pool())
    }

    fn known_by(&self) -> KnownBy {
        KnownBy::Itself
    }

    fn tables(&self) -> Vec<TableInfo> {
        self.0.database.get().map_or(vec![], |database| database.tables())
    }

    fn check_commit(&self, commit: &str) -> Result<()> {
        self.0.database.get().map_or(Ok(()), |database| database.check_commit(commit))
    }

    fn shows<'a>(&'a self, commits: &'a [&'a str]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.0.opened().await?.shows(commits).await })
    }

    fn explain<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Vec<Complaint>> {
        match self.0.database.get() {
            Some(database) => database.explain(spec),
            None => Box::pin(std::future::ready(vec![])),
        }
    }
}

/// A source of a database that was away when the source was made. A read of it opens the database,
/// and then returns the error that makes the resource anew.
struct Absent {
    known: Arc<Known>,
    said: Said,
    is_known: bool,
}

impl Source for Absent {
    fn columns(&self) -> &[Column] {
        &self.said.columns
    }

    fn order(&self) -> &[String] {
        &self.said.order
    }

    fn filters(&self) -> &[Filter] {
        &self.said.filters
    }

    fn scope(&self) -> &[Filter] {
        &self.said.scope
    }

    fn takes_sessions(&self) -> bool {
        self.said.takes_sessions
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.said.fingerprint.clone()
    }

    fn places(&self) -> Vec<u8> {
        self.said.places.clone()
    }

    fn rows<'a>(&'a self, _: Query, _: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>> {
        Box::pin(async move {
            self.known.opened().await?;
            Err(Error::new(Kind::Schema, "the database has come back").remedy("try again shortly").retry_in(1))
        })
    }

    fn presence(&self) -> Presence {
        Presence { is_away: self.known.database.get().is_none(), is_known: self.is_known }
    }
}

/// What is kept of a source: everything that names its chunks, and what requests may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Said {
    columns: Vec<Column>,
    order: Vec<String>,
    filters: Vec<Filter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scope: Vec<Filter>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    takes_sessions: bool,
    fingerprint: Vec<u8>,
    places: Vec<u8>,
    fields: Fields,
}

impl Said {
    fn of(source: &dyn Source, fields: &Fields) -> Said {
        Said {
            columns: source.columns().to_vec(),
            order: source.order().to_vec(),
            filters: source.filters().to_vec(),
            scope: source.scope().to_vec(),
            takes_sessions: source.takes_sessions(),
            fingerprint: source.fingerprint(),
            places: source.places(),
            fields: fields.clone(),
        }
    }

    /// Whether its fields use only its columns. It comes from a store, which may hold anything.
    fn is_sound(&self) -> bool {
        let is_there = |index: &usize| *index < self.columns.len();
        self.fields.iter().all(|(_, field)| match field {
            Field::Column(index) => is_there(index),
            Field::Link(parts) => parts.iter().all(|part| match part {
                Part::Column(index) => is_there(index),
                Part::Literal(_) => true,
            }),
            Field::Cursor => true,
        })
    }
}

/// The key in the store: the form, the database by its name, the reading user and session, and the
/// specification. Not the host, since a database survives a move to another one, and no password.
fn key(options: &DatabaseOptions, spec: &Spec) -> ChunkKey {
    let mut bytes = Canonical::of("catalogue 1");
    bytes.text(options.identity.as_deref().unwrap_or_default());
    bytes.text(if options.share { "all" } else { "one" });
    bytes.text(options.role.as_deref().unwrap_or_default());
    bytes.each(session(&options.url).iter(), |bytes, part| bytes.text(part));
    bytes.bytes(&serde_json::to_vec(spec).unwrap_or_default());

    let digest: [u8; 32] = Sha256::digest(bytes.into_bytes()).into();
    let mut list = [0; 48];
    list[..16].copy_from_slice(&digest[..16]);
    list[16..].copy_from_slice(&digest);
    ChunkKey::new(&ListKey(list), &Cursor::start(), 0)
}

/// The parts of a URL about user and session: everything but the host and passwords.
fn session(url: &str) -> Vec<&str> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (user, place) = place.rsplit_once('@').unwrap_or(("", place));
    let user = user.trim_start_matches('/').split(':').next().unwrap_or_default();
    let database = place.trim_start_matches('/').split_once('/').map_or("", |(_, database)| database);
    let is_telling = |pair: &&str| !pair.to_ascii_lowercase().contains("password");
    [scheme, user, database].into_iter().chain(query.split('&').filter(is_telling)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{row::Shape, source::Operand};

    fn said() -> Said {
        Said {
            columns: vec![
                Column::scalar("id"),
                Column { name: "tags".into(), shape: Shape::Objects(vec!["a".into(), "b".into()]) },
            ],
            order: vec!["-id".into()],
            filters: vec![Filter { column: "id".into(), operand: Operand::Integer, range: Some(-5..=1 << 63) }],
            scope: vec![Filter::new("author.name", Operand::Text)],
            takes_sessions: true,
            fingerprint: vec![0, 255],
            places: vec![1],
            fields: vec![
                ("url".into(), Field::Link(vec![Part::Literal("/".into()), Part::Column(0)])),
                ("tags".into(), Field::Column(1)),
                ("at".into(), Field::Cursor),
            ],
        }
    }

    #[test]
    fn what_was_said_reads_back_and_what_names_no_column_is_not_taken() {
        let written = serde_json::to_vec(&said()).unwrap();
        let read: Said = serde_json::from_slice(&written).unwrap();
        assert_eq!(read, said());
        assert!(read.is_sound());
        for field in [Field::Column(2), Field::Link(vec![Part::Column(9)])] {
            let fields = vec![("one".into(), field)];
            assert!(!Said { fields, ..said() }.is_sound());
        }
    }

    #[test]
    fn users_and_sessions_are_told_apart_and_hosts_and_passwords_are_not() {
        let spec = Spec { table: "item".into(), ..Spec::default() };
        let of = |url: &str| {
            let named = DatabaseOptions { identity: Some("shop".into()), ..DatabaseOptions::new(url) };
            key(&named, &spec)
        };

        let one = of("postgres://app:one@db1:5432,db2/shop?sslmode=require");
        for same in [
            "postgres://app@other/shop?sslmode=require",
            "postgres://app:a%40b@other/shop?sslmode=require&password=two",
        ] {
            assert_eq!(of(same), one, "{same}");
        }

        for other in [
            "postgres://admin:one@db1:5432,db2/shop?sslmode=require",
            "postgres://app:one@db1:5432,db2/other?sslmode=require",
            "postgres://app:one@db1:5432,db2/shop?sslmode=require&options=-csearch_path%3Da",
            "mysql://app:one@db1:5432,db2/shop?sslmode=require",
        ] {
            assert_ne!(of(other), one, "{other}");
        }

        let asked = Spec { condition: Some("id > 1".into()), ..spec.clone() };
        let named = DatabaseOptions { identity: Some("shop".into()), ..DatabaseOptions::new("postgres://app@db/shop") };
        assert_ne!(key(&named, &asked), key(&named, &spec));
        let other = DatabaseOptions { identity: Some("copy".into()), ..named.clone() };
        assert_ne!(key(&other, &spec), key(&named, &spec));
    }
}
