//! Commands and options that are not what was meant, and where their words go.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
};

use super::{ask, folder, told};
use crate::support::{binary, numbered};

const LIST: &str =
    "[databases]\nmain = \"sqlite:app.sqlite\"\n[resources.item]\ndatabase = \"main\"\ntable = \"item\"\n";

/// The configuration, arguments and environment; the exit code, and what is said.
type Mistake =
    (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)], i32, &'static [&'static str]);

const MISTAKES: &[Mistake] = &[
    // Without a configuration.
    (
        "",
        &["check"],
        &[],
        1,
        &["nothing to check", "no chunkflow.toml", "chunkflow init DATABASE_URL > chunkflow.toml"],
    ),
    ("", &["warm"], &[], 1, &["no chunkflow.toml in this folder", "--config FILE"]),
    ("", &["purge", "item"], &[], 1, &["no chunkflow.toml in this folder", "--config FILE"]),
    ("", &["reload"], &[], 1, &["no chunkflow.toml in this folder", "--config FILE"]),
    ("", &["init"], &[], 2, &["no database is named", "chunkflow init DATABASE_URL"]),
    ("", &["export", "item"], &[], 2, &["no resource `item`", "exporting from the demo list"]),
    ("", &["serve"], &[("DATABASE_URL", " ")], 1, &["DATABASE_URL is there but empty", "unset it"]),
    ("", &["check"], &[("DATABASE_URL", "")], 1, &["DATABASE_URL is there but empty", "unset it"]),
    ("", &["init", "empty.sqlite"], &[], 1, &["no table that this user may read"]),
    ("", &["serve", "empty.sqlite"], &[], 1, &["no table that can be served", "chunkflow init"]),
    // Names and words.
    (LIST, &["srve"], &[], 2, &["unrecognized subcommand", "serve"]),
    (LIST, &["serve", "--port", "80"], &[], 2, &["unexpected argument '--port'"]),
    (LIST, &["export"], &[], 2, &["<RESOURCE>"]),
    (LIST, &["export", "itme"], &[], 2, &["no resource `itme`", "did you mean `item`?"]),
    (LIST, &["export", "item", "--format", "xml"], &[], 2, &["no format `xml`", "json, ndjson, csv"]),
    (LIST, &["export", "item", "--output", "out.xlsx"], &[], 2, &["no format `xlsx`", "--format says which"]),
    (LIST, &["export", "item", "--output", "gone/out.csv"], &[], 1, &["out.csv", "cannot be written", "No such file"]),
    (LIST, &["purge", "itme"], &[], 2, &["no resource `itme`", "did you mean `item`?"]),
    (LIST, &["purge", "item"], &[], 1, &["in the running server's memory", "[admin]"]),
    (LIST, &["reload"], &[], 1, &["[admin]", "SIGHUP"]),
    (LIST, &["warm"], &[], 1, &["the store is in memory", "redis://localhost:6379"]),
    (LIST, &["--log", "loud", "check"], &[], 2, &["loud", "--log"]),
    // Options of the store and the address: they stand in no file.
    (LIST, &["serve", "--store", "memory:256Mo"], &[], 2, &["--store", "`memory:256Mo` is no size", "memory:256MiB"]),
    (LIST, &["serve", "--store", "256MiB"], &[], 2, &["--store", "no store of this kind", "memory:256MiB"]),
    (
        LIST,
        &["serve", "--store", "redsi://:HUNTER2@h"],
        &[],
        2,
        &["--store", "no store of kind `redsi`", "memory:256MiB"],
    ),
    (
        LIST,
        &["serve", "--store", "redis://:HUNTER2@h:x"],
        &[],
        2,
        &["--store", "cannot be read", "write redis://HOST:PORT/DB"],
    ),
    (LIST, &["serve"], &[("CHUNKFLOW_STORE", "memory:many")], 2, &["CHUNKFLOW_STORE in the environment", "is no size"]),
    (LIST, &["serve"], &[("CHUNKFLOW_LISTEN", "8080")], 2, &["CHUNKFLOW_LISTEN in the environment", "write IP:PORT"]),
    (LIST, &["serve", "--listen", "8080"], &[], 2, &["--listen", "`8080` is no address", "write IP:PORT"]),
    (
        LIST,
        &["serve", "--listen", "192.0.2.1:0"],
        &[],
        1,
        &["cannot listen at 192.0.2.1:0", "no interface of this machine has this address"],
    ),
    (LIST, &["demo", "--rows", "many"], &[], 2, &["many", "--rows"]),
    (
        LIST,
        &["demo", "--database", "app.sqlite"],
        &[],
        1,
        &["app.sqlite is there and is not this demo's file", "--database"],
    ),
    (LIST, &["demo", "--database", "gone/demo.sqlite"], &[], 1, &["gone/demo.sqlite cannot be made", "--database"]),
];

