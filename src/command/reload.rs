//! `chunkflow reload`

use anyhow::{Result, bail};
use http::StatusCode;
use serde::Deserialize;

use super::{Exit, ask::Post, open::Opener, say};
use crate::paths::Own;

/// The running server's answer, whether it has taken the configuration over or not.
#[derive(Deserialize)]
struct Said {
    reloaded: Option<String>,
    detail: Option<String>,
}

pub(super) async fn run(opener: &Opener<'_>) -> Result<Exit> {
    let Some(admin) = opener.read(&opener.own_origin()?).await?.admin else {
        bail!("the running server is asked through its [admin] listener, and there is none; send it SIGHUP instead")
    };
    let (status, said) = Post::to(Own::Reload).send(&admin).await?;
    let said: Option<Said> = serde_json::from_slice(&said).ok();
    match (status, said) {
        (StatusCode::OK, Some(Said { reloaded: Some(reloaded), .. })) => say(&reloaded)?,
        (StatusCode::BAD_REQUEST, Some(Said { detail: Some(complaints), .. })) => bail!(complaints),
        (status, _) => bail!("the running server answered {status}: is it the server of this configuration?"),
    }
    Ok(Exit::Done)
}
