//! No complaint, error or log shows the values of a configuration, or those that are filled in.

use std::io::Read;

use proptest::{prelude::*, sample::select, test_runner::TestRunner};

use crate::{
    servers::every_kind,
    support::{File, binary, until},
};

/// Lines of a configuration. Each value, comment and variable that must not be shown has a mark. One
/// that stands bare ends in a character of no key: behind a line's beginning and before the next
/// line's key it would be a part of that key, for every reader of TOML.
const LINES: &[&str] = &[
    "[server]",
    "listen = \"OPEN\"",
    "public_url = \"HIDE\" # HIDE?",
    "stall_timeout = \"OPEN\" # HIDE?",
    "allowed_hosts = [\"OPEN/\",",
    "  \"${VARIABLE}/\"]",
    "stall_timeot = \"HIDE\"",
    "tls = { cert = \"OPEN\", key = \"OPEN\", password = \"HIDE\" }",
    "[admin]",
    "token = \"HIDE\" # HIDE?",
    "token = HIDE/",
    "tokens = [{ token = \"HIDE\", may = [\"OPEN\"] },",
    "  { token = HIDE }] # HIDE?",
    "tokn = \"\"\"HIDE",
    "HIDE\"\"\"",
    "[databases]",
    "main = \"postgres://HIDE:HIDE@127.0.0.1:1/HIDE?x=HIDE\"",
    "main = \"HIDE\"",
    "other = \"mysql:HIDE:HIDE@HIDE\"",
    "third = { url = \"${VARIABLE}\", password = \"HIDE\", pool = \"OPEN\", timeout = \"${VARIABLE}\" }",
    "fourth = { ur = \"HIDE\" }",
    "fifth = \"${URL}\"",
    "[store] # HIDE?",
    "url = \"HIDE\"",
    "url = \"rediss:HIDE@HIDE\"",
    "near = \"${VARIABLE}\" # HIDE?",
    "[resources.a]",
    "database = \"${VARIABLE}\"",
    "database = \"file\"",
    "table = \"item\" # HIDE?",
    "table = \"${VARIABLE}\"",
    "where = \"name = 'HIDE' AND\"",
    "where = \"name = '${VARIABLE}' AND nme = 1\"",
    "where = \"${VARIABLE}\"",
    "order = [\"${VARIABLE}\"] # HIDE?",
    "ttl = \"${VARIABLE}\"",
    "chunk_bytes = \"${VARIABLE}\" # HIDE?",
    "ttl = 'OPEN'",
    "secret = 'HIDE'",
    "secrets = ['HIDE', 'HIDE'] # HIDE?",
    "[resources.a.fields]",
    "x = \"${VARIABLE}\"",
    "y = { link = \"/HIDE/{HIDE\" }",
    "z = { via = \"OPEN\", key = \"HIDE\" }",
    "# HIDE?",
    "HIDE)",
    "HIDE.HIDE.HIDE/",
    "timeout = \"OPEN\" # HIDE?",
    "pool = 5 # \"HIDE\"",
    "may = [\"OPEN\"] # 'HIDE'",
    "-----BEGIN HIDE-----)",
];

