//! Imports point one way, and siblings never meet. This reads the sources themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// From the bottom up. A module may import from earlier layers and from its own folder.
const LAYERS: [&[&str]; 17] = [
    &["error", "flaw", "bytes_size", "canonical", "paths", "socket", "suggest", "unpoisoned"],
    &["row", "secret", "trace", "described", "change", "identity"],
    &["text"],
    &["cursor", "boundary", "metrics", "weight"],
    &["chunk", "seal"],
    &["kind", "survey"],
    &["source", "format", "coding"],
    // A store's futures are boxed like a source's.
    &["store"],
    // What a server must know about a database that is away.
    &["known"],
    &["resource"],
    &["list"],
    &["cutter"],
    &["loader"],
    &["stream"],
    &["web"],
    // Who a request is from, by the ways that the configuration names.
    &["auth"],
    &["config", "server", "command", "fuzz"],
];
/// The order within the last layer.
const TOP: [&str; 4] = ["config", "server", "command", "fuzz"];

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

/// A file's own code: without tests and comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The first words after `crate::` or `super::` in a file's own code, `use crate::{a, b::c}`
/// included.
fn words_behind(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut found = vec![];
    for (at, _) in code.match_indices(path) {
        if code[..at].ends_with("super::") || code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
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

    found
}

/// The module of its own that a file re-exports each name from (`pub use self::module::{Name, …}`).
fn passed_on(text: &str) -> BTreeMap<String, String> {
    let code = code(text);
    let mut found = BTreeMap::new();
    for (at, _) in code.match_indices("use self::") {
        let statement = code[at + "use self::".len()..].split(';').next().unwrap_or_default();
        let mut module = String::new();
        for part in statement.split_inclusive(['{', ',', '}', ':']) {
            let name: String = part.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
            if part.ends_with(':') && !name.is_empty() {
                module = name;
            } else if !name.is_empty() {
                let name = name.trim_start_matches("self").to_owned();
                found.insert(name, module.clone());
            }
        }
    }

    found
}

/// The modules that a file imports from the crate, by their own names or by names that `lib.rs`
/// re-exports.
fn imports(text: &str, passed_on: &BTreeMap<String, String>) -> Vec<String> {
    let words = words_behind("crate::", text).into_iter();
    words
        .filter_map(|word| {
            if word.starts_with(char::is_lowercase) && !passed_on.contains_key(&word) {
                Some(word)
            } else {
                passed_on.get(&word).cloned()
            }
        })
        .collect()
}

/// The modules of its own folder that a file imports from, also by names that their `mod.rs`
/// re-exports.
fn beside(folder: &str, text: &str, sources: &BTreeMap<String, String>) -> BTreeSet<String> {
    let files = sources.keys().filter_map(|file| file.strip_prefix(&format!("{folder}/")));
    let modules: BTreeSet<&str> = files.map(|file| file.split(['/', '.']).next().unwrap_or_default()).collect();
    let above = sources.get(&format!("{folder}/mod.rs")).map(|text| passed_on(text)).unwrap_or_default();

    let mut words = words_behind("super::", text);
    let within: Vec<String> = words_behind(&format!("crate::{}::", folder.replace('/', "::")), text);
    words.extend(within);
    let module = |word: String| above.get(&word).cloned().unwrap_or(word);
    words.into_iter().map(module).filter(|word| modules.contains(&&**word)).collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_point_one_way() {
    let sources = sources();
    let public = passed_on(&sources["lib.rs"]);
    for (file, text) in &sources {
        let own = file.split(['/', '.']).next().unwrap().to_owned();
        if own == "lib" || own == "main" {
            continue;
        }
        for import in imports(text, &public) {
            let from = layer(&own);
            let to = layer(&import);
            let within_top = || TOP.iter().position(|one| *one == own) >= TOP.iter().position(|one| *one == import);
            let right = import == own || to < from || (to == from && from == LAYERS.len() - 1 && within_top());
            assert!(right, "{file} imports `{import}`, which lies beside or above it");
        }
    }
}

/// The modules that the tables of kinds in a folder's `mod.rs` name: `open: gzip::open`,
/// `open: &gzip::Gzip`.
fn kinds(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let rows = code.split("Kind {").skip(1).filter_map(|row| row.split('}').next());
    let made = |row: &str| {
        let (before, _) = row.split("open:").nth(1)?.rsplit_once("::")?;
        Some(before.rsplit(|c: char| !c.is_alphanumeric()).next()?.to_owned())
    };
    rows.filter_map(made).filter(|name| name.starts_with(char::is_lowercase)).collect()
}

#[test]
fn siblings_never_meet() {
    let sources = sources();
    for (folder, least) in [("source", 3), ("store", 3), ("format", 4), ("coding", 2)] {
        let siblings = kinds(&sources[&format!("{folder}/mod.rs")]);
        assert!(siblings.len() >= least, "{folder}: {siblings:?}");
        for (file, text) in &sources {
            let Some(own) = file.strip_prefix(&format!("{folder}/")).and_then(|file| file.split(['/', '.']).next())
            else {
                continue;
            };
            if !siblings.contains(own) {
                continue;
            }
            let path = format!("crate::{folder}::");
            let mut met = words_behind(&path, text);
            if file.matches('/').count() == 1 {
                met.extend(beside(folder, text, &sources));
            }
            met.retain(|word| word != own && siblings.contains(word));
            assert!(met.is_empty(), "{file} knows of its siblings {met:?}");
        }
    }
}

#[test]
fn files_of_one_folder_do_not_import_each_other_in_a_circle() {
    let sources = sources();
    let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (file, text) in &sources {
        let Some((folder, name)) = file.rsplit_once('/') else { continue };
        if name != "mod.rs" {
            let own = name.trim_end_matches(".rs").to_owned();
            folders.entry(folder.to_owned()).or_default().insert(own, beside(folder, text, &sources));
        }
    }

    for (folder, imports) in folders {
        for start in imports.keys() {
            let mut reached = BTreeSet::new();
            let mut next: Vec<&String> = imports[start].iter().filter(|name| *name != start).collect();
            while let Some(name) = next.pop() {
                if reached.insert(name) {
                    next.extend(imports.get(name).into_iter().flatten());
                }
            }
            assert!(!reached.contains(start), "{folder}/{start}.rs imports itself by way of {reached:?}");
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
