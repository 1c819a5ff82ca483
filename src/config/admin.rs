//! `[admin]`

use std::{fmt, net::SocketAddr};

use super::{parse_listen, read::Section};

const LISTEN: &str = "127.0.0.1:8081";

/// The listener for the operator.
#[derive(Clone)]
pub struct AdminConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What requests must carry as `Authorization: Bearer …`; must be there when it listens beyond loopback.
    pub token: Option<String>,
}

impl fmt::Debug for AdminConfig {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminConfig").field("listen", &self.listen).finish_non_exhaustive()
    }
}

pub(super) fn read(mut section: Section<'_, '_>) -> Option<AdminConfig> {
    let text = section.string("listen").unwrap_or_else(|| LISTEN.to_owned());
    let token = section.string("token").filter(|token| !token.is_empty());
    let listen = parse_listen(&text);
    match listen {
        None => section.complain(
            "listen",
            format!("`{}` is no address", section.written("listen")),
            "write IP:PORT, for instance \"127.0.0.1:8081\"",
        ),
        Some(listen) if !listen.ip().is_loopback() && token.is_none() => {
            section.complain(
                "listen",
                "an admin listener beyond loopback needs a token",
                "set token = \"${CHUNKFLOW_ADMIN_TOKEN}\", or listen at 127.0.0.1",
            );
        }
        _ => {}
    }
    section.finish();
    listen.map(|listen| AdminConfig { listen, token })
}
