//! The protocol between systemd and a service: sockets that are open already, and the service's
//! state.
//!
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html>,
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>. Other supervisors use
//! the same protocol.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
    time::Duration,
};

use anyhow::{Result, bail};
use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};

use super::Process;
use crate::server::Inherited;

/// The name of a socket for `[admin]` (`FileDescriptorName=`).
const ADMIN: &str = "admin";

/// Sockets that were open when the process started.
pub struct Sockets {
    sockets: Vec<Inherited>,
    /// The `FileDescriptorName=` of each, separated by colons.
    names: String,
}

impl Sockets {
    /// Takes them over from the environment: once, and before there are threads.
    ///
    /// # Errors
    /// When one of them is no stream socket.
    pub fn take(names: Option<String>) -> io::Result<Sockets> {
        let mut handed = ListenFd::from_env();
        let mut sockets = vec![];
        for at in 0..handed.len() {
            // A socket of the other kind is left to be taken below.
            let unix = handed.take_unix_listener(at).ok().flatten().map(Inherited::Unix);
            let socket = match unix {
                Some(socket) => Some(socket),
                None => handed.take_tcp_listener(at)?.map(Inherited::Tcp),
            };
            sockets.extend(socket);
        }
        Ok(Sockets { sockets, names: names.unwrap_or_default() })
    }

    /// The socket for the lists, and the one for the operator.
    ///
    /// # Errors
    /// When there are several for one of the two.
    pub(super) fn shared_out(self) -> Result<(Option<Inherited>, Option<Inherited>)> {
        let mut lists = None;
        let mut admin = None;
        let mut names = self.names.split(':');
        for socket in self.sockets {
            let is_admin = names.next() == Some(ADMIN);
            let place = if is_admin { &mut admin } else { &mut lists };
            if place.replace(socket).is_some() {
                bail!(
                    "several sockets were handed over for one listener: one is for the lists, and one called `{ADMIN}` \
                     (FileDescriptorName={ADMIN}) for [admin]"
                )
            }
        }
        Ok((lists, admin))
    }
}

/// The supervisor that started the service, if there is one.
pub(super) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// How often it must hear from the service.
    watchdog: Option<Duration>,
}

impl Supervisor {
    pub(super) fn new(process: &Process<'_>) -> Supervisor {
        let named = |name: &str| (process.environment)(name).filter(|value| !value.is_empty());
        let socket = named("NOTIFY_SOCKET").and_then(|address| match connected(&address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, address, "who started this service cannot be told how it fares");
                None
            }
        });
        let own = std::process::id().to_string();
        let watches = named("WATCHDOG_PID").is_none_or(|process| process == own);
        let watchdog = named("WATCHDOG_USEC").filter(|_| watches).and_then(|span| span.parse().ok());
        Supervisor { socket, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// Says that requests are answered from now on.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// Says that the configuration is being read again; [`ready`](Supervisor::ready) says when that
    /// is over.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Says that the server stops and streams come to their end.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=running streams end");
    }

    /// Says again and again that the service lives, twice as often as required. A task says it, so
    /// that nothing is said if all threads are stuck.
    pub(super) async fn live(&self) {
        let Some(limit) = self.watchdog else { return std::future::pending().await };
        loop {
            if tokio::spawn(async {}).await.is_ok() {
                self.tell("WATCHDOG=1");
            }
            tokio::time::sleep(limit / 2).await;
        }
    }

    fn tell(&self, text: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(text.as_bytes())
        {
            tracing::debug!(%error, "who started this service did not take a message");
        }
    }
}

/// A path, or `@NAME` in the abstract namespace.
fn connected(address: &str) -> io::Result<UnixDatagram> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(Path::new(name).as_os_str().as_bytes())?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A full queue must not block the server.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A text on one line, since each line of a message is a variable of its own.
fn line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
