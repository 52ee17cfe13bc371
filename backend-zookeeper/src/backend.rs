//! Opens sessions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::{
    Capabilities, LockService, LockUrl, QueueBackend, QueueSession, Result, ServiceFactory, UrlOption,
    in_one_order, open_once,
};

use crate::options::{OPTIONS, ZooKeeperOptions};
use crate::session::ZooKeeperSession;

/// Makes the lock service for a [URL](ZooKeeperOptions::from_url).
#[derive(Debug, Clone, Default)]
pub struct ZooKeeperFactory;

impl ServiceFactory for ZooKeeperFactory {
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let backend = ZooKeeper::new(ZooKeeperOptions::from_url(url)?);
        Ok(Arc::new(QueueLocks::new(backend)))
    }

    fn options(&self) -> &'static [UrlOption] {
        &OPTIONS
    }
}

/// Locks on ZooKeeper, for [`QueueLocks`].
#[derive(Debug, Clone)]
pub struct ZooKeeper {
    options: ZooKeeperOptions,
}

impl ZooKeeper {
    /// The locks of these servers. Nothing is sent yet.
    pub fn new(options: ZooKeeperOptions) -> Self {
        Self { options }
    }
}

#[async_trait]
impl QueueBackend for ZooKeeper {
    fn capabilities(&self) -> Capabilities {
        Capabilities::strict()
    }

    fn place(&self) -> String {
        format!("ZooKeeper at {}", self.options.servers().join(","))
    }

    fn identity(&self) -> String {
        let servers = self.options.servers().iter().map(String::as_str);
        format!("zookeeper {} {}", in_one_order(servers), self.options.root())
    }

    fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout()
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        Ok(Arc::new(
            open_once(&self.place(), self.connect_timeout(), ZooKeeperSession::open(&self.options)).await?,
        ))
    }
}
