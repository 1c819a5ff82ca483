//! The three things one can add (sources, stores, formats) stand in tables of these.

/// One row of a table of kinds: its name, the smallest example of it, and how to get one.
///
/// URLs, configuration, error texts and documentation follow from the row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind<T: 'static> {
    /// What it is called: a URL's scheme, a path's extension.
    pub(crate) name: &'static str,
    /// The smallest thing a user can write to get it.
    pub(crate) example: &'static str,
    /// How to open or make one.
    pub(crate) open: T,
}

/// The kind called `name` in `table`.
pub(crate) fn find<T>(table: &'static [Kind<T>], name: &str) -> Option<&'static Kind<T>> {
    table.iter().find(|kind| kind.name == name)
}

/// The names in `table`, for an error text: `json, ndjson, csv`.
pub(crate) fn names<T>(table: &'static [Kind<T>]) -> String {
    table.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

/// That there is no kind of this URL's; it is named only where it is sure to be no part of a
/// password.
pub(crate) fn unknown(what: &str, url: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '+';
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match scheme.filter(|scheme| scheme.len() <= 16 && scheme.chars().all(plain)) {
        Some(scheme) => format!("no {what} of kind `{scheme}` here"),
        None => format!("no {what} of this kind here"),
    }
}
