//! Which values of a configuration its complaints may show.

/// Keys of `[server]` with addresses, names, numbers and durations.
const SERVER: &[&str] = &[
    "listen",
    "listen_mode",
    "allowed_hosts",
    "trusted_proxies",
    "request_rate",
    "max_streams",
    "max_connections",
    "max_connections_per_address",
    "max_streams_per_address",
    "minimum_rate",
    "stall_timeout",
    "header_timeout",
    "idle_timeout",
    "drain",
    "heartbeat",
];
/// Keys of `[auth.jwt]`. Not `secret`, nor addresses, which may hold one.
const JWT: &[&str] = &["key_file", "ca", "algorithms", "leeway", "require_exp", "issuer", "audience"];
const FORWARD: &[&str] = &["cookies", "cache", "ca"];
const STORE: &[&str] = &["near", "max_entry", "pack", "prefix"];
const DATABASE: &[&str] = &["pool", "timeout"];
/// Keys of a resource: names of tables and columns, sizes and times. Not `where`, which may hold
/// values.
const RESOURCE: &[&str] = &[
    "database",
    "table",
    "order",
    "key",
    "filters",
    "values",
    "ttl",
    "stale",
    "chunk_rows",
    "chunk_bytes",
    "count",
    "compress",
];
/// Keys of a relation. Not `link`, which may hold anything.
const RELATION: &[&str] = &["via", "through", "from", "table", "columns", "on", "to", "order", "cursor"];
/// Keys of a column: its name and style. Not `base`, which may be a URL, nor `labels`.
const COLUMN: &[&str] = &["column", "values", "as", "decimals"];
/// Keys of a framework's settings.
const VALUES: &[&str] = &["framework", "use_tz"];

/// Whether the value of a key may be shown, in the table at these steps. A key that is not listed
/// may not.
pub(super) fn may_be_shown(steps: &[String], key: &str) -> bool {
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    match steps[..] {
        ["server"] => SERVER.contains(&key),
        ["server", "tls"] => ["cert", "key"].contains(&key),
        ["admin"] => ["listen", "listen_mode"].contains(&key),
        ["admin", "tokens"] => key == "may",
        ["auth", "jwt"] => JWT.contains(&key),
        ["auth", "keys"] => key == "file",
        ["auth", "proxy"] => ["header", "claim", "as"].contains(&key),
        ["auth", "forward"] => FORWARD.contains(&key),
        ["store"] => STORE.contains(&key),
        ["store", "tls"] => ["ca", "cert", "key"].contains(&key),
        ["databases", _] => DATABASE.contains(&key),
        ["resources", _] => RESOURCE.contains(&key),
        // A column's name.
        ["resources", _, "fields"] => true,
        ["resources", _, "fields", _] => RELATION.contains(&key) || COLUMN.contains(&key),
        ["resources", _, "fields", _, "columns"] => COLUMN.contains(&key),
        ["resources", _, "values"]
        | ["resources", _, "fields", _, "values"]
        | ["resources", _, "fields", _, "columns", "values"] => VALUES.contains(&key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_not_shown_wherever_it_stands() {
        let shown = |path: &[&str], key: &str| {
            may_be_shown(&path.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>(), key)
        };

        assert!(shown(&["server"], "listen") && shown(&["resources", "a.b"], "ttl"));
        assert!(shown(&["resources", "a", "fields"], "anything") && shown(&["databases", "x"], "pool"));
        for (path, key) in [
            (&["databases"][..], "listen"),
            (&["databases"], "table"),
            (&["databases", "main"], "url"),
            (&["databases", "main"], "password"),
            (&["admin"], "token"),
            (&["admin"], "tokens"),
            (&["admin", "tokens"], "token"),
            (&["store"], "url"),
            (&["server"], "secret"),
            (&["auth", "jwt"], "secret"),
            (&["auth", "jwt"], "jwks"),
            (&["auth", "forward"], "url"),
            (&["auth"], "cookies"),
            (&["partner"], "sha256"),
            (&["resources", "a"], "where"),
            (&["resources", "a", "fields", "b"], "link"),
            (&[], "listen"),
        ] {
            assert!(!shown(path, key), "{path:?} {key}");
        }
    }
}
