//! Scopes: which rows of a list are an identity's.
//!
//! A scope is conditions on columns, with values from the identity's claims. They are conditions of
//! the list like a request's own, so they are part of the key of each chunk before any parameter of
//! the request is read. Identities with the same scope share chunks, and nothing else about anybody
//! is in a key.

use std::sync::Arc;

use serde_json::Value;

use super::{
    access::{Access, RowSecurity, forbidden},
    written,
};
use crate::{
    canonical::Canonical,
    error::{Error, Kind, Result},
    identity::Identity,
    seal::Seal,
    source::{Condition, Filter, Operand, Session},
};

/// The most values that a claim may list.
const MAX_VALUES: usize = 1000;
/// The texts of a small scope, in bytes.
const SMALL: usize = 2 * 1024;
/// The longest value of a setting, in bytes.
const MAX_SETTING: usize = 16 * 1024;

/// The rows of an identity: the conditions that its claims put on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    conditions: Vec<Condition>,
    session: Option<Arc<Session>>,
}

impl Scope {
    /// The scope of an identity.
    pub(super) fn of(access: &Access, identity: Option<&Identity>, source: &[&[Filter]]) -> Result<Scope> {
        let condition = |(column, claim): &(String, String)| {
            let mut columns = source.iter().copied().flatten();
            let exact = columns.clone().find(|filter| filter.column == *column);
            // A database may find a column by a name in other letters.
            let filter = exact.or_else(|| columns.find(|filter| filter.column.eq_ignore_ascii_case(column)));
            let filter = filter.ok_or_else(|| {
                Error::new(Kind::Config, format!("the scope's column `{column}` is none of the source"))
            })?;
            let value = identity.and_then(|identity| identity.claim(claim));
            values(claim, value, filter.operand).map(|values| filter.among(values))
        };

        let mut conditions = access.scope.iter().map(condition).collect::<Result<Vec<_>>>()?;
        conditions.sort();
        let rows = access.rows.as_ref();
        let session = rows.map(|rows| rows.session(identity).map(Arc::new)).transpose()?;
        Ok(Scope { conditions, session })
    }

    /// The role and settings to read with, if policies decide.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// The conditions, in canonical order.
    pub(crate) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Whether it is every row.
    pub(crate) fn is_all(&self) -> bool {
        self.conditions.is_empty() && self.session.is_none()
    }

    /// Whether it takes little memory, so that what belongs to it may be kept.
    pub(crate) fn is_small(&self) -> bool {
        let of_conditions = self.conditions.iter().flat_map(Condition::comparisons).flat_map(|one| &one.values);
        let of_session = self.session.iter().flat_map(|session| session.settings.iter().map(|(_, value)| value));
        of_conditions.chain(of_session).map(String::len).sum::<usize>() <= SMALL
    }

    /// The seal of cursors in this scope, which no other scope takes.
    pub(crate) fn seal(&self, seal: &Seal) -> Seal {
        if self.is_all() {
            return seal.clone();
        }

        seal.within(&self.canonical().digest())
    }

    fn canonical(&self) -> Canonical {
        let mut bytes = Canonical::of("chunkflow scope 1");
        bytes.bytes(&written(&self.conditions));
        if let Some(session) = &self.session {
            bytes.bytes(&session.written());
        }
        bytes
    }
}

impl RowSecurity {
    /// The session of an identity.
    fn session(&self, identity: Option<&Identity>) -> Result<Session> {
        let claim = |name: &str| identity.and_then(|identity| identity.claim(name));
        let role = self.role.as_ref().map(|(name, roles)| {
            let role = claim(name).and_then(Value::as_str);
            let is_one = role.filter(|role| roles.iter().any(|one| one == role));
            is_one.map(str::to_owned).ok_or_else(|| forbidden(format!("the claim `{name}` names no role of this list")))
        });

        let setting = |(setting, name): &(String, String)| {
            let value = claim(name).and_then(setting_of);
            let missing = || forbidden(format!("the claim `{name}` is missing, or no value of a setting"));
            value.map(|value| (setting.clone(), value)).ok_or_else(missing)
        };
        let settings = self.settings.iter().map(setting).collect::<Result<Vec<_>>>()?;
        Ok(Session::new(role.transpose()?, settings))
    }
}

/// A claim as the text of a setting.
fn setting_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Array(listed) if listed.len() <= MAX_VALUES => {
            let is_plain = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
            let mut texts: Vec<String> = listed.iter().map(Value::to_string).collect();
            texts.sort();
            texts.dedup();
            listed.iter().all(is_plain).then(|| format!("[{}]", texts.join(",")))?
        }
        _ => return None,
    };
    Some(text).filter(|text| text.len() <= MAX_SETTING && !text.contains('\0'))
}

