//! The commands, as processes.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    frames::{Frames, PING, frame},
    support::{Client, Process, STUCK, binary, formats, numbered, until},
};

#[test]
fn an_export_is_what_the_server_streams_in_every_format() {
    let folder = TempDir::new().unwrap();
    let server = Process::serve(&["demo", "--rows", "350"], folder.path());
    let config =
        "[server]\npublic_url = \"http://localhost\"\n".to_owned() + include_str!("../../src/command/demo.toml");
    let database = folder.path().join("chunkflow/tricks-350.sqlite");
    std::fs::write(
        folder.path().join("demo.toml"),
        config.replace("${DEMO_DATABASE_URL}", &format!("sqlite:{}", database.display())),
    )
    .unwrap();
    for format in formats() {
        let streamed = server.get(&format!("/tricks.{format}")).body;
        let file = folder.path().join(format!("out.{format}"));
        let status = binary(&["--config", "demo.toml", "export", "tricks", "--output"], folder.path())
            .arg(&file)
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read(&file).unwrap(), streamed, "{format}");
        let output =
            binary(&["--config", "demo.toml", "export", "tricks", "--format", format], folder.path()).output().unwrap();
        assert_eq!(output.stdout, streamed, "{format} to standard output");
    }
}

#[test]
fn a_broken_export_leaves_no_file_and_keeps_the_old_one() {
    let file = numbered(50_000);
    let folder = file.folder.path();
    // A key that occurs twice, far behind the first chunk.
    let sql = "CREATE VIEW bad AS SELECT CASE id WHEN 45000 THEN 44999 ELSE id END AS id, name FROM item";
    file.open().execute_batch(sql).unwrap();
    std::fs::write(folder.join("chunkflow.toml"), file.config("table = \"bad\"\nkey = [\"id\"]")).unwrap();
    std::fs::write(folder.join("list.json"), "the old one").unwrap();
    let output = binary(&["export", "list", "--output", "list.json"], folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("two rows have the same key"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    assert_eq!(std::fs::read(folder.join("list.json")).unwrap(), b"the old one");
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{names:?}");
}

#[test]
fn an_export_replaces_what_a_link_leads_to_and_writes_into_a_pipe() {
    let file = numbered(60);
    let folder = file.folder.path();
    std::fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    std::fs::write(folder.join("list.csv"), "the old one").unwrap();
    std::os::unix::fs::symlink("list.csv", folder.join("link.csv")).unwrap();
    assert!(binary(&["export", "list", "--output", "link.csv"], folder).status().unwrap().success());
    assert!(folder.join("link.csv").is_symlink());
    let list = std::fs::read(folder.join("list.csv")).unwrap();
    assert_eq!(list.iter().filter(|byte| **byte == b'\n').count(), 61);
    let pipe = folder.join("pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });

    assert!(binary(&["export", "list", "--output", "pipe.csv"], folder).status().unwrap().success());
    assert_eq!(reader.join().unwrap(), list);
    assert!(!pipe.metadata().unwrap().is_file(), "it is a pipe still");
}

/// Owner, group and mode.
fn rights(path: &std::path::Path) -> (u32, u32, u32) {
    let there = std::fs::metadata(path).unwrap();
    (there.uid(), there.gid(), there.mode() & 0o7777)
}

#[test]
fn an_export_never_shows_a_file_to_those_who_could_not_read_the_one_it_replaces() {
    let file = numbered(50_000);
    let folder = file.folder.path();
    std::fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let list = folder.join("list.json");
    let export = || binary(&["export", "list", "--output", "list.json"], folder);
    // A new file has the mode of the umask.
    assert!(
        std::process::Command::new("sh")
            .args(["-c", "umask 027; exec \"$0\" export list --output list.json"])
            .arg(env!("CARGO_BIN_EXE_chunkflow"))
            .current_dir(folder)
            .status()
            .unwrap()
            .success()
    );

    assert_eq!(rights(&list).2, 0o640);

    let root = rights(&list).0 == 0;
    for mode in [0o600, 0o400, 0o640, 0o644, 0o660, 0o604, 0o755, 0o000] {
        for (owner, group) in [(0, 0), (4_321, 0), (0, 4_321), (4_321, 1_234)] {
            if root {
                std::os::unix::fs::chown(&list, Some(owner), Some(group)).unwrap();
            } else if mode & 0o200 == 0 {
                continue;
            }
            std::fs::set_permissions(&list, std::fs::Permissions::from_mode(mode)).unwrap();
            let before = rights(&list);
            assert!(export().status().unwrap().success(), "{before:?}");
            assert_eq!(rights(&list), before);
        }
    }

    // From its first byte on, the partial file is never more open than the file that it replaces.
    std::fs::set_permissions(&list, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut child = export().spawn().unwrap();
    let mut seen = 0;
    while child.try_wait().unwrap().is_none() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_name().to_string_lossy().ends_with(".part")
                && let Ok(there) = entry.metadata()
            {
                assert_eq!(there.mode() & 0o077, 0);
                seen += 1;
            }
        }
    }

    assert!(seen > 0, "the part file was never seen");
}

#[test]
fn an_export_makes_the_file_that_a_link_leads_to() {
    let file = numbered(6);
    let folder = file.folder.path();
    std::fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    std::fs::create_dir(folder.join("there")).unwrap();
    std::os::unix::fs::symlink("there/second.csv", folder.join("first.csv")).unwrap();
    std::os::unix::fs::symlink("../list.csv", folder.join("there/second.csv")).unwrap();
    assert!(binary(&["export", "list", "--output", "first.csv"], folder).status().unwrap().success());
    assert!(folder.join("first.csv").is_symlink() && folder.join("there/second.csv").is_symlink());
    assert!(folder.join("list.csv").metadata().unwrap().is_file() && !folder.join("list.csv").is_symlink());
}

#[test]
fn the_access_log_names_the_client_as_trusted_proxies_do_and_as_nobody_else_does() {
    let file = numbered(5);
    let folder = file.folder.path();
    for (trusted, named, logged) in [
        ("127.0.0.1/32", "203.0.113.9", "client=203.0.113.9 "),
        ("127.0.0.1/32", "6.6.6.6, 2001:db8::7", "client=2001:db8::7 "),
        ("127.0.0.1/32", "unknown", "client=127.0.0.1 "),
        ("192.0.2.1/32", "203.0.113.9", "client=127.0.0.1 "),
    ] {
        let server = format!("[server]\ntrusted_proxies = [\"{trusted}\"]\n{}", file.config("table = \"item\""));
        std::fs::write(folder.join("chunkflow.toml"), server).unwrap();
        let mut server = Process::serve(&["serve", "--log", "info"], folder);
        let reply = crate::support::ask(server.address, "GET", "/list", &[("x-forwarded-for", named)]);
        assert_eq!(reply.status, 200);
        // The log line is written when the server has ended the response; the next request waits
        // for that.
        crate::support::ask(server.address, "GET", "/healthz", &[]);
        let log = server.kill().join("\n");
        let line = log.lines().find(|line| line.contains("uri=/list")).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(logged) && line.contains("peer=127.0.0.1:"), "{line}");
    }
}

#[test]
fn the_demo_is_made_once_and_never_over_another_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tricks.sqlite");
    let serve =
        || Process::serve(&["demo", "--rows", "60", "--database", "tricks.sqlite"], folder.path()).get("/tricks").body;
    let first = serve();
    let made = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(serve(), first);
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), made);
    let refused = binary(&["demo", "--rows", "61", "--database", "tricks.sqlite"], folder.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--rows 60"));
    Connection::open(folder.path().join("mine.sqlite")).unwrap().execute_batch("CREATE TABLE mine (id)").unwrap();
    let refused = binary(&["demo", "--database", "mine.sqlite"], folder.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not this demo's file"));
}

#[test]
fn the_demo_holds_the_same_rows_on_every_machine() {
    let folder = TempDir::new().unwrap();
    let body = Process::serve(&["demo", "--rows", "1100"], folder.path()).get("/tricks.csv").body;
    let sum = crc32(&body);
    assert_eq!(sum, 3_754_963_710, "the demo's rows changed; give them a new VERSION");
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

#[test]
fn sigterm_lets_a_stream_end_and_a_second_one_does_not() {
    for second in [false, true] {
        let folder = TempDir::new().unwrap();
        let mut server = Process::serve(&["demo", "--rows", "100000", "--log", "info"], folder.path());
        let mut client = Client::get(server.address, "/tricks");
        assert!(client.wait_for("\"title\""));
        let term = || {
            assert!(std::process::Command::new("kill").arg(server.child.id().to_string()).status().unwrap().success())
        };
        term();
        until("no new connection is taken", || std::net::TcpStream::connect(server.address).is_err());
        if second {
            term();
            // Bytes in the sockets may still be read, but the end never comes.
            assert!(!client.read_reply("GET").whole);
        } else {
            assert!(client.read_reply("GET").whole);
        }
        let began = std::time::Instant::now();
        let status = loop {
            if let Some(status) = server.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < STUCK);
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn options_that_cannot_be_right_are_wrong_usage_and_say_what_to_write() {
    let folder = tempfile::TempDir::new().unwrap();
    let of = |arguments: &[&str]| {
        let output = binary(arguments, folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };

    for (arguments, told) in [
        (&["serve", "--listen", "nonsense"][..], "write IP:PORT"),
        (&["serve", "--store", "foo:secret"], "--store memory:256MiB"),
        (&["export", "tricks", "--output", "out.xyz"], "there is no format `xyz`; formats here: json"),
        (&["export", "tricks", "--format", "xml"], "there is no format `xml`"),
    ] {
        let (code, stderr) = of(arguments);
        assert!(
            code == Some(2) && stderr.contains(told) && !stderr.contains("secret"),
            "{arguments:?}: {code:?} {stderr}"
        );
    }

    let (code, stderr) = of(&["serve", "sqlite:nowhere.db"]);
    assert!(code == Some(1) && stderr.matches("No such file").count() == 1, "{code:?} {stderr}");
}

#[test]
fn a_client_cannot_fill_the_log() {
    let folder = TempDir::new().unwrap();
    let mut server = Process::serve(&["demo"], folder.path());
    let mut client = Frames::connect(server.address, &[]);
    // Acknowledgements of pings that were never sent.
    client.send(&frame(PING, 1, 0, b"nonsense").repeat(200));
    assert!(client.lives());
    let lines = server.kill().len();
    assert!(lines < 20, "{lines} lines");
}
