//! The server: its own accept loop, with a bound on everything.

mod access;
mod admin;
mod bounds;
mod changed;
mod coalesced;
mod connection;
mod cors;
mod ending;
mod forwarded;
mod guard;
mod head;
mod history;
mod http1;
mod http2;
mod incoming;
mod listener;
mod lists;
mod live;
mod masked;
mod origin;
mod outgoing;
mod process;
mod query;
mod ready;
mod route;
mod shared;
mod status;
mod tickets;
mod tls;
mod transport;
mod upload;
mod watch;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

#[cfg(target_os = "linux")]
use std::net::IpAddr;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch as signal},
    task::JoinSet,
    time::{Instant, sleep_until},
};

pub use self::live::{Prepared, Reload};
#[cfg(fuzzing)]
pub(crate) use self::{forwarded::fuzz_forwarded, head::fuzz_head};
pub(crate) use self::{listener::Inherited, shared::Reloads};
use self::{
    listener::{Bound, Listener},
    live::Live,
    origin::{Peer, Remote},
    route::{Audience, Site},
    shared::Shared,
    tls::Tls,
    transport::Transport,
};
pub use crate::config::{
    Action, AdminConfig, AdminToken, AuthConfig, Complaints, Config, Cors, Listen, LogFormat, RequestRate,
    ResourceConfig, ServerConfig, TlsFiles,
};
use crate::web::Chunkflow;

/// The pause after a failed accept for want of files or memory, in which other connections may free
/// some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many unsent bytes the kernel may hold for a connection. Less than a few writes would cost
/// throughput.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 1024 * 1024;
/// A congestion control that every Linux has and allows everybody to use (tcp(7)). It sends as soon
/// as the window allows; `bbr` waits.
#[cfg(target_os = "linux")]
const WITHIN: &[u8] = b"reno";
/// How long a stopping server still answers that it is not ready, before it closes its listener.
const NOTICE: Duration = Duration::from_millis(500);
/// The shortest time between two complaints about failed accepts, so that clients cannot fill the
/// log.
const COMPLAIN: Duration = Duration::from_secs(10);

/// A listening server; [`run`](Server::run) makes it serve.
pub struct Server {
    listener: Listener,
    live: Arc<Live>,
}

/// Tells a server to drain, or to stop at once.
#[derive(Clone, Debug)]
pub struct Shutdown(signal::Sender<Stage>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Draining,
    Stopped,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown(signal::Sender::new(Stage::Serving))
    }
}

impl Shutdown {
    /// From now on no new streams; running ones may go on for the configured time.
    pub fn drain(&self) {
        self.0.send_if_modified(|stage| std::mem::replace(stage, (*stage).max(Stage::Draining)) == Stage::Serving);
    }

    /// Cuts all streams that still run.
    pub fn stop(&self) {
        self.0.send_replace(Stage::Stopped);
    }

    /// Completes when the server is told to stop.
    pub fn told(&self) -> impl Future<Output = ()> + use<> {
        self.reached(Stage::Draining)
    }

    fn reached(&self, stage: Stage) -> impl Future<Output = ()> + use<> {
        let mut receiver = self.0.subscribe();
        async move {
            // The sender lives as long as the server, so this does not end early.
            let _ = receiver.wait_for(|now| *now >= stage).await;
        }
    }
}

impl Server {
    /// Listens at the configured address. Port 0 takes any free port; see
    /// [`address`](Server::address).
    ///
    /// # Errors
    /// When the address cannot be bound, or the certificate cannot be used. Needs a tokio runtime.
    pub fn bind(config: ServerConfig, chunkflow: Chunkflow) -> io::Result<Server> {
        let bound = Bound::at(&config.listen)?;
        Server::at(bound, config, chunkflow)
    }

    /// Listens at a socket that is open already, as systemd hands it to a service.
    ///
    /// # Errors
    /// As [`bind`](Server::bind).
    pub(crate) fn inherit(socket: Inherited, config: ServerConfig, chunkflow: Chunkflow) -> io::Result<Server> {
        let bound = Bound::inherited(socket)?;
        Server::at(bound, config, chunkflow)
    }

