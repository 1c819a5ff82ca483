//! What a listener serves with, and how that is replaced while connections go on.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64},
    },
};

use tokio::sync::{mpsc, oneshot};

use super::{
    bounds::Count,
    route::{Door, Site},
};
use crate::{
    config::{AdminConfig, ServerConfig},
    web::Chunkflow,
};

/// Requests to read the configuration again; each is told what came of it.
pub type Reloads = mpsc::Sender<oneshot::Sender<Result<String, String>>>;

/// What lasts as long as the listener.
pub(super) struct Shared {
    pub(super) address: SocketAddr,
    pub(super) ready: AtomicBool,
    pub(super) connections: Arc<Count>,
    pub(super) streams: Arc<Count>,
    /// Request identifiers: a random start, then one more each.
    pub(super) next_id: AtomicU64,
    pub(super) reloads: OnceLock<Reloads>,
}

impl Shared {
    pub(super) fn new(address: SocketAddr) -> Arc<Shared> {
        Arc::new(Shared {
            address,
            ready: AtomicBool::new(true),
            connections: Arc::default(),
            streams: Arc::default(),
            next_id: AtomicU64::new(fastrand::u64(..)),
            reloads: OnceLock::new(),
        })
    }
}

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
        Arc::clone(&self.site.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, site: Site) {
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(site);
    }
}

/// Gives a running server another configuration.
///
/// Requests that come from then on get it, on old connections too; streams under way end with what they began with. The address
/// stays, whatever the new configuration says, and a connection keeps the time limits that it began with.
#[derive(Clone)]
pub struct Reload(pub(super) Arc<Live>);

impl Reload {
    /// For the public listener.
    ///
    /// # Errors
    /// When the certificate is of no use; then nothing has changed.
    pub fn replace(&self, config: ServerConfig, chunkflow: Chunkflow) -> io::Result<()> {
        self.0.replace(Site::new(chunkflow, config, Door::Public, &self.0.shared)?);
        Ok(())
    }

    /// For the operator's listener.
    ///
    /// # Errors
    /// None so far.
    pub fn replace_admin(&self, admin: &AdminConfig, chunkflow: Chunkflow) -> io::Result<()> {
        let door = Door::Admin(admin.token.clone());
        self.0.replace(Site::new(chunkflow, super::admin_config(admin), door, &self.0.shared)?);
        Ok(())
    }
}
