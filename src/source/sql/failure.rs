//! The failures of reads.

use super::width::{NeedsRoom, Wide, wider_than_it_said};
use crate::error::{Error, Kind};

/// Why a read failed. `E` is the error type of the database's client library.
#[derive(Debug)]
pub(in crate::source) enum Failure<E> {
    /// An error of the database or of the connection to it.
    Database(E),
    /// An error of this program.
    Own(Error),
    /// A row is wider than a read without measuring may be.
    Wide,
    /// The read needs room for this many bytes.
    NoRoom(u64),
}

impl<E> From<Wide> for Failure<E> {
    fn from(_: Wide) -> Failure<E> {
        Failure::Wide
    }
}

impl<E> From<NeedsRoom> for Failure<E> {
    fn from(NeedsRoom(bytes): NeedsRoom) -> Failure<E> {
        Failure::NoRoom(bytes)
    }
}

impl<E> From<Error> for Failure<E> {
    fn from(error: Error) -> Failure<E> {
        Failure::Own(error)
    }
}

impl<E> Failure<E> {
    /// The error for the caller. `of` translates an error of the database.
    pub(in crate::source) fn explained(self, of: impl FnOnce(E) -> Error) -> Error {
        match self {
            Failure::Database(error) => of(error),
            Failure::Own(error) => error,
            Failure::Wide | Failure::NoRoom(_) => wider_than_it_said(),
        }
    }

    /// Whether a value has failed a query, or is too wide. `of` says whether a value has caused an
    /// error of the database.
    pub(in crate::source) fn is_of_a_value(&self, of: impl FnOnce(&E) -> bool) -> bool {
        match self {
            Failure::Database(error) => of(error),
            Failure::Wide => true,
            Failure::Own(_) | Failure::NoRoom(_) => false,
        }
    }

    /// What it indicates. `of` says what an error of the database indicates.
    pub(in crate::source) fn signs(&self, of: impl FnOnce(&E) -> Signs) -> Signs {
        match self {
            Failure::Database(error) => of(error),
            Failure::Own(error) => {
                Signs { doubtful: matches!(error.kind(), Kind::Data | Kind::Invalid), ..Signs::default() }
            }
            Failure::Wide => Signs { wide: true, ..Signs::default() },
            Failure::NoRoom(bytes) => Signs { needs_room: Some(*bytes), ..Signs::default() },
        }
    }
}

/// What an error indicates.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::source) struct Signs {
    /// The connection was lost; the server refused no query.
    pub(in crate::source) lost: bool,
    /// The server has answered and has stopped its work for the connection.
    pub(in crate::source) over: bool,
    /// The server says that a table changed.
    pub(in crate::source) changed: bool,
    /// A changed table may be the cause, and not only the request.
    pub(in crate::source) doubtful: bool,
    /// The server says that the same read may be tried again.
    pub(in crate::source) passing: bool,
    /// A value has failed the query.
    pub(in crate::source) of_a_value: bool,
    /// A row, or its related rows, is wider than a read without measuring may be.
    pub(in crate::source) wide: bool,
    /// The read needs room for rows of this many bytes.
    pub(in crate::source) needs_room: Option<u64>,
}
