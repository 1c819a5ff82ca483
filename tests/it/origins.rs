//! Where the configuration comes from is decided once, at the start.

use std::{
    fs::{self, File as Stream},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use crate::support::{File, Reply, ask, binary, numbered, until};

const FILE: &str = "chunkflow.toml";
const DATABASE: (&str, &str) = ("DATABASE_URL", "sqlite:test.sqlite");

/// The arguments and the environment of a server, and what must be visible.
type Way = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);

/// What replaces a file: its name, and how it is made.
type Disturbance = (&'static str, fn(&Path));

/// The binary, whose log a test reads.
struct Logged {
    child: Child,
    log: PathBuf,
    address: SocketAddr,
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Logged {
    fn start(arguments: &[&str], folder: &Path, environment: &[(&str, &str)]) -> Logged {
        let log = folder.join("log");
        let mut command = binary(arguments, folder);
        command.envs(environment.iter().copied()).env("CHUNKFLOW_LISTEN", "127.0.0.1:0");
        let mut child = command.stderr(Stream::create(&log).unwrap()).spawn().unwrap();
        let said = || {
            let text = fs::read_to_string(&log).unwrap();
            let (_, rest) = text.split_once("at http://")?;
            rest.split_once("/\n").and_then(|(address, _)| address.parse().ok())
        };
        until("it serves, or ends", || said().is_some() || child.try_wait().unwrap().is_some());
        let address = said().unwrap_or_else(|| panic!("it ended: {}", fs::read_to_string(&log).unwrap()));
        Logged { child, log, address }
    }

    /// Reloads the configuration; returns what was logged about it.
    fn reload(&self) -> String {
        let before = fs::read_to_string(&self.log).unwrap().len();
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &process]).status().unwrap().success());
        let said = || fs::read_to_string(&self.log).unwrap()[before..].to_owned();
        until("the reload is done", || ["reloaded: ", "is refused"].iter().any(|end| said().contains(end)));
        said()
    }

    fn get(&self, target: &str) -> Reply {
        ask(self.address, "GET", target, &[])
    }
}

/// Things that may replace a file that is read, each with a name.
fn disturbances() -> Vec<Disturbance> {
    vec![
        ("gone", |_| {}),
        ("a folder", |file| fs::create_dir(file).unwrap()),
        ("a pipe", |file| assert!(Command::new("mkfifo").arg(file).status().unwrap().success())),
        ("a link to nothing", |file| std::os::unix::fs::symlink("nowhere", file).unwrap()),
        ("a link to itself", |file| std::os::unix::fs::symlink(file, file).unwrap()),
        ("empty", |file| fs::write(file, "").unwrap()),
        ("of spaces", |file| fs::write(file, "\n \n# nothing\n").unwrap()),
        ("not UTF-8", |file| fs::write(file, b"[server]\n# caf\xe9\n").unwrap()),
        ("a device", |file| std::os::unix::fs::symlink("/dev/zero", file).unwrap()),
    ]
}

#[test]
fn a_reload_without_the_file_is_refused_and_the_old_configuration_goes_on() {
    let ways: [(&[&str], &str); 4] = [
        (&[], FILE),
        (&["serve"], FILE),
        (&["serve", "--config", "./here/../other.toml"], "other.toml"),
        (&["serve", "sqlite:test.sqlite"], FILE),
    ];

    for (arguments, name) in ways {
        let file = numbered(10);
        let folder = file.folder.path();
        let config = folder.join(name);
        fs::create_dir(folder.join("here")).unwrap();
        fs::write(&config, file.config("table = \"item\"")).unwrap();
        // What a server would serve if it decided anew.
        let server = Logged::start(arguments, folder, &[DATABASE]);
        for (what, put) in disturbances() {
            fs::rename(&config, folder.join("kept")).unwrap();
            put(&config);
            let said = server.reload();
            assert!(said.contains("is refused, the old one goes on"), "{arguments:?}, {what}: {said}");
            let served = ["/list", "/item", "/tricks"].map(|target| server.get(target).status);
            assert_eq!(served, [200, 404, 404], "{arguments:?}, {what}");
            let _ = fs::remove_dir(&config).or_else(|_| fs::remove_file(&config));
            fs::rename(folder.join("kept"), &config).unwrap();
        }
        assert!(server.reload().contains("reloaded: serving list"), "{arguments:?}");
    }
}

