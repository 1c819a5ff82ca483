//! Imports point one way, and siblings never meet. Read from the sources themselves.

use std::{collections::BTreeMap, fs, path::Path};

/// From the ground up. A module may import from those before it, and from its own folder.
const LAYERS: [&[&str]; 16] = [
    &["error", "flaw", "bytes_size", "canonical", "socket", "suggest"],
    &["row", "secret", "trace"],
    &["text"],
    &["cursor", "boundary", "metrics", "weight"],
    &["chunk", "seal"],
    &["kind", "survey"],
    &["source", "format", "coding"],
    // A store's futures are boxed as a source's are.
    &["store"],
    // What a server needs to know of a database that is away.
    &["known"],
    &["resource"],
    &["list"],
    &["cutter"],
    &["loader"],
    &["stream"],
    &["web"],
    &["config", "server", "command"],
];
/// The order within the last layer.
const TOP: [&str; 3] = ["config", "server", "command"];

/// Files of one folder that may not import each other: each is one of its kind.
const SIBLINGS: [&[&str]; 4] = [
    &["closure", "sqlite", "postgres", "mysql"],
    &["memory", "redis", "memcached", "tiered", "packed"],
    &["json", "ndjson", "csv", "sse"],
    &["gzip", "brotli"],
];

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| panic!("module `{module}` has no layer"))
}

/// Each source file below `src`, by its path there.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// The first words after `crate::` in a file's own code, tests left out, `use crate::{a, b::c}` included.
fn imports(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = vec![];
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + 7..];
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(list) => {
                let (mut depth, mut start) = (0, true);
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphanumeric() => {
                            found.push(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found.retain(|name| name.chars().next().is_some_and(char::is_lowercase));
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_point_one_way() {
    for (file, text) in sources() {
        let own = file.split(['/', '.']).next().unwrap().to_owned();
        if own == "lib" || own == "main" {
            continue;
        }
        for import in imports(&text) {
            let (from, to) = (layer(&own), layer(&import));
            let within_top = || TOP.iter().position(|one| *one == own) >= TOP.iter().position(|one| *one == import);
            let right = import == own || to < from || (to == from && from == LAYERS.len() - 1 && within_top());
            assert!(right, "{file} imports `{import}`, which lies beside or above it");
        }
    }
}

#[test]
fn siblings_never_meet() {
    for (file, text) in sources() {
        let name = file.rsplit('/').next().unwrap().trim_end_matches(".rs");
        let Some(siblings) = SIBLINGS.iter().find(|siblings| siblings.contains(&name)) else { continue };
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for sibling in siblings.iter().filter(|sibling| **sibling != name) {
            let path = format!("{sibling}::");
            assert!(
                !code.contains(&format!("super::{path}")) && !code.contains(&format!("    {path}")),
                "{file} knows of its sibling `{sibling}`"
            );
        }
    }
}

#[test]
fn only_one_file_knows_status_codes_of_errors() {
    for (file, text) in sources() {
        let knows = text.contains("StatusCode::SERVICE_UNAVAILABLE") && text.contains("Kind::");
        assert!(
            !knows || ["web/reply.rs", "server/route.rs"].contains(&&*file),
            "{file} turns errors into status codes"
        );
    }
}

#[test]
fn files_are_of_one_idea() {
    for (file, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 640, "{file} has {lines} lines: look for the second idea");
    }
}
