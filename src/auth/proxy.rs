//! A header field in which a trusted proxy says who it has let through.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::{credentials::one, refusal::Refusal};
use crate::identity::Identity;

/// `[auth.proxy]`: the fields, and the claim of each.
#[derive(Clone, Debug)]
pub(crate) struct ProxyConfig {
    pub(crate) fields: Vec<ProxyField>,
}

/// A field of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct ProxyField {
    pub(crate) header: HeaderName,
    pub(crate) claim: String,
    pub(crate) value: FieldValue,
}

/// What the field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValue {
    Text,
    Integer,
    /// Texts, separated by commas.
    List,
}

impl ProxyConfig {
    /// Whom the proxy has let through; `None` if none of its fields is there. The caller has
    /// checked that the peer is a trusted proxy.
    ///
    /// # Errors
    /// When a field stands twice: one of them may be the client's own. When it is not what it should
    /// hold.
    pub(super) fn identity(&self, headers: &HeaderMap) -> Result<Option<Arc<Identity>>, Refusal> {
        let mut claims = vec![];
        for field in &self.fields {
            let value = one(headers, &field.header)?.map(|value| value.as_bytes().trim_ascii());
            // Some proxies send the field empty where nobody has logged in.
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                claims.push((field.claim.as_str(), field.read(value)?));
            }
        }

        Ok((!claims.is_empty()).then(|| Arc::new(Identity::of(claims))))
    }
}

impl ProxyField {
    fn read(&self, value: &[u8]) -> Result<Value, Refusal> {
        let wrong = |what: &str| Refusal::wrong(format!("the field `{}` of the proxy is {what}", self.header));
        let text = std::str::from_utf8(value).map_err(|_| wrong("not UTF-8"))?;
        match self.value {
            FieldValue::Text => Ok(text.into()),
            FieldValue::Integer => text.parse::<i64>().map(Value::from).map_err(|_| wrong("no whole number")),
            FieldValue::List => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Ok(parts.map(Value::from).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> ProxyConfig {
        let field = |header, claim: &str, value| ProxyField {
            header: HeaderName::from_static(header),
            claim: claim.to_owned(),
            value,
        };
        ProxyConfig {
            fields: vec![
                field("x-remote-user", "sub", FieldValue::Text),
                field("x-remote-org", "org", FieldValue::Integer),
                field("x-remote-groups", "role", FieldValue::List),
            ],
        }
    }

    fn identity(fields: &[(&'static str, &str)]) -> Result<Option<Arc<Identity>>, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        config().identity(&headers)
    }

    #[test]
    fn each_field_becomes_a_claim_of_its_type() {
        let fields = [("x-remote-user", "anna"), ("x-remote-org", " 7 "), ("x-remote-groups", "editor, admin,")];
        let identity = identity(&fields).unwrap().unwrap();
        assert_eq!(
            Value::from(identity.claims().clone()),
            json!({"sub": "anna", "org": 7, "role": ["editor", "admin"]})
        );
    }

    #[test]
    fn without_a_field_or_with_an_empty_one_nobody_is_named() {
        assert!(identity(&[]).unwrap().is_none());
        assert!(identity(&[("x-remote-user", "  "), ("x-other", "anna")]).unwrap().is_none());
    }

    #[test]
    fn a_field_that_stands_twice_or_holds_something_else_is_refused() {
        for fields in [
            &[("x-remote-user", "anna"), ("x-remote-user", "anna")][..],
            &[("x-remote-user", "anna"), ("x-remote-org", "7 OR 1=1")],
            &[("x-remote-user", "anna"), ("x-remote-org", "99999999999999999999")],
            &[("x-remote-org", "7"), ("x-remote-org", "8")],
        ] {
            assert!(identity(fields).is_err(), "{fields:?}");
        }
    }
}
