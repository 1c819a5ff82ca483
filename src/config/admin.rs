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

/// Whether others than those on this machine can connect to a socket with this address.
pub(crate) fn needs_token(bound: SocketAddr) -> bool {
    !bound.ip().to_canonical().is_loopback()
}

/// Whether two sockets cannot have these addresses both.
pub(crate) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |address: SocketAddr| address.ip().is_unspecified();
    let same = one.ip().to_canonical() == other.ip().to_canonical();
    one.port() == other.port() && one.port() != 0 && (same || all(one) || all(other))
}

pub(super) fn read(mut section: Section<'_, '_>) -> Option<AdminConfig> {
    let text = section.string_like("listen", |port| format!("127.0.0.1:{port}")).unwrap_or_else(|| LISTEN.to_owned());
    let guarded = section.has("token");
    let token = section.filled("token", "set the environment variable, or take `token` out to do without");
    if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        section.complain(
            "token",
            "the token has characters that a header cannot carry",
            "use letters, digits and signs, for instance what `openssl rand -hex 32` prints",
        );
    }
    let listen = parse_listen(&text);
    match listen {
        None => section.complain(
            "listen",
            format!("`{}` is no address", section.written("listen")),
            "write IP:PORT, for instance \"127.0.0.1:8081\"",
        ),
        Some(listen) if needs_token(listen) && !guarded => {
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
