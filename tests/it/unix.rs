//! Unix sockets: the file, which peers are believed there, and how answers end.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown as Half, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::support::system_clock;
use chunkflow::{
    Kind, ResourceOptions,
    server::{Listen, Server, ServerConfig, Shutdown},
};
use tempfile::TempDir;

use crate::support::{File, Numbers, STUCK, binary, checked, numbered, numbers_app, output_in_time, runtime, until};

/// Asks through a socket. Returns the whole answer, and whether a reset ended the connection.
fn ask(socket: &Path, request: &str) -> (String, bool) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(STUCK)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    rest(&mut stream)
}

fn rest(stream: &mut UnixStream) -> (String, bool) {
    let mut bytes = vec![];
    let reset = match stream.read_to_end(&mut bytes) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("{error}"),
    };
    (String::from_utf8(bytes).unwrap(), reset)
}

fn get(target: &str, version: &str) -> String {
    format!("GET {target} {version}\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

/// The binary with sockets of its own; ended on drop.
struct Process {
    child: std::process::Child,
    file: File,
}

impl Process {
    fn start(sections: &str, rows: u64) -> Process {
        let file = numbered(rows);
        Process::over(file, sections)
    }

    fn over(file: File, sections: &str) -> Process {
        let folder = file.folder.path();
        let at = |name: &str| folder.join(name).display().to_string();
        let text = format!(
            "[server]\nlisten = \"unix:{}\"\n{sections}\n[admin]\nlisten = \"unix:{}\"\n{}",
            at("lists.sock"),
            at("admin.sock"),
            file.config("table = \"item\"")
        );
        fs::write(folder.join("chunkflow.toml"), text).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = binary(&["serve"], folder).stderr(Stdio::from(log)).spawn().unwrap();
        let process = Process { child, file };
        until("it serves", || process.log().contains("metrics at unix:"));
        process
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file.folder.path().join("log")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.file.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> String {
        let output = binary(arguments, self.file.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn lists_and_the_operators_paths_are_served_at_unix_sockets_and_commands_ask_there() {
    let mut server = Process::start("listen_mode = \"600\"", 20);
    let lists = server.path("lists.sock");
    let admin = server.path("admin.sock");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&lists), mode(&admin)), (0o600, 0o660));

    let curl = |socket: &Path, arguments: &[&str]| {
        let mut curl = Command::new("curl");
        let output = curl.args(["-sS", "--unix-socket"]).arg(socket).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };

    let list = curl(&lists, &["http://localhost/list"]);
    assert_eq!(list.matches("\"id\":").count(), 20);
    assert_eq!(curl(&lists, &["--http2-prior-knowledge", "http://localhost/list"]), list);
    assert!(curl(&admin, &["http://localhost/metrics"]).contains("chunkflow_"));
    assert!(curl(&lists, &["http://example.com/list"]).contains("is not served here"));

    assert!(server.command(&["reload"]).starts_with("reloaded: serving list"));
    assert_eq!(server.command(&["purge", "list"]), "purged list\n");

    server.signal("-TERM");
    until("it has stopped", || server.child.try_wait().unwrap().is_some());
    assert!(!lists.exists() && !admin.exists(), "the files are gone with it");
}

#[test]
fn what_a_killed_server_left_is_replaced_and_nothing_else_is() {
    let mut server = Process::start("", 5);
    let socket = server.path("lists.sock");
    server.signal("-KILL");
    server.child.wait().unwrap();
    assert!(socket.exists());
    let file = File { folder: TempDir::new().unwrap(), path: server.path("test.sqlite") };
    let folder = file.folder.path().to_owned();
    for name in ["lists.sock", "admin.sock"] {
        fs::rename(server.path(name), folder.join(name)).unwrap();
    }

    let next = Process::over(file, "");
    assert!(ask(&next.path("lists.sock"), &get("/list", "HTTP/1.1")).0.contains("\"id\":5"));

    // At the socket of a running server, at a file, a folder, a link to a file, and in a missing
    // folder.
    let serve = |socket: &Path| {
        let listen = format!("unix:{}", socket.display());
        let output = output_in_time(&mut binary(&["serve", "--listen", &listen, "--config", "x.toml"], &folder));
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };

    fs::write(folder.join("x.toml"), next.file.config("table = \"item\"")).unwrap();
    fs::write(folder.join("file"), "somebody's").unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    symlink("file", folder.join("link")).unwrap();
    for (name, told) in [
        ("lists.sock", "another program listens there"),
        ("file", "is no socket"),
        ("folder", "is no socket"),
        ("link", "is no socket"),
        ("nowhere/x.sock", "make its folder"),
    ] {
        let (code, said) = serve(&folder.join(name));
        assert!(code == Some(1) && said.contains(told), "{name}: {code:?} {said}");
    }

    assert_eq!(fs::read(folder.join("file")).unwrap(), b"somebody's");
    assert!(ask(&next.path("lists.sock"), &get("/list", "HTTP/1.1")).0.contains("\"id\":5"), "it runs on");

    // If another file has taken the socket's place, nobody may remove it.
    fs::remove_file(next.path("lists.sock")).unwrap();
    let other = UnixListener::bind(next.path("lists.sock")).unwrap();
    next.signal("-TERM");
    let mut next = next;
    until("it has stopped", || next.child.try_wait().unwrap().is_some());
    assert!(next.path("lists.sock").exists());
    drop(other);
}

#[test]
fn a_peer_at_a_unix_socket_counts_as_this_machine_and_is_believed_where_the_configuration_says_so() {
    let request = "GET /list HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 192.0.2.7\r\nconnection: close\r\n\r\n";
    for (sections, client) in [("", "127.0.0.1"), ("trusted_proxies = [\"unix:\"]", "192.0.2.7")] {
        let server = Process::start(sections, 3);
        ask(&server.path("lists.sock"), request);
        until("its line is there", || server.log().contains("/list"));
        let log = server.log();
        assert!(log.contains(&format!("client={client} peer=unix:")), "{log}");
    }
}

/// A server in this process at a socket, and a handle to stop it.
fn serve(source: &Arc<Numbers>, socket: &Path) -> (tokio::runtime::Runtime, Shutdown) {
    let runtime = runtime();
    let app = numbers_app(source, ResourceOptions::default(), system_clock());
    let config = ServerConfig::default().with(|server| {
        server.listen = Listen::unix(socket);
        server.drain = Duration::from_millis(100);
    });
    let server = runtime.block_on(async { Server::bind(config, app).unwrap() });
    let shutdown = Shutdown::default();
    runtime.spawn(server.run(shutdown.clone()));
    (runtime, shutdown)
}

#[test]
fn a_whole_answer_ends_with_an_end_of_file_and_a_cut_one_with_a_reset_over_unix_sockets_too() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("s");
    let source = Numbers::new(60_000, 100);
    let (_runtime, shutdown) = serve(&source, &socket);
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        // Pipelined and in pieces, with the client's half closed or open.
        for closes in [false, true] {
            let mut stream = UnixStream::connect(&socket).unwrap();
            let kept = "GET /numbers?limit=2 HTTP/1.1\r\nhost: localhost\r\n\r\n";
            for piece in [kept, kept, &get("/numbers", version)].concat().as_bytes().chunks(37) {
                stream.write_all(piece).unwrap();
            }
            if closes {
                stream.shutdown(Half::Write).unwrap();
            }
            let (answers, reset) = rest(&mut stream);
            assert!(!reset && answers.contains("\"id\":60000,"), "{version} {closes}: {reset} {}", answers.len());
            assert_eq!(answers.matches("200 OK").count(), 3);
        }
    }

    // A source that fails in the middle.
    source.fail_behind(30_000, Kind::Unavailable);
    let purged = Numbers::new(60_000, 100);
    purged.fail_behind(30_000, Kind::Unavailable);
    let failing = folder.path().join("failing");
    let (_other, _) = serve(&purged, &failing);
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        for closes in [false, true] {
            let mut stream = UnixStream::connect(&failing).unwrap();
            stream.write_all(get("/numbers", version).as_bytes()).unwrap();
            if closes {
                stream.shutdown(Half::Write).unwrap();
            }
            let (answer, reset) = rest(&mut stream);
            assert!(
                reset && answer.contains("\"id\":1000,") && !answer.contains("\"id\":30001,"),
                "{version} {closes}"
            );
        }
    }

    // The server stops in the middle of an answer that nobody reads.
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(get("/numbers", "HTTP/1.0").as_bytes()).unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.0 200 OK");
    shutdown.stop();
    until("its socket is gone", || !socket.exists());
    assert!(rest(&mut stream).1);
}

