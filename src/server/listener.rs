//! The listening socket: made here, or inherited from the supervisor that started the process.

use std::{
    fs::{self, Metadata, Permissions},
    io,
    net::TcpListener as StdTcpListener,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixListener as StdUnixListener,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::{
    origin::Remote,
    transport::{Transport, UnixSocket},
};
use crate::config::Listen;

const BACKLOG: i32 = 4096;

/// A socket that is listening already, as systemd hands it to a service.
#[derive(Debug)]
pub(crate) enum Inherited {
    /// An Internet socket.
    Tcp(StdTcpListener),
    /// A Unix socket. Its file belongs to the supervisor, and stays when the server ends.
    Unix(StdUnixListener),
}

/// A socket bound to an address, but not listening yet.
pub(super) struct Bound {
    socket: Socket,
    listens: Listen,
    file: Option<SocketFile>,
    inherited: bool,
}

impl Bound {
    /// # Errors
    /// When the address cannot be bound.
    pub(super) fn at(listen: &Listen) -> io::Result<Bound> {
        match listen {
            Listen::Ip(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.bind(&(*address).into())?;
                let listens = local_address(&socket)?;
                Ok(Bound { socket, listens, file: None, inherited: false })
            }
            Listen::Unix { path, mode } => {
                make_room(path)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                // The file is created with at most this mode. The umask may remove some bits, so
                // the mode is set again below.
                fchmod(&socket, Mode::from_raw_mode(*mode))?;
                socket.bind(&SockAddr::unix(path)?)?;
                let file = SocketFile::of(path)?;
                fs::set_permissions(path, Permissions::from_mode(*mode))?;
                Ok(Bound { socket, listens: listen.clone(), file: Some(file), inherited: false })
            }
        }
    }

    /// # Errors
    /// When it has no address.
    pub(super) fn inherited(socket: Inherited) -> io::Result<Bound> {
        let socket = match socket {
            Inherited::Tcp(listener) => Socket::from(listener),
            Inherited::Unix(listener) => Socket::from(listener),
        };
        let listens = local_address(&socket)?;
        Ok(Bound { socket, listens, file: None, inherited: true })
    }

    pub(super) fn listens(&self) -> &Listen {
        &self.listens
    }

    /// # Errors
    /// When it cannot be listened at.
    pub(super) fn listen(self) -> io::Result<Listener> {
        self.socket.set_nonblocking(true)?;
        if !self.inherited {
            self.socket.listen(BACKLOG)?;
        }
        match self.listens {
            Listen::Ip(_) => Ok(Listener::Tcp(TcpListener::from_std(self.socket.into())?)),
            Listen::Unix { .. } => {
                let listener = UnixListener::from_std(self.socket.into())?;
                Ok(Listener::Unix { listener, _file: self.file })
            }
        }
    }
}

fn local_address(socket: &Socket) -> io::Result<Listen> {
    let address = socket.local_addr()?;
    let ip = || address.as_socket().map(Listen::Ip);
    let unix = || address.as_pathname().map(Listen::unix);
    ip().or_else(unix).ok_or_else(|| io::Error::other("the socket has neither an address of the internet nor a file"))
}

/// Removes the file of a socket without a listener, which a killed server leaves behind.
///
/// # Errors
/// When a process listens there, or the file is no socket.
fn make_room(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };

    if !there.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file is there that is no socket"));
    }

    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue would block; it also shows that a process listens.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// The file of a socket; removed on drop, unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    own: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        let own = marks(&fs::symlink_metadata(path)?);
        Ok(SocketFile { path: path.to_owned(), own })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| marks(&there) == self.own) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn marks(there: &Metadata) -> (u64, u64) {
    (there.dev(), there.ino())
}

/// Accepts connections.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Removed with the listener.
        _file: Option<SocketFile>,
    },
}

impl Listener {
    /// The next connection. Cancel safe: no connection is lost.
    pub(super) async fn accept(&self) -> io::Result<(Transport, Remote)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Transport::Tcp(stream), Remote::Ip(address)))
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Transport::Unix(UnixSocket::new(stream)), Remote::Unix))
            }
        }
    }
}
