//! What systemd sees of a server: readiness, reloads, the watchdog, and sockets opened by systemd.

use std::{
    fs,
    net::TcpStream,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::support::{Ended, STUCK, ask, binary, numbered, output_in_time, until};

/// The next message that is no sign of life, and how many of those came before it.
fn next(socket: &UnixDatagram) -> (String, usize) {
    let mut beats = 0;
    loop {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).expect("a message in time");
        let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
        if message != "WATCHDOG=1" {
            return (message, beats);
        }
        beats += 1;
    }
}

#[test]
fn a_supervisor_hears_when_a_server_is_ready_reloads_lives_and_stops() {
    let file = numbered(5);
    let folder = file.folder.path();
    let right = file.config("table = \"item\"");
    fs::write(folder.join("chunkflow.toml"), &right).unwrap();
    let name = format!("chunkflow-test-{}", std::process::id());
    let by_path = UnixDatagram::bind(folder.join("notify")).unwrap();
    let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for (socket, address) in [(by_path, folder.join("notify").display().to_string()), (by_name, format!("@{name}"))] {
        socket.set_read_timeout(Some(STUCK)).unwrap();
        let port = crate::servers::free_port();
        let listen = format!("127.0.0.1:{port}");
        let mut command = binary(&["serve", "--listen", &listen], folder);
        command.env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "50000").stderr(Stdio::null());
        let mut server = Ended(command.spawn().unwrap());

        let (ready, _) = next(&socket);
        assert_eq!(ready, format!("READY=1\nSTATUS=serving list at http://{listen}/"));
        assert_eq!(ask(listen.parse().unwrap(), "GET", "/list", &[]).status, 200, "it serves by then");

        for (text, status) in [
            (right.replace("item", "itm"), "the new configuration is refused, the old one goes on"),
            (right.clone(), "reloaded: serving list"),
        ] {
            fs::write(folder.join("chunkflow.toml"), text).unwrap();
            server.signal("-HUP");
            let (reloading, _) = next(&socket);
            let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_default();
            assert!(since.parse::<u64>().is_ok(), "{reloading}");
            assert_eq!(next(&socket).0, format!("READY=1\nSTATUS={status}"));
        }

        let mut beat = [0; 64];
        for _ in 0..3 {
            let length = socket.recv(&mut beat).unwrap();
            assert_eq!(&beat[..length], b"WATCHDOG=1");
        }
        server.signal("-TERM");
        assert_eq!(next(&socket).0, "STOPPING=1\nSTATUS=running streams end");
        until("it has stopped", || server.0.try_wait().unwrap().is_some());
        assert_eq!(server.0.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_server_that_is_not_watched_over_sends_no_signs_of_life() {
    let file = numbered(5);
    let folder = file.folder.path();
    fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
    socket.set_read_timeout(Some(STUCK)).unwrap();
    let mut command = binary(&["serve", "--listen", "127.0.0.1:0"], folder);
    // The watchdog is for another process.
    command.env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    command.env("NOTIFY_SOCKET", folder.join("notify")).stderr(Stdio::null());
    let server = Ended(command.spawn().unwrap());
    assert!(next(&socket).0.starts_with("READY=1"));
    server.signal("-TERM");
    assert_eq!(next(&socket), ("STOPPING=1\nSTATUS=running streams end".to_owned(), 0));
}

/// Opens sockets as systemd does, from the third file on, and becomes the server.
const HAND_OVER: &str = "
import os, socket, sys
names, binary, arguments = sys.argv[1], sys.argv[2], sys.argv[2:]
opened = []
for at, name in enumerate(names.split(':')):
    if name.startswith('/'):
        made = socket.socket(socket.AF_UNIX)
        made.bind(name)
    else:
        made = socket.socket()
        made.bind(('127.0.0.1', int(name.split('=')[1])))
    made.listen(16)
    opened.append(made)
for at, made in enumerate(opened):
    os.dup2(made.fileno(), 20 + at)
for at, made in enumerate(opened):
    os.dup2(20 + at, 3 + at)
os.environ.update(LISTEN_FDS=str(len(opened)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=os.environ['NAMES'])
os.execv(binary, arguments)
";

fn handed_over(folder: &std::path::Path, sockets: &str, names: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", HAND_OVER, sockets, env!("CARGO_BIN_EXE_chunkflow"), "serve"]).current_dir(folder);
    command.env("NAMES", names);
    command
}

#[test]
fn sockets_that_were_open_at_the_start_are_served_in_place_of_those_of_the_configuration() {
    let file = numbered(5);
    let folder = file.folder.path();
    let admin = folder.join("admin.sock");
    // The configured address is taken, so that nobody can listen there.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "[server]\nlisten = \"{}\"\n[admin]\nlisten = \"unix:{}\"\n{}",
        taken.local_addr().unwrap(),
        admin.display(),
        file.config("table = \"item\"")
    );

    fs::write(folder.join("chunkflow.toml"), text).unwrap();
    let port = crate::servers::free_port();
    let sockets = format!("tcp={port}:{}", admin.display());
    let mut server =
        Ended(handed_over(folder, &sockets, "chunkflow.socket:admin").stderr(Stdio::null()).spawn().unwrap());

    // A client that comes before the server waits in the queue.
    until("the socket is open", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let reply = ask(([127, 0, 0, 1], port).into(), "GET", "/list", &[]);
    assert_eq!(reply.results().len(), 5);
    let output = binary(&["reload"], folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.signal("-TERM");
    until("it has stopped", || server.0.try_wait().unwrap().is_some());
    assert!(admin.exists(), "the file is not this process's to remove");
}

#[test]
fn sockets_that_nobody_can_tell_apart_or_that_have_no_listener_are_refused() {
    let folder = TempDir::new().unwrap();
    for (names, told) in [
        ("lists:more", "several sockets were handed over for one listener"),
        ("lists:admin", "a socket for [admin] was handed over, and there is no [admin]"),
    ] {
        let ports = [crate::servers::free_port(), crate::servers::free_port()];
        let file = numbered(1);
        fs::write(folder.path().join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
        let sockets = format!("tcp={}:tcp={}", ports[0], ports[1]);
        let output = output_in_time(&mut handed_over(folder.path(), &sockets, names));
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && log.contains(told), "{names}: {} {log}", output.status);
    }
}
