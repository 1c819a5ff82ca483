//! `chunkflow check`

use anyhow::Result;

use super::{Exit, open::Opener};

pub(super) async fn run(opener: &Opener<'_>) -> Result<Exit> {
    let complaints = match opener.check().await? {
        Ok(config) => {
            let names: Vec<&str> = config.resources.iter().map(|resource| &*resource.name).collect();
            println!("nothing is wrong: {}", names.join(", "));
            return Ok(Exit::Done);
        }
        Err(complaints) => complaints,
    };
    eprintln!("{}\n", complaints.render(opener.process.terminal));
    let number = complaints.len();
    eprintln!("{number} {} to mend", if number == 1 { "thing" } else { "things" });
    Ok(Exit::Failed)
}
