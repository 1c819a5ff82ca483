//! `chunkflow purge`

use anyhow::{Context, Result, bail};
use http::StatusCode;

use super::{Exit, ask::Post, note, open::Opener, say};
use crate::{config::AdminConfig, paths::Own, suggest};

pub(super) async fn run(opener: &Opener<'_>, resource: &str) -> Result<Exit> {
    let config = opener.read(&opener.own_origin()?).await?;
    let known: Vec<&str> = config.resources.iter().map(|resource| &*resource.name).collect();
    if !known.contains(&resource) {
        note(&format!("there is no resource `{resource}`; {}", suggest::remedy("resources", resource, &known)));
        return Ok(Exit::Usage);
    }

    if !config.store.url.starts_with("memory:") {
        let chunkflow = config.open().await?;
        // The first connection may take longer than a purge waits for an answer.
        chunkflow.meet_store().await?;
        let made = chunkflow.resource(resource).context("the resource was not made")?;
        chunkflow.purge(&made).await?;
    } else if let Some(admin) = &config.admin {
        purge(admin, resource).await?;
    } else {
        bail!(
            "the chunks are in the running server's memory: give it an [admin] listener, through which it can be asked"
        )
    }

    say(&format!("purged {resource}"))?;
    Ok(Exit::Done)
}

/// Asks the running server.
async fn purge(admin: &AdminConfig, resource: &str) -> Result<()> {
    match Post::to(Own::Purge).of(resource).send(admin).await?.0 {
        StatusCode::NO_CONTENT => Ok(()),
        status => bail!("the running server answered {status}: is it the server of this configuration?"),
    }
}