/// The values that a claim allows for a column, as texts.
fn values(claim: &str, value: Option<&Value>, operand: Operand) -> Result<Vec<String>> {
    let wrong = |what: &str| {
        forbidden(format!("the claim `{claim}` {what}"))
            .remedy("the operator's `scope` of this list needs it otherwise")
    };
    let text = |value: &Value| {
        let text = match (value, operand) {
            (Value::String(text), Operand::Text) => Some(text.clone()).filter(|text| !text.contains('\0')),
            // Tokens have numbers as texts too: `sub` is always one.
            (Value::String(text), Operand::Integer) => Some(text.clone()).filter(|text| is_whole(text)),
            (Value::String(text), Operand::Number) => Some(text.clone()).filter(|text| is_decimal(text)),
            (Value::Number(number), Operand::Integer) => Some(number.to_string()).filter(|text| is_whole(text)),
            (Value::Number(number), Operand::Number) => Some(number.to_string()).filter(|text| is_decimal(text)),
            _ => None,
        };
        text.ok_or_else(|| wrong("is not of the type of the column that it is compared with"))
    };

    match value {
        None => Err(wrong("is missing")),
        Some(Value::Array(listed)) if listed.len() > MAX_VALUES => {
            Err(wrong(&format!("lists more than {MAX_VALUES} values")))
        }
        Some(Value::Array(listed)) => {
            let mut values = listed.iter().map(text).collect::<Result<Vec<_>>>()?;
            values.sort();
            values.dedup();
            Ok(values)
        }
        Some(value) => Ok(vec![text(value)?]),
    }
}

/// Whether a text is a whole number in its usual form, of which there is one.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_usual = digits == "0" && text == "0" || !digits.starts_with('0');
    is_usual && !digits.is_empty() && digits.len() <= 40 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is a number of plain digits.
fn is_decimal(text: &str) -> bool {
    let (whole, part) = text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let is_part = |part: &str| (1..=40).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    (is_whole(whole) || whole == "-0") && part.is_none_or(is_part)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::source::Operator;

    fn settings(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Fails if the canonical form changes: no cursor that a client has would be taken any more.
    #[test]
    fn the_canonical_form_of_a_scope_is_this_one() {
        let conditions = vec![Condition::is("org", Operator::In, vec!["1".to_owned(), "2".to_owned()])];
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let number = |number: usize| (number as u64).to_le_bytes().to_vec();
        let within = |part: Vec<u8>| [number(part.len()), part].concat();
        let of_conditions =
            [text("conditions 1"), number(1), text("org"), text("in"), number(2), text("1"), text("2")].concat();
        let scope = Scope { conditions, session: None };
        let expected = [text("chunkflow scope 1"), within(of_conditions)].concat();
        assert_eq!(scope.canonical().into_bytes(), expected);

        let session = Session::new(Some("reader".to_owned()), settings(&[("request.org", "7")]));
        let scope = Scope { conditions: vec![], session: Some(Arc::new(session)) };
        let none = [text("conditions 1"), number(0)].concat();
        let of_session =
            [text("session 1"), vec![1], text("reader"), number(1), text("request.org"), text("7")].concat();
        let expected = [text("chunkflow scope 1"), within(none), within(of_session)].concat();
        assert_eq!(scope.canonical().into_bytes(), expected);
    }

    /// Scopes of few short texts, so that those of several are often nearly the same.
    fn scope() -> impl Strategy<Value = Scope> {
        let text = || prop::sample::select(&["", "a", "aa", "b", "eq", "in", "1"][..]).prop_map(str::to_owned);
        let operator = prop::sample::select(&[Operator::Eq, Operator::In][..]);
        let condition = (text(), operator, prop::collection::vec(text(), 0..3));
        let condition = condition.prop_map(|(column, operator, values)| Condition::is(column, operator, values));
        let settings = prop::collection::vec((text(), text()), 0..3);
        let session = (prop::option::of(text()), settings).prop_map(|(role, settings)| Session::new(role, settings));
        let conditions = prop::collection::vec(condition, 0..3);
        (conditions, prop::option::of(session)).prop_map(|(mut conditions, session)| {
            conditions.sort();
            Scope { conditions, session: session.map(Arc::new) }
        })
    }

    proptest! {
        #[test]
        fn two_different_scopes_never_have_the_same_bytes(scopes in prop::collection::vec(scope(), 2..60)) {
            let mut seen: HashMap<Vec<u8>, &Scope> = HashMap::new();
            for scope in &scopes {
                let same = seen.insert(scope.canonical().into_bytes(), scope);
                prop_assert!(same.is_none_or(|same| same == scope), "{same:?} {scope:?}");
            }
        }
    }
}
