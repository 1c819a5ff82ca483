//! What is checked before a resource is served: that its access is kept by what its source has.

use super::{Resource, access::Access};
use crate::{error::Error, source::Complaint, suggest};

impl Resource {
    /// What would let somebody see more than its access says, or nobody anything.
    pub(super) fn unguarded(&self) -> Vec<Complaint> {
        let access = &self.options.access;
        let mut wrong = access.wrong_row_security();
        if access.has_row_security() && !self.source.takes_sessions() {
            let message =
                format!("the source of `{}` has no row-level security that could be told who reads", self.name);
            wrong.push(Complaint::new("rls", message, "use `scope`, which every database has"));
        }

        wrong.extend(access.scope_columns().filter(|column| !self.has_scope(column)).map(|column| {
            let message = format!("the scope's column `{column}` is none that conditions may be on");
            Complaint::new(format!("scope.{column}"), message, "name a column of the source")
        }));
        wrong.extend(access.hidden_fields().filter(|hidden| !self.has_member(hidden)).map(|hidden| {
            let members: Vec<&str> = self.members().collect();
            let remedy = suggest::remedy("members", hidden, &members);
            Complaint::new("hidden_unless", format!("there is no member `{hidden}` to hide"), remedy)
        }));
        wrong.extend(self.told_by_cursors(access));
        wrong
    }

    fn has_member(&self, name: &str) -> bool {
        self.members().any(|member| member == name)
    }

    fn has_scope(&self, column: &str) -> bool {
        let mut filters = self.source.filters().iter().chain(self.source.scope());
        filters.any(|filter| filter.column.eq_ignore_ascii_case(column))
    }

    /// Columns of the order behind hidden members. Cursors hold their values, and everybody gets
    /// cursors; a secret encrypts them.
    fn told_by_cursors(&self, access: &Access) -> Vec<Complaint> {
        if self.options.secret.is_some() {
            return vec![];
        }

        let hidden: Vec<&str> = access.hidden_fields().collect();
        let closed = self.behind.closed_by(&hidden);
        let columns = self.source.order().iter().map(|column| column.strip_prefix('-').unwrap_or(column));
        let told = columns.filter(|column| !closed.lets(column)).map(|column| {
            Complaint::new(
                "order",
                format!("column `{column}` orders the list and is behind a hidden member, but cursors hold its values"),
                "set `secret` in [server], which encrypts them (`openssl rand -base64 32` makes one)",
            )
        });
        told.collect()
    }
}

/// A complaint as an error.
pub(super) fn error_of(complaint: &Complaint) -> Error {
    Error::new(crate::Kind::Config, complaint.message.clone()).remedy(complaint.remedy.clone())
}
