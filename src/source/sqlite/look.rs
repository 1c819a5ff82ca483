//! A look at a SQLite file: its identity and its tables, at one moment.

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

/// A file's device, its number there, and its birth in nanoseconds, since numbers are used again.
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

    /// The identity of the database among those of all machines.
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

/// An id of this machine: its machine-id(5), else the boot id of its kernel.
fn machine() -> String {
    let named = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"];
    let mut names = named.into_iter().filter_map(|file| fs::read_to_string(file).ok());
    names.find(|name| !name.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// What a read proves: the file, and the version of its schema.
pub(super) type Stamp = (FileId, i64);

/// The result of a look.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) catalogue: Catalogue,
    pub(super) stamp: Stamp,
    /// The CREATE statement of each table and view.
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

    /// The CREATE statements of the views among these tables, and of everything that these
    /// statements name.
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

/// The version of a file's schema. Each change of the schema changes it
/// (<https://www.sqlite.org/pragma.html#pragma_schema_version>), and so does `VACUUM`, which may
/// give rows other rowids.
pub(super) fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}