#[test]
fn each_mistake_on_the_command_line_is_told_with_what_to_write() {
    let folder = folder();
    for (config, arguments, environment, code, parts) in MISTAKES {
        told(
            &ask(folder.path(), config, arguments, environment),
            *code,
            parts,
            &format!("{arguments:?} {environment:?}"),
        );
    }
}

#[test]
fn an_address_that_is_taken_is_told_with_its_cause_before_the_remedy() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port();
    let told_in_order = |config: &str, arguments: &[&str], by: &str| {
        let ended = ask(folder.path(), config, arguments, &[]);
        told(&ended, 1, &["cannot listen at", "Address already in use", "another program listens there", by], config);
        assert!(ended.said.find("already in use") < ended.said.find("another program"), "{}", ended.said);
    };

    told_in_order(LIST, &["serve", "--listen", &address], "--listen, or `listen` in [server]");
    told_in_order(&format!("{LIST}[admin]\nlisten = \"{address}\"\n"), &["serve"], "`listen` in [admin]");

    // Both of one server: by options too.
    let config = format!("{LIST}[admin]\nlisten = \"127.0.0.1:{port}\"\n");
    for listen in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
        let ended = ask(folder.path(), &config, &["serve", "--listen", &listen], &[]);
        told(&ended, 1, &["the lists and [admin] would both listen at", "another port"], &listen);
    }
}

#[test]
fn every_page_of_help_fits_a_terminal_of_80_columns() {
    let folder = folder();
    for command in [
        None,
        Some("serve"),
        Some("demo"),
        Some("init"),
        Some("check"),
        Some("export"),
        Some("warm"),
        Some("purge"),
        Some("reload"),
    ] {
        for wide in ["80", "200"] {
            let arguments: Vec<&str> = command.into_iter().chain(["--help"]).collect();
            // What stands in the environment may be a secret.
            let output = binary(&arguments, folder.path())
                .env("COLUMNS", wide)
                .env("CHUNKFLOW_STORE", "redis://:HUNTER2@h")
                .output()
                .unwrap();
            let help = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success() && help.contains("Usage"), "{command:?}");
            assert!(!help.contains("HUNTER2"), "{help}");
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{command:?}: {line}");
            }
        }
    }
}

#[test]
fn an_export_says_what_it_did_and_a_dash_is_standard_output() {
    let file = numbered(1_234);
    let folder = file.folder.path();
    fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let run = |arguments: &[&str]| binary(arguments, folder).output().unwrap();
    let to_file = run(&["export", "list", "--output", "list.csv"]);
    let said = String::from_utf8_lossy(&to_file.stderr).into_owned();
    assert!(
        to_file.status.success() && said.contains("list: 1,234 rows, ") && said.contains(" of csv in list.csv"),
        "{said}"
    );
    let dashed = run(&["export", "list", "--output", "-", "--format", "csv"]);
    assert_eq!(dashed.stdout, fs::read(folder.join("list.csv")).unwrap());
    assert!(String::from_utf8_lossy(&dashed.stderr).contains("list: 1,234 rows"));
    assert!(!folder.join("-").exists());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_to_talk_of() {
    let file = numbered(50_000);
    let folder = file.folder.path();
    fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    for arguments in [&["export", "list"][..], &["init", "test.sqlite"], &["check"]] {
        let mut child = binary(arguments, folder).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code().is_some_and(|code| code < 2), "{arguments:?}: {:?} {said}", output.status);
        assert!(
            !said.contains("roken pipe") && !said.contains("panicked") && !said.contains("rror"),
            "{arguments:?}: {said}"
        );
    }
}

