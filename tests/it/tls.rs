//! TLS on the public listener, tested with OpenSSL and curl.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::support::system_clock;
use chunkflow::{
    ResourceOptions,
    server::{ServerConfig, TlsFiles},
};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tempfile::TempDir;

use crate::{
    servers::free_port,
    support::{Ended, File, Numbers, Running, STUCK, numbers_app, until},
};

/// Makes `cert.pem` and `key.pem` for localhost in a folder.
pub fn certificate(folder: &Path, subject: &str) -> TlsFiles {
    certificate_of(folder, subject, &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
}

fn certificate_of(folder: &Path, subject: &str, key: &[&str]) -> TlsFiles {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2"])
        .args(key)
        .args(["-subj", &format!("/CN={subject}"), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") }
}

/// A list of numbers over TLS.
pub fn serve_securely(folder: &Path, source: &std::sync::Arc<Numbers>, config: ServerConfig) -> Running {
    let config = config.with(|server| server.tls = Some(certificate(folder, "localhost")));
    Running::start(config, numbers_app(source, ResourceOptions::default(), system_clock()))
}

pub fn curl(arguments: &[&str], folder: &Path) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--cacert", "cert.pem"]).args(arguments).current_dir(folder);
    curl.stdin(Stdio::null()).output().unwrap()
}

/// A client that accepts any certificate, over a socket that a test can use.
pub fn connect(address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let any = versions.unwrap().dangerous().with_custom_certificate_verifier(Arc::new(Any(provider)));
    let config = Arc::new(any.with_no_client_auth());
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(STUCK)).unwrap();
    StreamOwned::new(ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap(), stream)
}

#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn s_client(address: SocketAddr, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_list_comes_over_tls_in_both_versions_of_http_and_its_links_are_https() {
    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1), (2)");
    certificate(file.folder.path(), "localhost");
    let server =
        format!("[server]\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n{}", file.config("table = \"item\""));
    let text = format!("{server}\n[resources.list.fields]\nurl = {{ link = \"/item/{{id}}/\" }}");
    let name = file.folder.path().join("chunkflow.toml");
    let server = Running::of(&chunkflow::server::Config::parse(name.to_str().unwrap(), &text, &|_| None).unwrap());
    let url = format!("https://localhost:{}/list", server.address.port());
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let output = curl(&[option, "--write-out", " %{http_version}", &url], file.folder.path());
        let body = String::from_utf8_lossy(&output.stdout).into_owned();
        let link = url.replace("/list", "/item/2/");
        assert!(body.ends_with(&format!("{{\"url\":\"{link}\"}}]}} {version}")), "{body} {output:?}");
    }
}

#[test]
fn only_what_is_safe_today_is_spoken() {
    let folder = TempDir::new().unwrap();
    let server = serve_securely(folder.path(), &Numbers::new(1, 1), ServerConfig::default());
    let says = |arguments: &[&str]| s_client(server.address, arguments);
    for version in ["-tls1_2", "-tls1_3"] {
        let (fine, said) = says(&[version, "-CAfile", folder.path().join("cert.pem").to_str().unwrap()]);
        assert!(fine && said.contains("Verify return code: 0 (ok)"), "{version}: {said}");
    }

    // A certificate that works with old ciphers too; and with the same one, a server that accepts
    // anything.
    let older = TempDir::new().unwrap();
    let tls = Some(certificate_of(older.path(), "localhost", &["-newkey", "rsa:2048"]));
    let config = ServerConfig::default().with(|server| server.tls = tls);
    let rsa = Running::start(config, numbers_app(&Numbers::new(1, 1), ResourceOptions::default(), system_clock()));
    let port = free_port();
    let lax = Command::new("openssl")
        .args("s_server -quiet -www -cert cert.pem -key key.pem -cipher ALL:@SECLEVEL=0 -accept".split(' '))
        .arg(port.to_string())
        .env("OPENSSL_CONF", "/dev/null")
        .current_dir(older.path())
        .spawn()
        .unwrap();
    let _lax = Ended(lax);
    let lax_address = SocketAddr::from(([127, 0, 0, 1], port));
    until("it listens", || TcpStream::connect(lax_address).is_ok());
    let old = "DEFAULT:@SECLEVEL=0";
    for refused in [
        ["-tls1", "-cipher", old],
        ["-tls1_1", "-cipher", old],
        // Without forward secrecy, and with CBC.
        ["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA384:@SECLEVEL=0"],
    ] {
        let (fine, said) = s_client(lax_address, &refused);
        assert!(fine, "this client can speak {refused:?}: {said}");
        let (fine, said) = s_client(rsa.address, &refused);
        assert!(!fine, "{refused:?}: {said}");
    }

    let (fine, said) = s_client(rsa.address, &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]);
    assert!(fine, "{said}");
    for (offered, chosen) in [("h2,http/1.1", "h2"), ("http/1.1,h2", "h2"), ("http/1.1", "http/1.1")] {
        let (_, said) = says(&["-alpn", offered]);
        assert!(said.contains(&format!("ALPN protocol: {chosen}\n")), "{offered}: {said}");
    }

    let (fine, said) = says(&["-alpn", "smtp"]);
    assert!(!fine, "{said}");
}