    fn at(bound: Bound, config: ServerConfig, chunkflow: Chunkflow) -> io::Result<Server> {
        let shared = Shared::new(bound.listens().clone());
        let site = Site::new(chunkflow, config, Audience::Public, &shared, None)?;
        Server::listen(bound, shared, site)
    }

    /// Listens for the operator.
    ///
    /// # Errors
    /// As [`bind`](Server::bind); also when there is no token though the socket is bound beyond
    /// loopback.
    pub fn bind_admin(admin: AdminConfig, chunkflow: Chunkflow) -> io::Result<Server> {
        let bound = Bound::at(&admin.listen)?;
        Server::at_for_operator(bound, admin, chunkflow)
    }

    /// Listens for the operator at a socket that is open already.
    ///
    /// # Errors
    /// As [`bind_admin`](Server::bind_admin).
    pub(crate) fn inherit_admin(socket: Inherited, admin: AdminConfig, chunkflow: Chunkflow) -> io::Result<Server> {
        let bound = Bound::inherited(socket)?;
        Server::at_for_operator(bound, admin, chunkflow)
    }

    fn at_for_operator(bound: Bound, admin: AdminConfig, chunkflow: Chunkflow) -> io::Result<Server> {
        let shared = Shared::new(bound.listens().clone());
        let site = Site::for_operator(chunkflow, &admin, &shared)?;
        Server::listen(bound, shared, site)
    }

    fn listen(bound: Bound, shared: Arc<Shared>, site: Site) -> io::Result<Server> {
        Ok(Server { listener: bound.listen()?, live: Live::new(shared, site) })
    }

    /// Its listening address.
    pub fn listens(&self) -> &Listen {
        &self.live.shared.listens
    }

    /// Its Internet address; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.live.shared.listens.ip()
    }

    /// A handle to give it another configuration while it runs.
    pub fn reload(&self) -> Reload {
        Reload(Arc::clone(&self.live))
    }

    /// Makes `POST /reload` on the operator's listener ask for a reload of the configuration.
    pub fn ask_for_reloads(&self, reloads: Reloads) {
        let _ = self.live.shared.reloads.set(reloads);
    }

    /// Serves until `shutdown` says to stop. Returns when every connection has ended.
    ///
    /// Dropping the future cuts every connection.
    pub async fn run(self, shutdown: Shutdown) {
        let Server { listener, live } = self;
        let rejections = Arc::new(Semaphore::new(bounds::rejections()));
        let mut connections = JoinSet::new();
        let mut draining = std::pin::pin!(shutdown.reached(Stage::Draining));
        let mut last_call = None;
        let mut complained: Option<Instant> = None;
        let mut following = std::pin::pin!(follow(&live));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                () = &mut following => unreachable!("it goes on for ever"),
                () = &mut draining, if last_call.is_none() => {
                    // Load balancers see that the server is not ready before it stops to listen;
                    // new streams are refused meanwhile.
                    live.shared.ready.store(false, Ordering::Relaxed);
                    last_call = Some(Instant::now() + NOTICE);
                    continue;
                }
                () = sleep_until(last_call.unwrap_or_else(Instant::now)), if last_call.is_some() => break,
            };
            let (transport, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_the_clients(&error) => continue,
                Err(error) => {
                    if complained.is_none_or(|complained| complained.elapsed() >= COMPLAIN) {
                        complained = Some(Instant::now());
                        tracing::error!(
                            %error,
                            "a connection cannot be accepted; raise the limit on open files (ulimit -n)"
                        );
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let site = live.site();
            match site.admit(address) {
                Ok(place) => {
                    if let (Transport::Tcp(stream), Remote::Ip(address)) = (&transport, address) {
                        prepare(stream, address, &site.config);
                    }
                    let acceptor = site.tls.as_ref().map(Tls::acceptor);
                    let peer = Peer { address, secure: acceptor.is_some() };
                    let live = Arc::clone(&live);
                    let serving = connection::serve(transport, peer, acceptor, live, shutdown.reached(Stage::Draining));
                    let counted = site.counted();
                    connections.spawn(async move {
                        let _place = place;
                        let _counted = counted;
                        serving.await;
                    });
                }
                // Before a TLS handshake no answer can be sent.
                Err(_) if site.tls.is_some() => {}
                Err(error) => {
                    if let Ok(turn) = Arc::clone(&rejections).try_acquire_owned() {
                        connections.spawn(async move {
                            let _turn = turn;
                            http1::reject(transport, error).await;
                        });
                    }
                }
            }
        }

        drop(listener);
        tracing::info!(connections = connections.len(), "draining");
        let began = Instant::now();
        let drained = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            // First, so that with no connection left nothing is said to be cut.
            biased;
            () = drained => return,
            () = tokio::time::sleep(live.site().config.drain) => {}
            () = shutdown.reached(Stage::Stopped) => {}
        }

        live.shared.cuts.store(true, Ordering::Relaxed);
        let had = began.elapsed();
        tracing::warn!(connections = connections.len(), ?had, "streams that still run are cut");
        connections.shutdown().await;
    }
}

