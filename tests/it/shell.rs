//! The commands in a shell: help, pages, completions, readers that have gone.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::support::{Ended, ask, binary, numbered, until};

/// The commands listed by the program's own help.
fn commands() -> Vec<String> {
    let help = binary(&["--help"], std::env::temp_dir().as_path()).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, listed) = help.split_once("Commands:\n").unwrap();
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned));
    names.filter(|name| !name.is_empty() && name != "help").collect()
}

#[test]
fn every_command_has_a_page_of_help_that_fits_80_columns_and_shows_an_example() {
    let folder = TempDir::new().unwrap();
    let known = commands();
    assert!(known.len() >= 10 && known.contains(&"completions".to_owned()), "{known:?}");
    for command in &known {
        let output = binary(&[command, "--help"], folder.path()).stdout(Stdio::piped()).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.lines().count() > 8 && help.contains("--config"), "{help}");
        assert!(help.contains(&format!("\n  chunkflow {command}")), "no example: {help}");
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn each_shell_has_completions_and_each_command_a_page_for_man() {
    let folder = TempDir::new().unwrap();
    for (shell, sign) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef chunkflow"),
        ("fish", "complete -c chunkflow"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let output = binary(&["completions", shell], folder.path()).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains(sign) && script.contains("export"), "{script}");
    }

    // The completions that the shell itself would offer.
    let script = "eval \"$($0 completions bash)\"; COMP_WORDS=(chunkflow re); COMP_CWORD=1; \
                  _chunkflow chunkflow re chunkflow; echo \"${COMPREPLY[@]}\"";
    let offered = Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_chunkflow")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&offered.stdout).trim(), "reload");

    assert!(binary(&["man", "--folder", "man1"], folder.path()).status().unwrap().success());
    let main = binary(&["man"], folder.path()).output().unwrap();
    assert_eq!(main.stdout, std::fs::read(folder.path().join("man1/chunkflow.1")).unwrap());
    for command in commands() {
        let page = std::fs::read_to_string(folder.path().join(format!("man1/chunkflow-{command}.1"))).unwrap();
        for part in [".SH NAME", ".SH DESCRIPTION", ".EX\n", ".SH OPTIONS", ".SH \"EXIT STATUS\"", "chunkflow.toml"] {
            assert!(page.contains(part), "{command}: {part} is not in {page}");
        }
        assert!(page.is_ascii(), "{page}");
    }
}

/// How a command ends if the reader of its standard output, or of its standard error, is gone
/// before the first line.
fn unheard(arguments: &[&str], folder: &std::path::Path) -> [Option<i32>; 2] {
    let unread = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let ended = |command: &mut Command| {
        let status = command.status().unwrap();
        assert_eq!(status.signal(), None, "{arguments:?}");
        status.code()
    };
    [
        ended(binary(arguments, folder).stdout(unread()).stderr(Stdio::null())),
        ended(binary(arguments, folder).stdout(unread()).stderr(unread())),
    ]
}

#[test]
fn every_command_whose_reader_has_gone_ends_quietly_with_its_own_exit_code() {
    let file = numbered(30_000);
    let folder = file.folder.path();
    let right = file.config("table = \"item\"");
    std::fs::write(folder.join("chunkflow.toml"), &right).unwrap();
    std::fs::write(folder.join("wrong.toml"), right.replace("item", "itm")).unwrap();
    let url = format!("sqlite:{}", file.path.display());
    for (arguments, code) in [
        (&["check"][..], 0),
        (&["check", "--config", "wrong.toml"], 1),
        (&["check", "--config", "nowhere.toml"], 1),
        (&["init", &url], 0),
        (&["export", "list", "--output", "list.json"], 0),
        (&["export", "list"], 1),
        (&["export", "nothing"], 2),
        (&["warm"], 1),
        (&["purge", "list"], 1),
        (&["purge", "nothing"], 2),
        (&["reload"], 1),
        (&["serve", "--listen", "nonsense"], 2),
        (&["serve", "--config", "wrong.toml"], 1),
        (&["completions", "bash"], 0),
        (&["man"], 0),
        (&["--help"], 0),
        (&["check", "--help"], 0),
        (&["--nonsense"], 2),
    ] {
        assert_eq!(unheard(arguments, folder), [Some(code); 2], "{arguments:?}");
    }
}

#[test]
fn a_server_whose_log_nobody_reads_any_more_goes_on_serving() {
    let folder = TempDir::new().unwrap();
    let mut command = binary(&["demo"], folder.path());
    let child = command.env("CHUNKFLOW_LISTEN", "127.0.0.1:0").stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Ended(child);
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    let address: SocketAddr = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
        if let Some((_, rest)) = line.trim_end().split_once("at http://") {
            break rest.trim_end_matches('/').parse().unwrap();
        }
    };

    drop(log);
    for _ in 0..3 {
        assert_eq!(ask(address, "GET", "/tricks?limit=1", &[]).status, 200);
    }

    assert!(Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap().success());
    until("it has stopped", || child.0.try_wait().unwrap().is_some());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

#[test]
fn progress_shows_on_a_terminal_alone_with_rows_and_their_rate() {
    let file = numbered(400_000);
    let folder = file.folder.path();
    std::fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"")).unwrap();
    let output = binary(&["export", "list", "--output", "list.json"], folder).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("list: 400,000 rows, ") && !said.contains('\x1b'), "{said}");

    // A terminal made by `script`, of a usual width.
    let run = format!("stty cols 100; exec {} export list --output list.json", env!("CARGO_BIN_EXE_chunkflow"));
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &run, "/dev/null"]).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = terminal.env("TERM", "xterm").spawn().unwrap();
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert!(child.wait().unwrap().success(), "{shown}");
    for part in ["list ", "/400,000 rows", " rows/s", "MiB", " left"] {
        assert!(shown.contains(part), "`{part}` is not in {shown:?}");
    }
}
