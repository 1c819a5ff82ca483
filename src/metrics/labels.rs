//! The values of the metrics' labels; each has a sample from the start, with 0.

use std::fmt;

use crate::error::Kind;

/// How a stream ended; the log uses the same words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The last byte was handed out.
    Complete,
    /// An error cut it.
    Cut,
    /// The operator cut it.
    Operator,
    /// It was dropped before its end, because the client left.
    #[default]
    Left,
    /// Its client took nothing, or too little, for too long.
    Stalled,
    /// The server's shutdown cut it.
    Shutdown,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 6] =
        [Outcome::Complete, Outcome::Cut, Outcome::Operator, Outcome::Left, Outcome::Stalled, Outcome::Shutdown];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::Cut => "cut",
            Outcome::Operator => "operator",
            Outcome::Left => "left",
            Outcome::Stalled => "stalled",
            Outcome::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a request or a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server has these bounds"))]
pub(crate) enum Refused {
    /// `max_connections`
    Connections,
    /// `max_connections_per_address`
    AddressConnections,
    /// `max_streams`
    Streams,
    /// `max_streams_per_address`
    AddressStreams,
    /// `request_rate`
    Rate,
    /// An address has too many questions under way at the application of `[auth.forward]`.
    Logins,
    /// `allowed_hosts`
    Host,
    /// The server is about to stop.
    Stopping,
    /// Too many loads wait for a database, or for the memory of large rows.
    Database,
}

impl Refused {
    pub(super) const ALL: [Refused; 9] = [
        Refused::Connections,
        Refused::AddressConnections,
        Refused::Streams,
        Refused::AddressStreams,
        Refused::Rate,
        Refused::Logins,
        Refused::Host,
        Refused::Stopping,
        Refused::Database,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Refused::Connections => "connections",
            Refused::AddressConnections => "address_connections",
            Refused::Streams => "streams",
            Refused::AddressStreams => "address_streams",
            Refused::Rate => "rate",
            Refused::Logins => "logins",
            Refused::Host => "host",
            Refused::Stopping => "stopping",
            Refused::Database => "database",
        }
    }
}

/// How a chunk was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundBy {
    /// In this process's memory.
    Near,
    /// In the shared store.
    Far,
    /// In either, past its `ttl`; sent while it is refreshed.
    Stale,
    /// Nowhere: it was loaded.
    Miss,
    /// Nowhere, but a load of it was under way.
    Joined,
}

impl FoundBy {
    pub(super) const ALL: [FoundBy; 5] = [FoundBy::Near, FoundBy::Far, FoundBy::Stale, FoundBy::Miss, FoundBy::Joined];

    pub(super) fn name(self) -> &'static str {
        match self {
            FoundBy::Near => "near",
            FoundBy::Far => "far",
            FoundBy::Stale => "stale",
            FoundBy::Miss => "miss",
            FoundBy::Joined => "joined",
        }
    }
}

/// The classes of HTTP statuses.
pub(super) const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// The kinds of failed loads; the last is for all other kinds.
pub(super) const FAILURES: [(Kind, &str); 6] = [
    (Kind::Unavailable, "unavailable"),
    (Kind::Timeout, "timeout"),
    (Kind::Busy, "busy"),
    (Kind::Schema, "schema"),
    (Kind::Data, "data"),
    (Kind::Internal, "other"),
];

/// The calls to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    Put,
    Lease,
}

impl Call {
    pub(super) const ALL: [Call; 3] = [Call::Get, Call::Put, Call::Lease];

    pub(super) fn name(self) -> &'static str {
        match self {
            Call::Get => "get",
            Call::Put => "put",
            Call::Lease => "lease",
        }
    }
}