/// From time to time checks the certificate for changes, and takes samples for the operator's
/// charts.
async fn follow(live: &Live) {
    loop {
        tokio::time::sleep(tls::LOOK).await;
        let site = live.site();
        site.sample();
        if let Some(tls) = &site.tls {
            tls.look().await;
            site.note_certificate();
        }
    }
}

/// Errors of a connection that its client closed before it was accepted.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn prepare(stream: &TcpStream, peer: SocketAddr, config: &ServerConfig) {
    // Without this, a receiver that delays its acknowledgements would see gaps of 40 ms.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let socket = SockRef::from(stream);
        // Notices a vanished peer even while nothing is read from it. The watchdog's limit is
        // shorter.
        let _ = socket.set_tcp_user_timeout(Some(config.stall_timeout * 2));
        // A slow client holds little memory: only what the kernel keeps beyond the bytes in flight.
        // It also makes a slow client's progress visible in small steps. The window, and so the
        // speed over long distances, remains the kernel's choice.
        let _ = socket.set_tcp_notsent_lowat(UNSENT);
        // Within one machine, as to a proxy on it, there is no congestion. There the pauses of
        // `bbr` would halve the speed.
        if stream.local_addr().is_ok_and(|own| on_one_machine(own.ip(), peer.ip())) {
            let _ = socket.set_tcp_congestion(WITHIN);
        }
    }

    #[cfg(not(target_os = "linux"))]
    let _ = (config, peer);
}

/// Whether both ends of a connection are certainly on one machine.
#[cfg(target_os = "linux")]
fn on_one_machine(own: IpAddr, peer: IpAddr) -> bool {
    let own = own.to_canonical();
    let peer = peer.to_canonical();
    own == peer || peer.is_loopback()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_bounded_in_the_kernel_and_unpaced_within_the_machine_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let control = |stream: &TcpStream| {
            let name = SockRef::from(stream).tcp_congestion().unwrap();
            String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()
        };

        let remote = SocketAddr::from(([192, 0, 2, 1], 40_000));
        let config = ServerConfig { stall_timeout: Duration::from_secs(7), ..ServerConfig::default() };
        prepare(&stream, remote, &config);
        let socket = SockRef::from(&stream);
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(14)),
            "a client that vanished is noticed"
        );

        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT, "a client that stalls holds little");
        assert_eq!(control(&stream), control(&client), "over a network it is the system's choice");
        prepare(&stream, peer, &ServerConfig::default());
        assert_eq!(control(&stream), "reno");
    }

    #[test]
    fn whoever_has_the_servers_own_address_or_loopbacks_is_on_its_machine() {
        let on_one_machine = |own: &str, peer: &str| on_one_machine(own.parse().unwrap(), peer.parse().unwrap());
        for (own, peer) in
            [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("127.0.0.1", "127.0.0.2"), ("::1", "::1")]
        {
            assert!(on_one_machine(own, peer), "{own} {peer}");
        }
        assert!(!on_one_machine("192.0.2.1", "192.0.2.2") && !on_one_machine("2001:db8::1", "2001:db8::2"));
    }
}