#[test]
fn a_server_that_is_killed_leaves_no_answer_over_http_1_0_that_looks_whole() {
    let mut server = Process::start("", 300_000);
    let mut stream = UnixStream::connect(server.path("lists.sock")).unwrap();
    stream.write_all(get("/list", "HTTP/1.0").as_bytes()).unwrap();
    let mut some = vec![0; 100_000];
    stream.read_exact(&mut some).unwrap();
    server.signal("-KILL");
    server.child.wait().unwrap();
    let (answer, reset) = rest(&mut stream);
    assert!(reset && !answer.ends_with("]}"));
}

#[test]
fn what_is_no_socket_and_no_mode_is_complained_of() {
    let file = numbered(1);
    let right = file.config("table = \"item\"");
    for (section, told) in [
        ("[server]\nlisten = \"unix:x.sock\"", "write an absolute path of at most 107 bytes"),
        ("[server]\nlisten = \"unix:/run/x.sock\"\nlisten_mode = \"888\"", "three octal digits"),
        ("[server]\nlisten = \"unix:/run/x.sock\"\nlisten_mode = 660", "write for instance listen_mode = \"0660\""),
        ("[server]\nlisten_mode = \"660\"", "is for a Unix socket"),
        ("[admin]\nlisten_mode = \"660\"", "is for a Unix socket"),
        ("[server]\nlisten = \"127.0.0.1:80\"\nlisten_mode = \"660\"", "is for a Unix socket"),
        ("[server]\nlisten = \"unix:/a/b\"\n[admin]\nlisten = \"unix:/a/b\"", "at one socket, unix:/a/b"),
        ("[server]\ntrusted_proxies = [\"unix\"]", "\\\"unix:\\\" is who connects to a Unix socket"),
    ] {
        let complaints = checked(&format!("{section}\n{right}"));
        assert!(complaints.contains(&told.replace("\\\"", "\"")), "{section}: {complaints}");
    }

    let fine =
        "[server]\nlisten = \"unix:/run/x.sock\"\nlisten_mode = \"0666\"\n[admin]\nlisten = \"unix:///run/y.sock\"";
    assert_eq!(checked(&format!("{fine}\n{right}")), "");
}

