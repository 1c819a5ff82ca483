//! `chunkflow warm`

use std::{future::poll_fn, pin::Pin};

use anyhow::{Result, bail};
use http_body::Body as _;

use super::{Exit, export::progress_bar, open::Opener};
use crate::{format::FORMATS, kind, suggest};

pub(super) async fn run(opener: &Opener<'_>, names: &[String], formats: &[String], reads: usize) -> Result<Exit> {
    let mut config = opener.config()?;
    config.bound_reads(reads);
    // Each chunk passes once: nothing is gained by keeping it here too.
    config.store.near = 0;
    let chunkflow = config.open().await?;
    if chunkflow.is_alone() {
        bail!(
            "the store is in memory, and ends with this process: `warm` needs a store that servers share, \
             for instance url = \"redis://localhost:6379\" in [store]"
        );
    }
    let known: Vec<&str> = chunkflow.resources().iter().map(|resource| resource.name()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&&***name)) {
        eprintln!("there is no resource `{name}`; {}", suggest::remedy("resources", name, &known));
        return Ok(Exit::Usage);
    }
    let base = config.server.public_url.clone();
    for resource in chunkflow.resources() {
        if !names.is_empty() && !names.iter().any(|name| name == resource.name()) {
            continue;
        }
        if resource.has_links() && base.is_none() {
            bail!(
                "`{}` has absolute links, whose host is each request's: set `public_url` in [server], so that its chunks are the same for all",
                resource.name()
            );
        }
        for format in formats {
            let Some(format) = FORMATS.iter().position(|known| known.name == format) else {
                eprintln!("there is no format `{format}`; formats here: {}", kind::names(FORMATS));
                return Ok(Exit::Usage);
            };
            let bar = progress_bar(resource, opener.process.terminal).await;
            let mut body = chunkflow.body(resource, format, base.as_deref().unwrap_or_default()).await?;
            while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                frame?;
                bar.set_position(body.rows());
            }
            bar.finish();
            tracing::info!(resource = resource.name(), format = FORMATS[format].name, rows = body.rows(), "warm");
        }
    }
    chunkflow.written().await;
    let metrics = chunkflow.metrics();
    let (there, loaded, failed) = (metrics.hits.get(), metrics.loads.get(), metrics.store_errors.get());
    println!("{loaded} chunks loaded, {there} were there");
    if failed > 0 {
        bail!("the store failed {failed} times: not all chunks are in it");
    }
    Ok(Exit::Done)
}
