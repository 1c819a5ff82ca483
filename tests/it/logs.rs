//! What the log says about requests, and in which format.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{File, Reply, ask, binary, checked, numbered, until};

/// The binary, serving a list of ten rows, with its log in a file.
pub struct Logged {
    pub file: File,
    log: PathBuf,
    pub address: SocketAddr,
    pub child: Child,
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Logged {
    fn start(server: &str, arguments: &[&str]) -> Logged {
        Logged::with(server, arguments, &[])
    }

    /// The same with an environment. The text for `server` may begin another section.
    pub fn with(server: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Logged {
        let file = numbered(10);
        let folder = file.folder.path();
        let text = format!("[server]\n{server}\n\n{}", file.config("table = \"item\""));
        fs::write(folder.join("chunkflow.toml"), text).unwrap();
        let port = crate::servers::free_port();
        let log = folder.join("log");
        let mut command: Command = binary(&[arguments, &["serve"]].concat(), folder);
        command.env("CHUNKFLOW_LISTEN", format!("127.0.0.1:{port}")).stdout(Stdio::null());
        command.envs(environment.iter().copied());
        let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let address = ([127, 0, 0, 1], port).into();
        until("it serves", || std::net::TcpStream::connect(address).is_ok());
        Logged { file, log, address, child }
    }

    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        ask(self.address, "GET", target, headers)
    }

    pub fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The first line that contains this, once it is there.
    pub fn line(&self, with: &str) -> String {
        let find = || self.text().lines().find(|line| line.contains(with)).map(str::to_owned);
        until(with, || find().is_some());
        find().unwrap()
    }
}

#[test]
fn a_line_of_the_access_log_says_who_asked_for_what_and_how_it_went() {
    let logged = Logged::start("", &[]);
    let headers = [("user-agent", "curl/8 \"quoted\" \u{9b}2J"), ("x-request-id", "mine-1")];
    assert_eq!(logged.get("/list.csv", &headers).status, 200);
    let line = logged.line("mine-1");
    for part in [
        "client=127.0.0.1 ",
        "method=GET uri=/list.csv ",
        "user_agent=\"curl/8 \\\"quoted\\\" ",
        "status=200 format=\"csv\" rows=10 ",
        " loads=1 outcome=complete first_ms=",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }

    assert!(!line.contains('\u{9b}'), "nothing of a client's moves a terminal: {line}");
    let agent = "x".repeat(5_000);
    logged.get("/list", &[("user-agent", &agent), ("x-request-id", "mine-2")]);
    assert!(logged.line("mine-2").len() < 600, "a client's name has a bound");
}

#[test]
fn log_lines_are_json_where_the_configuration_or_an_option_says_so() {
    for (server, arguments, is_json) in [
        ("log_format = \"json\"", &[][..], true),
        ("", &["--log-format", "json"], true),
        ("log_format = \"json\"", &["--log-format", "text"], false),
    ] {
        let logged = Logged::start(server, arguments);
        assert_eq!(logged.get("/list", &[("x-request-id", "mine"), ("user-agent", "tést")]).status, 200);
        let line = logged.line("mine");
        let read: Result<Value, _> = serde_json::from_str(&line);
        assert_eq!(read.is_ok(), is_json, "{server} {arguments:?}: {line}");
        let Ok(read) = read else { continue };
        assert_eq!((&read["level"], &read["target"]), (&"INFO".into(), &"chunkflow::access".into()));
        assert_eq!((&read["id"], &read["status"], &read["rows"]), (&"mine".into(), &200.into(), &10.into()));
        assert_eq!((&read["format"], &read["outcome"]), (&"json".into(), &"complete".into()));
        assert!(read["first_ms"].as_f64() <= read["ms"].as_f64() && read["timestamp"].is_string());
        let served = logged.line("serving list at");
        assert!(serde_json::from_str::<Value>(&served).unwrap()["message"].as_str().unwrap().starts_with("serving"));
    }
}

#[test]
fn without_an_access_log_all_else_is_said() {
    let logged = Logged::start("access_log = false", &[]);
    assert_eq!(logged.get("/list", &[]).status, 200);
    fs::remove_file(&logged.file.path).unwrap();
    assert_eq!(logged.get("/list?id=eq.1", &[("x-request-id", "mine")]).status, 503);
    logged.line("a load failed");
    assert!(!logged.text().contains("chunkflow::access"), "{}", logged.text());
}

#[test]
fn a_warning_of_a_load_names_the_request_that_it_was_for_and_the_access_log_the_cause() {
    let logged = Logged::start("", &[]);
    fs::remove_file(&logged.file.path).unwrap();
    assert_eq!(logged.get("/list", &[("x-request-id", "the-unlucky-one")]).status, 503);
    let warning = logged.line("a load failed");
    assert!(warning.contains("id=\"the-unlucky-one\"") && warning.contains("resource=\"list\""), "{warning}");
    let line = logged.line("status=503");
    let (_, cause) = line.split_once("error=").unwrap_or_else(|| panic!("no cause in {line}"));
    assert!(line.contains("id=\"the-unlucky-one\"") && cause.contains("cannot be read"), "{line}");
}

#[test]
fn answers_say_how_long_their_first_bytes_took_where_that_is_asked_for() {
    let logged = Logged::start("server_timing = true", &[]);
    for desc in ["loaded", "hit"] {
        let timing = logged.get("/list", &[]).header("server-timing").to_owned();
        let took = timing.strip_prefix(&format!("first;desc={desc};dur="));
        assert!(took.is_some_and(|took| took.parse::<f64>().is_ok_and(|took| took > 0.0)), "{timing}");
    }
    assert!(logged.get("/nothing", &[]).header("server-timing").starts_with("first;dur="));
    assert_eq!(Logged::start("", &[]).get("/list", &[]).header("server-timing"), "");
}

#[test]
fn a_form_of_log_lines_that_is_none_is_told_of() {
    let file = numbered(1);
    let told = checked(&format!("[server]\nlog_format = \"xml\"\n\n{}", file.config("table = \"item\"")));
    assert!(told.contains("there is no log format `xml`") && told.contains("log_format = \"json\""), "{told}");
    let wrong = binary(&["--log-format", "xml", "check"], file.folder.path()).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("write text or json"));
}
