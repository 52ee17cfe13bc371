//! Opens sessions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::{
    Capabilities, Effect, Error, ErrorKind, LockService, LockUrl, QueueBackend, QueueSession, Result,
    ServiceFactory,
};
use tokio::time::timeout;

use crate::options::ZooKeeperOptions;
use crate::session::ZooKeeperSession;

/// The scheme of URLs that mean ZooKeeper.
pub const SCHEME: &str = "zookeeper";

/// Makes the lock service for a [URL](ZooKeeperOptions::from_url).
#[derive(Debug, Clone, Default)]
pub struct ZooKeeperFactory;

#[async_trait]
impl ServiceFactory for ZooKeeperFactory {
    async fn connect(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let backend = ZooKeeper::new(ZooKeeperOptions::from_url(url)?);
        Ok(Arc::new(QueueLocks::connect(backend).await?))
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
        let mut servers = self.options.servers().to_vec();
        servers.sort_unstable();
        format!("zookeeper {} {}", servers.join(","), self.options.root())
    }

    fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout()
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        let limit = self.options.connect_timeout();
        match timeout(limit, ZooKeeperSession::open(&self.options)).await {
            Ok(opened) => Ok(Arc::new(opened?)),
            Err(_) => {
                let message = format!(
                    "{} did not answer within {limit:?}: see whether it runs and can be reached",
                    self.place()
                );
                Err(Error::new(ErrorKind::Unreachable, message).with_effect(Effect::None))
            }
        }
    }
}
