//! Finds and reads the configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{Process, tricks};
use crate::{
    config::{Complaints, Config, Draft},
    source::{DatabaseOptions, open_database},
};

const FILE: &str = "chunkflow.toml";
const DEMO: &str = include_str!("demo.toml");
const DEMO_NAME: &str = "the demo's configuration";
const DEMO_URL: &str = "DEMO_DATABASE_URL";
const DEMO_ROWS: u32 = 350;

/// Finds and reads the configuration for a command.
pub(super) struct Opener<'a> {
    pub(super) file: Option<PathBuf>,
    pub(super) process: Process<'a>,
}

impl Opener<'_> {
    /// The configuration that was named, else the one in this folder, else the demo's.
    pub(super) fn config(&self) -> Result<Config> {
        match self.named() {
            Some(file) => self.read(&file),
            None => {
                let database = self.demo_database(DEMO_ROWS)?;
                self.demo(&database, DEMO_ROWS)
            }
        }
    }

    /// The configuration that was named or is in this folder, over this database; without one, all that the database has.
    pub(super) async fn config_of(&self, url: &str) -> Result<Config> {
        if let Some(file) = self.named() {
            let mut config = self.read(&file)?;
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

    /// The same, with everything that is wrong or slow about it.
    pub(super) async fn check(&self) -> Result<Result<Config, Complaints>> {
        match self.named() {
            Some(file) => {
                Ok(Config::check(&file.display().to_string(), &text_of(&file)?, self.process.environment).await)
            }
            None => {
                let url = self.demo_url(&self.demo_database(DEMO_ROWS)?, DEMO_ROWS)?;
                Ok(Config::check(DEMO_NAME, DEMO, &|name| (name == DEMO_URL).then(|| url.clone())).await)
            }
        }
    }

    /// The file that was named, else the one in this folder.
    fn named(&self) -> Option<PathBuf> {
        self.file.clone().or_else(|| Some(PathBuf::from(FILE)).filter(|file| file.exists()))
    }

    fn read(&self, file: &Path) -> Result<Config> {
        Ok(Config::parse(&file.display().to_string(), &text_of(file)?, self.process.environment)?)
    }

    /// The demo's configuration over this file, which is made if it is not there.
    pub(super) fn demo(&self, database: &Path, rows: u32) -> Result<Config> {
        let url = self.demo_url(database, rows)?;
        tracing::info!(database = %database.display(), "the demo list: GET /tricks");
        Ok(Config::parse(DEMO_NAME, DEMO, &|name| (name == DEMO_URL).then(|| url.clone()))?)
    }

    /// The URL of the demo's database, once it is made.
    fn demo_url(&self, database: &Path, rows: u32) -> Result<String> {
        tricks::make(database, rows, self.process.terminal)?;
        Ok(format!("sqlite:{}", database.display()))
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

fn text_of(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("the configuration {} cannot be read", file.display()))
}
