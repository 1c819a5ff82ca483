//! `[admin]`

use std::{fmt, net::SocketAddr};

use super::{
    listen::{self, Listen},
    read::Section,
};
pub use crate::paths::Action;
use crate::{
    paths::{self, Own},
    suggest,
};

/// The default address.
fn usual() -> Listen {
    SocketAddr::from(([127, 0, 0, 1], 8081)).into()
}

/// The listener for the operator.
#[derive(Clone)]
#[non_exhaustive]
pub struct AdminConfig {
    /// Its address.
    pub listen: Listen,
    /// What requests must carry as `Authorization: Bearer …`. Beyond loopback this is required, or
    /// one of `tokens`.
    pub token: Option<String>,
    /// What requests may carry in its place, each for some actions only. With any of these, no
    /// request is answered without a token.
    pub tokens: Vec<AdminToken>,
}

/// A token that opens some of the operator's paths.
#[derive(Clone)]
#[non_exhaustive]
pub struct AdminToken {
    /// What requests carry as `Authorization: Bearer …`.
    pub token: String,
    /// What they may do with it.
    pub may: Vec<Action>,
}

impl AdminToken {
    /// A token that may do these things.
    pub fn new(token: impl Into<String>, may: &[Action]) -> AdminToken {
        AdminToken { token: token.into(), may: may.to_vec() }
    }
}

impl AdminConfig {
    /// A listener at this address, without a token.
    pub fn at(listen: impl Into<Listen>) -> AdminConfig {
        AdminConfig { listen: listen.into(), token: None, tokens: vec![] }
    }

    /// The same, changed by `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut AdminConfig)) -> AdminConfig {
        change(&mut self);
        self
    }

    /// What a request for a path carries: `token`, or else one of `tokens` that opens it.
    pub(crate) fn token_for(&self, own: Own) -> Option<&str> {
        let opens = |token: &&AdminToken| paths::of_operator(own).is_opened_by(&token.may);
        self.token.as_deref().or_else(|| self.tokens.iter().find(opens).map(|token| &*token.token))
    }
}

impl fmt::Debug for AdminConfig {
    /// Without the tokens' values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminConfig")
            .field("listen", &self.listen)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AdminToken {
    /// Without its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminToken").field("may", &self.may).finish_non_exhaustive()
    }
}

pub(super) fn read(mut section: Section<'_, '_>) -> Option<AdminConfig> {
    let listen = listen::read(&mut section, &usual());
    let token = section.filled("token", "set the environment variable, or take `token` out to do without");
    check_characters(&section, token.as_deref());
    let mut tokens: Vec<AdminToken> = vec![];
    let entries = section.tables("tokens").unwrap_or_default();
    let is_guarded = section.has("token") || !entries.is_empty();

    for mut entry in entries {
        let read = read_token(&mut entry);
        let is_there = |there: &str| !there.is_empty() && there == read.token;
        if token.as_deref().is_some_and(is_there) || tokens.iter().any(|other| is_there(&other.token)) {
            let remedy = "give each entry a token of its own, for instance what `openssl rand -hex 32` prints";
            entry.complain("token", "the same token stands in [admin] before", remedy);
        }
        entry.finish();
        tokens.push(read);
    }

    if listen.as_ref().is_some_and(Listen::is_beyond_here) && !is_guarded {
        section.complain(
            "listen",
            "an admin listener beyond loopback needs a token",
            "set token = \"${CHUNKFLOW_ADMIN_TOKEN}\", or listen at 127.0.0.1",
        );
    }

    section.finish();
    listen.map(|listen| AdminConfig { listen, token, tokens })
}

/// An entry of `tokens`.
fn read_token(entry: &mut Section<'_, '_>) -> AdminToken {
    let token = entry.required("token", "write token = \"${CHUNKFLOW_CHANGED_TOKEN}\", or take the entry out");
    check_characters(entry, Some(&token));

    let actions = Action::names();
    let named = format!("write for instance may = [\"changed\"]; actions here: {}", actions.join(", "));
    let has_may = entry.has("may");
    let may = entry.strings("may");
    if !has_may {
        entry.complain("may", "`may` is missing", named);
    } else if may.as_ref().is_some_and(Vec::is_empty) {
        entry.complain("may", "`may` is empty", named);
    }

    let mut allowed = vec![];
    for name in may.unwrap_or_default() {
        match Action::named(&name) {
            Some(action) => allowed.push(action),
            None => {
                let remedy = suggest::remedy("actions", &name, &actions);
                entry.complain("may", format!("`may` has no action `{name}`"), remedy);
            }
        }
    }

    AdminToken { token, may: allowed }
}

fn check_characters(section: &Section<'_, '_>, token: Option<&str>) {
    if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        section.complain(
            "token",
            "the token has characters that a header cannot carry",
            "use letters, digits and signs, for instance what `openssl rand -hex 32` prints",
        );
    }
}
