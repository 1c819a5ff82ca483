//! Where the configuration comes from.

use std::{
    cell::Cell,
    fmt,
    fs::{self, File},
    io::{ErrorKind, Read},
    path::{self, Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The configuration file of a folder.
pub(super) const FILE: &str = "chunkflow.toml";

/// Larger than any configuration, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Where the configuration comes from.
///
/// This is decided once, when the process starts. A reload reads the same place again or fails,
/// even if files have appeared or vanished meanwhile. Otherwise a file that is moved away would
/// switch the server to the demo list, or to every table of a database.
pub(super) enum Origin {
    /// A file; `database` is a URL in place of the one in it.
    File { file: ConfigFile, database: Option<String> },
    /// All tables of a database.
    Found { url: String, by: NamedBy },
    /// The demo list in this SQLite file, which is made if it is missing.
    Demo { database: PathBuf, rows: u32 },
}

/// What named a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedBy {
    /// The command's argument.
    Argument,
    /// `DATABASE_URL`.
    Environment,
}

impl Origin {
    /// The file to read again, if it is one.
    pub(super) fn file(&self) -> Option<&ConfigFile> {
        match self {
            Origin::File { file, .. } if file.path.is_file() => Some(file),
            _ => None,
        }
    }

    /// A message about a file that a reload ignores, if there is one.
    pub(super) fn passed_over(&self) -> Option<String> {
        let passes = !matches!(self, Origin::File { .. }) && is_there(Path::new(FILE));
        passes.then(|| format!("{FILE} is there now, but this server began with {self}, and stays so until a restart"))
    }
}

impl fmt::Display for Origin {
    /// Without the URL of a database, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, database: None } => f.write_str(&file.name),
            Origin::File { file, database: Some(_) } => {
                write!(f, "{} over the database of the command line", file.name)
            }
            Origin::Found { by: NamedBy::Argument, .. } => {
                f.write_str("the tables of the database of the command line")
            }
            Origin::Found { by: NamedBy::Environment, .. } => {
                f.write_str("the tables of the database that DATABASE_URL in the environment names")
            }
            Origin::Demo { .. } => f.write_str("the demo list"),
        }
    }
}

/// The configuration's file.
pub(super) struct ConfigFile {
    /// Its name as given, for complaints.
    name: String,
    /// Absolute, so that it stays the same file.
    path: PathBuf,
    was_read: Cell<bool>,
}

impl ConfigFile {
    pub(super) fn named(name: &Path) -> Result<ConfigFile> {
        let unclear = || format!("the configuration {} cannot be found", name.display());
        let path = path::absolute(name).with_context(unclear)?;
        Ok(ConfigFile { name: name.display().to_string(), path, was_read: Cell::new(false) })
    }

    /// The file in this folder, if there is one.
    pub(super) fn here() -> Result<Option<ConfigFile>> {
        let file = Path::new(FILE);
        is_there(file).then(|| ConfigFile::named(file)).transpose()
    }

    /// Its name as given.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its absolute path, since the working folder may change.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its current contents.
    pub(super) fn text(&self) -> Result<String> {
        let name = &self.name;
        let unreadable = || format!("the configuration {name} cannot be read");

        let found = fs::metadata(&self.path).with_context(unreadable)?;
        if found.is_dir() {
            bail!("the configuration {name} is a folder: name the file in it")
        }

        // Opening a pipe blocks until there is a writer. At the start that is intended (`--config
        // <(…)`); later there is no writer.
        if !found.is_file() && self.was_read.replace(true) {
            bail!("the configuration {name} is no file that can be read again: it is a pipe or a device")
        }

        self.was_read.set(true);

        let mut bytes = vec![];
        let opened = File::open(&self.path).with_context(unreadable)?;
        opened.take(LONGEST + 1).read_to_end(&mut bytes).with_context(unreadable)?;
        if bytes.len() as u64 > LONGEST {
            bail!("the configuration {name} is far too long to be one: is it the right file?")
        }

        String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = String::from_utf8_lossy(before).lines().last().map_or(0, |line| line.chars().count()) + 1;
            anyhow::anyhow!("{name}:{line}:{column}: this is not UTF-8: save the file as UTF-8")
        })
    }
}

/// Whether the name exists, even as a link that leads nowhere.
fn is_there(file: &Path) -> bool {
    !fs::symlink_metadata(file).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
