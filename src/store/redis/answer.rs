//! What an error of Redis means: the store failed, it refused, or it is the wrong server; and what
//! to do about it.

use redis::{ErrorKind, RedisError};

use crate::error::{Error, Kind};

/// What an error means, found by the code at its beginning.
struct Meaning {
    code: &'static str,
    /// Whether another server may have the same name by now, so that the connection must be closed.
    elsewhere: bool,
    /// Whether the server can still be read.
    read: bool,
    message: &'static str,
    remedy: &'static str,
}

const RIGHTS: &str =
    "give the user what the page on shared stores says: ACL SETUSER NAME ~PREFIX* +get +set +eval +del";

const MEANINGS: [Meaning; 17] = [
    Meaning {
        code: "READONLY",
        elsewhere: true,
        read: true,
        message: "this Redis is a replica, which takes no writes",
        remedy: "name its master in the URL, or have it found: redis+sentinel:// or redis+cluster://",
    },
    Meaning {
        code: "NOREPLICAS",
        elsewhere: false,
        read: true,
        message: "Redis takes no writes while too few replicas follow it",
        remedy: "see to its replicas, or lower min-replicas-to-write: what is kept here can be loaded again",
    },
    Meaning {
        code: "MISCONF",
        elsewhere: false,
        read: true,
        message: "Redis takes no writes, since it cannot save to its disk",
        remedy: "see its log, or have it save nothing (save \"\"): what is kept here can be loaded again",
    },
    Meaning {
        code: "OOM",
        elsewhere: false,
        read: true,
        message: "Redis is full and forgets nothing by itself",
        remedy: "give it a maxmemory-policy, for instance volatile-lru",
    },
    Meaning {
        code: "NOPERM",
        elsewhere: false,
        read: false,
        message: "the user of Redis may not do this",
        remedy: RIGHTS,
    },
    Meaning {
        code: "LOADING",
        elsewhere: true,
        read: false,
        message: "Redis has just started, and reads its data",
        remedy: "wait until it has read it, or have it save nothing",
    },
    Meaning {
        code: "MASTERDOWN",
        elsewhere: true,
        read: false,
        message: "this Redis is a replica that lost its master",
        remedy: "name the master in the URL, or have it found: redis+sentinel:// or redis+cluster://",
    },
    Meaning {
        code: "CLUSTERDOWN",
        elsewhere: true,
        read: false,
        message: "the cluster of Redis is not whole",
        remedy: "see redis-cli --cluster check",
    },
    Meaning {
        code: READS_ALONE,
        elsewhere: false,
        read: true,
        message: "the cluster of Redis is not whole, and takes no writes",
        remedy: "see redis-cli --cluster check",
    },
    Meaning {
        code: "MOVED",
        elsewhere: true,
        read: false,
        message: "this Redis is a node of a cluster, and others keep a part of the names",
        remedy: "write redis+cluster:// with some of its nodes",
    },
    Meaning {
        code: "ASK",
        elsewhere: true,
        read: false,
        message: "this Redis is a node of a cluster, and others keep a part of the names",
        remedy: "write redis+cluster:// with some of its nodes",
    },
    Meaning {
        code: "TRYAGAIN",
        elsewhere: true,
        read: false,
        message: "the cluster of Redis is moving these names",
        remedy: "wait until it is done",
    },
    Meaning {
        code: "BUSY",
        elsewhere: false,
        read: false,
        message: "Redis does nothing but run somebody's script",
        remedy: "end it with SCRIPT KILL",
    },
    Meaning {
        code: "NOAUTH",
        elsewhere: true,
        read: false,
        message: "Redis asks for a password",
        remedy: "write redis://USER:PASSWORD@HOST, or redis://:PASSWORD@HOST where there are no users",
    },
    Meaning {
        code: "WRONGPASS",
        elsewhere: true,
        read: false,
        message: "Redis does not know this user with this password",
        remedy: "see both in the URL, special characters percent-encoded",
    },
    Meaning {
        code: "WRONGTYPE",
        elsewhere: false,
        read: true,
        message: "something else stands under a name of ours",
        remedy: "give each program that uses this Redis a prefix of its own",
    },
    Meaning {
        code: "ERR",
        elsewhere: false,
        read: false,
        message: "Redis does not do this",
        remedy: "it must have GET, SET with PX and NX, EVAL and DEL",
    },
];

/// A cluster that has lost slots may be set to serve reads (`cluster-allow-reads-when-down`). It
/// uses the same code as a cluster that serves nothing.
const READS_ALONE: &str = "CLUSTERDOWN, but for reads";

/// What an error means; `None` if it is no answer.
fn meaning(error: &RedisError) -> Option<&'static Meaning> {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return of_code("WRONGPASS");
    }

    let code = error.code()?;
    let detail = error.detail().unwrap_or_default();

    // An error inside a script has the code `ERR`, and the inner code stands in a place that
    // differs by server.
    if code == "ERR" {
        if detail.contains("while the cluster is down and readonly") {
            return of_code(READS_ALONE);
        }
        if detail.contains("can't run this command") {
            return of_code("NOPERM");
        }
        let inner = MEANINGS.iter().find(|one| detail.contains(&format!("-{} ", one.code)));
        return inner.or_else(|| of_code("ERR"));
    }

    if code == "CLUSTERDOWN" && detail.contains("only accepts read") {
        return of_code(READS_ALONE);
    }

    of_code(code).or_else(|| of_code("ERR"))
}

fn of_code(code: &str) -> Option<&'static Meaning> {
    MEANINGS.iter().find(|one| one.code == code)
}

/// Whether the connection must be closed after this error: it broke, or its server has changed
/// roles.
pub(super) fn ends_the_connection(error: &RedisError) -> bool {
    meaning(error).is_none_or(|meaning| meaning.elsewhere)
}

/// The error that a call returns. If Redis answered a write with an error, that is a refusal,
/// unless it would not be read either.
pub(super) fn explained(error: RedisError, writes: bool) -> Error {
    let Some(meaning) = meaning(&error) else {
        return Error::new(Kind::Unavailable, "Redis failed").caused_by(error);
    };

    let says_no_to_this = ["NOPERM", "ERR"].contains(&meaning.code);
    let kind = match (writes, meaning.read) {
        (false, true) => Kind::Data,
        (true, true) => Kind::Refused,
        (true, false) if says_no_to_this => Kind::Refused,
        (_, false) => Kind::Unavailable,
    };
    Error::new(kind, meaning.message).remedy(meaning.remedy).caused_by(error)
}