/// Under a terminal, as `script` (util-linux) makes one: what it shows of both outputs.
fn on_terminal(folder: &std::path::Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let line = [&[env!("CARGO_BIN_EXE_chunkflow")], arguments].concat().join(" ");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(folder).stdin(Stdio::null());
    script.env("TERM", "xterm").env("XDG_CACHE_HOME", folder).env_remove("NO_COLOR").env_remove("DATABASE_URL");
    let output = script.envs(environment.iter().copied()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn colours_and_bars_are_for_terminals_that_want_them() {
    let file = numbered(50_000);
    let folder = file.folder.path();
    fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"\nordr = 1")).unwrap();
    let coloured = |environment: &[(&str, &str)]| on_terminal(folder, &["check"], environment).contains("\u{1b}[");
    assert!(coloured(&[]) && coloured(&[("NO_COLOR", "")]));
    assert!(!coloured(&[("NO_COLOR", "1")]));

    // A bar names its list, and has no decimals; over the list itself none is drawn.
    fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let shown = on_terminal(folder, &["export", "list", "--output", "out.ndjson"], &[]);
    assert!(shown.contains("list ") && shown.contains("50,000 rows"), "{shown}");
    let rates: Vec<&str> = shown.split(" rows/s").map(|before| before.rsplit(' ').next().unwrap_or_default()).collect();
    assert!(rates.iter().rev().skip(1).all(|rate| !rate.contains('.')), "{rates:?}");
    let shown = on_terminal(folder, &["export", "list", "--format", "ndjson"], &[]);
    assert!(!shown.contains("rows/s") && !shown.contains('\u{1b}'), "a bar over the list");
}

#[test]
fn no_part_of_a_file_stays_behind_a_killed_process_or_a_full_disk() {
    let file = numbered(100_000);
    let folder = file.folder.path();
    fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let parts = || {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".part")).collect::<Vec<_>>()
    };

    let export = || binary(&["export", "list", "--output", "list.json"], folder);

    // Beyond the limit on a file's size the write fails, and not the process.
    let limited = Command::new("sh")
        .args(["-c", "ulimit -f 100; exec \"$0\" export list --output list.json", env!("CARGO_BIN_EXE_chunkflow")])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert!(limited.status.code() == Some(1) && said.contains("too large"), "{:?} {said}", limited.status);
    assert_eq!((parts(), folder.join("list.json").exists()), (vec![], false));

    for signal in ["HUP", "TERM", "INT", "KILL"] {
        let mut child = export().stderr(Stdio::null()).spawn().unwrap();
        crate::support::until("it writes", || !parts().is_empty() || child.try_wait().unwrap().is_some());
        let _ = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        let _ = child.wait();
        if signal != "KILL" {
            assert_eq!(parts(), [""; 0], "{signal}");
        }
    }

    // Nobody can clean up behind a kill but the next one; what another process writes now stays.
    fs::write(folder.join(".list.json.1.part"), "left").unwrap();
    let held = fs::File::create(folder.join(".list.json.2.part")).unwrap();
    held.lock().unwrap();
    fs::write(folder.join(".other.json.1.part"), "another's").unwrap();
    assert!(export().status().unwrap().success());
    let mut left = parts();
    left.sort();
    assert_eq!(left, [".list.json.2.part", ".other.json.1.part"]);
}

#[test]
fn a_request_for_a_list_that_is_not_there_is_not_answered_with_all_that_are() {
    let tables: String = (0..1_500).map(|n| format!("CREATE TABLE list_{n:04} (id INTEGER PRIMARY KEY);")).collect();
    let file = crate::support::File::with(&tables);
    let server = crate::support::Process::serve(&["serve", "test.sqlite", "--log", "info"], file.folder.path());
    for (asked, near) in [("/list_1234x", "did you mean `list_1234`?"), ("/zebra", "and 1468 more")] {
        let reply = server.get(asked);
        let text = String::from_utf8(reply.body).unwrap();
        assert!(reply.status == 404 && text.contains(near) && text.len() < 1_000, "{asked}: {text}");
    }
}
