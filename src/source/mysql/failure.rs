//! What MySQL's failures are signs of.

use mysql_async::IoError;

/// Whether a value has made a query fail: by the class of its SQLSTATE, data, cardinality,
/// constraints of what is cast to, and what functions raise.
pub(super) fn is_error_of_a_value(error: &mysql_async::Error) -> bool {
    let mysql_async::Error::Server(error) = error else { return false };
    matches!(error.state.get(..2), Some("21" | "22" | "23" | "45"))
}

/// Whether a packet was longer than its connection takes.
pub(super) fn is_too_wide(error: &mysql_async::Error) -> bool {
    // The error is of a crate behind the driver's, which does not pass its type on; a test sees
    // that the text is still this.
    let mysql_async::Error::Io(IoError::Io(error)) = error else { return false };
    error.get_ref().is_some_and(|inner| inner.to_string() == "Packet is larger than max_allowed_packet")
}
