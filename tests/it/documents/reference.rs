//! The reference names what the code knows: the keys with their types, defaults and bounds, the
//! problems, the commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use chunkflow::server::Config;
use http::StatusCode;

use super::{prose, read, root};
use crate::support::binary;

/// A row of the reference's tables of keys.
struct Key {
    name: String,
    kind: String,
    default: Option<String>,
    bounds: String,
}

/// The heading of each table of keys, and where in a configuration its keys stand: the header of
/// the section, and what must be there beside a key.
const SECTIONS: &[(&str, &str, &[&str])] = &[
    ("The whole file", "", &[]),
    ("`[databases]`", "[databases.main]", &["url = \"sqlite:app.sqlite\""]),
    ("`[resources.NAME]`", "[resources.list]", &["database = \"main\"", "table = \"item\""]),
    ("`rls`", "[resources.list.rls]", &["role = \"claim:db_role\"", "roles = [\"reader\"]"]),
    ("`values`", "[resources.list.values]", &["framework = \"django\""]),
    ("A column", "[resources.list.fields.one]", &["column = \"a\""]),
    ("A link", "[resources.list.fields.one]", &["link = \"/a/\""]),
    ("A cursor", "[resources.list.fields.one]", &["cursor = true"]),
    ("One related row", "[resources.list.fields.one]", &["via = \"a\"", "column = \"b\""]),
    ("Related rows behind a join table", "[resources.list.fields.one]", &["through = \"a\"", "column = \"b\""]),
    ("Rows that point here", "[resources.list.fields.one]", &["from = \"a\"", "column = \"b\""]),
    ("`[store]`", "[store]", &[]),
    ("`[store] tls`", "[store.tls]", &["ca = \"ca.pem\""]),
    ("`[server]`", "[server]", &[]),
    ("`[server] tls`", "[server.tls]", &["cert = \"cert.pem\"", "key = \"key.pem\""]),
    ("`[server] cors`", "[server.cors]", &["origins = [\"https://app.example.com\"]"]),
    ("`[auth]`", "[auth]", &["proxy = { header = \"x-remote-user\", claim = \"sub\" }"]),
    ("`[auth.jwt]`", "[auth.jwt]", &["secret = \"a secret of a test, of no server at all\""]),
    ("`[auth.keys]`", "[auth.keys]", &["file = \"keys.toml\""]),
    ("`[auth.proxy]`", "[auth.proxy]", &["header = \"x-remote-user\"", "claim = \"sub\""]),
    ("`[auth.forward]`", "[auth.forward]", &["url = \"http://127.0.0.1:8000/whoami\""]),
    ("`[admin]`", "[admin]", &[]),
    ("`[admin] tokens`", "[[admin.tokens]]", &["token = \"x\"", "may = [\"changed\"]"]),
];

/// The cells of a table's row.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// The code in a cell, without its quotes.
fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

/// The tables of keys, by the heading that each stands under.
fn tables() -> BTreeMap<String, Vec<Key>> {
    let text = read("docs/reference.md");
    let mut tables: BTreeMap<String, Vec<Key>> = BTreeMap::new();
    let mut heading = String::new();
    for line in prose(&text) {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
        if let [name, kind, default, bounds, _] = cells(line)[..]
            && name.starts_with('`')
        {
            let default = Some(code(default)).filter(|default| *default != "-").map(str::to_owned);
            let key = Key { name: code(name).to_owned(), kind: kind.to_owned(), default, bounds: bounds.to_owned() };
            tables.entry(heading.clone()).or_default().push(key);
        }
    }

    tables
}

/// A configuration with a line in a section, beside what must be there.
fn with(header: &str, beside: &[&str], line: &str) -> String {
    let key = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    let mut sections = vec![
        ("", vec![]),
        ("[databases.main]", vec!["url = \"sqlite:app.sqlite\""]),
        ("[resources.list]", vec!["database = \"main\"", "table = \"item\""]),
    ];

    if !sections.iter().any(|(other, _)| *other == header) {
        sections.push((header, beside.to_vec()));
    }

    let mut text = String::new();
    for (name, mut lines) in sections {
        // What a line of the whole file says is not said a second time.
        if header.is_empty() && !line.is_empty() && name.trim_matches(['[', ']']).split('.').next() == Some(&key(line))
        {
            continue;
        }
        if name == header {
            lines.retain(|other| key(other) != key(line));
            lines.push(line);
        }
        text += &format!("{name}\n{}\n", lines.join("\n"));
    }

    text
}

/// Everything that is wrong with a configuration.
fn complaints(text: &str) -> String {
    let read = Config::parse("chunkflow.toml", text, &|_| None);
    read.err().map(|complaints| complaints.to_string()).unwrap_or_default()
}

#[test]
fn the_keys_of_the_reference_are_those_that_the_configuration_has() {
    let tables = tables();
    let headings: BTreeSet<&str> = tables.keys().map(|heading| &**heading).collect();
    assert_eq!(headings, SECTIONS.iter().map(|(heading, ..)| *heading).collect());

    for (heading, header, beside) in SECTIONS {
        let told = complaints(&with(header, beside, "zzz = 1"));
        let (_, behind) = told.split_once("keys here: ").unwrap_or_else(|| panic!("{heading}: {told}"));
        let known: BTreeSet<&str> = behind.lines().next().unwrap().split(", ").collect();
        let named: BTreeSet<&str> = tables[*heading].iter().map(|key| &*key.name).collect();
        assert_eq!(named, known, "{heading}");
    }
}

