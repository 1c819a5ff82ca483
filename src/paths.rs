//! The server's own paths: what each is for, and its methods. No list can be named like one of
//! them.

use http::Method;

/// Everything below it belongs to the server.
pub(crate) const BELOW: &str = "-/";

/// The purpose of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// The list of resources, for people and programs.
    Home,
    /// The description of the lists.
    OpenApi,
    /// Whether the process answers.
    Health,
    /// Whether the server should get requests.
    Ready,
    /// All metrics.
    Metrics,
    /// The data of the operator's page.
    Status,
    /// Reads the configuration again.
    Reload,
    /// Forgets a list's chunks.
    Purge,
    /// Loads a list.
    Warm,
    /// Ends a stream.
    Cut,
}

/// One of the server's own paths.
#[derive(Debug)]
pub(crate) struct OwnPath {
    pub(crate) own: Own,
    /// The path in a request.
    pub(crate) path: &'static str,
    /// The name of what follows the path, in messages; empty if nothing does.
    named: &'static str,
    /// The methods, as `Allow` lists them.
    pub(crate) methods: &'static str,
}

const READ: &str = "GET, HEAD";
const ACT: &str = "POST";

/// The paths beside the lists. The library answers the first two; the server answers the others.
pub(crate) const PUBLIC: &[OwnPath] = &[
    OwnPath { own: Own::Home, path: "/", named: "", methods: READ },
    OwnPath { own: Own::OpenApi, path: "/openapi.json", named: "", methods: READ },
    OwnPath { own: Own::Health, path: "/healthz", named: "", methods: READ },
    OwnPath { own: Own::Ready, path: "/readyz", named: "", methods: READ },
];

/// The paths of the operator's listener.
pub(crate) const OPERATOR: &[OwnPath] = &[
    OwnPath { own: Own::Home, path: "/", named: "", methods: READ },
    OwnPath { own: Own::Metrics, path: "/metrics", named: "", methods: READ },
    OwnPath { own: Own::Status, path: "/status.json", named: "", methods: READ },
    OwnPath { own: Own::Health, path: "/healthz", named: "", methods: READ },
    OwnPath { own: Own::Purge, path: "/purge", named: "RESOURCE", methods: ACT },
    OwnPath { own: Own::Warm, path: "/warm", named: "RESOURCE", methods: ACT },
    OwnPath { own: Own::Cut, path: "/cut", named: "STREAM", methods: ACT },
    OwnPath { own: Own::Reload, path: "/reload", named: "", methods: ACT },
];

impl OwnPath {
    /// Whether it takes this method.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.methods.split(", ").any(|one| one == method.as_str())
    }

    /// The part of a path behind this one; `None` if the path is another.
    fn behind<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.path)?;
        if self.named.is_empty() { rest.is_empty().then_some(rest) } else { rest.strip_prefix('/') }
    }
}

/// The row of a path, and what follows it.
pub(crate) fn find<'p>(table: &'static [OwnPath], path: &'p str) -> Option<(&'static OwnPath, &'p str)> {
    table.iter().find_map(|own| Some((own, own.behind(path)?)))
}

/// The operator's path for this purpose, without what follows it.
pub(crate) fn of_operator(own: Own) -> &'static str {
    OPERATOR.iter().find(|path| path.own == own).map_or("/", |path| path.path)
}

/// The paths of a table, for messages: `GET /metrics; POST /purge/RESOURCE`.
pub(crate) fn told(table: &[OwnPath]) -> String {
    let one = |own: &OwnPath| {
        let method = own.methods.split(',').next().unwrap_or_default();
        let slash = if own.named.is_empty() { "" } else { "/" };
        format!("{method} {}{slash}{}", own.path, own.named)
    };
    table.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Whether a list of this name would be at one of the server's own paths.
pub(crate) fn are_taken_by(name: &str) -> bool {
    PUBLIC.iter().any(|own| own.path.strip_prefix('/') == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_with_what_it_names() {
        let found = |path| find(OPERATOR, path).map(|(own, rest)| (own.own, rest));
        assert_eq!(found("/"), Some((Own::Home, "")));
        assert_eq!(found("/purge/a/b"), Some((Own::Purge, "a/b")));
        assert_eq!([found("/purge"), found("/purgery"), found("/reload/x"), found("/readyz")], [None; 4]);
    }

    #[test]
    fn no_list_can_take_the_place_of_a_path_beside_the_lists() {
        assert!(["healthz", "readyz", "openapi.json", ""].into_iter().all(are_taken_by));
        assert!(!["metrics", "health"].into_iter().any(are_taken_by));
    }
}
