//! The site that a listener serves, and how a reload replaces it while connections go on.

use std::{
    io,
    sync::{Arc, RwLock},
};

use super::{
    route::{Audience, Site},
    shared::Shared,
};
use crate::{
    config::{AdminConfig, ServerConfig},
    unpoisoned::Unpoisoned,
    web::Chunkflow,
};

/// The current site.
pub(super) struct Live {
    pub(super) shared: Arc<Shared>,
    site: RwLock<Arc<Site>>,
}

impl Live {
    pub(super) fn new(shared: Arc<Shared>, site: Site) -> Arc<Live> {
        Arc::new(Live { shared, site: RwLock::new(Arc::new(site)) })
    }

    pub(super) fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.read().unpoisoned())
    }

    fn replace(&self, site: Site) {
        *self.site.write().unpoisoned() = Arc::new(site);
    }
}

/// Gives a running server another configuration.
///
/// From then on requests get the new one, on old connections too. Streams under way end with the
/// old one. The listener's address does not change, even if the new configuration has another, and
/// a connection keeps the time limits that it began with.
#[derive(Clone)]
pub struct Reload(pub(super) Arc<Live>);

impl Reload {
    /// For the public listener.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub fn prepare(&self, config: ServerConfig, chunkflow: Chunkflow) -> io::Result<Prepared> {
        let site = Site::new(chunkflow, config, Audience::Public, &self.0.shared, Some(&self.0.site()))?;
        Ok(Prepared { live: Arc::clone(&self.0), site })
    }

    /// For the operator's listener.
    ///
    /// # Errors
    /// When there would be no token though the listener is bound beyond loopback.
    pub fn prepare_admin(&self, admin: &AdminConfig, chunkflow: Chunkflow) -> io::Result<Prepared> {
        let site = Site::for_operator(chunkflow, admin, &self.0.shared)?;
        Ok(Prepared { live: Arc::clone(&self.0), site })
    }
}

/// A valid configuration that does not serve yet: with several listeners, all are prepared before
/// the first one switches.
#[must_use]
pub struct Prepared {
    live: Arc<Live>,
    site: Site,
}

impl Prepared {
    /// From now on requests are served with it.
    pub fn take_over(self) {
        self.live.replace(self.site);
    }
}
