//! Finds and reads the configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{
    Process,
    origin::{ConfigFile, FILE, NamedBy, Origin},
    tricks,
};
use crate::{
    config::{Complaints, Config, Draft},
    source::{DatabaseOptions, open_database, with_password},
};

const DEMO: &str = include_str!("demo.toml");
const DEMO_NAME: &str = "the demo's configuration";
const DEMO_URL: &str = "DEMO_DATABASE_URL";
const DEMO_ROWS: u32 = 350;
/// The file name, in complaints, of a configuration generated for a database.
const FOUND_NAME: &str = "what was found";
const FOUND_URL: &str = "CHUNKFLOW_DATABASE";
/// The variable in which many platforms put the URL of their database.
const DATABASE_URL: &str = "DATABASE_URL";

/// Finds and reads the configuration for a command.
pub(super) struct Opener<'a> {
    /// The file that was named, if any.
    pub(super) file: Option<PathBuf>,
    pub(super) process: Process<'a>,
}

impl Opener<'_> {
    /// The named configuration, else the one in this folder, else the demo's.
    pub(super) fn origin(&self) -> Result<Origin> {
        match self.file()? {
            Some(file) => Ok(Origin::File { file, database: None }),
            None => self.demo(None, DEMO_ROWS),
        }
    }

    /// The named configuration, else the one in this folder; never the demo's.
    pub(super) fn own_origin(&self) -> Result<Origin> {
        let Some(file) = self.file()? else {
            bail!("there is no {FILE} in this folder: name the configuration with --config FILE")
        };
        Ok(Origin::File { file, database: None })
    }

    /// The named configuration, else the one in this folder, with this database. Without a
    /// configuration, all tables of the database, which `DATABASE_URL` may name too. `None` if
    /// neither is named.
    pub(super) fn origin_over(&self, argument: Option<String>) -> Result<Option<Origin>> {
        if let Some(file) = self.file()? {
            return Ok(Some(Origin::File { file, database: argument }));
        }
        let by = if argument.is_some() { NamedBy::Argument } else { NamedBy::Environment };
        Ok(self.database(argument)?.map(|url| Origin::Found { url, by }))
    }

    /// The database of the argument, else of `DATABASE_URL`.
    pub(super) fn database(&self, argument: Option<String>) -> Result<Option<String>> {
        if argument.is_some() {
            return Ok(argument);
        }
        match (self.process.environment)(DATABASE_URL) {
            Some(url) if url.trim().is_empty() => {
                bail!("{DATABASE_URL} is there but empty: set it to the database's URL, or unset it")
            }
            url => Ok(url),
        }
    }

    /// The demo's list, in a file in the user's cache folder unless another file is named.
    pub(super) fn demo(&self, database: Option<PathBuf>, rows: u32) -> Result<Origin> {
        let database = match database {
            Some(database) => database,
            None => self.demo_database(rows)?,
        };
        Ok(Origin::Demo { database, rows })
    }

    /// Whether `chunkflow serve` would use a database here, though the demo is served.
    pub(super) fn passes_over_a_database(&self) -> bool {
        (self.process.environment)(DATABASE_URL).is_some_and(|url| !url.trim().is_empty())
    }

    /// Reads the configuration from its origin.
    pub(super) async fn read(&self, origin: &Origin) -> Result<Config> {
        match origin {
            Origin::File { file, database } => {
                let mut config = Config::parse(file.name(), &file.text()?, self.process.environment)?;
                if let Some(url) = database {
                    config.replace_database(&with_password(url, self.process.environment))?;
                }
                Ok(config)
            }
            Origin::Found { url, .. } => {
                Ok(Config::parse(FOUND_NAME, &self.found(url).await?, &|name| self.found_environment(url, name))?)
            }
            Origin::Demo { database, rows } => {
                let url = self.demo_url(database, *rows)?;
                Ok(Config::parse(DEMO_NAME, DEMO, &|name| (name == DEMO_URL).then(|| url.clone()))?)
            }
        }
    }

    /// The same, with everything that is wrong or slow in it.
    pub(super) async fn check(&self, origin: &Origin) -> Result<Result<Config, Complaints>> {
        Ok(match origin {
            Origin::File { file, .. } => Config::check(file.name(), &file.text()?, self.process.environment).await,
            Origin::Found { url, .. } => {
                Config::check(FOUND_NAME, &self.found(url).await?, &|name| self.found_environment(url, name)).await
            }
            Origin::Demo { database, rows } => {
                let url = self.demo_url(database, *rows)?;
                Config::check(DEMO_NAME, DEMO, &|name| (name == DEMO_URL).then(|| url.clone())).await
            }
        })
    }

    /// A configuration for all that a database has.
    pub(super) async fn draft(&self, url: &str, relations: bool) -> Result<Draft> {
        let url = with_password(url, self.process.environment);
        let database = open_database(&DatabaseOptions::new(url)).await?;
        Ok(Draft::of(&*database, relations).await)
    }

    /// The text of that configuration.
    async fn found(&self, url: &str) -> Result<String> {
        let draft = self.draft(url, false).await?;
        for (table, why) in draft.left_out() {
            tracing::info!("left out `{table}`: {why}");
        }
        for (table, name) in draft.renamed() {
            tracing::info!("`{table}` is served as `{name}`, since that path is the server's own or no path");
        }
        if draft.served() == 0 {
            bail!("this database has no table that can be served unasked; `chunkflow init` prints what it has, and why")
        }
        Ok(draft.to_toml(&format!("${{{FOUND_URL}}}")))
    }

    /// The environment for a configuration generated for a database.
    fn found_environment(&self, url: &str, name: &str) -> Option<String> {
        if name == FOUND_URL { Some(url.to_owned()) } else { (self.process.environment)(name) }
    }

    /// The named file, else the one in this folder.
    fn file(&self) -> Result<Option<ConfigFile>> {
        match &self.file {
            Some(file) => ConfigFile::named(file).map(Some),
            None => ConfigFile::here(),
        }
    }

    /// The URL of the demo's database; makes the database first.
    fn demo_url(&self, database: &Path, rows: u32) -> Result<String> {
        tricks::make(database, rows, self.process.terminal)?;
        Ok(format!("sqlite:{}", database.display()))
    }

    /// The default place of the demo's file: the user's cache folder, else the folder for temporary
    /// files.
    fn demo_database(&self, rows: u32) -> Result<PathBuf> {
        let named = |name: &str| (self.process.environment)(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
        let file = format!("tricks-{rows}.sqlite");
        if let Some(folder) = cache.map(|cache| cache.join("chunkflow"))
            && fs::create_dir_all(&folder).is_ok()
        {
            return Ok(folder.join(file));
        }
        let folder = std::env::temp_dir().join("chunkflow");
        fs::create_dir_all(&folder).with_context(|| {
            format!("no folder for the demo's file; name one with --database ({})", folder.display())
        })?;
        Ok(folder.join(file))
    }
}
