//! `chunkflow check`

use anyhow::{Result, bail};

use super::{Exit, note, open::Opener, say};

pub(super) async fn run(opener: &Opener<'_>) -> Result<Exit> {
    let Some(origin) = opener.origin_over(None)? else {
        bail!(
            "there is nothing to check: no chunkflow.toml in this folder, no --config FILE, no DATABASE_URL in the environment; \
             `chunkflow init DATABASE_URL > chunkflow.toml` writes a configuration"
        )
    };

    let complaints = match opener.check(&origin).await? {
        Ok(config) => {
            let names: Vec<&str> = config.resources.iter().map(|resource| &*resource.name).collect();
            say(&format!("nothing is wrong: {}", names.join(", ")))?;
            for note in config.notes() {
                say(&format!("note: {note}"))?;
            }
            let guesses = config.guesses().render(opener.process.colour);
            if !guesses.is_empty() {
                say(&guesses)?;
            }
            return Ok(Exit::Done);
        }
        Err(complaints) => complaints,
    };

    note(&format!("{}\n", complaints.render(opener.process.colour)));
    let number = complaints.len();
    note(&format!("{number} {} to mend", if number == 1 { "thing" } else { "things" }));
    Ok(Exit::Failed)
}
