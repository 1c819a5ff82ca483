//! What the documents say is true: their links lead somewhere, their code runs, and the reference
//! is whole.

mod blocks;
mod links;
mod reference;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::formats;

/// The folder of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file, by its path from the folder of the project.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All documents that somebody reads, by their paths from the folder of the project.
fn documents() -> Vec<String> {
    let mut found = vec![];
    for folder in [".", "docs", "docs/reference", "deploy", "benches/peers"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        let names = entries.map(|entry| PathBuf::from(entry.unwrap().file_name()));
        let names = names.filter(|name| name.extension().is_some_and(|extension| extension == "md"));
        found.extend(names.map(|name| format!("{folder}/{}", name.display()).trim_start_matches("./").to_owned()));
    }
    found.sort();
    found
}

/// The lines of a document that are no code block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

#[test]
fn where_the_documents_list_the_formats_they_list_all_of_them() {
    let formats = formats();
    let mut lists = 0;
    for document in documents().into_iter().chain(["deploy/nginx.conf".to_owned()]) {
        let text = read(&document);
        for between in ["|", "`, `."] {
            let begins = formats[..2].join(between);
            for (at, _) in text.match_indices(&begins) {
                lists += 1;
                let line = text[at..].lines().next().unwrap();
                assert!(line.starts_with(&formats.join(between)), "document the new format: {document}: {line}");
            }
        }
    }

    assert!(lists >= 5, "{lists} lists were found");
}

#[test]
fn the_runbook_has_a_section_for_each_alert_and_for_no_other() {
    let alerts = read("deploy/alerts.yml");
    let alerts: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");

    let runbook = read("docs/runbook.md");
    let sections: Vec<&str> = runbook.split("\n## ").skip(1).collect();
    let titles: Vec<&str> = sections.iter().filter_map(|section| section.lines().next()).collect();
    assert_eq!(titles, alerts);
    for section in sections {
        // How loud it is, what to look at, and at least one thing to do.
        let is_whole = section.contains("\nLook at: ") && section.contains("\n- ");
        assert!(is_whole && section.contains("\n`page`") | section.contains("\n`ticket`"), "{section}");
    }
}

#[test]
fn each_file_that_names_the_version_names_that_of_the_program_and_the_changelog_begins_with_it() {
    let version = env!("CARGO_PKG_VERSION");
    let minor = version.rsplit_once('.').unwrap().0;
    for (file, words) in [
        ("README.md", format!("chunkflow = {{ version = \"{minor}\"")),
        ("SECURITY.md", format!("now {minor},")),
        ("docs/packages.md", format!("chunkflow:{version}\n")),
        ("docs/pages.md", format!("\"chunkflow\":\"{version}\"")),
        ("docs/upgrading.md", format!("\n## {version}\n")),
        ("python/Cargo.toml", format!("name = \"chunkflow-python\"\nversion = \"{version}\"")),
        ("fuzz/Cargo.lock", format!("name = \"chunkflow\"\nversion = \"{version}\"")),
    ] {
        assert!(read(file).contains(&words), "{file} does not say {words}");
    }

    let changelog = read("CHANGELOG.md");
    let mut releases = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    let newest = releases.find(|title| *title != "Unreleased").unwrap();
    assert_eq!(newest.split(' ').next(), Some(version));
}
