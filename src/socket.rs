//! What every socket to a database or a store is told: to notice that the other end is gone. (The
//! driver of MySQL takes a time for keepalive, and nothing else.)

use std::time::Duration;

use socket2::TcpKeepalive;

/// A connection on which nothing came is asked whether it is still there after this long,
const IDLE: Duration = Duration::from_secs(30);
/// and again after this long,
const INTERVAL: Duration = Duration::from_secs(10);
/// so many times; then it is lost.
const PROBES: u32 = 3;
/// What was sent and is not acknowledged for so long ends a connection.
pub(crate) const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// When an idle connection is asked whether it is still there; `idle` seconds at the most, where
/// somebody set a time for it.
pub(crate) fn keepalive(idle: Option<Duration>) -> TcpKeepalive {
    let idle = idle.unwrap_or(IDLE).min(IDLE);
    TcpKeepalive::new().with_time(idle).with_interval(INTERVAL).with_retries(PROBES)
}

/// Tells a socket all of this, and to send what it is given at once.
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
