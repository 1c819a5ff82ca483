//! What a server serves now, and how a reload replaces it.

use std::convert::Infallible;

use anyhow::Result;
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
};

use super::{ServeOptions, open::Opener, origin::Origin, systemd::Supervisor};
use crate::{
    config::{AdminConfig, Config},
    server::{Prepared, Reload, Reloads},
    web::Chunkflow,
};

/// How the configuration is read, at the start and by each reload, from the same place.
pub(super) struct Reading<'a> {
    pub(super) opener: &'a Opener<'a>,
    pub(super) origin: &'a Origin,
    pub(super) options: ServeOptions,
}

impl Reading<'_> {
    pub(super) async fn config(&self) -> Result<Config> {
        let mut config = self.opener.read(self.origin).await?;
        // Without a configuration nothing says which lists are for everybody.
        if self.options.has_auth() && !matches!(self.origin, Origin::File { .. }) {
            config.close_lists();
        }
        self.options.over(config, &self.opener.process)
    }
}

/// What is served now.
pub(super) struct Running<'a> {
    pub(super) config: Config,
    pub(super) chunkflow: Chunkflow,
    pub(super) public: Reload,
    pub(super) operator: Option<Reload>,
    pub(super) supervisor: &'a Supervisor,
}

impl Running<'_> {
    /// Reloads the configuration on SIGHUP, and when the operator asks. `_reloads` keeps the
    /// operator's channel open even without an operator's listener.
    pub(super) async fn follow(
        mut self,
        reading: &Reading<'_>,
        mut hangup: Signal,
        mut asked: mpsc::Receiver<oneshot::Sender<Result<String, String>>>,
        _reloads: Reloads,
    ) -> Result<Infallible> {
        loop {
            let tell = tokio::select! {
                _ = hangup.recv() => None,
                tell = asked.recv() => tell,
            };
            self.supervisor.reloading();
            let reloaded = self.reload(reading).await.map_err(|error| format!("{error:#}"));
            self.chunkflow.metrics().note_reload(&reloaded);
            match &reloaded {
                Ok(reloaded) => {
                    tracing::info!("{reloaded}");
                    self.supervisor.ready(reloaded);
                }
                Err(complaints) => {
                    tracing::error!("the new configuration is refused, the old one goes on: {complaints}");
                    self.supervisor.ready("the new configuration is refused, the old one goes on");
                }
            }
            if let Some(tell) = tell {
                // The client that asked may have left.
                let _ = tell.send(reloaded);
            }
        }
    }

    /// Reads the configuration and takes over all of it, or nothing.
    async fn reload(&mut self, reading: &Reading<'_>) -> Result<String> {
        let config = reading.config().await?;
        config.check_tls()?;
        let chunkflow = config.open_after(&self.config, &self.chunkflow).await?;

        // Everything that may be refused comes before anything is taken over.
        let public = self.public.prepare(config.server.clone(), chunkflow.clone())?;
        let operator = self.operator.as_ref().map(|operator| {
            // The operator's socket stays until a restart, and so does its guard if [admin] is
            // gone.
            let admin = config.admin.as_ref().or(self.config.admin.as_ref());
            admin.map(|admin| operator.prepare_admin(admin, chunkflow.clone())).transpose()
        });

        let operator = operator.transpose()?.flatten();
        public.take_over();
        reading.opener.process.logs.go_on_as(config.server.log_format);
        operator.into_iter().for_each(Prepared::take_over);

        let mut said = format!("reloaded: serving {}", names(&chunkflow));
        if let Some(passed_over) = reading.origin.passed_over() {
            said += &format!("; {passed_over}");
        }

        let listens = |config: &Config| config.admin.as_ref().map(|admin| admin.listen.clone());
        for (key, changed) in [
            ("`listen` in [server]", config.server.listen != self.config.server.listen),
            ("`traces` in [server]", config.server.traces != self.config.server.traces),
            ("the address of [admin]", listens(&config) != listens(&self.config)),
        ] {
            if changed {
                said += &format!("; {key} changes only with a restart");
            }
        }

        // Later reloads compare with the addresses that are really bound.
        let listen = self.config.server.listen.clone();
        let traces = self.config.server.traces.take();
        let admin = self.config.admin.take().map(|bound| match &config.admin {
            Some(new) => AdminConfig { listen: bound.listen, ..new.clone() },
            None => bound,
        });

        self.config = config;
        self.config.server.listen = listen;
        self.config.server.traces = traces;
        self.config.admin = admin;
        self.chunkflow = chunkflow;
        Ok(said)
    }
}

/// The names of all lists.
pub(super) fn names(chunkflow: &Chunkflow) -> String {
    let names: Vec<&str> = chunkflow.names().collect();
    names.join(", ")
}
