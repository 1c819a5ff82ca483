//! The server: an accept loop of its own, with a bound on everything.

mod admin;
mod connection;
mod http2;
mod origin;
mod route;
mod tls;
mod watch;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[cfg(target_os = "linux")]
use socket2::SockRef;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch as signal},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::{
    origin::{Hosts, Peer},
    route::{Door, Site},
    tls::Tls,
};
use crate::{
    config::{AdminConfig, ServerConfig},
    web::Chunkflow,
};

const BACKLOG: i32 = 4096;
/// After an accept that failed for want of something (files, memory), others get time to give it back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes that the kernel holds for a connection and has not sent. With less than a few of hyper's writes, it costs throughput.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 1024 * 1024;
/// How long a server that is told to stop goes on to say that it is not ready, before nobody can ask any more.
const NOTICE: Duration = Duration::from_millis(500);
/// Rejections under way at once; beyond it a connection is just closed.
const REJECTIONS: usize = 256;

/// A server that listens; [`run`](Server::run) makes it serve.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    tls: Option<Tls>,
    site: Arc<Site>,
    ready: Arc<AtomicBool>,
}

/// Tells a server to stop, or to stop at once.
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
    /// No new streams from now on; the running ones may go on for the configured time.
    pub fn drain(&self) {
        self.0.send_if_modified(|stage| std::mem::replace(stage, (*stage).max(Stage::Draining)) == Stage::Serving);
    }

    /// Cuts what still runs.
    pub fn stop(&self) {
        self.0.send_replace(Stage::Stopped);
    }

    fn reached(&self, stage: Stage) -> impl Future<Output = ()> + use<> {
        let mut receiver = self.0.subscribe();
        async move {
            // The sender lives in the server, so this waits for as long as the server does.
            let _ = receiver.wait_for(|now| *now >= stage).await;
        }
    }
}

impl Server {
    /// Listens at the configured address. Port 0 takes any free port; see [`address`](Server::address).
    ///
    /// # Errors
    /// When the address cannot be listened at, or the certificate is of no use. Needs a tokio runtime.
    pub fn bind(config: ServerConfig, chunkflow: Chunkflow) -> io::Result<Server> {
        Server::open(config, chunkflow, Door::Public)
    }

    /// Listens for the operator: `/metrics`.
    ///
    /// # Errors
    /// As [`bind`](Server::bind).
    pub fn bind_admin(admin: AdminConfig, chunkflow: Chunkflow) -> io::Result<Server> {
        // Whoever may connect and has the token may call it by any name.
        let config = ServerConfig {
            listen: admin.listen,
            allowed_hosts: Some(vec!["*".into()]),
            max_connections: 64,
            ..ServerConfig::default()
        };
        Server::open(config, chunkflow, Door::Admin(admin.token))
    }

    fn open(config: ServerConfig, chunkflow: Chunkflow, door: Door) -> io::Result<Server> {
        let socket = Socket::new(Domain::for_address(config.listen), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&config.listen.into())?;
        socket.listen(BACKLOG)?;
        let tls = config.tls.as_ref().map(Tls::open).transpose()?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        let hosts = Hosts::new(&config, address);
        let ready = Arc::new(AtomicBool::new(true));
        let streams = Arc::new(Semaphore::new(config.max_streams));
        let site = Arc::new(Site::new(chunkflow, hosts, streams, Arc::clone(&ready), door));
        Ok(Server { listener, address, config: Arc::new(config), tls, site, ready })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` says otherwise, and returns when every connection has ended.
    ///
    /// Dropping the future cuts every connection.
    pub async fn run(self, shutdown: Shutdown) {
        let places = Arc::new(Semaphore::new(self.config.max_connections));
        let rejections = Arc::new(Semaphore::new(REJECTIONS));
        let mut connections = JoinSet::new();
        let mut draining = std::pin::pin!(shutdown.reached(Stage::Draining));
        let mut last_call = None;
        let following = async {
            match &self.tls {
                Some(tls) => tls.follow().await,
                None => std::future::pending().await,
            }
        };
        let mut following = std::pin::pin!(following);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                () = &mut following => continue,
                () = &mut draining, if last_call.is_none() => {
                    // Whoever balances load sees it first; new streams are refused meanwhile.
                    self.ready.store(false, Ordering::Relaxed);
                    last_call = Some(Instant::now() + NOTICE);
                    continue;
                }
                () = sleep_until(last_call.unwrap_or_else(Instant::now)), if last_call.is_some() => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_the_clients(&error) => continue,
                Err(error) => {
                    tracing::error!(%error, "a connection cannot be accepted; raise the limit on open files (ulimit -n)");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    prepare(&stream, &self.config);
                    let serving = connection::serve(
                        stream,
                        Peer { address, secure: self.tls.is_some() },
                        self.tls.as_ref().map(Tls::acceptor),
                        Arc::clone(&self.site),
                        Arc::clone(&self.config),
                        shutdown.reached(Stage::Draining),
                    );
                    connections.spawn(async move {
                        let _place = place;
                        serving.await;
                    });
                }
                Err(_) => {
                    if let Ok(turn) = Arc::clone(&rejections).try_acquire_owned() {
                        connections.spawn(async move {
                            let _turn = turn;
                            reject(stream).await;
                        });
                    }
                }
            }
        }
        drop(self.listener);
        tracing::info!(connections = connections.len(), "draining");
        let drained = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(self.config.drain) => tracing::warn!("streams that still run are cut"),
            () = shutdown.reached(Stage::Stopped) => {}
        }
        connections.shutdown().await;
    }
}

/// Errors of one connection that was gone before it was accepted.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn prepare(stream: &TcpStream, config: &ServerConfig) {
    // Without it a receiver that delays its acknowledgements sees gaps of 40 ms.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        // A peer that vanished is noticed even while nothing is read from it; the watchdog comes first.
        let _ = SockRef::from(stream).set_tcp_user_timeout(Some(config.stall_timeout * 2));
        // A client that takes little holds little: what the kernel keeps beyond what is on its way to the client. It also makes
        // a slow client's progress visible in small steps. The window, and so the speed over long distances, stays the kernel's affair.
        let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = config;
}

/// Says that there is no room, without reading what was asked.
async fn reject(mut stream: TcpStream) {
    const FULL: &str = "{\"type\":\"urn:chunkflow:problem:service-unavailable\",\"title\":\"Service Unavailable\",\"status\":503,\
        \"detail\":\"too many connections\",\"remedy\":\"try again in 2 seconds\"}\n";
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
        retry-after: 2\r\nconnection: close\r\n";
    let full = format!("{head}content-length: {}\r\n\r\n{FULL}", FULL.len());
    let answer = async {
        stream.write_all(full.as_bytes()).await?;
        stream.shutdown().await?;
        // Until the client has closed: closing with its request unread would reset the connection and lose the answer.
        let mut rest = [0; 1024];
        loop {
            stream.readable().await?;
            match stream.try_read(&mut rest) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    };
    let _: Result<io::Result<()>, _> = tokio::time::timeout(Duration::from_secs(1), answer).await;
}
