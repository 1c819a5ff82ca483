//! Who may read a list, and which of its rows and members.

use std::time::SystemTime;

use serde_json::Value;

use crate::{
    error::{Error, Kind, Result},
    identity::Identity,
    source::Complaint,
};

/// Who may read a list, and which of its rows and members. By default everybody reads all of it.
///
/// ```
/// use chunkflow::{Access, ResourceOptions};
///
/// // Each tenant's rows, for those who are known; addresses for their administrators only.
/// let access = Access::authenticated().scoped("organisation_id", "org").hiding(["email"], "role", ["admin"]);
/// let options = ResourceOptions::default().with(|options| options.access = access);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access {
    authenticated: bool,
    require: Vec<Requirement>,
    /// Columns, each with the claim that has its value.
    pub(super) scope: Vec<(String, String)>,
    hidden: Vec<Hidden>,
    pub(super) rows: Option<RowSecurity>,
}

/// How PostgreSQL's row-level security learns who reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RowSecurity {
    /// The claim that names the role, and the roles that it may name.
    pub(super) role: Option<(String, Vec<String>)>,
    /// Settings, each with the claim that has its value.
    pub(super) settings: Vec<(String, String)>,
}

/// A claim that must have one of some values, or list one of them.
#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    claim: String,
    values: Vec<Value>,
}

/// Members that are shown only to those who meet the requirements.
#[derive(Clone, Debug, PartialEq)]
struct Hidden {
    unless: Vec<Requirement>,
    fields: Vec<String>,
}

impl Access {
    /// For everybody who says who it is.
    pub fn authenticated() -> Access {
        Access { authenticated: true, ..Access::default() }
    }

    /// The same, for those who say who they are.
    #[cfg(feature = "server")]
    pub(crate) fn for_known(self) -> Access {
        Access { authenticated: true, ..self }
    }

