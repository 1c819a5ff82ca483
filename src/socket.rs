//! Options of every socket to a database or a store, to notice that the other end is gone. (The
//! MySQL driver only takes the time for keepalive.)

use std::time::Duration;

use socket2::TcpKeepalive;

/// How long a connection may be silent before the first keepalive probe,
const IDLE: Duration = Duration::from_secs(30);
/// how long until the next probe,
const INTERVAL: Duration = Duration::from_secs(10);
/// and how many probes are sent before the connection counts as lost.
const PROBES: u32 = 3;
/// A connection is lost if sent data is not acknowledged for this long.
pub(crate) const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The keepalive settings; a configured `idle` time may only make the first probe earlier.
pub(crate) fn keepalive(idle: Option<Duration>) -> TcpKeepalive {
    let idle = idle.unwrap_or(IDLE).min(IDLE);
    TcpKeepalive::new().with_time(idle).with_interval(INTERVAL).with_retries(PROBES)
}

/// Sets these options on a socket, and sends data without delay.
#[cfg(any(feature = "postgres", feature = "memcached"))]
pub(crate) fn prepare(stream: &tokio::net::TcpStream, keepalive: Option<TcpKeepalive>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    if let Some(keepalive) = keepalive {
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}
