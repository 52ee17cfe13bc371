//! Opens sessions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::{
    Capabilities, Effect, Error, ErrorKind, Failover, LockService, LockUrl, QueueBackend, QueueSession,
    Result, ServiceFactory,
};
use tokio::time::{sleep, timeout};

use crate::options::PostgresOptions;
use crate::session::PostgresSession;

/// The schemes of URLs that mean PostgreSQL.
pub const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

/// How long to wait before servers are tried again that could not be reached.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes the lock service for a [URL](PostgresOptions::from_url).
#[derive(Debug, Clone, Default)]
pub struct PostgresFactory;

#[async_trait]
impl ServiceFactory for PostgresFactory {
    async fn connect(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let backend = Postgres::new(PostgresOptions::from_url(url)?);
        Ok(Arc::new(QueueLocks::connect(backend).await?))
    }
}

/// Locks in PostgreSQL, for [`QueueLocks`].
#[derive(Debug, Clone)]
pub struct Postgres {
    options: PostgresOptions,
}

impl Postgres {
    /// The locks of these servers. Nothing is sent yet.
    pub fn new(options: PostgresOptions) -> Self {
        Self { options }
    }

    /// Tries until it works or cannot; `failure` is why it did not so far.
    async fn open(&self, failure: &mut Option<Error>) -> Result<PostgresSession> {
        loop {
            match PostgresSession::open(self.options.clone()).await {
                Err(error) if error.is_retryable() => *failure = Some(error),
                opened => return opened,
            }
            sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl QueueBackend for Postgres {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::strict();
        // With asynchronous replication; whether it is, nobody can know for the next server.
        capabilities.failover = Failover::MayLoseLocks;
        capabilities
    }

    fn place(&self) -> String {
        format!("PostgreSQL at {}", self.options.servers())
    }

    fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout()
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        let (limit, mut failure) = (self.options.connect_timeout(), None);
        if let Ok(opened) = timeout(limit, self.open(&mut failure)).await {
            return Ok(Arc::new(opened?));
        }
        let message = format!("{} did not answer within {limit:?}", self.place());
        let unreachable = Error::new(ErrorKind::Unreachable, message).with_effect(Effect::None);
        Err(match failure {
            Some(failure) => unreachable.with_source(failure),
            None => unreachable,
        })
    }
}
