//! Classifies SQLite's errors.

use rusqlite::{Error, ErrorCode};

/// Whether the same read may be tried again: another connection had locked the file for a moment.
pub(super) fn will_pass(error: &Error) -> bool {
    let passing = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::FileLockingProtocolFailed];
    error.sqlite_error_code().is_some_and(|code| passing.contains(&code))
}

/// Whether SQLite could not parse a query. Modules parse values too, and their syntax errors do not
/// count.
pub(super) fn is_in_the_text(error: &Error) -> bool {
    let signs = ["syntax error", "unrecognized token"];
    match error {
        Error::SqlInputError { msg, .. } => signs.iter().any(|sign| msg.contains(sign)),
        // This error has no position in the text.
        Error::SqliteFailure(_, Some(message)) => message == "incomplete input",
        _ => false,
    }
}

/// Whether a value has failed a running query. SQLite reports it as an error without a code of its
/// own, as a type that does not fit, or as a text or blob that is too long.
pub(super) fn is_error_of_a_value(error: &Error) -> bool {
    let Error::SqliteFailure(error, _) = error else { return false };
    [rusqlite::ffi::SQLITE_ERROR, rusqlite::ffi::SQLITE_MISMATCH, rusqlite::ffi::SQLITE_TOOBIG]
        .contains(&(error.extended_code & 0xff))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_text_that_cannot_be_read_is_told_from_a_value_that_cannot() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE VIRTUAL TABLE text USING fts5 (body)").unwrap();
        for torn in ["SELEC 1", "SELECT (", "SELECT '", "SELECT 1 FROM text WHERE id IN (,)", "SELECT @"] {
            assert!(is_in_the_text(&connection.prepare(torn).map(drop).unwrap_err()), "{torn}");
        }
        let found = |sql: &str| connection.query_row(sql, [], |_| Ok(())).unwrap_err();
        for other in ["SELECT nope", "SELECT * FROM text WHERE text MATCH 'a AND'", "SELECT json('{')", "SELECT nope()"]
        {
            assert!(!is_in_the_text(&found(other)), "{other}");
        }
    }
}
