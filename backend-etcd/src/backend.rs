//! Opens sessions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::{
    Capabilities, LockService, LockUrl, QueueBackend, QueueSession, Result, ServiceFactory, UrlOption,
    in_one_order, open_repeatedly,
};

use crate::options::{EtcdOptions, OPTIONS};
use crate::session::EtcdSession;

/// Makes the lock service for a [URL](EtcdOptions::from_url) of either scheme.
#[derive(Debug, Clone, Default)]
pub struct EtcdFactory;

impl ServiceFactory for EtcdFactory {
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let backend = Etcd::new(EtcdOptions::from_url(url)?);
        Ok(Arc::new(QueueLocks::new(backend)))
    }

    fn options(&self) -> &'static [UrlOption] {
        &OPTIONS
    }
}

/// Locks on etcd, for [`QueueLocks`].
#[derive(Debug, Clone)]
pub struct Etcd {
    options: EtcdOptions,
}

impl Etcd {
    /// The locks of these servers. Nothing is sent yet.
    pub fn new(options: EtcdOptions) -> Self {
        Self { options }
    }
}

#[async_trait]
impl QueueBackend for Etcd {
    fn capabilities(&self) -> Capabilities {
        Capabilities::strict()
    }

    fn place(&self) -> String {
        format!("etcd at {}", self.options.servers())
    }

    fn identity(&self) -> String {
        let servers = self.options.servers();
        format!("etcd {} {}", in_one_order(servers.split(',')), self.options.root())
    }

    fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout()
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        let open = || EtcdSession::open(self.options.clone());
        Ok(Arc::new(open_repeatedly(&self.place(), self.connect_timeout(), open).await?))
    }
}
