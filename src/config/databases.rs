//! `[databases]`

use super::read::Section;
use crate::source::DatabaseOptions;

const URL: &str = "write a URL, for instance \"sqlite:app.sqlite\"";

/// A name that may be missing, but must not be empty.
fn named(table: &mut Section<'_, '_>, key: &str) -> Option<String> {
    let name = table.string(key)?;
    if name.trim().is_empty() {
        table.complain(key, format!("`{key}` is empty"), "write a name, or leave the key out");
        return None;
    }
    Some(name)
}

pub(super) fn read(mut section: Section<'_, '_>) -> Vec<(String, DatabaseOptions)> {
    let usual = || DatabaseOptions::new("");
    let mut databases = vec![];
    for name in section.keys() {
        let mut options = usual();
        if section.is_table(&name) {
            let Some(mut table) = section.section(&name) else { continue };
            options.url = table.required("url", URL);
            options.pool = table.integer("pool", 1..=1000).map_or(options.pool, |pool| pool as usize);
            options.timeout = table.limit("timeout").unwrap_or(options.timeout);
            options.identity = named(&mut table, "identity");
            options.role = named(&mut table, "role");
            options.share = table.boolean("share").unwrap_or(options.share);
            options.settle = table.duration("settle").unwrap_or(options.settle);
            table.finish();
        } else {
            options.url = section.required(&name, URL);
        }
        databases.push((name, options));
    }

    section.finish();
    databases
}
