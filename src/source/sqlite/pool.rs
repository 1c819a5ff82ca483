//! Connections to a SQLite file: read-only, each used on a thread of its own.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    errors::is_in_the_text,
    look::FileId,
    session::{Failure, Session},
};
use crate::{
    error::{Error, Kind, Result},
    source::{Claim, Gate},
    unpoisoned::Unpoisoned,
};

/// How long after its time limit a read is given up as stuck.
const GRACE: Duration = Duration::from_secs(1);
const STATEMENTS: usize = 128;

/// Idle connections, and the gate that bounds how many reads there are.
pub(super) struct Pool {
    pub(super) path: PathBuf,
    immutable: bool,
    pub(super) timeout: Duration,
    pub(super) gate: Gate,
    idle: Mutex<Vec<Session>>,
}

impl Pool {
    /// A pool without a connection yet, for `sqlite:FILE` or `sqlite:FILE?immutable=1`.
    pub(super) fn new(url: &str, timeout: Duration, gate: Gate) -> Result<Pool> {
        let (path, immutable) = parse(url)?;
        Ok(Pool { path, immutable, timeout, gate, idle: Mutex::default() })
    }

    /// How many connections are idle.
    pub(super) fn idle(&self) -> usize {
        self.idle.lock().unpoisoned().len()
    }

    /// Does `work` with a connection, on a thread for it. The time limit stops the work, and so
    /// does dropping the future.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Pool>,
        claim: Claim,
        steps: i32,
        work: impl FnOnce(&mut Session) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let turn = self.gate.turn(claim).await?;
        let stop = StopOnDrop(Arc::default());
        let stopped = Arc::clone(&stop.0);
        let pool = Arc::clone(self);
        let deadline = Instant::now() + self.timeout;
        let job = tokio::task::spawn_blocking(move || {
            // A stuck read keeps its turn: the bound is on running reads, even if nobody waits for
            // them.
            let _turn = turn;
            let mut session = pool.take()?;
            let flag = Arc::clone(&stopped);
            let handler = move || flag.load(Ordering::Relaxed) || Instant::now() >= deadline;
            session
                .connection
                .progress_handler(steps, Some(handler))
                .map_err(|error| pool.explained(error.into(), false))?;
            match work(&mut session) {
                Ok(done) => {
                    pool.put_back(session);
                    Ok(done)
                }
                Err(failure) => Err(pool.explained(failure, Instant::now() >= deadline)),
            }
        });

        match tokio::time::timeout(self.timeout + GRACE, job).await {
            Ok(Ok(result)) => result,
            // The runtime is shutting down and ends this task too; nothing has failed.
            Ok(Err(ended)) if ended.is_cancelled() => std::future::pending().await,
            Ok(Err(panic)) => Err(Error::new(Kind::Internal, "reading rows failed").caused_by(panic)),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// An idle connection to the file that is there now, or a new one.
    pub(super) fn take(&self) -> Result<Session> {
        let there = self.identity()?;
        let mut idle = self.idle.lock().unpoisoned();
        while let Some(session) = idle.pop() {
            if session.file == there {
                return Ok(session);
            }
        }
        drop(idle);
        self.open()
    }

    /// Keeps a connection for the next read, without the stop flag and limits of the last one.
    pub(super) fn put_back(&self, mut session: Session) {
        let as_new = session.connection.progress_handler(0, None::<fn() -> bool>).map_err(Failure::from);
        if as_new.and_then(|()| session.unbound_values()).is_err() {
            return;
        }
        self.idle.lock().unpoisoned().push(session);
    }

    fn identity(&self) -> Result<FileId> {
        Ok(FileId::of(&fs::metadata(&self.path).map_err(|error| self.unreachable(error))?))
    }

    pub(super) fn open(&self) -> Result<Session> {
        let file = self.identity()?;
        let session = self.connect(file).map_err(|error| self.explained(error.into(), false))?;
        // The file may have been replaced between the two looks; then nobody knows which one was
        // opened.
        if self.identity()? == file {
            Ok(session)
        } else {
            Err(Error::new(Kind::Unavailable, "the database file was replaced while it was opened").remedy("try again"))
        }
    }

    fn connect(&self, file: FileId) -> rusqlite::Result<Session> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if self.immutable {
            let path =
                percent_encoding::utf8_percent_encode(&self.path.to_string_lossy(), percent_encoding::NON_ALPHANUMERIC)
                    .to_string();
            Connection::open_with_flags(format!("file:{path}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)?
        } else {
            Connection::open_with_flags(&self.path, flags)?
        };
        connection.busy_timeout(self.timeout.min(Duration::from_secs(5)))?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        rusqlite::vtab::array::load_module(&connection)?;
        Ok(Session { connection, file, held: HashMap::new() })
    }

    fn unreachable(&self, cause: std::io::Error) -> Error {
        Error::new(Kind::Unavailable, format!("the database file {} cannot be read", self.path.display()))
            .caused_by(cause)
            .remedy("check that the file is there and that this user may read it")
    }

    fn timed_out(&self) -> Error {
        Error::new(Kind::Timeout, format!("the database took longer than {:?} for one chunk", self.timeout))
            .remedy("give the order an index (`chunkflow check` says which), or the database a longer `timeout`")
    }

    /// The error for the caller, from a failure of the driver.
    pub(super) fn explained(&self, failure: Failure, late: bool) -> Error {
        failure.explained(|error| self.error_explained(error, late))
    }

    fn error_explained(&self, error: rusqlite::Error, late: bool) -> Error {
        if is_in_the_text(&error) {
            return Error::new(Kind::Internal, "SQLite does not take the text of a query")
                .caused_by(error)
                .remedy("this is a fault of the program: report it with what the log says");
        }

        let remedy = match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) if late => return self.timed_out(),
            Some(ErrorCode::OperationInterrupted) => "nobody waited for it any more",
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another process holds the file locked; use WAL mode (PRAGMA journal_mode=WAL) so that readers and writers do not wait for each other"
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                "the file is damaged or is no SQLite database"
            }
            Some(ErrorCode::CannotOpen) => {
                "check the file's rights; a database in WAL mode in a folder that cannot be written to needs `?immutable=1`"
            }
            _ => "see what `chunkflow check` says",
        };

        Error::new(Kind::Unavailable, format!("the database {} cannot be read", self.path.display()))
            .caused_by(error)
            .remedy(remedy)
    }
}

/// Stops a read when the task that waits for it is gone.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The path of a `sqlite:` URL, and whether the file is declared immutable.
fn parse(url: &str) -> Result<(PathBuf, bool)> {
    let refused = |why: &str| {
        Error::new(Kind::Config, format!("the SQLite URL {why}"))
            .remedy("write sqlite:FILE, or sqlite:FILE?immutable=1 for a file that never changes")
    };

    let rest = url.strip_prefix("sqlite:").ok_or_else(|| refused("does not start with `sqlite:`"))?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path == ":memory:" {
        return Err(refused("names no file"));
    }

    match query {
        "" | "immutable=0" => Ok((Path::new(path).to_owned(), false)),
        "immutable=1" => Ok((Path::new(path).to_owned(), true)),
        _ => Err(refused("has an unknown option")),
    }
}