#[test]
fn a_key_of_the_reference_has_the_type_and_the_bounds_that_are_said() {
    let tables = tables();
    for (heading, header, beside) in SECTIONS {
        for Key { name, kind, bounds, .. } in &tables[*heading] {
            let told = |value: &str| complaints(&with(header, beside, &format!("{name} = {value}")));
            let wanted = match &**kind {
                "number" => "a whole number",
                "flag" => "true or false",
                "list" => "a list of texts",
                "table" => "a table",
                "tables" => "a list of tables",
                _ => "a text",
            };
            let wrong = format!("`{name}` is float, not {wanted}");
            assert!(told("1.5").contains(&wrong), "{heading}: {}", told("1.5"));
            if wanted == "a text" {
                let text = told("\"x\"");
                assert_eq!(text.contains("`x` is no span of time"), kind == "span", "{heading}: {name}");
                assert_eq!(text.contains("`x` is no size"), kind == "size", "{heading}: {name}");
            }

            if kind == "number" {
                let between = bounds.rsplit("; ").next().unwrap();
                let told = told("99999999999");
                assert!(
                    told.trim_end().ends_with(&format!("write a number from {between}")),
                    "{heading}: {name}: {told}"
                );
            }
            if kind == "span" {
                assert_eq!(told("\"0s\"").contains(" is zero"), bounds == "more than 0", "{heading}: {name}");
            }
            if kind == "size" && !bounds.is_empty() {
                assert!(told("\"1024GiB\"").contains(&format!("write {bounds}")), "{heading}: {name}");
            }
        }
    }
}

#[test]
fn a_default_of_the_reference_is_what_holds_without_the_key() {
    let shown = |text: &str| format!("{:?}", Config::parse("chunkflow.toml", text, &|_| None).unwrap());
    let tables = tables();
    let mut defaults = 0;
    for (heading, header, beside) in SECTIONS {
        for Key { name, default, .. } in &tables[*heading] {
            let Some(default) = default else { continue };
            defaults += 1;
            let said = shown(&with(header, beside, &format!("{name} = {default}")));
            assert_eq!(said, shown(&with(header, beside, "")), "{heading}: {name} = {default}");
        }
    }
    assert!(defaults > 25, "{defaults} defaults were found");
}

#[test]
fn the_example_has_each_key_of_the_reference() {
    let example = read("chunkflow.example.toml");
    let words: BTreeSet<&str> = example.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for (heading, keys) in tables() {
        for Key { name, .. } in keys {
            assert!(words.contains(&*name), "{heading}: {name}");
        }
    }
}

/// The files that answer requests.
fn answering() -> String {
    let folders = ["src/web", "src/server"].map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let files = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    // What passes for `EventSource` is no list of what is sent.
    let files = files.filter(|file| file.extension().is_some_and(|is| is == "rs") && !file.ends_with("events.rs"));
    files.map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn the_problems_of_the_reference_are_those_that_a_server_can_send() {
    let sources = answering();
    let all = (400..600).filter_map(|status| StatusCode::from_u16(status).ok());
    let all = all.filter_map(|status| Some((status, status.canonical_reason()?)));
    let sent = all.filter(|(_, title)| {
        let name = title.to_ascii_uppercase().replace([' ', '-'], "_");
        sources.contains(&format!("StatusCode::{name}"))
    });

    let sent: Vec<String> = sent
        .map(|(status, title)| format!("{} {}", status.as_u16(), title.to_ascii_lowercase().replace(' ', "-")))
        .collect();
    assert!(sent.len() > 8, "{sent:?}");

    let reference = read("docs/reference.md");
    let rows = prose(&reference).map(cells).filter(|cells| cells[0].parse::<u16>().is_ok());
    let named: Vec<String> = rows.map(|cells| format!("{} {}", cells[0], code(cells[1]))).collect();
    assert_eq!(named, sent);
}

/// What `--help` says of a command.
fn help(arguments: &[&str]) -> String {
    let output = binary(&[arguments, &["--help"]].concat(), root()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The options that a help names, those of every command apart.
fn options(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim).filter(|line| line.starts_with('-'));
    let names = lines.filter_map(|line| line.split([' ', ',']).find(|word| word.starts_with("--")));
    let of_all = ["--config", "--log", "--log-format", "--help", "--version"];
    names.filter(|name| !of_all.contains(name)).map(str::to_owned).collect()
}

#[test]
fn the_commands_of_the_page_are_those_of_the_program_with_their_options() {
    let general = help(&[]);
    let (_, behind) = general.split_once("Commands:\n").unwrap();
    // What a description goes on with is farther in.
    let lines = behind.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let known = lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let known: BTreeSet<String> = known.map(str::to_owned).collect();

    let page = read("docs/commands.md");
    let mut named = BTreeSet::new();
    for row in prose(&page).map(cells).filter(|cells| cells.len() == 3 && cells[0].starts_with("`chunkflow ")) {
        let command = code(row[0]).split(' ').nth(1).unwrap().to_owned();
        let told: BTreeSet<String> =
            row[2].split('`').filter(|word| word.starts_with("--")).map(str::to_owned).collect();
        let told: BTreeSet<String> = told.iter().filter_map(|word| word.split(' ').next()).map(str::to_owned).collect();
        assert_eq!(told, options(&help(&[&command])), "{command}");
        named.insert(command);
    }

    assert_eq!(named, known);
}
