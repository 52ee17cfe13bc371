//! Opens sessions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::{
    Capabilities, Effect, Error, ErrorKind, LockService, LockUrl, QueueBackend, QueueSession, Result,
    ServiceFactory,
};
use tokio::time::{sleep, timeout};

use crate::options::EtcdOptions;
use crate::session::EtcdSession;

/// How long to wait before servers are tried again that could not be reached.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes the lock service for a [URL](EtcdOptions::from_url) of either scheme.
#[derive(Debug, Clone, Default)]
pub struct EtcdFactory;

#[async_trait]
impl ServiceFactory for EtcdFactory {
    async fn connect(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let backend = Etcd::new(EtcdOptions::from_url(url)?);
        Ok(Arc::new(QueueLocks::connect(backend).await?))
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

    /// Tries until it works or cannot; `failure` is why it did not so far.
    async fn open(&self, failure: &mut Option<Error>) -> Result<EtcdSession> {
        loop {
            match EtcdSession::open(self.options.clone()).await {
                Err(error) if error.is_retryable() => *failure = Some(error),
                opened => return opened,
            }
            sleep(PAUSE).await;
        }
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
        let mut servers: Vec<&str> = servers.split(',').collect();
        servers.sort_unstable();
        format!("etcd {} {}", servers.join(","), self.options.root())
    }

    fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout()
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        let (limit, mut failure) = (self.options.connect_timeout(), None);
        if let Ok(opened) = timeout(limit, self.open(&mut failure)).await {
            return Ok(Arc::new(opened?));
        }
        let message = format!(
            "{} did not answer within {limit:?}: see whether it runs and can be reached",
            self.place()
        );
        let unreachable = Error::new(ErrorKind::Unreachable, message).with_effect(Effect::None);
        Err(match failure {
            Some(failure) => unreachable.with_source(failure),
            None => unreachable,
        })
    }
}
