//! The metrics: the counters, and the state of the databases and the store.

use std::sync::Arc;

use super::Chunkflow;
use crate::{
    metrics::{Exposition, MetricsFormat},
    source::{Database, PoolState},
};

/// Reads one gauge from the state of a pool.
type OfPool = fn(&PoolState) -> u64;

impl Chunkflow {
    /// The same with a database whose connections [`exposition`](Chunkflow::exposition) shows. Give
    /// its resources the same name in
    /// [`ResourceOptions::database`](crate::ResourceOptions::database).
    #[must_use]
    pub fn with_database(mut self, name: &str, database: Arc<dyn Database>) -> Chunkflow {
        self.0.loader.metrics().database(name);
        let inner = Arc::make_mut(&mut self.0);
        inner.databases.retain(|(one, _)| one != name);
        inner.databases.push((name.to_owned(), database));
        self
    }

    /// The same with a fixed beginning for absolute links.
    #[cfg(feature = "server")]
    pub(crate) fn with_public_url(mut self, url: Option<String>) -> Chunkflow {
        Arc::make_mut(&mut self.0).public_url = url;
        self
    }

    /// The beginning of absolute links, if it does not come from each request.
    #[cfg(feature = "server")]
    pub(crate) fn public_url(&self) -> Option<&str> {
        self.0.public_url.as_deref()
    }

    /// The databases, by their names in metrics.
    #[cfg(feature = "server")]
    pub(crate) fn databases(&self) -> impl Iterator<Item = (&str, &Arc<dyn Database>)> {
        self.0.databases.iter().map(|(name, database)| (&**name, database))
    }

    /// All metrics as text: [`Chunkflow::metrics`], and the state of databases and store. The
    /// server adds those of the process.
    pub fn exposition(&self, format: MetricsFormat) -> String {
        let mut exposition = Exposition::new(format);
        self.expose(&mut exposition);
        exposition.end()
    }

    pub(crate) fn expose(&self, to: &mut Exposition) {
        self.metrics().write(to);
        self.expose_pools(to);
        self.expose_store(to);
        self.expose_changes(to);
    }

    fn expose_changes(&self, to: &mut Exposition) {
        let loader = &self.0.loader;
        to.gauges("chunkflow_changes_position", "The number of the last change that was heard");
        to.sample(&[], loader.position().number);
        if let Some(silence) = loader.silence() {
            to.gauges(
                "chunkflow_journal_silence_seconds",
                "How long ago the journal of the shared store was last read",
            );
            to.sample(&[], silence.as_secs());
        }
    }

    fn expose_pools(&self, to: &mut Exposition) {
        let pools: Vec<(&str, PoolState)> =
            self.0.databases.iter().map(|(name, database)| (&**name, database.pool())).collect();

        let gauges: [(&'static str, &str, OfPool); 4] = [
            ("chunkflow_pool_max", "Reads of a database at once, at most", |pool| pool.max),
            ("chunkflow_pool_in_use", "Reads of a database under way", |pool| pool.in_use),
            ("chunkflow_pool_waiting", "Reads that wait for a turn at a database", |pool| pool.waiting),
            ("chunkflow_pool_connections", "Connections to a database", |pool| pool.connections),
        ];

        for (name, help, of) in gauges {
            to.gauges(name, help);
            for (database, pool) in &pools {
                to.sample(&[("database", database)], of(pool));
            }
        }

        let help = "Reads that were tried again, as the database itself said they may be";
        to.counters("chunkflow_retries_total", help);
        for (database, pool) in &pools {
            to.sample(&[("database", database)], pool.retries);
        }
    }

    fn expose_store(&self, to: &mut Exposition) {
        let store = self.0.loader.store();
        if let Some(near) = store.near().map(|near| near.state()) {
            for (name, help, value) in [
                ("chunkflow_store_bytes", "Bytes of chunks in this process's memory", near.bytes),
                ("chunkflow_store_max_bytes", "Bytes of chunks that may be in memory", near.max_bytes),
                ("chunkflow_store_entries", "Chunks in this process's memory", near.entries),
            ] {
                to.gauges(name, help);
                to.sample(&[], value);
            }
            to.counters("chunkflow_store_evictions_total", "Chunks that made room for others in memory");
            to.sample(&[], near.evictions);
        }

        if let Some(far) = store.agreement().map(|agreement| agreement.machines()) {
            to.gauges("chunkflow_store_machines", "Machines of the shared store, as the configuration names them");
            to.sample(&[], far.machines);
            let help = "Machines of the shared store that failed or refused, and are left alone for a while";
            to.gauges("chunkflow_store_resting", help);
            to.sample(&[("calls", "all")], far.all_rest);
            to.sample(&[("calls", "writes")], far.writes_rest);
        }
    }
}
