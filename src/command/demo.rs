//! `chunkflow demo`

use std::path::PathBuf;

use anyhow::Result;

use super::{Exit, ServeOptions, open::Opener, serve};

pub(super) async fn run(
    opener: &Opener<'_>,
    rows: u32,
    database: Option<PathBuf>,
    options: ServeOptions,
) -> Result<Exit> {
    let database = match database {
        Some(database) => database,
        None => opener.demo_database(rows)?,
    };
    serve::serve(async || opener.demo(&database, rows), options).await
}
