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
    let origin = opener.demo(database, rows)?;
    serve::serve(opener, &origin, options).await
}