#[test]
fn whoever_has_just_connected_when_the_server_begins_to_stop_is_told_so_over_tls_too() {
    let folder = TempDir::new().unwrap();
    let server = serve_securely(folder.path(), &Numbers::new(1, 1), ServerConfig::default());
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &server.address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its messages about the certificate.
    client.stderr.as_mut().unwrap().read_exact(&mut [0; 40]).unwrap();
    server.shutdown.drain();
    // The connection sees the drain, and then still waits half a second for its first request.
    std::thread::sleep(Duration::from_millis(100));
    client.stdin.as_mut().unwrap().write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let output = client.wait_with_output().unwrap();
    assert!(output.stdout.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn handshakes_that_stall_are_cut_and_hold_nobody_up() {
    let folder = TempDir::new().unwrap();
    let config = ServerConfig::default().with(|server| server.header_timeout = Duration::from_secs(2));
    let server = serve_securely(folder.path(), &Numbers::new(5, 1), config);
    // The beginning of a record that announces more bytes, and nothing else.
    let stalled = (0..40).map(|at| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(crate::support::STUCK)).unwrap();
        stream.write_all(if at % 2 == 0 { &[22, 3, 1, 2, 0, 1] } else { &[] }).unwrap();
        stream
    });

    let stalled: Vec<TcpStream> = stalled.collect();
    let url = format!("https://localhost:{}/numbers?limit=1", server.address.port());
    assert!(curl(&["--max-time", "60", &url], folder.path()).stdout.starts_with(b"{\"results\":[{\"id\":1,"));
    for mut stream in stalled {
        assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
    }
}

#[test]
fn connections_beyond_their_bound_are_closed_before_the_handshake_and_there_is_room_again() {
    let folder = TempDir::new().unwrap();
    let config = ServerConfig::default().with(|server| server.max_connections = 1);
    let server = serve_securely(folder.path(), &Numbers::new(5, 1), config);
    let first = TcpStream::connect(server.address).unwrap();
    let url = format!("https://localhost:{}/numbers", server.address.port());
    let fine = || curl(&["--fail", "--max-time", "60", &url], folder.path()).status.success();
    assert!(!fine());
    drop(first);
    until("there is room again", fine);
}

#[test]
fn plain_words_to_a_tls_port_are_no_request() {
    let folder = TempDir::new().unwrap();
    let server = serve_securely(folder.path(), &Numbers::new(5, 1), ServerConfig::default());
    let mut plain = crate::support::Client::get(server.address, "/numbers");
    assert!(!plain.wait_for("200"));
}

#[test]
fn a_new_certificate_is_taken_over_and_a_broken_one_is_not_while_streams_go_on() {
    let folder = TempDir::new().unwrap();
    let source = Numbers::held_back(5_000, 200);
    source.permits.add_permits(1);
    let server = serve_securely(folder.path(), &source, ServerConfig::default());
    std::fs::copy(folder.path().join("cert.pem"), folder.path().join("old.pem")).unwrap();
    let url = format!("https://localhost:{}/numbers", server.address.port());
    let stream = Command::new("curl")
        .args(["--silent", "--cacert", "old.pem", "--no-buffer", &url])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("the stream is under way", || source.begun() == 2);
    let subject =
        || s_client(server.address, &[]).1.lines().find(|line| line.starts_with("subject=")).map(str::to_owned);
    std::fs::write(folder.path().join("cert.pem"), "half written").unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(subject().as_deref(), Some("subject=CN = localhost"), "the old one goes on");
    certificate(folder.path(), "renewed");
    until("the new one is there", || subject().as_deref() == Some("subject=CN = renewed"));
    source.permits.add_permits(1_000);
    let output = stream.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.ends_with(b"]}"), "the stream ended whole");
}

#[test]
fn a_certificate_that_cannot_serve_is_a_complaint_with_its_place() {
    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY)");
    let folder = file.folder.path();
    certificate(folder, "localhost");
    std::fs::copy(folder.join("cert.pem"), folder.join("other.pem")).unwrap();
    certificate(folder, "localhost");
    std::fs::write(folder.join("text.pem"), "no PEM").unwrap();
    for (cert, key, place, complaint) in [
        ("cert.pem", "key.pem", "", ""),
        ("gone.pem", "key.pem", "2:16: ", "is not there"),
        ("text.pem", "key.pem", "2:16: ", "holds no certificate"),
        ("cert.pem", "gone.pem", "2:34: ", "is not there"),
        ("cert.pem", "cert.pem", "2:34: ", "holds nothing of the kind"),
        ("other.pem", "key.pem", "2:35: ", "belongs to another certificate"),
    ] {
        let text =
            format!("[server]\ntls = {{ cert = \"{cert}\", key = \"{key}\" }}\n{}", file.config("table = \"item\""));
        std::fs::write(folder.join("chunkflow.toml"), text).unwrap();
        // Run in another folder: paths are relative to the configuration.
        let mut check = crate::support::binary(&["check", "--config"], Path::new("/"));
        let output = check.arg(folder.join("chunkflow.toml")).env("XDG_CACHE_HOME", folder).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), complaint.is_empty(), "{cert} {key}: {said}");
        assert!(said.contains(&format!("chunkflow.toml:{place}")) || place.is_empty(), "{cert} {key}: {said}");
        assert!(said.contains(complaint), "{cert} {key}: {said}");
    }
}
