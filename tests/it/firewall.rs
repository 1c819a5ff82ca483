//! A network path to a server that a test can break, as firewalls, switches and dead machines do:
//! connections fall silent, names lead elsewhere.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Passes connections on to a port of loopback.
pub struct Firewall {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The ports that new connections go to, in turn.
    leads_to: Mutex<Vec<u16>>,
    /// For each connection so far, whether it was silenced: then neither end hears anything more,
    /// nor of the end.
    silent: Mutex<Vec<Arc<AtomicBool>>>,
    /// How many bytes per second a client may send; 0: any number.
    rate: AtomicUsize,
    /// How many silenced connections something was sent into.
    asked_in_vain: AtomicUsize,
    /// The bytes that clients sent, if they are kept.
    sent: Mutex<Option<Vec<u8>>>,
}

impl Firewall {
    /// A firewall before this port; 0: before none yet.
    pub fn before(port: u16) -> Firewall {
        Firewall::before_each(&[port])
    }

    /// A firewall before these ports in turn, like a load balancer.
    pub fn before_each(ports: &[u16]) -> Firewall {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let firewall = Firewall { address: listener.local_addr().unwrap(), state: Arc::default() };
        *firewall.state.leads_to.lock().unwrap() = ports.to_vec();
        let state = Arc::clone(&firewall.state);
        thread::spawn(move || listener.incoming().for_each(|client| pass(&state, client.unwrap())));
        firewall
    }

    /// New connections go to this port from now on.
    pub fn leads_to(&self, port: u16) {
        *self.state.leads_to.lock().unwrap() = vec![port];
    }

    /// Silences all current connections: what is sent into them is lost, and neither end notices.
    /// New ones work.
    pub fn silence(&self) {
        self.silence_but(0);
    }

    /// The same, without the `first` connections.
    pub fn silence_but(&self, first: usize) {
        self.state.silent.lock().unwrap().iter().skip(first).for_each(|one| one.store(true, Ordering::SeqCst));
    }

    /// Bounds the bytes per second from each client.
    pub fn slow_down(&self, bytes: usize) {
        self.state.rate.store(bytes, Ordering::SeqCst);
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.state.silent.lock().unwrap().len()
    }

    /// How many silenced connections clients have sent something into.
    pub fn asked_in_vain(&self) -> usize {
        self.state.asked_in_vain.load(Ordering::SeqCst)
    }

    /// Keeps what clients send from now on.
    pub fn listen_in(&self) {
        *self.state.sent.lock().unwrap() = Some(vec![]);
    }

    /// What clients sent since then.
    pub fn heard(&self) -> Vec<u8> {
        self.state.sent.lock().unwrap().clone().unwrap_or_default()
    }
}

fn pass(state: &Arc<State>, client: TcpStream) {
    let port = {
        let mut ports = state.leads_to.lock().unwrap();
        ports.rotate_left(1);
        *ports.last().unwrap()
    };
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let silent = Arc::new(AtomicBool::new(false));
    state.silent.lock().unwrap().push(Arc::clone(&silent));
    let ends = [(client.try_clone(), server.try_clone(), true), (Ok(server), Ok(client), false)];
    for (from, to, from_client) in ends {
        let state = Arc::clone(state);
        let silent = Arc::clone(&silent);
        thread::spawn(move || copy(from.unwrap(), to.unwrap(), &silent, from_client.then_some(&*state)));
    }
}

/// Passes bytes on until an end closes. Once silenced, it does not pass on that an end has closed.
fn copy(mut from: TcpStream, mut to: TcpStream, silent: &AtomicBool, listens: Option<&State>) {
    let mut some = [0; 65536];
    let mut was_asked = false;
    while let Ok(read @ 1..) = from.read(&mut some) {
        if silent.load(Ordering::SeqCst) {
            if let Some(state) = listens.filter(|_| !std::mem::replace(&mut was_asked, true)) {
                state.asked_in_vain.fetch_add(1, Ordering::SeqCst);
            }
            continue;
        }
        if let Some(state) = listens
            && let Some(sent) = &mut *state.sent.lock().unwrap()
        {
            sent.extend_from_slice(&some[..read]);
        }
        if let Some(rate) = listens.map(|state| state.rate.load(Ordering::SeqCst)).filter(|rate| *rate > 0) {
            thread::sleep(Duration::from_secs_f64(read as f64 / rate as f64));
        }
        if to.write_all(&some[..read]).is_err() {
            return;
        }
    }

    if !silent.load(Ordering::SeqCst) {
        let _ = to.shutdown(std::net::Shutdown::Write);
    } else {
        // The other end stays open, as if its machine were gone.
        std::mem::forget(to);
    }
}
