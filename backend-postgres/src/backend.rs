//! Opens sessions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::{
    Capabilities, Failover, LockService, LockUrl, QueueBackend, QueueSession, Result, ServiceFactory,
    UrlOption, in_one_order, open_repeatedly,
};

use crate::options::{OPTIONS, PostgresOptions};
use crate::session::PostgresSession;

/// Makes the lock service for a [URL](PostgresOptions::from_url).
#[derive(Debug, Clone, Default)]
pub struct PostgresFactory;

impl ServiceFactory for PostgresFactory {
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let backend = Postgres::new(PostgresOptions::from_url(url)?);
        Ok(Arc::new(QueueLocks::new(backend)))
    }

    fn options(&self) -> &'static [UrlOption] {
        &OPTIONS
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

    fn identity(&self) -> String {
        let (servers, database) = (self.options.servers(), self.options.database());
        format!("postgres {} {database} {}", in_one_order(servers.split(',')), self.options.schema())
    }

    fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout()
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        let open = || PostgresSession::open(self.options.clone());
        Ok(Arc::new(open_repeatedly(&self.place(), self.connect_timeout(), open).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(url: &str) -> String {
        let url = url.parse().expect("a URL");
        Postgres::new(PostgresOptions::from_url(&url).expect("valid options")).identity()
    }

    #[test]
    fn a_place_is_the_same_for_all_who_name_its_servers_and_no_other_is() {
        let here = identity("postgres://me@h1,h2/shop");
        assert_eq!(identity("postgres://you@h2:5432,h1/shop?connect_timeout=1s"), here);
        for other in
            ["postgres://me@h1/shop", "postgres://me@h1,h2/other", "postgres://me@h1,h2/shop?schema=other"]
        {
            assert_ne!(identity(other), here, "{other}");
        }
    }
}