    /// The same, only for those of whom this claim is one of these values, or lists one of them.
    #[must_use]
    pub fn requiring<V: Into<Value>>(
        mut self,
        claim: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Access {
        self.require.push(Requirement::of(claim, values));
        self
    }

    /// The same, but only the rows whose `column` is equal to this claim, or to one of its values
    /// if it is a list. With an empty list there are no rows. The claim must be there and of the
    /// column's type: text for a text, a whole number for a whole number.
    ///
    /// The column is one of the table, or `MEMBER.COLUMN` of the row that a `via` member shows.
    #[must_use]
    pub fn scoped(mut self, column: impl Into<String>, claim: impl Into<String>) -> Access {
        self.scope.push((column.into(), claim.into()));
        self
    }

    /// The same, without these members for all but those of whom `claim` is one of these values, or
    /// lists one of them. Nobody else can filter or order by the columns behind the members.
    #[must_use]
    pub fn hiding<F: Into<String>, V: Into<Value>>(
        self,
        fields: impl IntoIterator<Item = F>,
        claim: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Access {
        self.hiding_unless(fields, [(claim.into(), values.into_iter().map(Into::into).collect())])
    }

    /// The same for several claims, all of which must be as said.
    #[must_use]
    pub(crate) fn hiding_unless<F: Into<String>>(
        mut self,
        fields: impl IntoIterator<Item = F>,
        unless: impl IntoIterator<Item = (String, Vec<Value>)>,
    ) -> Access {
        let unless = unless.into_iter().map(|(claim, values)| Requirement { claim, values }).collect();
        self.hidden.push(Hidden { unless, fields: fields.into_iter().map(Into::into).collect() });
        self
    }

    /// The same, but read by PostgreSQL as the role that this claim names, if it is one of `roles`:
    /// its policies then say which rows there are.
    #[must_use]
    pub fn as_role<R: Into<String>>(mut self, claim: impl Into<String>, roles: impl IntoIterator<Item = R>) -> Access {
        let rows = self.rows.get_or_insert_default();
        rows.role = Some((claim.into(), roles.into_iter().map(Into::into).collect()));
        self
    }

    /// The same, but read by PostgreSQL with a setting of this name that has the value of this
    /// claim, which policies read with `current_setting`. A list is written as JSON.
    #[must_use]
    pub fn with_setting(mut self, setting: impl Into<String>, claim: impl Into<String>) -> Access {
        self.rows.get_or_insert_default().settings.push((setting.into(), claim.into()));
        self
    }

    /// Whether some claims must have some values.
    #[cfg(feature = "server")]
    pub(crate) fn has_requirements(&self) -> bool {
        !self.require.is_empty()
    }

    /// What is wrong with the roles and settings that policies are told.
    pub(super) fn wrong_row_security(&self) -> Vec<Complaint> {
        let Some(RowSecurity { role, settings }) = &self.rows else { return vec![] };
        let roles = role.iter().flat_map(|(_, roles)| roles);
        // PostgreSQL takes these for words, in quotes too.
        let words = roles.filter(|role| ["none", "default", ""].contains(&&*role.to_ascii_lowercase()));
        let words = words.map(|role| {
            Complaint::new("rls.roles", format!("`{role}` is the name of no role"), "name the roles that may read")
        });

        let unusual = settings.iter().map(|(setting, _)| setting).filter(|setting| !is_setting(setting));
        let unusual = unusual.map(|setting| {
            let message = format!("`{setting}` is no setting of an application");
            let remedy = "write a name with a dot, for instance \"request.org\" = \"org\"";
            Complaint::new("rls.set", message, remedy)
        });
        words.chain(unusual).collect()
    }

    /// Whether the database itself decides which rows there are.
    pub(crate) fn has_row_security(&self) -> bool {
        self.rows.is_some()
    }

    /// Whether each identity has rows of its own, so that nobody reads the whole list.
    #[cfg(feature = "server")]
    pub(crate) fn has_scopes(&self) -> bool {
        !self.scope.is_empty() || self.rows.is_some()
    }

    /// Whether a request's identity makes any difference. If not, no credential is looked at.
    pub(crate) fn asks_who(&self) -> bool {
        self.is_closed() || !self.hidden.is_empty()
    }

    /// Whether nobody can read it without saying who it is.
    pub(crate) fn is_closed(&self) -> bool {
        self.authenticated || !self.require.is_empty() || !self.scope.is_empty() || self.rows.is_some()
    }

    /// The columns of the scope.
    pub(crate) fn scope_columns(&self) -> impl Iterator<Item = &str> {
        self.scope.iter().map(|(column, _)| &**column)
    }

    /// The members that are hidden from somebody.
    pub(crate) fn hidden_fields(&self) -> impl Iterator<Item = &str> {
        self.hidden.iter().flat_map(|hidden| &hidden.fields).map(String::as_str)
    }

    /// The members that are hidden from this identity.
    pub(super) fn hidden_from<'a>(&'a self, identity: Option<&'a Identity>) -> impl Iterator<Item = &'a str> {
        let is_met = move |one: &Requirement| identity.is_some_and(|identity| one.is_met_by(identity));
        let hidden = self.hidden.iter().filter(move |hidden| !hidden.unless.iter().all(is_met));
        hidden.flat_map(|hidden| &hidden.fields).map(String::as_str)
    }

    /// Whether this identity may read anything of the list.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`] without an identity where one is needed; [`Kind::Forbidden`] if its
    /// claims are not those that are required.
    pub(super) fn check(&self, identity: Option<&Identity>) -> Result<()> {
        let Some(identity) = identity else {
            return if self.is_closed() { Err(unknown()) } else { Ok(()) };
        };
        if !identity.is_current(SystemTime::now()) {
            return Err(Error::new(Kind::Unauthorized, "who asks is not known any more: the identity has ended"));
        }

        match self.require.iter().find(|one| !one.is_met_by(identity)) {
            Some(one) => Err(forbidden(format!("the claim `{}` does not open this list", one.claim))),
            None => Ok(()),
        }
    }
}

impl Requirement {
    fn of<V: Into<Value>>(claim: impl Into<String>, values: impl IntoIterator<Item = V>) -> Requirement {
        Requirement { claim: claim.into(), values: values.into_iter().map(Into::into).collect() }
    }

    fn is_met_by(&self, identity: &Identity) -> bool {
        match identity.claim(&self.claim) {
            Some(Value::Array(listed)) => listed.iter().any(|value| self.values.contains(value)),
            Some(value) => self.values.contains(value),
            None => false,
        }
    }
}

/// Whether a name is one of a setting that programs may make up: words with dots between them.
fn is_setting(name: &str) -> bool {
    let is_word = |word: &str| {
        let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        word.starts_with(is_letter) && word.chars().all(|c| is_letter(c) || c.is_ascii_digit())
    };
    name.contains('.') && name.split('.').all(is_word) && name.len() <= 63
}

fn unknown() -> Error {
    Error::new(Kind::Unauthorized, "this list is for those who say who they are")
        .remedy("send a credential, for instance `Authorization: Bearer …`")
}

pub(super) fn forbidden(message: String) -> Error {
    Error::new(Kind::Forbidden, message)
}
