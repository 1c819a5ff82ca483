//! `chunkflow serve`

use std::{fs, io};

use anyhow::{Context, Result, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    Exit, Process, ServeOptions, Sockets,
    files::Files,
    note,
    open::Opener,
    origin::{NamedBy, Origin},
    running::{Reading, Running, names},
    systemd::Supervisor,
    traces,
};
use crate::{
    config::{Config, Listen, read_auth},
    error::{Error, Kind},
    kind,
    paths::{Own, of_operator},
    server::{Server, Shutdown},
    store::{STORES, StoreOptions, open_store},
};

/// Serves the configuration of the folder or the options, else the demo list.
pub(super) async fn bare(opener: &Opener<'_>, options: ServeOptions) -> Result<Exit> {
    let origin = opener.origin()?;
    if matches!(origin, Origin::Demo { .. }) && opener.passes_over_a_database() {
        tracing::info!("`chunkflow serve` would serve the database that DATABASE_URL names");
    }
    serve(opener, &origin, options).await
}

/// The same, but with a database if one is named.
pub(super) async fn run(opener: &Opener<'_>, database: Option<String>, options: ServeOptions) -> Result<Exit> {
    match opener.origin_over(database)? {
        Some(origin) => serve(opener, &origin, options).await,
        None => serve(opener, &opener.origin()?, options).await,
    }
}

/// Serves a configuration until a signal to stop.
pub(super) async fn serve(opener: &Opener<'_>, origin: &Origin, options: ServeOptions) -> Result<Exit> {
    if let Some(wrong) = options.wrong(&opener.process, origin) {
        note(&format!("error: {wrong}"));
        return Ok(Exit::Usage);
    }

    let supervisor = Supervisor::new(&opener.process);
    let (handed, handed_admin) = opener.process.sockets.take().map_or(Ok((None, None)), Sockets::shared_out)?;
    // Before anything that takes time: until then the signal would end the process.
    let hangup = signal(SignalKind::hangup())?;
    tell(origin);
    let watched = origin.file().filter(|_| options.watch_config);
    let files = watched.map(|file| Files::of(file, opener.process.environment));
    let reading = Reading { opener, origin, options };
    let config = reading.config().await?;
    opener.process.logs.go_on_as(config.server.log_format);
    traces::begin(&opener.process, config.server.traces.as_deref())?;
    raise_open_files();
    config.check_tls()?;
    let chunkflow = config.open_to_serve().await?;
    let listen = config.server.listen.clone();
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    if let Some(admin) = config.admin.as_ref().filter(|admin| admin.listen.collides(&listen)) {
        bail!("the lists and [admin] would both listen at {}: give one of them another port", admin.listen)
    }

    if handed_admin.is_some() && config.admin.is_none() {
        bail!("a socket for [admin] was handed over, and there is no [admin]: write one, or take the socket away")
    }

    let server = match handed {
        Some(socket) => Server::inherit(socket, config.server.clone(), chunkflow.clone()),
        None => Server::bind(config.server.clone(), chunkflow.clone()),
    };

    let server = server.map_err(|error| unbound(&listen, error, "--listen, or `listen` in [server]"))?;
    let admin = config.admin.clone().map(|admin| {
        let listen = admin.listen.clone();
        let server = match handed_admin {
            Some(socket) => Server::inherit_admin(socket, admin, chunkflow.clone()),
            None => Server::bind_admin(admin, chunkflow.clone()),
        };
        server.map_err(|error| unbound(&listen, error, "`listen` in [admin]"))
    });

    let admin = admin.transpose()?;
    let serves = format!("serving {} at {}", names(&chunkflow), url(scheme, server.listens(), "/"));
    // A program that reads the next line may send a signal at once, and then the server must drain.
    // During the start a signal just ends the process.
    let shutdown = Shutdown::default();
    let signals = tokio::spawn(stop_on_signals(shutdown.clone())?);
    tracing::info!("{serves}");
    if let Some(admin) = &admin {
        tracing::info!("metrics at {}", url("http", admin.listens(), of_operator(Own::Metrics).path));
    }

    let (reloads, asked) = mpsc::channel(1);
    let public = server.reload();
    let operator = admin.as_ref().map(Server::reload);
    if let Some(admin) = &admin {
        admin.ask_for_reloads(reloads.clone());
    }

    let changes = files.map(|files| files.follow(reloads.clone()));
    let running = Running { config, chunkflow, public, operator, supervisor: &supervisor };
    supervisor.ready(&serves);
    let serving = async {
        let operator = async {
            if let Some(admin) = admin {
                admin.run(shutdown.clone()).await;
            }
        };
        tokio::join!(server.run(shutdown.clone()), operator);
    };

    let told_to_stop = async {
        shutdown.told().await;
        supervisor.stopping();
        std::future::pending().await
    };

    let changes = async {
        if let Some(changes) = changes {
            changes.await;
        }
        std::future::pending().await
    };

    tokio::select! {
        () = serving => {}
        () = changes => {}
        () = supervisor.live() => {}
        () = told_to_stop => {}
        error = running.follow(&reading, hangup, asked, reloads) => return error.map(|never| match never {}),
    }

    opener.process.traces.end().await;
    signals.abort();
    tracing::info!("stopped");
    Ok(Exit::Done)
}