#[test]
fn no_complaint_tells_of_what_it_is_not_about_whatever_is_wrong_with_a_text() {
    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)");
    let whole = LINES.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let lines = prop_oneof![
        Just(whole),
        prop::sample::subsequence(LINES.to_vec(), 0..LINES.len())
            .prop_map(|lines| lines.into_iter().map(str::to_owned).collect()),
        prop::collection::vec(select(LINES).prop_map(str::to_owned), 0..12),
    ];

    // Characters that are missing or added.
    let mistakes = prop::collection::vec(
        (any::<prop::sample::Index>(), prop::option::of(select(&['"', '\'', '[', '}', '\n', '#'][..]))),
        0..3,
    );

    let mut runner = TestRunner::new(ProptestConfig { cases: 400, ..ProptestConfig::default() });
    runner
        .run(&(lines, mistakes), |(mut lines, mistakes)| {
            lines.push(format!("[databases]\nfile = \"sqlite:{}\"", file.path.display()));
            let mut text: Vec<char> = lines.join("\n").chars().collect();
            for (at, more) in mistakes {
                let at = at.index(text.len());
                match more {
                    Some(c) => text.insert(at, c),
                    None => drop(text.remove(at)),
                }
            }
            let text: String = text.into_iter().collect();
            // A mark that is torn apart does not count.
            let environment = |name: &str| match name {
                "VARIABLE" => Some("HIDE".to_owned()),
                "URL" => Some("postgres://app:%48IDE@127.0.0.1:1/x".to_owned()),
                _ => None,
            };
            let complaints = chunkflow::server::Config::parse("chunkflow.toml", &text, &environment);
            let told = match complaints {
                Err(complaints) => format!("{complaints} {complaints:?}"),
                Ok(config) => format!("{config:?}"),
            };
            let lower = told.to_lowercase();
            prop_assert!(!lower.contains("hide"), "{}\n---\n{}", text, told);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_value_without_its_closing_quote_tells_nothing_of_what_stands_behind_it() {
    for line in [
        "stall_timeout = \"OPEN # HIDE",
        "drain = 'OPEN # HIDE",
        "listen = \"OPEN # HIDE",
        "public_url = \"OPEN # HIDE",
        "log_format = \"OPEN, password = HIDE",
        "tls = { cert = \"OPEN # HIDE }",
    ] {
        let text = format!("[server]\n{line}\n[databases]\nmain = \"sqlite:none\"");
        let complaints = chunkflow::server::Config::parse("chunkflow.toml", &text, &|_| None).expect_err(&text);
        let told = format!("{complaints} {complaints:?}");
        assert!(!told.contains("HIDE"), "{told}");
    }
}

#[test]
fn several_values_where_one_is_wanted_are_told_of_under_no_key() {
    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)");
    let whole = file.config("table = \"item\"\n");
    for (table, key) in [
        ("server", "listen"),
        ("server", "drain"),
        ("server", "max_streams"),
        ("admin", "listen"),
        ("store", "near"),
        ("resources.list", "ttl"),
        ("resources.list", "count"),
        ("resources.list.fields", "passwords"),
    ] {
        let text = match table {
            "resources.list" => {
                whole.replace("[resources.list]\n", &format!("[resources.list]\n{key} = ['HIDE', 'HIDE']\n"))
            }
            _ => format!("{whole}\n[{table}]\n{key} = ['HIDE', 'HIDE']\n"),
        };
        let complaints = chunkflow::server::Config::parse("chunkflow.toml", &text, &|_| None).expect_err(&text);
        let told = format!("{complaints} {complaints:?}");
        assert!(told.contains(key) && !told.contains("HIDE"), "{told}");
    }
}

#[test]
fn a_line_that_is_broken_inside_a_value_makes_no_key_of_it_that_is_told() {
    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)");
    let end = format!("[databases]\nfile = \"sqlite:{}\"", file.path.display());
    for line in LINES {
        let places = line.match_indices(['"', '\'']).map(|(at, _)| at + 1);
        for at in places.chain(line.match_indices("HIDE").map(|(at, _)| at)) {
            for table in ["", "[server]\n", "[admin]\n", "[databases]\n", "[store]\n"] {
                let text = format!("{table}{}\n{}\n{end}", &line[..at], &line[at..]);
                let environment = |name: &str| (name == "VARIABLE").then(|| "HIDE".to_owned());
                if let Err(complaints) = chunkflow::server::Config::parse("chunkflow.toml", &text, &environment) {
                    let told = format!("{complaints} {complaints:?}");
                    assert!(!told.to_lowercase().contains("hide"), "{text}\n---\n{told}");
                }
            }
        }
    }
}

#[test]
fn what_check_says_after_asking_databases_and_stores_tells_of_nothing_either() {
    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for condition in [
        "name = 'HIDE",
        "name = '${VARIABLE}' AND nme = 1",
        "${VARIABLE}",
        "hide_${VARIABLE} = 1",
        "name = ${VARIABLE}",
        "name = 'x${VARIABLE}",
    ] {
        let text = file.config(&format!(
            "table = \"item\"\nwhere = \"{condition}\"\n[store]\nurl = \"redis://:${{VARIABLE}}@127.0.0.1:1/0\""
        ));
        let check = chunkflow::server::Config::check("chunkflow.toml", &text, &|_| Some("HIDE3cret".to_owned()));
        let told = runtime.block_on(check).unwrap_err().to_string();
        assert!(!told.contains("HIDE3") && !told.contains("3cret"), "{told}");
        if condition.contains("${") {
            assert!(!told.contains("HIDE"), "{told}");
        }
        assert!(
            told.contains("SQLite does not take the query") && told.contains("the store does not answer"),
            "{told}"
        );
    }
}

