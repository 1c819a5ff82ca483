//! The role and the settings that a read has in its database, for row-level security.

use crate::canonical::Canonical;

/// The role and the settings of a read's transaction. What policies let it see depends on them, so
/// they are part of the key of each chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Session {
    /// The role; `None`: the connection's own.
    pub role: Option<String>,
    /// Names and values of settings, in the order of the names.
    pub settings: Vec<(String, String)>,
}

impl Session {
    /// A session with this role and these settings.
    pub(crate) fn new(role: Option<String>, mut settings: Vec<(String, String)>) -> Session {
        settings.sort();
        Session { role, settings }
    }

    /// All of it, as bytes for keys.
    pub(crate) fn written(&self) -> Vec<u8> {
        let mut bytes = Canonical::of("session 1");
        bytes.maybe(self.role.as_deref(), Canonical::text);
        bytes.each(self.settings.iter(), |bytes, (name, value)| {
            bytes.text(name);
            bytes.text(value);
        });
        bytes.into_bytes()
    }

    /// The statements that give a transaction of PostgreSQL this role and these settings, each
    /// after a semicolon.
    #[cfg(feature = "postgres")]
    pub(crate) fn statements(&self) -> String {
        let setting = |(name, value): &(String, String)| {
            format!("; SELECT pg_catalog.set_config({}, {}, true)", quoted(name), quoted(value))
        };
        let settings: String = self.settings.iter().map(setting).collect();
        let role = self.role.iter().map(|role| format!("; SET LOCAL ROLE {}", quoted(role)));
        settings + &role.collect::<String>()
    }
}

/// A text as PostgreSQL reads it with `standard_conforming_strings` on and off (§4.1.2.2 of its
/// manual).
#[cfg(feature = "postgres")]
fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sessions_with_the_same_bytes_are_the_same() {
        let of = |role: Option<&str>, settings: &[(&str, &str)]| {
            let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Session::new(role.map(str::to_owned), settings).written()
        };
        let all = [
            of(None, &[]),
            of(Some(""), &[]),
            of(Some("a"), &[]),
            of(None, &[("a", "")]),
            of(None, &[("a", "b")]),
            of(None, &[("ab", "")]),
            of(None, &[("a", "b"), ("c", "d")]),
            of(None, &[("a", "d"), ("c", "b")]),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(of(None, &[("a", "b"), ("c", "d")]), of(None, &[("c", "d"), ("a", "b")]));
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn no_value_ends_the_text_that_it_stands_in() {
        let session =
            Session::new(Some("re\"ad'er".into()), vec![("request.org".into(), "o'\\'; DROP TABLE x".into())]);
        assert_eq!(
            session.statements(),
            "; SELECT pg_catalog.set_config(E'request.org', E'o\\'\\\\\\'; DROP TABLE x', true)\
             ; SET LOCAL ROLE E're\"ad\\'er'"
        );
    }
}