/// The URL for a client; for a Unix socket its file, since a URL cannot name one.
fn url(scheme: &str, listens: &Listen, path: &str) -> String {
    match listens {
        Listen::Ip(address) => format!("{scheme}://{address}{path}"),
        listens => format!("{listens} ({path})"),
    }
}

/// The error of an address that cannot be bound, with a remedy.
fn unbound(listen: &Listen, error: io::Error, by: &str) -> Error {
    let remedy = match error.kind() {
        _ if listen.ip().is_none() => unbound_file(error.kind(), by),
        io::ErrorKind::AddrInUse => format!(
            "another program listens there, perhaps another chunkflow: end it, or choose another port with {by}"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need a right of their own (CAP_NET_BIND_SERVICE): choose a higher one with {by}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("no interface of this machine has this address: choose one that has with {by}, or 0.0.0.0 for all")
        }
        _ => format!("choose another address with {by}"),
    };
    Error::new(Kind::Config, format!("cannot listen at {listen}")).caused_by(error).remedy(remedy)
}

/// The remedy for a Unix socket that cannot be made.
fn unbound_file(kind: io::ErrorKind, by: &str) -> String {
    match kind {
        io::ErrorKind::AddrInUse => {
            format!(
                "another program listens there, perhaps another chunkflow: end it, or choose another path with {by}"
            )
        }
        io::ErrorKind::AlreadyExists => format!("move that file away, or choose another path with {by}"),
        io::ErrorKind::NotFound => format!("make its folder (RuntimeDirectory= in systemd), or choose one with {by}"),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not make files there: give it the folder, or choose another with {by}")
        }
        _ => format!("choose another path with {by}"),
    }
}

/// Says what is served without a configuration file.
fn tell(origin: &Origin) {
    match origin {
        Origin::File { .. } => {}
        Origin::Found { by: NamedBy::Argument, .. } => tracing::info!("there is no configuration: serving {origin}"),
        Origin::Found { by: NamedBy::Environment, .. } => {
            tracing::info!("there is no configuration: serving {origin}; `chunkflow init` writes one");
        }
        Origin::Demo { database, .. } => {
            tracing::info!(database = %database.display(), "the demo list: GET /tricks");
        }
    }
}

impl ServeOptions {
    /// What is wrong with the options, if anything.
    fn wrong(&self, process: &Process<'_>, origin: &Origin) -> Option<String> {
        // If the option was not given, its value came from the environment, where few people look
        // first.
        let named = |option: &str, variable: &str, value: &str| match (process.environment)(variable) {
            Some(set) if set == value => format!("{variable} in the environment"),
            _ => option.to_owned(),
        };

        if let Some(listen) = self.listen.as_ref().filter(|listen| listen.parse::<Listen>().is_err()) {
            let by = named("--listen", "CHUNKFLOW_LISTEN", listen);
            return Some(format!(
                "{by}: `{listen}` is no address: write IP:PORT or unix:/PATH, for instance --listen 127.0.0.1:8080"
            ));
        }

        if self.watch_config && origin.file().is_none() {
            return Some(format!("--watch-config: there is no file to watch: what is served comes from {origin}"));
        }

        let store = self.store.as_ref()?;
        let by = named("--store", "CHUNKFLOW_STORE", store);
        let scheme = store.split(':').next().unwrap_or_default();
        if kind::find(STORES, scheme).is_none() {
            // The value may hold a password, so it is not shown.
            let unknown = kind::unknown("store", store);
            let example = STORES[0].example;
            let kinds = kind::names(STORES);
            return Some(format!("{by}: {unknown}: write for instance --store {example}; this build has {kinds}"));
        }

        // A store is connected to when it is first asked, so this only checks its URL.
        let error = open_store(&StoreOptions::new(store)).err()?;
        Some(format!("{by}: {error}"))
    }

    /// Whether a file says who requests are from.
    pub(super) fn has_auth(&self) -> bool {
        self.auth.is_some()
    }

    /// The configuration, with the options in place of its values.
    pub(super) fn over(&self, mut config: Config, process: &Process<'_>) -> Result<Config> {
        if let Some(file) = &self.auth {
            let name = file.display().to_string();
            let text = fs::read_to_string(file).with_context(|| format!("--auth: {name} cannot be read"))?;
            config.replace_auth(read_auth(&name, &text, process.environment)?);
        }
        if let Some(listen) = &self.listen {
            config.server.listen = listen.parse().ok().context("no address")?;
        }
        if let Some(store) = &self.store {
            config.store.url.clone_from(store);
        }
        Ok(config)
    }
}

/// From now on the first signal drains, and the second stops at once.
fn stop_on_signals(shutdown: Shutdown) -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    Ok(async move {
        for then in [Shutdown::drain, Shutdown::stop] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            then(&shutdown);
        }
    })
}

/// Every connection is an open file, and the soft limit of many systems is 1024.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}
