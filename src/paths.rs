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
    /// Makes a ticket, which opens a stream without a header.
    Ticket,
    /// All metrics.
    Metrics,
    /// The data of the operator's page.
    Status,
    /// Reads the configuration again.
    Reload,
    /// Is told which rows have changed.
    Changed,
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
    /// What a token must allow that opens it, beside the operator's own; `None` if no other does.
    action: Option<Action>,
}

/// What a token may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// To tell which rows have changed.
    Changed,
    /// To forget a list's chunks.
    Purge,
    /// To load a list.
    Warm,
    /// To read the metrics.
    Metrics,
    /// To read the data of the operator's page.
    Status,
}

impl Action {
    const ALL: &[(&str, Action)] = &[
        ("changed", Action::Changed),
        ("purge", Action::Purge),
        ("warm", Action::Warm),
        ("metrics", Action::Metrics),
        ("status", Action::Status),
    ];

    /// The action with this name in a configuration.
    pub fn named(name: &str) -> Option<Action> {
        Action::ALL.iter().find(|(known, _)| *known == name).map(|(_, action)| *action)
    }

    /// All names in a configuration.
    pub fn names() -> Vec<&'static str> {
        Action::ALL.iter().map(|(name, _)| *name).collect()
    }
}

const READ: &str = "GET, HEAD";
const ACT: &str = "POST";

/// The path of tickets.
pub(crate) const TICKET: &str = "/-/ticket";

/// The paths beside the lists. The library answers the first two; the server answers the others,
/// the last one only if its configuration has `[auth]`.
pub(crate) const PUBLIC: &[OwnPath] = &[
    OwnPath { own: Own::Home, path: "/", named: "", methods: READ, action: None },
    OwnPath { own: Own::OpenApi, path: "/openapi.json", named: "", methods: READ, action: None },
    OwnPath { own: Own::Health, path: "/healthz", named: "", methods: READ, action: None },
    OwnPath { own: Own::Ready, path: "/readyz", named: "", methods: READ, action: None },
    OwnPath { own: Own::Ticket, path: TICKET, named: "", methods: ACT, action: None },
];

/// The paths of the operator's listener.
pub(crate) const OPERATOR: &[OwnPath] = &[
    OwnPath { own: Own::Home, path: "/", named: "", methods: READ, action: None },
    OwnPath { own: Own::Metrics, path: "/metrics", named: "", methods: READ, action: Some(Action::Metrics) },
    OwnPath { own: Own::Status, path: "/status.json", named: "", methods: READ, action: Some(Action::Status) },
    OwnPath { own: Own::Health, path: "/healthz", named: "", methods: READ, action: None },
    OwnPath { own: Own::Changed, path: "/changed", named: "RESOURCE", methods: ACT, action: Some(Action::Changed) },
    OwnPath { own: Own::Purge, path: "/purge", named: "RESOURCE", methods: ACT, action: Some(Action::Purge) },
    OwnPath { own: Own::Warm, path: "/warm", named: "RESOURCE", methods: ACT, action: Some(Action::Warm) },
    OwnPath { own: Own::Cut, path: "/cut", named: "STREAM", methods: ACT, action: None },
    OwnPath { own: Own::Reload, path: "/reload", named: "", methods: ACT, action: None },
];

impl OwnPath {
    /// Whether it takes this method.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.methods.split(", ").any(|one| one == method.as_str())
    }

    /// Whether a token that may do these things opens it.
    pub(crate) fn is_opened_by(&self, may: &[Action]) -> bool {
        self.action.is_some_and(|action| may.contains(&action))
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

/// The operator's path for this purpose.
pub(crate) fn of_operator(own: Own) -> &'static OwnPath {
    OPERATOR.iter().find(|path| path.own == own).expect("the operator has a path for each purpose that is asked for")
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
    fn each_action_opens_one_path_of_the_operator_and_none_beside_the_lists() {
        for name in Action::names() {
            let action = Action::named(name).unwrap();
            let opened = |table: &[OwnPath]| table.iter().filter(|path| path.is_opened_by(&[action])).count();
            assert_eq!((opened(OPERATOR), opened(PUBLIC)), (1, 0), "{name}");
        }
        assert!(!OPERATOR.iter().any(|path| path.is_opened_by(&[])));
    }

    #[test]
    fn no_list_can_take_the_place_of_a_path_beside_the_lists() {
        assert!(["healthz", "readyz", "openapi.json", ""].into_iter().all(are_taken_by));
        assert!(!["metrics", "health"].into_iter().any(are_taken_by));
    }
}
