//! `chunkflow init`

use anyhow::{Result, bail};

use super::{Exit, note, open::Opener, say};

pub(super) async fn run(opener: &Opener<'_>, database: Option<String>) -> Result<Exit> {
    let Some(url) = opener.database(database)? else {
        note("error: no database is named: write `chunkflow init DATABASE_URL`, or set DATABASE_URL");
        return Ok(Exit::Usage);
    };

    let draft = opener.draft(&url, true).await?;
    if draft.served() == 0 && draft.left_out().next().is_none() {
        bail!("this database has no table that this user may read")
    }

    // A password in the environment need not be in the file.
    let known = (opener.process.environment)("DATABASE_URL").is_some_and(|known| known == url);
    let text = draft.to_toml(if known { "${DATABASE_URL}" } else { &url });
    say(text.trim_end())?;
    let left_out = draft.left_out().count();
    note(&format!(
        "{} to serve, {left_out} left out; now: chunkflow check, then chunkflow serve",
        match draft.served() {
            1 => "1 list".to_owned(),
            lists => format!("{lists} lists"),
        }
    ));
    Ok(Exit::Done)
}
