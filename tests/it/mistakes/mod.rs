//! What people get wrong at first: each mistake is answered with what is wrong, where, and what to
//! do; never with a secret.

mod addresses;
mod configurations;
mod hands;
mod servers;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::support::{STUCK, binary};

/// What stands where a password would, in each mistake that has room for one.
const MARK: &str = "HUNTER2";

/// How a run of the binary ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    said: String,
}

/// Runs a command to its end, which is not far off.
fn run(command: &mut Command) -> Ended {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > STUCK {
            let _ = child.kill();
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Ended { code: output.status.code(), said: String::from_utf8_lossy(&said).into_owned() }
}

/// A folder as a newcomer has it: a database, and other files.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::TempDir::new().unwrap();
    let tables = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, made TEXT NOT NULL);
        CREATE INDEX item_made ON item (made, id);
        CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE item_tag (item_id INTEGER REFERENCES item, tag_id INTEGER REFERENCES tag, PRIMARY KEY (item_id, tag_id));
        CREATE TABLE keyless (name TEXT);
        INSERT INTO item VALUES (1, 'one', '2026-01-01');";
    rusqlite::Connection::open(folder.path().join("app.sqlite")).unwrap().execute_batch(tables).unwrap();
    fs::write(folder.path().join("notes.txt"), "no database\n").unwrap();
    fs::write(folder.path().join("empty.sqlite"), "").unwrap();
    folder
}

/// Runs the binary in a folder with a configuration, or none.
fn ask(folder: &Path, config: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let file = folder.join("chunkflow.toml");
    match config {
        "" => drop(fs::remove_file(file)),
        text => fs::write(file, text).unwrap(),
    }
    run(binary(arguments, folder).env("CHUNKFLOW_LISTEN", "127.0.0.1:0").envs(environment.iter().copied()))
}

/// Sees that the mistake was told well.
fn told(ended: &Ended, code: i32, parts: &[&str], what: &str) {
    assert_eq!(ended.code, Some(code), "{what}: {}", ended.said);
    for part in parts {
        assert!(ended.said.contains(part), "{what}: it does not say `{part}`: {}", ended.said);
    }
    let said = ended.said.replace("CHUNKFLOW", "");
    for secret in [MARK, "HUN", "TER2"] {
        assert!(!said.contains(secret), "{what}: it tells a secret: {said}");
    }
    assert!(!ended.said.contains("panicked"), "{what}: {}", ended.said);
}
