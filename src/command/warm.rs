//! `chunkflow warm`

use std::{future::poll_fn, pin::Pin};

use anyhow::{Context, Result, bail};
use http_body::Body as _;
use indicatif::HumanBytes;

use super::{Exit, note, open::Opener, progress::progress_bar, say};
use crate::{
    coding::{CODINGS, Coding},
    format::{FORMATS, Format},
    kind, suggest,
};

pub(super) async fn run(
    opener: &Opener<'_>,
    names: &[String],
    formats: &[String],
    encodings: &[String],
    reads: usize,
) -> Result<Exit> {
    let mut config = opener.read(&opener.own_origin()?).await?;
    config.bound_reads(reads);
    // Each chunk passes only once, so memory in front of the store would gain nothing.
    config.store.near = 0;
    let chunkflow = config.open().await?;
    if chunkflow.is_alone() {
        bail!(
            "the store is in memory, and ends with this process: `warm` needs a store that servers share, \
             for instance url = \"redis://localhost:6379\" in [store]"
        );
    }

    chunkflow.meet_store().await.context("nothing can be loaded into the store")?;
    let known: Vec<&str> = chunkflow.names().collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&&***name)) {
        note(&format!("there is no resource `{name}`; {}", suggest::remedy("resources", name, &known)));
        return Ok(Exit::Usage);
    }

    let mut chosen = vec![];
    for format in formats {
        let Some(format) = Format::named(format) else {
            note(&format!("there is no format `{format}`; formats here: {}", kind::names(FORMATS)));
            return Ok(Exit::Usage);
        };
        chosen.push(format);
    }

    let formats = chosen;
    let mut codings = vec![];
    for encoding in encodings {
        let coding = Coding::named(encoding);
        if coding.is_none() && encoding != "identity" {
            note(&format!("there is no encoding `{encoding}`; encodings here: identity, {}", kind::names(CODINGS)));
            return Ok(Exit::Usage);
        }
        codings.push(coding);
    }

    let base = config.server.public_url.clone();
    for resource in &chunkflow.resources_in_all_orders() {
        if !names.is_empty() && !names.iter().any(|name| name == resource.name()) {
            continue;
        }
        // Where all are asked for, those are meant that can be.
        if names.is_empty() && resource.options().access.has_scopes() {
            note(&format!("`{}` has rows of each identity's own, and is not loaded", resource.name()));
            continue;
        }
        if resource.has_links() && base.is_none() {
            bail!(
                "`{}` has absolute links, whose host is each request's: set `public_url` in [server], so that its chunks are the same for all",
                resource.name()
            );
        }
        // The plain list comes first, so that the codings find its chunks in the store.
        for (format, coding) in formats.iter().flat_map(|format| codings.iter().map(move |coding| (*format, *coding))) {
            if coding.is_some() && !resource.options().compress {
                continue;
            }
            let encoding = coding.map_or("identity", Coding::name);
            let order = resource.source().order().join(",");
            let told = format!("{} by {order} {} {encoding}", resource.name(), format.name());
            let bar = progress_bar(resource, &told, opener.process.terminal).await;
            let mut body = chunkflow.warming(resource, format, coding, base.as_deref().unwrap_or_default()).await?;
            let mut bytes = 0;
            while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                bytes += frame?.into_data().unwrap_or_default().len() as u64;
                bar.set_position(body.rows());
                bar.set_message(HumanBytes(bytes).to_string());
            }
            bar.finish_and_clear();
            let name = resource.name();
            tracing::info!(resource = name, order, format = format.name(), encoding, rows = body.rows(), "warm");
        }
    }

    chunkflow.written().await;
    let metrics = chunkflow.metrics();
    let loaded = metrics.loads();
    let compressed = metrics.compressed();
    let failed = metrics.store_errors();
    // For each chunk that was compressed, its plain chunk was found; those do not count.
    let there = metrics.hits().saturating_sub(compressed);
    say(&format!("{loaded} chunks loaded, {compressed} compressed, {there} were there"))?;
    if failed > 0 {
        bail!("the store failed or refused {failed} times: not all chunks are in it");
    }

    let unwritten = metrics.unwritten();
    if unwritten > 0 {
        bail!("{unwritten} chunks were not written, for want of room on their way to the store");
    }

    Ok(Exit::Done)
}
