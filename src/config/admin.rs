//! `[admin]`

use std::{fmt, net::SocketAddr};

use super::{
    listen::{self, Listen},
    read::Section,
};

/// The default address.
fn usual() -> Listen {
    SocketAddr::from(([127, 0, 0, 1], 8081)).into()
}

/// The listener for the operator.
#[derive(Clone)]
pub struct AdminConfig {
    /// Its address.
    pub listen: Listen,
    /// What requests must carry as `Authorization: Bearer …`; required if the address is beyond
    /// loopback.
    pub token: Option<String>,
}

impl fmt::Debug for AdminConfig {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

pub(super) fn read(mut section: Section<'_, '_>) -> Option<AdminConfig> {
    let listen = listen::read(&mut section, &usual());
    let guarded = section.has("token");
    let token = section.filled("token", "set the environment variable, or take `token` out to do without");
    if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        section.complain(
            "token",
            "the token has characters that a header cannot carry",
            "use letters, digits and signs, for instance what `openssl rand -hex 32` prints",
        );
    }

    if listen.as_ref().is_some_and(Listen::is_beyond_here) && !guarded {
        section.complain(
            "listen",
            "an admin listener beyond loopback needs a token",
            "set token = \"${CHUNKFLOW_ADMIN_TOKEN}\", or listen at 127.0.0.1",
        );
    }

    section.finish();
    listen.map(|listen| AdminConfig { listen, token })
}