#[test]
fn what_is_served_without_a_file_stays_though_one_appears() {
    let ways: [Way; 6] = [
        (&[], &[], "/tricks"),
        (&[], &[DATABASE], "/tricks"),
        (&["serve"], &[], "/tricks"),
        (&["demo", "--rows", "60"], &[], "/tricks"),
        (&["serve", "sqlite:test.sqlite"], &[], "/item"),
        (&["serve"], &[DATABASE], "/item"),
    ];

    for (arguments, environment, list) in ways {
        let file = numbered(10);
        let folder = file.folder.path();
        let server = Logged::start(arguments, folder, environment);
        for (what, put) in disturbances() {
            let config = folder.join(FILE);
            put(&config);
            let said = server.reload();
            assert!(said.contains("reloaded: serving "), "{arguments:?}, {what}: {said}");
            assert_eq!(said.contains("chunkflow.toml is there now"), what != "gone", "{arguments:?}, {what}: {said}");
            assert_eq!(server.get(list).status, 200, "{arguments:?}, {what}");
            let _ = fs::remove_dir(&config).or_else(|_| fs::remove_file(&config));
        }
        fs::write(folder.join(FILE), file.config("table = \"item\"")).unwrap();
        server.reload();
        assert_eq!([list, "/list"].map(|target| server.get(target).status), [200, 404], "{arguments:?}");
    }
}

#[test]
fn a_reload_of_what_a_database_has_reads_that_database_again() {
    for (arguments, environment) in [(&["serve", "sqlite:test.sqlite"][..], &[][..]), (&["serve"], &[DATABASE])] {
        let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY)");
        let server = Logged::start(arguments, file.folder.path(), environment);
        assert_eq!(["/item", "/later"].map(|target| server.get(target).status), [200, 404]);
        file.open().execute_batch("CREATE TABLE later (id INTEGER PRIMARY KEY)").unwrap();
        server.reload();
        assert_eq!(["/item", "/later"].map(|target| server.get(target).status), [200, 200]);
        fs::rename(&file.path, file.folder.path().join("away")).unwrap();
        assert!(server.reload().contains("is refused"));
        assert_eq!(server.get("/tricks").status, 404);
    }
}

#[test]
fn a_configuration_that_came_through_a_pipe_is_not_waited_for_again() {
    let file = numbered(10);
    let folder = file.folder.path();
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = file.config("table = \"item\"");
    let writer = std::thread::spawn(move || fs::write(pipe, text).unwrap());
    let server = Logged::start(&["serve", "--config", "pipe"], folder, &[]);
    writer.join().unwrap();
    let said = server.reload();
    assert!(said.contains("no file that can be read again") && said.contains("is refused"), "{said}");
    assert_eq!(server.get("/list").status, 200);
}

#[test]
fn the_log_says_what_is_served_where_nobody_wrote_a_configuration() {
    let file = numbered(10);
    let folder = file.folder.path();
    let ways: [Way; 4] = [
        (&[], &[DATABASE], "`chunkflow serve` would serve the database that DATABASE_URL names"),
        (&["serve"], &[DATABASE], "the tables of the database that DATABASE_URL in the environment names"),
        (&["serve", "sqlite:test.sqlite"], &[], "the tables of the database of the command line"),
        (&["serve"], &[], "the demo list: GET /tricks"),
    ];

    for (arguments, environment, told) in ways {
        let server = Logged::start(arguments, folder, environment);
        let said = fs::read_to_string(&server.log).unwrap();
        assert!(said.contains(told), "{arguments:?}: {said}");
    }

    // Without the URL there is nothing else to say.
    let server = Logged::start(&[], folder, &[]);
    assert!(!fs::read_to_string(&server.log).unwrap().contains("DATABASE_URL"));
}
