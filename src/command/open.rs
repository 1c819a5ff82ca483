//! Finds and reads the configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{Process, tricks};
use crate::{
    config::{Config, Draft},
    source::{DatabaseOptions, open_database},
};

const FILE: &str = "chunkflow.toml";
const DEMO: &str = include_str!("demo.toml");
const DEMO_ROWS: u32 = 350;

/// Finds and reads the configuration for a command.
pub(super) struct Opener<'a> {
    pub(super) file: Option<PathBuf>,
    pub(super) process: Process<'a>,
}

impl Opener<'_> {
    /// The configuration that was named, else the one in this folder, else the demo's.
    pub(super) fn config(&self) -> Result<Config> {
        match &self.file {
            Some(file) => self.read(file),
            None if Path::new(FILE).exists() => self.read(Path::new(FILE)),
            None => {
                let database = self.demo_database(DEMO_ROWS)?;
                self.demo(&database, DEMO_ROWS)
            }
        }
    }

    /// The configuration that was named or is in this folder, over this database; without one, all that the database has.
    pub(super) async fn config_of(&self, url: &str) -> Result<Config> {
        let file = match &self.file {
            Some(file) => Some(file.as_path()),
            None => Some(Path::new(FILE)).filter(|file| file.exists()),
        };
        if let Some(file) = file {
            let mut config = self.read(file)?;
            config.replace_database(url)?;
            return Ok(config);
        }
        let draft = self.draft(url, false).await?;
        for (table, why) in draft.left_out() {
            tracing::info!("left out `{table}`: {why}");
        }
        if draft.served() == 0 {
            bail!("this database has no table that can be served unasked; `chunkflow init` prints what it has, and why")
        }
        let environment = |name: &str| (name == "CHUNKFLOW_DATABASE").then(|| url.to_owned());
        Ok(Config::parse("what was found", &draft.to_toml("${CHUNKFLOW_DATABASE}"), &environment)?)
    }

    /// What a database has.
    pub(super) async fn draft(&self, url: &str, relations: bool) -> Result<Draft> {
        let database = open_database(&DatabaseOptions::new(url)).await?;
        Ok(Draft::of(&*database, relations).await)
    }

    fn read(&self, file: &Path) -> Result<Config> {
        let text =
            fs::read_to_string(file).with_context(|| format!("the configuration {} cannot be read", file.display()))?;
        Ok(Config::parse(&file.display().to_string(), &text, self.process.environment)?)
    }

    /// The demo's configuration over this file, which is made if it is not there.
    pub(super) fn demo(&self, database: &Path, rows: u32) -> Result<Config> {
        tricks::make(database, rows, self.process.terminal)?;
        tracing::info!(database = %database.display(), "the demo list: GET /tricks");
        let url = format!("sqlite:{}", database.display());
        let environment = |name: &str| (name == "DEMO_DATABASE_URL").then(|| url.clone());
        Ok(Config::parse("the demo's configuration", DEMO, &environment)?)
    }

    /// Where the demo's file is kept when nobody said where: the user's cache folder, else the folder for temporary files.
    pub(super) fn demo_database(&self, rows: u32) -> Result<PathBuf> {
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
