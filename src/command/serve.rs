//! `chunkflow serve`

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, ServeOptions, open::Opener};
use crate::{
    config::{Config, parse_listen},
    server::{Server, Shutdown},
};

pub(super) async fn run(opener: &Opener<'_>, options: ServeOptions) -> Result<Exit> {
    serve(opener.config()?, options).await
}

/// Serves a configuration until a signal says otherwise.
pub(super) async fn serve(mut config: Config, options: ServeOptions) -> Result<Exit> {
    if let Some(listen) = options.listen {
        let Some(address) = parse_listen(&listen) else {
            bail!("`{listen}` is no address: write IP:PORT, for instance 127.0.0.1:8080")
        };
        config.server.listen = address;
    }
    if let Some(store) = options.store {
        config.store.url = store;
    }
    raise_open_files();
    config.check_tls()?;
    let chunkflow = config.open().await?;
    let listen = config.server.listen;
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let server = Server::bind(config.server, chunkflow.clone()).with_context(|| {
        format!("cannot listen at {listen}: choose another address with --listen or `listen` in [server]")
    })?;
    let admin = config.admin.map(|admin| {
        let listen = admin.listen;
        Server::bind_admin(admin, chunkflow.clone())
            .with_context(|| format!("cannot listen at {listen}: choose another address in [admin]"))
    });
    let admin = admin.transpose()?;
    let names: Vec<&str> = chunkflow.resources().iter().map(|resource| resource.name()).collect();
    tracing::info!("serving {} at {scheme}://{}/", names.join(", "), server.address());
    if let Some(admin) = &admin {
        tracing::info!("metrics at http://{}/metrics", admin.address());
    }
    let shutdown = Shutdown::default();
    let signals = tokio::spawn(stop_on_signals(shutdown.clone()));
    let operator = async {
        if let Some(admin) = admin {
            admin.run(shutdown.clone()).await;
        }
    };
    tokio::join!(server.run(shutdown.clone()), operator);
    signals.abort();
    tracing::info!("stopped");
    Ok(Exit::Done)
}

/// The first signal drains, the second stops at once.
async fn stop_on_signals(shutdown: Shutdown) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    for then in [Shutdown::drain, Shutdown::stop] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        then(&shutdown);
    }
    Ok(())
}

/// Every connection is an open file; the soft limit of many systems is 1024.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}
