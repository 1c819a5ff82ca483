//! Views: what an identity sees of a resource.

use std::sync::Arc;

use super::{Resource, Scope, behind::Closed};
use crate::{error::Result, identity::Identity, seal::Seal, source::Filter};

/// What an identity sees of a resource.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The resource, perhaps with fewer members.
    pub(crate) resource: Arc<Resource>,
    /// Its rows.
    pub(crate) scope: Scope,
    /// What the request's parameters may not name, since the members that show it are hidden.
    closed: Closed,
    /// The orders that a request may ask for; only descriptions of lists have them.
    pub(crate) orders: Vec<String>,
}

impl View {
    /// The whole resource.
    pub(crate) fn whole(resource: &Arc<Resource>) -> View {
        View { resource: Arc::clone(resource), scope: Scope::default(), closed: Closed::default(), orders: vec![] }
    }

    /// Whether a column may be named in a request's parameters.
    pub(crate) fn is_open(&self, column: &str) -> bool {
        self.closed.lets(column)
    }

    /// The seal of its cursors, which those of another scope do not take.
    pub(crate) fn seal(&self) -> Seal {
        self.scope.seal(self.resource.seal())
    }

    /// Whether its order is by columns that are hidden.
    pub(crate) fn hides_order(&self) -> bool {
        self.order().len() < self.resource.source().order().len()
    }

    /// The columns of its order, `-` before a descending one, without those that are hidden.
    pub(crate) fn order(&self) -> Vec<&str> {
        let all = self.resource.source().order().iter().map(String::as_str);
        all.filter(|column| self.is_open(column.trim_start_matches('-'))).collect()
    }

    /// The columns that a request may filter by.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &Filter> + Clone {
        self.resource.source().filters().iter().filter(|filter| self.is_open(&filter.column))
    }
}

impl Resource {
    /// What this identity sees of it; `None`: nobody said who it is.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`] without an identity where one is needed; [`Kind::Forbidden`] if its
    /// claims do not open the list, or are not of the types of the scope's columns.
    pub(crate) fn view(self: &Arc<Resource>, identity: Option<&Identity>) -> Result<View> {
        let access = &self.options.access;
        if !access.asks_who() {
            return Ok(View::whole(self));
        }

        access.check(identity)?;
        let scope = Scope::of(access, identity, &[self.source.filters(), self.source.scope()])?;
        let hidden: Vec<&str> = access.hidden_from(identity).collect();
        if hidden.is_empty() {
            return Ok(View { scope, ..View::whole(self) });
        }

        let resource = self.without(&hidden);
        Ok(View { resource, scope, closed: self.behind.closed_by(&hidden), orders: vec![] })
    }

    /// Whether this identity may read anything of it.
    pub(crate) fn is_open_to(self: &Arc<Resource>, identity: Option<&Identity>) -> bool {
        self.view(identity).is_ok()
    }
}
