//! Opens sessions.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join;
use lockcore::queue::QueueLocks;
use lockcore::session::Clock;
use lockcore::{
    Capabilities, Effect, Error, ErrorKind, Family, LockService, LockUrl, QueueBackend, QueueSession, Result,
    ServiceFactory,
};
use tokio::time::timeout;
use zookeeper_client::{Client, Error as ClientError};

use crate::error::error;
use crate::heartbeat;
use crate::layout::family_path;
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

    async fn open(&self) -> Result<ZooKeeperSession> {
        let client = self.client().await?;
        let path = family_path(self.options.root(), Family::Lock);
        let sent = Clock::Boot.now();
        let (touched, readable) = join(heartbeat::touch(&client), client.get_data(&path)).await;
        touched.map_err(error)?;
        match readable {
            Ok(_) | Err(ClientError::NoNode) => {}
            Err(source) => return Err(error(source)),
        }
        let lease = heartbeat::start(client.clone(), sent);
        Ok(ZooKeeperSession::new(client, lease, &self.options))
    }

    /// The library gives up after the session timeout, which may be shorter than ours.
    async fn client(&self) -> Result<Client> {
        loop {
            match self.options.connector().connect(self.options.servers()).await {
                Err(ClientError::Timeout) => {}
                Err(source @ ClientError::BadArguments(_)) => {
                    let message = format!("{:?} is not a list of host:port", self.options.servers());
                    return Err(Error::new(ErrorKind::InvalidConfig, message).with_source(source));
                }
                connected => return connected.map_err(error),
            }
        }
    }
}

#[async_trait]
impl QueueBackend for ZooKeeper {
    fn capabilities(&self) -> Capabilities {
        Capabilities::strict()
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        let limit = self.options.connect_timeout();
        match timeout(limit, self.open()).await {
            Ok(opened) => Ok(Arc::new(opened?)),
            Err(_) => {
                let servers = self.options.servers();
                let message = format!("ZooKeeper at {servers} did not answer within {limit:?}");
                Err(Error::new(ErrorKind::Unreachable, message).with_effect(Effect::None))
            }
        }
    }
}