#[test]
fn a_condition_that_is_filled_in_is_told_by_no_database() {
    for db in every_kind() {
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40)); INSERT INTO item VALUES (1, 'a')");
        let folder = tempfile::TempDir::new().unwrap();
        for condition in [
            "nme = '${SECRET}'",
            "${SECRET} = 1",
            "name = '${SECRET}",
            "name = 'x' ${SECRET} 3",
            "name = ''${SECRET}''",
        ] {
            let text = db.config(&format!("table = \"item\"\nwhere = \"{condition}\""));
            std::fs::write(folder.path().join("chunkflow.toml"), text).unwrap();
            for command in [&["check"][..], &["serve", "--listen", "127.0.0.1:0", "--log", "debug"]] {
                let output = binary(command, folder.path()).env("SECRET", "Hunter2x").output().unwrap();
                let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
                assert!(!output.status.success(), "{} {condition} {command:?}", db.name());
                for part in ["hunter", "unter2", "ter2x"] {
                    assert!(!told.contains(part), "{} {condition} {command:?}: {told}", db.name());
                }
                assert!(told.contains("why is not shown"), "{} {condition}: {told}", db.name());
            }
        }
    }
}

#[test]
fn a_read_that_fails_later_does_not_log_what_was_filled_in() {
    for db in every_kind() {
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40)); INSERT INTO item VALUES (1, 'a')");
        let folder = tempfile::TempDir::new().unwrap();
        let text = db.config(
            "table = \"item\"\nwhere = \"name <> '${SECRET}'\"\nttl = \"0s\"\nstale = \"0s\"\nfields = { id = \"id\" }",
        );
        std::fs::write(folder.path().join("chunkflow.toml"), text).unwrap();
        let mut command = binary(&["serve", "--log", "debug"], folder.path());
        let mut server = crate::support::Process::spawn(command.env("SECRET", "Hunter2x"));
        assert_eq!(server.get("/list").status, 200);
        db.execute("DROP TABLE item");
        until("the table is missed", || server.get("/list").status != 200);
        let told = server.kill().join("\n").to_lowercase();
        assert!(!told.contains("hunter2x"), "{}: {told}", db.name());
    }
}

#[test]
fn a_filter_that_fails_does_not_tell_a_client_the_values_of_other_columns() {
    for db in every_kind() {
        db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40)); INSERT INTO item VALUES (1, 's3cret')",
        );
        let condition = match db.name() {
            "postgres" => "CAST(name AS integer) > 0",
            _ => "CAST(name AS DECIMAL) >= 0",
        };
        let server = db.serve(&format!("table = \"item\"\nwhere = \"{condition}\"\nfields = {{ id = \"id\" }}"));
        let reply = server.get("/list?id=gt.0");
        let told = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(!told.contains("s3cret"), "{}: {told}", db.name());
    }
}

#[test]
fn what_a_secret_database_says_at_the_start_has_no_password_of_its_url() {
    for url in [
        "postgres://app:hunter%322@127.0.0.1:1/x",
        "mysql://app:hunter%322@127.0.0.1:1/x",
        "hunter22:hunter22",
        "hunter22",
    ] {
        let folder = tempfile::TempDir::new().unwrap();
        let text = "[databases]\nmain = \"${URL}\"\n[store]\nurl = \"${URL}\"\n[resources.a]\ndatabase = \"main\"\ntable = \"t\"\n";
        std::fs::write(folder.path().join("chunkflow.toml"), text).unwrap();
        for command in [&["check"][..], &["serve", "--log", "debug"], &["init", url], &["serve", url, "--store", url]] {
            let mut child =
                binary(command, folder.path()).env("URL", url).stderr(std::process::Stdio::piped()).spawn().unwrap();
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            assert!(!child.wait().unwrap().success() && !told.is_empty());
            assert!(!told.contains("hunter22") && !told.contains("hunter%322"), "{command:?}: {told}");
        }
    }
}
