//! A look at a SQLite file: which file it is, and what tables there are, at one moment.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, Metadata},
    path::Path,
    time::UNIX_EPOCH,
};

use rusqlite::Connection;

use super::catalogue;
use crate::source::sql::{
    catalogue::{Catalogue, Table},
    definition::Told,
};

/// A file, by its device, its number there, and the time of its birth in nanoseconds: numbers are
/// used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    number: u64,
    born: Option<u128>,
}

impl FileId {
    pub(super) fn of(file: &Metadata) -> FileId {
        let born = file.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born = born.map(|since| since.as_nanos());
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            FileId { device: file.dev(), number: file.ino(), born }
        }
        #[cfg(not(unix))]
        {
            FileId { born, ..FileId::default() }
        }
    }

    /// Which database it is, among those of all machines.
    pub(super) fn told(&self, path: &Path) -> Told {
        let FileId { device, number, born } = self;
        let place = format!("{} {device} {number}", machine());
        Told {
            own: born.map(|born| format!("sqlite {place} {born}")),
            address: format!("sqlite {place} {}", path.display()),
            name: format!("sqlite {}", path.display()),
            ..Told::default()
        }
    }
}

/// What tells this machine from others: its own name for itself (machine-id(5)), or that of its
/// running kernel.
fn machine() -> String {
    let named = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"];
    let mut names = named.into_iter().filter_map(|file| fs::read_to_string(file).ok());
    names.find(|name| !name.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// What a read proves: the file, and the version of its schema.
pub(super) type Stamp = (FileId, i64);

/// What was seen.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) catalogue: Catalogue,
    pub(super) stamp: Stamp,
    /// What made each table and view.
    made_by: HashMap<String, String>,
}

impl Look {
    /// Looks, in a transaction.
    pub(super) fn new(connection: &mut Connection, file: FileId) -> rusqlite::Result<Look> {
        let version = schema_version(connection)?;
        let catalogue = catalogue::read(connection)?;
        let mut made = connection
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type IN ('table', 'view') AND sql IS NOT NULL")?;
        let made_by = made.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        Ok(Look { catalogue, stamp: (file, version), made_by })
    }

    /// What made the views among these tables, and all that their texts name.
    pub(super) fn behind(&self, tables: &[&Table]) -> Vec<String> {
        let mut next: Vec<&str> = tables.iter().filter(|table| table.is_view).map(|table| &*table.name).collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = next.pop() {
            let Some(sql) = self.made_by.get(name).filter(|_| seen.insert(name)) else { continue };
            let sql = sql.to_lowercase();
            next.extend(self.made_by.keys().map(|name| &**name).filter(|name| sql.contains(&name.to_lowercase())));
        }
        seen.into_iter().filter_map(|name| self.made_by.get(name).cloned()).collect()
    }
}

/// The version of a file's schema, which every change of it makes another
/// (<https://www.sqlite.org/pragma.html#pragma_schema_version>); so does `VACUUM`, which may give
/// rows other rowids.
pub(super) fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}
