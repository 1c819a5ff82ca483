//! Rows of the tables of sources, stores and formats: the three things that can be added.

/// One row of such a table: a name, the smallest example, and how to open it.
///
/// URLs, configuration, error messages and documentation follow from the row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind<T: 'static> {
    /// Its name: a URL's scheme, or a path's extension.
    pub(crate) name: &'static str,
    /// The shortest text with which a user gets it.
    pub(crate) example: &'static str,
    /// How to open or make one.
    pub(crate) open: T,
}

/// The kind called `name` in `table`.
pub(crate) fn find<T>(table: &'static [Kind<T>], name: &str) -> Option<&'static Kind<T>> {
    table.iter().find(|kind| kind.name == name)
}

/// The names in `table`, for an error message: `json, ndjson, csv`.
pub(crate) fn names<T>(table: &'static [Kind<T>]) -> String {
    table.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

/// The error message for a URL whose kind is unknown. It names the scheme only if that cannot be a
/// part of a password.
pub(crate) fn unknown(what: &str, url: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '+';
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match scheme.filter(|scheme| scheme.len() <= 16 && scheme.chars().all(plain)) {
        Some(scheme) => format!("no {what} of kind `{scheme}` here"),
        None => format!("no {what} of this kind here"),
    }
}
