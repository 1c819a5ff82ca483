//! What can go wrong, by what the caller should do about it.

use std::{error, fmt, sync::Arc};

/// The kinds of failure, one for each thing a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The request is wrong; the same request will fail again.
    Invalid,
    /// There is nothing under this name.
    Missing,
    /// The configuration is wrong; a person has to change it.
    Config,
    /// The source cannot be reached, or cannot be read, right now.
    Unavailable,
    /// What the source reads is no longer what it was when it was looked at: a table or its
    /// columns. It is looked at again by itself; try again shortly.
    Schema,
    /// The source took longer than its time limit.
    Timeout,
    /// Too much is under way already; try again shortly.
    Busy,
    /// A store refused to write. It can be read all the same.
    Refused,
    /// This one client has too much under way, or asks too often; it must slow down.
    RateLimited,
    /// What the source said cannot be served as a right list: a repeated key, a key out of all
    /// bounds.
    Data,
    /// A fault of this program.
    Internal,
}

/// A failure: what kind, what happened, and what to do about it.
///
/// Cheap to clone: one failed load is told to everyone who waits for it.
/// The text never holds a secret and no driver's type leaks from it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    remedy: Option<String>,
    retry_after: Option<u64>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` is lower case, without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Arc::new(Inner { kind, message: message.into(), remedy: None, retry_after: None, source: None }))
    }

    /// The same error with the one thing to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Error {
        self.change(|inner| inner.remedy = Some(remedy.into()))
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
        self.change(|inner| inner.source = Some(source.into()))
    }

    /// The same error with the seconds after which there is room again.
    #[must_use]
    pub fn retry_in(self, seconds: u64) -> Error {
        self.change(|inner| inner.retry_after = Some(seconds))
    }

    /// The same error without what caused it.
    pub(crate) fn without_cause(self) -> Error {
        Error(Arc::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            remedy: self.0.remedy.clone(),
            retry_after: self.0.retry_after,
            source: None,
        }))
    }

    /// Changes an error that was just made, and so has one owner.
    fn change(mut self, edit: impl FnOnce(&mut Inner)) -> Error {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            edit(inner);
        }
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What happened, without the cause and the remedy.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// After how many seconds there is room again, if that is known.
    pub fn retry_after(&self) -> Option<u64> {
        self.0.retry_after
    }

    /// What happened and its cause, without what to do about it.
    pub(crate) fn told(&self) -> String {
        match &self.0.source {
            Some(source) => format!("{}: {source}", self.0.message),
            None => self.0.message.clone(),
        }
    }

    /// What to do about it, if there is one thing to do.
    pub fn advice(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told())?;
        if let Some(remedy) = &self.0.remedy {
            write!(f, " ({remedy})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
