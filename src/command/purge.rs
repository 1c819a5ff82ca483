//! `chunkflow purge`

use anyhow::{Context, Result, bail};
use http::StatusCode;

use super::{
    Exit,
    ask::{self, Post},
    note,
    open::Opener,
    say,
};
use crate::{config::AdminConfig, paths::Own, suggest};

pub(super) async fn run(opener: &Opener<'_>, resource: &str, conditions: &[String]) -> Result<Exit> {
    let config = opener.read(&opener.own_origin()?).await?;
    let known: Vec<&str> = config.resources.iter().map(|resource| &*resource.name).collect();
    if !known.contains(&resource) {
        note(&format!("there is no resource `{resource}`; {}", suggest::remedy("resources", resource, &known)));
        return Ok(Exit::Usage);
    }

    let pairs: Option<Vec<(&str, &str)>> = conditions.iter().map(|text| text.split_once('=')).collect();
    let Some(conditions) = pairs else {
        note("a condition is a parameter of the list with its value: organisation_id=eq.1");
        return Ok(Exit::Usage);
    };

    if !config.store.url.starts_with("memory:") {
        let chunkflow = config.open().await?;
        // The first connection may take longer than a purge waits for an answer.
        chunkflow.meet_store().await?;
        let made = chunkflow.resource(resource).context("the resource was not made")?;
        chunkflow.purge_where(&made, &conditions).await?;
    } else if let Some(admin) = &config.admin {
        purge(admin, resource, &conditions).await?;
    } else {
        bail!(
            "the chunks are in the running server's memory: give it an [admin] listener, through which it can be asked"
        )
    }

    say(&format!("purged {resource}"))?;
    Ok(Exit::Done)
}

/// Asks the running server.
async fn purge(admin: &AdminConfig, resource: &str, conditions: &[(&str, &str)]) -> Result<()> {
    let (status, said) = Post::to(Own::Purge).of(resource).with_query(conditions).send(admin).await?;
    if status == StatusCode::NO_CONTENT {
        return Ok(());
    }
    let why = ask::told(&said).unwrap_or_else(|| "is it the server of this configuration?".to_owned());
    bail!("the running server answered {status}: {why}")
}
