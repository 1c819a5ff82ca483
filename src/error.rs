//! Errors, classified by what the caller should do about them.

use std::{error, fmt, sync::Arc};

/// The kinds of error, one for each thing that a caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The request is wrong; the same request will fail again.
    Invalid,
    /// There is nothing under this name.
    Missing,
    /// Who asks is not known, and has to be; credentials are missing or wrong.
    Unauthorized,
    /// Who asks is known, and may not.
    Forbidden,
    /// The configuration is wrong; a person has to change it.
    Config,
    /// The source cannot be reached, or cannot be read, right now.
    Unavailable,
    /// The source's tables or columns have changed since it looked at them. It looks again on its
    /// own; try again shortly.
    Schema,
    /// The source took longer than its time limit.
    Timeout,
    /// Too much is under way already; try again shortly.
    Busy,
    /// A store refused to write. It can still be read.
    Refused,
    /// This one client has too much under way, or asks too often; it must slow down.
    RateLimited,
    /// The source's rows cannot be served as a correct list: for instance a repeated key, or a key
    /// that is too long.
    Data,
    /// A fault of this program.
    Internal,
}

/// An error: its kind, what happened, and what to do about it.
///
/// Cheap to clone: one failed load is reported to every request that waits for it. The text never
/// holds a secret, and no type of a driver leaks from it.
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

    /// The same error with a remedy.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Error {
        self.change(|inner| inner.remedy = Some(remedy.into()))
    }

    /// The same error with its cause.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
        self.change(|inner| inner.source = Some(source.into()))
    }

    /// The same error, with the number of seconds until there is room again.
    #[must_use]
    pub fn retry_in(self, seconds: u64) -> Error {
        self.change(|inner| inner.retry_after = Some(seconds))
    }

    /// The same error without its cause.
    pub(crate) fn without_cause(self) -> Error {
        Error(Arc::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            remedy: self.0.remedy.clone(),
            retry_after: self.0.retry_after,
            source: None,
        }))
    }

    /// Changes an error that was just made and therefore has one owner.
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

    /// How many seconds it takes until there is room again, if that is known.
    pub fn retry_after(&self) -> Option<u64> {
        self.0.retry_after
    }

    /// What happened and its cause, without the remedy.
    pub(crate) fn told(&self) -> String {
        match &self.0.source {
            Some(source) => format!("{}: {source}", self.0.message),
            None => self.0.message.clone(),
        }
    }

    /// The remedy, if there is one.
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
