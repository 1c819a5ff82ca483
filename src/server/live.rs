//! What a listener serves with, and how that is replaced while connections go on.

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

/// The site of the moment.
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
/// Requests that come from then on get it, on old connections too; streams under way end with what
/// they began with. The address stays, whatever the new configuration says, and a connection keeps
/// the time limits that it began with.
#[derive(Clone)]
pub struct Reload(pub(super) Arc<Live>);

impl Reload {
    /// For the public listener.
    ///
    /// # Errors
    /// When the certificate is of no use.
    pub fn prepare(&self, config: ServerConfig, chunkflow: Chunkflow) -> io::Result<Prepared> {
        let site = Site::new(chunkflow, config, Audience::Public, &self.0.shared)?;
        Ok(Prepared { live: Arc::clone(&self.0), site })
    }

    /// For the operator's listener.
    ///
    /// # Errors
    /// When it would be without a token where the listener is bound beyond loopback.
    pub fn prepare_admin(&self, admin: &AdminConfig, chunkflow: Chunkflow) -> io::Result<Prepared> {
        let site = Site::for_operator(chunkflow, admin, &self.0.shared)?;
        Ok(Prepared { live: Arc::clone(&self.0), site })
    }
}

/// A configuration that is right and serves nobody yet: of several listeners all are prepared
/// before the first takes over.
#[must_use]
pub struct Prepared {
    live: Arc<Live>,
    site: Site,
}

impl Prepared {
    /// Serves with it from now on.
    pub fn take_over(self) {
        self.live.replace(self.site);
    }
}
