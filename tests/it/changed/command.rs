//! `chunkflow changed`, and reloads of tokens.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Output, Stdio},
};

use crate::{
    servers::free_port,
    support::{File, Process, ask, binary, numbered},
};

/// A server as a process, with an admin listener.
struct Served {
    file: File,
    process: Process,
    admin: SocketAddr,
}

fn write(file: &File, admin: SocketAddr, more: &str) {
    let text = format!("[admin]\nlisten = \"{admin}\"\n{more}\n\n{}", file.config("table = \"item\""));
    std::fs::write(file.folder.path().join("chunkflow.toml"), text).unwrap();
}

impl Served {
    fn start(more: &str) -> Served {
        let file = numbered(10);
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        write(&file, admin, more);
        let process = Process::serve(&["serve"], file.folder.path());
        Served { file, process, admin }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        binary(&[&["changed"], arguments].concat(), self.file.folder.path())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may have failed at an earlier line.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn rename(&self, name: &str) {
        self.file.open().execute("UPDATE item SET name = ?1 WHERE id = 7", [name]).unwrap();
    }

    fn name(&self) -> String {
        self.process.get("/list").results()[6]["name"].as_str().unwrap().to_owned()
    }
}

/// Its exit code, what it printed, and what it complained of.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Checks that so many changes were told, with a token.
pub fn assert_told(output: &Output, what: &str) {
    let (code, out, error) = said(output);
    assert_eq!(code, Some(0), "{error}");
    let token = out.strip_prefix(&format!("told {what}: ")).unwrap_or_else(|| panic!("{out}"));
    assert!(token.trim_end().parse::<chunkflow::Token>().is_ok(), "{out}");
}

#[test]
fn keys_are_told_from_the_command_line_and_from_standard_input() {
    let served = Served::start("");
    served.name();
    for (arguments, input, what) in [
        (&["list", "7"][..], "", "1 change"),
        (&["list", "7", "8", "[\"9\"]"], "", "3 changes"),
        (&["list", "-7", "7"], "", "2 changes"),
        (&["list", "--table", "item", "7"], "", "1 change"),
        (&["list"], "7\n8\n", "2 changes"),
        (&["list", "-"], "7\r\n\r\n[8]\n[\"9\"]", "3 changes"),
    ] {
        served.rename(&format!("{arguments:?}"));
        assert_told(&served.with_input(arguments, input.as_bytes()), what);
        assert_eq!(served.name(), format!("{arguments:?}"));
    }

    served.rename("never told");
    assert_told(&served.with_input(&["list", "--table", "it\"em", "-"], b"[1, \"a\"]\ndahlia\n"), "2 changes");
    assert_told(&served.with_input(&["list"], b""), "0 changes");
    assert_ne!(served.name(), "never told");
}

#[test]
fn the_log_says_of_which_list_and_of_how_many_rows_it_was_told() {
    let mut served = Served::start("");
    assert_told(&served.run(&["list", "7", "8"]), "2 changes");
    let log = served.process.kill();
    let is_told = |line: &&String| line.contains("changed") && line.contains("list") && line.contains("changes=2");
    assert!(log.iter().any(|line| is_told(&line)), "{log:?}");
}

#[test]
fn more_keys_than_one_request_holds_are_told_in_several() {
    let served = Served::start("");
    served.name();
    served.rename("told");
    // Each line is 60 KB of JSON at most, six times its length where it has to be escaped.
    let lines: String = (0..40).map(|at| format!("{at}{}\n", "x".repeat(60_000))).collect();
    let escaped: String = (0..40).map(|at| format!("{at}{}\n", "\u{1}".repeat(9_000))).collect();
    let small: String = (0..300_000).map(|at| format!("{at}\n")).collect();
    let long = (lines + &escaped).into_bytes();
    assert_told(&served.with_input(&["list", "--table", "other"], &long), "80 changes");
    assert_ne!(served.name(), "told", "no list shows that table");
    assert_told(&served.with_input(&["list"], small.as_bytes()), "300000 changes");
    assert_eq!(served.name(), "told");
}

#[test]
fn what_is_no_key_is_refused_with_its_line() {
    let served = Served::start("");
    served.name();
    let long = format!("7\n{}\n", "x".repeat(70_000));
    for (arguments, input, code, complaint) in [
        (&["lisst", "7"][..], &b""[..], 2, "there is no resource `lisst`; did you mean `list`?"),
        (&["list", "7", "-"], b"", 2, "stands alone"),
        (&["list", "[1"], b"", 1, "the key is no JSON"),
        (&["list", "7", "[null]"], b"", 1, "`key[0]` is null"),
        (&["list"], b"[1]\n[]\n", 1, "line 2 of standard input"),
        (&["list"], b"7\n\xff\n", 1, "nothing was told: line 2 of standard input is not UTF-8"),
        (&["list"], long.as_bytes(), 1, "line 2 of standard input has more than 65536 bytes"),
        (&["list", "--table", "", "7"], b"", 1, "`table` is empty"),
        (&["list"], "\u{1}".repeat(11_000).as_bytes(), 1, "a change has more than 60 KiB"),
    ] {
        let (exit, out, error) = said(&served.with_input(arguments, input));
        assert!(exit == Some(code) && out.is_empty() && error.contains(complaint), "{arguments:?}: {exit:?} {error}");
    }
    assert!(served.process.get("/list").header("cache-status").contains("hit"), "nothing was told");
}

#[test]
fn a_token_for_changes_is_enough_for_the_command_and_a_reload_takes_a_new_one() {
    let served = Served::start("token = \"whole\"\ntokens = [{ token = \"part\", may = [\"changed\"] }]");
    let tokens = |token: &str| format!("tokens = [{{ token = \"{token}\", may = [\"changed\"] }}]");
    assert_told(&served.run(&["list", "7"]), "1 change");

    // A program that holds only a part of the tokens.
    write(&served.file, served.admin, &tokens("part"));
    assert_told(&served.run(&["list", "7"]), "1 change");
    let purge = binary(&["purge", "list"], served.file.folder.path()).output().unwrap();
    let (code, _, error) = said(&purge);
    assert!(code == Some(1) && error.contains("other tokens in [admin]"), "{error}");

    write(&served.file, served.admin, &tokens("new"));
    let (code, _, error) = said(&served.run(&["list", "7"]));
    assert!(code == Some(1) && error.contains("other tokens in [admin]"), "{error}");

    let reload =
        |token: &str| ask(served.admin, "POST", "/reload", &[("authorization", token), ("content-length", "0")]);
    assert_eq!(reload("Bearer part").status, 403);
    assert_eq!(reload("Bearer whole").status, 200);
    assert_told(&served.run(&["list", "7"]), "1 change");
    assert_eq!(reload("Bearer whole").status, 401, "the old ones are gone");
    assert_eq!(reload("Bearer part").status, 401);
    assert_eq!(reload("Bearer new").status, 403);
}

#[test]
fn a_purge_takes_conditions_as_requests_write_them() {
    let served = Served::start("");
    let purge = |arguments: &[&str]| {
        said(&binary(&[&["purge", "list"], arguments].concat(), served.file.folder.path()).output().unwrap())
    };
    for (at, condition) in ["id=eq.7", "id=in.(7,8)", "id=in.(\"7\")", "id=gte.7"].into_iter().enumerate() {
        served.name();
        served.rename(&format!("{at}"));
        let (code, out, error) = purge(&[condition, "id=lt.9"]);
        assert_eq!((code, &*out), (Some(0), "purged list\n"), "{error}");
        assert_eq!(served.name(), format!("{at}"), "{condition}");
    }

    served.name();
    for (condition, exit, complaint) in [
        ("id", 2, "a condition is a parameter of the list with its value"),
        ("id=7", 1, "400 Bad Request: the filter `id` has no operator that is known; write id=eq.VALUE"),
        ("limit=5", 1, "there is no parameter `limit`"),
        ("id=eq.a&b=c%00", 1, "that is not a whole number"),
    ] {
        let (code, out, error) = purge(&[condition]);
        assert!(code == Some(exit) && out.is_empty() && error.contains(complaint), "{condition}: {code:?} {error}");
    }
    assert!(served.process.get("/list").header("cache-status").contains("hit"), "nothing was purged");
}

#[test]
fn without_a_server_to_ask_chunks_in_memory_cannot_be_told_of() {
    let file = numbered(1);
    std::fs::write(file.folder.path().join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let run = || said(&binary(&["changed", "list", "7"], file.folder.path()).output().unwrap());
    let (code, _, error) = run();
    assert!(code == Some(1) && error.contains("give it an [admin] listener"), "{error}");

    write(&file, SocketAddr::from(([127, 0, 0, 1], free_port())), "");
    let (code, _, error) = run();
    assert!(code == Some(1) && error.contains("no server answers at 127.0.0.1"), "{error}");
}
