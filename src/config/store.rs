//! `[store]`

use std::path::{Path, PathBuf};

use super::read::Section;
use crate::store::{StoreOptions, StoreTls};

/// The store without a configuration.
pub(super) const MEMORY: &str = "memory:256MiB";

pub(super) fn read(mut section: Section<'_, '_>) -> Option<StoreOptions> {
    let mut options = StoreOptions::new(section.string("url").unwrap_or_else(|| MEMORY.to_owned()));
    options.near = section.size("near").unwrap_or(options.near);
    options.max_entry = section.size("max_entry").map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    options.pack = section.boolean("pack").unwrap_or(options.pack);
    options.prefix = section.filled("prefix", "name one, or take `prefix` out").unwrap_or(options.prefix);
    options.tls = section.section("tls").map(read_tls);
    let plain = |c: char| c.is_ascii_graphic();
    if options.prefix.len() > 100 || !options.prefix.chars().all(plain) {
        section.complain(
            "prefix",
            "the prefix cannot stand before a name in a store",
            "use up to 100 letters, digits and signs, for instance \"shop:\"",
        );
    }

    section.finish();
    Some(options)
}

/// Makes paths relative to the configuration's folder.
pub(super) fn beside(configuration: &Path, tls: &mut StoreTls) {
    let folder = configuration.parent().unwrap_or(Path::new(""));
    for file in [&mut tls.ca, &mut tls.cert, &mut tls.key].into_iter().flatten() {
        *file = folder.join(&*file);
    }
}

fn read_tls(mut section: Section<'_, '_>) -> StoreTls {
    let mut file = |key: &str| section.filled(key, "name a PEM file, or leave it out").map(PathBuf::from);
    let tls = StoreTls { ca: file("ca"), cert: file("cert"), key: file("key") };
    if tls == StoreTls::default() {
        let remedy = "write tls = { ca = \"ca.pem\", cert = \"client.pem\", key = \"client.key\" }, or leave it out";
        section.complain("", "`tls` names no file", remedy);
    }
    section.finish();
    tls
}
