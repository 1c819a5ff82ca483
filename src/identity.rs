//! Who a request is from, as far as lists depend on it.

use std::{fmt, time::SystemTime};

use serde_json::{Map, Value};

/// Who a request is from: the claims that lists may depend on, as a token, a key or an application
/// states them.
///
/// A program puts one into the extensions of a request. Without one, a request is anonymous.
///
/// ```
/// let identity = chunkflow::Identity::of([("sub", "anna".into()), ("org", 7.into())]);
/// let request = http::Request::get("/orders").extension(identity).body(()).unwrap();
/// # let _ = request;
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Identity {
    claims: Map<String, Value>,
    until: Option<SystemTime>,
}

impl Identity {
    /// An identity with these claims.
    pub fn new(claims: Map<String, Value>) -> Identity {
        Identity { claims, until: None }
    }

    /// The same from names and values.
    pub fn of<N: Into<String>>(claims: impl IntoIterator<Item = (N, Value)>) -> Identity {
        Identity::new(claims.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// The same, which holds until this moment. After it a request with this identity is refused, as
    /// one with a wrong credential.
    #[must_use]
    pub fn until(self, until: SystemTime) -> Identity {
        Identity { until: Some(until), ..self }
    }

    /// The value of a claim; `None` if it has none of this name.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// All claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Whether it has not ended at this moment.
    pub fn is_current(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// The moment at which it ends, if it does by itself.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.until
    }
}

impl fmt::Debug for Identity {
    /// The names of the claims, without their values, which are somebody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.claims.keys().map(String::as_str).collect();
        f.debug_struct("Identity").field("claims", &names).field("until", &self.until).finish()
    }
}
