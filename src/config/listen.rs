//! `listen`: an Internet address or a Unix socket.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::read::Section;

/// The longest path of a socket that the kernel takes, in bytes (unix(7)).
const LONGEST: usize = 107;

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listen {
    /// An Internet address; port 0 takes any free port.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its absolute path.
        path: PathBuf,
        /// The file's mode: users with write permission may connect.
        mode: u32,
    },
}

impl Listen {
    /// The default mode: the server's user and group.
    pub const MODE: u32 = 0o660;

    /// A Unix socket that the server's user and group may connect to.
    pub fn unix(path: impl Into<PathBuf>) -> Listen {
        Listen::Unix { path: path.into(), mode: Listen::MODE }
    }

    /// The Internet address, if it is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Listen::Ip(address) => Some(*address),
            Listen::Unix { .. } => None,
        }
    }

    /// What a client on this machine puts into `Host`.
    pub fn host(&self) -> String {
        self.ip().map_or_else(|| "localhost".to_owned(), |address| address.to_string())
    }

    /// Whether other machines can connect. For a Unix socket they cannot; the file's mode decides
    /// which users can.
    pub(crate) fn is_beyond_here(&self) -> bool {
        self.ip().is_some_and(|address| !address.ip().to_canonical().is_loopback())
    }

    /// Whether two sockets cannot be bound to both.
    pub(crate) fn collides(&self, other: &Listen) -> bool {
        match (self, other) {
            (Listen::Ip(one), Listen::Ip(other)) => {
                let all = |address: &SocketAddr| address.ip().is_unspecified();
                let same = one.ip().to_canonical() == other.ip().to_canonical();
                one.port() == other.port() && one.port() != 0 && (same || all(one) || all(other))
            }
            (Listen::Unix { path: one, .. }, Listen::Unix { path: other, .. }) => one == other,
            _ => false,
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Listen {
        Listen::Ip(address)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Ip(address) => address.fmt(f),
            Listen::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The error for a text that is no listening address.
#[derive(Debug, PartialEq, Eq)]
pub struct NoListen;

impl FromStr for Listen {
    type Err = NoListen;

    /// Reads `127.0.0.1:8080`, `localhost:8080`, `:8080` or `unix:/run/chunkflow.sock`.
    fn from_str(text: &str) -> Result<Listen, NoListen> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path).map(Listen::unix).ok_or(NoListen);
        }
        let port = |port: &str| port.parse().map_err(|_| NoListen);
        let address = match text.split_once(':') {
            Some(("", number)) => SocketAddr::from(([0, 0, 0, 0], port(number)?)),
            Some(("localhost", number)) => SocketAddr::from(([127, 0, 0, 1], port(number)?)),
            _ => text.parse().map_err(|_| NoListen)?,
        };
        Ok(Listen::Ip(address))
    }
}

/// The path of a socket: `/run/x.sock`, or `///run/x.sock` as in a URL.
fn unix(path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix("//").unwrap_or(path);
    let names_a_file = Path::new(path).file_name().is_some() && !path.ends_with('/');
    (path.starts_with('/') && names_a_file && path.len() <= LONGEST).then(|| PathBuf::from(path))
}

/// Reads `listen` and `listen_mode` of a section: `usual` without `listen`, `None` if it is wrong.
pub(super) fn read(section: &mut Section<'_, '_>, usual: &Listen) -> Option<Listen> {
    let mode = mode(section);
    let Some(text) = section.string_like("listen", |port| format!("127.0.0.1:{port}")) else {
        refuse_mode(section, usual);
        return Some(usual.clone());
    };

    let Ok(listen) = text.parse::<Listen>() else {
        let written = section.written("listen");
        let remedy = if written.starts_with("unix:") {
            "write an absolute path of at most 107 bytes, \"unix:/run/chunkflow/chunkflow.sock\"".to_owned()
        } else {
            format!("write IP:PORT, for instance \"{}\" or \"[::]:{}\"", meant(written, usual), port(usual))
        };
        section.complain("listen", format!("`{written}` is no address"), remedy);
        return None;
    };

    match listen {
        Listen::Unix { path, mode: usual } => Some(Listen::Unix { path, mode: mode.unwrap_or(usual) }),
        listen => {
            refuse_mode(section, &listen);
            Some(listen)
        }
    }
}

fn refuse_mode(section: &mut Section<'_, '_>, listen: &Listen) {
    if section.has("listen_mode") && listen.ip().is_some() {
        section.complain(
            "listen_mode",
            "`listen_mode` is for a Unix socket, and there is none",
            "take it out, or write listen = \"unix:/run/chunkflow/chunkflow.sock\"",
        );
    }
}

/// The mode of the socket's file, in octal digits as for chmod.
fn mode(section: &mut Section<'_, '_>) -> Option<u32> {
    let text = section.string_like("listen_mode", |digits| format!("{digits:0>4}"))?;
    let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) && (3..=4).contains(&text.len());
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    if mode.is_none() {
        section.complain(
            "listen_mode",
            format!("`{}` is no mode of a file", section.written("listen_mode")),
            "write three octal digits as for chmod: \"660\" for user and group, \"666\" for everybody on this machine",
        );
    }
    mode
}

/// The address that was probably meant: the text is only a port, or a name without a port.
fn meant(text: &str, usual: &Listen) -> String {
    match text.parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port}"),
        Err(_) => format!("127.0.0.1:{}", port(usual)),
    }
}

fn port(listen: &Listen) -> u16 {
    listen.ip().map_or(8080, |address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_internet_or_an_absolute_path() {
        let unix = |path: &str| Ok(Listen::unix(path));
        let ip = |text: &str| Ok(Listen::Ip(text.parse().unwrap()));
        for (text, read) in [
            ("127.0.0.1:8080", ip("127.0.0.1:8080")),
            (":80", ip("0.0.0.0:80")),
            ("localhost:80", ip("127.0.0.1:80")),
            ("[::1]:80", ip("[::1]:80")),
            ("unix:/run/a.sock", unix("/run/a.sock")),
            ("unix:///run/a.sock", unix("/run/a.sock")),
            ("unix:a.sock", Err(NoListen)),
            ("unix:/run/", Err(NoListen)),
            ("unix:/", Err(NoListen)),
            ("unix:", Err(NoListen)),
            ("unix:@abstract", Err(NoListen)),
            ("/run/a.sock", Err(NoListen)),
            ("8080", Err(NoListen)),
        ] {
            assert_eq!(text.parse::<Listen>(), read, "{text}");
        }

        let long = format!("unix:/{}", "a".repeat(107));
        assert_eq!(long.parse::<Listen>(), Err(NoListen));
        let written = [Listen::unix("/run/a.sock").to_string(), Listen::unix("/run/a.sock").host()];
        assert_eq!(written, ["unix:/run/a.sock", "localhost"]);
    }

    #[test]
    fn two_listeners_collide_at_one_port_or_one_file() {
        let collide = |one: &str, other: &str| one.parse::<Listen>().unwrap().collides(&other.parse().unwrap());
        assert!(collide("127.0.0.1:80", ":80") && collide("unix:/a/b", "unix:/a/b"));
        assert!(!collide("127.0.0.1:80", "127.0.0.1:81") && !collide("unix:/a/b", "unix:/a/c"));
        assert!(!collide("unix:/a/b", "127.0.0.1:80"));
    }
}