#[test]
fn nginx_as_it_comes_sees_that_the_server_behind_a_unix_socket_was_killed() {
    let mut server = Process::start("", 300_000);
    let folder = server.file.folder.path().to_owned();
    let port = crate::servers::free_port();
    // HTTP/1.0 to the server, where the end of the connection is the end of the body. Over TCP such
    // a list looks whole.
    let at = folder.display();
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|one| format!("{one}_temp_path {at}/{one};")).concat();
    let text = format!(
        "daemon off; pid {at}/pid; error_log {at}/errors; events {{}}
         http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port};
         location / {{ proxy_pass http://unix:{at}/lists.sock:; proxy_set_header Host localhost; }} }} }}"
    );

    fs::write(folder.join("nginx.conf"), text).unwrap();
    // nginx's worker may be another user, and must reach the socket.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(server.path("lists.sock"), fs::Permissions::from_mode(0o666)).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.args(["-c", "nginx.conf", "-p"]).arg(&folder).stderr(Stdio::null());
    nginx.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
    let mut nginx = nginx.spawn().unwrap();
    until("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());

    let url = format!("http://127.0.0.1:{port}/list");
    let mut curl = Command::new("curl");
    let mut curl = curl.args(["-s", "--limit-rate", "1M", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 100_000];
    curl.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    server.signal("-KILL");
    server.child.wait().unwrap();
    let output = curl.wait_with_output().unwrap();
    let _ = Command::new("kill").arg(nginx.id().to_string()).status();
    let _ = nginx.wait();
    assert_eq!(output.status.code(), Some(18), "a partial file");
}
