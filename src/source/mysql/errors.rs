//! Classifies MySQL's errors.

use mysql_async::IoError;

/// Whether a value has failed a query, by the class of the error's SQLSTATE: data, cardinality,
/// constraints of a cast's type, and errors raised by functions.
pub(super) fn is_error_of_a_value(error: &mysql_async::Error) -> bool {
    let mysql_async::Error::Server(error) = error else { return false };
    matches!(error.state.get(..2), Some("21" | "22" | "23" | "45"))
}

/// Whether a packet was longer than the connection takes.
pub(super) fn is_too_wide(error: &mysql_async::Error) -> bool {
    // The error is of a crate behind the driver, which does not export its type. A test checks its
    // text.
    let mysql_async::Error::Io(IoError::Io(error)) = error else { return false };
    error.get_ref().is_some_and(|inner| inner.to_string() == "Packet is larger than max_allowed_packet")
}
